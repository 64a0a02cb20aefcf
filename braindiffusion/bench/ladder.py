"""The ladder: from the reference mode, one improvement after another, on the same slices with the same weights.

The reference mode is what was published: two chains (``independent`` fusion), every step, float32, one slice at a time
on the whole grid, nothing remembered. Every rung keeps what the ones before it brought.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from braindiffusion.bench.items import Item, Key, fewer, mean_dice
from braindiffusion.bench.machine import cheapest
from braindiffusion.bench.monai_loop import heal_with_monai
from braindiffusion.cards import ModelCard
from braindiffusion.events import Event, OnEvent
from braindiffusion.healing.models import main_model
from braindiffusion.healing.run import heal_slices
from braindiffusion.healing.trajectories import Trajectories
from braindiffusion.models.registry import LoadedModel
from braindiffusion.settings import HealSettings

MANY_CALLS = 200
"""Rungs that cost more calls a slice run on the reference's slices only."""
REFERENCE: dict[str, Any] = {"fusion": "independent", "steps": None, "precision": "fp32", "batch": 1}


@dataclass(frozen=True)
class Rung:
    """One way of healing the slices.

    Attributes:
        settings: what it changes of the healing's settings.
        crop: whether the network sees the brain's window, as it was trained, or the whole grid.
        cast: whether weights are cast to bfloat16 once, or at every call by autocast.
        remembered: whether the inversions are at hand, from a healing with another mask.
        compiled: whether the network goes through ``torch.compile``.
        monai: whether MONAI's own scheduler drives the network.
    """

    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    crop: bool = True
    cast: bool = True
    remembered: bool = False
    compiled: bool = False
    monai: bool = False


def ladder(steps: int = 10, compiled: bool = False, first: int | None = None) -> list[Rung]:
    """The rungs, and beside them the same network in MONAI's loop.

    Args:
        first: steps of the reference mode, for a quick look; the rung's name then says so.
    """
    reference = {**REFERENCE, "steps": first}
    stored = {**reference, "fusion": "cached"}
    few = {**stored, "steps": steps}
    batched = {**few, "batch": None}
    fast = {**batched, "precision": "auto"}
    rungs = [
        Rung("reference" if first is None else f"reference, {first} steps", reference, crop=False, cast=False),
        Rung("outside from the stored inversion", stored, crop=False, cast=False),
        Rung(f"{steps} steps each way", few, crop=False, cast=False),
        Rung("window of the brain", few, cast=False),
        Rung("slices in batches", batched, cast=False),
        Rung("native precision", fast, cast=False),
        Rung("weights cast once", fast),
    ]
    if compiled:
        rungs.append(Rung("torch.compile", fast, compiled=True))
    return [
        *rungs,
        Rung("again, with another mask", fast, remembered=True, compiled=compiled),
        Rung(f"MONAI's scheduler loop, {steps} steps", {**batched}, crop=False, monai=True),
    ]


def steps_ladder(counts: tuple[int | None, ...] = (2, 3, 4, 5, 7, 10, 25, 50, 100, None)) -> list[Rung]:
    """Steps against quality, all else as by default."""
    return [Rung("every step" if n is None else f"{n} steps", {"steps": n}) for n in counts]


class _AsIs(LoadedModel):
    """A model whose weights stay in float32."""

    def network_in(self, precision: str) -> Any:
        return self.network


class _Compiled(LoadedModel):
    """A model whose network is compiled."""

    def network_in(self, precision: str) -> Any:
        if not hasattr(self, "_made"):
            self._made = torch.compile(super().network_in(precision), dynamic=False)
        return self._made


def model_for(rung: Rung, model: LoadedModel) -> LoadedModel:
    """The model as a rung uses it; the weights are the same."""
    kind = _Compiled if rung.compiled else LoadedModel if rung.cast else _AsIs
    card = model.card if rung.crop else ModelCard({**model.card, "crop": None})
    return kind(model.name, card, model.network, model.device)


@dataclass
class Made:
    """What one run of a rung gave.

    Attributes:
        calls: network calls times slices.
        scores: lesion Dice by slice.
        outside: largest difference from the scan outside the mask.
    """

    calls: int = 0
    scores: dict[Key, float] = field(default_factory=dict)
    outside: float = 0.0


def _heal(rung: Rung, item: Item, model: LoadedModel, settings: HealSettings, memory: Trajectories | None) -> Any:
    """Counterfactual and reconstruction (S,H,W), and network calls."""
    device = torch.device(settings.device)
    if rung.monai:
        healed, calls = heal_with_monai(item.stack, item.mask, model, settings, device)
        return healed, item.stack.images, calls
    healed, reconstruction, ran = heal_slices(item.stack, item.mask, model, settings, device, memory=memory)
    return healed[0], reconstruction, ran.slice_calls


def run_rung(
    rung: Rung, items: list[Item], model: LoadedModel, base: HealSettings, repeats: int
) -> tuple[dict[str, Any], Made]:
    """Measure one rung.

    Args:
        model: as :func:`model_for` makes it.
        repeats: the cheapest of so many runs counts, but one where a slice costs more than ``MANY_CALLS`` calls.
    """
    settings, device = replace(base, **rung.settings), torch.device(base.device)
    memory = Trajectories() if rung.remembered else None
    if memory is not None:
        for item in items:
            other = np.zeros_like(item.mask)
            other[:, ::2] = item.mask[:, ::2]
            other[item.rows] |= item.mask[item.rows] & ~other[item.rows].any((1, 2), keepdims=True)
            _heal(rung, replace(item, mask=other), model, settings, memory)
    first = fewer(items, 1)
    if settings.steps is not None:  # the first call plans and allocates
        _heal(rung, first[0], model, replace(settings, steps=min(2, settings.steps)), None)

    def once() -> Made:
        made = Made()
        for item in items:
            healed, reconstruction, calls = _heal(rung, item, model, settings, memory)
            made.calls += calls
            made.scores |= item.scores(healed, reconstruction, settings, model.card)
            rows = item.rows
            away = np.abs(healed[rows] - item.stack.images[rows])[~item.mask[rows]]
            made.outside = max(made.outside, float(away.max()))
        return made

    few = settings.steps is not None and settings.steps <= MANY_CALLS
    cost, made = cheapest(once, device, repeats if few else 1)
    slices = sum(len(item.rows) for item in items)
    row = {
        "name": rung.name, "slices": slices, "seconds_per_slice": cost.wall / slices,
        "cpu_seconds_per_slice": cost.cpu / slices, "calls_per_slice": made.calls / slices,
        "peak_bytes": cost.peak_bytes, "lesion_dice": mean_dice(made.scores), "outside": made.outside,
        "steps": settings.steps, "fusion": settings.fusion,
    }  # fmt: skip
    return row, made


def climb(
    rungs: list[Rung],
    items: list[Item],
    base: HealSettings,
    *,
    reference_slices: int,
    repeats: int = 3,
    on_event: OnEvent | None = None,
) -> list[dict[str, Any]]:
    """Measure all rungs; each row is compared with the first, on the slices that both have.

    Args:
        base: settings that all share; ``device`` is a device, not ``auto``.
        reference_slices: of the rungs with very many calls. Nothing is extrapolated: a row says how many it has.
        on_event: told of each rung; may raise to cancel.
    """
    model = main_model(base, base.device)
    some = fewer(items, reference_slices)
    rows: list[dict[str, Any]] = []
    scores: list[dict[Key, float]] = []
    for done, rung in enumerate(rungs):
        if on_event:
            on_event(Event("evaluate", done, len(rungs)))
        steps = replace(base, **rung.settings).steps
        chosen = some if steps is None or 2 * steps > MANY_CALLS else items
        row, made = run_rung(rung, chosen, model_for(rung, model), base, repeats)
        rows.append(row)
        scores.append(made.scores)
    for i, row in enumerate(rows):
        shared = set(scores[0]) & set(scores[i])
        ours, first = mean_dice(scores[i], shared), mean_dice(scores[0], shared)
        row |= {
            "times_faster": rows[0]["seconds_per_slice"] / row["seconds_per_slice"],
            "times_less_cpu": rows[0]["cpu_seconds_per_slice"] / max(1e-9, row["cpu_seconds_per_slice"]),
            "times_step": rows[max(0, i - 1)]["seconds_per_slice"] / row["seconds_per_slice"],
            "shared_slices": len(shared),
            "dice_minus_first": None if ours is None or first is None else ours - first,
        }
    return rows
