"""Cost against work: slices of a volume, share that is masked, grid, samples. No quality is measured here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from braindiffusion.bench.items import Item
from braindiffusion.bench.machine import cheapest, flops_of, matmul_rate
from braindiffusion.bench.monai_loop import heal_with_monai
from braindiffusion.cards import ModelCard
from braindiffusion.events import Event, OnEvent
from braindiffusion.healing.models import main_model
from braindiffusion.healing.run import heal_slices
from braindiffusion.models.device import precision_for
from braindiffusion.models.registry import LoadedModel
from braindiffusion.settings import HealSettings
from braindiffusion.volume.slices import SliceStack, window_of


@dataclass(frozen=True)
class Sizes:
    """What is swept.

    Attributes:
        volumes: slices of volumes that are masked throughout.
        masked: shares of ``volume`` slices that are masked.
        samples: draws of ``sampled`` slices.
        grids: sides of the grid, at ``gridded`` slices (on a GPU 100), ours and MONAI's loop. Where no model of a side
            is installed, the one there is runs on so many pixels: its cost is that of a model of the same make, its
            picture means nothing.
    """

    volumes: tuple[int, ...] = (8, 16, 32, 64, 128, 256)
    masked: tuple[float, ...] = (0.125, 0.25, 0.5, 1.0)
    volume: int = 64
    samples: tuple[int, ...] = (1, 2, 4, 8, 16)
    sampled: int = 4
    grids: tuple[int, ...] = (128, 256)
    gridded: int = 8


MONAI = "grid, MONAI's loop"
QUICK = Sizes((4, 8, 16), (0.25, 0.5, 1.0), 8, (1, 2, 4), 2, (128, 256), 2)


def volume_of(item: Item, slices: int) -> tuple[SliceStack, np.ndarray]:
    """A volume of so many slices, each the one with the item's largest mask, and that mask on all of them."""
    s = int(item.mask.sum((1, 2)).argmax())
    source = item.stack
    placement = replace(source.placement, shape=(slices, *source.placement.shape[1:]))
    tone = source.intensity_of(s)
    images, brain, coverage, mask = (
        np.repeat(v[s : s + 1], slices, axis=0) for v in (source.images, source.brain, source.coverage, item.mask)
    )
    return SliceStack(images, brain, coverage, placement, tone), mask


def enlarged(stack: SliceStack, mask: np.ndarray, times: int) -> tuple[SliceStack, np.ndarray]:
    """The same slices on a grid of ``times`` as many pixels a side."""
    images, brain, coverage, mask = (
        v.repeat(times, axis=1).repeat(times, axis=2) for v in (stack.images, stack.brain, stack.coverage, mask)
    )
    placement = replace(stack.placement, size=stack.placement.size * times)
    return SliceStack(images, brain, coverage, placement, stack.intensity), mask


def _points(item: Item, model: LoadedModel, sizes: Sizes) -> Iterator[tuple[str, float, Any, dict[str, Any]]]:
    """Sweep, value, (stack, mask, model), settings."""
    for slices in sizes.volumes:
        yield "volume", slices, (*volume_of(item, slices), model), {}
    stack, mask = volume_of(item, sizes.volume)
    for share in sizes.masked:
        part = mask.copy()
        part[round(share * len(mask)) :] = False
        yield "masked share", share, (stack, part, model), {}
    for samples in sizes.samples:
        yield "samples", samples, (*volume_of(item, sizes.sampled), model), {"samples": samples}
    for side in sizes.grids:
        times = side // stack.placement.size
        crop = model.card.get("crop")
        card = ModelCard({**model.card, "grid": side, "crop": [n * times for n in crop] if crop else None})
        larger = LoadedModel(model.name, card, model.network, model.device)
        for name in ("grid", MONAI):
            yield name, side, (*enlarged(*volume_of(item, sizes.gridded), times), larger), {}


def sweep(
    item: Item, base: HealSettings, sizes: Sizes, repeats: int = 3, on_event: OnEvent | None = None
) -> list[dict[str, Any]]:
    """One row a point: seconds, network calls, peak memory, and the share of the device's own matrix rate."""
    device = torch.device(base.device)
    model = main_model(base, base.device)
    precision = precision_for(base.precision, device)
    rate = matmul_rate(device, precision)
    rows = []
    points = list(_points(item, model, sizes))
    for done, (name, value, (stack, mask, used), changes) in enumerate(points):
        if on_event:
            on_event(Event("evaluate", done, len(points)))
        settings = replace(base, **changes)

        def once(name=name, stack=stack, mask=mask, used=used, settings=settings) -> int:
            if name == MONAI:
                return heal_with_monai(stack, mask, used, settings, device)[1]
            return heal_slices(stack, mask, used, settings, device)[2].slice_calls

        cost, calls = cheapest(once, device, repeats + 1)  # the first one plans and allocates
        window = window_of(stack.brain, used.card.get("crop"))
        height, width = stack.images[window].shape[1:]
        flops = flops_of(model.network, height, width, device) * calls
        rows.append(
            {
                "sweep": name, "value": value, "masked_slices": int(mask.any((1, 2)).sum()), "pixels": height * width,
                "calls": calls, "seconds": cost.wall, "cpu_seconds": cost.cpu, "peak_bytes": cost.peak_bytes,
                "flop_per_second": flops / cost.wall, "share_of_matmul_rate": flops / cost.wall / rate,
            }
        )  # fmt: skip
    return rows


def linearity(rows: list[dict[str, Any]]) -> dict[str, float]:
    """How far cost is from a straight line in the work: the largest relative deviation from the fit, by sweep.

    Work is network calls times slices. The line is fitted to relative errors: small volumes count as large ones do.
    """
    out = {}
    for name in dict.fromkeys(row["sweep"] for row in rows):
        points = [(row["calls"], row["seconds"]) for row in rows if row["sweep"] == name and "grid" not in name]
        if len(points) < 3:
            continue
        work, seconds = np.array(points, float).T
        design = np.stack([np.ones_like(work), work], axis=1) / seconds[:, None]
        fitted = design @ np.linalg.lstsq(design, np.ones_like(seconds), rcond=None)[0]
        out[name] = float(np.abs(fitted - 1.0).max())
    return out
