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
from braindiffusion.events import OnStep, Step
from braindiffusion.healing.contract import Healed, unchanged

NoisedClassifierModel = Callable[[Tensor, Tensor], Tensor]
"""(N,C,H,W) noised slices and (N,) levels -> (N,2) logits, healthy (0) or lesion (1)."""


@dataclass(frozen=True)
class GuidedSettings:
    """Settings of classifier guidance.

    Attributes:
        noise_level, guidance: L and s; 500 and 100 as published (four sequences at 256 pixels). Ours did best on a few
            val slices.
        steps: ``None`` visits every level, as published.
        fixed_point: refinements per inversion step (ours). Where levels are skipped, the plain way back misses the
            slice by as much as a lesion differs from it. ``None``: one where levels are skipped, else none.
    """

    noise_level: int = 250
    guidance: float = 30.0
    steps: int | None = None
    spacing: Spacing = "quadratic"
    fixed_point: int | None = None
    samples: int = 1
    clip: Clip = (-1.0, 1.0)

    def __post_init__(self) -> None:
        if self.samples != 1:
            raise SettingsError("Guidance draws nothing.", "All its samples would be equal.", "Use 1 sample.")

    def levels(self) -> list[int]:
        """Ascending levels."""
        return ascending_levels(self.noise_level, self.steps, self.spacing)

    def refinements(self) -> int:
        """Of each inversion step."""
        skips = len(self.levels()) <= self.noise_level
        return int(skips) if self.fixed_point is None else self.fixed_point

    def calls(self) -> int:
        """Calls of the denoiser a batch costs; the classifier's gradients come on top, one a step down."""
        n = len(self.levels())
        return (n - 1) * (1 + self.refinements()) + n if self.noise_level else 0


def towards_healthy(x: Tensor, level: int, classifier: NoisedClassifierModel) -> Tensor:
    """(N,C,H,W) gradient of ``log p(healthy | x_t, t)`` with respect to ``x_t``."""
    with torch.enable_grad():
        x = x.detach().requires_grad_(True)
        logits = classifier(x, torch.full((len(x),), level, device=x.device)).float()
        (g,) = torch.autograd.grad(logits.log_softmax(1)[:, 0].sum(), x)
    return g


def there_and_back(
    x0: Tensor,
    settings: GuidedSettings,
    schedule: Schedule,
    on_step: OnStep | None,
    up: EpsModel,
    down: EpsModel,
    calls_down: int = 1,
) -> Healed:
    """DDIM inversion with one noise predictor and DDIM with another: what all guidance towards healthy shares.

    Args:
        calls_down: network calls that one call of ``down`` costs.
    """
    if settings.noise_level == 0:
        return unchanged(x0, settings.samples)
    levels, total, done = settings.levels(), settings.calls(), 0

    def tell(level: int, clean: Tensor, calls: int = 1) -> None:
        nonlocal done
        done += calls
        if on_step:
            on_step(Step(done, total, level, clean))

    x = invert(x0, up, levels, schedule, clip=settings.clip, fixed_point=settings.refinements(), on_level=tell)[-1]
    for level, target in pairwise([*reversed(levels), CLEAN]):
        clean, eps = predict_clean(x, down(x, level), level, schedule, settings.clip)
        tell(level, clean, calls_down)
        x = ddim_move(clean, eps, target, schedule)
    return Healed(x[None], x0, done)


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

    def pushed(x: Tensor, level: int) -> Tensor:
        push = settings.guidance * math.sqrt(1.0 - schedule.signal(level))
        return model(x, level) - push * towards_healthy(x, level, classifier)

    return there_and_back(x0, settings, schedule, on_step, model, pushed)
