"""Making and painting lesions, and healing them again: what is sent to the worker, and what comes back."""

from __future__ import annotations

from typing import Any

import numpy as np
from BrainLesionSimLib import texts
from BrainLesionSimLib.settings import settingsOf, shapeOf

from BrainCounterfactualCommon.scene import volumes
from braindiffusion.settings import MARGIN_INDUCERS
from BrainViewerLib.controllers.fields import INDUCE, induce_parameters
from BrainViewerLib.controllers.inductiondesk import DRAWN, InductionDesk
from BrainViewerLib.controllers.maskdesk import MaskDesk
from BrainViewerLib.controllers.work import Work
from BrainViewerLib.server.messages import Messages
from BrainViewerLib.shown import Shown
from BrainViewerLib.views.display import Display


def page_choices(choices: list[tuple[str, str]]) -> list[dict[str, str]]:
    """The module's ``(value, text)`` pairs, for a drop-down."""
    return [{"value": value, "title": text[0].upper() + text[1:]} for value, text in choices]


class Inducing(Work):
    """Lesions: generated, induced, healed again."""

    def __init__(
        self, state: Any, messages: Messages, shown: Shown, display: Display, masks: MaskDesk, inductions: InductionDesk
    ) -> None:
        super().__init__(state, messages, shown, shown.induce, display, masks)
        self.inductions = inductions
        self._made: Any = None
        self._drawn_ml: float | None = None
        self._before = 0
        state = self.state
        state.shape_kinds = page_choices(texts.shapeKindChoices())
        state.sides = page_choices(texts.sideChoices())
        state.lobes = page_choices(texts.lobeChoices())
        state.conditions = page_choices(texts.conditionChoices())
        state.heal_regions = page_choices(texts.regionChoices())

    # -- settings

    def default_settings(self) -> None:
        """All fields back to the defaults."""
        self.state.update(INDUCE)

    # -- starting

    def make_lesion(self) -> None:
        """Replace the lesion by one from the random generator."""
        volume = self.shown.volume
        if volume is None or self.shown.busy:
            return
        with self.messages.report_errors():
            asked = induce_parameters(self.state)
            settings = dict(settingsOf(asked), seed=asked.shapeSeed)
            self._made = self.masks.step_of_others()
            self.logic.makeLesion(volume, shapeOf(asked), settings, self.callbacks(self._on_made))
            self._begin("shape", "Making a lesion")

    def induce(self) -> None:
        """Paint the lesion."""
        self._paint("induce", "Painting the lesion", self.logic.induce)

    def reroll(self) -> None:
        """Paint it again, with a seed that was not used yet."""
        if self.shown.volume is not None and not self.shown.busy:
            self.state.paint_seed = str(self.logic.nextSeed(self.shown.volume))
            self.induce()

    def round_trip(self) -> None:
        """Paint the lesion, and heal it again."""
        self._paint("round-trip", "Painting the lesion", self.logic.induceThenHeal, region=self.state.heal_region)

    def heal_again(self) -> None:
        """Heal the induction in view."""
        volume = self.shown.volume
        induction = self.logic.currentResult(volume) if volume is not None else None
        if induction is None or self.shown.busy:
            return
        with self.messages.report_errors():
            self.logic.roundTrip(induction, self.callbacks(self._on_induced), self.state.heal_region)
            self._begin("heal-again", "Healing it again", healing=True)

    def _paint(self, kind: str, text: str, paint: Any, **more: Any) -> None:
        volume = self.shown.volume
        if volume is None or self.shown.busy:
            return
        with self.messages.report_errors():
            settings, here = settingsOf(induce_parameters(self.state)), max(0, self.display.slice_index())
            paint(volume, settings, self.callbacks(self._on_induced), viewSlice=here, **more)
            self._drawn_ml = float(self.state.lesion_ml)
            self._begin(kind, text)

    def _begin(self, kind: str, text: str, healing: bool = False) -> None:
        self.run.healing = healing
        self.begin(kind, text)
        self._before = self._order()
        self.inductions.refresh()

    def end(self) -> None:
        self.run.healing, self._made = False, None
        super().end()
        self.inductions.refresh()

    def _order(self) -> int:
        """Number of the induction in view; 0 for the scan as it is."""
        found = self.logic.currentResult(self.volume) if self.volume is not None else None
        return found.order if found is not None else 0

    # -- what comes back

    def on_progress(self, stage: str, done: int, total: int, seconds_left: float | None) -> None:
        super().on_progress(stage, done, total, seconds_left)
        if self.state.running == "round-trip" and not self.run.healing and self._order() > self._before:
            self.run.healing = True
            if self.volume is self.shown.volume and self.mode == self.state.mode:
                self._show(self.logic.currentResult(self.volume))

    def _on_made(self, facts: dict[str, Any]) -> None:
        made, seed = self._made, facts.get("seed", 0)
        self.end()
        if self.elsewhere(self.volume, "a lesion was made"):
            return
        made()
        state = self.state
        state.shape_seed = str(seed + 1)
        if facts.get("kind") in [choice["value"] for choice in state.paint_kinds]:
            state.paint_kind = facts["kind"]
        self._go_to_lesion()
        where = {"L": "left", "R": "right"}.get(facts.get("side") or "", "")
        told = [f"{state.lesion_ml:.1f} mL", where, facts.get("territory") or facts.get("lobe") or "", f"seed {seed}"]
        self.messages.say(f"A lesion was made: {', '.join(part for part in told if part)}. Press again for another.")

    def _go_to_lesion(self) -> None:
        """Into the middle of the slice with the largest part of it, in all three views."""
        volume = self.shown.volume
        lesion = self.logic.lesionArray(volume)
        axis = 2 - volumes.axialAxis(volumes.ijkToRas(volume))[0]
        areas = lesion.sum(tuple(a for a in range(3) if a != axis))
        if areas.any():
            index = int(np.argmax(areas))
            kji = np.insert(np.argwhere(lesion.take(index, axis)).mean(0), axis, index)
            self.display.board.show_point((volumes.ijkToWorld(volume) @ np.append(kji[::-1], 1.0))[:3])

    def _on_induced(self, induction: Any) -> None:
        healed = self.run.healing
        drawn, self._drawn_ml = self._drawn_ml, None
        self.end()
        if drawn is not None:
            induction.tell(DRAWN, drawn)
        if self.elsewhere(induction.volumeNode, "the lesion was painted"):
            return
        self._show(induction)
        seconds = f"{induction.summary.get('seconds') or 0:.0f} s"
        if healed and induction.roundTrip:
            share = texts.remaining(induction.roundTrip)
            self.messages.say(f"Induced and healed again; {share:.0f} % of the change remains.")
        else:
            self.messages.say(f"Painted in {seconds}; lesion {induction.summary.get('lesion_ml') or 0:.1f} mL.")
        self.warn(induction)

    def _show(self, induction: Any) -> None:
        self.state.update({"induce_step": 4, "blend": 1.0})
        self.inductions.refresh()
        self.display.show_layout("compare")
        self.inductions.jump_to_lesion(induction)

    # -- what can be done

    def refresh(self) -> None:
        """Kinds on offer, whether Induce can be pressed, and why not."""
        state, volume = self.state, self.shown.volume
        offered = self.logic.kindsFor(volume, state.paint_method) if volume is not None else {}
        state.paint_kinds = page_choices(texts.kindChoices(offered))
        if offered and state.paint_kind not in offered:
            state.paint_kind = next(iter(offered))
        state.paint_methods = page_choices(texts.methodChoices(bool(self.logic.kindsFor(None, "palette"))))
        state.has_margin = state.paint_method in MARGIN_INDUCERS
        modality = self.logic.modality(volume) if volume is not None else None
        state.can_offer = bool(offered)
        state.paint_offer = texts.offer(offered, modality, self.logic.lesionModels()) if volume is not None else ""
        hint = texts.missing(volume, False, bool(offered), state.lesion_ml)
        idle = not state.running and not state.busy
        state.induce_hint = hint
        state.can_make = bool(offered) and idle
        state.can_induce = not hint and idle
        self.masks.lesion.update_margin()
