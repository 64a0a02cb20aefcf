"""Ablations of Dif-fuse (Fontanella et al., TMI 2024, Table I and Fig. 3): the same healthy model without its mask.

Up by noising (``noise``) or by DDIM inversion (``invert``); down by DDPM or by DDIM; or the mask applied only once, at
the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

import torch
from torch import Tensor

from braindiffusion.diffusion.inversion import EpsModel, invert
from braindiffusion.diffusion.schedule import CLEAN, Schedule
from braindiffusion.diffusion.spacing import Spacing, ascending_levels
from braindiffusion.diffusion.steps import Clip, SharedNoise, add_noise, ddim_move, ddpm_move, predict_clean
from braindiffusion.errors import SettingsError
from braindiffusion.events import OnStep, Step
from braindiffusion.healing.contract import Healed, unchanged
from braindiffusion.settings import Variance

Up = Literal["noise", "invert"]
Down = Literal["ddpm", "ddim"]


@dataclass(frozen=True)
class AblationSettings:
    """Settings of an ablation.

    Attributes:
        up, down: how the image is taken to level K and back.
        mask_at_end: after the last step, put the slice back outside the mask (the paper's Fig. 3: a hard seam).
        noise_level, steps, variance, spacing, samples, clip: as in Dif-fuse.
    """

    up: Up = "invert"
    down: Down = "ddpm"
    mask_at_end: bool = False
    noise_level: int = 500
    steps: int | None = 10
    variance: Variance = "small"
    spacing: Spacing = "quadratic"
    samples: int = 1
    clip: Clip = (-1.0, 1.0)

    def __post_init__(self) -> None:
        if self.up not in get_args(Up) or self.down not in get_args(Down):
            raise SettingsError(
                f"There is no ablation '{self.up}-{self.down}'.", "Up is noise or invert, down ddpm or ddim.", "Choose."
            )
        if not 0 <= self.noise_level <= 999:
            raise SettingsError(
                f"noise_level {self.noise_level} is not possible.",
                "It lies in 0..999.",
                "Choose a value in that range.",
            )

    def levels(self) -> list[int]:
        """Ascending levels, 0 to K."""
        return ascending_levels(self.noise_level, self.steps, self.spacing)

    def calls(self) -> int:
        """Network calls a batch costs."""
        n = len(self.levels())
        return 0 if self.noise_level == 0 else n + (n - 1 if self.up == "invert" else 0)


def without_mask(
    x0: Tensor,
    mask: Tensor,
    model: EpsModel,
    settings: AblationSettings,
    generator: torch.Generator,
    schedule: Schedule | None = None,
    on_step: OnStep | None = None,
) -> Healed:
    """Up to level K and down again, everywhere; arguments as :func:`~braindiffusion.healing.dif_fuse.dif_fuse`."""
    schedule = schedule or Schedule()
    n, s = len(x0), settings.samples
    levels, total, done = settings.levels(), settings.calls(), 0
    if settings.noise_level == 0:
        return unchanged(x0, s)

    def tell(level: int, clean: Tensor) -> None:
        nonlocal done
        done += 1
        if on_step:
            on_step(Step(done, total, level, clean[:n]))

    noise = SharedNoise(generator, tuple(x0.shape[1:]), s)  # type: ignore[arg-type]

    def draw(level: int, like: Tensor) -> Tensor:
        return noise.at(level, like).expand(s, n, *x0.shape[1:]).reshape_as(like)

    images = x0.repeat(s, 1, 1, 1)
    if settings.up == "invert":
        top = invert(x0, model, levels, schedule, clip=settings.clip, on_level=tell)[-1].repeat(s, 1, 1, 1)
    else:
        top = add_noise(images, draw(schedule.levels, images), levels[-1], schedule)
    x = top
    for level, target in pairwise([*reversed(levels), CLEAN]):
        clean, eps = predict_clean(x, model(x, level), level, schedule, settings.clip)
        tell(level, clean)
        if settings.down == "ddim":
            x = ddim_move(clean, eps, target, schedule)
        else:
            x = ddpm_move(x, clean, draw(level, x), level, target, schedule, settings.variance)
    if settings.mask_at_end:
        x = torch.where(mask.expand_as(x0).repeat(s, 1, 1, 1), x, images)
    return Healed(x.view(s, *x0.shape), x0, done)
