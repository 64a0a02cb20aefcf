"""What the ladder heals: slices with their masks, and the drawn lesions they are scored against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from braindiffusion.cards import resource
from braindiffusion.evaluation.healing.data import Case, cases, measured_rows
from braindiffusion.evaluation.healing.tuning import SPLIT, needs_lesions
from braindiffusion.evaluation.metrics.overlap import count, patient_means
from braindiffusion.evaluation.models.data import spread
from braindiffusion.events import Event, OnEvent
from braindiffusion.healing.models import main_model
from braindiffusion.io.read import read_mask, read_scan
from braindiffusion.pipeline.scan_cache import ScanCache
from braindiffusion.pipeline.stages import find_saliency, lesion_rule, mask_of_saliency
from braindiffusion.settings import HealSettings
from braindiffusion.training.packs import load_pack
from braindiffusion.volume.anomaly import anomaly_map, lesion_map
from braindiffusion.volume.slices import SliceStack, chosen_slices

Key = tuple[str, int]
"""A slice: its patient, and its place in the stack."""


@dataclass(frozen=True)
class Item:
    """One patient's slices.

    Attributes:
        rows: slices to heal and to score.
        mask: (S,H,W) bool, the region to heal; empty on all other slices.
        dice: lesion Dice of each of ``rows`` for a lesion (S,H,W) bool on the model grid.
    """

    name: str
    stack: SliceStack
    rows: list[int]
    mask: np.ndarray
    dice: Callable[[np.ndarray, list[int]], list[float]]

    def scores(
        self, healed: np.ndarray, reconstruction: np.ndarray, settings: HealSettings, card: dict
    ) -> dict[Key, float]:
        """Lesion Dice by slice of a counterfactual (S,H,W), by the operating point of the model's card."""
        rule = lesion_rule(settings, card)
        anomaly = anomaly_map(self.stack.images, healed, rule.variant, reconstruction=reconstruction) * self.mask
        pitch = self.stack.placement.model_pitch
        lesion = lesion_map(anomaly, self.mask, rule.threshold, pitch, least_mm2=rule.least_mm2)
        return {(self.name, s): d for s, d in zip(self.rows, self.dice(lesion, self.rows), strict=True)}


def pack_items(pack: Path, settings: HealSettings, limit: int, on_event: OnEvent | None = None) -> list[Item]:
    """Lesion slices of a pack's val split, spread over patients; masks by saliency, the gate held open.

    Raises:
        PackError: no val split, or no lesion in it.
    """
    device = torch.device(settings.device)
    card = main_model(settings, str(device)).card
    whole = load_pack(pack)
    needs_lesions(whole)
    part = whole.of_split(SPLIT)
    total, gate_open = len(set(part.patient.tolist())), replace(settings, gate=0.0)
    items: list[Item] = []
    for done, case in enumerate(cases(part, measured_rows(part, limit, True), int(card["grid"]), str(device))):
        if on_event:
            on_event(Event("saliency", done, total))
        found = find_saliency(case.stack, gate_open, case.wanted, device)
        mask = mask_of_saliency(found, case.stack, settings, card) & case.wanted[:, None, None]
        rows = [int(s) for s in np.nonzero(mask.any((1, 2)))[0]]

        def dice(lesion: np.ndarray, rows: list[int], case: Case = case) -> list[float]:
            return [count(p, d).dice for p, d in zip(case.native(lesion[rows]), case.drawn[rows], strict=True)]

        if rows:
            items.append(Item(case.name, case.stack, rows, mask, dice))
    return items


def sample_items(settings: HealSettings, limit: int) -> list[Item]:
    """The shipped synthetic scan, its true lesion grown by 4 mm as the mask: for a machine without a pack."""
    from braindiffusion.volume.masks import dilate
    from braindiffusion.volume.slices import mask_to_slices

    scan = read_scan(resource("Samples", "SYNTHETIC_FLAIR_lesion.nii.gz"))
    truth = read_mask(resource("Samples", "SYNTHETIC_FLAIR_lesion_truth.nii.gz"), scan)
    device = torch.device(settings.device)
    card = main_model(settings, str(device)).card
    stack, _ = ScanCache(scan).stack(int(card["grid"]), None, device, card.get("scaling"))
    drawn = mask_to_slices(truth, stack.placement)
    wanted = chosen_slices(settings.slices, len(stack), stack.brain) & drawn.any((1, 2))
    rows = np.nonzero(wanted)[0]
    rows = rows[spread(len(rows), min(limit, len(rows)))]
    mask = np.zeros_like(drawn)
    mask[rows] = dilate(drawn[rows], 4.0, stack.placement.model_pitch) & stack.brain[rows]

    def dice(lesion: np.ndarray, rows: list[int]) -> list[float]:
        return [count(lesion[s], drawn[s]).dice for s in rows]

    return [Item("sample", stack, [int(s) for s in rows], mask, dice)]


def fewer(items: list[Item], most: int) -> list[Item]:
    """At most so many slices, spread over all."""
    keys = [(i, s) for i, item in enumerate(items) for s in item.rows]
    kept = {keys[k] for k in spread(len(keys), min(most, len(keys)))}
    out = []
    for i, item in enumerate(items):
        rows = [s for s in item.rows if (i, s) in kept]
        if rows:
            mask = np.zeros_like(item.mask)
            mask[rows] = item.mask[rows]
            out.append(replace(item, rows=rows, mask=mask))
    return out


def mean_dice(scores: dict[Key, float], keys: set[Key] | None = None) -> float | None:
    """Mean over patients of the mean over their slices, of all slices or of some; ``None`` where there is none."""
    chosen = {key: d for key, d in scores.items() if keys is None or key in keys}
    if not chosen:
        return None
    return float(patient_means(np.array(list(chosen.values())), np.array([name for name, _ in chosen])).mean())
