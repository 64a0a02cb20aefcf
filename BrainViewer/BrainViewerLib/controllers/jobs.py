"""Saliency and healing: what is sent to the worker, what comes back, and what the page says meanwhile."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from BrainCounterfactualLib import texts

from BrainCounterfactualCommon.scene import volumes
from BrainCounterfactualCommon.worker import models
from braindiffusion.errors import SettingsError
from BrainViewerLib.controllers.fields import HEAL, heal_settings
from BrainViewerLib.controllers.maskdesk import MaskDesk
from BrainViewerLib.controllers.resultdesk import ResultDesk
from BrainViewerLib.controllers.words import counted, duration
from BrainViewerLib.controllers.work import Work
from BrainViewerLib.server.messages import Messages
from BrainViewerLib.shown import Shown
from BrainViewerLib.signals import Signal
from BrainViewerLib.views.display import Display

POLL_BUSY, POLL_IDLE = 0.03, 0.2


class Jobs(Work):
    """Saliency and healing.

    Attributes:
        models_known: called when the worker has said which models and devices there are.
    """

    def __init__(
        self, state: Any, messages: Messages, shown: Shown, display: Display, masks: MaskDesk, results: ResultDesk
    ) -> None:
        super().__init__(state, messages, shown, shown.heal, display, masks)
        self.results = results
        self.models_known = Signal()
        self._estimated: Any = None

    async def keep_polling(self) -> None:
        """Hand over what the worker tells, for as long as the server runs."""
        while True:
            try:
                with self.state:
                    self.logic.poll()
            except Exception as error:
                with self.state:
                    self.messages.show_error(error)
            await asyncio.sleep(POLL_BUSY if self.shown.busy else POLL_IDLE)

    def start_worker(self) -> None:
        """Start the worker early, so that the first job finds its models loaded."""

        def told(info: dict[str, Any]) -> None:
            devices = [{"value": "auto", "title": "automatic"}]
            devices += [{"value": d["name"], "title": d.get("label", d["name"])} for d in info.get("devices", [])]
            self.state.devices = devices
            self.state.worker_state = "ready"
            self.models_known()

        self.logic.hello(told, self._on_error)

    # -- settings

    def default_settings(self) -> None:
        """All fields back to the defaults."""
        self.state.update(HEAL)

    # -- starting

    def find(self) -> None:
        """Compute the saliency of the scan."""
        volume = self.shown.volume
        if volume is None or self.shown.busy:
            return
        with self.messages.report_errors():
            self.logic.computeSaliency(volume, heal_settings(self.state), self.callbacks(self._on_saliency))
            self.begin("saliency", "Looking for lesions", covers=False)

    def heal_volume(self) -> None:
        """Heal every slice that is called for."""
        self._heal(None)

    def heal_slice(self) -> None:
        """Heal the axial slice in view."""
        self._heal(self.display.slice_index())

    def _heal(self, index: int | None) -> None:
        volume = self.shown.volume
        if volume is None or self.shown.busy:
            return
        drawn = self.state.heal_mask == "drawn" and self.state.method_masked
        with self.messages.report_errors():
            self.logic.heal(
                volume,
                heal_settings(self.state),
                self.callbacks(self._on_healed),
                maskNode=self.masks.mask.node() if drawn else None,
                sliceIndex=index,
                viewSlice=max(0, self.display.slice_index()),
            )
            self.begin("heal", "Healing" if index is None else f"Healing slice {volumes.stackIndex(volume, index) + 1}")

    def _on_saliency(self, result: Any) -> None:
        self.end()
        if self.elsewhere(result.volumeNode, "the saliency is ready"):
            return
        flagged = sum(bool(row.get("judged_lesion")) for row in result.slices)
        self.state.saliency_on = True
        self.results.refresh()
        top = max(result.slices, key=lambda row: row.get("lesion_probability") or 0, default=None)
        if flagged and top:
            self.display.go_to_slice(top["index"])
        self.messages.say(
            f"{flagged} of {len(result.slices)} slices judged to show a lesion. Step 4 heals there."
            if flagged
            else "No slice was judged to show a lesion. Draw a mask to heal there."
        )
        self.warn(result)

    def _on_healed(self, result: Any) -> None:
        self.end()
        if self.elsewhere(result.volumeNode, "it was healed"):
            return
        state = self.state
        summary = result.summary
        self.results.refresh()
        healed = summary.get("slices_healed") or 0
        if healed:
            state.update({"step": 5, "blend": 1.0})
            self.display.show_layout("compare")
            self.results.jump_to_lesion(result)
        ml = summary.get("lesion_ml")
        self.messages.say(
            f"{counted(healed)} healed in {summary.get('seconds') or 0:.0f} s; lesion {ml or 0:.1f} mL."
            if healed
            else "Nothing was healed: no slice was judged to show a lesion. Draw a mask, or lower the gate."
        )
        self.warn(result)

    # -- what can be done

    def refresh_methods(self) -> None:
        """The methods, as the worker told them; those that lack a model can be seen, not chosen."""
        state, methods = self.state, self.logic.methods()
        tips = texts.methodTips(methods)
        barred = {method["name"] for method in methods if not method["available"]}
        state.methods = [
            {"value": name, "title": label, "tip": tips.get(name, ""), "barred": name in barred}
            for name, label in texts.methodChoices(methods, state.method)
        ]
        chosen = models.methodNamed(methods, state.method)
        state.method_masked = chosen is None or bool(chosen["masked"])
        state.method_about = chosen["about"] if chosen is not None else ""

    def refresh(self) -> None:
        """Whether Heal can be pressed, and why not."""
        state, volume = self.state, self.shown.volume
        self.refresh_methods()
        if volume is None:
            hint = "Open a scan first."
        elif not state.models:
            hint = "No healing model is installed."
        elif state.modality and not state.set_force and not self._fits():
            hint = f"{state.model} is not for {state.modality}. Correct that in step 1, or allow it under Advanced."
        elif state.heal_mask == "auto" and state.method_masked and not (state.set_force or self._can_find()):
            hint = f"Nothing finds lesions on {state.modality or 'this'} scans yet: draw a mask in step 3."
        else:
            hint = ""
        state.heal_hint = hint
        state.can_find = volume is not None and (bool(state.set_force) or self._can_find())
        state.can_heal = not hint and not state.running and not state.busy
        if state.mode == self.mode:
            self._estimate()

    def _estimate(self) -> None:
        """Ask the worker, when it is free, what a healing will take; once for each question."""
        state, volume = self.state, self.shown.volume
        if volume is None or not state.can_heal or state.worker_state != "ready" or self.shown.busy:
            return
        drawn = state.heal_mask == "drawn" and state.method_masked
        slices = state.mask_slices if drawn else state.flagged or volumes.sliceCount(volume)
        try:
            settings = heal_settings(self.state)
        except SettingsError:
            return
        question = (volume.GetID(), slices, tuple(sorted((k, str(v)) for k, v in settings.items())))
        if question == self._estimated:
            return
        self._estimated = question

        def told(answer: dict[str, Any]) -> None:
            if question == self._estimated:
                device = str(answer.get("device") or "")
                most = "" if drawn or state.flagged else "at most "  # nobody knows yet how many will be healed
                time = duration(answer.get("seconds"))
                state.estimate = f"About {time} for {most}{counted(slices)} on {device.upper()}."
                state.estimate_warning = answer.get("warning") or ""

        with suppress(Exception):  # it is a courtesy: what is wrong will be said when Heal is pressed
            self.logic.estimate(volume, settings, told, slices=slices)

    def _can_find(self) -> bool:
        """Whether a classifier knows the scan's contrast: without one, somebody has to say where the lesion is."""
        modality = self.state.modality
        return any(models.fits(card, modality) for card in self.logic.models("classifier")) or not modality

    def _fits(self) -> bool:
        cards = self.logic.modelsFor(self.shown.volume, self.state.method)
        return any(card["fits"] for card in cards if card["name"] == self.state.model)
