"""What the views of the Induce tab show: original, lesion with the change in two colours, diseased, healed again."""

from __future__ import annotations

from typing import Any

from BrainLesionSimLib.inductions import EDITED, LESION, MARGIN

from BrainCounterfactualCommon.scene import masks
from BrainCounterfactualCommon.scene.counterfactuals import Counterfactual
from BrainViewerLib.shown import Shown
from BrainViewerLib.views.board import LAYOUTS, Board
from BrainViewerLib.views.layers import AMBER, GRAY, Label, blended

RED = "#ef5350"


class InduceLayers:
    """Layers, outlines and labels of the Induce tab."""

    def __init__(self, state: Any, shown: Shown, board: Board) -> None:
        self.state, self.shown, self.board = state, shown, board

    def show(self, volume: Any) -> None:
        """Fill all views of the tab."""
        state, board, inducing = self.state, self.board, self.shown.induce
        board.make("induced")
        induction = self.shown.induce.logic.currentResult(volume)
        state.has_saliency = False
        painting = None if inducing.healing else self.shown.preview(inducing)
        healing = self.shown.preview(inducing) if inducing.healing else None
        for tag in LAYOUTS["edit"]:
            board.set_layers(tag, painting if painting is not None and tag == "Axial" else volume)
        diseased = induction.diseasedNode if induction is not None else None
        healed = induction.healed.counterfactualNode if induction is not None and induction.healed else None
        change = induction.differenceNode if induction is not None and painting is None else None
        board.set_layers("Prior", volume)
        board.set_layers("Lesion", volume, label=change, label_opacity=float(state.change_opacity))
        board.set_layers("Diseased", _first(painting, diseased, volume))
        # while it is being healed: nothing, until there is a first preview; never the lesion under that name
        board.set_layers("Healed", healing if inducing.healing else healed)
        board.set_layers("Blend", volume, diseased, float(state.blend))
        board.show_healed(bool(state.healed_view))
        self._marks(volume, induction)

    def hide(self, volume: Any) -> None:
        """Take the outlines out of the views that both tabs use."""
        self._marks(volume, None)

    def label(self, tag: str, volume: Any) -> Label:
        """What is written in a view's corners."""
        inducing = self.shown.induce
        live = bool(self.state.previewing)
        painting, healing = live and not inducing.healing, live and inducing.healing
        if tag == "Axial" and painting:
            return Label("Axial, painting", synthetic=True, live=True)
        if tag == "Prior":
            return Label("Original", GRAY)
        if tag == "Lesion":
            return Label("Lesion and change", RED, synthetic=True)
        if tag == "Diseased":
            return Label("Painting" if painting else "Diseased", AMBER, synthetic=True, live=painting)
        if tag == "Healed":
            if inducing.healing and not healing:
                return Label("Healing", AMBER, under="no picture yet")
            return Label("Healing" if healing else "Healed again", AMBER, synthetic=True, live=healing)
        if tag == "Blend":
            diseased = self.shown.induce.logic.currentResult(volume) is not None
            return blended(float(self.state.blend) if diseased else 0.0, "Original", "Diseased")
        return Label()

    def _marks(self, volume: Any, induction: Any) -> None:
        """Outlines of the lesion and of what was free to change, of one induction (``None``: of none)."""
        state = self.state
        views = self.board.node_ids(("Lesion", "Blend"))
        for other in self.shown.induce.logic.results(volume):
            display = other.marksNode.GetDisplayNode() if other.marksNode is not None else None
            if display is None:
                continue
            if list(display.GetViewNodeIDs()) != views:
                display.SetViewNodeIDs(views)
            display.SetVisibility(int(induction is not None and other == induction))
            for segment, wanted in ((LESION, state.show_lesion), (MARGIN, state.show_margin), (EDITED, False)):
                display.SetSegmentVisibility(segment, bool(wanted))
            self._hide_healing(other)

    @staticmethod
    def _hide_healing(induction: Any) -> None:
        """What the healing of a round trip drew would cover what is compared."""
        drawn = [masks.maskOf(induction.node, make=False)]
        for healing in Counterfactual.of(induction.node):
            drawn += [healing.lesionNode, healing.maskNode]
        for node in drawn:
            if node is not None and node.GetDisplayNode() is not None:
                node.GetDisplayNode().SetVisibility(0)


def _first(*nodes: Any) -> Any:
    return next(node for node in nodes if node is not None)
