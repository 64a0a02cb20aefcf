"""Segmenters: brain masks of any contrast, and lesions by a drawn mask (supervised ceiling, independent check)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from braindiffusion.training import augment as aug
from braindiffusion.training.tasks.base import Batch, Settings, Task, augmented, soft_dice_loss


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
    return F.binary_cross_entropy_with_logits(logit, y) + soft_dice_loss(torch.sigmoid(logit), y).mean()


def brain_mask_numbers(network: nn.Module, batch: Batch) -> dict[str, float]:
    """Pooled Dice of the brain mask on images of unchanged contrast."""
    p = torch.cat([network(x).float() > 0 for x in batch["image"].split(64)])
    y = batch["brain"] > 0.5
    return {"dice": float(2 * (p & y).sum() / (p.sum() + y.sum()))}


def _own_channel(logit: Tensor, kind: Tensor) -> Tensor:
    """(N,C,H,W) -> (N,1,H,W): each slice is judged by the channel of the data set its mask comes from."""
    return logit.gather(1, kind.view(-1, 1, 1, 1).expand(-1, 1, *logit.shape[2:]))


def lesion_loss(
    network: nn.Module, batch: Batch, g: torch.Generator, settings: Settings, training: bool = True
) -> Tensor:
    """Cross-entropy plus soft Dice; one output channel per kind of lesion, so that annotators are not mixed.

    Pixels that are ``unsure`` count in neither, nor does a slice that is nothing else.
    """
    x, y, *unsure = (batch[k] for k in ("image", "lesion", "unsure") if k in batch)
    if training:
        x, y, *unsure = augmented([x, y, *unsure], g, settings)
        x = x + torch.randn(x.shape, generator=g).to(x) * 0.02
    logit = _own_channel(network(x).float(), batch["kind"])
    sure = 1 - unsure[0] if unsure else torch.ones_like(y)
    cost = F.binary_cross_entropy_with_logits(logit, y, weight=sure)
    return cost + soft_dice_loss(torch.sigmoid(logit) * sure, y * sure).mean()


def lesion_numbers(network: nn.Module, batch: Batch) -> dict[str, float]:
    """Mean Dice over lesion slices, per kind (``dice_0``, ...) and their mean (``dice``), where masks are known."""
    logits = torch.cat([network(x).float() for x in batch["image"].split(64)])
    p, y = _own_channel(logits, batch["kind"]) > 0, batch["lesion"] > 0.5
    if "unsure" in batch:
        p &= batch["unsure"] < 0.5
        y &= batch["unsure"] < 0.5
    dice = 2 * (p & y).sum((1, 2, 3)) / (p.sum((1, 2, 3)) + y.sum((1, 2, 3))).clamp(min=1)
    kinds = sorted(set(batch["kind"].tolist()))
    each = {f"dice_{k}": float(dice[(batch["kind"] == k) & (batch["label"] == 1)].mean()) for k in kinds}
    return {"dice": sum(each.values()) / len(each), **each}


BRAIN_MASK = Task(brain_mask_loss, brain_mask_numbers)
LESION_SEGMENTER = Task(lesion_loss, lesion_numbers, lambda numbers: -numbers["dice"])
