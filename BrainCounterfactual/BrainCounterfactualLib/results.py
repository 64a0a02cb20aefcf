"""Results live in the scene: a counterfactual volume that refers to everything made with it, and to its scan.

Nothing is kept outside of MRML, so results, their order and the one in view survive saving, closing and loading.
"""

import json

import slicer

from BrainCounterfactualCommon import overlays, scene
from BrainCounterfactualCommon.host import tr as _
from BrainCounterfactualLib import masks

PREFIX = "SYNTHETIC "
PROVENANCE = "BrainCounterfactual.Provenance"
SUMMARY = "BrainCounterfactual.Summary"
SYNTHETIC = "BrainCounterfactual.Synthetic"
ORDER = "BrainCounterfactual.Order"
CURRENT = "BrainCounterfactual.CurrentResult"
SLICES = "BrainCounterfactual.Slices"
SCAN = "BrainCounterfactual.scan"
SALIENCY = "BrainCounterfactual.saliency"
ROLES = ("difference", "anomaly", "lesion", "mask", "saliency", "deviation", "agreement", "table")
LESION_COLOR = (0.9, 0.2, 0.25)


class Result:
    """A view of one result in the scene (or of a saliency map, which has no counterfactual).

    Attributes:
        counterfactualNode: scalar volume of the scan's type; identical to the scan outside the edited region.
        differenceNode: float32 volume, counterfactual minus scan in the scan's units.
        anomalyNode: float32 volume, how far they differ in model units (0.45 is the median brain).
        lesionNode, maskNode: segmentations (what is called lesion; what was edited).
        saliencyNode, deviationNode, agreementNode: float32 volumes, or ``None``.
        tableNode: one row per slice.
    """

    def __init__(self, node):
        self.node = node

    def _referred(self, role):
        return self.node.GetNodeReference("BrainCounterfactual." + role) if self.node else None

    counterfactualNode = property(lambda self: None if self.node.GetAttribute(ORDER) is None else self.node)
    volumeNode = property(lambda self: self._referred("scan"))
    differenceNode = property(lambda self: self._referred("difference"))
    anomalyNode = property(lambda self: self._referred("anomaly"))
    lesionNode = property(lambda self: self._referred("lesion"))
    maskNode = property(lambda self: self._referred("mask"))
    deviationNode = property(lambda self: self._referred("deviation"))
    agreementNode = property(lambda self: self._referred("agreement"))
    tableNode = property(lambda self: self._referred("table"))

    @property
    def saliencyNode(self):
        return self._referred("saliency") if self.counterfactualNode is not None else self.node

    @property
    def order(self):
        """Number of the result, counted from 1 in the order of making."""
        return int(self.node.GetAttribute(ORDER) or 0)

    @property
    def provenance(self):
        """How it was made, as the engine recorded it."""
        return json.loads(self.node.GetAttribute(PROVENANCE) or "{}")

    @property
    def summary(self):
        """``lesion_ml, seconds, slices_healed, check, warnings``."""
        return json.loads(self.node.GetAttribute(SUMMARY) or "{}")

    @property
    def slices(self):
        """One dict per slice: ``index`` (along the axial voxel axis), ``lesion_probability``, ``lesion_mm2`` ..."""
        return json.loads(self.node.GetAttribute(SLICES) or "[]")

    @property
    def warnings(self):
        return self.summary.get("warnings", [])

    def nodes(self):
        """All nodes of the result that are in the scene, the counterfactual (or saliency) first."""
        found = [self.node] + [self._referred(role) for role in ROLES]
        return [node for node in found if node is not None]

    def __eq__(self, other):
        return isinstance(other, Result) and other.node is self.node

    def __hash__(self):
        return hash(self.node.GetID())


# --- making ------------------------------------------------------------------------------------------------


def makeResult(volumeNode, arrays, data):
    """Nodes of a healing from the worker's answer; arrays are (i,j,k).

    Returns:
        Result: added to the scene, in the scan's study, and made the current one.
    """
    kji = {name: array.transpose() for name, array in arrays.items() if array is not None}
    order = 1 + max([result.order for result in resultsOf(volumeNode)], default=0)
    label = _("{name} ({order})").format(name=volumeNode.GetName(), order=order)

    def volume(array, what):
        return scene.addVolume(array, volumeNode, "{}{} {}".format(PREFIX, what, label))

    node = volume(kji["counterfactual"], _("counterfactual"))
    overlays.sameGrays(node, volumeNode)
    original = scene.voxels(volumeNode)
    difference = kji["counterfactual"].astype("float32") - original.astype("float32")
    made = {"difference": volume(difference, _("difference"))}
    span = overlays.range99(difference)
    overlays.style(made["difference"], overlays.DIVERGING, -span, span)
    for role, what in (("anomaly", _("anomaly")), ("deviation", _("uncertainty")), ("agreement", _("agreement"))):
        if role in kji:
            made[role] = volume(kji[role].astype("float32"), what)
            overlays.style(made[role], overlays.SPREAD, 0.0, overlays.range99(kji[role]), threshold=1e-6)
    if "saliency" in kji and kji["saliency"].any():
        made["saliency"] = volume(kji["saliency"].astype("float32"), _("saliency"))
        overlays.style(made["saliency"], overlays.HEAT, 0.0, 1.0, threshold=0.05)
    for role, what, color in (
        ("lesion", _("lesion"), LESION_COLOR),
        ("mask", _("edited region"), masks.MASK_COLOR),
    ):
        made[role] = masks.newSegmentation(
            volumeNode, "{}{} {}".format(PREFIX, what, label), what.capitalize(), color, kji[role] > 0, True
        )
    rows = nativeRows(volumeNode, data.get("slices", []))
    made["table"] = makeTable(volumeNode, rows, "{}{} {}".format(PREFIX, _("slices"), label))
    provenance = data.get("provenance", {})
    node.SetAttribute(ORDER, str(order))
    node.SetAttribute(SLICES, json.dumps(rows))
    node.SetAttribute(SUMMARY, json.dumps(summaryOf(data)))
    for role, other in made.items():
        node.SetNodeReferenceID("BrainCounterfactual." + role, other.GetID())
    for other in (node, *made.values()):
        mark(other, volumeNode, provenance)
    result = Result(node)
    scene.putInStudy(result.nodes(), volumeNode, "{}{}".format(PREFIX, label))
    setCurrent(volumeNode, result)
    return result


def makeSaliency(volumeNode, arrays, data):
    """The saliency of a scan as a volume and a table; an earlier one of the same scan is replaced."""
    previous = saliencyOf(volumeNode)
    if previous is not None:
        remove(previous)
    name = "{}{} {}".format(PREFIX, _("saliency"), volumeNode.GetName())
    node = scene.addVolume(arrays["saliency"].transpose().astype("float32"), volumeNode, name)
    overlays.style(node, overlays.HEAT, 0.0, 1.0, threshold=0.05)
    rows = nativeRows(volumeNode, data.get("slices", []))
    table = makeTable(volumeNode, rows, "{}{} {}".format(PREFIX, _("slice probabilities"), volumeNode.GetName()))
    node.SetNodeReferenceID("BrainCounterfactual.table", table.GetID())
    node.SetAttribute(SLICES, json.dumps(rows))
    node.SetAttribute(SUMMARY, json.dumps(summaryOf(data)))
    for other in (node, table):
        mark(other, volumeNode, data.get("provenance", {}))
    volumeNode.SetNodeReferenceID(SALIENCY, node.GetID())
    for other in (node, table):
        scene.putBeside(other, volumeNode)
    return Result(node)


def mark(node, volumeNode, provenance):
    """Say on a node that it is synthetic, what it comes from and how it was made."""
    node.SetAttribute(SYNTHETIC, "1")
    node.SetAttribute(PROVENANCE, json.dumps(provenance))
    node.SetNodeReferenceID(SCAN, volumeNode.GetID())


def summaryOf(data):
    """The few facts shown beside a result."""
    provenance = data.get("provenance", {})
    calls = provenance.get("network_calls", {})
    return {
        "lesion_ml": data.get("lesion_ml", provenance.get("lesion_ml")),
        "seconds": data.get("seconds", provenance.get("seconds")),
        "slices_healed": calls.get("slices_healed"),
        "check": provenance.get("check", {}),
        "device": provenance.get("device"),
        "warnings": list(data.get("warnings", [])),
    }


def nativeRows(volumeNode, rows):
    """The engine's slice rows with ``index`` (along the axial voxel axis) and ``position_mm`` (superior) added."""
    out = []
    for row in rows:
        index = scene.stackIndex(volumeNode, row["slice"])
        position = float(scene.sliceCenter(volumeNode, index)[2])
        out.append(dict(row, index=index, position_mm=round(position, 2)))
    return out


def makeTable(volumeNode, rows, name):
    """A table node of slice rows, for the Tables module and for saving."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", name)
    columns = ["index", "position_mm", "lesion_probability", "judged_lesion", "mask_mm2", "lesion_mm2"]
    for column in columns:
        if not any(column in row for row in rows):
            continue
        array = node.AddColumn()
        array.SetName(column)
    for row in rows:
        at = node.AddEmptyRow()
        for n in range(node.GetNumberOfColumns()):
            value = row.get(node.GetColumnName(n))
            node.SetCellText(at, n, "" if value is None else str(value))
    return node


# --- finding -----------------------------------------------------------------------------------------------


def resultsOf(volumeNode):
    """All results of a scan, in the order of making."""
    found = [
        Result(node)
        for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        if node.GetAttribute(ORDER) is not None and node.GetNodeReference(SCAN) is volumeNode
    ]
    return sorted(found, key=lambda result: result.order)


def saliencyOf(volumeNode):
    """The saliency last computed for a scan, as a Result, or ``None``."""
    node = volumeNode.GetNodeReference(SALIENCY)
    return Result(node) if node is not None else None


def isSynthetic(node):
    """Whether a node was made by this program."""
    return node is not None and node.GetAttribute(SYNTHETIC) is not None


def setCurrent(volumeNode, result):
    """Which result of a scan is in view; ``None`` for the scan as it is."""
    volumeNode.SetAttribute(CURRENT, str(result.order if result is not None else 0))


def currentOf(volumeNode):
    """The result in view, or ``None``."""
    order = int(volumeNode.GetAttribute(CURRENT) or 0)
    return next((result for result in resultsOf(volumeNode) if result.order == order), None)


def step(volumeNode, by):
    """Move the view by ``by`` results back (-1) or on (+1); the result now in view, ``None`` for the scan as it is."""
    line = [None, *resultsOf(volumeNode)]
    at = line.index(currentOf(volumeNode))
    result = line[min(max(at + by, 0), len(line) - 1)]
    setCurrent(volumeNode, result)
    return result


def canStep(volumeNode, by):
    """Whether there is a result to go to."""
    line = [None, *resultsOf(volumeNode)]
    return 0 <= line.index(currentOf(volumeNode)) + by < len(line)


def remove(result):
    """Take a result out of the scene; the one before it comes into view."""
    volumeNode = result.volumeNode
    if volumeNode is not None and result.counterfactualNode is not None and currentOf(volumeNode) == result:
        step(volumeNode, -1)
    hierarchy = scene.hierarchy()
    folder = hierarchy.GetItemParent(scene.itemOf(result.node))
    for node in reversed(result.nodes()):
        scene.removeNode(node)
    own = folder and hierarchy.GetItemName(folder).startswith(PREFIX)
    if own and not hierarchy.GetNumberOfItemChildren(folder):
        hierarchy.RemoveItem(folder)
