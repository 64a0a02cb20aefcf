"""f-AnoGAN's two stages (Schlegl et al. 2019): a Wasserstein GAN of healthy slices, then an encoder for it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from braindiffusion.training.tasks.base import Batch, Settings, Task, augmented


def gan_loss(network: nn.Module, batch: Batch, g: torch.Generator, settings: Settings, training: bool = True) -> Tensor:
    """The critic's loss or the generator's, by whose turn it is; else the Wasserstein distance the critic sees.

    The network computes its loss itself, gradient penalty included, so that all of it runs where the network is.
    """
    x = augmented([batch["image"]], g, settings)[0] if training else batch["image"]
    z = torch.randn((len(x), settings.get("latent", 128)), generator=g).to(x)
    mix = torch.rand((len(x), 1, 1, 1), generator=g).to(x)
    return network(x, z, mix).mean()


def gan_encoder_loss(
    network: nn.Module, batch: Batch, g: torch.Generator, settings: Settings, training: bool = True
) -> Tensor:
    """Distance of a slice to what the generator draws from its code, in pixels and critic features ("izi_f")."""
    x = augmented([batch["image"]], g, settings)[0] if training else batch["image"]
    return network(x, torch.tensor(float(settings.get("kappa", 1.0)), device=x.device)).mean()


# A critic's loss says nothing of the generator: the last weights are kept.
GAN = Task(gan_loss, select=lambda numbers: 0.0, alternating=True)
GAN_ENCODER = Task(gan_encoder_loss)
