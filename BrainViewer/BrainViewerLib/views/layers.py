"""What the views of the Heal tab show: scan, counterfactual, overlay, contours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer

from BrainCounterfactualCommon.scene import overlays
from BrainViewerLib.shown import Shown
from BrainViewerLib.views.board import LAYOUTS, Board

THIRDS = (("difference", "Difference"), ("anomaly", "Anomaly"), ("deviation", "Uncertainty"), ("saliency", "Saliency"))
GRAY, AMBER = "#7d8a99", "#e9b44c"


@dataclass(frozen=True)
class Label:
    """What is written in a view's corners.

    Attributes:
        title: of the view; ``""`` keeps its name.
        color: of the square before it; ``""`` keeps the view's own.
        under: a line below the title.
        synthetic: whether something in it was made by a network.
        live: whether it shows a run under way.
    """

    title: str = ""
    color: str = ""
    under: str = ""
    synthetic: bool = False
    live: bool = False


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


def blended(share: float, before: str, after: str) -> Label:
    """The label of the view that fades between two volumes."""
    title = before if share == 0 else after if share == 1 else f"{after} {share * 100:.0f} %"
    return Label(title, AMBER if share > 0 else GRAY, synthetic=share > 0)


class HealLayers:
    """Layers, contours and labels of the Heal tab."""

    def __init__(self, state: Any, shown: Shown, board: Board) -> None:
        self.state, self.shown, self.board = state, shown, board

    def show(self, volume: Any) -> None:
        """Fill all views of the tab."""
        state, logic, board = self.state, self.shown.heal.logic, self.board
        result = logic.currentResult(volume)
        preview = self.shown.preview(self.shown.heal)
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
        self._contours(volume, result)

    def hide(self, volume: Any) -> None:
        """Take the contours out of the views that both tabs use."""
        self._contours(volume, None)

    def label(self, tag: str, volume: Any) -> Label:
        """What is written in a view's corners."""
        state = self.state
        live = bool(state.previewing)
        if tag == "Axial" and live:
            return Label("Axial, healing", synthetic=True, live=True)
        if tag == "Counterfactual":
            return Label("Healing" if live else "Counterfactual", AMBER, synthetic=True, live=live)
        if tag == "Difference":
            under = "counterfactual − original" if state.third == "difference" else ""
            return Label(dict(THIRDS).get(state.third, "Difference"), under=under, synthetic=True)
        if tag == "Blend":
            healed = self.shown.heal.logic.currentResult(volume) is not None
            return blended(float(state.blend) if healed else 0.0, "Original", "Counterfactual")
        return Label()

    def _third(self, result: Any) -> Any:
        """The overlay of the third view, and its colour bar."""
        state = self.state
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

    def _contours(self, volume: Any, result: Any) -> None:
        """Contours of one result (``None``: of none)."""
        state = self.state
        views = self.board.node_ids(("Original", "Counterfactual", "Blend"))
        for other in self.shown.heal.logic.results(volume):
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
