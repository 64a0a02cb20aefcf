"""BrainViewer: the module's logic on trame-slicer, in a browser window, for one person on one machine."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import slicer
from BrainCounterfactualLib.logic import BrainCounterfactualLogic
from trame.app import TrameApp
from trame_slicer import module as trame_slicer_module
from trame_slicer.rca_view import register_rca_factories

from braindiffusion.errors import BrainDiffusionError
from BrainViewerLib import keys, loading, theme, ui, view_ui, web
from BrainViewerLib.display import Display
from BrainViewerLib.host import SlicerHost
from BrainViewerLib.jobs import DEFAULTS, Jobs
from BrainViewerLib.maskdesk import MaskDesk
from BrainViewerLib.resultdesk import ResultDesk
from BrainViewerLib.scans import Scans
from BrainViewerLib.security import Guard
from BrainViewerLib.start import start_state
from BrainViewerLib.views import Board

logger = logging.getLogger("BrainViewer")

FRAMES_PER_SECOND = 24.0
STILL_QUALITY, MOVING_QUALITY = 95, 70
ShowWindow = Callable[["BrainViewer", str], Awaitable[None]]


class BrainViewer(TrameApp):
    """One server, one scene, one user.

    Args:
        scan: opened at the start.
        token: the secret in the address; a random one when left out.
    """

    def __init__(self, scan: Path | None = None, token: str | None = None) -> None:
        os.environ["TRAME_ARGS"] = "--server"  # trame reads no command line of its own
        os.environ["WSLINK_READY_MSG"] = ""
        super().__init__(None, client_type="vue3")
        self.guard = Guard(token)
        self.started = 0.0
        self._temporary = tempfile.TemporaryDirectory(prefix="brainviewer-")
        self.workspace = Path(self._temporary.name)
        self._tasks: list[asyncio.Task[Any]] = []
        self.server.enable_module(trame_slicer_module)
        self.server.enable_module(theme.CLIENT_MODULE)
        self.state.update(start_state())

        self.host = SlicerHost()
        self.logic = BrainCounterfactualLogic()
        self.scans = Scans(self)
        self.display = Display(self)
        self._make_views()
        self.jobs = Jobs(self)
        self.results = ResultDesk(self)
        self.masks = MaskDesk(self)
        self._watch_scene()
        self._bind_keys()
        asked = ("saliency_method", "model", "heal_mask", "running", "busy", "flagged", "worker_state", *DEFAULTS)
        self.state.change(*asked)(lambda **_: self.jobs.refresh())
        self.state.cards = [card_for_page(card) for card in self.logic.models()]
        ui.build(self)
        self.scans.refresh()
        if scan is not None:
            self._open_first(scan)

    def _make_views(self) -> None:
        manager = self.host.core.view_manager
        register_rca_factories(
            manager,
            self.server,
            slice_view_ui_f=lambda _server, tag, _view: view_ui.overlay(self, tag),
            target_fps=FRAMES_PER_SECOND,
            blur_fps=FRAMES_PER_SECOND,
            interactive_quality=MOVING_QUALITY,
        )
        self.board = Board(self.host.core, lambda tag: self.display.moved(tag))
        for factory in manager._factories:
            for made in getattr(factory, "_views", {}).values():
                with suppress(AttributeError):
                    made.view_adapter._scheduler.update_quality(MOVING_QUALITY, STILL_QUALITY)

    def _open_first(self, path: Path) -> None:
        """A scan named on the command line: what is wrong with it is said there."""
        if path.suffix in loading.SCENE_SUFFIXES:
            loading.load_scene(path)
            found = self.scans.all()
            if found:
                self.scans.show(found[0])
            return
        self.scans._open_scan(path)

    # -- what others change

    def _watch_scene(self) -> None:
        scene = self.host.scene
        scene.AddObserver(slicer.vtkMRMLScene.EndCloseEvent, lambda *_: self._scene_closed())
        scene.AddObserver(slicer.vtkMRMLScene.NodeRemovedEvent, lambda *_: self._maybe_lost())

    def _scene_closed(self) -> None:
        with self.state:
            self.scans.lost()
            self.say("The scene was closed.")

    def _maybe_lost(self) -> None:
        volume = self.scans.volume
        if slicer.mrmlScene.IsClosing():
            return
        if volume is not None and not slicer.mrmlScene.IsNodePresent(volume):
            with self.state:
                self.scans.lost()
                self.notice("The scan was taken out of the scene.", "Somebody removed it.", "Open it again.", "warning")

    def _bind_keys(self) -> None:
        what = keys.bindings(self)

        @self.server.trigger("viewer_key")
        def pressed(name: str) -> None:
            action = what.get(name)
            if action is not None:
                with self.told():
                    action()

        @self.server.trigger("upload_failed")
        def failed(text: str) -> None:
            self.state.busy, self.state.busy_text = False, ""
            self.notice("The file could not be sent.", text, "Try again, or open it by its path.", "error")

    # -- telling

    def say(self, text: str) -> None:
        """The line at the foot of the panel."""
        self.state.message = text

    def notice(self, title: str, cause: str, action: str, kind: str = "error") -> None:
        """A card that stays until it is dismissed."""
        self.state.notice = {"title": title, "cause": cause, "action": action, "kind": kind}

    def dismiss(self) -> None:
        """Take the card away."""
        self.state.notice = {"title": "", "cause": "", "action": "", "kind": ""}

    def tell_error(self, error: Any) -> None:
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
        self.notice(what, cause, getattr(error, "action", "") or "")
        self.say(what)

    @contextmanager
    def told(self) -> Iterator[None]:
        """Turn an error into a card."""
        try:
            yield
        except Exception as error:
            self.tell_error(error)

    def browser_go(self, address: str) -> None:
        """Let the page fetch an address of ours."""
        self._go.exec(address)

    # -- running

    def serve(self, port: int = 0, show_window: ShowWindow | None = None) -> None:
        """Serve on 127.0.0.1 until closed."""
        controller = self.server.controller

        @controller.add("on_server_bind")
        def bind(web_server: Any) -> None:
            self.server.protocol.updateSecret(self.guard.token)
            self.guard.install(web_server)
            web.add_routes(self, web_server)

        @controller.add("on_server_ready")
        def ready(**_: Any) -> None:
            self.guard.port = self.server.port
            loop = asyncio.get_running_loop()
            print(f"BrainViewer: {self.guard.address}", flush=True)
            print("Research use only. Close the window or press Ctrl-C to end.", flush=True)
            self._tasks.append(loop.create_task(self.jobs.keep_polling()))
            self.jobs.start_worker()
            if show_window is not None:
                self._tasks.append(loop.create_task(show_window(self, self.guard.address)))
            with suppress(NotImplementedError, ValueError):
                for name in (signal.SIGINT, signal.SIGTERM):
                    loop.add_signal_handler(name, lambda: loop.create_task(self.close()))

        try:
            self.server.start(
                port=port, host="127.0.0.1", timeout=0, open_browser=False, show_connection_info=False, thread=True
            )
        except OSError as error:
            raise PortTakenError(port) from error
        finally:
            self.logic.close()
            self._temporary.cleanup()

    async def close(self) -> None:
        """End the server, the worker and our tasks."""
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()
        self.logic.close()
        with suppress(Exception):
            await self.server.stop()


class PortTakenError(BrainDiffusionError):
    """The port asked for is in use."""

    exit_code = 4

    def __init__(self, port: int) -> None:
        super().__init__(
            f"Port {port} cannot be used.", "Another program uses it.", "Leave --port out, or choose another."
        )


def card_for_page(card: dict[str, Any]) -> dict[str, Any]:
    """A model card as the page shows it."""
    return {
        "name": card["name"],
        "modality": ", ".join(card.get("modality", [])).replace("ANY", "any contrast"),
        "licence": card.get("licence", "unknown"),
        "purpose": card.get("purpose", ""),
        "data": [f"{d.get('name', '')}: {d.get('licence', '')}" for d in card.get("data", [])],
        "failures": card.get("known_failures", []),
        "use": card.get("intended_use", ""),
    }
