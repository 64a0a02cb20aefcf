"""Small pictures of inductions, as PNG files: numpy and vtk only."""

import numpy as np

from BrainCounterfactualCommon.scene import pictures, volumes
from BrainLesionSimLib.inductions import LESION

SIDE = 96
"""Pixels."""


def write(induction, path):
    """Write the slice with the largest part of the lesion, seen as radiologists do; returns the path."""
    return pictures.save(picture(induction), path)


def picture(induction):
    """(SIDE,SIDE,3) uint8: patient's right on the left, front above; the lesion's outline in red."""
    lesion = induction.marked(LESION).transpose()
    affine = volumes.ijkToRas(induction.node)
    axis = volumes.axialAxis(affine)[0]
    others = tuple(n for n in range(3) if n != axis)
    index = int(lesion.sum(others).argmax())
    voxels = volumes.voxels(induction.node).transpose()
    plane, mark = (_asSeen(array.take(index, axis), affine, others) for array in (voxels, lesion))
    aspect = _spacing(affine, others)
    display = induction.node.GetDisplayNode()
    low, high = display.GetWindowLevelMin(), display.GetWindowLevelMax()
    if not high > low:
        low, high = float(plane.min()), float(plane.max()) + 1e-6
    gray = np.clip((plane.astype(float) - low) / (high - low), 0, 1) * 255
    gray, mark = (_fitted(array, aspect) for array in (gray, mark))
    out = np.repeat(gray[..., None], 3, axis=2).astype(np.uint8)
    out[_outline(mark)] = (230, 60, 60)
    return out


def _inRowsAndColumns(affine, others):
    """``others`` as (rows, columns): the axis nearest to front-back gives the rows."""
    first = np.abs(affine[1, list(others)])
    return (others[0], others[1]) if first[0] >= first[1] else (others[1], others[0])


def _asSeen(plane, affine, others):
    rows, columns = _inRowsAndColumns(affine, others)
    plane = plane if rows == others[0] else plane.transpose()
    # down the picture is towards the back, across it towards the patient's left
    plane = plane[::-1] if affine[1, rows] > 0 else plane
    return plane[:, ::-1] if affine[0, columns] > 0 else plane


def _spacing(affine, others):
    rows, columns = _inRowsAndColumns(affine, others)
    return np.linalg.norm(affine[:3, rows]), np.linalg.norm(affine[:3, columns])


def _fitted(array, aspect):
    """Nearest neighbor into the middle of the square, in true proportions."""
    size = np.array(array.shape) * aspect
    pixel = size.max() / SIDE
    shape = np.maximum(np.rint(size / pixel).astype(int), 1)
    rows, columns = (np.minimum((np.arange(n) + 0.5) * m // n, m - 1).astype(int) for n, m in zip(shape, array.shape))
    out = np.zeros((SIDE, SIDE), array.dtype)
    top, left = (SIDE - shape) // 2
    out[top : top + shape[0], left : left + shape[1]] = array[np.ix_(rows, columns)]
    return out


def _outline(mask):
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner
