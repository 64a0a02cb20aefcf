"""Paths as people write them."""

from __future__ import annotations

import os
from pathlib import Path

from braindiffusion.errors import SettingsError


def at_home(path: str | Path) -> Path:
    """A path with its leading ``~`` or ``~user`` as that home; as it stands where no such home is known."""
    return Path(os.path.expanduser(path))


def known_home(path: Path) -> Path:
    """The same.

    Raises:
        SettingsError: no such home is known: a folder named ``~`` would be made.
    """
    found = at_home(path)
    if found == path and path.parts and path.parts[0].startswith("~"):
        why = f"The home of '{path.parts[0]}' is not known."
        raise SettingsError(f"{path} is not a path here.", why, f"Write it in full, or as ./{path}.")
    return found
