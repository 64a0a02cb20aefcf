"""Plain rivals that every method has to beat."""

from __future__ import annotations

import numpy as np

from braindiffusion.volume.masks import smooth

BRIGHT_LEVELS = tuple(np.round(np.arange(0.45, 0.96, 0.025), 3).tolist())
"""Grey levels tried for :func:`bright`; the median brain is 0.45."""


def bright(images: np.ndarray, brain: np.ndarray, level: float) -> np.ndarray:
    """(N,H,W) bool: brain pixels brighter than ``level`` (model units), lightly smoothed."""
    return (smooth(images) > level) & brain
