"""Masks on other grids: on the same lattice they are placed voxel by voxel, on another they can be resampled."""

from __future__ import annotations

from itertools import product

import numpy as np

from braindiffusion.volume.scan import Scan


def on_lattice(
    mask: np.ndarray, affine: np.ndarray, shape: tuple[int, ...], grid: np.ndarray, tolerance: float = 0.01
) -> np.ndarray | None:
    """A mask on a grid of ``shape`` whose lattice it shares: turned, and with nothing where it does not reach.

    Returns:
        (I,J,K) bool; ``None`` where it lies on another lattice (off by more than ``tolerance`` voxel) or beyond.
    """
    turn = np.linalg.inv(grid) @ affine  # mask indices -> scan indices
    signs = np.rint(turn[:3, :3])
    if sorted(np.abs(signs).argmax(1)) != [0, 1, 2] or np.abs(signs).sum() != 3:
        return None
    exact = np.eye(4)
    exact[:3, :3], exact[:3, 3] = signs, np.rint(turn[:3, 3])
    ends = np.array([(*c, 1) for c in product(*((0, n - 1) for n in mask.shape))], dtype=float).T
    if float(np.abs((turn - exact) @ ends).max()) > tolerance:
        return None
    order, flip = np.abs(signs).argmax(1), signs.sum(1) < 0
    turned = mask.transpose(order)[tuple(slice(None, None, -1 if f else 1) for f in flip)]
    first = (exact @ ends)[:3].min(1).astype(int)
    out = np.zeros(shape, bool)
    here = tuple(slice(max(a, 0), max(a + n, 0)) for a, n in zip(first, turned.shape, strict=True))
    there = tuple(slice(max(-a, 0), max(m - a, 0)) for a, m in zip(first, shape, strict=True))
    if not out[here].size:
        return None
    out[here] = turned[there]
    return out


def resampled(mask: np.ndarray, affine: np.ndarray, scan: Scan) -> np.ndarray:
    """A mask with its affine on the grid of a scan, by the nearest neighbour; (I,J,K) bool."""
    from scipy import ndimage

    turn = np.linalg.inv(affine) @ scan.affine
    values = mask.astype(np.uint8)
    return ndimage.affine_transform(values, turn[:3, :3], turn[:3, 3], scan.voxels.shape, order=0, cval=0) > 0
