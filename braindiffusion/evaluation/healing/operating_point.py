"""The operating point of healing, chosen on validation slices only.

For each way of making the mask the slices are healed once; threshold and least area of the lesion map are then swept
on the stored differences, which costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from braindiffusion.errors import PackError
from braindiffusion.evaluation.healing.data import Case, cases, measured_rows
from braindiffusion.evaluation.healing.floors import BRIGHT_LEVELS, bright
from braindiffusion.evaluation.metrics.overlap import count, patient_means
from braindiffusion.events import Event, OnEvent
from braindiffusion.finders.contract import Found
from braindiffusion.healing.models import main_card, main_model
from braindiffusion.healing.run import heal_slices
from braindiffusion.models.device import choose_device
from braindiffusion.pipeline.stages import find_saliency, mask_of_saliency
from braindiffusion.settings import HealSettings
from braindiffusion.training.packs import Pack
from braindiffusion.volume.anomaly import anomaly_map, lesion_map

MASKS: tuple[dict[str, float], ...] = tuple(
    {"percentile": p, "mask_sigma_px": 5.0, "grow_level": level, "margin_mm": 4.0}
    for p, level in product((95.0, 97.0), (0.53, 0.55))
)
THRESHOLDS = (0.04, 0.05, 0.06, 0.07, 0.08, 0.09, 0.1, 0.12, 0.14)
LEAST_MM2 = (0.0, 100.0)
ANOMALIES = ("ours", "bright")


def patient_mean(dice: list[float], names: np.ndarray) -> float:
    """Mean over slices per patient, then over patients."""
    return float(patient_means(np.array(dice), names).mean())


def tune_bright(pack: Pack, size: int, device: str) -> float:
    """Level of :func:`~braindiffusion.evaluation.healing.floors.bright` of the best mean Dice over val patients."""
    part = pack.of_split("val")
    scores: list[tuple[str, list[float]]] = []
    for case in cases(part, measured_rows(part, None, True), size, device):
        found = [case.native(bright(case.stack.images, case.stack.brain, t)) for t in BRIGHT_LEVELS]
        scores += [(case.name, [count(p[s], case.drawn[s]).dice for p in found]) for s in np.nonzero(case.wanted)[0]]
    names, table = np.array([n for n, _ in scores]), np.array([v for _, v in scores])
    return float(max(zip(BRIGHT_LEVELS, table.T, strict=True), key=lambda c: patient_means(c[1], names).mean())[0])


@dataclass(frozen=True)
class _Looked:
    case: Case
    saliency: Found

    def dice(self, mask: np.ndarray) -> list[float]:
        rows = np.nonzero(self.case.wanted)[0]
        native = self.case.native(mask[rows])
        return [count(p, d).dice for p, d in zip(native, self.case.drawn[rows], strict=True)]


def look(pack: Pack, settings: HealSettings, limit: int | None, on_event: OnEvent | None = None) -> list[_Looked]:
    """Saliency of the val split's lesion slices, the gate held open."""
    device = choose_device(settings.device)
    grid = int(main_card(settings)["grid"])
    part = pack.of_split("val")
    if not part.masks.any():
        raise PackError(
            "There is nothing to tune on.",
            "No val slice has a drawn lesion.",
            "Give a pack with masks and a val split.",
        )
    total = len(set(part.patient.tolist()))
    found: list[_Looked] = []
    for case in cases(part, measured_rows(part, limit, True), grid, str(device)):
        if on_event:
            on_event(Event("saliency", len(found), total))
        found.append(_Looked(case, find_saliency(case.stack, replace(settings, gate=0.0), case.wanted, device)))
    return found


def _names(looked: list[_Looked]) -> np.ndarray:
    return np.array([found.case.name for found in looked for _ in range(int(found.case.wanted.sum()))])


def sweep(
    looked: list[_Looked],
    settings: HealSettings,
    masks: tuple[dict[str, float], ...] = MASKS,
    on_event: OnEvent | None = None,
) -> Iterator[dict[str, Any]]:
    """One row per (mask, anomaly, threshold, least area) with its lesion Dice."""
    device = choose_device(settings.device)
    model = main_model(settings, str(device))
    names = _names(looked)
    for done, point in enumerate(masks):
        if on_event:
            on_event(Event("evaluate", done, len(masks)))
        alone: list[float] = []
        dice: dict[tuple[str, float, float], list[float]] = {}
        for found in looked:
            stack = found.case.stack
            mask = mask_of_saliency(found.saliency, stack, settings, {"operating_point": point})
            mask &= found.case.wanted[:, None, None]
            alone += found.dice(mask)
            healed = heal_slices(stack, mask, model, settings, device)[0].mean(0)
            for variant in ANOMALIES:
                anomaly = anomaly_map(stack.images, healed, variant)
                for threshold, least in product(THRESHOLDS, LEAST_MM2):
                    lesion = lesion_map(anomaly, mask, threshold, stack.placement.model_pitch, least_mm2=least)
                    dice.setdefault((variant, threshold, least), []).extend(found.dice(lesion))
        for (variant, threshold, least), values in dice.items():
            yield {
                **point,
                "anomaly": variant,
                "threshold": threshold,
                "least_mm2": least,
                "lesion_dice": patient_mean(values, names),
                "mask_alone_dice": patient_mean(alone, names),
            }


def tune_saliency(looked: list[_Looked], settings: HealSettings) -> tuple[float, float]:
    """Percentile at which the saliency map alone overlaps best (paper's rule), and that overlap."""
    names, scores = _names(looked), {}
    for percentile in (75.0, 80.0, 85.0, 90.0, 95.0):
        rule = replace(settings, percentile=percentile, mask_rule="percentile")
        dice = [d for f in looked for d in f.dice(mask_of_saliency(f.saliency, f.case.stack, rule, {}))]
        scores[percentile] = patient_mean(dice, names)
    best = max(scores, key=lambda p: scores[p])
    return best, scores[best]


def tune(
    pack: Pack, settings: HealSettings, limit: int | None = None, on_event: OnEvent | None = None
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The best operating point for a model's card, and all rows of the sweep."""
    looked = look(pack, settings, limit, on_event)
    rows = list(sweep(looked, settings, on_event=on_event))
    best = max(rows, key=lambda r: r["lesion_dice"])
    percentile, alone = tune_saliency(looked, settings)
    grid = int(main_card(settings)["grid"])
    point = {k: best[k] for k in (*MASKS[0], "anomaly", "threshold", "least_mm2")} | {
        "saliency_percentile": percentile,
        "bright": tune_bright(pack, grid, "cpu"),
        "tuned_on": {"split": "val", "lesion_slices": len(_names(looked))},
        "val_lesion_dice": round(best["lesion_dice"], 4),
        "val_saliency_alone_dice": round(alone, 4),
    }
    return point, rows
