"""Healing the slices of a stack, whatever the method: batches, previews, what is remembered."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from braindiffusion.device import batch_for, in_batches, memory_of, precision_for
from braindiffusion.diffusion.schedule import Schedule
from braindiffusion.diffusion.transfer import send
from braindiffusion.healing.dif_fuse import DifFuseSettings, Healed
from braindiffusion.healing.models import Ran, aids_of, predictor_of
from braindiffusion.healing.registry import method_named, operating_point
from braindiffusion.healing.trajectories import StackMemory, Trajectories
from braindiffusion.masks import floor_under
from braindiffusion.models.registry import LoadedModel
from braindiffusion.slices import SliceStack
from braindiffusion.stages import PREVIEW_STEPS, Event, HealSettings, OnEvent, step_teller, window_of

COARSE_STEPS = 5
"""Of a first look at the slice in view: on val its lesion Dice is that of ten steps; fewer leave grain."""


def coarse_settings(settings: DifFuseSettings) -> DifFuseSettings | None:
    """Of a first look at a slice in few steps; ``None`` where there are no steps to save."""
    if settings.index_mode != "ours" or (settings.steps is not None and settings.steps <= COARSE_STEPS):
        return None
    return replace(settings, steps=COARSE_STEPS, samples=1)


def heal_slices(
    stack: SliceStack,
    mask: np.ndarray,
    model: LoadedModel,
    settings: HealSettings,
    device: torch.device,
    on_event: OnEvent | None = None,
    view_slice: int | None = None,
    memory: Trajectories | None = None,
) -> tuple[np.ndarray, np.ndarray, Ran]:
    """Heal the slices whose mask is not empty.

    Args:
        mask: (S,H,W) bool; the whole brain for a method that finds its region itself.
        model: the main one (:func:`~braindiffusion.healing.models.main_model`); further ones are loaded here.
        view_slice: healed first and alone, so that it is seen at once; the others follow from there outwards. The
            result does not depend on it: all slices share their noise.
        memory: inversions of this very ``stack``, used and added to. The result does not depend on it either.

    Returns:
        (samples,S,H,W) float32 counterfactuals in [0,1], (S,H,W) reconstruction, and what it cost and was made with;
        where that has a ``score``, the anomaly map is multiplied by it.
    """
    method = method_named(settings.method)
    options = method.options(settings, operating_point(model.card, settings.method))
    aids = aids_of(settings, model)
    networks = {keyword: aid.network for keyword, aid in aids.items()}
    precision = precision_for(settings.precision, device)
    predictor = predictor_of(model, precision)
    window = window_of(stack.brain, model.card.get("crop"))
    rows = np.nonzero(mask.any((1, 2)))[0]
    healed = np.repeat(stack.images[None], settings.samples, axis=0)
    reconstruction = stack.images.copy()
    score: np.ndarray | None = None
    if view_slice is not None:
        rows = rows[np.argsort(np.abs(rows - view_slice), kind="stable")]
    first = 1 if view_slice is not None and view_slice in rows else 0
    shelf: StackMemory | None = None
    if memory is not None and method.takes_memory:
        network = (id(stack), model.card["sha256"], predictor.bf16, str(device))
        shelf = StackMemory(memory, (*network, *options.inversion_key()))
    quick = np.array([shelf is not None and shelf.knows(int(s)) for s in rows], dtype=np.bool_)
    order = np.lexsort((np.logical_not(quick), np.arange(len(rows)) >= first))
    rows, quick = rows[order], quick[order]
    work = np.cumsum([0, *(options.calls(inverted=True) if q else options.calls() for q in quick)])
    holds = settings.keep_outline and method.takes_floor
    drifts = getattr(options, "fusion", "cached") != "cached"  # outside the mask, on purpose

    def given(part: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, dict[str, Any]]:
        x0, m, brain = (send(v[part][window][:, None], device) for v in (stack.images, mask, stack.brain))
        floor = {"floor": floor_under(x0, brain, m, stack.placement.model_pitch)} if holds else {}
        return x0, m, brain, {**networks, **floor}

    def placed(out: Healed, x0: torch.Tensor, m: torch.Tensor, brain: torch.Tensor) -> np.ndarray:
        inside = out.samples.clamp(0, 1)
        inside = inside if drifts else torch.where(m[None], inside, x0[None])
        return (inside * brain)[:, :, 0].float().cpu().numpy()

    def generator() -> torch.Generator:
        # a fresh one of the same seed for every batch: slices share their noise whatever the batching
        return torch.Generator().manual_seed(settings.seed)

    def glance(tell: OnEvent, few: Any) -> None:
        total, (x0, m, brain, told) = int(work[-1]), given(rows[:1])
        aside = predictor_of(model, precision)  # its calls are no part of the result's cost
        out = method.run(x0, m, aside, few, generator(), Schedule(), lambda _: tell(Event("heal", 0, total)), **told)
        preview = stack.images[rows[0]].copy()
        preview[window[1:]] = placed(out, x0, m, brain)[0, 0]
        tell(Event("heal", 0, total, int(rows[0]), preview, coarse=True))

    def run(part: np.ndarray, finished: int) -> None:
        nonlocal score
        shown = 0 if view_slice is not None else len(part) // 2
        so_far = (int(work[finished]), int(work[-1]))
        every = None if coarse and not finished else PREVIEW_STEPS
        on_step = step_teller("heal", stack, window, part, shown, so_far, on_event, every)
        x0, m, brain, told = given(part)
        told |= {"memory": shelf.of(part)} if shelf else {}
        out = method.run(x0, m, predictor, options, generator(), Schedule(), on_step, **told)
        healed[:, part, window[1], window[2]] = placed(out, x0, m, brain)
        reconstruction[part, window[1], window[2]] = out.reconstruction[:, 0].float().cpu().numpy()
        if out.score is not None:
            score = np.zeros_like(healed) if score is None else score
            score[:, part, window[1], window[2]] = out.score[:, :, 0].float().cpu().numpy()

    coarse = coarse_settings(options) if first and on_event and shelf and not quick[0] else None
    if on_event and coarse:
        glance(on_event, coarse)
    pixels = int(np.prod(stack.images[window].shape[1:]))
    batch = max(1, batch_for(settings.batch, device, pixels, memory_of(device)[1]) // settings.samples)
    cut = first + int(quick[first:].sum())
    for start, stop, size in ((0, first, 1), (first, cut, batch), (cut, len(rows), batch)):

        def from_here(part: np.ndarray, finished: int, start: int = start) -> None:
            run(part, start + finished)

        in_batches(rows[start:stop], size, from_here)
    cards = [model.card, *(aid.card for aid in aids.values())]
    ran = Ran(options, predictor.calls, predictor.slice_calls, predictor.bf16, cards, score)
    return healed, reconstruction, ran
