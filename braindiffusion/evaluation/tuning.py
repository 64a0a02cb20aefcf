"""The operating point of healing, chosen on validation slices only.

For each way of making the mask the slices are healed once; then threshold, smoothing and least area of the lesion map
are swept on the stored differences, which costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from braindiffusion.anomaly import anomaly_map, lesion_map
from braindiffusion.device import choose_device
from braindiffusion.evaluation.healing import Case, cases, measured_rows, tune_bright
from braindiffusion.evaluation.overlap import count
from braindiffusion.heal import Event, HealSettings, OnEvent, Saliency, find_saliency, heal_slices, mask_of_saliency
from braindiffusion.models.registry import load_model
from braindiffusion.training.packs import Pack

PERCENTILES = (75.0, 80.0, 85.0, 90.0)
SIGMAS_PX = (1.1, 2.5)
THRESHOLDS = tuple(np.round(np.arange(0.03, 0.25, 0.01), 3).tolist())
LEAST_MM2 = (0.0, 40.0, 100.0)


def patient_mean(dice: np.ndarray, names: np.ndarray) -> float:
    """Mean over slices per patient, then over patients."""
    return float(np.mean([dice[names == n].mean() for n in dict.fromkeys(names.tolist())]))


def sweep(
    pack: Pack,
    settings: HealSettings,
    *,
    percentiles: tuple[float, ...] = PERCENTILES,
    sigmas: tuple[float, ...] = SIGMAS_PX,
    limit: int | None = None,
    on_event: OnEvent | None = None,
) -> Iterator[dict[str, Any]]:
    """Rows of (percentile, sigma, threshold, least area, lesion Dice) on the val split's lesion slices.

    The gate is held open, so that the mask and the threshold are judged alone.
    """
    device = choose_device(settings.device)
    model = load_model(settings.model, str(device))
    part = pack.of_split("val")
    found: list[tuple[Case, Saliency]] = []
    wanted = measured_rows(part, limit, True)
    for case in cases(part, wanted, int(model.card["grid"]), str(device)):
        if on_event:
            on_event(Event("saliency", len(found), len(set(part.patient.tolist()))))
        found.append((case, find_saliency(case.stack, replace(settings, gate=0.0), case.wanted, device)[0]))
    total = len(percentiles) * len(sigmas)
    for done, (percentile, sigma) in enumerate(product(percentiles, sigmas)):
        if on_event:
            on_event(Event("evaluate", done, total))
        card = {"operating_point": {**model.card.get("operating_point", {}), "mask_sigma_px": sigma}}
        dice: dict[tuple[float, float], list[float]] = {}
        alone: list[float] = []
        names: list[str] = []
        for case, saliency in found:
            mask = mask_of_saliency(saliency, case.stack, replace(settings, percentile=percentile), card)
            mask &= case.wanted[:, None, None]
            healed, _, _ = heal_slices(case.stack, mask, model, settings, device)
            anomaly = anomaly_map(case.stack.images, healed.mean(0), settings.anomaly)  # type: ignore[arg-type]
            kept = np.nonzero(case.wanted)[0]
            names += [case.name] * len(kept)
            native = case.native(mask)
            alone += [count(native[s], case.drawn[s]).dice for s in kept]
            for threshold, least in product(THRESHOLDS, LEAST_MM2):
                lesion = lesion_map(anomaly, mask, threshold, case.stack.placement.model_pitch, least_mm2=least)
                native = case.native(lesion)
                dice.setdefault((threshold, least), []).extend(count(native[s], case.drawn[s]).dice for s in kept)
        patients = np.array(names)
        for (threshold, least), values in dice.items():
            yield {
                "percentile": percentile,
                "mask_sigma_px": sigma,
                "threshold": threshold,
                "least_mm2": least,
                "lesion_dice": patient_mean(np.array(values), patients),
                "mask_alone_dice": patient_mean(np.array(alone), patients),
            }


def choose(pack: Pack, settings: HealSettings, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The best row as a model card's ``operating_point``, with the floor's threshold tuned on the same slices."""
    best = max(rows, key=lambda r: r["lesion_dice"])
    grid = int(load_model(settings.model).card["grid"])
    point = {k: best[k] for k in ("percentile", "mask_sigma_px", "threshold", "least_mm2")}
    return {
        **point,
        "bright": tune_bright(pack, grid, "cpu"),
        "tuned_on": "val",
        "val_lesion_dice": round(best["lesion_dice"], 4),
    }
