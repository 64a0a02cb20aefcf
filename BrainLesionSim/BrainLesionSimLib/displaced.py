"""Anatomy that a lesion has displaced, as a segmentation for the 3-D view."""

import numpy as np

from BrainCounterfactualCommon.scene import masks, volumes

VENTRICLES, MOVED = "Ventricles", "Moved"
MOVED_MM = 2.0
_AFTER = 2
"""Of the worker's outline: the border as displaced."""
_COLORS = {VENTRICLES: (0.25, 0.55, 1.0), MOVED: (0.9, 0.8, 0.3)}


def make(volumeNode, name, kji):
    """A segmentation of the displaced ventricles, and of all that moved by ``MOVED_MM`` or more; seen in 3-D only.

    Args:
        kji: (k,j,i) arrays of the worker: ``displaced_outline`` and ``displacement_mm`` where there is a mass effect.

    Returns:
        ``None`` where nothing was displaced.
    """
    if "displaced_outline" not in kji:
        return None
    across = 2 - volumes.axialAxis(volumes.ijkToRas(volumeNode))[0]
    borders = np.moveaxis(kji["displaced_outline"] == _AFTER, across, 0)
    found = {VENTRICLES: np.moveaxis(filled(borders), 0, across), MOVED: kji["displacement_mm"] >= MOVED_MM}
    found = {segment: mask for segment, mask in found.items() if mask.any()}
    if not found:
        return None
    first, *others = found
    node = masks.newSegmentation(volumeNode, name, first, _COLORS[first], found[first])
    for segment in others:
        node.GetSegmentation().AddEmptySegment(segment, segment, _COLORS[segment])
        masks.setSegmentArray(found[segment], node, segment, volumeNode)
    display = node.GetDisplayNode()
    display.SetVisibility(False)
    display.SetSegmentOpacity3D(MOVED, 0.3)
    return node


def filled(borders):
    """(slices,rows,columns) bool: what borders enclose in their slice, and they themselves."""
    if not borders.any():
        return borders.copy()
    rows, columns = (np.nonzero(borders.any((0, other)))[0] for other in (2, 1))
    box = (slice(None), slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    inside = np.pad(borders[box], ((0, 0), (1, 1), (1, 1)))  # around it lies nothing but outside
    free, outside = ~inside, np.zeros_like(inside)
    outside[:, 0] = True
    while True:
        grown = outside.copy()
        grown[:, 1:] |= outside[:, :-1]
        grown[:, :-1] |= outside[:, 1:]
        grown[:, :, 1:] |= outside[:, :, :-1]
        grown[:, :, :-1] |= outside[:, :, 1:]
        grown &= free
        if (grown == outside).all():
            break
        outside = grown
    out = np.zeros_like(borders)
    out[box] = ~outside[:, 1:-1, 1:-1]
    return out
