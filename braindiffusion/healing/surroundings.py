"""What a context-conditioned denoiser sees of a slice besides its noisy state.

Six channels, as in training (:mod:`braindiffusion.training.tasks.context`): the visible surroundings, the hole, the
slice mirrored at the mid-sagittal line, where that mirror image can be used, the brain, and a neighbouring slice that
is whole or has been healed. A channel of zeros is one that is not known.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from braindiffusion.errors import ScanContentError
from braindiffusion.volume.midline import midlines, mirrored
from braindiffusion.volume.slices import SliceStack

CHANNELS = ("context", "mask", "mirror", "mirror_valid", "brain", "neighbour")
MARGIN_PX, MULTIPLE = 28, 8
MIN_SIDE = 96
MIN_MIRRORED = 0.75
"""Share of a hole of which the other hemisphere has to know something, to start from it."""


def window_around(mask: np.ndarray) -> tuple[slice, slice, slice]:
    """The part of the grid that holds all of (S,H,W) ``mask`` and some of its surroundings, of sides in steps of 8."""

    def side(hit: np.ndarray) -> slice:
        rows, size = np.nonzero(hit)[0], len(hit)
        if not len(rows):
            return slice(0, min(size, MIN_SIDE))
        first, last = int(rows[0]) - MARGIN_PX, int(rows[-1]) + 1 + MARGIN_PX
        length = max(MIN_SIDE, -(-(last - first) // MULTIPLE) * MULTIPLE)
        if length >= size:
            return slice(0, size)
        first = min(max(0, (first + last - length) // 2), size - length)
        return slice(first, first + length)

    return slice(None), side(np.asarray(mask.any((0, 2)))), side(np.asarray(mask.any((0, 1))))


def largest_first(mask: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Slices from that with most of (S,H,W) ``mask`` upwards, then downwards, so that each touches one before it."""
    if not len(rows):
        return rows
    start = rows[mask[rows].sum((1, 2)).argmax()]
    return np.concatenate([rows[rows >= start], rows[rows < start][::-1]])


class Surroundings:
    """The conditions of a stack's slices.

    Args:
        stack: with its ``head``. mask: (S,H,W) bool, the holes.
        span: model values of grey 0 and 1.

    Raises:
        ScanContentError: the stack has no ``head``.

    Attributes:
        known: (S,) bool, slices that may be shown to their neighbours: their own hole is empty, or has been filled.
    """

    def __init__(self, stack: SliceStack, mask: np.ndarray, span: tuple[float, float]) -> None:
        if stack.head is None:
            raise ScanContentError(
                "The slices hold nothing but the brain.", "The model is shown what surrounds it.",
                "Make the slices with whole_slices, or choose a model that is shown nothing around it (--model).",
            )  # fmt: skip
        self.stack, self.mask, self.head, self.span = stack, mask, stack.head, span
        self.known = ~np.asarray(mask.any((1, 2)))
        lines = midlines(stack.images, stack.brain, mask)
        rows = np.nonzero(mask.any((1, 2)))[0]
        self.mirror, self.valid = np.zeros_like(self.head), np.zeros(mask.shape, bool)
        self.mirrored_brain = np.zeros(mask.shape, bool)
        if len(rows):
            chosen = [lines[s] for s in rows]
            self.mirror[rows] = mirrored(self.head[rows], chosen).clip(0, 1)
            there = mirrored(np.ones_like(self.head[rows]), chosen, nearest=True) > 0.5
            brain = mirrored(ndimage.binary_erosion(stack.brain[rows], np.ones((1, 3, 3))), chosen, nearest=True) > 0.5
            self.mirrored_brain[rows] = brain
            self.valid[rows] = there & (mirrored(mask[rows], chosen, nearest=True) < 0.5)

    def neighbour(self, s: int) -> int | None:
        """A slice beside ``s`` that is whole or healed."""
        beside = [n for n in (s - 1, s + 1) if 0 <= n < len(self.known) and self.known[n] and self.stack.brain[n].any()]
        return beside[0] if beside else None

    def hint(self, s: int, window: tuple[slice, slice, slice]) -> Tensor | None:
        """(1,1,h,w) model values of the other hemisphere, if it knows most of the hole of slice ``s``; else ``None``.

        What lies outside the mirrored brain is no hint: skull must not be drawn into cortex.
        """
        part = (s, *window[1:])
        hole, valid = self.mask[part], self.valid[part] & self.mirrored_brain[part]
        if not hole.any() or valid[hole].mean() < MIN_MIRRORED:
            return None
        return torch.where(torch.from_numpy(valid), self.scaled(self.mirror[part]), 0.0)[None, None]

    def scaled(self, images: np.ndarray) -> Tensor:
        """Grey values in [0,1] -> model values."""
        low, high = self.span
        return torch.from_numpy((low + (high - low) * images).astype(np.float32))

    def grey(self, values: Tensor) -> Tensor:
        """Model values -> grey values in [0,1]."""
        low, high = self.span
        return ((values - low) / (high - low)).clamp(0, 1)

    def of(self, s: int, window: tuple[slice, slice, slice], healed: np.ndarray) -> Tensor:
        """(samples,6,h,w) conditions of slice ``s``.

        Args:
            healed: (samples,S,H,W) in [0,1], with what was healed so far.
        """
        part = (s, *window[1:])
        hole = torch.from_numpy(self.mask[part].astype(np.float32))
        valid = torch.from_numpy(self.valid[part].astype(np.float32))
        fixed = torch.stack(
            [
                self.scaled(self.head[part]) * (1 - hole), hole, self.scaled(self.mirror[part]) * valid, valid,
                torch.from_numpy(self.stack.brain[part].astype(np.float32)),
            ]
        )  # fmt: skip
        beside = self.neighbour(s)
        shown = []
        for sample in healed:
            if beside is None:
                shown.append(torch.zeros_like(hole))
                continue
            there = (beside, *window[1:])
            shown.append(self.scaled(np.where(self.mask[there], sample[there], self.head[there])))
        return torch.cat([fixed[None].expand(len(shown), -1, -1, -1), torch.stack(shown)[:, None]], 1)
