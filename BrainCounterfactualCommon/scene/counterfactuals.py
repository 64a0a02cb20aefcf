"""Healed scans in the scene: both modules heal, BrainLesionSim what it has painted."""

import numpy as np

from BrainCounterfactualCommon.host import tr as _
from BrainCounterfactualCommon.scene import masks, overlays, volumes
from BrainCounterfactualCommon.scene.results import Result, makeSliceTable, nameOf

LESION_COLOR = (0.9, 0.2, 0.25)


class Counterfactual(Result):
    """A view of one healing of a scan in the scene.

    Attributes:
        counterfactualNode: scalar volume of the scan's type; identical to the scan outside the edited region.
        differenceNode: float32 volume, counterfactual minus scan in the scan's units.
        anomalyNode: float32 volume, how far they differ in model units (0.45 is the median brain).
        lesionNode, maskNode: segmentations (what is called lesion; what was edited).
        saliencyNode, deviationNode, agreementNode: float32 volumes, or ``None``.
        tableNode: one row per slice.
    """

    prefix = "BrainCounterfactual."
    roles = ("difference", "anomaly", "lesion", "mask", "saliency", "deviation", "agreement", "table")
    chosen = "BrainCounterfactual.CurrentResult"
    task = "heal"

    counterfactualNode = property(lambda self: self.node)
    differenceNode = property(lambda self: self._referred("difference"))
    anomalyNode = property(lambda self: self._referred("anomaly"))
    lesionNode = property(lambda self: self._referred("lesion"))
    maskNode = property(lambda self: self._referred("mask"))
    saliencyNode = property(lambda self: self._referred("saliency"))
    deviationNode = property(lambda self: self._referred("deviation"))
    agreementNode = property(lambda self: self._referred("agreement"))

    def arrays(self):
        """``(role, (k,j,i) array)`` of everything it holds."""
        for role in ("counterfactual", "difference", "anomaly", "saliency", "deviation", "agreement"):
            node = getattr(self, role + "Node")
            if node is not None:
                yield role, volumes.voxels(node)
        for role in ("lesion", "mask"):
            node = getattr(self, role + "Node")
            if node is not None:
                yield role, masks.arrayOf(node, self.volumeNode).astype(np.uint8)

    def exported(self):
        """All but the difference, which the worker makes from the others."""
        return {role: array for role, array in self.arrays() if role != "difference"}


def make(volumeNode, arrays, data):
    """Nodes of a healing from the worker's answer; arrays are (i,j,k).

    Returns:
        Counterfactual: added to the scene, in the scan's study, and made the current one.
    """
    kji = {name: array.transpose() for name, array in arrays.items() if array is not None}
    order, label = Counterfactual.nextLabel(volumeNode)

    def volume(array, what):
        return volumes.addVolume(array, volumeNode, nameOf(what, order, volumeNode))

    node = volume(kji["counterfactual"], _("Counterfactual"))
    overlays.sameGrays(node, volumeNode)
    original = volumes.voxels(volumeNode)
    difference = kji["counterfactual"].astype("float32") - original.astype("float32")
    made = {"difference": volume(difference, _("Difference"))}
    span = overlays.range99(difference)
    overlays.style(made["difference"], overlays.DIVERGING, -span, span)
    for role, what in (("anomaly", _("Anomaly")), ("deviation", _("Uncertainty")), ("agreement", _("Agreement"))):
        if role in kji:
            made[role] = volume(kji[role].astype("float32"), what)
            overlays.style(made[role], overlays.SPREAD, 0.0, overlays.range99(kji[role]), threshold=1e-6)
    if "saliency" in kji and kji["saliency"].any():
        made["saliency"] = volume(kji["saliency"].astype("float32"), _("Saliency"))
        overlays.style(made["saliency"], overlays.HEAT, 0.0, 1.0, threshold=0.05)
    for role, what, color in (
        ("lesion", _("Lesion"), LESION_COLOR),
        ("mask", _("Edited region"), masks.MASK_COLOR),
    ):
        made[role] = masks.newSegmentation(
            volumeNode, nameOf(what, order, volumeNode), what, color, kji[role] > 0, outlineOnly=True
        )
    made["table"] = makeSliceTable(volumeNode, data, nameOf(_("Slices"), order, volumeNode))
    for role in ("anomaly", "agreement"):  # measures, not to be chosen as scans
        if role in made:
            made[role].SetHideFromEditors(True)
    result = Counterfactual(node)
    result.enter(made, volumeNode, data, order, label)
    return result
