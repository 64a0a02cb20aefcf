"""How a lesion looks, in six numbers: what a painter is told, and draws from real lesions of the training patients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from braindiffusion.lesions.in_context import LOOK_UNIT
from braindiffusion.training.augment import grown

RING_PX = (2, 11)
RIM_PX = 2
LEAST_RING, LEAST_INSIDE, LEAST_CORE = 40, 30, 15
KEPT = 100
"""Looks of a kind that a card keeps at most."""


def looks_of(image: Tensor, lesion: Tensor, core: Tensor, brain: Tensor) -> Tensor:
    """(N,6) looks of the lesions of slices, in units of 0.15 grey values; NaN where too little brain is around.

    Mean inside less that of the ring around it, standard deviation, 10th and 90th percentile less the mean, the outer
    two pixels less what they enclose, and the core less the rest (0 where there is no core, or no rim to speak of).

    Args:
        image: (N,1,H,W) in [0,1]. lesion, core, brain: (N,1,H,W) bool.
    """
    ring = (grown(lesion, RING_PX[1]) > 0.5) & (grown(lesion, RING_PX[0]) < 0.5) & brain
    inner = lesion & (grown(~lesion, RIM_PX) < 0.5)
    out = torch.full((len(image), 6), float("nan"))
    for n in range(len(image)):
        plane, inside, around = image[n, 0].float(), lesion[n, 0], ring[n, 0]
        if int(around.sum()) < LEAST_RING or not bool(inside.any()):
            continue
        values = plane[inside]
        mean = values.mean()
        low, high = torch.quantile(values, torch.tensor([0.1, 0.9]))
        rim = _difference(plane, inside & ~inner[n, 0], inner[n, 0], LEAST_INSIDE)
        of_core = _difference(plane, core[n, 0] & inside, inside & ~core[n, 0], LEAST_CORE)
        spread = values.std(unbiased=False)
        out[n] = torch.stack([mean - plane[around].mean(), spread, low - mean, high - mean, rim, of_core]) / LOOK_UNIT
    return out


def _difference(plane: Tensor, one: Tensor, other: Tensor, least: int) -> Tensor:
    if min(int(one.sum()), int(other.sum())) < least:
        return torch.zeros(())
    return plane[one].mean() - plane[other].mean()


def visible(looks: Tensor, kind: Tensor, least: Sequence[float]) -> Tensor:
    """(N,) bool, lesions that stand out at least so much (grey values, by kind) from what is around them."""
    return torch.nan_to_num(looks[:, 0]).abs() * LOOK_UNIT >= torch.tensor(least)[kind]


def table_of(
    looks: Tensor, lesion: Tensor, core: Tensor, kind: Tensor, kinds: Sequence[str], pitch_mm: float, seed: int = 0
) -> dict[str, Any]:
    """The looks that a card keeps, by kind: ``area_mm2``, ``values`` and ``core_share``, 100 of each at most."""
    area = lesion.flatten(1).sum(1).numpy() * pitch_mm**2
    share = (core & lesion).flatten(1).sum(1).numpy() / np.maximum(lesion.flatten(1).sum(1).numpy(), 1)
    out = {}
    for number, name in enumerate(kinds):
        rows = np.nonzero((kind.numpy() == number) & np.isfinite(looks.numpy()).all(1))[0]
        rows = np.random.default_rng([seed, number]).permutation(rows)[:KEPT]
        out[name] = {
            "area_mm2": [round(float(v)) for v in area[rows]],
            "values": [[round(float(v), 2) for v in look] for look in looks.numpy()[rows]],
            "core_share": [round(float(v), 2) for v in share[rows]],
        }
    return out
