"""From a hidden folder into place: all files of a run, or none.

A new folder appears at once. In a folder that exists, records (``.json``) go first and come last: where a run was
killed between two moves, there is none. What a killed run has staged is removed by the next one.
"""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from braindiffusion.errors import OutputError
from braindiffusion.io.locks import Lock

PREFIX = ".braindiffusion-"
NEW, OLD, LOCK = "new", "old", "lock"


class Staging:
    """A hidden folder of this run alone, with ``new`` for its files and ``old`` for those they replace.

    Args:
        ground: where it is made; what killed runs have left there is removed.

    Raises:
        OSError: it cannot be made.
    """

    def __init__(self, ground: Path) -> None:
        _sweep(ground)
        while True:
            self.folder = Path(tempfile.mkdtemp(prefix=_prefix(), dir=ground))
            self._lock = Lock(self.folder / LOCK)
            with suppress(FileNotFoundError):  # swept away by another run before it was locked
                if self._lock.take() and self._lock.path.exists():
                    break
            self._lock.release()
        try:
            (self.folder / NEW).mkdir()
            (self.folder / OLD).mkdir()
        except OSError:
            self.remove()
            raise

    def remove(self) -> None:
        """Take it away, with all that is in it."""
        self._lock.release()
        shutil.rmtree(self.folder, ignore_errors=True)


def _prefix() -> str:
    """Of the folders this computer stages: on a shared disk, the locks of others may not show."""
    return PREFIX + hashlib.sha256(platform.node().encode()).hexdigest()[:6] + "-"


def _sweep(ground: Path) -> None:
    """Remove what killed runs of this computer have staged in a folder."""
    with suppress(OSError):
        for folder in [p for p in ground.glob(_prefix() + "*") if p.is_dir()]:
            with suppress(OSError), Lock(folder / LOCK) as lock:
                if lock.take():
                    if os.name == "nt":  # there, what is open cannot be removed
                        lock.release()
                    shutil.rmtree(folder, ignore_errors=True)


def move_in(staging: Path, target: Path, keep: bool) -> None:
    """Move all that is staged as ``new`` into the folder ``target``, or put everything back.

    Args:
        keep: refuse to replace a file.

    Raises:
        OutputError: a file that is to be kept is there.
        OSError: the disk is full, say.
    """
    made: list[Path] = []
    moves: list[tuple[Path, Path, Path]] = []
    new = staging / NEW
    for i, source in enumerate(sorted((p for p in new.rglob("*") if p.is_file()), key=_records_last)):
        with suppress(PermissionError), source.open("r+b") as stream:
            os.fsync(stream.fileno())  # some file systems find out only now that they are full
        moves.append((source, target / source.relative_to(new), staging / OLD / str(i)))
    try:
        _make(target.parent, made)
        if not target.exists() and _appears(new, target):
            return
        _make(target, made)
        with Lock(target) as lock:  # of two programs that end together, one after the other
            lock.take(wait=True)
            _check_kept(moves, target, keep)
            for _, place, saved in moves:
                if place.suffix == ".json" and place.is_file():
                    os.replace(place, saved)
            for source, place, saved in moves:
                _make(place.parent, made)
                if place.is_file():
                    _save(place, saved)
                os.replace(source, place)
    except BaseException:
        for source, place, saved in moves:
            if saved.exists():
                os.replace(saved, place)
            elif not source.exists():
                place.unlink(missing_ok=True)
        for folder in reversed(made):
            with suppress(OSError):  # another program uses it by now
                folder.rmdir()
        raise


def _records_last(path: Path) -> tuple[bool, Path]:
    return path.suffix == ".json", path


def _appears(new: Path, target: Path) -> bool:
    """Give the staged folder its name; ``False`` where another program was quicker."""
    try:
        os.replace(new, target)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
            return False
        raise
    return True


def _check_kept(moves: list[tuple[Path, Path, Path]], target: Path, keep: bool) -> None:
    """Raises OutputError where a file of ours is there already, and files are to be kept."""
    there = [place for _, place, _ in moves if keep and place.exists()]
    if there:
        raise OutputError(
            f"{there[0].name} is there already, in {target}.",
            "Another program wrote it in the meantime.",
            "Choose another folder.",
        )


def _make(folder: Path, made: list[Path]) -> None:
    """Make a folder with its parents; those that were missing are added to ``made``."""
    for parent in reversed([p for p in (folder, *folder.parents) if not p.exists()]):
        parent.mkdir(exist_ok=True)
        made.append(parent)


def _save(target: Path, saved: Path) -> None:
    """A second name for a file about to be replaced; a copy where the file system has no hard links."""
    try:
        os.link(target, saved)
    except OSError:
        shutil.copy2(target, saved)
