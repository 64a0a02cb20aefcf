"""ACAT: saliency from a counterfactual in the latent space of an autoencoder.

Source: Fontanella et al., "ACAT: Adversarial counterfactual attention for classification and detection in medical
imaging" (2023), as used by Dif-fuse (2024). Cost: 20 gradient steps through decoder and classifier, two directions.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from braindiffusion.networks.build import Autoencoder

STEPS, STEP_SIZE, PULL = 20, 1e-3, 100.0


def normalise_per_slice(values: Tensor) -> Tensor:
    """Divide each (C,H,W) by its own maximum; an all-zero slice stays zero."""
    top = values.amax(dim=(1, 2, 3), keepdim=True)
    return torch.where(top > 0, values / top.clamp_min(1e-30), torch.zeros_like(values))


def move_latent(
    z0: Tensor,
    autoencoder: Autoencoder,
    classifier: nn.Module,
    target: int,
    *,
    steps: int = STEPS,
    step_size: float = STEP_SIZE,
    pull: float = PULL,
    on_step: Callable[[int], None] | None = None,
) -> Tensor:
    """Plain gradient descent on ``CE(f(D(z)), target) + pull * mean|z - z0|`` from ``z0``.

    Both terms are summed over the samples, each being its own mean over entries: the move of a slice is the same
    whatever shares its batch (the published code uses batches of one).

    The latent is kept in float64: it moves by so little that the rounding of float32 would decide on which side of
    ``z0`` an entry lies, and with it the sign of its pull.

    Returns:
        (N,c,h,w) moved latent, float64.
    """
    kind, z0 = z0.dtype, z0.double()
    z = z0.clone()
    wanted = torch.full((len(z0),), target, device=z0.device)
    for step in range(steps):
        z.requires_grad_(True)
        cost = F.cross_entropy(classifier(autoencoder.decode(z.to(kind))), wanted, reduction="sum")
        cost = cost + pull * (z - z0).abs().flatten(1).mean(1).sum()
        (gradient,) = torch.autograd.grad(cost, z)
        z = (z - step_size * gradient).detach()
        if on_step:
            on_step(step)
    return z


def decode_exactly(z: Tensor, exact: Autoencoder, tell: Callable[[], None]) -> Tensor:
    """Decode in float64, one slice at a time: quicker on a CPU than a batch, and ``tell`` may stop it in between."""
    images = []
    for one in z.double().split(1):
        images.append(exact.decode(one))
        tell()
    return torch.cat(images)


def acat(
    x: Tensor,
    autoencoder: Autoencoder,
    classifier: nn.Module,
    *,
    steps: int = STEPS,
    step_size: float = STEP_SIZE,
    pull: float = PULL,
    on_step: Callable[[int], None] | None = None,
) -> Tensor:
    """Saliency of each slice: mean of the maps toward "lesion" and toward "healthy".

    Each map is ``|D(E(x)) - D(z)|`` over its own maximum; the reference image is the reconstruction, so that the
    autoencoder's own error cancels.

    Args:
        x: (N,1,H,W) in [0,1], float32.
        autoencoder, classifier: in eval mode.
        on_step: called after each gradient step, and each slice decoded, with the number of gradient steps done (of
            ``2 * steps``); may raise to cancel.

    Returns:
        (N,1,H,W) in [0,1].
    """
    done = 0

    def tell() -> None:
        if on_step:
            on_step(done)

    def stepped(_: int) -> None:
        nonlocal done
        done += 1
        tell()

    with torch.no_grad():
        z0 = autoencoder.encode(x)
        exact = deepcopy(autoencoder).double()  # the two images differ in the last digits of float32
        reference = decode_exactly(z0, exact, tell)
    maps = []
    for target in (1, 0):
        with torch.enable_grad():
            z = move_latent(
                z0, autoencoder, classifier, target, steps=steps, step_size=step_size, pull=pull, on_step=stepped
            )
        with torch.no_grad():
            maps.append(normalise_per_slice((reference - decode_exactly(z, exact, tell)).abs()))
    return normalise_per_slice((maps[0] + maps[1]) / 2).to(x.dtype)
