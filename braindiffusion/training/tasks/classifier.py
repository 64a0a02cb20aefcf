"""Classifiers of slices: clean (gate and saliency) and noised (classifier guidance)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from braindiffusion.diffusion.schedule import Schedule
from braindiffusion.training.augment import other_grain
from braindiffusion.training.tasks.base import Batch, Settings, Task, augmented


def classifier_loss(
    network: nn.Module, batch: Batch, g: torch.Generator, settings: Settings, training: bool = True
) -> Tensor:
    """Class-weighted cross-entropy, healthy (0) or lesion (1); ``grain`` is the share of slices blurred."""
    x = augmented([batch["image"]], g, settings)[0] if training else batch["image"]
    if training and "grain" in settings:
        x = other_grain(x, g, settings["grain"])
    weight = torch.tensor(settings.get("class_weight", [1.0, 1.0]), device=x.device)
    smoothing = settings.get("label_smoothing", 0.0) if training else 0.0
    return F.cross_entropy(network(x).float(), batch["label"], weight=weight, label_smoothing=smoothing)


def noised_classifier_loss(
    network: nn.Module, batch: Batch, g: torch.Generator, settings: Settings, training: bool = True
) -> Tensor:
    """Cross-entropy on slices noised to a random level, which the network is told (Dhariwal & Nichol 2021)."""
    schedule = Schedule()
    device = batch["image"].device
    x0 = augmented([batch["image"]], g, settings)[0] if training else batch["image"]
    level = torch.randint(0, settings.get("highest_level", 600), (len(x0),), generator=g)
    a = torch.from_numpy(schedule.abar[level.numpy()]).float().view(-1, 1, 1, 1)
    noise = torch.randn(x0.shape, generator=g)
    x0, a, level, noise = (v.to(device) for v in (x0, a, level, noise))
    return F.cross_entropy(network(a.sqrt() * x0 + (1 - a).sqrt() * noise, level).float(), batch["label"])


def auroc(score: np.ndarray, label: np.ndarray) -> float:
    """Area under the ROC curve by ranks (ties averaged); NaN when a class is missing."""
    from scipy.stats import rankdata

    positive = int(label.sum())
    negative = len(label) - positive
    if not positive or not negative:
        return float("nan")
    return float((rankdata(score)[label.astype(bool)].sum() - positive * (positive + 1) / 2) / (positive * negative))


def classifier_numbers(network: nn.Module, batch: Batch) -> dict[str, float]:
    """Slice AUROC."""
    logits = torch.cat([network(x).float() for x in batch["image"].split(64)])
    score = (logits[:, 1] - logits[:, 0]).cpu().numpy()
    return {"auroc": auroc(score, batch["label"].cpu().numpy())}


CLASSIFIER = Task(classifier_loss, classifier_numbers, lambda numbers: -numbers["auroc"])
NOISED_CLASSIFIER = Task(noised_classifier_loss)
