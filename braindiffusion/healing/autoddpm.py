"""AutoDDPM (Bercea et al., 2023): find what does not fit, mask it, and stitch it anew. No saliency is needed.

Differences from the published code, each on purpose: the perceptual map is one minus the local structural similarity
(LPIPS needs weights that do not ship); the scalar threshold works; the known region is noised from the slice itself,
not from one with a hole of zeros; and the last step ends clean instead of keeping level-0 noise in what was painted.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from braindiffusion.diffusion.inversion import EpsModel
from braindiffusion.diffusion.resample import network_calls, resample, resampling_walk
from braindiffusion.diffusion.schedule import CLEAN, Schedule
from braindiffusion.diffusion.spacing import ascending_levels
from braindiffusion.diffusion.steps import Clip, SharedNoise, add_noise, ddpm_move, predict_clean
from braindiffusion.events import OnStep, Step
from braindiffusion.healing.contract import Healed, unchanged
from braindiffusion.settings import Variance


@dataclass(frozen=True)
class AutoDDPMSettings:
    """Settings of AutoDDPM.

    Attributes:
        noise_level: of the first reconstruction (200).
        stitch_level, resamples: of the second pass (50, 5).
        misfit_level: of the score; 0.13 in the paper, chosen for at most 5 % false alarms on healthy pixels.
    """

    noise_level: int = 200
    stitch_level: int = 50
    resamples: int = 5
    misfit_level: float = 0.13
    variance: Variance = "small"
    samples: int = 1
    clip: Clip = (-1.0, 1.0)

    def walk(self) -> list[int]:
        """Levels of the second pass."""
        return resampling_walk(ascending_levels(self.stitch_level, None, "uniform"), self.resamples)

    def calls(self) -> int:
        """Network calls a batch costs."""
        return self.noise_level + 1 + network_calls(self.walk()) if self.noise_level else 0


def structural_similarity(x: Tensor, y: Tensor, side: int = 7) -> Tensor:
    """(N,1,H,W) local SSIM (Wang et al. 2004) of images in [0,1], means over a ``side`` x ``side`` square."""

    def mean(v: Tensor) -> Tensor:
        return F.avg_pool2d(F.pad(v, (side // 2,) * 4, mode="reflect"), side, 1)

    mx, my = mean(x), mean(y)
    vx, vy, cov = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    return ((2 * mx * my + c1) * (2 * cov + c2)) / ((mx**2 + my**2 + c1) * (vx + vy + c2))


def misfit(x: Tensor, reconstruction: Tensor) -> Tensor:
    """(N,1,H,W) score in [0,1]: structural dissimilarity times the difference over its own 95th percentile."""
    difference = (x - reconstruction).abs()
    top = torch.quantile(difference.flatten(1), 0.95, dim=1).clamp_min(1e-6).view(-1, 1, 1, 1)
    return (1 - structural_similarity(x, reconstruction)).clamp(0, 1) * (difference / top).clamp(0, 1)


def autoddpm(
    x0: Tensor,
    mask: Tensor,
    model: EpsModel,
    settings: AutoDDPMSettings,
    generator: torch.Generator,
    schedule: Schedule | None = None,
    on_step: OnStep | None = None,
) -> Healed:
    """Reconstruct, mask the misfit, stitch; arguments as :func:`~braindiffusion.healing.dif_fuse.dif_fuse`.

    Args:
        mask: the misfit is looked for inside it (the brain).

    Returns:
        With the misfit as ``score``: the published anomaly map is the difference times it.
    """
    schedule = schedule or Schedule()
    n, s, total, done = len(x0), settings.samples, settings.calls(), 0
    if settings.noise_level == 0:
        return unchanged(x0, s)

    def tell(level: int, clean: Tensor) -> None:
        nonlocal done
        done += 1
        if on_step:
            on_step(Step(done, total, level, clean[:n]))

    shape = (x0.shape[1], x0.shape[2], x0.shape[3])
    first, second = (SharedNoise(generator, shape, s) for _ in range(2))

    def draw(noise: SharedNoise, use: int, like: Tensor) -> Tensor:
        return noise.at(use, like).expand(s, n, *shape).reshape_as(like)

    images = x0.repeat(s, 1, 1, 1)
    x = add_noise(images, draw(first, schedule.levels, images), settings.noise_level, schedule)
    for level, target in pairwise([*range(settings.noise_level, -1, -1), CLEAN]):
        clean, _ = predict_clean(x, model(x, level), level, schedule, settings.clip)
        tell(level, clean)
        x = ddpm_move(x, clean, draw(first, level, x), level, target, schedule, settings.variance)
    allowed = mask.expand_as(x0).repeat(s, 1, 1, 1)
    score = misfit(images, x)
    found = (F.max_pool2d((score > settings.misfit_level).float(), 3, 1, 1) > 0) & allowed
    state = add_noise(x, draw(second, schedule.levels, x), settings.stitch_level, schedule)
    parts = [
        resample(
            state[i * n : (i + 1) * n], x0, found[i * n : (i + 1) * n], model, settings.walk(), schedule,
            SharedNoise(generator, shape), variance=settings.variance, clip=settings.clip,
            on_call=tell if i == 0 else None,
        )
        for i in range(s)
    ]  # fmt: skip
    return Healed(torch.stack(parts), x0, total, score.view(s, *x0.shape))
