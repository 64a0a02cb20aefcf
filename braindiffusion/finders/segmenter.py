"""Find the lesion: a small segmenter's probability in place of a saliency map, and a word on slices it is not sure of.

``segmenter`` learned from masks that nobody drew (see :mod:`braindiffusion.training.pseudo_labels`); ``supervised``
learned from drawn ones and is the ceiling that weak labels are measured against.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from braindiffusion.cards import read_card
from braindiffusion.events import Event, OnEvent
from braindiffusion.finders.contract import Found
from braindiffusion.finders.gate import CLASSIFIER, judge_slices
from braindiffusion.models.registry import load_model
from braindiffusion.settings import HealSettings
from braindiffusion.volume.masks import dilate, drop_small
from braindiffusion.volume.slices import SliceStack, window_of

SEGMENT = "segment"
"""Under which a segmenter's card has what was tuned."""
SEGMENTERS = {"segmenter": "weak-segmenter-flair", "supervised": "lesion-segmenter-flair"}
"""Kinds of saliency that are a segmenter's, and its model."""
THRESHOLD, MIN_AREA_MM2 = 0.5, 50.0
"""Where the model's card has no operating point."""
MARGIN_MM = 2.0
"""A found lesion is healed with this much around it, as a drawn one is."""


@torch.no_grad()
def lesion_probabilities(x: Tensor, network: nn.Module, batch: int = 16) -> Tensor:
    """(N,1,H,W) in [0,1] -> (N,C,H,W) probability of a lesion by each output: mean over a slice and its mirror image.

    Left and right are the last axis. Two looks cost two network calls; on val the mean is worth 0.01 lesion Dice.
    """

    def look(part: Tensor) -> Tensor:
        return torch.sigmoid(network(part).float())

    return torch.cat([(look(part) + look(part.flip(-1)).flip(-1)) / 2 for part in x.split(batch)])


def lesion_probability_map(x: Tensor, network: nn.Module, batch: int = 16) -> Tensor:
    """(N,1,H,W) in [0,1] -> (N,1,H,W) probability of a lesion: the greatest over the outputs (kinds of lesion)."""
    return lesion_probabilities(x, network, batch).amax(1, keepdim=True)


def segmented(probability: np.ndarray, brain: np.ndarray, card: Mapping[str, Any], pitch_mm: float) -> np.ndarray:
    """(S,H,W) bool: probability above the card's threshold, inside the brain, without specks."""
    tuned = card.get("operating_points", {}).get(SEGMENT, {})
    found = (probability > float(tuned.get("threshold", THRESHOLD))) & brain
    return drop_small(found, float(tuned.get("least_mm2", MIN_AREA_MM2)), pitch_mm)


def in_doubt(found: np.ndarray, judged_lesion: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """(S,) bool: slices on which segmenter and classifier contradict each other.

    Args:
        found: (S,H,W) bool, by the segmenter; judged_lesion: (S,) bool, by the classifier; wanted: (S,) bool.
    """
    return wanted & (found.any((1, 2)) != judged_lesion)


def contradictions(doubt: np.ndarray) -> list[str]:
    """A sentence for the user on the slices in doubt; none where there are none."""
    rows = np.nonzero(doubt)[0]
    if not len(rows):
        return []
    runs = np.split(rows, np.nonzero(np.diff(rows) > 1)[0] + 1)
    names = ", ".join(str(r[0]) if len(r) == 1 else f"{r[0]}-{r[-1]}" for r in runs)
    return [
        f"Segmenter and classifier contradict each other on {len(rows)} slices ({names}): nothing was marked there. "
        "Look at them, and draw a mask where there is a lesion."
    ]


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
) -> Found:
    """The segmenter's probability as the map; see :class:`~braindiffusion.finders.contract.Finder`.

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
    warnings = contradictions(doubt)
    return Found(maps * kept[:, None, None], probability, kept, warnings, cards, origin=settings.saliency)


def region_of_segmenter(saliency: Found, stack: SliceStack, settings: HealSettings) -> np.ndarray:
    """(S,H,W) bool: what the segmenter calls lesion, with a margin, in the brain."""
    pitch = stack.placement.model_pitch
    found = segmented(saliency.maps, stack.brain, read_card(SEGMENTERS[settings.saliency]), pitch)
    margin = MARGIN_MM if settings.margin_mm is None else settings.margin_mm
    return dilate(found, margin, pitch) & stack.brain
