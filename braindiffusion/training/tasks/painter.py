"""The lesion painter: a region with a lesion of a given outline, core, kind and look, beside what is visible.

Trained on slices with real lesions, as :mod:`braindiffusion.lesions.in_context` asks it: the noisy slice, the six
channels of :mod:`braindiffusion.healing.surroundings` with the region as the hole, the masks of lesion and core, a
plane for each kind, and the look of the lesion, which is measured on the slice itself and now and then withheld.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from braindiffusion.lesions.in_context import MOST_LOOK
from braindiffusion.training import augment as aug
from braindiffusion.training.augment import grown
from braindiffusion.training.holes import random_hole
from braindiffusion.training.looks import looks_of, table_of, visible
from braindiffusion.training.native_slices import PITCH_MM
from braindiffusion.training.tasks.base import Batch, Settings, Task
from braindiffusion.training.tasks.context import (
    in_model_values,
    mirror_facts,
    prepare_settings,
    shapes_of,
    some,
    stripped,
    surroundings,
    thinned,
    turned_and_cropped,
    v_loss,
    weight_of,
)

MARGIN_PX = (2, 8)
BOX_SHARE, HOLE_SHARE, HIDDEN_SHARE = 0.1, 0.17, 0.1
LEVELS_MEAN, LEVELS_SPREAD = -1.0, 1.3


def _region(lesion: Tensor, brain: Tensor, shapes: Sequence[Any], g: torch.Generator) -> Tensor:
    """(N,1,H,W) bool, where the painter is free: the lesion grown, its box now and then, or with a further hole."""
    out = []
    for mask, inside in zip(lesion > 0.5, brain > 0.5, strict=True):
        reach = int(torch.randint(MARGIN_PX[0], MARGIN_PX[1] + 1, (1,), generator=g))
        told = mask
        if bool(mask.any()) and float(torch.rand((1,), generator=g)) < BOX_SHARE:
            rows, columns = torch.nonzero(mask[0].any(1))[:, 0], torch.nonzero(mask[0].any(0))[:, 0]
            told = torch.zeros_like(mask)
            told[:, int(rows[0]) : int(rows[-1]) + 1, int(columns[0]) : int(columns[-1]) + 1] = True
        region = (grown(told[None], reach)[0] > 0.5) & inside
        if float(torch.rand((1,), generator=g)) < HOLE_SHARE:
            region = region | random_hole(list(shapes), inside[0], g)[None]
        out.append(region)
    return torch.stack(out)


def painter_examples(
    batch: Batch, g: torch.Generator, settings: Settings, training: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    """Slices, what the painter is told, and the weight of each pixel.

    Returns:
        (N,1,h,w) in model values, (N,6 + 2 + kinds + 7,h,w), (N,1,h,w).
    """
    batch, whole = thinned(batch, settings.get("whole_share", 0.2), training, g)
    image, mirror, neighbour = (batch[k].float() for k in ("image", "mirror", "neighbour"))
    brain, lesion, core = (batch[k] > 0.5 for k in ("brain", "lesion", "core"))
    n = len(image)
    region = _region(lesion, brain, settings["shapes"], g)
    shown = batch["beside"].view(n, 1, 1, 1) & some(n, 0.5, g)
    valid, mirrored_brain = mirror_facts(region, brain, batch["line"])
    if training:
        images = stripped((image, mirror, neighbour), brain, mirrored_brain, g)
        power, gain = (torch.exp(aug.uniform((n, 1, 1, 1), -s, s, g)) for s in (0.15, 0.1))
        image, mirror, neighbour = ((v.clamp(0, 1) ** power * gain).clamp(0, 1) for v in images)
    looks = torch.nan_to_num(looks_of(image, lesion, core, brain)).clamp(-MOST_LOOK, MOST_LOOK)
    known = ~some(n, HIDDEN_SHARE, g).view(n, 1) if training else torch.ones(n, 1, dtype=torch.bool)
    stack = torch.cat([image, mirror, neighbour, region, valid, brain, lesion, core & lesion], 1).float()
    stack = turned_and_cropped(stack, 6, 5, whole, training, settings, g)
    x0, other, beside = in_model_values(stack[:, :3])
    region, valid, brain, lesion, core = stack[:, 3:].split(1, 1)
    kinds = torch.nn.functional.one_hot(batch["kind"], len(settings["kinds"])).float()
    said = torch.cat([kinds, looks * known, known.float()], 1)[:, :, None, None].expand(-1, -1, *stack.shape[-2:])
    seen = surroundings(x0, region, other, valid, brain, torch.where(shown, beside, 0.0))
    return x0, torch.cat([seen, lesion, core, said], 1), weight_of(region)


def painter_loss(
    network: nn.Module, batch: Batch, g: torch.Generator, settings: Settings, training: bool = True
) -> Tensor:
    """Mean squared error of v in the region, a little of it around."""
    if "shapes" not in settings:
        settings = settings | {"shapes": shapes_of(batch["lesion"])}
    x0, told, weight = painter_examples(batch, g, settings, training)
    return v_loss(network, x0, told, weight, g, LEVELS_MEAN, LEVELS_SPREAD)


def card_facts(settings: Settings, data: Batch) -> dict[str, Any]:
    """The looks of the training lesions that show, by kind, for the model's card."""
    lesion, core = data["lesion"] > 0.5, data["core"] > 0.5
    parts = [slice(i, i + 64) for i in range(0, len(lesion), 64)]
    looks = torch.cat([looks_of(data["image"][p], lesion[p], core[p], data["brain"][p] > 0.5) for p in parts])
    shows = visible(looks, data["kind"], settings["least_contrast"])
    values = (looks[shows], lesion[shows], core[shows], data["kind"][shows])
    return {"kinds": settings["kinds"], "looks": table_of(*values, settings["kinds"], PITCH_MM)}


PAINTER = Task(painter_loss, prepare=prepare_settings, card=card_facts, examples=painter_examples)
