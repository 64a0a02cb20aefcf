"""An exact noise predictor: the prior is a Gaussian, so the network's answer is known in closed form.

The same prior, signal and lesion as in ``spec/oracle_check.py``; signals are (N,1,1,64) float64 "images".
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from braindiffusion.diffusion.schedule import Schedule

LENGTH, MEAN, SPREAD = 64, 0.4, 0.15
INSIDE = slice(25, 41)
LESION = slice(28, 38)


def seen(signal: np.ndarray) -> Tensor:
    """A signal as a batch of one image."""
    return torch.from_numpy(signal)[None, None, None]


@dataclass(frozen=True)
class SmoothPrior:
    """Smooth random signals: N(0.4, 0.15^2 exp(-(i - j)^2 / 50)) plus a little white noise.

    Attributes:
        healthy, lesion: (1,1,1,64) a draw, and the same with a bright stretch.
        mask: (1,1,1,64) bool, the stretch and its rim.
        eps: the exact noise predictor.
    """

    healthy: Tensor
    lesion: Tensor
    mask: Tensor
    values: Tensor
    vectors: Tensor

    @classmethod
    def make(cls) -> SmoothPrior:
        i = np.arange(LENGTH)
        covariance = SPREAD**2 * np.exp(-((i[:, None] - i) ** 2) / (2 * 5.0**2)) + 1e-5 * np.eye(LENGTH)
        values, vectors = np.linalg.eigh(covariance)
        healthy = MEAN + np.linalg.cholesky(covariance) @ np.random.default_rng(1).standard_normal(LENGTH)
        lesion = healthy.copy()
        lesion[LESION] += 0.5
        mask = torch.zeros(1, 1, 1, LENGTH, dtype=torch.bool)
        mask[..., INSIDE] = True
        return cls(
            seen(healthy), seen(np.clip(lesion, 0, 1)), mask, torch.from_numpy(values), torch.from_numpy(vectors)
        )

    def eps(self, x: Tensor, level: int) -> Tensor:
        a = Schedule().signal(level)
        along = (x - math.sqrt(a) * MEAN) @ self.vectors
        return (math.sqrt(1 - a) * along / (a * self.values + 1 - a)) @ self.vectors.T


def pixel_eps(x: Tensor, level: int) -> Tensor:
    """The exact predictor where every pixel is N(0.4, 0.15^2) by itself; works on any shape, pixel by pixel."""
    a = Schedule().signal(level)
    return math.sqrt(1 - a) * (x - math.sqrt(a) * MEAN) / (a * SPREAD**2 + 1 - a)


class Counting:
    """A noise predictor that remembers the levels and batch sizes it was asked for."""

    def __init__(self, model=pixel_eps) -> None:
        self.model = model
        self.levels: list[int] = []
        self.sizes: list[int] = []

    def __call__(self, x: Tensor, level: int) -> Tensor:
        self.levels.append(level)
        self.sizes.append(len(x))
        return self.model(x, level)
