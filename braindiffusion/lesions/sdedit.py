"""SDEdit (Meng et al., ICLR 2022), conditional: noise the slice part of the way, denoise it told of the lesion."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from braindiffusion.diffusion.resample import network_calls, resample, resampling_walk
from braindiffusion.diffusion.schedule import Schedule
from braindiffusion.diffusion.spacing import Spacing, ascending_levels
from braindiffusion.diffusion.steps import Clip, add_noise
from braindiffusion.events import OnStep
from braindiffusion.lesions.common import LAST_LEVEL, Induced, LesionModel, Run, check_range, check_shapes
from braindiffusion.settings import Variance

RATIOS = {"stroke": 0.2, "tumour": 0.6}
"""Published share of the noise levels, by kind of lesion."""


@dataclass(frozen=True)
class SDEditSettings:
    """Settings of SDEdit.

    Attributes:
        ratio: the slice is noised to level ``int(ratio * 999)``: 0.2 (stroke) and 0.6 (tumour) as published.
        steps: intervals on the way down; ``None`` visits every level.
        samples: independent draws.
    """

    ratio: float = 0.2
    steps: int | None = 25
    spacing: Spacing = "quadratic"
    variance: Variance = "small"
    samples: int = 1
    clip: Clip = (-1.0, 1.0)

    def __post_init__(self) -> None:
        check_range("ratio", self.ratio, 0.01, 1.0)
        check_range("samples", self.samples, 1)

    def walk(self) -> list[int]:
        """Levels visited, ending clean."""
        # published as t steps of 1-based levels: int(0.2 * 999) = 199 steps and the first, 200 calls
        return resampling_walk(ascending_levels(int(self.ratio * LAST_LEVEL), self.steps, self.spacing))

    def calls(self) -> int:
        """Network calls a batch costs: 200 for strokes and 600 for tumours as published."""
        return network_calls(self.walk())


def sdedit(
    x0: Tensor,
    lesion: Tensor,
    brain: Tensor,
    model: LesionModel,
    settings: SDEditSettings,
    generator: torch.Generator,
    schedule: Schedule | None = None,
    on_step: OnStep | None = None,
) -> Induced:
    """Induce a lesion by editing the whole slice; arguments as :func:`~braindiffusion.lesions.mededit.mededit`.

    Nothing is kept: ``x_{t0} = q(x0, t0)``, then DDPM with ``[p, b]`` to the clean image. The whole brain drifts.
    """
    check_shapes(x0, lesion, brain)
    condition = torch.cat([lesion, brain], dim=1).to(x0.dtype)
    walk = settings.walk()
    run = Run(x0, condition, model, settings.samples, generator, schedule, settings.calls(), on_step)
    state = add_noise(x0.repeat(settings.samples, 1, 1, 1), run.first_noise(), walk[0], run.schedule)
    out = resample(
        state, x0, None, run.model, walk, run.schedule, run.draws(0), variance=settings.variance, clip=settings.clip,
        on_call=run.told,
    )  # fmt: skip
    return run.finished(out, brain)
