"""Random lesion-shaped holes for training."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

MIN_LESION_PX, MOST_SHAPES, DILATION_PX = 80, 800, 2
BLOB_SHARE = 0.2
"""Of holes that are no lesion's shape: smooth random regions of 10 to 45 % of the brain, half a hemisphere and more."""
SEVERAL_SHARE = 0.45


def lesion_shapes(lesion: np.ndarray, seed: int = 0) -> list[np.ndarray]:
    """Cut-out masks of (N,H,W) lesions, dilated by 2 pixels: at most 800."""
    rows = np.nonzero(lesion.sum((1, 2)) >= MIN_LESION_PX)[0]
    shapes = []
    for n in np.random.default_rng(seed).permutation(rows)[:MOST_SHAPES]:
        grown = ndimage.binary_dilation(lesion[n], iterations=DILATION_PX)
        r, c = np.nonzero(grown.any(1))[0], np.nonzero(grown.any(0))[0]
        shapes.append(grown[r[0] : r[-1] + 1, c[0] : c[-1] + 1])
    return shapes


def _chance(g: torch.Generator) -> float:
    return float(torch.rand((1,), generator=g))


def _laid(shape: np.ndarray, brain: Tensor, g: torch.Generator) -> Tensor:
    """The shape, flipped, turned and scaled by 0.67 to 1.65, on a random pixel of the brain."""
    t = torch.from_numpy(shape.astype(np.float32))[None, None]
    for axis in (-1, -2):
        if _chance(g) < 0.5:
            t = t.flip(axis)
    if _chance(g) < 0.5:
        t = t.transpose(-1, -2)
    scale = math.exp(0.9 * _chance(g) - 0.4)
    if min(t.shape[-2:]) * scale > 3:
        t = F.interpolate(t, scale_factor=scale, mode="bilinear", recompute_scale_factor=False)
    h, w = brain.shape
    cut = (t[0, 0] > 0.5)[:h, :w]
    rows, columns = torch.nonzero(brain, as_tuple=True)
    at = int(torch.randint(len(rows), (1,), generator=g))
    top, left = int(rows[at]) - cut.shape[0] // 2, int(columns[at]) - cut.shape[1] // 2
    a, b, c, d = max(0, top), max(0, left), min(h, top + cut.shape[0]), min(w, left + cut.shape[1])
    out = torch.zeros_like(brain)
    out[a:c, b:d] = cut[a - top : c - top, b - left : d - left]
    return out & brain


def random_hole(shapes: list[np.ndarray], brain: Tensor, g: torch.Generator) -> Tensor:
    """(H,W) bool, a hole in the brain: one lesion's shape, several, or a large blob."""
    kind = _chance(g)
    if not shapes or kind < BLOB_SHARE:
        coarse = torch.randn((1, 1, 5, 4), generator=g)
        field = F.interpolate(coarse, size=brain.shape, mode="bicubic", align_corners=True)[0, 0]
        return brain & (field > torch.quantile(field[brain], 0.9 - 0.35 * _chance(g)))
    several = kind >= 1 - SEVERAL_SHARE
    count = int(torch.randint(2, 5, (1,), generator=g)) if several else 1
    out = torch.zeros_like(brain)
    for _ in range(count):
        out |= _laid(shapes[int(torch.randint(len(shapes), (1,), generator=g))], brain, g)
    return out
