"""AnoDDPM (Wyatt et al., CVPR-W 2022): partial diffusion with simplex instead of Gaussian noise, everywhere.

Known defects of the published code, mended here: one noise map was shared by the whole batch (here each level has one,
shared by the slices of a volume on purpose), and the noise's variance was not 1 (it is brought to 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from braindiffusion.diffusion.inversion import EpsModel
from braindiffusion.diffusion.schedule import CLEAN, Schedule
from braindiffusion.diffusion.simplex import fractal_noise
from braindiffusion.diffusion.spacing import Spacing, ascending_levels
from braindiffusion.diffusion.steps import Clip, add_noise, ddpm_move, predict_clean
from braindiffusion.events import OnStep, Step
from braindiffusion.healing.contract import Healed, unchanged
from braindiffusion.settings import Variance


@dataclass(frozen=True)
class AnoDDPMSettings:
    """Settings of AnoDDPM.

    Attributes:
        noise_level: 250 as published; Dif-fuse found 100 best on its validation set, which is the default.
        steps: ``None`` visits every level, as published.
    """

    noise_level: int = 100
    steps: int | None = None
    spacing: Spacing = "uniform"
    variance: Variance = "small"
    samples: int = 1
    clip: Clip = (-1.0, 1.0)

    def levels(self) -> list[int]:
        """Ascending levels."""
        return ascending_levels(self.noise_level, self.steps, self.spacing)

    def calls(self) -> int:
        """Network calls a batch costs."""
        return len(self.levels()) if self.noise_level else 0


def anoddpm(
    x0: Tensor,
    mask: Tensor,
    model: EpsModel,
    settings: AnoDDPMSettings,
    generator: torch.Generator,
    schedule: Schedule | None = None,
    on_step: OnStep | None = None,
) -> Healed:
    """Noise to level K with simplex noise and come back; arguments as
    :func:`~braindiffusion.healing.dif_fuse.dif_fuse`, ``model`` trained with simplex noise."""
    schedule = schedule or Schedule()
    n, s = len(x0), settings.samples
    levels = settings.levels()
    if settings.noise_level == 0:
        return unchanged(x0, s)
    base = int(torch.randint(0, 2**40, (1,), generator=generator).item())

    def draw(use: int, level: int) -> Tensor:
        g = torch.Generator().manual_seed(base + 1_000_003 * (use + 2))
        noise = fractal_noise((s, *x0.shape[1:]), torch.full((s,), level), g).to(x0)
        return noise[:, None].expand(s, n, *x0.shape[1:]).reshape(s * n, *x0.shape[1:])

    x = add_noise(x0.repeat(s, 1, 1, 1), draw(schedule.levels, levels[-1]), levels[-1], schedule)
    for done, (level, target) in enumerate(pairwise([*reversed(levels), CLEAN]), 1):
        clean, _ = predict_clean(x, model(x, level), level, schedule, settings.clip)
        if on_step:
            on_step(Step(done, len(levels), level, clean[:n]))
        x = ddpm_move(x, clean, draw(level, level), level, target, schedule, settings.variance)
    return Healed(x.view(s, *x0.shape), x0, len(levels))
