"""Inductions live in the scene: a diseased volume that refers to everything made with it, and to its prior.

Nothing is kept outside of MRML, so they survive saving, closing and loading, with their order, the one in view and
which are kept.
"""

import json

import numpy as np
import slicer
from BrainCounterfactualLib import masks, models
from BrainCounterfactualLib import results as healings

from BrainCounterfactualCommon import overlays, scene
from BrainCounterfactualCommon.host import tr as _
from BrainLesionSimLib import drawing

PREFIX = healings.PREFIX
ORDER = "BrainLesionSim.Order"
CURRENT = "BrainLesionSim.CurrentInduction"
EFFECTS = "BrainLesionSim.Effects"
SUMMARY = "BrainLesionSim.Summary"
SLICES = "BrainLesionSim.Slices"
ROUND_TRIP = "BrainLesionSim.RoundTrip"
KEPT = "BrainLesionSim.Kept"
ROLES = ("difference", "marks", "deviation", "table")
LESION, MARGIN, EDITED = "Lesion", "Margin", "Edited"
INSIDE, OUTSIDE = 1, 2
"""Labels of the difference."""
TWO_COLORS = "Induced change"
_COLORS = (("unchanged", (0, 0, 0, 0)), ("inside the lesion", (1.0, 0.35, 0.1, 1)), ("indirect", (0.1, 0.75, 1.0, 1)))


class Induction:
    """A view of one induction in the scene.

    Attributes:
        diseasedNode: scalar volume of the scan's type; identical to it outside the edited region.
        differenceNode: labelmap, 1 visible change inside the lesion, 2 outside it.
        marksNode: segmentation: ``Lesion`` (inside the brain), ``Margin`` (what was free to change), ``Edited``.
        deviationNode: float32 volume of several samples, or ``None``.
        tableNode: the effects.
    """

    def __init__(self, node):
        self.node = node

    def _referred(self, role):
        return self.node.GetNodeReference("BrainLesionSim." + role)

    diseasedNode = property(lambda self: self.node)
    volumeNode = property(lambda self: self.node.GetNodeReference(healings.SCAN))
    differenceNode = property(lambda self: self._referred("difference"))
    marksNode = property(lambda self: self._referred("marks"))
    deviationNode = property(lambda self: self._referred("deviation"))
    tableNode = property(lambda self: self._referred("table"))

    @property
    def healed(self):
        """The healing of the round trip (a Result of BrainCounterfactual), or ``None``."""
        node = self._referred("healed")
        return healings.Result(node) if node is not None else None

    def _told(self, attribute, empty):
        return json.loads(self.node.GetAttribute(attribute) or empty)

    order = property(lambda self: int(self.node.GetAttribute(ORDER) or 0))
    provenance = property(lambda self: self._told(healings.PROVENANCE, "{}"))
    effects = property(lambda self: self._told(EFFECTS, "{}"))
    summary = property(lambda self: self._told(SUMMARY, "{}"))
    slices = property(lambda self: self._told(SLICES, "[]"))
    roundTrip = property(lambda self: self._told(ROUND_TRIP, "{}"))
    warnings = property(lambda self: self.summary.get("warnings", []))

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
        yield "diseased", scene.voxels(self.diseasedNode)
        yield "difference", scene.voxels(self.differenceNode).astype(np.uint8)
        for role, segment in (("lesion", LESION), ("generate_mask", MARGIN)):
            yield role, self.marked(segment).astype(np.uint8)
        if self.deviationNode is not None:
            yield "deviation", scene.voxels(self.deviationNode)
        if self.healed is not None:
            yield "healed", scene.voxels(self.healed.counterfactualNode)

    def nodes(self):
        """All nodes of the induction that are in the scene, the diseased volume first."""
        found = [self.node] + [self._referred(role) for role in ROLES]
        return [node for node in found if node is not None]

    def __eq__(self, other):
        return isinstance(other, Induction) and other.node is self.node

    def __hash__(self):
        return hash(self.node.GetID())


# --- making ------------------------------------------------------------------------------------------------


def make(volumeNode, arrays, data, made=None):
    """Nodes of an induction from the worker's answer; arrays are (i,j,k).

    Args:
        made: what the random generator drew, where it made the lesion.

    Returns:
        Induction: added to the scene, in the scan's study, and made the current one.
    """
    kji = {name: array.transpose() for name, array in arrays.items() if array is not None}
    order = 1 + max([found.order for found in of(volumeNode)], default=0)
    label = _("{name} ({order})").format(name=volumeNode.GetName(), order=order)

    def named(what):
        return "{}{} {}".format(PREFIX, what, label)

    node = scene.addVolume(kji["diseased"], volumeNode, named(_("diseased")))
    overlays.sameGrays(node, volumeNode)
    models.setModality(node, models.modalityOf(volumeNode))
    others = {"difference": scene.addVolume(kji["difference"], volumeNode, named(_("induced change")), labelmap=True)}
    others["difference"].GetDisplayNode().SetAndObserveColorNodeID(twoColors().GetID())
    others["marks"] = _marks(volumeNode, named(_("lesion and margin")), kji)
    if "deviation" in kji:
        others["deviation"] = scene.addVolume(kji["deviation"].astype("float32"), volumeNode, named(_("uncertainty")))
        span = overlays.range99(kji["deviation"])
        overlays.style(others["deviation"], overlays.SPREAD, 0.0, span, threshold=1e-6)
    effects = data.get("effects", {})
    others["table"] = _table(effects, named(_("effects")))
    provenance = dict(data.get("provenance", {}))
    if made is not None:
        provenance["lesion"] = dict(provenance.get("lesion", {}), origin="random", **made)
    node.SetAttribute(ORDER, str(order))
    node.SetAttribute(EFFECTS, json.dumps(effects))
    node.SetAttribute(SUMMARY, json.dumps(healings.summaryOf(data)))
    node.SetAttribute(SLICES, json.dumps(healings.nativeRows(volumeNode, data.get("slices", []))))
    for role, other in others.items():
        node.SetNodeReferenceID("BrainLesionSim." + role, other.GetID())
    for other in (node, *others.values()):
        healings.mark(other, volumeNode, provenance)
    induction = Induction(node)
    scene.putInStudy(induction.nodes(), volumeNode, "{}{}".format(PREFIX, label))
    setCurrent(volumeNode, induction)
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


def _table(effects, name):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", name)
    for column in ("effect", "value", "unit"):
        node.AddColumn().SetName(column)
    for row in figures(effects):
        at = node.AddEmptyRow()
        for n, cell in enumerate(row):
            node.SetCellText(at, n, "" if cell is None else str(cell))
    return node


# --- finding, undo and redo --------------------------------------------------------------------------------


def of(volumeNode):
    """All inductions of a scan, in the order of making."""
    found = [
        Induction(node)
        for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        if node.GetAttribute(ORDER) is not None and node.GetNodeReference(healings.SCAN) is volumeNode
    ]
    return sorted(found, key=lambda induction: induction.order)


def setCurrent(volumeNode, induction):
    """Which induction of a scan is in view; ``None`` for the scan as it is."""
    volumeNode.SetAttribute(CURRENT, str(induction.order if induction is not None else 0))


def current(volumeNode):
    """The induction in view, or ``None``."""
    order = int(volumeNode.GetAttribute(CURRENT) or 0)
    return next((found for found in of(volumeNode) if found.order == order), None)


def canStep(volumeNode, by):
    """Whether there is an induction to go to."""
    line = [None, *of(volumeNode)]
    return 0 <= line.index(current(volumeNode)) + by < len(line)


def step(volumeNode, by):
    """Move the view by ``by`` inductions; the one now in view, ``None`` for the scan as it is."""
    if canStep(volumeNode, by):
        line = [None, *of(volumeNode)]
        setCurrent(volumeNode, line[line.index(current(volumeNode)) + by])
    return current(volumeNode)


def remove(induction):
    """Take an induction out of the scene, with its healings; the one before it comes into view."""
    volumeNode = induction.volumeNode
    if volumeNode is not None and current(volumeNode) == induction:
        step(volumeNode, -1)
    for healing in healings.resultsOf(induction.node):
        healings.remove(healing)
    drawn = masks.maskOf(induction.node, make=False)
    hierarchy = scene.hierarchy()
    folder = hierarchy.GetItemParent(scene.itemOf(induction.node))
    for node in ([drawn] if drawn is not None else []) + list(reversed(induction.nodes())):
        scene.removeNode(node)
    own = folder and hierarchy.GetItemName(folder).startswith(PREFIX)
    if own and not hierarchy.GetNumberOfItemChildren(folder):
        hierarchy.RemoveItem(folder)
