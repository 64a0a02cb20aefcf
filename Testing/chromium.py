"""The browser that tests drive."""

from __future__ import annotations

import os
import shutil

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def chromium() -> str | None:
    """Its executable, as ``BRAINVIEWER_CHROMIUM`` names it or as it is found; never one that playwright downloads."""
    named = os.environ.get("BRAINVIEWER_CHROMIUM")
    return named or next((found for name in BROWSERS if (found := shutil.which(name))), None)
