"""RePaint (Lugmayr et al., CVPR 2022): the masked region is painted anew from pure noise, again and again."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from braindiffusion.diffusion.inversion import EpsModel
from braindiffusion.diffusion.resample import network_calls, resample, resampling_walk
from braindiffusion.diffusion.schedule import Schedule
from braindiffusion.diffusion.spacing import ascending_levels
from braindiffusion.diffusion.steps import Clip, SharedNoise
from braindiffusion.events import OnStep, Step
from braindiffusion.healing.contract import Healed
from braindiffusion.settings import Variance


@dataclass(frozen=True)
class RePaintSettings:
    """Settings of RePaint; the defaults are the published schedule of 2,410 network calls.

    Attributes:
        levels: respaced levels over the whole chain.
        jump, resamples: length of a stretch, and how often each is walked.
        composite: put the slice back outside the mask at the end (the published code leaves the last step as it came).
    """

    levels: int = 250
    jump: int = 10
    resamples: int = 10
    composite: bool = True
    variance: Variance = "small"
    samples: int = 1
    clip: Clip = (-1.0, 1.0)

    def walk(self) -> list[int]:
        """Levels visited, from the noisiest to clean."""
        every = Schedule().levels
        return resampling_walk(ascending_levels(every - 1, self.levels - 1, "uniform"), self.resamples, self.jump)

    def calls(self) -> int:
        """Network calls a batch costs."""
        return network_calls(self.walk())


def repaint(
    x0: Tensor,
    mask: Tensor,
    model: EpsModel,
    settings: RePaintSettings,
    generator: torch.Generator,
    schedule: Schedule | None = None,
    on_step: OnStep | None = None,
) -> Healed:
    """Paint inside the mask from pure noise; arguments as :func:`~braindiffusion.healing.dif_fuse.dif_fuse`."""
    schedule = schedule or Schedule()
    n, s, total, done = len(x0), settings.samples, settings.calls(), 0

    def tell(level: int, clean: Tensor) -> None:
        nonlocal done
        done += 1
        if on_step:
            on_step(Step(done, total, level, clean[:n]))

    first = SharedNoise(generator, tuple(x0.shape[1:]), s)  # type: ignore[arg-type]
    further = SharedNoise(generator, tuple(x0.shape[1:]), s)  # type: ignore[arg-type]
    images = x0.repeat(s, 1, 1, 1)
    state = first.at(0, images).expand(s, n, *x0.shape[1:]).reshape_as(images).to(images)
    walk, m = settings.walk(), mask.expand_as(x0)
    x = resample(
        state, x0, m, model, walk, schedule, further, known="before", variance=settings.variance, clip=settings.clip,
        on_call=tell,
    )  # fmt: skip
    if settings.composite:
        x = torch.where(m.repeat(s, 1, 1, 1), x, images)
    return Healed(x.view(s, *x0.shape), x0, done)
