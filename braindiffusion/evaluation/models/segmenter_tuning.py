"""The operating point of a segmenter, chosen on validation slices only: threshold of its probability, least area."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from braindiffusion.errors import PackError
from braindiffusion.evaluation.healing.data import cases, measured_rows
from braindiffusion.evaluation.metrics.overlap import count, patient_means
from braindiffusion.events import Event, OnEvent
from braindiffusion.finders.segmenter import lesion_probability_of, segmented
from braindiffusion.models.device import choose_device
from braindiffusion.models.registry import load_model
from braindiffusion.training.packs import Pack

THRESHOLDS = tuple(np.round(np.arange(0.1, 0.91, 0.1), 2).tolist())
LEAST_MM2 = (0.0, 50.0, 100.0)


def tune_segmenter(
    pack: Pack, name: str, device: str = "auto", limit: int | None = None, on_event: OnEvent | None = None
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The best operating point for a segmenter's card, and all rows of the sweep.

    Dice is that of val's lesion slices on the pack's own pixels, mean per patient, then over patients.

    Raises:
        PackError: no val slice has a drawn lesion.
    """
    chosen = choose_device(device)
    card, part = load_model(name, str(chosen)).card, pack.of_split("val")
    if not part.masks.any():
        raise PackError(
            "There is nothing to tune on.",
            "No val slice has a drawn lesion.",
            "Give a pack with masks and a val split.",
        )
    points = [{"threshold": t, "least_mm2": a} for t, a in product(THRESHOLDS, LEAST_MM2)]
    names: list[str] = []
    scores: list[list[float]] = []
    total = len(set(part.patient.tolist()))
    for done, case in enumerate(cases(part, measured_rows(part, limit, True), int(card["grid"]), str(chosen))):
        if on_event:
            on_event(Event("evaluate", done, total))
        p, rows = lesion_probability_of(case.stack, case.wanted, name, chosen), np.nonzero(case.wanted)[0]
        pitch = case.stack.placement.model_pitch
        found = [
            case.native(segmented(p[rows], case.stack.brain[rows], {"operating_point": point}, pitch))
            for point in points
        ]
        scores += [[count(f[i], case.drawn[s]).dice for f in found] for i, s in enumerate(rows)]
        names += [case.name] * len(rows)
    table, who = np.array(scores), np.array(names)
    sweep = [
        {**point, "lesion_dice": float(patient_means(dice, who).mean())}
        for point, dice in zip(points, table.T, strict=True)
    ]
    best = max(sweep, key=lambda row: row["lesion_dice"])
    tuned_on = {"split": "val", "lesion_slices": len(who)}
    point = {"threshold": best["threshold"], "least_mm2": best["least_mm2"], "tuned_on": tuned_on}
    return {**point, "val_lesion_dice": round(best["lesion_dice"], 4)}, sweep
