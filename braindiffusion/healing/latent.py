"""Latent diffusion healing (Pinaya et al., MICCAI 2022): what is anomalous is found and healed in a VQ-VAE's latents.

A slice of 112 x 96 pixels is 28 x 24 cells there, so a network call costs a fraction of one on pixels. The paper's
hyper-parameters are not all known to us; those below are the ones commonly used with it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from braindiffusion.diffusion.inversion import EpsModel
from braindiffusion.diffusion.resample import resample
from braindiffusion.diffusion.schedule import CLEAN, Schedule
from braindiffusion.diffusion.spacing import Spacing, ascending_levels
from braindiffusion.diffusion.steps import SharedNoise, add_noise, ddpm_move, ddpm_std, predict_clean
from braindiffusion.errors import SettingsError
from braindiffusion.events import OnStep, Step
from braindiffusion.healing.contract import Healed, unchanged
from braindiffusion.settings import Variance

SHARE = 0.1
"""Of healthy cells that lie above the level of the latent mask; the paper's peers take 0.025 of unsmoothed scores."""


class Coder(Protocol):
    """An autoencoder whose latents have zero mean and unit spread."""

    def encode(self, x: Tensor) -> Tensor:
        """(N,1,H,W) -> (N,c,h,w)."""

    def decode(self, z: Tensor) -> Tensor:
        """(N,c,h,w) -> (N,1,H,W)."""


@dataclass(frozen=True)
class LatentSettings:
    """Settings of latent healing.

    Attributes:
        band: lowest and highest level at which the latents are looked at. Below it the divergence is dominated by its
            factor 1 / sigma^2, above it little of the slice is left.
        looks: levels in the band.
        smoothing: standard deviation in cells of the Gaussian over the scores: one draw of noise tells little of a
            cell, and a lesion is larger than one. 0 leaves them.
        level: of the divergence; cells above it are healed. The quantile of 1 - :data:`SHARE` over healthy cells, kept
            in the denoiser's card (``operating_points``). ``None``: of each slice its own, so that a healthy slice is
            touched as well.
        noise_level, steps: of the healing; ``steps`` ``None`` visits every level.
    """

    band: tuple[int, int] = (500, 700)
    looks: int = 5
    smoothing: float = 1.5
    level: float | None = None
    noise_level: int = 500
    steps: int | None = None
    spacing: Spacing = "quadratic"
    variance: Variance = "small"
    samples: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.band[0] <= self.band[1] <= 999 or self.looks < 1 or self.smoothing < 0:
            raise SettingsError(
                f"Latents cannot be looked at at {self.looks} levels of {self.band[0]} to {self.band[1]}, "
                f"smoothed by {self.smoothing:g} cells.",
                "Levels lie in 1..999, the lower first, there is at least one, and smoothing is not negative.",
                "Choose others.",
            )

    def looked_at(self) -> list[int]:
        """Levels of the band, ascending."""
        return sorted({int(t) for t in np.linspace(*self.band, self.looks).round()})

    def levels(self) -> list[int]:
        """Ascending levels of the healing."""
        return ascending_levels(self.noise_level, self.steps, self.spacing)

    def calls(self) -> int:
        """Calls of the latent denoiser a batch costs; encoding and decoding come on top, once each."""
        return len(self.looked_at()) + len(self.levels()) if self.noise_level else 0


def divergence(z0: Tensor, z: Tensor, model: EpsModel, level: int, schedule: Schedule) -> tuple[Tensor, Tensor]:
    """(N,c,h,w) KL of ``q(z_{t-1} | z_t, z_0)`` from ``p(z_{t-1} | z_t)``, and the estimate of the clean latents.

    Both are Gaussians of the same variance: ``(mu_q - mu_p)^2 / (2 sigma_t^2)``.
    """
    clean, _ = predict_clean(z, model(z, level), level, schedule, None)
    nothing = torch.zeros_like(z)
    mu_q, mu_p = (ddpm_move(z, c, nothing, level, level - 1, schedule) for c in (z0, clean))
    return (mu_q - mu_p) ** 2 / (2 * ddpm_std(level, level - 1, schedule) ** 2), clean


def cells_of(mask: Tensor, z: Tensor) -> Tensor:
    """(N,1,h,w) bool: latent cells at least half inside a mask (N,1,H,W)."""
    return F.adaptive_avg_pool2d(mask.float(), (z.shape[2], z.shape[3])) >= 0.5


def latent_mask(score: Tensor, cells: Tensor, level: float | None) -> Tensor:
    """(N,1,h,w) bool: the cells whose score (N,1,h,w) passes the level, see :class:`LatentSettings`."""
    if level is not None:
        return (score > level) & cells
    inside = score.masked_fill(~cells, float("nan")).flatten(1)
    own = torch.nanquantile(inside, 1 - SHARE, dim=1).view(-1, 1, 1, 1)  # NaN where a slice has no cell: nothing passes
    return (score > own) & cells


def smoothed(score: Tensor, cells: Tensor, sigma: float) -> Tensor:
    """(N,1,h,w) scores blurred over the cells (N,1,h,w) of the brain only; 0 outside."""
    inside = cells.to(score.dtype)
    if not sigma:
        return score * inside
    reach = math.ceil(2 * sigma)
    line = torch.exp(-(torch.arange(-reach, reach + 1, dtype=score.dtype, device=score.device) ** 2) / (2 * sigma**2))
    kernel = torch.outer(line, line)[None, None]
    weight = F.conv2d(inside, kernel, padding=reach)
    return inside * F.conv2d(score * inside, kernel, padding=reach) / weight.clamp_min(torch.finfo(score.dtype).tiny)


def score_latents(
    z0: Tensor,
    cells: Tensor,
    model: EpsModel,
    settings: LatentSettings,
    generator: torch.Generator,
    schedule: Schedule,
    on_look: OnStep | None = None,
) -> Tensor:
    """(N,1,h,w) divergence of latents (N,c,h,w): mean over channels and levels of the band, smoothed over ``cells``."""
    noise = SharedNoise(generator, (z0.shape[1], z0.shape[2], z0.shape[3]))
    total = torch.zeros_like(z0[:, :1])
    levels = settings.looked_at()
    for done, level in enumerate(levels, 1):
        z = add_noise(z0, noise.at(level, z0)[0], level, schedule)
        kl, clean = divergence(z0, z, model, level, schedule)
        total += kl.mean(1, keepdim=True) / len(levels)
        if on_look:
            on_look(Step(done, len(levels), level, clean))
    return smoothed(total, cells, settings.smoothing)


def latent(
    x0: Tensor,
    mask: Tensor,
    model: EpsModel,
    settings: LatentSettings,
    generator: torch.Generator,
    schedule: Schedule | None = None,
    on_step: OnStep | None = None,
    *,
    coder: Coder,
) -> Healed:
    """Find the latents that do not fit, draw them anew, decode.

    The slice is changed only where the latent mask (enlarged, with soft borders) is, by which the coder's own errors
    stay out of the difference. Arguments as :func:`~braindiffusion.healing.dif_fuse.dif_fuse`.

    Args:
        mask: the anomaly is looked for inside it (the brain).
        model: noise predictor on latents.
        coder: from slices to latents and back.
    """
    schedule = schedule or Schedule()
    n, s, total, done = len(x0), settings.samples, settings.calls(), 0
    if settings.noise_level == 0:
        return unchanged(x0, s)
    z0 = coder.encode(x0).float()
    cells = cells_of(mask, z0)
    found = torch.zeros_like(cells)

    def back(z: Tensor) -> Tensor:
        """Decoded, and put into the slices where the latent mask is."""
        soft = F.interpolate(found.float(), size=x0.shape[2:], mode="bilinear", align_corners=False) * mask
        return x0 + soft * (coder.decode(z).float().view(-1, *x0.shape) - x0)

    def tell(level: int, clean: Tensor) -> None:
        nonlocal done
        done += 1
        if on_step:  # decoding costs as much as a call: the slice itself is shown until the last
            on_step(Step(done, total, level, back(clean[:n])[0] if done == total else x0))

    score = score_latents(z0, cells, model, settings, generator, schedule, lambda step: tell(step.level, step.clean))
    found = latent_mask(score, cells, settings.level)
    first, further = (SharedNoise(generator, (z0.shape[1], z0.shape[2], z0.shape[3]), s) for _ in range(2))
    levels, images = settings.levels(), z0.repeat(s, 1, 1, 1)
    start = first.at(0, z0).expand(s, n, *z0.shape[1:]).reshape_as(images)
    z = resample(
        add_noise(images, start, levels[-1], schedule), z0, found, model, [*reversed(levels), CLEAN], schedule, further,
        variance=settings.variance, clip=None, on_call=tell,
    )  # fmt: skip
    return Healed(back(z), coder.decode(z0).float(), done)
