"""Classifier guidance (Wolleb et al., MICCAI 2022): DDIM pushed towards "healthy" by a classifier of noised slices."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from braindiffusion.diffusion.inversion import EpsModel, invert
from braindiffusion.diffusion.schedule import CLEAN, Schedule
from braindiffusion.diffusion.spacing import Spacing, ascending_levels
from braindiffusion.diffusion.steps import Clip, ddim_move, predict_clean
from braindiffusion.errors import SettingsError
from braindiffusion.healing.dif_fuse import Healed, OnStep, Step

NoisedClassifierModel = Callable[[Tensor, Tensor], Tensor]
"""(N,C,H,W) noised slices and (N,) levels -> (N,2) logits, healthy (0) or lesion (1)."""


@dataclass(frozen=True)
class GuidedSettings:
    """Settings of classifier guidance.

    Attributes:
        noise_level, scale: L = 500 and s = 100 as published (four sequences at 256 pixels).
        steps: ``None`` visits every level, as published.
    """

    noise_level: int = 500
    scale: float = 100.0
    steps: int | None = None
    spacing: Spacing = "quadratic"
    samples: int = 1
    clip: Clip = (-1.0, 1.0)

    def __post_init__(self) -> None:
        if self.samples != 1:
            raise SettingsError(
                "Classifier guidance draws nothing.", "All its samples would be equal.", "Use 1 sample."
            )

    def levels(self) -> list[int]:
        """Ascending levels."""
        return ascending_levels(self.noise_level, self.steps, self.spacing)

    def calls(self) -> int:
        """Calls of the denoiser a batch costs; the classifier's gradients come on top, one a step down."""
        return 2 * len(self.levels()) - 1


def towards_healthy(x: Tensor, level: int, classifier: NoisedClassifierModel) -> Tensor:
    """(N,C,H,W) gradient of ``log p(healthy | x_t, t)`` with respect to ``x_t``."""
    with torch.enable_grad():
        x = x.detach().requires_grad_(True)
        logits = classifier(x, torch.full((len(x),), level, device=x.device)).float()
        (g,) = torch.autograd.grad(logits.log_softmax(1)[:, 0].sum(), x)
    return g


def guided(
    x0: Tensor,
    mask: Tensor,
    model: EpsModel,
    settings: GuidedSettings,
    generator: torch.Generator,
    schedule: Schedule | None = None,
    on_step: OnStep | None = None,
    *,
    classifier: NoisedClassifierModel,
) -> Healed:
    """Invert, then DDIM with ``eps' = eps - s sqrt(1 - abar_t) grad log p(healthy | x_t)``; no mask is used.

    Arguments as :func:`~braindiffusion.healing.dif_fuse.dif_fuse`, and ``classifier`` on noised slices.
    """
    schedule = schedule or Schedule()
    levels, total, done = settings.levels(), settings.calls(), 0

    def tell(level: int, clean: Tensor) -> None:
        nonlocal done
        done += 1
        if on_step:
            on_step(Step(done, total, level, clean))

    x = invert(x0, model, levels, schedule, clip=settings.clip, on_level=tell)[-1]
    for level, target in pairwise([*reversed(levels), CLEAN]):
        push = settings.scale * math.sqrt(1.0 - schedule.signal(level)) * towards_healthy(x, level, classifier)
        clean, eps = predict_clean(x, model(x, level) - push, level, schedule, settings.clip)
        tell(level, clean)
        x = ddim_move(clean, eps, target, schedule)
    return Healed(x[None], x0, done)
