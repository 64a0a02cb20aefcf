"""f-AnoGAN (Schlegl et al., Medical Image Analysis 2019): the nearest healthy slice that a GAN can draw. One call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from braindiffusion.diffusion.schedule import Schedule
from braindiffusion.events import OnStep
from braindiffusion.healing.contract import Healed
from braindiffusion.healing.denoising_ae import DenoisingAESettings, in_one_call


@dataclass(frozen=True)
class FAnoGANSettings(DenoisingAESettings):
    """It has none but the number of (equal) samples. A call is one of the encoder and one of the generator."""


@torch.no_grad()
def f_anogan(
    x0: Tensor,
    mask: Tensor,
    model: Callable[[Tensor], Tensor],
    settings: FAnoGANSettings,
    generator: torch.Generator,
    schedule: Schedule | None = None,
    on_step: OnStep | None = None,
) -> Healed:
    """``G(E(x))``, and its difference to the slice as the anomaly map. No mask is used; nothing is drawn at random.

    Args:
        model: encoder and generator, (N,1,H,W) -> (N,1,H,W) (:class:`~braindiffusion.networks.gan.EncodedGAN`).
    """
    return in_one_call(x0, model, settings, on_step)
