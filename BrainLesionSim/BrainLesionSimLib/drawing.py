"""The lesion to be painted: a segmentation with one segment, and the margin around it in a second, which is computed.

The margin has a node of its own, so that nobody paints into it and the Segment Editor lists the lesion only.
"""

import hashlib
import json

import numpy as np

from BrainCounterfactualCommon.host import tr as _
from BrainCounterfactualCommon.scene import masks, volumes

LESION_REFERENCE, MARGIN_REFERENCE = "BrainLesionSim.lesion", "BrainLesionSim.margin"
LESION_SEGMENT, MARGIN_SEGMENT = "Lesion", "Margin"
LESION_COLOR, MARGIN_COLOR = (0.9, 0.2, 0.25), (0.2, 0.75, 0.85)
MADE = "BrainLesionSim.Made"
"""Node attribute: what the random generator drew, and of which voxels."""


def lesionOf(volumeNode, make=True):
    """The lesion's segmentation of a scan; made when missing (``None`` instead where ``make`` is false)."""
    name = _("Lesion to paint on {name}")
    return masks.drawingOf(volumeNode, LESION_REFERENCE, name, LESION_SEGMENT, LESION_COLOR, make)


def marginOf(volumeNode, make=True):
    """The margin's segmentation of a scan, as :func:`lesionOf`."""
    name = _("Margin that may change on {name}")
    return masks.drawingOf(volumeNode, MARGIN_REFERENCE, name, MARGIN_SEGMENT, MARGIN_COLOR, make, outlineOnly=True)


def lesionArray(volumeNode):
    """(k,j,i) bool."""
    node = lesionOf(volumeNode, make=False)
    if node is None:
        return np.zeros(volumes.voxels(volumeNode).shape, bool)
    return masks.segmentArray(node, LESION_SEGMENT, volumeNode)


def setLesion(mask, volumeNode):
    """Replace the lesion by a (k,j,i) array."""
    masks.setSegmentArray(np.asarray(mask) != 0, lesionOf(volumeNode), LESION_SEGMENT, volumeNode)


def lesionMl(volumeNode):
    """Volume of what is drawn, in mL, inside the brain or not; quick enough to ask at every stroke of the brush."""
    node = lesionOf(volumeNode, make=False)
    count = masks.voxelCount(node, LESION_SEGMENT)
    if not count:
        return 0.0
    _segment, image = masks.labelmapOf(node, LESION_SEGMENT)
    voxel = abs(np.linalg.det(volumes.matrixOf(image.GetImageToWorldMatrix)[:3, :3]))
    return float(count * voxel / 1000.0)


def stamp(volumeNode):
    """Something that is another one after the lesion has been changed."""
    return tuple(
        part.GetMTime() if part is not None else 0
        for part in masks.labelmapOf(lesionOf(volumeNode, make=False), LESION_SEGMENT)
    )


# --- the margin --------------------------------------------------------------------------------------------


def grown(mask, volumeNode, reachMm):
    """A (k,j,i) mask grown by a square that reaches ``reachMm`` every way within each axial slice, as MedEdit does.

    The brain, which cuts it off when it is painted, is not known here.
    """
    if not mask.any():
        return mask.copy()
    affine = volumes.ijkToRas(volumeNode)
    reach = np.rint(reachMm / np.linalg.norm(affine[:3, :3], axis=0)).astype(int)
    reach[volumes.axialAxis(affine)[0]] = 0
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
