"""Autoencoders: ACAT's, the VQ-VAE with its latent denoiser, and the denoising autoencoder."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from braindiffusion.training.tasks.base import Batch, Settings, Task, augmented
from braindiffusion.training.tasks.denoiser import draw_levels


def autoencoder_loss(
    network: nn.Module, batch: Batch, g: torch.Generator, settings: Settings, training: bool = True
) -> Tensor:
    """Mean squared error of the reconstruction."""
    x = augmented([batch["image"]], g, settings)[0] if training else batch["image"]
    return F.mse_loss(network(x).float(), x)


def vqvae_loss(
    network: nn.Module, batch: Batch, g: torch.Generator, settings: Settings, training: bool = True
) -> Tensor:
    """L1 of the reconstruction, of its gradients, and the quantisation loss (van den Oord et al. 2017)."""
    x = augmented([batch["image"]], g, settings)[0] if training else batch["image"]
    both = network(x)
    reconstruction, quantisation = both[:, :1].float(), both[:, 1:].float().mean()
    loss = F.l1_loss(reconstruction, x)
    for axis in (2, 3):
        loss = loss + 0.5 * F.l1_loss(reconstruction.diff(dim=axis), x.diff(dim=axis))
    return loss + quantisation if training else F.l1_loss(reconstruction, x)


def coarse_noise(shape: tuple[int, ...], g: torch.Generator, spread: float = 0.2, coarse: int = 16) -> Tensor:
    """(N,C,H,W) Gaussian noise on a ``coarse`` grid, enlarged and rolled (Kascenas et al. 2022)."""
    small = torch.randn((*shape[:2], coarse, coarse), generator=g) * spread
    noise = F.interpolate(small, size=shape[2:], mode="bilinear", align_corners=False)
    shifts = [int(torch.randint(0, n, (1,), generator=g)) for n in shape[2:]]
    return noise.roll(shifts, dims=(2, 3))


def denoising_ae_loss(
    network: nn.Module, batch: Batch, g: torch.Generator, settings: Settings, training: bool = True
) -> Tensor:
    """Mean squared error inside the brain after coarse noise was added there."""
    x, brain = (
        augmented([batch["image"], batch["brain"]], g, settings) if training else (batch["image"], batch["brain"])
    )
    noisy = x + coarse_noise(tuple(x.shape), g, settings.get("spread", 0.2)).to(x) * brain
    return (((network(noisy).float() - x) ** 2) * brain).sum() / brain.sum().clamp(min=1)


@lru_cache(maxsize=2)
def frozen(name: str, device: str) -> nn.Module:
    """An installed model that another one is trained on top of."""
    from braindiffusion.models.registry import load_model

    return load_model(name, device).network.requires_grad_(False)


def latent_denoiser_loss(
    network: nn.Module, batch: Batch, g: torch.Generator, settings: Settings, training: bool = True
) -> Tensor:
    """Denoiser loss on the latents of the VQ-VAE named in ``autoencoder`` (before quantisation, unit spread)."""
    from braindiffusion.diffusion.schedule import Schedule

    schedule = Schedule()
    device = batch["image"].device
    x = augmented([batch["image"]], g, settings)[0] if training else batch["image"]
    coder = frozen(settings["autoencoder"], str(device))
    with torch.no_grad():
        z0 = coder.encode(x.to(device)).float()  # type: ignore[operator]
    level = draw_levels(len(z0), g, schedule, settings.get("low_share", 0.0), settings.get("low_below", 600))
    a = torch.from_numpy(schedule.abar[level.numpy()]).float().view(-1, 1, 1, 1)
    noise = torch.randn(z0.shape, generator=g)
    noise, a, level = (v.to(device) for v in (noise, a, level))
    z = a.sqrt() * z0 + (1 - a).sqrt() * noise
    target = a.sqrt() * noise - (1 - a).sqrt() * z0 if settings.get("prediction", "eps") == "v" else noise
    return F.mse_loss(network(z, level).float(), target)


AUTOENCODER = Task(autoencoder_loss)
VQVAE = Task(vqvae_loss)
DENOISING_AE = Task(denoising_ae_loss)
LATENT_DENOISER = Task(latent_denoiser_loss)
