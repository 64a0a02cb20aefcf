"""Find the lesion by a segmenter: the stage in place of saliency, for kinds of ``SEGMENTERS``."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from braindiffusion.events import Event, OnEvent
from braindiffusion.finders.segmenter import SEGMENTERS, in_doubt, lesion_probability_map, segmented, told_in_doubt
from braindiffusion.models.registry import load_model, read_card
from braindiffusion.pipeline.stages import CLASSIFIER, Saliency, judge_slices, window_of
from braindiffusion.settings import HealSettings
from braindiffusion.volume.masks import dilate
from braindiffusion.volume.slices import SliceStack

MARGIN_MM = 2.0
"""A found lesion is healed with this much around it, as a drawn one is."""


def lesion_probability_of(stack: SliceStack, wanted: np.ndarray, model: str, device: torch.device) -> np.ndarray:
    """(S,H,W) float32 in [0,1] inside the brain, where ``wanted`` (S,); 0 elsewhere."""
    segmenter = load_model(model, str(device))
    out = np.zeros_like(stack.images)
    window = window_of(stack.brain, segmenter.card.get("crop"))
    part = out[window]  # a view
    if wanted.any():
        x = torch.from_numpy(stack.images[window][wanted])[:, None].to(device)
        part[wanted] = lesion_probability_map(x, segmenter.network)[:, 0].cpu().numpy()
    return out * stack.brain


def find_by_segmenter(
    stack: SliceStack,
    settings: HealSettings,
    wanted: np.ndarray,
    device: torch.device,
    on_event: OnEvent | None = None,
    only: int | None = None,
) -> tuple[Saliency, list[dict[str, Any]]]:
    """The segmenter's probability as the map; arguments as :func:`~braindiffusion.pipeline.stages.find_saliency`.

    A slice shows a lesion where segmenter and classifier say so. Where only one of them does, nothing is marked and a
    warning names the slice, unless ``settings.gate`` is given: it then decides alone.
    """
    name = SEGMENTERS[settings.saliency]
    if on_event:
        on_event(Event("saliency", 0, 1))
    probability, judged = judge_slices(stack, settings, wanted, device)
    maps = lesion_probability_of(stack, wanted, name, device)
    cards = [load_model(CLASSIFIER, str(device)).card, load_model(name, str(device)).card]
    found = segmented(maps, stack.brain, cards[1], stack.placement.model_pitch)
    doubt = np.zeros_like(judged) if settings.gate is not None else in_doubt(found, judged, wanted)
    kept = judged & ~doubt
    if only is not None:
        kept = kept & (np.arange(len(stack)) == only)
    if on_event:
        on_event(Event("saliency", 1, 1))
    return Saliency(maps * kept[:, None, None], probability, kept, told_in_doubt(doubt)), cards


def region_of_segmenter(saliency: Saliency, stack: SliceStack, settings: HealSettings) -> np.ndarray:
    """(S,H,W) bool: what the segmenter calls lesion, with a margin, in the brain."""
    pitch = stack.placement.model_pitch
    found = segmented(saliency.maps, stack.brain, read_card(SEGMENTERS[settings.saliency]), pitch)
    margin = MARGIN_MM if settings.margin_mm is None else settings.margin_mm
    return dilate(found, margin, pitch) & stack.brain
