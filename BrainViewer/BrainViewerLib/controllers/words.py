"""Times, counts and typed numbers, in words and out of them."""

from __future__ import annotations

import math
from typing import Any

from braindiffusion.errors import SettingsError


def left(seconds: float | None) -> str:
    """A time that is left, in words."""
    if seconds is None:
        return ""
    if seconds < 1.5:
        return "almost done"
    return f"{seconds:.0f} s left" if seconds < 90 else f"{seconds / 60:.0f} min left"


def duration(seconds: float | None) -> str:
    """A time that something will take, in words."""
    if seconds is None:
        return "some time"
    return f"{max(1, round(seconds))} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def counted(slices: int) -> str:
    """``1 slice``, ``2 slices``."""
    return f"{slices} slice{'' if slices == 1 else 's'}"


def number(value: Any, digits: int) -> str:
    """A number for a table; a dash where there is none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return f"{float(value):.{digits}f}"


def typed(text: str, kind: type, name: str) -> Any:
    """What was typed into a field, as a number.

    Raises:
        SettingsError: it is none.
    """
    try:
        return kind(text.replace(",", "."))
    except ValueError as error:
        raise SettingsError(
            f"'{text}' is not possible for {name.replace('_', ' ')}.",
            f"A {'whole ' if kind is int else ''}number is needed.",
            "Correct it under Advanced settings.",
        ) from error


def steps_of(text: str, usual: str) -> int | None:
    """The field of the network's steps: a number, or ``full`` for all of them (``None``)."""
    text = text.strip().lower()
    return None if text == "full" else typed(text or usual, int, "steps")
