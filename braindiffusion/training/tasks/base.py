"""What a task is: the loss of a batch, further validation numbers, and the number that chooses the weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from braindiffusion.training import augment as aug

Batch = dict[str, Tensor]
Settings = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """A loss, further validation numbers, and the number by which the best weights are kept (lower is better).

    ``alternating``: an iteration trains a part of the network only. ``prepare``: adds to the settings what the loss
    needs of all training data. ``card``: what the model's card says of the training data. ``examples``:
    of tasks that fill a region, the slices and what the network is told of them.
    """

    loss: Callable[..., Tensor]
    numbers: Callable[[nn.Module, Batch], dict[str, float]] | None = None
    select: Callable[[dict[str, float]], float] = lambda numbers: numbers["loss"]
    alternating: bool = False
    prepare: Callable[[Settings, Batch], Settings] | None = None
    card: Callable[[Settings, Batch], dict[str, Any]] | None = None
    examples: Callable[..., tuple[Tensor, Tensor, Tensor]] | None = None


def augmented(images: list[Tensor], g: torch.Generator, settings: Settings) -> list[Tensor]:
    """The same random geometry for all of (N,1,H,W); intensity changes for the first, which is the image."""
    first, *masks = aug.geometry(images, g, **settings.get("geometry", {"rotate": 6.0, "scale": 0.06, "shift": 0.02}))
    return [aug.mild_intensity(first, g, **settings.get("intensity", {})), *((m > 0.5).float() for m in masks)]


def soft_dice_loss(p: Tensor, y: Tensor, smooth: float = 20.0) -> Tensor:
    """(N,) one minus the Dice of probabilities (N,C,H,W), over all but the first axis."""
    axes = tuple(range(1, p.ndim))
    return 1 - (2 * (p * y).sum(axes) + smooth) / (p.sum(axes) + y.sum(axes) + smooth)
