"""Inductions live in the scene: a diseased volume that refers to everything made with it, and to its prior.

Nothing is kept outside of MRML, so they survive saving, closing and loading, with their order, the one in view and
which are kept.
"""

import numpy as np
import slicer

from BrainCounterfactualCommon.host import tr as _
from BrainCounterfactualCommon.scene import masks, overlays, volumes
from BrainCounterfactualCommon.scene.counterfactuals import Counterfactual
from BrainCounterfactualCommon.scene.results import Result, makeTable, nameOf
from BrainCounterfactualCommon.worker import models
from BrainLesionSimLib import displaced, drawing

KEPT = "BrainLesionSim.Kept"
LESION, MARGIN, EDITED = "Lesion", "Margin", "Edited"
INSIDE, OUTSIDE = 1, 2
"""Labels of the difference."""
TWO_COLORS = "Induced change"
_COLORS = (
    ("unchanged", (0, 0, 0, 0)),
    ("inside the lesion", (1.0, 0.35, 0.1, 1)),
    ("indirect", (0.1, 0.75, 1.0, 1)),
    ("moved", (0.9, 0.8, 0.3, 1)),
)


class Induction(Result):
    """A view of one induction in the scene.

    Attributes:
        diseasedNode: scalar volume of the scan's type; identical to it outside the edited region.
        differenceNode: labelmap, 1 visible change inside the lesion, 2 outside it, 3 moved.
        marksNode: segmentation: ``Lesion`` (inside the brain), ``Margin`` (what was free to change), ``Edited``.
        displacedNode: segmentation of displaced anatomy, or ``None``; see :mod:`BrainLesionSimLib.displaced`.
        deviationNode: float32 volume of several samples, or ``None``.
        tableNode: the effects.
        effects: what the engine measured; see :func:`figures`.
        roundTrip: how much of the prior came back; see :mod:`BrainLesionSimLib.roundtrip`.
    """

    prefix = "BrainLesionSim."
    roles = ("difference", "marks", "displaced", "deviation", "table")
    chosen = "BrainLesionSim.CurrentInduction"
    task = "induce"
    kind = "induced"

    diseasedNode = property(lambda self: self.node)
    differenceNode = property(lambda self: self._referred("difference"))
    marksNode = property(lambda self: self._referred("marks"))
    displacedNode = property(lambda self: self._referred("displaced"))
    deviationNode = property(lambda self: self._referred("deviation"))
    effects = property(lambda self: self._told("Effects"))
    roundTrip = property(lambda self: self._told("RoundTrip"))

    @property
    def healed(self):
        """The healing of the round trip (a Counterfactual), or ``None``."""
        node = self._referred("healed")
        return Counterfactual(node) if node is not None else None

    @property
    def seed(self):
        return int(self.provenance.get("settings", {}).get("seed", 0))

    @property
    def kept(self):
        """Whether the user likes it."""
        return self.node.GetAttribute(KEPT) == "1"

    @kept.setter
    def kept(self, kept):
        self.node.SetAttribute(KEPT, "1" if kept else "0")

    def marked(self, segment):
        """(k,j,i) bool of one of the marks."""
        return masks.segmentArray(self.marksNode, segment, self.node)

    def arrays(self):
        """``(role, (k,j,i) array)`` of everything to be saved."""
        yield "diseased", volumes.voxels(self.diseasedNode)
        yield "difference", volumes.voxels(self.differenceNode).astype(np.uint8)
        for role, segment in (("lesion", LESION), ("generate_mask", MARGIN)):
            yield role, self.marked(segment).astype(np.uint8)
        if self.deviationNode is not None:
            yield "deviation", volumes.voxels(self.deviationNode)
        if self.healed is not None:
            yield "healed", volumes.voxels(self.healed.counterfactualNode)

    def facts(self):
        return {"effects": self.effects, **({"round_trip": self.roundTrip} if self.roundTrip else {})}

    def remove(self):
        """Take it out of the scene, with its healings; the one before it comes into view."""
        for healing in Counterfactual.of(self.node):
            healing.remove()
        drawn = masks.maskOf(self.node, make=False)
        if drawn is not None:
            volumes.removeNode(drawn)
        Result.remove(self)


# --- making ------------------------------------------------------------------------------------------------


def make(volumeNode, arrays, data, made=None):
    """Nodes of an induction from the worker's answer; arrays are (i,j,k).

    Args:
        made: what the random generator drew, where it made the lesion.

    Returns:
        Induction: added to the scene, in the scan's study, and made the current one.
    """
    kji = {name: array.transpose() for name, array in arrays.items() if array is not None}
    order, label = Induction.nextLabel(volumeNode)

    def named(what):
        return nameOf(what, order, volumeNode)

    node = volumes.addVolume(kji["diseased"], volumeNode, named(_("Diseased")))
    overlays.sameGrays(node, volumeNode)
    models.setModality(node, models.modalityOf(volumeNode))
    others = {"difference": volumes.addVolume(kji["difference"], volumeNode, named(_("Induced change")), labelmap=True)}
    others["difference"].GetDisplayNode().SetAndObserveColorNodeID(twoColors().GetID())
    others["marks"] = _marks(volumeNode, named(_("Lesion and margin")), kji)
    moved = displaced.make(volumeNode, named(_("Displaced anatomy")), kji)
    if moved is not None:
        others["displaced"] = moved
    if "deviation" in kji:
        others["deviation"] = volumes.addVolume(kji["deviation"].astype("float32"), volumeNode, named(_("Uncertainty")))
        span = overlays.range99(kji["deviation"])
        overlays.style(others["deviation"], overlays.SPREAD, 0.0, span, threshold=1e-6)
    effects = data.get("effects", {})
    others["table"] = makeTable(("effect", "value", "unit"), figures(effects), named(_("Effects")))
    provenance = dict(data.get("provenance", {}))
    if made is not None:
        provenance["lesion"] = dict(provenance.get("lesion", {}), origin="random", **made)
    induction = Induction(node)
    induction.tell("Effects", effects)
    induction.enter(others, volumeNode, data, order, label, provenance)
    return induction


def _marks(volumeNode, name, kji):
    node = masks.newSegmentation(volumeNode, name, MARGIN, drawing.MARGIN_COLOR, kji["generate_mask"] > 0, True)
    for segment, color, array in (
        (LESION, drawing.LESION_COLOR, kji["lesion"]),
        (EDITED, (0.6, 0.6, 0.6), kji["edited"]),
    ):
        node.GetSegmentation().AddEmptySegment(segment, segment, color)
        masks.setSegmentArray(array > 0, node, segment, volumeNode)
    node.GetDisplayNode().SetSegmentVisibility(EDITED, False)
    return node


def twoColors():
    """The color table of the difference; made when missing."""
    node = slicer.util.getFirstNodeByName(TWO_COLORS, className="vtkMRMLColorTableNode")
    if node is not None:
        return node
    node = slicer.vtkMRMLColorTableNode()
    node.SetName(TWO_COLORS)
    node.SetTypeToUser()
    node.SetNumberOfColors(len(_COLORS))
    for index, (name, color) in enumerate(_COLORS):
        node.SetColor(index, name, *(float(value) for value in color))
    node.SetAttribute("Category", "BrainCounterfactual")
    return slicer.mrmlScene.AddNode(node)


def figures(effects):
    """``(name, value, unit)`` of the effects that are told, in order; values may be ``None``."""
    ventricle, shift = effects.get("ventricle", {}), effects.get("midline_shift_mm", {})
    contrast = effects.get("contrast", {})
    rows = [
        (_("Lesion"), effects.get("lesion_ml"), "mL"),
        (_("Free to change"), effects.get("generate_ml"), "mL"),
        (_("Visible change inside the lesion"), effects.get("changed_inside_ml"), "mL"),
        (_("Visible change outside it"), effects.get("changed_outside_ml"), "mL"),
        (_("Ventricles before"), ventricle.get("before_ml"), "mL"),
        (_("Ventricles after"), ventricle.get("after_ml"), "mL"),
        (_("Change of the ventricles"), ventricle.get("change_ml"), "mL"),
        (_("Midline shift, largest (+ to the left)"), shift.get("largest"), "mm"),
        (_("Midline shift, mean"), shift.get("mean"), "mm"),
        (_("Contrast to its surroundings before"), contrast.get("before"), ""),
        (_("Contrast to its surroundings after"), contrast.get("after"), ""),
    ]
    for ring in effects.get("change_by_distance", []):
        if ring.get("from_mm") is None:
            name = _("Mean change inside the lesion")
        else:
            name = _("Mean change {a:g} to {b:g} mm from it").format(a=ring["from_mm"], b=ring["to_mm"])
        rows.append((name, ring.get("mean"), ""))
    return rows
