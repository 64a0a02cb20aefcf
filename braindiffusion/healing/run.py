"""Healing the slices of a stack, whatever the method: batches, previews, what is remembered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from braindiffusion.diffusion.schedule import Schedule
from braindiffusion.diffusion.transfer import send
from braindiffusion.events import PREVIEW_STEPS, Event, OnEvent, OnStep, Step, step_teller
from braindiffusion.healing.contract import Healed
from braindiffusion.healing.dif_fuse import DifFuseSettings
from braindiffusion.healing.models import RunStats, auxiliary_models_of, is_conditioned, predictor_of
from braindiffusion.healing.registry import method_named, operating_point
from braindiffusion.healing.surroundings import Surroundings, largest_first, window_around
from braindiffusion.healing.texture import match_texture
from braindiffusion.healing.trajectories import BatchMemory, StackMemory, Trajectories
from braindiffusion.models.device import batch_for, in_batches, memory_of, precision_for
from braindiffusion.models.registry import LoadedModel
from braindiffusion.settings import HealSettings
from braindiffusion.volume.masks import floor_under
from braindiffusion.volume.slices import SliceStack, window_of

COARSE_STEPS = 5
"""Of a first look at the slice in view: on val its lesion Dice is that of ten steps; fewer leave grain."""


def coarse_settings(settings: DifFuseSettings) -> DifFuseSettings | None:
    """Of a first look at a slice in few steps; ``None`` where there are no steps to save."""
    if settings.index_mode != "ours" or (settings.steps is not None and settings.steps <= COARSE_STEPS):
        return None
    return replace(settings, steps=COARSE_STEPS, samples=1)


class _Healing:
    """One way of healing the slices of a stack, and what has come of it so far.

    Attributes:
        healed: (samples,S,H,W), reconstruction: (S,H,W), score: (samples,S,H,W) or ``None``, all float32.
    """

    def __init__(
        self, stack: SliceStack, mask: np.ndarray, model: LoadedModel, settings: HealSettings, device: torch.device
    ) -> None:
        self.stack, self.mask, self.model, self.settings, self.device = stack, mask, model, settings, device
        self.method = method_named(settings.method)
        self.options = self.method.options(settings, operating_point(model.card, settings.method))
        self.auxiliary_models = auxiliary_models_of(settings, model)
        self.precision = precision_for(settings.precision, device)
        self.predictor = predictor_of(model, self.precision)
        self.window = window_of(stack.brain, model.card.get("crop"))
        self.healed = np.repeat(stack.images[None], settings.samples, axis=0)
        self.reconstruction = stack.images.copy()
        self.score: np.ndarray | None = None

    def remembered(self, memory: Trajectories | None) -> StackMemory | None:
        """The memory of this way of healing, where there is one and the method can use it."""
        if memory is None or not self.method.takes_memory:
            return None
        network = (id(self.stack), self.model.card["sha256"], self.predictor.bf16, str(self.device))
        return StackMemory(memory, (*network, *self.options.inversion_key()))

    def ask(
        self, part: np.ndarray, predictor: Any, options: Any, on_step: OnStep, memory: BatchMemory | None = None
    ) -> tuple[Healed, np.ndarray]:
        """What the method makes of some slices, and its samples (samples,N,h,w) as they belong into the window."""
        images, mask, brain = (
            send(v[part][self.window][:, None], self.device) for v in (self.stack.images, self.mask, self.stack.brain)
        )
        told: dict[str, Any] = {keyword: aid.network for keyword, aid in self.auxiliary_models.items()}
        if self.settings.keep_outline and self.method.takes_floor:
            told["floor"] = floor_under(images, brain, mask, self.stack.placement.model_pitch)
        if memory is not None:
            told["memory"] = memory
        # a fresh generator of the same seed for every batch: slices share their noise whatever the batching
        generator = torch.Generator().manual_seed(self.settings.seed)
        out = self.method.run(images, mask, predictor, options, generator, Schedule(), on_step, **told)
        inside = out.samples.clamp(0, 1)
        if getattr(options, "fusion", "cached") == "cached":  # the other fusions drift outside the mask, on purpose
            inside = torch.where(mask[None], inside, images[None])
        return out, (inside * brain)[:, :, 0].float().cpu().numpy()

    def look(self, s: int, few: DifFuseSettings, on_call: Callable[[], None]) -> np.ndarray:
        """(H,W), a slice healed in few steps; its calls are no part of the result's cost."""
        aside = predictor_of(self.model, self.precision)
        _, samples = self.ask(np.array([s]), aside, few, lambda step: on_call())
        preview = self.stack.images[s].copy()
        preview[self.window[1:]] = samples[0, 0]
        return preview

    def heal(self, part: np.ndarray, on_step: OnStep, memory: BatchMemory | None) -> None:
        """Heal some slices."""
        out, samples = self.ask(part, self.predictor, self.options, on_step, memory)
        _, rows, columns = self.window
        self.healed[:, part, rows, columns] = samples
        self.reconstruction[part, rows, columns] = out.reconstruction[:, 0].float().cpu().numpy()
        if out.score is not None:
            self.score = np.zeros_like(self.healed) if self.score is None else self.score
            self.score[:, part, rows, columns] = out.score[:, :, 0].float().cpu().numpy()

    def calls(self, s: int, inverted: bool) -> int:
        """Network calls that slice ``s`` costs; ``inverted``: its inversion is remembered."""
        return int(self.options.calls(inverted=True) if inverted else self.options.calls())

    def order(self, rows: np.ndarray, first: int | None) -> np.ndarray:
        """In which order slices are healed: from ``first`` outwards, where one is named."""
        return rows if first is None else rows[np.argsort(np.abs(rows - first), kind="stable")]

    def batch(self) -> int:
        """Slices that are healed together."""
        _, rows, columns = self.window
        pixels = self.stack.images[0, rows, columns].size
        fitting = batch_for(self.settings.batch, self.device, pixels, memory_of(self.device)[1])
        return max(1, fitting // self.settings.samples)


class _InContext(_Healing):
    """Healing by a model that sees the surroundings: slice after slice, each shown a whole or healed neighbour."""

    def __init__(
        self, stack: SliceStack, mask: np.ndarray, model: LoadedModel, settings: HealSettings, device: torch.device
    ) -> None:
        super().__init__(stack, mask, model, settings, device)
        low, high = model.card["range"]
        span = (float(low), float(high))
        self.options = replace(self.options, clip=span)
        self.window = window_around(mask)
        self.surroundings = Surroundings(stack, mask, span)
        self._hints: dict[int, Tensor | None] = {}

    def remembered(self, memory: Trajectories | None) -> StackMemory | None:
        return None  # nothing was inverted

    def batch(self) -> int:
        return 1

    def calls(self, s: int, inverted: bool) -> int:
        return int((self.options if self.hint(s) is None else self.options.from_hint()).calls())

    def hint(self, s: int) -> Tensor | None:
        """(1,1,h,w) what the other hemisphere says of the hole of slice ``s``, or ``None``."""
        if s not in self._hints:
            self._hints[s] = self.surroundings.hint(s, self.window)
        return self._hints[s]

    def ask(
        self, part: np.ndarray, predictor: Any, options: Any, on_step: OnStep, memory: BatchMemory | None = None
    ) -> tuple[Healed, np.ndarray]:
        s, grey = int(part[0]), self.surroundings.grey
        head, hole = self.surroundings.head[part][self.window], self.mask[part][self.window]
        x0 = send(self.surroundings.scaled(head)[:, None], self.device)
        mask = send(hole[:, None], self.device)
        healed = self.healed if options.samples == len(self.healed) else self.healed[: options.samples]
        condition = send(self.surroundings.of(s, self.window, healed), self.device)

        def model(x: Tensor, level: int) -> Tensor:
            return predictor(x, level, condition)

        def seen(step: Step) -> None:
            on_step(replace(step, clean=torch.where(mask, grey(step.clean), grey(x0))))

        generator = torch.Generator().manual_seed(self.settings.seed)
        hint = self.hint(s)
        if hint is not None:
            hint = send(hint, self.device)
        out = self.method.run(x0, mask, model, options, generator, Schedule(), seen, hint=hint)
        inside = torch.where(mask[None], grey(out.samples), grey(x0)[None])[:, :, 0].float().cpu().numpy()
        return out, inside * self.stack.brain[part][self.window]

    def heal(self, part: np.ndarray, on_step: OnStep, memory: BatchMemory | None) -> None:
        _, samples = self.ask(part, self.predictor, self.options, on_step, memory)
        _, rows, columns = self.window
        self.healed[:, part, rows, columns] = samples
        if self.settings.match_texture:
            s = int(part[0])
            hole = self.mask[s] & self.stack.brain[s]
            for sample in self.healed:
                sample[s] = match_texture(sample[s], hole, self.stack.brain[s])
        self.surroundings.known[part] = True

    def order(self, rows: np.ndarray, first: int | None) -> np.ndarray:
        """Whatever slice is in view, neighbours must touch."""
        return largest_first(self.mask, rows)


def healing_of(
    stack: SliceStack, mask: np.ndarray, model: LoadedModel, settings: HealSettings, device: torch.device
) -> _Healing:
    """The way in which a model heals: by what its card says it is shown."""
    kind = _InContext if is_conditioned(model.card) else _Healing
    return kind(stack, mask, model, settings, device)


def heal_slices(
    stack: SliceStack,
    mask: np.ndarray,
    model: LoadedModel,
    settings: HealSettings,
    device: torch.device,
    on_event: OnEvent | None = None,
    view_slice: int | None = None,
    memory: Trajectories | None = None,
) -> tuple[np.ndarray, np.ndarray, RunStats]:
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
    work = healing_of(stack, mask, model, settings, device)
    inversion_cache, options = work.remembered(memory), work.options
    rows = np.nonzero(mask.any((1, 2)))[0]
    rows = work.order(rows, view_slice)
    seen_first = view_slice is not None and view_slice in rows
    first = int(seen_first and rows[0] == view_slice)
    quick = np.array([inversion_cache is not None and inversion_cache.knows(int(s)) for s in rows], dtype=np.bool_)
    order = np.lexsort((np.logical_not(quick), np.arange(len(rows)) >= first))
    rows, quick = rows[order], quick[order]
    calls = np.cumsum([0, *(work.calls(int(s), bool(q)) for s, q in zip(rows, quick, strict=True))])
    total = int(calls[-1])

    looked_at = seen_first and (not first or (inversion_cache is not None and not quick[0]))
    coarse = coarse_settings(options) if on_event and looked_at else None
    if on_event and seen_first and not first and coarse is None:
        coarse = replace(options, samples=1)  # its turn comes later
    if on_event and coarse and view_slice is not None:
        s = int(view_slice)
        seen = work.look(s, coarse, lambda: on_event(Event("heal", 0, total)))
        on_event(Event("heal", 0, total, s, seen, coarse=True))

    def heal(part: np.ndarray, finished: int) -> None:
        shown = 0 if view_slice is not None else len(part) // 2
        every = None if coarse and first and not finished else PREVIEW_STEPS
        so_far = (int(calls[finished]), total)
        on_step = step_teller("heal", stack, work.window, part, shown, so_far, on_event, every)
        work.heal(part, on_step, inversion_cache.of(part) if inversion_cache else None)

    known, batch = first + int(quick[first:].sum()), work.batch()
    for start, stop, size in ((0, first, 1), (first, known, batch), (known, len(rows), batch)):

        def heal_from(part: np.ndarray, finished: int, start: int = start) -> None:
            heal(part, start + finished)

        in_batches(rows[start:stop], size, heal_from)
    cards = [model.card, *(aid.card for aid in work.auxiliary_models.values())]
    predictor = work.predictor
    ran = RunStats(options, predictor.calls, predictor.slice_calls, predictor.bf16, cards, work.score)
    return work.healed, work.reconstruction, ran
