"""Grad-CAM (Selvaraju et al. 2017) on the classifier's last feature maps."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from braindiffusion.finders.acat import normalise_per_slice
from braindiffusion.networks.build import Classifier


def grad_cam(x: Tensor, classifier: Classifier) -> Tensor:
    """ReLU of the feature maps weighted by their mean gradient, enlarged bilinearly.

    The maps are a sixteenth of the slice's side, so this saliency is coarse.

    Args:
        x: (N,1,H,W) in [0,1].

    Returns:
        (N,1,H,W) in [0,1], each slice over its own maximum.
    """
    with torch.enable_grad():
        features = classifier.features(x).detach().requires_grad_(True)
        logits = classifier.judge(features)
        (g,) = torch.autograd.grad((logits[:, 1] - logits[:, 0]).sum(), features)
    weighted = (g.mean((2, 3), keepdim=True) * features.detach()).sum(1, keepdim=True)
    return normalise_per_slice(F.interpolate(weighted.relu(), size=x.shape[2:], mode="bilinear", align_corners=False))
