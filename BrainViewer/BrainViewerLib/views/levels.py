"""Grey levels: presets, two numbers, or dragged in a view; the same for a scan and everything made from it."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer

from BrainViewerLib.shown import Shown
from BrainViewerLib.views.board import Board

PRESETS = {  # black and white as multiples of the tissue's grey; None: of the scan's own range
    "standard": ("Standard", 0.0, 1.9),
    "contrast": ("High contrast", 0.5, 1.4),
    "bright": ("Bright lesions", 0.8, 2.2),
    "dark": ("Dark lesions, fluid", 0.0, 1.1),
    "full": ("Full range", None, None),
}
CT_PRESETS = {  # window and level in Hounsfield units
    "standard": ("Brain", 80.0, 40.0),
    "stroke": ("Stroke", 40.0, 40.0),
    "blood": ("Blood", 200.0, 80.0),
    "bone": ("Bone", 2800.0, 600.0),
    "full": ("Full range", None, None),
}


def choices(presets: dict[str, tuple[Any, ...]]) -> list[dict[str, str]]:
    """Presets for the page, in the order of their keys."""
    found = [{"value": name, "title": f"{n}  {row[0]}"} for n, (name, row) in enumerate(presets.items(), 1)]
    return [*found, {"value": "manual", "title": "Manual"}]


PRESET_CHOICES = choices(PRESETS)


def tissue_gray(sample: np.ndarray) -> float:
    """The middle grey of what is not background, by the threshold halfway between the two means."""
    inside = sample[sample > sample.min()]
    if inside.size == 0:
        return float(sample.max())
    threshold = float(inside.mean())
    for _ in range(12):
        below, above = inside[inside <= threshold], inside[inside > threshold]
        if not below.size or not above.size:
            break
        threshold = (float(below.mean()) + float(above.mean())) / 2
    above = inside[inside > threshold]
    return float(np.median(above if above.size else inside))


class Levels:
    """Black and white of the scan shown."""

    def __init__(self, state: Any, shown: Shown, board: Board) -> None:
        self.state, self.shown, self.board = state, shown, board
        self.volume: Any = None
        self._levels: dict[str, tuple[float, float]] = {}
        self._followed: dict[str, tuple[Any, int]] = {}
        self._syncing = False
        self._now = (0.0, 1.0)
        self.state.change("preset")(lambda **_: self._on_preset())
        self.state.change("level_low", "level_high")(lambda **_: self._on_typed())

    def set_scan(self, volume: Any) -> None:
        """Begin with the standard levels of a scan; ``None``: there is none."""
        for display, tag in self._followed.values():
            display.RemoveObserver(tag)
        self._followed = {}
        self.volume = volume
        if volume is None:
            return
        self._measure(volume)
        display = volume.GetDisplayNode()
        display.AutoWindowLevelOff()
        self._apply(*self._levels["standard"])
        self.follow()
        self.state.preset = "standard"

    def follow(self) -> None:
        """Notice when the levels are dragged in any view, whichever of the volumes it shows."""
        if self.volume is None:
            return
        for node in self._nodes():
            display = node.GetDisplayNode()
            if display.GetID() not in self._followed:
                tag = display.AddObserver("ModifiedEvent", self._on_display_modified)
                self._followed[display.GetID()] = (display, tag)

    def choose(self, number: int) -> None:
        """A preset by its number, counted from 1."""
        names = list(self._levels)
        if self.volume is not None and 1 <= number <= len(names):
            self.state.preset = names[number - 1]
            self._on_preset()

    def modality_changed(self) -> None:
        """Other contrasts have other presets."""
        if self.volume is not None:
            self._measure(self.volume)
            self.state.preset = "standard"
            self._on_preset()

    def take(self, told: dict[str, Any]) -> None:
        """Levels that were kept: a preset, or the two numbers."""
        preset = told.get("preset")
        if preset in self._levels:
            self._apply(*self._levels[preset])
        elif self.volume is not None and preset == "manual":
            self._apply(float(told["level_low"]), float(told["level_high"]))

    def _measure(self, volume: Any) -> None:
        values = slicer.util.arrayFromVolume(volume)
        step = max(1, round((values.size / 2e6) ** (1 / 3)))
        sample = values[::step, ::step, ::step].ravel().astype(float)
        low, high = float(values.min()), float(values.max())
        tissue = tissue_gray(sample)
        top = low + 1.05 * (float(np.percentile(sample[sample > low], 99.8)) - low) if high > low else high
        presets = CT_PRESETS if self.shown.heal.logic.modality(volume) == "CT" else PRESETS
        self._levels = {}
        for name, (_title, first, second) in presets.items():
            if first is None or second is None:
                self._levels[name] = (low, high)
            elif presets is CT_PRESETS:
                self._levels[name] = (second - first / 2, second + first / 2)
            else:
                span = tissue - low
                self._levels[name] = (low + first * span, min(low + second * span, top if name == "standard" else high))
        self.state.presets = choices(presets)
        state = self.state
        state.gray_low, state.gray_high = low, high
        state.gray_step = 1 if high - low > 100 else (high - low) / 200
        state.threshold_low, state.threshold_high = round(low + 1.35 * (tissue - low)), high

    def _apply(self, low: float, high: float) -> None:
        high = max(high, low + 1e-6 * max(1.0, abs(low)))
        self._now = (low, high)
        self._syncing = True
        try:
            for node in self._nodes():
                display = node.GetDisplayNode()
                display.AutoWindowLevelOff()
                display.SetWindowLevelMinMax(low, high)
        finally:
            self._syncing = False
        digits = 0 if high - low > 50 else 3
        self.state.update({"level_low": round(low, digits), "level_high": round(high, digits)})

    def _nodes(self) -> list[Any]:
        """The scan, what was made from it in either tab, and what is being made."""
        nodes = [self.volume, self.shown.preview(self.shown.heal), self.shown.preview(self.shown.induce)]
        nodes += [result.counterfactualNode for result in self.shown.heal.logic.results(self.volume)]
        for induction in self.shown.induce.logic.results(self.volume):
            healed = induction.healed
            nodes += [induction.diseasedNode, healed.counterfactualNode if healed is not None else None]
        return [node for node in nodes if node is not None and node.GetDisplayNode() is not None]

    def _on_preset(self) -> None:
        levels = self._levels.get(self.state.preset)
        if levels and self.volume is not None:
            self._apply(*levels)
            self.board.render()

    def _on_typed(self) -> None:
        if self.volume is None:
            return
        low, high = self.state.level_low, self.state.level_high
        display = self.volume.GetDisplayNode()
        wanted = (float(low), float(high)) if isinstance(low, int | float) and isinstance(high, int | float) else None
        now = (display.GetWindowLevelMin(), display.GetWindowLevelMax())
        if (
            wanted
            and wanted[1] > wanted[0]
            and not np.allclose(wanted, now, atol=0.51 if now[1] - now[0] > 50 else 1e-3)
        ):
            self._apply(*wanted)
            self.board.render()

    def _on_display_modified(self, display: Any, _event: str) -> None:
        """The levels were dragged in a view."""
        if self._syncing or self.volume is None:
            return
        low, high = display.GetWindowLevelMin(), display.GetWindowLevelMax()
        if np.allclose((low, high), self._now, rtol=1e-6, atol=1e-6):  # something else was modified
            return
        with self.state:
            self._apply(low, high)
            self.state.preset = "manual"
        self.board.render()
