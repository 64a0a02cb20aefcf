"""The mid-sagittal line of axial slices, and slices mirrored at it.

The other hemisphere shows a patient's own anatomy, contrast and grain. The line is found by maximising the correlation
of the slice with its mirror image; within a volume, the lines of all slices are fitted by one plane.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

MIN_BRAIN_PX = 200
SEARCH = ((4, 4.0, 3, 3.0, 3), (4, 1.3, 2, 1.0, 2), (2, 0.45, 2, 0.5, 2), (2, 0.2, 1, 0.25, 1))
"""Coarse to fine: reduction of the slice, then step and steps to each side of the angle (degrees) and offset (px)."""


@dataclass(frozen=True)
class Midline:
    """A line in an axial slice.

    Attributes:
        angle: radians from the column axis; positive tilts the anterior end to the left of the picture.
        offset: pixels from the middle column, at the middle row; positive to the right of the picture.
    """

    angle: float
    offset: float


def reflect(images: Tensor, angle: Tensor, offset: Tensor, mode: str) -> Tensor:
    """(N,C,H,W) mirrored at (N,) lines; 0 where the mirror image lies outside."""
    h, w = images.shape[-2:]
    rows, columns = torch.meshgrid(torch.arange(h) - (h - 1) / 2, torch.arange(w) - (w - 1) / 2, indexing="ij")
    across = columns[None] - offset[:, None, None]
    sine, cosine = (f(2 * angle)[:, None, None] for f in (torch.sin, torch.cos))
    x = sine * rows - cosine * across + offset[:, None, None]
    y = sine * across + cosine * rows
    grid = torch.stack([x / ((w - 1) / 2), y / ((h - 1) / 2)], -1).to(images)
    return F.grid_sample(images, grid, mode=mode, align_corners=True)


def mirrored(images: np.ndarray, lines: Sequence[Midline], nearest: bool = False) -> np.ndarray:
    """(N,H,W) float32 slices, each mirrored at its line (cubic interpolation); 0 where there is nothing to mirror.

    Args:
        nearest: takes the nearest pixel, for masks.
    """
    angle = torch.tensor([line.angle for line in lines], dtype=torch.float32)
    offset = torch.tensor([line.offset for line in lines], dtype=torch.float32)
    x = torch.from_numpy(np.ascontiguousarray(images, dtype=np.float32))[:, None]
    return reflect(x, angle, offset, "nearest" if nearest else "bicubic")[:, 0].numpy()


def _agreement(image: Tensor, keep: Tensor, angle: Tensor, offset: Tensor) -> Tensor:
    """Correlation of a slice with its mirror image plus overlap of the two brains, for each of (M,) lines."""
    both = torch.stack([image, keep])[None].expand(len(angle), -1, -1, -1)
    other = reflect(both, angle, offset, "bilinear")
    here, there = keep > 0.5, other[:, 1] > 0.5
    common = (here & there).float()
    count = common.sum((1, 2)).clamp(min=1)
    a, b = image * common, other[:, 0] * common
    a = (a - (a.sum((1, 2)) / count)[:, None, None]) * common
    b = (b - (b.sum((1, 2)) / count)[:, None, None]) * common
    correlation = (a * b).sum((1, 2)) / ((a**2).sum((1, 2)) * (b**2).sum((1, 2))).clamp(min=1e-8).sqrt()
    return correlation + count / (here | there).sum((1, 2)).clamp(min=1)


@torch.no_grad()
def estimate_midline(image: np.ndarray, brain: np.ndarray, exclude: np.ndarray | None = None) -> Midline:
    """The mid-sagittal line of one slice.

    Args:
        image: (H,W) grey values. brain: (H,W) bool. exclude: (H,W) bool, what must not speak: a lesion, a hole.
    """
    w = image.shape[1]
    if brain.sum() < MIN_BRAIN_PX:
        return Midline(0.0, 0.0)
    keep = brain if exclude is None else brain & ~exclude
    columns = np.nonzero(brain.any(0))[0]
    angle, offset = 0.0, float(columns[0] + columns[-1]) / 2 - (w - 1) / 2
    whole = torch.from_numpy(np.stack([np.where(brain, image, 0.0), keep]).astype(np.float32))
    for shrink, turn, turns, step, steps in SEARCH:
        small = F.avg_pool2d(whole[None], shrink)[0]
        angles = angle + torch.arange(-turns, turns + 1) * float(np.deg2rad(turn))
        offsets = offset + torch.arange(-steps, steps + 1) * step
        a, o = (v.flatten() for v in torch.meshgrid(angles, offsets, indexing="ij"))
        best = int(_agreement(small[0], (small[1] > 0.5).float(), a, o / shrink).argmax())
        angle, offset = float(a[best]), float(o[best])
    return Midline(angle, offset)


def midlines(images: np.ndarray, brain: np.ndarray, exclude: np.ndarray | None = None) -> list[Midline]:
    """The mid-sagittal lines of a volume's slices: one plane through the lines of the single slices.

    The angle is the median; the offset is fitted by a line along the volume (Theil-Sen), which no single slice, and
    no lesion, can pull far.

    Args:
        images: (S,H,W). brain, exclude: (S,H,W) bool.
    """
    size = brain.sum((1, 2))
    rows = np.nonzero(size >= max(MIN_BRAIN_PX, 0.4 * size.max(initial=0)))[0]
    if not len(rows):
        return [Midline(0.0, 0.0)] * len(images)
    if len(rows) > 24:
        rows = rows[np.linspace(0, len(rows) - 1, 24).round().astype(int)]
    found = [estimate_midline(images[s], brain[s], None if exclude is None else exclude[s]) for s in rows]
    angle = float(np.median([line.angle for line in found]))
    offsets = np.array([line.offset for line in found])
    slope = 0.0
    if len(rows) >= 4:
        a, b = np.triu_indices(len(rows), 1)
        slope = float(np.median((offsets[b] - offsets[a]) / (rows[b] - rows[a])))
    start = float(np.median(offsets - slope * rows))
    return [Midline(angle, start + slope * s) for s in range(len(images))]
