"""Locks that cannot stay behind: the system lets go of them when the process ends, however it ends."""

from __future__ import annotations

import os
import weakref
from contextlib import suppress
from pathlib import Path
from types import TracebackType


class Lock:
    """A lock on a file, which is made when missing, or on a folder; held until it is released or this object is gone.

    Windows has no locks on folders, and some network disks have none at all: there it is always got.

    >>> with Lock(folder / ".training.lock") as lock:  # doctest: +SKIP
    ...     if not lock.take():
    ...         raise ...
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._end: weakref.finalize | None = None

    def take(self, wait: bool = False) -> bool:
        """Whether it is ours now; with ``wait`` after whoever has it.

        Raises:
            OSError: there is no such folder, or the file cannot be made.
        """
        folder = self.path.is_dir()
        if os.name == "nt" and folder:
            return True
        handle = os.open(self.path, os.O_RDONLY if folder else os.O_RDWR | os.O_CREAT, 0o644)
        if _got(handle, wait):
            self._end = weakref.finalize(self, os.close, handle)
            return True
        os.close(handle)
        return False

    def release(self) -> None:
        """Let go of it; harmless when it is not ours."""
        if self._end is not None:
            self._end()

    def __enter__(self) -> Lock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _got(handle: int, wait: bool) -> bool:
    """Whether the system gave the lock, or has none to give."""
    if os.name == "nt":
        import msvcrt

        with suppress(OSError):
            msvcrt.locking(handle, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
            return True
        return False
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
