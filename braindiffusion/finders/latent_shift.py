"""Latent shift: saliency from sliding a latent along one gradient (Cohen et al. 2021, "Gifsplanation")."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from braindiffusion.finders.acat import normalise_per_slice
from braindiffusion.networks.build import Autoencoder

DROP = 0.15
"""The slide ends when the probability of a lesion has fallen by this much,"""
FURTHEST = 1000.0
"""or at this distance, or when the probability rises again."""
IMAGES = 10


def slide_ends(z: Tensor, direction: Tensor, probability: Callable[[Tensor], Tensor]) -> Tensor:
    """(N,) how far each latent is slid against its gradient, in multiples of the gradient.

    Steps of 1 up to 10, then of 10, each slice until its own end.
    """
    start = probability(z)
    best, reached = start.clone(), torch.zeros_like(start)
    moving = torch.ones_like(start, dtype=torch.bool)
    distance = 0.0
    while distance < FURTHEST and bool(moving.any()):
        distance += 1.0 if distance < 10 else 10.0
        p = probability(z - distance * direction)
        moving &= p <= best
        reached = torch.where(moving, torch.full_like(reached, distance), reached)
        best = torch.where(moving, p, best)
        moving &= p > start - DROP
    return reached


def latent_shift(
    x: Tensor, autoencoder: Autoencoder, classifier: nn.Module, on_step: Callable[[int], None] | None = None
) -> Tensor:
    """Greatest change along the slide: ``max over lambda of |D(z) - D(z - lambda g)|``, ``g`` the gradient of the
    probability of a lesion with respect to the latent.

    Args:
        x: (N,1,H,W) in [0,1].
        autoencoder, classifier: in eval mode.
        on_step: called after each of ``IMAGES`` decodings; may raise to cancel.

    Returns:
        (N,1,H,W) in [0,1], each slice over its own maximum.
    """

    def probability(latent: Tensor) -> Tensor:
        return classifier(autoencoder.decode(latent)).softmax(1)[:, 1]

    with torch.enable_grad():
        z = autoencoder.encode(x).detach().requires_grad_(True)
        (direction,) = torch.autograd.grad(probability(z).sum(), z)
    with torch.no_grad():
        z = z.detach()
        ends = slide_ends(z, direction, probability)
        reference, most = autoencoder.decode(z), torch.zeros_like(x)
        for i in range(1, IMAGES + 1):
            shifted = z - (ends * i / IMAGES).view(-1, 1, 1, 1) * direction
            most = torch.maximum(most, (autoencoder.decode(shifted) - reference).abs())
            if on_step:
                on_step(i)
    return normalise_per_slice(most)
