"""Denoisers: unconditional (healthy), conditional on a lesion mask, on an image with the lesion replaced by noise
(Palette), on a label (guidance), with simplex noise."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from braindiffusion.diffusion.schedule import Schedule
from braindiffusion.networks.build import CLASSES
from braindiffusion.training.tasks.base import Batch, Settings, Task, augmented
from braindiffusion.volume.masks import boxes


def draw_levels(n: int, g: torch.Generator, schedule: Schedule, low_share: float, low_below: int) -> Tensor:
    """(N,) levels: a share ``low_share`` uniform below ``low_below``, the rest uniform over all."""
    everywhere = torch.randint(0, schedule.levels, (n,), generator=g)
    low = torch.randint(0, low_below, (n,), generator=g)
    return torch.where(torch.rand((n,), generator=g) < low_share, low, everywhere)


def some_boxed(lesion: Tensor, share: float, g: torch.Generator) -> Tensor:
    """(N,1,H,W) masks, a share of them replaced by the filled boxes of their components: strict masks and boxes."""
    chosen = torch.rand((len(lesion),), generator=g) < share
    if not chosen.any():
        return lesion
    out = lesion.clone()
    picked = lesion[chosen, 0].cpu().numpy() > 0.5
    out[chosen, 0] = torch.from_numpy(boxes(picked)).to(lesion)
    return out


def condition_of(x0: Tensor, lesion: Tensor, brain: Tensor, g: torch.Generator, settings: Settings) -> Tensor | None:
    """What the network sees beside the noisy slice.

    ``condition`` ``lesion``: [lesion mask or boxes, brain mask] (MedEdit). ``palette``: the slice with the lesion's
    pixels replaced by noise (Saharia et al. 2022). Without it: nothing.
    """
    kind = settings.get("condition")
    if kind is None:
        return None
    mask = some_boxed(lesion, settings.get("boxes", 0.0), g)
    if kind == "lesion":
        return torch.cat([mask, brain], dim=1)
    noise = torch.randn(x0.shape, generator=g).to(x0)
    return torch.where(mask > 0.5, noise, x0)


def labels_dropped(label: Tensor, share: float, g: torch.Generator) -> Tensor:
    """(N,) classes, a share of them replaced by "unlabelled" (Ho & Salimans 2022): both models in one network."""
    dropped = torch.rand((len(label),), generator=g) < share
    return torch.where(dropped.to(label.device), CLASSES.index("unlabelled"), label)


def denoiser_loss(
    network: nn.Module, batch: Batch, g: torch.Generator, settings: Settings, training: bool = True
) -> Tensor:
    """Mean squared error of the noise prediction, or of v (Salimans & Ho 2022), which stays defined at level 999.

    With ``condition`` the network gets further channels, with ``kinds`` also the kind of lesion as a class, with
    ``label_drop`` whether the slice shows a lesion as a class, which is dropped for that share of the slices.
    """
    schedule = Schedule()
    device = batch["image"].device
    parts = [batch["image"]] + ([batch["lesion"], batch["brain"]] if "condition" in settings else [])
    x0, *masks = augmented(parts, g, settings) if training else parts
    level = draw_levels(len(x0), g, schedule, settings.get("low_share", 0.0), settings.get("low_below", 600))
    a = torch.from_numpy(schedule.abar[level.numpy()]).float().view(-1, 1, 1, 1)
    if settings.get("noise") == "simplex":
        from braindiffusion.diffusion.simplex import fractal_noise

        noise = fractal_noise(tuple(x0.shape), level, g)
    else:
        noise = torch.randn(x0.shape, generator=g)
    condition = condition_of(x0, masks[0], masks[1], g, settings) if masks else None
    x0, noise, a, level = (v.to(device) for v in (x0, noise, a, level))
    x = a.sqrt() * x0 + (1 - a).sqrt() * noise
    target = a.sqrt() * noise - (1 - a).sqrt() * x0 if settings.get("prediction", "eps") == "v" else noise
    inputs = [x if condition is None else torch.cat([x, condition.to(device)], dim=1), level]
    if settings.get("kinds"):
        inputs.append(batch["kind"])
    elif "label_drop" in settings:
        inputs.append(labels_dropped(batch["label"], settings["label_drop"], g))
    return F.mse_loss(network(*inputs).float(), target)


DENOISER = Task(denoiser_loss)
