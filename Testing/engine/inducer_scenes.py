"""A scene to induce in, and predictors that remember what they were told."""

from __future__ import annotations

import torch
from gaussian_oracle import pixel_eps
from torch import Tensor

from braindiffusion.lesions.common import Induced
from braindiffusion.lesions.registry import METHODS

NAMES = list(METHODS)
KEEPING = ["mededit", "naive_repaint"]


def scene(n: int = 1, side: int = 16) -> tuple[Tensor, Tensor, Tensor]:
    """Images, a lesion of 3 x 3 pixels, and a brain that leaves a frame of 2 pixels."""
    x = torch.rand((n, 1, side, side), generator=torch.Generator().manual_seed(3))
    lesion, brain = torch.zeros_like(x, dtype=torch.bool), torch.zeros_like(x, dtype=torch.bool)
    lesion[..., 5:8, 5:8] = True
    brain[..., 2:-2, 2:-2] = True
    return x, lesion, brain


class Told:
    """A conditional predictor that remembers what it was told; its answer may depend on it."""

    def __init__(self) -> None:
        self.conditions: list[Tensor] = []
        self.levels: list[int] = []

    def __call__(self, x: Tensor, level: int, condition: Tensor) -> Tensor:
        self.conditions.append(condition)
        self.levels.append(level)
        return pixel_eps(x, level)


class Answering(Told):
    """One whose answer depends on the lesion it is told and on the state: what pairs would cancel does not."""

    def __call__(self, x: Tensor, level: int, condition: Tensor) -> Tensor:
        eps = super().__call__(x, level, condition)
        return eps * (1.0 - 0.2 * condition[:, :1].repeat(len(x) // len(condition), 1, 1, 1))


def model_for(name: str) -> Told:
    return Answering() if name == "mededit_paired" else Told()


def run(name: str, n: int = 1, model=None, seed: int = 0, on_step=None, **settings) -> Induced:
    options = {"steps": 6} | ({"kernel": 5} if METHODS[name].margin else {}) | settings
    method = METHODS[name]
    generator = torch.Generator().manual_seed(seed)
    return method.run(*scene(n), model or model_for(name), method.settings(**options), generator, on_step=on_step)
