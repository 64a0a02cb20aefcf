"""Paths as people write them."""

from __future__ import annotations

import os
from pathlib import Path


def at_home(path: str | Path) -> Path:
    """A path with its leading ``~`` or ``~user`` as that home; as it stands where no such home is known."""
    return Path(os.path.expanduser(path))
