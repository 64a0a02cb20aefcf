"""Saliency and healing: what is sent to the worker, what comes back, and what the page says meanwhile."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from BrainCounterfactualLib.jobs import Callbacks

from BrainCounterfactualCommon import scene
from braindiffusion.errors import SettingsError

if TYPE_CHECKING:
    from BrainViewerLib.app import BrainViewer

POLL_BUSY, POLL_IDLE = 0.03, 0.2
STAGES = {
    "load": "Loading the models",
    "brain": "Finding the brain",
    "saliency": "Looking for lesions",
    "heal": "Healing",
    "back": "Carrying back to the scan's grid",
}
DEFAULTS: dict[str, Any] = {
    "set_steps": "10", "set_samples": "1", "set_noise": "500", "set_margin": "", "set_percentile": "", "set_gate": "",
    "set_seed": "0", "set_fusion": "cached", "set_rule": "", "set_device": "auto", "set_force": False,
}  # fmt: skip
FIELDS = {
    "set_samples": ("samples", int), "set_noise": ("noise_level", int), "set_margin": ("margin_mm", float),
    "set_percentile": ("percentile", float), "set_gate": ("gate", float), "set_seed": ("seed", int),
}  # fmt: skip


def left(seconds: float | None) -> str:
    """A time that is left, in words."""
    if seconds is None:
        return ""
    if seconds < 1.5:
        return "almost done"
    return f"{seconds:.0f} s left" if seconds < 90 else f"{seconds / 60:.0f} min left"


def duration(seconds: float | None) -> str:
    """A time that something will take, in words."""
    if seconds is None:
        return "some time"
    return f"{max(1, round(seconds))} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def counted(slices: int) -> str:
    """``1 slice``, ``2 slices``."""
    return f"{slices} slice{'' if slices == 1 else 's'}"


class Jobs:
    """One job at a time."""

    def __init__(self, viewer: BrainViewer) -> None:
        self.viewer = viewer
        self._slice_only = False
        self._estimated: Any = None
        self.volume: Any = None  # the scan that is worked on

    async def keep_polling(self) -> None:
        """Hand over what the worker tells, for as long as the server runs."""
        while True:
            try:
                with self.viewer.state:
                    self.viewer.logic.poll()
            except Exception as error:
                with self.viewer.state:
                    self.viewer.tell_error(error)
            await asyncio.sleep(POLL_BUSY if self.viewer.logic.busy else POLL_IDLE)

    def start_worker(self) -> None:
        """Start the worker early, so that the first job finds its models loaded."""

        def told(info: dict[str, Any]) -> None:
            devices = [{"value": "auto", "title": "automatic"}]
            devices += [{"value": d["name"], "title": d.get("label", d["name"])} for d in info.get("devices", [])]
            self.viewer.state.devices = devices
            self.viewer.state.worker_state = "ready"
            self.viewer.scans.refresh()

        self.viewer.logic.hello(told, self._on_error)

    # -- settings

    def settings(self) -> dict[str, Any]:
        """The page's fields as the engine's settings.

        Raises:
            SettingsError: a field does not hold a number.
        """
        state = self.viewer.state
        out: dict[str, Any] = {
            "model": state.model, "saliency": state.saliency_method, "fusion": state.set_fusion,
            "mask_rule": state.set_rule or None, "device": state.set_device, "force": bool(state.set_force),
        }  # fmt: skip
        for field, (name, kind) in FIELDS.items():
            text = str(state[field]).strip()
            if text:
                out[name] = self._number(text, kind, name)
        steps = str(state.set_steps).strip().lower()
        out["steps"] = None if steps == "full" else self._number(steps or "10", int, "steps")
        return out

    @staticmethod
    def _number(text: str, kind: type, name: str) -> Any:
        try:
            return kind(text.replace(",", "."))
        except ValueError as error:
            raise SettingsError(
                f"'{text}' is not possible for {name.replace('_', ' ')}.",
                f"A {'whole ' if kind is int else ''}number is needed.",
                "Correct it under Advanced settings.",
            ) from error

    def default_settings(self) -> None:
        """All fields back to the defaults."""
        self.viewer.state.update(DEFAULTS)

    # -- starting

    def find(self) -> None:
        """Compute the saliency of the scan."""
        volume = self.viewer.scans.volume
        if volume is None or self.viewer.logic.busy:
            return
        with self.viewer.told():
            self.viewer.logic.computeSaliency(volume, self.settings(), self._callbacks(self._on_saliency))
            self._begin("saliency", "Looking for lesions")

    def heal_volume(self) -> None:
        """Heal every slice that is called for."""
        self._heal(None)

    def heal_slice(self) -> None:
        """Heal the axial slice in view."""
        self._heal(self.viewer.display.slice_index())

    def _heal(self, index: int | None) -> None:
        viewer = self.viewer
        volume = viewer.scans.volume
        if volume is None or viewer.logic.busy:
            return
        drawn = viewer.state.heal_mask == "drawn"
        with viewer.told():
            viewer.logic.heal(
                volume,
                self.settings(),
                self._callbacks(self._on_healed),
                maskNode=viewer.masks.segmentation if drawn else None,
                sliceIndex=index,
                viewSlice=max(0, viewer.display.slice_index()),
            )
            self._slice_only = index is not None
            self._begin("heal", "Healing" if index is None else f"Healing slice {scene.stackIndex(volume, index) + 1}")

    def cancel(self) -> None:
        """Stop the job under way."""
        if self.viewer.logic.busy:
            self.viewer.say("Stopping …")
            self.viewer.logic.cancel()

    def _begin(self, kind: str, text: str) -> None:
        state = self.viewer.state
        self.volume = self.viewer.scans.volume
        state.update({"running": kind, "progress": 0, "time_left": "", "saved_text": "", "worker_state": "ready"})
        self.viewer.dismiss()
        self.viewer.say(text)
        self.viewer.started = time.monotonic()
        self.viewer.masks.outline_only(kind == "heal")
        self.refresh()

    def _elsewhere(self, result: Any, what: str) -> bool:
        """Whether a result belongs to another scan than the one shown; then it is only told."""
        owner = result.volumeNode
        if owner is self.viewer.scans.volume:
            return False
        name = owner.GetName() if owner is not None else "The other scan"
        self.viewer.say(f"{name}: {what}. Choose it in step 1 to see it.")
        self._soon()
        return True

    def _end(self) -> None:
        self.viewer.state.update({"running": "", "previewing": False, "time_left": "", "progress": 0})
        self.viewer.masks.outline_only(False)
        self.refresh()

    # -- what comes back (the run is closed only after its callback: layers are brought up to date a moment later)

    def _callbacks(self, on_done: Any) -> Callbacks:
        return Callbacks(self._on_progress, self._on_preview, on_done, self._on_error, self._on_cancelled)

    def _on_progress(self, stage: str, done: int, total: int, seconds_left: float | None) -> None:
        self.viewer.state.update(
            {"progress": round(100 * done / total) if total else 0, "time_left": left(seconds_left)}
        )
        self.viewer.say(STAGES.get(stage, stage))

    @property
    def preview(self) -> Any:
        """The volume that shows the healing of the scan shown, or ``None``."""
        return self.viewer.logic.previewNode if self.volume is self.viewer.scans.volume else None

    def _on_preview(self) -> None:
        state = self.viewer.state
        if self.preview is None:
            return
        if not state.previewing:
            state.previewing = True
            state.first_preview_s = round(time.monotonic() - self.viewer.started, 3)
            self.viewer.display.refresh()
        self.viewer.board.render()

    def _on_saliency(self, result: Any) -> None:
        self._end()
        if self._elsewhere(result, "the saliency is ready"):
            return
        flagged = sum(bool(row.get("judged_lesion")) for row in result.slices)
        self.viewer.state.saliency_on = True
        self.viewer.results.refresh()
        top = max(result.slices, key=lambda row: row.get("lesion_probability") or 0, default=None)
        if flagged and top:
            self.viewer.display.go_to_slice(top["index"])
        self.viewer.state.step = 4 if flagged and not self.viewer.state.mask_ml else self.viewer.state.step
        self.viewer.say(
            f"{flagged} of {len(result.slices)} slices judged to show a lesion."
            if flagged
            else "No slice was judged to show a lesion. Draw a mask to heal there."
        )
        self._warn(result)

    def _on_healed(self, result: Any) -> None:
        self._end()
        if self._elsewhere(result, "it was healed"):
            return
        state = self.viewer.state
        summary = result.summary
        self.viewer.results.refresh()
        healed = summary.get("slices_healed") or 0
        if healed:
            state.update({"step": 5, "blend": 1.0})
            self.viewer.display.show_layout("compare")
            self.viewer.results.jump_to_lesion(result)
        ml = summary.get("lesion_ml")
        self.viewer.say(
            f"{counted(healed)} healed in {summary.get('seconds') or 0:.0f} s; lesion {ml or 0:.1f} mL."
            if healed
            else "Nothing was healed: no slice was judged to show a lesion. Draw a mask, or lower the gate."
        )
        self._warn(result)

    def _warn(self, result: Any) -> None:
        if result.warnings:
            self.viewer.notice("Please note", result.warnings[0], " ".join(result.warnings[1:3]), "warning")

    def _on_error(self, error: Any) -> None:
        self._end()
        if getattr(error, "className", "") in ("WorkerDiedError", "WorkerVersionError", "WorkerStartError"):
            self.viewer.state.worker_state = "down"
        self.viewer.tell_error(error)
        self._soon()

    def _on_cancelled(self) -> None:
        self._end()
        self.viewer.state.cancelled_s = round(time.monotonic() - self.viewer.started, 3)
        self.viewer.say("Cancelled. Nothing was changed.")
        self._soon()

    def _soon(self) -> None:
        """After the run has put its preview away, show the scan again."""

        async def refresh() -> None:
            await asyncio.sleep(0)
            with self.viewer.state:
                self.viewer.display.refresh()

        asyncio.get_running_loop().create_task(refresh())

    # -- what can be done

    def refresh(self) -> None:
        """Whether Heal can be pressed, and why not."""
        state, volume = self.viewer.state, self.viewer.scans.volume
        if volume is None:
            hint = "Open a scan first."
        elif not state.models:
            hint = "No healing model is installed."
        elif state.modality and not state.set_force and not self._fits():
            hint = f"{state.model} is not for {state.modality}. Correct that in step 1, or allow it under Advanced."
        else:
            hint = ""
        state.heal_hint = hint
        state.can_heal = not hint and not state.running and not state.busy

        self._estimate()

    def _estimate(self) -> None:
        """Ask the worker, when it is free, what a healing will take; once for each question."""
        state, volume, logic = self.viewer.state, self.viewer.scans.volume, self.viewer.logic
        if volume is None or not state.can_heal or state.worker_state != "ready" or logic.busy:
            return
        slices = state.mask_slices if state.heal_mask == "drawn" else state.flagged or scene.sliceCount(volume)
        try:
            settings = self.settings()
        except SettingsError:
            return
        question = (volume.GetID(), slices, tuple(sorted((k, str(v)) for k, v in settings.items())))
        if question == self._estimated:
            return
        self._estimated = question

        def told(answer: dict[str, Any]) -> None:
            if question == self._estimated:
                device = str(answer.get("device") or "")
                state.estimate = f"About {duration(answer.get('seconds'))} for {counted(slices)} on {device.upper()}."
                state.estimate_warning = answer.get("warning") or ""

        with suppress(Exception):  # it is a courtesy: what is wrong will be said when Heal is pressed
            logic.estimate(volume, settings, told, slices=slices)

    def _fits(self) -> bool:
        cards = self.viewer.logic.modelsFor(self.viewer.scans.volume)
        return any(card["fits"] for card in cards if card["name"] == self.viewer.state.model)
