"""The lesion to be painted: a segmentation with one segment, and the margin around it in a second, which is computed.

The margin has a node of its own, so that nobody paints into it and the Segment Editor lists the lesion only.
"""

import hashlib
import json

import numpy as np
import slicer
from BrainCounterfactualLib import masks
from vtk.util.numpy_support import vtk_to_numpy

from BrainCounterfactualCommon import scene
from BrainCounterfactualCommon.host import tr as _

LESION_REFERENCE, MARGIN_REFERENCE = "BrainLesionSim.lesion", "BrainLesionSim.margin"
LESION_SEGMENT, MARGIN_SEGMENT = "Lesion", "Margin"
LESION_COLOR, MARGIN_COLOR = (0.9, 0.2, 0.25), (0.2, 0.75, 0.85)
MADE = "BrainLesionSim.Made"
"""Node attribute: what the random generator drew, and of which voxels."""


def lesionOf(volumeNode, make=True):
    """The lesion's segmentation of a scan; made when missing (``None`` instead where ``make`` is false)."""
    node = volumeNode.GetNodeReference(LESION_REFERENCE)
    if node is None and make:
        name = _("Lesion to paint on {name}").format(name=volumeNode.GetName())
        node = masks.newSegmentation(volumeNode, name, LESION_SEGMENT, LESION_COLOR)
        volumeNode.SetNodeReferenceID(LESION_REFERENCE, node.GetID())
        scene.putBeside(node, volumeNode)
    if make and node.GetSegmentation().GetSegment(LESION_SEGMENT) is None:
        node.GetSegmentation().AddEmptySegment(LESION_SEGMENT, LESION_SEGMENT, LESION_COLOR)
    return node


def marginOf(volumeNode, make=True):
    """The margin's segmentation of a scan, as :func:`lesionOf`."""
    node = volumeNode.GetNodeReference(MARGIN_REFERENCE)
    if node is None and make:
        name = _("Margin that may change on {name}").format(name=volumeNode.GetName())
        node = masks.newSegmentation(volumeNode, name, MARGIN_SEGMENT, MARGIN_COLOR, outlineOnly=True)
        volumeNode.SetNodeReferenceID(MARGIN_REFERENCE, node.GetID())
        scene.putBeside(node, volumeNode)
    return node


def lesionArray(volumeNode):
    """(k,j,i) bool."""
    node = lesionOf(volumeNode, make=False)
    if node is None:
        return np.zeros(scene.voxels(volumeNode).shape, bool)
    return masks.segmentArray(node, LESION_SEGMENT, volumeNode)


def setLesion(mask, volumeNode):
    """Replace the lesion by a (k,j,i) array."""
    masks.setSegmentArray(np.asarray(mask) != 0, lesionOf(volumeNode), LESION_SEGMENT, volumeNode)


def lesionMl(volumeNode):
    """Volume of what is drawn, in mL, inside the brain or not; quick enough to ask at every stroke of the brush."""
    segment, image = _labelmap(volumeNode)
    scalars = image.GetPointData().GetScalars() if image is not None else None
    if scalars is None or scalars.GetNumberOfTuples() == 0:
        return 0.0
    voxel = abs(np.linalg.det(scene.matrixOf(image.GetImageToWorldMatrix)[:3, :3]))
    return float((vtk_to_numpy(scalars) == segment.GetLabelValue()).sum() * voxel / 1000.0)


def stamp(volumeNode):
    """Something that is another one after the lesion has been changed."""
    segment, image = _labelmap(volumeNode)
    return (segment.GetMTime() if segment is not None else 0, image.GetMTime() if image is not None else 0)


def _labelmap(volumeNode):
    """The lesion's segment and its label map, as they lie in the scene; ``None`` where there is none."""
    node = lesionOf(volumeNode, make=False)
    segment = node.GetSegmentation().GetSegment(LESION_SEGMENT) if node is not None else None
    name = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    return segment, segment.GetRepresentation(name) if segment is not None else None


# --- the margin --------------------------------------------------------------------------------------------


def grown(mask, volumeNode, reachMm):
    """A (k,j,i) mask grown by a square that reaches ``reachMm`` every way within each axial slice, as MedEdit does.

    The brain, which cuts it off when it is painted, is not known here.
    """
    if not mask.any():
        return mask.copy()
    affine = scene.ijkToRas(volumeNode)
    reach = np.rint(reachMm / np.linalg.norm(affine[:3, :3], axis=0)).astype(int)
    reach[scene.axialAxis(affine)[0]] = 0
    reach = reach[::-1]
    at = np.argwhere(mask)
    low, high = np.maximum(at.min(0) - reach, 0), np.minimum(at.max(0) + reach + 1, mask.shape)
    box = tuple(slice(a, b) for a, b in zip(low, high))
    part = mask[box]
    for axis in np.nonzero(reach)[0]:
        part = _windowHolds(part, int(reach[axis]), int(axis))
    out = np.zeros_like(mask)
    out[box] = part
    return out


def _windowHolds(mask, reach, axis):
    """Where the window of ``reach`` either way along an axis holds a voxel of the mask."""
    n = mask.shape[axis]
    before = np.concatenate([np.zeros_like(mask.take([0], axis), np.int32), np.cumsum(mask, axis, np.int32)], axis)
    at = np.arange(n)
    return before.take(np.minimum(at + reach + 1, n), axis) > before.take(np.maximum(at - reach, 0), axis)


def updateMargin(volumeNode, reachMm):
    """Draw the margin around the lesion as it is now (``None``: there is none)."""
    lesion = lesionArray(volumeNode)
    ring = grown(lesion, volumeNode, reachMm) if reachMm is not None else np.zeros_like(lesion)
    masks.setSegmentArray(ring, marginOf(volumeNode), MARGIN_SEGMENT, volumeNode)


# --- where it came from ------------------------------------------------------------------------------------


def remember(volumeNode, facts):
    """Keep what the random generator drew, with the voxels it is about."""
    told = {"facts": facts, "voxels": _digest(lesionArray(volumeNode))}
    lesionOf(volumeNode).SetAttribute(MADE, json.dumps(told))


def remembered(volumeNode, lesion):
    """What the random generator drew, or ``None`` where the lesion is another by now."""
    node = lesionOf(volumeNode, make=False)
    told = json.loads(node.GetAttribute(MADE) or "{}") if node is not None else {}
    return told.get("facts") if told.get("voxels") == _digest(lesion) else None


def _digest(mask):
    return hashlib.sha1(np.packbits(mask).tobytes()).hexdigest()
