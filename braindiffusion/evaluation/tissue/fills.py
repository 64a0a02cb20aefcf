"""Baselines of the hole test: what costs nothing to try."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

RING_PX = 5


def _ring(hole: np.ndarray, brain: np.ndarray) -> np.ndarray:
    ring = ndimage.binary_dilation(hole, iterations=RING_PX) & ~hole & brain
    return ring if ring.any() else ~hole


def mean_fill(image: np.ndarray, hole: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """The mean grey value of the surroundings."""
    return np.where(hole, image[_ring(hole, brain)].mean(), image).astype(np.float32)


def biharmonic_fill(image: np.ndarray, hole: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """Biharmonic inpainting (scikit-image): the smoothest surface through the surroundings."""
    from skimage.restoration import inpaint_biharmonic

    return inpaint_biharmonic(image, hole).clip(0, 1).astype(np.float32)


def mirror_copy(image: np.ndarray, hole: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """The patient's other hemisphere, mirrored at the mid-sagittal line, its mean matched on a ring."""
    from braindiffusion.volume.midline import estimate_midline, mirrored

    other = mirrored(image[None], [estimate_midline(image, brain, hole)])[0]
    ring = _ring(hole, brain)
    return np.where(hole, (other + image[ring].mean() - other[ring].mean()).clip(0, 1), image).astype(np.float32)


FILLS = {"mirror_copy": mirror_copy, "biharmonic": biharmonic_fill, "mean_fill": mean_fill}
