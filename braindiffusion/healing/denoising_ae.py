"""DenoisingAE (Kascenas et al., MIDL 2022): an autoencoder that removes coarse noise removes lesions too. One call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from braindiffusion.diffusion.schedule import Schedule
from braindiffusion.events import OnStep, Step
from braindiffusion.healing.contract import Healed


@dataclass(frozen=True)
class DenoisingAESettings:
    """It has none but the number of (equal) samples."""

    samples: int = 1

    def calls(self) -> int:
        """Network calls a batch costs."""
        return 1


def in_one_call(
    x0: Tensor, model: Callable[[Tensor], Tensor], settings: DenoisingAESettings, on_step: OnStep | None
) -> Healed:
    """What a network from slice to slice makes of each, as a healing."""
    clean = model(x0).float()
    if on_step:
        on_step(Step(1, 1, 0, clean))
    return Healed(clean[None].repeat(settings.samples, 1, 1, 1, 1), x0, 1)


@torch.no_grad()
def denoising_ae(
    x0: Tensor,
    mask: Tensor,
    model: Callable[[Tensor], Tensor],
    settings: DenoisingAESettings,
    generator: torch.Generator,
    schedule: Schedule | None = None,
    on_step: OnStep | None = None,
) -> Healed:
    """The reconstruction of the clean slice; no noise is added at test time, as published.

    Args:
        model: the autoencoder, (N,1,H,W) -> (N,1,H,W).
    """
    return in_one_call(x0, model, settings, on_step)
