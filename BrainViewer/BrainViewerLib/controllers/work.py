"""What the jobs of both tabs have in common: how one begins, is followed and ends."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from BrainCounterfactualCommon.worker.jobs import Callbacks
from BrainViewerLib.controllers.maskdesk import MaskDesk
from BrainViewerLib.controllers.words import left
from BrainViewerLib.server.messages import Messages
from BrainViewerLib.shown import Run, Shown
from BrainViewerLib.signals import Signal
from BrainViewerLib.views.display import Display

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
    """The jobs of one tab.

    Args:
        run: of the tab.

    Attributes:
        changed: called when a job has begun or ended: what can be done is another thing then.
    """

    def __init__(
        self, state: Any, messages: Messages, shown: Shown, run: Run, display: Display, masks: MaskDesk
    ) -> None:
        self.state, self.messages, self.shown, self.run = state, messages, shown, run
        self.display, self.masks = display, masks
        self.logic, self.mode = run.logic, run.mode
        self.changed = Signal()
        self._started = 0.0

    @property
    def volume(self) -> Any:
        """The scan that is worked on, or was."""
        return self.run.volume

    @property
    def preview(self) -> Any:
        """The volume that shows the run about the scan shown, or ``None``."""
        return self.shown.preview(self.run)

    def cancel(self) -> None:
        """Stop the job under way."""
        if self.logic.busy:
            self.messages.say("Stopping …")
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
        self.run.volume = self.shown.volume
        self.state.update({"running": kind, "progress": 0, "time_left": "", "saved_text": "", "worker_state": "ready"})
        self.messages.dismiss()
        self.messages.say(text)
        self._started = time.monotonic()
        self.masks.outline_only(covers)
        self.changed()

    def end(self) -> None:
        """A job has ended, in whatever way."""
        self.state.update({"running": "", "previewing": False, "time_left": "", "progress": 0})
        self.masks.outline_only(False)
        self.changed()

    def elsewhere(self, owner: Any, what: str) -> bool:
        """Whether a result belongs to another scan or tab than the one shown; then there is only a message."""
        if owner is self.shown.volume and self.mode == self.state.mode:
            return False
        if owner is self.shown.volume:
            self.messages.say(f"{what[0].upper()}{what[1:]}: see the tab {self.mode.capitalize()}.")
        else:
            name = owner.GetName() if owner is not None else "The other scan"
            self.messages.say(f"{name}: {what}. Choose it in step 1 to see it.")
        self.soon()
        return True

    def soon(self) -> None:
        """After the run has put its preview away, show the scan again."""

        async def refresh() -> None:
            await asyncio.sleep(0)
            with self.state:
                self.display.refresh()

        asyncio.get_running_loop().create_task(refresh())

    def warn(self, result: Any) -> None:
        """Show the first warnings of a result as a card."""
        if result.warnings:
            self.messages.notice("Please note", result.warnings[0], " ".join(result.warnings[1:3]), "warning")

    # -- what comes back (the run is closed only after its callback: layers are brought up to date a moment later)

    def callbacks(self, on_done: Any) -> Callbacks:
        """For the logic."""
        return Callbacks(self.on_progress, self._on_preview, on_done, self._on_error, self._on_cancelled)

    def on_progress(self, stage: str, done: int, total: int, seconds_left: float | None) -> None:
        """The job goes on."""
        self.state.update({"progress": round(100 * done / total) if total else 0, "time_left": left(seconds_left)})
        self.messages.say(STAGES.get(stage, stage))

    def _on_preview(self) -> None:
        if self.preview is None or self.state.mode != self.mode:
            return
        if not self.state.previewing:
            self.state.previewing = True
            self.state.first_preview_s = round(time.monotonic() - self._started, 3)
            self.display.refresh()
        self.display.board.render()

    def _on_error(self, error: Any) -> None:
        self.end()
        if getattr(error, "className", "") in ("WorkerDiedError", "WorkerVersionError", "WorkerStartError"):
            self.state.worker_state = "down"
        self.messages.show_error(error)
        self.soon()

    def _on_cancelled(self) -> None:
        self.end()
        self.state.cancelled_s = round(time.monotonic() - self._started, 3)
        self.messages.say("Cancelled. Nothing was changed.")
        self.soon()
