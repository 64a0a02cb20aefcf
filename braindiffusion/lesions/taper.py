"""Blunt ends made round: a box, or an outline copied from slice to slice, should not end like a cylinder."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from braindiffusion.volume.scan import Scan
from braindiffusion.volume.slices import place


def taper(mask: np.ndarray, scan: Scan) -> np.ndarray:
    """Shrink a lesion's slices towards its ends, to the profile of an ellipsoid.

    Each 3-D component is seen from its middle slice: at a share ``u`` of the way to its end, a slice may keep
    ``1 - u^2`` of the component's largest area; what exceeds that is taken from the rim (boxes stay boxes). An outline
    that tapers by itself is hardly touched, and a component of one or two slices not at all.

    Args:
        mask: (I,J,K) bool on the scan's grid.

    Returns:
        (I,J,K) bool, within ``mask``.
    """
    p = place(scan)
    axial = p.to_axial(mask)
    out = axial.copy()
    labels, count = ndimage.label(axial, np.ones((3, 3, 3)))
    for number, found in enumerate(ndimage.find_objects(labels, count), start=1):
        part = labels[found] == number
        first, slices = found[0].start, len(part)
        if slices < 3:
            continue
        area = part.sum((1, 2))
        for s in range(slices):
            u = (2 * s + 1 - slices) / slices
            room = max(1, round((1 - u * u) * float(area.max())))
            if area[s] <= room:
                continue
            inside = np.pad(part[s], 1)
            depth = ndimage.distance_transform_cdt(inside, "chessboard")[1:-1, 1:-1]
            levels = np.arange(1, depth.max() + 1)
            kept = np.array([(depth >= level).sum() for level in levels])
            best = levels[np.abs(kept - room).argmin()]
            out[first + s][found[1:]][part[s] & (depth < best)] = False
    return np.ascontiguousarray(p.from_axial(out))
