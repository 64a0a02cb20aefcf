"""What the views show: layers, overlays, contours, grey levels, labels, fading and flicker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer
from BrainCounterfactualLib.results import isSynthetic

from BrainCounterfactualCommon import overlays, scene
from BrainViewerLib.views import COLORS, LAYOUTS

if TYPE_CHECKING:
    from BrainViewerLib.app import BrainViewer

PRESETS = {  # black and white as multiples of the tissue's grey; None: of the scan's own range
    "standard": ("Standard", 0.0, 1.9),
    "contrast": ("High contrast", 0.5, 1.4),
    "bright": ("Bright lesions", 0.8, 2.2),
    "full": ("Full range", None, None),
}
PRESET_CHOICES = [{"value": name, "title": row[0]} for name, row in PRESETS.items()] + [
    {"value": "manual", "title": "Manual"}
]
SIDES = {"Coronal": ("R", "L"), "Sagittal": ("A", "P")}
THIRDS = (("difference", "Difference"), ("anomaly", "Anomaly"), ("deviation", "Uncertainty"), ("saliency", "Saliency"))
FLICKER_SECONDS = 0.7


def gradient(color_name: str) -> str:
    """A colour table as a CSS gradient, from below to above."""
    node = overlays.colorNode(color_name)
    stops = []
    for share in np.linspace(0, 1, 13):
        red, green, blue, _alpha = node.GetLookupTable().GetTableValue(round(share * (node.GetNumberOfColors() - 1)))
        stops.append(f"rgb({red * 255:.0f},{green * 255:.0f},{blue * 255:.0f}) {share * 100:.0f}%")
    return f"linear-gradient(to top, {', '.join(stops)})"


def ticks(low: float, high: float, color_name: str) -> dict[str, str]:
    """A colour bar for the page."""

    def text(value: float) -> str:
        return f"{value:.0f}" if abs(high) >= 20 else f"{value:.2g}"

    return {"low": text(low), "middle": text((low + high) / 2), "high": text(high), "gradient": gradient(color_name)}


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


class Display:
    """Keeps the views in step with the page's choices."""

    def __init__(self, viewer: BrainViewer) -> None:
        self.viewer = viewer
        self.volume: Any = None
        self._levels: dict[str, tuple[float, float]] = {}
        self._syncing = False
        self._observed: list[tuple[Any, int]] = []
        self._flicker: asyncio.Task[None] | None = None
        state = viewer.state
        for tag in (tag for tags in LAYOUTS.values() for tag in tags):
            state[f"view_{tag}"] = self._label(tag, None)
        state.change("layout")(lambda layout, **_: self.show_layout(layout))
        state.change("saliency_on", "saliency_opacity", "saliency_threshold")(lambda **_: self.refresh())
        state.change("blend", "overlay_opacity", "overlay_range", "third", "show_mask", "show_lesion")(
            lambda **_: self.refresh()
        )
        state.change("preset")(lambda **_: self._on_preset())
        state.change("level_low", "level_high")(lambda **_: self._on_levels())
        state.change("flicker_auto")(lambda **_: self._on_flicker_auto())

    @property
    def board(self) -> Any:
        return self.viewer.board

    # -- the scan

    def set_scan(self, volume: Any) -> None:
        """Show a scan in all views."""
        self._unobserve()
        self.volume = volume
        if volume is not None:
            self._measure_levels(volume)
            display = volume.GetDisplayNode()
            display.AutoWindowLevelOff()
            self._apply_levels(*self._levels["standard"])
            self._observed.append((display, display.AddObserver("ModifiedEvent", self._on_display_modified)))
            self.viewer.state.preset = "standard"
        self.board.set_volume(volume)
        self.refresh()

    def _unobserve(self) -> None:
        for node, tag in self._observed:
            node.RemoveObserver(tag)
        self._observed = []

    # -- grey levels

    def _measure_levels(self, volume: Any) -> None:
        values = slicer.util.arrayFromVolume(volume)
        step = max(1, round((values.size / 2e6) ** (1 / 3)))
        sample = values[::step, ::step, ::step].ravel().astype(float)
        low, high = float(values.min()), float(values.max())
        tissue = tissue_gray(sample)
        top = low + 1.05 * (float(np.percentile(sample[sample > low], 99.8)) - low) if high > low else high
        self._levels = {}
        for name, (_title, black, white) in PRESETS.items():
            if black is None or white is None:
                self._levels[name] = (low, high)
            else:
                span = tissue - low
                self._levels[name] = (low + black * span, min(low + white * span, top if name == "standard" else high))
        state = self.viewer.state
        state.gray_low, state.gray_high = low, high
        state.gray_step = 1 if high - low > 100 else (high - low) / 200
        state.threshold_low, state.threshold_high = round(low + 1.35 * (tissue - low)), high

    def _apply_levels(self, low: float, high: float) -> None:
        high = max(high, low + 1e-6 * max(1.0, abs(low)))
        self._syncing = True
        try:
            for node in self._gray_nodes():
                display = node.GetDisplayNode()
                display.AutoWindowLevelOff()
                display.SetWindowLevelMinMax(low, high)
        finally:
            self._syncing = False
        digits = 0 if high - low > 50 else 3
        self.viewer.state.update({"level_low": round(low, digits), "level_high": round(high, digits)})

    def _gray_nodes(self) -> list[Any]:
        if self.volume is None:
            return []
        others = [result.counterfactualNode for result in self.viewer.logic.results(self.volume)]
        preview = self.viewer.jobs.preview
        nodes = [self.volume, *others, *([preview] if preview is not None else [])]
        return [node for node in nodes if node.GetDisplayNode() is not None]

    def _on_preset(self) -> None:
        levels = self._levels.get(self.viewer.state.preset)
        if levels and self.volume is not None:
            self._apply_levels(*levels)
            self.board.render()

    def _on_levels(self) -> None:
        if self.volume is None:
            return
        low, high = self.viewer.state.level_low, self.viewer.state.level_high
        display = self.volume.GetDisplayNode()
        wanted = (float(low), float(high)) if isinstance(low, int | float) and isinstance(high, int | float) else None
        now = (display.GetWindowLevelMin(), display.GetWindowLevelMax())
        if (
            wanted
            and wanted[1] > wanted[0]
            and not np.allclose(wanted, now, atol=0.51 if now[1] - now[0] > 50 else 1e-3)
        ):
            self._apply_levels(*wanted)
            self.board.render()

    def _on_display_modified(self, display: Any, _event: str) -> None:
        """The levels were dragged in a view."""
        if self._syncing or self.volume is None:
            return
        low, high = display.GetWindowLevelMin(), display.GetWindowLevelMax()
        with self.viewer.state:
            self._apply_levels(low, high)
            self.viewer.state.preset = "manual"
        self.board.render()

    # -- layers

    def refresh(self) -> None:
        """Layers, contours and labels of all views, from the page's choices."""
        state, volume = self.viewer.state, self.volume
        if volume is not None:
            self._show_layers()
        for tag in (tag for tags in LAYOUTS.values() for tag in tags):
            self._relabel(tag)
        state.slice_now = self.slice_index()
        self.board.render()

    def _show_layers(self) -> None:
        state, volume, logic, board = self.viewer.state, self.volume, self.viewer.logic, self.board
        result = logic.currentResult(volume)
        preview = self.viewer.jobs.preview
        saliency = logic.saliency(volume)
        saliency_node = saliency.saliencyNode if saliency else (result.saliencyNode if result else None)
        state.has_saliency = saliency_node is not None
        overlay = saliency_node if state.saliency_on else None
        if saliency_node is not None:
            overlays.style(saliency_node, overlays.HEAT, 0.0, 1.0, threshold=max(0.01, float(state.saliency_threshold)))
            if not (state.saliency_bar or {}).get("gradient"):
                state.saliency_bar = ticks(0, 1, overlays.HEAT)
        for tag in LAYOUTS["edit"]:
            live = preview is not None and tag == "Axial"
            board.set_layers(tag, preview if live else volume, None if live else overlay, float(state.saliency_opacity))
        counterfactual = result.counterfactualNode if result else None
        shown = preview if preview is not None else counterfactual
        board.set_layers("Original", volume)
        board.set_layers("Counterfactual", shown if shown is not None else volume)
        board.set_layers("Difference", volume, self._third(result), float(state.overlay_opacity))
        board.set_layers("Blend", volume, counterfactual, float(state.blend))
        self._show_contours(result)

    def _third(self, result: Any) -> Any:
        """The overlay of the third view, and its colour bar."""
        state = self.viewer.state
        available = [(name, title) for name, title in THIRDS if result and getattr(result, f"{name}Node") is not None]
        state.thirds = [{"value": name, "title": title} for name, title in available]
        if not available:
            state.bar = {}
            return None
        name = state.third if state.third in dict(available) else available[0][0]
        if name != state.third:
            state.third = name
        node = getattr(result, f"{name}Node")
        if name == "saliency":
            overlays.style(node, overlays.HEAT, 0.0, 1.0, threshold=0.05)
            state.bar = ticks(0, 1, overlays.HEAT)
            return node
        span = self._span(node) * float(state.overlay_range)
        if name == "difference":
            overlays.style(node, overlays.DIVERGING, -span, span)
            state.bar = ticks(-span, span, overlays.DIVERGING)
        else:
            overlays.style(node, overlays.SPREAD, 0.0, span, threshold=1e-6)
            state.bar = ticks(0, span, overlays.SPREAD)
        return node

    @staticmethod
    def _span(node: Any) -> float:
        """The 99th percentile of what differs from 0, kept on the node: sorting a volume takes a while."""
        kept = node.GetAttribute("BrainViewer.Span")
        if kept is None:
            kept = str(overlays.range99(slicer.util.arrayFromVolume(node)))
            node.SetAttribute("BrainViewer.Span", kept)
        return float(kept)

    def _show_contours(self, result: Any) -> None:
        state = self.viewer.state
        views = self.board.node_ids(("Original", "Counterfactual", "Blend"))
        for other in self.viewer.logic.results(self.volume):
            for node, wanted in ((other.lesionNode, state.show_lesion), (other.maskNode, state.show_mask)):
                if node is None or node.GetDisplayNode() is None:
                    continue
                display = node.GetDisplayNode()
                visible = int(bool(wanted) and result is not None and other == result)
                if list(display.GetViewNodeIDs()) != views:
                    display.SetViewNodeIDs(views)
                if display.GetVisibility() != visible:
                    display.SetVisibility(visible)
                if display.GetOpacity2DFill() != 0.0:
                    display.SetOpacity2DFill(0.0)

    # -- labels

    def moved(self, tag: str) -> None:
        """A view shows another slice."""
        if self.volume is None:
            return
        with self.viewer.state:
            self._relabel(tag)
            if tag in ("Axial", "Original", "Blend"):
                self.viewer.state.slice_now = self.slice_index()

    def _relabel(self, tag: str) -> None:
        label = self._label(tag, self.board.place(tag) if self.volume is not None else None)
        if self.viewer.state[f"view_{tag}"] != label:
            self.viewer.state[f"view_{tag}"] = label

    def _label(self, tag: str, place: Any) -> dict[str, Any]:
        state, volume = self.viewer.state, self.volume
        result = self.viewer.logic.currentResult(volume) if volume is not None else None
        synthetic = volume is not None and (isSynthetic(volume) or volume.GetName().upper().startswith("SYNTHETIC"))
        title, color, under = tag, COLORS.get(tag, "#7d8a99"), ""
        previewing = bool(state.previewing)
        if tag == "Axial" and previewing:
            synthetic, title = True, "Axial, healing"
        elif tag == "Counterfactual":
            synthetic, color = True, "#e9b44c"
            title = "Healing" if previewing else "Counterfactual"
        elif tag == "Difference":
            synthetic = True
            title = dict(THIRDS).get(state.third, "Difference")
            under = "counterfactual − original" if state.third == "difference" else ""
        elif tag == "Blend":
            share = float(state.blend)
            title = (
                "Original" if share == 0 else "Counterfactual" if share == 1 else f"Counterfactual {share * 100:.0f} %"
            )
            color = "#e9b44c" if share > 0 else "#7d8a99"
            synthetic = synthetic or (share > 0 and result is not None)
        left, right = SIDES.get(tag, ("R", "L"))
        if place is None:
            empty = dict.fromkeys(("at", "under", "left", "right"), "")
            return {"title": title, "color": color, "index": 0, "count": 0, "synthetic": False, **empty}
        return {
            "title": title,
            "color": color,
            "under": under,
            "at": f"{place.index + 1} / {place.count}  {place.millimetres:+.1f} mm",
            "index": place.index,
            "count": place.count,
            "synthetic": bool(synthetic),
            "left": left,
            "right": right,
        }

    # -- moving

    def slice_index(self) -> int:
        """The axial slice in view (index along the scan's axial voxel axis); -1 without a scan."""
        if self.volume is None:
            return -1
        tag = {"edit": "Axial", "compare": "Original", "blend": "Blend"}[self.board.layout]
        index = scene.sliceIndexOfView(self.volume, self.board[tag].get_view_node())
        return -1 if index is None else index

    def go_to(self, tag: str, index: int) -> None:
        """Move one view (and what is linked with it) to a slice."""
        self.board.go_to(tag, int(index))

    def go_to_slice(self, index: int) -> None:
        """Show an axial slice in the layout at hand."""
        if self.volume is None:
            return
        point = scene.sliceCenter(self.volume, int(index))
        tags = {"edit": ("Axial",), "compare": LAYOUTS["compare"], "blend": ("Blend",)}[self.board.layout]
        for tag in tags:
            self.board[tag].get_view_node().JumpSliceByOffsetting(*(float(value) for value in point))
            self.board[tag].schedule_render()

    def step(self, by: int) -> None:
        """Move the view under the pointer by some slices."""
        tag = self.viewer.state.active_view
        tags = LAYOUTS[self.board.layout]
        self.board.step(tag if tag in tags else tags[0], by)

    def fit(self) -> None:
        """Whole slices again."""
        if self.volume is not None:
            self.board.fit()

    # -- layouts, fading

    def show_layout(self, layout: str) -> None:
        """Make a layout the one that is seen."""
        self.viewer.state.layout = layout
        if layout in LAYOUTS and layout != self.board.layout:
            self.board.show_layout(layout)
            if layout != "blend":
                self.viewer.state.flicker_auto = False
            if layout != "edit":
                self.viewer.state.tool = "none" if self.viewer.state.tool != "level" else "level"
            self.refresh()

    def flicker(self) -> None:
        """Swap original and counterfactual in one place."""
        state = self.viewer.state
        if not state.result_id:
            return
        if state.layout != "blend":
            state.layout, state.blend = "blend", 1.0
        else:
            state.blend = 0.0 if float(state.blend) > 0.5 else 1.0

    def _on_flicker_auto(self) -> None:
        if self._flicker is not None:
            self._flicker.cancel()
            self._flicker = None
        if self.viewer.state.flicker_auto:
            self._flicker = asyncio.get_event_loop().create_task(self._keep_flickering())

    async def _keep_flickering(self) -> None:
        while self.viewer.state.flicker_auto:
            with self.viewer.state as state:
                state.blend = 0.0 if float(state.blend) > 0.5 else 1.0
            await asyncio.sleep(FLICKER_SECONDS)
