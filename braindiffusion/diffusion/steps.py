"""One step of each kind, as pure functions on tensors.

Symbols follow DDPM (Ho et al. 2020) and DDIM (Song et al. 2021): ``abar`` is the cumulative signal fraction, ``eps``
the predicted noise, ``x0`` the predicted clean image. All images are float32; scalars come from the float64 schedule.
Every step goes from ``level`` to ``target`` which may be any other level, so spaced samplers use the same functions.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from braindiffusion.diffusion.schedule import CLEAN, Schedule
from braindiffusion.diffusion.transfer import send
from braindiffusion.settings import Variance

Clip = tuple[float, float] | None
FLOOR_LEVEL = 100
"""Down to this noise level the outline of the image is decided; sulci are decided below it."""


def add_noise(x0: Tensor, noise: Tensor, level: int, schedule: Schedule) -> Tensor:
    """Forward process q(x_t | x_0): ``sqrt(abar) x0 + sqrt(1 - abar) noise``. Shapes (N,C,H,W)."""
    a = schedule.signal(level)
    return math.sqrt(a) * x0 + math.sqrt(1.0 - a) * noise


def predict_clean(
    x: Tensor, eps: Tensor, level: int, schedule: Schedule, clip: Clip = (-1.0, 1.0)
) -> tuple[Tensor, Tensor]:
    """The clean image implied by a noise prediction, and the noise that agrees with it.

    When the estimate is clipped the noise is derived again from the clipped image, so that both describe the same
    trajectory (the convention of guided-diffusion; MONAI's scheduler clips without deriving again).

    Returns:
        ``x0`` (N,C,H,W), clipped to ``clip``, and ``eps`` (N,C,H,W).
    """
    a = schedule.signal(level)
    x0 = (x - math.sqrt(1.0 - a) * eps) / math.sqrt(a)
    if clip is not None:
        x0 = x0.clamp(*clip)
        eps = (x - math.sqrt(a) * x0) / math.sqrt(1.0 - a)
    return x0, eps


def above(clean: Tensor, floor: Tensor | None, level: int) -> Tensor:
    """The clean estimate (N,C,H,W), at least ``floor`` while ``level`` is not below :data:`FLOOR_LEVEL`.

    Ours, not in any paper: where the painted region lies at the brain's border, the model does not know how far the
    brain reaches, and may paint fluid instead (see :func:`~braindiffusion.volume.masks.outline_floor`).
    """
    return clean if floor is None or level < FLOOR_LEVEL else torch.maximum(clean, floor)


def ddim_move(x0: Tensor, eps: Tensor, target: int, schedule: Schedule) -> Tensor:
    """Deterministic move to ``target``, up (inversion) or down (sampling): DDIM eq. 12 with eta = 0."""
    a = schedule.signal(target)
    return math.sqrt(a) * x0 + math.sqrt(1.0 - a) * eps


def ddpm_std(level: int, target: int, schedule: Schedule, variance: Variance = "small") -> float:
    """Standard deviation of the ancestral step ``level -> target`` (DDPM section 3.2); 0 when the target is clean."""
    if target == CLEAN:
        return 0.0
    a, b = schedule.signal(level), schedule.signal(target)
    beta = 1.0 - a / b
    return math.sqrt(beta * (1.0 - b) / (1.0 - a)) if variance == "small" else math.sqrt(beta)


def ddpm_move(
    x: Tensor, x0: Tensor, noise: Tensor, level: int, target: int, schedule: Schedule, variance: Variance = "small"
) -> Tensor:
    """Ancestral step ``level -> target`` given the clean estimate: posterior mean (DDPM eq. 7) plus noise.

    Args:
        x, x0, noise: (N,C,H,W) state, clean estimate, standard normal draw (broadcast over N is fine).
        variance: ``small`` is the posterior variance (the paper's eq. 7), ``large`` is beta (the published code).
    """
    a, b = schedule.signal(level), schedule.signal(target)
    alpha = a / b
    mean = (math.sqrt(b) * (1.0 - alpha) / (1.0 - a)) * x0 + (math.sqrt(alpha) * (1.0 - b) / (1.0 - a)) * x
    std = ddpm_std(level, target, schedule, variance)
    return mean if std == 0.0 else mean + std * noise


class SharedNoise:
    """Standard normal draws that depend on the sample and the level, not on the slice or the batch.

    Neighbouring slices of a volume receive the same draw, so that a healed volume does not flicker from slice to
    slice, and the result of a slice does not depend on which others share its batch or on the device.

    Args:
        generator: consumed once (one integer); the only source of randomness.
        shape: (C,H,W) of one draw.
        samples: number of independent samples.
    """

    def __init__(self, generator: torch.Generator, shape: tuple[int, int, int], samples: int = 1) -> None:
        self._base = int(torch.randint(0, 2**40, (1,), generator=generator, device=generator.device).item())
        self._shape, self._samples = shape, samples

    def at(self, level: int, like: Tensor) -> Tensor:
        """(samples,1,C,H,W) draw for the step that leaves ``level``, on the device of ``like``."""
        cpu = torch.Generator().manual_seed(self._base + 1_000_003 * (level + 2))
        return send(torch.randn((self._samples, 1, *self._shape), generator=cpu), like.device)
