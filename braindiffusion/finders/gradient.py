"""Plain gradient saliency (Simonyan et al. 2014): ``|d logit_lesion / d x|``."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from braindiffusion.finders.acat import normalise_per_slice


def gradient(x: Tensor, classifier: nn.Module) -> Tensor:
    """(N,1,H,W) in [0,1] -> (N,1,H,W) in [0,1], each slice over its own maximum."""
    with torch.enable_grad():
        x = x.detach().clone().requires_grad_(True)
        logits = classifier(x)
        (g,) = torch.autograd.grad((logits[:, 1] - logits[:, 0]).sum(), x)
    return normalise_per_slice(g.abs().detach())
