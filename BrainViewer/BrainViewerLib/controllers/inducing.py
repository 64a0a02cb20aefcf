"""Making and painting lesions, and healing them again: what is sent to the worker, and what comes back."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from BrainLesionSimLib import texts
from BrainLesionSimLib.roundtrip import LESION
from BrainLesionSimLib.settings import settingsOf, shapeOf

from BrainCounterfactualCommon.host import Problem
from BrainCounterfactualCommon.scene import volumes
from braindiffusion.errors import SettingsError
from braindiffusion.settings import MARGIN_INDUCERS, InduceSettings
from BrainViewerLib.controllers.words import steps_of, typed
from BrainViewerLib.controllers.work import Work

if TYPE_CHECKING:
    from BrainViewerLib.app import BrainViewer

USUAL = InduceSettings()
DEFAULTS: dict[str, Any] = {
    "paint_method": USUAL.method,
    "paint_condition": USUAL.condition,
    "paint_steps": str(USUAL.steps),
    "paint_resamples": "",
    "paint_margin": "",
    "paint_samples": "1",
    "paint_seed": "0",
    "heal_region": LESION,
}
SENT_SHAPE = ("shape_kind", "shape_ml", "shape_side", "shape_lobe", "shape_seed", "set_device")
SENT = ("paint_kind", "set_device", *DEFAULTS)
"""What a click on Make, and on Induce, takes along."""
DRAWN = "DrawnMl"
"""Told of an induction: how large the lesion was as drawn."""
WATCHED = ("paint_kind", "lesion_ml", *DEFAULTS)
"""What decides whether a lesion can be painted, and how far its margin reaches."""


def page_choices(choices: list[tuple[str, str]]) -> list[dict[str, str]]:
    """The module's ``(value, text)`` pairs, for a drop-down."""
    return [{"value": value, "title": text[0].upper() + text[1:]} for value, text in choices]


class Inducing(Work):
    """Lesions: made, painted, healed again.

    Attributes:
        healing: whether the run under way heals what was painted.
    """

    def __init__(self, viewer: BrainViewer) -> None:
        super().__init__(viewer, viewer.simulator, "induce")
        self.healing = False
        self._made: Any = None
        self._drawn_ml: float | None = None
        self._before = 0
        state = viewer.state
        state.shape_kinds = page_choices(texts.shapeKindChoices())
        state.sides = page_choices(texts.sideChoices())
        state.lobes = page_choices(texts.lobeChoices())
        state.conditions = page_choices(texts.conditionChoices())
        state.heal_regions = page_choices(texts.regionChoices())

    # -- settings

    def parameters(self) -> SimpleNamespace:
        """The page's fields as the module's parameter node has them.

        Raises:
            SettingsError: a field does not hold a number.
        """
        state = self.viewer.state

        def of(field: str, kind: type, empty: Any) -> Any:
            text = str(state[field]).strip()
            return typed(text, kind, field.partition("_")[2]) if text else empty

        return SimpleNamespace(
            method=state.paint_method, kind=state.paint_kind, condition=state.paint_condition,
            steps=steps_of(str(state.paint_steps), DEFAULTS["paint_steps"]),
            resamples=of("paint_resamples", int, 0), marginMm=of("paint_margin", float, -1.0), massEffect=0.0,
            samples=of("paint_samples", int, 1), seed=of("paint_seed", int, 0), device=state.set_device,
            shapeKind=state.shape_kind, shapeMl=of("shape_ml", float, 0.0), shapeSide=state.shape_side,
            shapeLobe=state.shape_lobe, shapeSeed=of("shape_seed", int, 0),
        )  # fmt: skip

    def default_settings(self) -> None:
        """All fields back to the defaults."""
        self.viewer.state.update(DEFAULTS)

    def reach(self) -> float | None:
        """How far the margin reaches, mm; ``None`` where the method has none, or a field cannot be read."""
        try:
            return self.logic.marginMm(self.viewer.scans.volume, settingsOf(self.parameters()))
        except (SettingsError, Problem):
            return None

    # -- starting

    def make_lesion(self) -> None:
        """Replace the lesion by one from the random generator."""
        volume = self.viewer.scans.volume
        if volume is None or self.viewer.busy:
            return
        with self.viewer.told():
            asked = self.parameters()
            settings = dict(settingsOf(asked), seed=asked.shapeSeed)
            self._made = self.viewer.masks.step_of_others()
            self.logic.makeLesion(volume, shapeOf(asked), settings, self.callbacks(self._on_made))
            self._begin("shape", "Making a lesion")

    def induce(self) -> None:
        """Paint the lesion."""
        self._paint("induce", "Painting the lesion", self.logic.induce)

    def reroll(self) -> None:
        """Paint it again, with a seed that was not used yet."""
        if self.viewer.scans.volume is not None and not self.viewer.busy:
            self.viewer.state.paint_seed = str(self.logic.nextSeed(self.viewer.scans.volume))
            self.induce()

    def round_trip(self) -> None:
        """Paint the lesion, and heal it again."""
        self._paint(
            "round-trip", "Painting the lesion", self.logic.induceThenHeal, region=self.viewer.state.heal_region
        )

    def heal_again(self) -> None:
        """Heal the induction in view."""
        viewer = self.viewer
        volume = viewer.scans.volume
        induction = self.logic.currentResult(volume) if volume is not None else None
        if induction is None or viewer.busy:
            return
        with viewer.told():
            self.logic.roundTrip(induction, self.callbacks(self._on_induced), viewer.state.heal_region)
            self._begin("heal-again", "Healing it again", healing=True)

    def _paint(self, kind: str, text: str, paint: Any, **more: Any) -> None:
        viewer = self.viewer
        volume = viewer.scans.volume
        if volume is None or viewer.busy:
            return
        with viewer.told():
            settings, here = settingsOf(self.parameters()), max(0, viewer.display.slice_index())
            paint(volume, settings, self.callbacks(self._on_induced), viewSlice=here, **more)
            self._drawn_ml = float(viewer.state.lesion_ml)
            self._begin(kind, text)

    def _begin(self, kind: str, text: str, healing: bool = False) -> None:
        self.healing = healing
        self.begin(kind, text)
        self._before = self._order()
        self.viewer.inductions.refresh()

    def end(self) -> None:
        self.healing, self._made = False, None
        super().end()
        self.viewer.inductions.refresh()

    def _order(self) -> int:
        """Number of the induction in view; 0 for the scan as it is."""
        found = self.logic.currentResult(self.volume) if self.volume is not None else None
        return found.order if found is not None else 0

    # -- what comes back

    def on_progress(self, stage: str, done: int, total: int, seconds_left: float | None) -> None:
        super().on_progress(stage, done, total, seconds_left)
        if self.viewer.state.running == "round-trip" and not self.healing and self._order() > self._before:
            self.healing = True
            if self.volume is self.viewer.scans.volume and self.mode == self.viewer.state.mode:
                self._show(self.logic.currentResult(self.volume))

    def _on_made(self, facts: dict[str, Any]) -> None:
        made, seed = self._made, facts.get("seed", 0)
        self.end()
        if self.elsewhere(self.volume, "a lesion was made"):
            return
        made()
        state = self.viewer.state
        state.shape_seed = str(seed + 1)
        if facts.get("kind") in [choice["value"] for choice in state.paint_kinds]:
            state.paint_kind = facts["kind"]
        self._go_to_lesion()
        where = {"L": "left", "R": "right"}.get(facts.get("side") or "", "")
        told = [f"{state.lesion_ml:.1f} mL", where, facts.get("territory") or facts.get("lobe") or "", f"seed {seed}"]
        self.viewer.say(f"A lesion was made: {', '.join(part for part in told if part)}. Press again for another.")

    def _go_to_lesion(self) -> None:
        """Into the middle of the slice with the largest part of it, in all three views."""
        volume = self.viewer.scans.volume
        lesion = self.logic.lesionArray(volume)
        axis = 2 - volumes.axialAxis(volumes.ijkToRas(volume))[0]
        areas = lesion.sum(tuple(a for a in range(3) if a != axis))
        if areas.any():
            index = int(np.argmax(areas))
            kji = np.insert(np.argwhere(lesion.take(index, axis)).mean(0), axis, index)
            self.viewer.board.show_point((volumes.ijkToWorld(volume) @ np.append(kji[::-1], 1.0))[:3])

    def _on_induced(self, induction: Any) -> None:
        healed = self.healing
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
            self.viewer.say(f"Induced and healed again; {share:.0f} % of the change remains.")
        else:
            self.viewer.say(f"Painted in {seconds}; lesion {induction.summary.get('lesion_ml') or 0:.1f} mL.")
        self.warn(induction)

    def _show(self, induction: Any) -> None:
        viewer = self.viewer
        viewer.state.update({"induce_step": 4, "blend": 1.0})
        viewer.inductions.refresh()
        viewer.display.show_layout("compare")
        viewer.inductions.jump_to_lesion(induction)

    # -- what can be done

    def refresh(self) -> None:
        """Kinds on offer, whether Induce can be pressed, and why not."""
        state, volume = self.viewer.state, self.viewer.scans.volume
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
        self.viewer.masks.lesion.update_margin()
