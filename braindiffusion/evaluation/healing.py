"""Healing measured on a pack with drawn lesions, beside its floors, on the pack's own pixels."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from braindiffusion.anomaly import anomaly_map, lesion_map
from braindiffusion.device import choose_device
from braindiffusion.errors import PackError, SettingsError
from braindiffusion.evaluation.overlap import count, summary
from braindiffusion.evaluation.tables import Report, Tally, facts_of, markdown
from braindiffusion.masks import smooth
from braindiffusion.models.registry import LoadedModel, load_model
from braindiffusion.provenance import plain
from braindiffusion.slices import SliceStack
from braindiffusion.stages import (
    Event,
    HealSettings,
    OnEvent,
    find_saliency,
    heal_slices,
    lesion_rule,
    mask_of_saliency,
    prepare,
)
from braindiffusion.training.packs import Pack

KNOWN_METHODS = ("dif_fuse", "saliency")


@dataclass
class Case:
    """One patient of a pack on the model grid.

    Attributes:
        stack: slices; ``drawn``: (S,rows,cols) bool on the pack's pixels; ``rows``: indices into the pack.
        wanted: (S,) bool, slices that are measured.
    """

    name: str
    stack: SliceStack
    drawn: np.ndarray
    rows: np.ndarray
    wanted: np.ndarray

    def native(self, mask: np.ndarray) -> np.ndarray:
        """(S,H,W) bool on the model grid -> (S,rows,cols) bool on the pack's pixels."""
        return self.stack.placement.up(mask.astype(np.float32)) > 0.5


def measured_rows(pack: Pack, limit: int | None, lesion_only: bool) -> np.ndarray:
    """(N,) bool: slices to measure. A limit takes evenly spaced ones, lesion and lesion-free in proportion."""
    lesion = pack.masks.any((1, 2))
    pools = [np.nonzero(lesion)[0]] + ([] if lesion_only else [np.nonzero(~lesion)[0]])
    total = sum(len(p) for p in pools)
    wanted = np.zeros(len(pack), bool)
    for pool in pools:
        n = len(pool) if limit is None else min(len(pool), round(limit * len(pool) / max(1, total)))
        if n:
            wanted[pool[np.linspace(0, len(pool) - 1, n).round().astype(int)]] = True
    return wanted


def cases(pack: Pack, wanted: np.ndarray, size: int, device: str) -> Iterator[Case]:
    """The pack's patients that have a slice to measure, one after another."""
    for name, index, scan in pack.volumes():
        if wanted[index].any():
            stack, _ = prepare(scan, size, None, device, check=False)
            drawn = stack.placement.to_axial(pack.masks[index].transpose(2, 1, 0))
            # to_axial may reverse the slice axis; the pack's rows follow it
            rows = stack.placement.to_axial(np.broadcast_to(index, (*scan.voxels.shape[:2], len(index))))[:, 0, 0]
            yield Case(name, stack, drawn, rows, wanted[rows])


def bright(stack: SliceStack, threshold: float) -> np.ndarray:
    """The plain rival: brain pixels brighter than a threshold (model units), lightly smoothed."""
    return (smooth(stack.images) > threshold) & stack.brain


def tune_bright(pack: Pack, size: int, device: str) -> float:
    """Threshold of ``bright`` with the best mean lesion Dice over patients on the val split."""
    levels = np.round(np.arange(0.45, 0.96, 0.025), 3)
    part = pack.of_split("val")
    scores: list[tuple[str, list[float]]] = []
    for case in cases(part, measured_rows(part, None, True), size, device):
        keep = np.nonzero(case.wanted)[0]
        predictions = [case.native(bright(case.stack, t)) for t in levels]
        scores += [(case.name, [count(p[s], case.drawn[s]).dice for p in predictions]) for s in keep]
    names = np.array([n for n, _ in scores])
    table = np.array([v for _, v in scores])
    mean = np.mean([table[names == n].mean(0) for n in dict.fromkeys(names.tolist())], axis=0)
    return float(levels[mean.argmax()])


def _heal_case(
    case: Case, model: LoadedModel, settings: HealSettings, device: torch.device, tally: Tally
) -> dict[str, np.ndarray]:
    t0 = time.perf_counter()
    saliency, _ = find_saliency(case.stack, settings, case.wanted, device)
    mask = mask_of_saliency(saliency, case.stack, settings, model.card) & case.wanted[:, None, None]
    t1 = time.perf_counter()
    healed, reconstruction, predictor = heal_slices(case.stack, mask, model, settings, device)
    tally.seconds_saliency += t1 - t0
    tally.seconds_healing += time.perf_counter() - t1
    tally.calls += predictor.slice_calls
    tally.healed_slices += int(mask.any((1, 2)).sum())
    mean = healed.mean(0)
    rule = lesion_rule(settings, model.card)
    a = anomaly_map(case.stack.images, mean, rule.variant, reconstruction=reconstruction)
    lesion = lesion_map(a, mask, rule.threshold, case.stack.placement.model_pitch, least_mm2=rule.least_mm2)
    outside = np.abs(mean - case.stack.images)[~mask & case.stack.brain]
    tally.outside = max(tally.outside, float(outside.max()) if outside.size else 0.0)
    tally.probability += saliency.probability[case.wanted].tolist()
    # the saliency map alone, at the percentile that suits it best on val: the paper's rule, no growth
    percentile = model.card.get("operating_point", {}).get("saliency_percentile", settings.percentile)
    paper = replace(settings, percentile=percentile, mask_rule="percentile")
    alone = mask_of_saliency(saliency, case.stack, paper, model.card)
    alone &= case.wanted[:, None, None]
    open_gate = saliency.judged_lesion[:, None, None] & case.wanted[:, None, None]
    return {
        "gate": open_gate,
        "dif_fuse": lesion,
        "saliency": alone,
        "mask": mask,
        "healed": mean,
        "map": saliency.maps,
    }


def evaluate(
    pack: Pack, split: str, settings: HealSettings, methods: list[str], *,
    limit: int | None = None, lesion_slices_only: bool = False, on_event: OnEvent | None = None,
) -> Report:  # fmt: skip
    """Measure healing on a split.

    The lesion map's threshold is the model card's (tuned on val); the floor ``bright`` is tuned on this pack's val
    split, or uses the card's value when the pack has none.

    Raises:
        PackError: no masks, or no such split.
        SettingsError: unknown method.
    """
    unknown = [m for m in methods if m not in KNOWN_METHODS]
    if unknown:
        raise SettingsError(
            f"There is no method {unknown[0]} to evaluate.", f"Known: {', '.join(KNOWN_METHODS)}.", "Choose among them."
        )
    if not pack.has_masks:
        raise PackError(
            "The pack has no drawn lesions to measure against.", "It lacks mask_bits.", "Give a pack with masks."
        )
    device = choose_device(settings.device)
    model = load_model(settings.model, str(device))
    size, tuned = int(model.card["grid"]), model.card.get("operating_point", {})
    has_val = bool(pack.masks[pack.split == "val"].any())
    bright_level = tune_bright(pack, size, str(device)) if has_val else float(tuned.get("bright", 0.7))
    part = pack.of_split(split)
    origin = np.arange(len(pack)) if split == "all" else np.nonzero(pack.split == split)[0]
    wanted = measured_rows(part, limit, lesion_slices_only)
    tally = Tally()
    rows: list[dict[str, Any]] = []
    gallery: list[dict[str, np.ndarray]] = []
    heal_wanted = "dif_fuse" in methods or "saliency" in methods
    started, finished = time.perf_counter(), 0
    for case in cases(part, wanted, size, str(device)):
        if on_event:
            on_event(Event("evaluate", finished, int(wanted.sum())))
        brain = case.stack.brain
        predicted = {"nothing": np.zeros_like(brain), "bright": bright(case.stack, bright_level)}
        extra: dict[str, np.ndarray] = {}
        if heal_wanted:
            extra = _heal_case(case, model, settings, device, tally)
            predicted["bright_gated"] = predicted["bright"] & extra["gate"]
            predicted |= {m: extra[m] for m in methods}
        native = {name: case.native(p) for name, p in predicted.items()}
        for s in np.nonzero(case.wanted)[0]:
            tally.patients.append(case.name)
            tally.has_lesion.append(bool(case.drawn[s].any()))
            row: dict[str, Any] = {
                "patient": case.name,
                "row": int(origin[case.rows[s]]),
                "drawn_px": int(case.drawn[s].sum()),
            }
            for name, p in native.items():
                c = count(p[s], case.drawn[s])
                tally.counts.setdefault(name, []).append(c)
                row |= {f"{name}_{k}": v for k, v in asdict(c).items() if k != "tn"}
            if extra and not case.drawn[s].any() and brain[s].any():
                error = float(np.abs(extra["healed"][s] - case.stack.images[s])[brain[s]].mean())
                tally.identity.append(error)
            rows.append(row)
        if extra and len(gallery) < 12:
            area = case.drawn.sum((1, 2)) * case.wanted
            best = int(area.argmax())
            on_grid = case.stack.placement.down(case.drawn[best : best + 1])[0] > 0.5
            shown = {"lesion": "dif_fuse", "mask": "mask", "saliency": "map", "healed": "healed"}
            gallery.append(
                {"image": case.stack.images[best], "drawn": on_grid} | {k: extra[v][best] for k, v in shown.items()}
            )
        finished += int(case.wanted.sum())
    patients = np.array(tally.patients)
    results = {name: summary(counts, patients, part.pitch_mm**2) for name, counts in tally.counts.items()}
    facts = facts_of(results, tally) | plain(
        {
            "modality": pack.modality,
            "split": split,
            "settings": replace(settings, threshold=lesion_rule(settings, model.card).threshold),
            "model": {k: model.card.get(k) for k in ("name", "sha256", "operating_point")},
            "bright_threshold": bright_level,
            "seconds": time.perf_counter() - started,
        }
    )
    return Report(facts, markdown(facts), rows, gallery)
