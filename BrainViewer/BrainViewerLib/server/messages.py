"""What the page says: a line at the foot of the panel, and cards that stay until they are dismissed."""

from __future__ import annotations

import logging
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

logger = logging.getLogger("BrainViewer")

NO_NOTICE = {"title": "", "cause": "", "action": "", "kind": ""}


def without_flags(text: str) -> str:
    """An error's text without the options of the command line, which nobody can type into a window."""
    return re.sub(r"\s*\((?:[^()]*,\s*)?--[a-z][^()]*\)", "", text)


class Messages:
    """Lines and cards of one page.

    Args:
        state: the page's.
    """

    def __init__(self, state: Any) -> None:
        self.state = state

    def say(self, text: str) -> None:
        """The line at the foot of the panel."""
        self.state.message = text

    def notice(self, title: str, cause: str, action: str, kind: str = "error") -> None:
        """A card that stays until it is dismissed."""
        self.state.notice = {"title": title, "cause": cause, "action": action, "kind": kind}

    def dismiss(self) -> None:
        """Take the card away."""
        self.state.notice = dict(NO_NOTICE)

    def show_error(self, error: Any) -> None:
        """An error of the engine, the module, the worker or our own, as a card."""
        what = getattr(error, "what", None)
        if isinstance(error, OSError) and what is None:
            free = shutil.disk_usage(tempfile.gettempdir()).free / 1e6
            self.notice(
                "A file could not be written or read.",
                f"{error.strerror or error} ({error.filename or 'temporary files'}; {free:.0f} MB free).",
                "Free some space, or set TMPDIR to a roomier disk, and try again.",
            )
            return
        if what is None:
            logger.exception("unexpected", exc_info=error)
            self.notice(
                "Something went wrong.", f"{type(error).__name__}: {error}", "Please report it; the scan is untouched."
            )
            return
        cause = getattr(error, "cause", None) or getattr(error, "why", "") or ""
        self.notice(what, without_flags(cause), without_flags(getattr(error, "action", "") or ""))
        self.say(what)

    @contextmanager
    def report_errors(self) -> Iterator[None]:
        """Turn an error into a card."""
        try:
            yield
        except Exception as error:
            self.show_error(error)
