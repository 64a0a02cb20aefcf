"""BrainViewer: the module's logic on trame-slicer, in a browser window, for one person on one machine."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import slicer
from BrainCounterfactualLib.logic import BrainCounterfactualLogic
from BrainLesionSimLib.logic import BrainLesionSimLogic

from braindiffusion.io.staging import NEW, Staging
from BrainViewerLib.controllers import loading
from BrainViewerLib.controllers.history import History
from BrainViewerLib.controllers.inducing import WATCHED, Inducing
from BrainViewerLib.controllers.inductiondesk import InductionDesk
from BrainViewerLib.controllers.jobs import DEFAULTS, Jobs
from BrainViewerLib.controllers.keeping import Keeping
from BrainViewerLib.controllers.maskdesk import MaskDesk
from BrainViewerLib.controllers.resultdesk import ResultDesk
from BrainViewerLib.controllers.saving import Saving
from BrainViewerLib.controllers.scans import Scans
from BrainViewerLib.page import keys, theme, ui, view_ui
from BrainViewerLib.page.start import start_state
from BrainViewerLib.server import web
from BrainViewerLib.server.page import LocalPage
from BrainViewerLib.server.session import Session
from BrainViewerLib.views.board import Board
from BrainViewerLib.views.display import Display
from BrainViewerLib.views.pointer import Pointer


class BrainViewer(LocalPage):
    """One server, one scene, one user.

    Args:
        scan: opened at the start.
        token: the secret in the address; a random one when left out.
        kept: where scans, masks, results and settings are kept while it runs; nowhere when left out.
        restore: begin with what is kept there.
        code: opens the window, see :class:`~BrainViewerLib.server.security.Guard`.
    """

    def __init__(
        self, scan: Path | None = None, token: str | None = None, kept: Session | None = None, restore: bool = False,
        code: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(theme.CLIENT_MODULE, token, code)
        self.started = 0.0
        self._temporary = Staging(Path(tempfile.gettempdir()))  # what viewers that were killed left goes now
        self.workspace = self._temporary.folder / NEW
        self.state.update(start_state())

        self.logic = BrainCounterfactualLogic()
        self.simulator = BrainLesionSimLogic(self.logic.client)  # one worker for both tabs
        self.scans = Scans(self)
        self.display = Display(self)
        self.pointer = Pointer(self)
        self._make_views()
        self.jobs, self.inducing = Jobs(self), Inducing(self)
        self.results, self.inductions = ResultDesk(self), InductionDesk(self)
        self.history, self.saving = History(self), Saving(self)
        self.masks = MaskDesk(self)
        self.keeping = Keeping(self, kept)
        self._watch_scene()
        self._bind_keys()
        asked = ("saliency_method", "model", "heal_mask", "running", "busy", "flagged", "worker_state", *DEFAULTS)
        self.state.change(*asked)(lambda **_: self.jobs.refresh())
        self.state.change("running", "busy", "set_device", *WATCHED)(lambda **_: self.inducing.refresh())
        self.state.change("method")(lambda **_: self.scans.refresh(choose=True))  # each has models of its own
        self.state.change("model")(lambda **_: self.scans.refresh())
        self.state.change("mode")(lambda **_: self._on_mode())
        self.state.cards = [card_for_page(card) for card in self.logic.models()]
        ui.build(self)
        self.scans.refresh()
        if restore:
            self.keeping.restore()
            return
        if scan is not None:
            self._open_first(scan)
        self.keeping.offer()

    def _make_views(self) -> None:
        self.draw_views(lambda tag: view_ui.overlay(self, tag))
        self.board = Board(self.host.core, lambda tag: self.display.moved(tag), self.tune_views)

    def _open_first(self, path: Path) -> None:
        """A scan named on the command line: what is wrong with it is said there."""
        if path.suffix in loading.SCENE_SUFFIXES:
            loading.load_scene(path)
            found = self.scans.all()
            if found:
                self.scans.show(found[0])
            return
        self.scans._open_scan(path)

    # -- the two tabs

    @property
    def work(self) -> Jobs | Inducing:
        """The jobs of the open tab."""
        return self.inducing if self.state.mode == "induce" else self.jobs

    @property
    def desk(self) -> ResultDesk | InductionDesk:
        """The results of the open tab."""
        return self.inductions if self.state.mode == "induce" else self.results

    @property
    def busy(self) -> bool:
        """Whether a job of either tab is under way."""
        return self.logic.busy or self.simulator.busy

    def cancel(self) -> None:
        """Stop the job under way."""
        for work in (self.jobs, self.inducing):
            work.cancel()

    def refresh_jobs(self) -> None:
        """What can be done now, in both tabs."""
        for work in (self.jobs, self.inducing):
            work.refresh()

    def refresh_results(self) -> None:
        """What there is, in both tabs."""
        for desk in (self.results, self.inductions):
            desk.refresh()

    def _on_mode(self) -> None:
        """The other tab was opened: the same scan, what it draws and what it made."""
        state = self.state
        state.tool, state.flicker_auto = "none", False
        state.previewing = self.work.preview is not None
        if not self.busy:
            self.say("")
        self.saving.show_form()
        self.masks.show_tab()
        self.refresh_results()
        self.refresh_jobs()
        self.display.show_layout(state.layout)
        self.display.refresh()

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

        self.server.trigger("viewer_maximise")(self.display.maximise)

        @self.server.trigger("upload_failed")
        def failed(text: str) -> None:
            self.state.busy, self.state.busy_text = False, ""
            self.notice("The file could not be sent.", text, "Try again, or open it by its path.", "error")

    def browser_go(self, address: str) -> None:
        """Let the page fetch an address of ours."""
        self._go.exec(address)

    # -- running

    def on_bind(self, web_server: Any) -> None:
        web.add_routes(self, web_server)

    def on_ready(self, loop: asyncio.AbstractEventLoop) -> None:
        self._tasks.append(loop.create_task(self.jobs.keep_polling()))
        self._tasks += self.keeping.begin(loop, self.server.port)
        self.jobs.start_worker()

    def end(self) -> None:
        for logic in (self.simulator, self.logic):
            logic.close()
        self._temporary.remove()


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
