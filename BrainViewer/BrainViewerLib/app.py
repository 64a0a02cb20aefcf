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
from BrainViewerLib.controllers import fields, loading
from BrainViewerLib.controllers.controllers import Controllers
from BrainViewerLib.controllers.history import History
from BrainViewerLib.controllers.inducing import Inducing
from BrainViewerLib.controllers.inductiondesk import InductionDesk
from BrainViewerLib.controllers.jobs import Jobs
from BrainViewerLib.controllers.keeping import Keeping
from BrainViewerLib.controllers.maskdesk import MaskDesk
from BrainViewerLib.controllers.resultdesk import ResultDesk
from BrainViewerLib.controllers.saving import Saving
from BrainViewerLib.controllers.scans import Scans
from BrainViewerLib.controllers.work import Work
from BrainViewerLib.page import keys, theme, ui, view_ui
from BrainViewerLib.page.start import start_state
from BrainViewerLib.server import web
from BrainViewerLib.server.page import LocalPage
from BrainViewerLib.server.session import Session
from BrainViewerLib.shown import Shown
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
        self._temporary = Staging(Path(tempfile.gettempdir()))  # what viewers that were killed left goes now
        self.workspace = self._temporary.folder / NEW
        self.state.update(start_state())

        self.logic = BrainCounterfactualLogic()
        self.simulator = BrainLesionSimLogic(self.logic.client)  # one worker for both tabs
        self.shown = Shown(self.state, self.logic, self.simulator)
        self._make_controllers(kept)
        self._connect()
        self._watch_scene()
        self._bind_keys()
        self.state.cards = [card_for_page(card) for card in self.logic.models()]
        go = ui.build(self.server, self.controllers)
        self.saving.download_ready.connect(lambda address: go.exec(address))
        self.scans.refresh()
        if restore:
            self.keeping.restore()
            return
        if scan is not None:
            self._open_first(scan)
        self.keeping.offer()

    def _make_controllers(self, kept: Session | None) -> None:
        """From the views upwards: each is given what it works with."""
        state, messages, shown = self.state, self.messages, self.shown
        self.draw_views(lambda tag: view_ui.overlay(lambda tag, index: self.board.go_to(tag, int(index)), tag))
        self.board = Board(self.host.core, self.tune_views)
        self.pointer = Pointer(state, messages, shown, self.board)
        self.display = Display(state, shown, self.board, self.pointer)
        self.masks = MaskDesk(self.host.core, state, messages, shown, self.board)
        self.history = History(state, messages, shown, self.masks)
        self.results = ResultDesk(state, messages, shown, self.display, self.history)
        self.inductions = InductionDesk(state, messages, shown, self.display, self.history, self.workspace)
        self.jobs = Jobs(state, messages, shown, self.display, self.masks, self.results)
        self.inducing = Inducing(state, messages, shown, self.display, self.masks, self.inductions)
        works: dict[str, Work] = {"heal": self.jobs, "induce": self.inducing}
        self.saving = Saving(state, messages, shown, self.display, works, self.workspace)
        self.scans = Scans(state, messages, shown, self.display, self.masks)
        self.keeping = Keeping(state, messages, self.scans, self.close, kept)
        self.controllers = Controllers(
            state, messages, self.display, self.pointer, self.masks, self.history, self.results, self.inductions,
            self.jobs, self.inducing, self.saving, self.scans, self.keeping, self.cancel,
        )  # fmt: skip

    def _connect(self) -> None:
        """What follows when something has changed."""
        self.board.moved.connect(self.display.moved)
        self.pointer.drawn_anew.connect(self.display.moved)
        self.masks.changed.connect(self.history.refresh)
        self.masks.mask.changed.connect(self.jobs.refresh)
        self.masks.lesion.changed.connect(self.inducing.refresh)
        self.history.stepped.connect(lambda: self.desk.refresh())
        self.jobs.changed.connect(self.refresh_jobs)
        self.inducing.changed.connect(self.refresh_jobs)
        self.jobs.models_known.connect(self.scans.refresh)
        self.scans.results_changed.connect(self.refresh_results)
        self.scans.jobs_changed.connect(self.refresh_jobs)
        self.scans.opened.connect(self.saving.show_form)
        self.keeping.restored.connect(self.refresh_results)
        asked = ("saliency_method", "model", "heal_mask", "running", "busy", "flagged", "worker_state", *fields.HEAL)
        self.state.change(*asked)(lambda **_: self.jobs.refresh())
        self.state.change("running", "busy", "set_device", *fields.INDUCE_WATCHED)(lambda **_: self.inducing.refresh())
        self.state.change("method")(lambda **_: self.scans.refresh(choose=True))  # each has models of its own
        self.state.change("model")(lambda **_: self.scans.refresh())
        self.state.change("mode")(lambda **_: self._on_mode())

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
    def desk(self) -> ResultDesk | InductionDesk:
        """The results of the open tab."""
        return self.inductions if self.state.mode == "induce" else self.results

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
        state.previewing = self.shown.preview(self.shown.run) is not None
        if not self.shown.busy:
            self.messages.say("")
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
            self.messages.say("The scene was closed.")

    def _maybe_lost(self) -> None:
        volume = self.shown.volume
        if slicer.mrmlScene.IsClosing():
            return
        if volume is not None and not slicer.mrmlScene.IsNodePresent(volume):
            with self.state:
                self.scans.lost()
                self.messages.notice(
                    "The scan was taken out of the scene.", "Somebody removed it.", "Open it again.", "warning"
                )

    def _bind_keys(self) -> None:
        what = keys.bindings(self.controllers)

        @self.server.trigger("viewer_key")
        def pressed(name: str) -> None:
            action = what.get(name)
            if action is not None:
                with self.messages.report_errors():
                    action()

        self.server.trigger("viewer_maximise")(self.display.maximise)
        self.server.trigger("viewer_probe")(self.pointer.probe)
        self.server.trigger("viewer_measure")(self.pointer.measure)

        @self.server.trigger("upload_failed")
        def failed(text: str) -> None:
            self.state.busy, self.state.busy_text = False, ""
            self.messages.notice("The file could not be sent.", text, "Try again, or open it by its path.", "error")

    # -- running

    def on_bind(self, web_server: Any) -> None:
        web.add_routes(web_server, self.workspace, self.scans.open_upload, self.saving.downloads)

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
