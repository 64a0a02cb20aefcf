"""The process that the user starts: it starts the viewer's own, opens the window, and begins again where that died.

The viewer draws with VTK, in C++; a fault there ends its process, whatever Python does. This one holds nothing that
could fail so. The page that was open finds the new process under the old address.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

from braindiffusion.errors import EnvironmentProblemError
from BrainViewerLib.server import session

FOLDER, TOKEN, CODE = "BRAINVIEWER_SESSION", "BRAINVIEWER_TOKEN", "BRAINVIEWER_CODE"
RESTORE = "BRAINVIEWER_RESTORE"
"""What the viewer's process is told in its environment."""
COMMAND = (sys.executable, "-m", "braindiffusion")
MOST_DEATHS, WITHIN_SECONDS = 3, 120.0
POLL_SECONDS = 0.05


class ViewerDiedError(EnvironmentProblemError):
    """The viewer's process died again and again."""

    def __init__(self, code: int, folder: Path) -> None:
        super().__init__(
            f"The viewer stopped unexpectedly {MOST_DEATHS} times within {WITHIN_SECONDS / 60:.0f} minutes ({code}).",
            f"What happened is in {session.log_path()}. Scans, masks and results are kept in {folder}.",
            "Start it again: it offers to bring them back. If it happens again, report it with the log.",
        )


def died(code: int) -> bool:
    """Whether an exit code is that of a crash: a signal, Windows' exceptions, or an error that nobody caught."""
    return code < 0 or code >= 128 or code == 1


class Supervisor:
    """One viewer, from start to end.

    Args:
        arguments: of ``braindiffusion``, for the viewer's process.
        open_window: awaited with the address; ``True`` when it was a window of ours that the user has closed.
    """

    def __init__(
        self, arguments: list[str], open_window: Callable[[str], Coroutine[Any, Any, bool]] | None = None
    ) -> None:
        self.arguments, self.open_window = arguments, open_window
        self.token = secrets.token_urlsafe(32)
        self._code = secrets.token_urlsafe(32) if open_window is not None else ""
        self._process: asyncio.subprocess.Process | None = None
        self._port: int | None = None
        self._serving = self._stopped = False
        self._deaths: list[float] = []

    async def run(self) -> int:
        """Until the viewer is closed; its exit code.

        Raises:
            ViewerDiedError: it cannot be kept alive.
        """
        folder, lock = session.Folders().new()
        window: asyncio.Task[bool] | None = None
        restore = clean = False
        try:
            self._watch_signals()
            while True:
                self._process = await self._start(folder, restore)
                ended = asyncio.create_task(self._process.wait())
                if await self._ready(folder, ended) and window is None and self.open_window is not None:
                    window = asyncio.create_task(self.open_window(self._address()))
                    self._code = ""  # the page that is open finds a new process by its cookie
                while not ended.done():
                    waiting = {ended} | ({window} if window is not None and not window.done() else set())
                    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                    if window is not None and window.done() and window.result() and not ended.done():
                        self.stop()
                        await ended
                code = ended.result()
                if self._stopped or self._port is None or not died(code):
                    clean = True
                    return 0 if self._stopped else code
                self._count(code, folder)
                restore = not (folder / session.RESTORING).exists()
                print(f"BrainViewer stopped unexpectedly ({code}) and is started again.", flush=True)
        finally:
            if window is not None:
                window.cancel()
                await asyncio.gather(window, return_exceptions=True)
            lock.release()
            if clean:
                session.forget(folder)

    async def _start(self, folder: Path, restore: bool) -> asyncio.subprocess.Process:
        (folder / session.READY).unlink(missing_ok=True)
        self._serving = False
        port = ["--port", str(self._port)] if self._port else []
        told = {FOLDER: str(folder), TOKEN: self.token, CODE: self._code, RESTORE: "1" if restore else ""}
        return await asyncio.create_subprocess_exec(
            *COMMAND, *self.arguments, *port,
            stdin=subprocess.PIPE, env={**os.environ, **told},
        )  # fmt: skip

    async def _ready(self, folder: Path, ended: asyncio.Task[int]) -> bool:
        """Wait until it serves; ``False`` when it ended before."""
        while not ended.done():
            told = session.read_json(folder / session.READY)
            if told:
                self._port, self._serving = int(told["port"]), True
                return True
            await asyncio.sleep(POLL_SECONDS)
        return False

    def _address(self) -> str:
        from BrainViewerLib.server.security import Guard

        guard = Guard(self.token, self._code)
        guard.port = self._port or 0
        return guard.window_address

    def _count(self, code: int, folder: Path) -> None:
        now = time.monotonic()
        self._deaths = [at for at in self._deaths if now - at < WITHIN_SECONDS] + [now]
        if len(self._deaths) >= MOST_DEATHS:
            raise ViewerDiedError(code, folder)

    def stop(self) -> None:
        """Have the viewer end by itself: its input is closed. One that does not serve yet has nothing to keep."""
        self._stopped = True
        if self._process is None or self._process.stdin is None:
            return
        self._process.stdin.close()
        if not self._serving:
            with suppress(ProcessLookupError):
                self._process.terminate()

    def _watch_signals(self) -> None:
        """Ctrl-C goes to both processes; this one waits for the other. A polite end is passed on."""
        loop = asyncio.get_running_loop()
        with suppress(NotImplementedError, ValueError, RuntimeError):
            loop.add_signal_handler(signal.SIGTERM, self.stop)
        with suppress(NotImplementedError, ValueError, RuntimeError):
            loop.add_signal_handler(signal.SIGINT, self.stop)
            return
        with suppress(ValueError):
            signal.signal(signal.SIGINT, lambda *_: self.stop())
