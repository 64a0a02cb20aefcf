"""Palette (Saharia et al., SIGGRAPH 2022): the slice is drawn anew, beside the slice with a hole of noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from braindiffusion.diffusion.resample import network_calls, resample, resampling_walk
from braindiffusion.diffusion.schedule import Schedule
from braindiffusion.diffusion.spacing import Spacing, ascending_levels
from braindiffusion.diffusion.steps import Clip
from braindiffusion.events import OnStep
from braindiffusion.lesions.common import LAST_LEVEL, Induced, LesionModel, Run, check_range, check_shapes
from braindiffusion.settings import Variance


@dataclass(frozen=True)
class PaletteSettings:
    """Settings of Palette.

    Attributes:
        steps: intervals from level 999 down; ``None`` visits every level.
        samples: independent draws.
    """

    steps: int | None = 25
    spacing: Spacing = "quadratic"
    variance: Variance = "small"
    samples: int = 1
    clip: Clip = (-1.0, 1.0)

    def __post_init__(self) -> None:
        check_range("samples", self.samples, 1)

    def walk(self) -> list[int]:
        """Levels visited, ending clean."""
        return resampling_walk(ascending_levels(LAST_LEVEL, self.steps, self.spacing))

    def calls(self) -> int:
        """Network calls a batch costs; 1,000 as published."""
        return network_calls(self.walk())


def palette(
    x0: Tensor,
    lesion: Tensor,
    brain: Tensor,
    model: LesionModel,
    settings: PaletteSettings,
    generator: torch.Generator,
    schedule: Schedule | None = None,
    on_step: OnStep | None = None,
) -> Induced:
    """Induce a lesion by drawing the slice anew; arguments as :func:`~braindiffusion.lesions.mededit.mededit`.

    The model is conditioned on ``y``, one channel: the slice with the lesion's pixels replaced by N(0, 1) noise. It is
    told neither the lesion nor the brain otherwise, and nothing is kept.
    """
    check_shapes(x0, lesion, brain)
    total, walk = settings.calls(), settings.walk()
    run = Run(x0, x0, model, settings.samples, generator, schedule, total, on_step)
    run.condition = torch.where(lesion, run.draws(1).at(0, x0)[0], x0)
    out = resample(
        run.first_noise(), x0, None, run.model, walk, run.schedule, run.draws(0), variance=settings.variance,
        clip=settings.clip, on_call=run.told,
    )  # fmt: skip
    return run.finished(out, brain)
