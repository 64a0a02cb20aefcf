"""The one tuner: what a model's card says under ``operating_points``, chosen on the val split of a pack alone.

What is tuned follows from the model's task:

- a denoiser: the mask rule of Dif-fuse, then variant, threshold and least area of the lesion map, from the candidates
  and by the lesion Dice of the healing table (:func:`~braindiffusion.evaluation.healing.maps.tuned_point`), so that the
  card, the table and the README speak of one point;
- a segmenter: threshold of its probability and least area;
- a denoiser of latents: how far the latents of healthy slices diverge.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import torch

from braindiffusion.cards import read_card
from braindiffusion.diffusion.schedule import Schedule
from braindiffusion.errors import PackError
from braindiffusion.evaluation.healing.data import cases, measured_rows
from braindiffusion.evaluation.healing.maps import tuned_point
from braindiffusion.evaluation.healing.rows import known_rows
from braindiffusion.evaluation.healing.runs import Runner
from braindiffusion.evaluation.healing.tuning import SPLIT, needs_lesions, val_dice, val_slices
from braindiffusion.evaluation.metrics.overlap import count, patient_means
from braindiffusion.evaluation.models.data import spread
from braindiffusion.evaluation.result_cache import ResultCache
from braindiffusion.events import Event, OnEvent
from braindiffusion.finders.segmenter import SEGMENT, lesion_probability_of, segmented
from braindiffusion.healing.latent import SHARE, LatentSettings, cells_of, score_latents
from braindiffusion.healing.models import auxiliary_models_of, main_model, predictor_of
from braindiffusion.models.device import CPU_BATCH, choose_device, precision_for
from braindiffusion.models.registry import load_model, update_card
from braindiffusion.settings import HealSettings
from braindiffusion.training.packs import Pack
from braindiffusion.volume.slices import window_of

MASKS: tuple[dict[str, float], ...] = tuple(
    {"percentile": p, "mask_sigma_px": 5.0, "grow_level": level, "margin_mm": 4.0}
    for p, level in product((95.0, 97.0), (0.53, 0.55))
)
THRESHOLDS = tuple(np.round(np.arange(0.1, 0.91, 0.1), 2).tolist())
LEAST_MM2 = (0.0, 50.0, 100.0)
"""Tried for a segmenter."""
Swept = list[dict[str, Any]]


def tune(
    pack: Pack, settings: HealSettings, kept: ResultCache, limit: int | None = None, on_event: OnEvent | None = None
) -> tuple[str, dict[str, Any], Swept]:
    """The best operating point of ``settings.model`` on val.

    Args:
        kept: where what was computed lies; a stopped run goes on from there.
        limit: at most this many slices.

    Returns:
        Its name under ``operating_points``, the point, and what was tried, row by row.

    Raises:
        PackError: val holds nothing to tune on; ModelNotFoundError.
    """
    task = read_card(str(settings.model)).task
    if task == "lesion_segmenter":
        return SEGMENT, *tune_segmenter(pack, settings, limit, on_event)
    if task == "latent_denoiser":
        found = healthy_level(pack, replace(settings, method="latent"), limit, on_event)
        return "latent", found, [found]
    return "dif_fuse", *tune_healing(pack, settings, kept, limit, on_event)


def keep(model: str, use: str, point: dict[str, Any]) -> None:
    """Put a point into a model's card; what else was tuned for that use stays."""
    known = read_card(model).get("operating_points", {})
    update_card(model, {"operating_points": {**known, use: {**known.get(use, {}), **point}}})


def tune_healing(
    pack: Pack, settings: HealSettings, kept: ResultCache, limit: int | None = None, on_event: OnEvent | None = None
) -> tuple[dict[str, Any], Swept]:
    """Mask rule, variant, threshold and least area of Dif-fuse, with the brightness and saliency floors beside it."""
    data = val_slices(pack, settings, limit, kept, on_event)
    rows = known_rows()
    runner = Runner(data, settings, kept, 0, folder="tune")
    saliency = next(row for row in rows.values() if row.find == "saliency" and row.saliency == settings.saliency)
    swept = []
    for done, mask in enumerate(MASKS):
        if on_event:
            on_event(Event("evaluate", done, len(MASKS)))
        row = replace(rows["dif_fuse"], name=f"dif_fuse_mask_{done}", point=mask)
        made = runner.run(row)
        point, _ = tuned_point(row, made, data)
        dice = val_dice(row, made, point, runner)["mean"]
        least = {"threshold": point["threshold"], "least_mm2": point["least_mm2"]}
        swept.append({**mask, "anomaly": point["variant"], **least, "lesion_dice": dice})
    best = max(swept, key=lambda row: row["lesion_dice"])
    alone = runner.run(saliency)
    by_saliency, _ = tuned_point(saliency, alone, data)
    brightness, _ = tuned_point(rows["bright"], runner.run(rows["bright"]), data)
    return {
        **{name: value for name, value in best.items() if name != "lesion_dice"},
        "saliency_percentile": by_saliency["percentile"], "bright": brightness["threshold"],
        "tuned_on": {"split": SPLIT, "lesion_slices": int(data.lesion.sum())},
        "val_lesion_dice": round(best["lesion_dice"], 4),
        "val_saliency_alone_dice": round(val_dice(saliency, alone, by_saliency, runner)["mean"], 4),
    }, swept  # fmt: skip


def tune_segmenter(
    pack: Pack, settings: HealSettings, limit: int | None = None, on_event: OnEvent | None = None
) -> tuple[dict[str, Any], Swept]:
    """Threshold and least area of the segmenter ``settings.model``.

    Dice is that of val's lesion slices on the pack's own pixels, mean per patient, then over patients.
    """
    needs_lesions(pack)
    name, chosen, part = str(settings.model), choose_device(settings.device), pack.of_split(SPLIT)
    card = load_model(name, str(chosen)).card
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
            case.native(segmented(p[rows], case.stack.brain[rows], {"operating_points": {SEGMENT: point}}, pitch))
            for point in points
        ]
        scores += [[count(f[i], case.drawn[s]).dice for f in found] for i, s in enumerate(rows)]
        names += [case.name] * len(rows)
    table, who = np.array(scores), np.array(names)
    swept = [
        {**point, "lesion_dice": float(patient_means(dice, who).mean())}
        for point, dice in zip(points, table.T, strict=True)
    ]
    best = max(swept, key=lambda row: row["lesion_dice"])
    return {
        "threshold": best["threshold"], "least_mm2": best["least_mm2"],
        "tuned_on": {"split": SPLIT, "lesion_slices": len(who)}, "val_lesion_dice": round(best["lesion_dice"], 4),
    }, swept  # fmt: skip


def healthy_level(
    pack: Pack, settings: HealSettings, limit: int | None = None, on_event: OnEvent | None = None
) -> dict[str, Any]:
    """The ``1 - SHARE`` quantile of the score over all latent cells in the brain of lesion-free val slices.

    Args:
        settings: ``method`` is ``latent``.
        limit: at most this many slices, evenly spaced.

    Returns:
        ``level``, and from how much of what.

    Raises:
        PackError: the val split has no lesion-free slice; ModelNotFoundError.
    """
    device = choose_device(settings.device)
    main = main_model(settings, str(device))
    coder = auxiliary_models_of(settings, main)["coder"].network
    predictor = predictor_of(main, precision_for(settings.precision, device))
    part = pack.of_split(SPLIT)
    free = np.nonzero(~part.masks.any((1, 2)))[0]
    if not pack.has_masks or not len(free):
        raise PackError(
            "There is nothing to measure on.", "No val slice is known to be free of lesions.", "Give a pack with masks."
        )
    wanted = np.zeros(len(part), bool)
    wanted[free[spread(len(free), limit)]] = True
    scores: list[np.ndarray] = []
    done = 0

    def look(images: np.ndarray, brain: np.ndarray) -> None:
        x, b = (torch.from_numpy(v)[:, None].to(device) for v in (images, brain))
        generator = torch.Generator().manual_seed(settings.seed)  # as a healing draws it
        z = coder.encode(x).float()
        inside = cells_of(b, z)
        score = score_latents(z, inside, predictor, LatentSettings(), generator, Schedule())  # type: ignore[arg-type]
        scores.append(score[inside].cpu().numpy())

    for case in cases(part, wanted, int(main.card["grid"]), str(device)):
        if on_event:
            on_event(Event("evaluate", done, int(wanted.sum())))
        window = window_of(case.stack.brain, main.card.get("crop"))
        images, brain = (v[window][case.wanted] for v in (case.stack.images, case.stack.brain))
        batch = settings.batch or CPU_BATCH
        for start in range(0, len(images), batch):
            look(images[start : start + batch], brain[start : start + batch])
        done += int(case.wanted.sum())
    cells = np.concatenate(scores)
    return {
        "level": float(np.quantile(cells, 1 - SHARE)),
        "level_from": {
            "split": SPLIT, "lesion_free_slices": done, "cells": len(cells), "quantile": 1 - SHARE,
            "positions": "all together",
        },
    }  # fmt: skip
