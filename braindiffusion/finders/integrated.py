"""Integrated gradients (Sundararajan et al. 2017) from a black image."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from braindiffusion.finders.acat import normalise_per_slice

STEPS = 100


def path_gradient(
    x: Tensor, classifier: nn.Module, steps: int = STEPS, on_step: Callable[[int], None] | None = None
) -> Tensor:
    """``x`` times the mean gradient of the lesion logit (less the healthy one) along the straight path from black.

    Midpoints of the path's intervals are used, so that the sum over pixels equals the change of the logit to second
    order in 1/steps (completeness).

    Returns:
        (N,1,H,W), signed.
    """
    total = torch.zeros_like(x)
    for step in range(steps):
        with torch.enable_grad():
            point = (x * ((step + 0.5) / steps)).detach().requires_grad_(True)
            logits = classifier(point)
            (g,) = torch.autograd.grad((logits[:, 1] - logits[:, 0]).sum(), point)
        total += g
        if on_step:
            on_step(step + 1)
    return x * total / steps


def integrated_gradients(
    x: Tensor, classifier: nn.Module, steps: int = STEPS, on_step: Callable[[int], None] | None = None
) -> Tensor:
    """(N,1,H,W) in [0,1] -> (N,1,H,W) in [0,1]: the absolute value, each slice over its own maximum."""
    return normalise_per_slice(path_gradient(x, classifier, steps, on_step).abs().detach())
