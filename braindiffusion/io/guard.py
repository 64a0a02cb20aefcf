"""What a command was given is never written over, whatever the command, whatever it writes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from braindiffusion.errors import SettingsError

_given: ContextVar[frozenset[Path]] = ContextVar("given", default=frozenset())


@contextmanager
def inputs_kept(paths: Iterable[Path]) -> Iterator[None]:
    """While the block runs, no file at one of these real paths is replaced."""
    kept = _given.set(frozenset(real for path in paths if (real := _real(path)) is not None))
    try:
        yield
    finally:
        _given.reset(kept)


def _real(path: Path) -> Path | None:
    try:
        return Path(os.path.realpath(path)) if path.is_file() else None
    except (OSError, ValueError):  # a name that cannot be
        return None


def check_kept(place: Path) -> None:
    """Refuse to write to a place where an input lies.

    Raises:
        SettingsError: one does.
    """
    given = _given.get()
    if given and _real(place) in given:
        raise SettingsError(
            f"{place.name} in {place.parent} would be replaced by a result.",
            "It was given as input.",
            "Choose another place for the results, or move the file.",
        )
