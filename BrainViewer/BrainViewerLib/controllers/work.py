"""What the jobs of both tabs have in common: how one begins, is followed and ends."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from BrainCounterfactualCommon.worker.jobs import Callbacks
from BrainViewerLib.controllers.words import left

if TYPE_CHECKING:
    from BrainViewerLib.app import BrainViewer

NAMES = {
    "saliency": "finding lesions", "heal": "healing", "shape": "generating a lesion", "induce": "inducing the lesion",
    "round-trip": "inducing the lesion and healing it", "heal-again": "healing it again", "export": "saving",
}  # fmt: skip
STAGES = {
    "load": "Loading the models",
    "brain": "Finding the brain",
    "saliency": "Looking for lesions",
    "heal": "Healing",
    "induce": "Painting the lesion",
    "back": "Carrying back to the scan's grid",
}


class Work:
    """The jobs of one tab. Of both tabs together, one runs at a time.

    Args:
        logic: the module's logic that the tab works with.
        mode: the tab.
    """

    def __init__(self, viewer: BrainViewer, logic: Any, mode: str) -> None:
        self.viewer, self.logic, self.mode = viewer, logic, mode
        self.volume: Any = None  # the scan that is worked on

    @property
    def preview(self) -> Any:
        """The volume that shows the run about the scan shown, or ``None``."""
        return self.logic.previewNode if self.volume is self.viewer.scans.volume else None

    def cancel(self) -> None:
        """Stop the job under way."""
        if self.logic.busy:
            self.viewer.say("Stopping …")
            self.logic.cancel()

    def refresh(self) -> None:
        """What can be done now, and why not the rest."""
        raise NotImplementedError

    @staticmethod
    def name_of(kind: str) -> str:
        """A job, in words."""
        return NAMES.get(kind, kind)

    # -- beginning and ending

    def begin(self, kind: str, text: str, covers: bool = True) -> None:
        """A job has been started; ``covers``: what is drawn would hide its preview."""
        viewer = self.viewer
        self.volume = viewer.scans.volume
        viewer.state.update(
            {"running": kind, "progress": 0, "time_left": "", "saved_text": "", "worker_state": "ready"}
        )
        viewer.dismiss()
        viewer.say(text)
        viewer.started = time.monotonic()
        viewer.masks.outline_only(covers)
        viewer.refresh_jobs()

    def end(self) -> None:
        """A job has ended, in whatever way."""
        self.viewer.state.update({"running": "", "previewing": False, "time_left": "", "progress": 0})
        self.viewer.masks.outline_only(False)
        self.viewer.refresh_jobs()

    def elsewhere(self, owner: Any, what: str) -> bool:
        """Whether a result belongs to another scan or tab than the one shown; then it is only told."""
        if owner is self.viewer.scans.volume and self.mode == self.viewer.state.mode:
            return False
        if owner is self.viewer.scans.volume:
            self.viewer.say(f"{what[0].upper()}{what[1:]}: see the tab {self.mode.capitalize()}.")
        else:
            name = owner.GetName() if owner is not None else "The other scan"
            self.viewer.say(f"{name}: {what}. Choose it in step 1 to see it.")
        self.soon()
        return True

    def soon(self) -> None:
        """After the run has put its preview away, show the scan again."""

        async def refresh() -> None:
            await asyncio.sleep(0)
            with self.viewer.state:
                self.viewer.display.refresh()

        asyncio.get_running_loop().create_task(refresh())

    def warn(self, result: Any) -> None:
        """Show the first warnings of a result as a card."""
        if result.warnings:
            self.viewer.notice("Please note", result.warnings[0], " ".join(result.warnings[1:3]), "warning")

    # -- what comes back (the run is closed only after its callback: layers are brought up to date a moment later)

    def callbacks(self, on_done: Any) -> Callbacks:
        """For the logic."""
        return Callbacks(self.on_progress, self._on_preview, on_done, self._on_error, self._on_cancelled)

    def on_progress(self, stage: str, done: int, total: int, seconds_left: float | None) -> None:
        """The job goes on."""
        self.viewer.state.update(
            {"progress": round(100 * done / total) if total else 0, "time_left": left(seconds_left)}
        )
        self.viewer.say(STAGES.get(stage, stage))

    def _on_preview(self) -> None:
        viewer = self.viewer
        if self.preview is None or viewer.state.mode != self.mode:
            return
        if not viewer.state.previewing:
            viewer.state.previewing = True
            viewer.state.first_preview_s = round(time.monotonic() - viewer.started, 3)
            viewer.display.refresh()
        viewer.board.render()

    def _on_error(self, error: Any) -> None:
        self.end()
        if getattr(error, "className", "") in ("WorkerDiedError", "WorkerVersionError", "WorkerStartError"):
            self.viewer.state.worker_state = "down"
        self.viewer.tell_error(error)
        self.soon()

    def _on_cancelled(self) -> None:
        self.end()
        self.viewer.state.cancelled_s = round(time.monotonic() - self.viewer.started, 3)
        self.viewer.say("Cancelled. Nothing was changed.")
        self.soon()
