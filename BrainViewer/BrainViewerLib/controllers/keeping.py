"""Keeping the session while the viewer runs, and bringing it back after its process has died."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from braindiffusion.io.locks import Lock
from BrainViewerLib.controllers import fields, loading, saving
from BrainViewerLib.controllers.scans import Scans
from BrainViewerLib.controllers.work import NAMES
from BrainViewerLib.server import session
from BrainViewerLib.server.messages import Messages
from BrainViewerLib.server.session import Session
from BrainViewerLib.signals import Signal

logger = logging.getLogger("BrainViewer")
SECONDS = 1.0
"""Between two looks at what has changed."""
SETTINGS = tuple(
    dict.fromkeys(
        (
            *fields.HEAL_SENT, *fields.INDUCE_SENT, *fields.SHAPE_SENT, *saving.SENT, *saving.TEACHING,
            "blend", "third", "show_lesion", "show_mask", "show_margin", "saliency_opacity", "saliency_threshold",
            "brush_mm", "brush_sphere", "mode", "step", "induce_step", "layout", "preset", "level_low", "level_high",
        )
    )
)  # fmt: skip
"""What of the page is kept."""
NOTHING_FOUND = {"when": "", "scans": ""}


class Keeping:
    """The session of one viewer.

    Args:
        close: ends the viewer.
        kept: where it is kept; ``None``: nowhere.

    Attributes:
        restored: called when results have come back.
    """

    def __init__(
        self, state: Any, messages: Messages, scans: Scans, close: Callable[[], Coroutine[Any, Any, None]],
        kept: Session | None,
    ) -> None:  # fmt: skip
        self.state, self.messages, self.scans, self.session = state, messages, scans, kept
        self._close = close
        self.restored = Signal()
        self._found: Path | None = None
        self._lost = ""
        self._failed = False
        self.state.found_session = NOTHING_FOUND
        self.state.log_path = str(session.log_path()) if kept is not None else ""

    # -- keeping

    def _page(self) -> dict[str, Any]:
        state, volume = self.state, self.scans.volume
        page = {name: state[name] for name in SETTINGS}
        running = state.running and NAMES.get(state.running, state.running)
        return {**page, "shown": volume.GetName() if volume is not None else "", "lost": running or ""}

    def now(self) -> None:
        """Keep what has changed. A full disk is said once, and does not stop the work."""
        if self.session is None:
            return
        try:
            self.session.keep(self._page())
            self._failed = False
        except OSError as error:
            if not self._failed:
                logger.warning("the session cannot be kept: %s", error.strerror or error)
            self._failed = True

    async def keep_on(self) -> None:
        """For as long as the server runs."""
        while True:
            await asyncio.sleep(SECONDS)
            with self.messages.report_errors():
                self.now()

    def begin(self, loop: asyncio.AbstractEventLoop, port: int) -> list[asyncio.Task[None]]:
        """The server listens: tell the process that watches this one; end when that one ends."""
        if self.session is None:
            return []
        session.write_json(self.session.folder / session.READY, {"port": port, "process": os.getpid()})

        def watch() -> None:
            while sys.stdin is not None and sys.stdin.buffer.read(1):
                pass
            loop.call_soon_threadsafe(end)

        def end() -> None:
            self.now()
            self._closing = loop.create_task(self._close())

        threading.Thread(target=watch, daemon=True).start()
        return [loop.create_task(self.keep_on())]

    # -- bringing back

    def restore(self) -> None:
        """The process before this one died: everything as it was, but for the job that was running."""
        if self.session is None:
            return
        marker = self.session.folder / session.RESTORING
        marker.touch()  # where this fails in turn, the next process begins empty
        self._bring_back(self.session.folder)
        marker.unlink()
        lost = f"The job that was running is lost: {self._lost}. Start it again." if self._lost else ""
        self.messages.notice(
            "The viewer stopped unexpectedly and was started again.",
            f"Scans, masks, results and settings are as they were. What happened is in {session.log_path()}.",
            lost or "You can go on.",
            "warning",
        )

    def offer(self) -> None:
        """A session that was left behind is offered."""
        if self.session is None:
            return
        left = session.Folders().left_behind()
        if not left:
            return
        self._found = left[0]
        page = self.session.__class__(self._found).page
        when = time.strftime("%d %B, %H:%M", time.localtime((self._found / session.SCENE).stat().st_mtime))
        self.state.found_session = {"when": when, "scans": str(page.get("shown") or "")}

    async def take_found(self) -> None:
        """Open what was found."""
        folder, self._found = self._found, None
        self.state.found_session = NOTHING_FOUND
        if folder is None:
            return
        with Lock(folder / session.LOCK) as lock:
            lock.take()
            if await self.scans._guarded("Opening the session", lambda: self._bring_back(folder)):
                self.now()
                session.forget(folder)

    def drop_found(self) -> None:
        """Delete what was found."""
        folder, self._found = self._found, None
        self.state.found_session = NOTHING_FOUND
        if folder is not None:
            session.forget(folder)

    def _bring_back(self, folder: Path) -> None:
        page = Session(folder).page
        self._lost = str(page.get("lost") or "")
        if not (folder / session.SCENE).is_file():
            return
        loading.load_scene(folder / session.SCENE)
        scans = self.scans.all()
        shown = next((node for node in scans if node.GetName() == page.get("shown")), scans[0] if scans else None)
        settings = {name: page[name] for name in SETTINGS if name in page}
        self.state.mode = settings.get("mode", self.state.mode)
        if shown is None:
            self.state.update(settings)
            return
        self.scans.show(shown)
        self.state.update(settings)
        self.scans.display.levels.take(settings)
        self.scans.masks.show_tab()
        self.restored()
        self.scans.refresh()
