"""What a recipe trains: for each task the loss of a batch and the validation numbers.

A task is a pure pair of functions over (network, batch, generator, settings); registry ``TASKS`` at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from braindiffusion.diffusion.schedule import Schedule
from braindiffusion.training import augment as aug

Batch = dict[str, Tensor]
Settings = dict[str, Any]


def _flair_augment(batch: Batch, g: torch.Generator, settings: Settings) -> Tensor:
    (x,) = aug.geometry([batch["image"]], g, **settings.get("geometry", {"rotate": 6.0, "scale": 0.06, "shift": 0.02}))
    return aug.mild_intensity(x, g, **settings.get("intensity", {}))


def draw_levels(n: int, g: torch.Generator, schedule: Schedule, low_share: float, low_below: int) -> Tensor:
    """(N,) levels: a share ``low_share`` uniform below ``low_below``, the rest uniform over all."""
    everywhere = torch.randint(0, schedule.levels, (n,), generator=g)
    low = torch.randint(0, low_below, (n,), generator=g)
    return torch.where(torch.rand((n,), generator=g) < low_share, low, everywhere)


def denoiser_loss(
    network: nn.Module, batch: Batch, g: torch.Generator, settings: Settings, training: bool = True
) -> Tensor:
    """Mean squared error of the noise prediction, or of v (Salimans & Ho 2022), which stays defined at level 999."""
    schedule = Schedule()
    x0 = _flair_augment(batch, g, settings) if training else batch["image"]
    level = draw_levels(len(x0), g, schedule, settings.get("low_share", 0.0), settings.get("low_below", 600))
    a = torch.from_numpy(schedule.abar[level.numpy()]).float().view(-1, 1, 1, 1)
    noise = torch.randn(x0.shape, generator=g)
    x0, noise, a, level = (v.to(batch["image"].device) for v in (x0, noise, a, level))
    x = a.sqrt() * x0 + (1 - a).sqrt() * noise
    target = a.sqrt() * noise - (1 - a).sqrt() * x0 if settings.get("prediction", "eps") == "v" else noise
    return F.mse_loss(network(x, level).float(), target)


def autoencoder_loss(
    network: nn.Module, batch: Batch, g: torch.Generator, settings: Settings, training: bool = True
) -> Tensor:
    """Mean squared error of the reconstruction."""
    x = _flair_augment(batch, g, settings) if training else batch["image"]
    return F.mse_loss(network(x).float(), x)


def classifier_loss(
    network: nn.Module, batch: Batch, g: torch.Generator, settings: Settings, training: bool = True
) -> Tensor:
    """Class-weighted cross-entropy, healthy (0) or lesion (1)."""
    x = _flair_augment(batch, g, settings) if training else batch["image"]
    weight = torch.tensor(settings.get("class_weight", [1.0, 1.0]), device=x.device)
    smoothing = settings.get("label_smoothing", 0.0) if training else 0.0
    return F.cross_entropy(network(x).float(), batch["label"], weight=weight, label_smoothing=smoothing)


def brain_mask_loss(
    network: nn.Module, batch: Batch, g: torch.Generator, settings: Settings, training: bool = True
) -> Tensor:
    """Cross-entropy plus soft Dice on images of random contrast: any sequence, whole head or stripped."""
    x, y = batch["image"], batch["brain"]
    if training:
        x, y = aug.geometry([x, y], g, rotate=20.0, scale=0.2, shift=0.08)
        x, y = aug.random_contrast(x, g), (y > 0.5).float()
        n = len(x)
        tone = aug.uniform((n, 1, 1, 1), 0.0, 1.0, g)
        spots = aug.blobs(y, g) * (torch.rand((n, 1, 1, 1), generator=g) < 0.5)
        x = x * (1 - spots) + tone * spots
        x = aug.bias_field(x, g)
        if float(torch.rand((1,), generator=g)) < 0.5:
            x = aug.rough_resolution(x, g)
        stripped = torch.rand((n, 1, 1, 1), generator=g) < 0.2
        x = torch.where(stripped, x * y, x)
        x = x * torch.exp(aug.uniform((n, 1, 1, 1), -0.5, 0.3, g))
        x = x + torch.randn(x.shape, generator=g) * aug.uniform((n, 1, 1, 1), 0.0, 0.06, g)
    logit = network(x).float()
    p = torch.sigmoid(logit)
    dice = 1 - (2 * (p * y).sum((1, 2, 3)) + 20) / (p.sum((1, 2, 3)) + y.sum((1, 2, 3)) + 20)
    return F.binary_cross_entropy_with_logits(logit, y) + dice.mean()


def auroc(score: np.ndarray, label: np.ndarray) -> float:
    """Area under the ROC curve by ranks (ties averaged); NaN when a class is missing."""
    from scipy.stats import rankdata

    positive = int(label.sum())
    negative = len(label) - positive
    if not positive or not negative:
        return float("nan")
    return float((rankdata(score)[label.astype(bool)].sum() - positive * (positive + 1) / 2) / (positive * negative))


def classifier_numbers(network: nn.Module, batch: Batch) -> dict[str, float]:
    """Slice AUROC and cross-entropy."""
    logits = torch.cat([network(x).float() for x in batch["image"].split(64)])
    score = (logits[:, 1] - logits[:, 0]).cpu().numpy()
    return {"auroc": auroc(score, batch["label"].cpu().numpy())}


def brain_mask_numbers(network: nn.Module, batch: Batch) -> dict[str, float]:
    """Pooled Dice of the brain mask on images of unchanged contrast."""
    p = torch.cat([network(x).float() > 0 for x in batch["image"].split(64)])
    y = batch["brain"] > 0.5
    return {"dice": float(2 * (p & y).sum() / (p.sum() + y.sum()))}


@dataclass(frozen=True)
class Task:
    """A loss, further validation numbers, and the number by which the best weights are kept (lower is better)."""

    loss: Callable[..., Tensor]
    numbers: Callable[[nn.Module, Batch], dict[str, float]] | None = None
    select: Callable[[dict[str, float]], float] = lambda numbers: numbers["loss"]


TASKS: dict[str, Task] = {
    "denoiser": Task(denoiser_loss),
    "autoencoder": Task(autoencoder_loss),
    "classifier": Task(classifier_loss, classifier_numbers, lambda numbers: -numbers["auroc"]),
    "brain_mask": Task(brain_mask_loss, brain_mask_numbers),
}
