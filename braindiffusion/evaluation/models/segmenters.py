"""Lesion segmenters measured: Dice by patient and source with intervals, beside floors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from braindiffusion.evaluation.healing.floors import BRIGHT_LEVELS, bright
from braindiffusion.evaluation.metrics.overlap import count, summary
from braindiffusion.evaluation.models.data import Bench, Finding, cpu_seconds, images_of, rounded, spread
from braindiffusion.evaluation.models.figures import outlines_figure
from braindiffusion.finders.segmenter import lesion_probabilities
from braindiffusion.models.registry import load_model
from braindiffusion.training.grid_data import GridData
from braindiffusion.volume.masks import smooth
from braindiffusion.volume.slices import FIELD_OF_VIEW_MM

DEFINITIONS = {
    "lesion_dice": "on the model grid, lesion slices (a miss counts 0): mean per patient, then over patients; "
    "interval: 95 % percentile bootstrap over patients",
    "two_class_dice": "mean of lesion and background Dice, over lesion slices",
    "pooled_dice": "pixels of all lesion slices together",
    "false_alarm_mm2": "predicted area per lesion-free slice; false_alarm_share: of those slices",
    "nothing": "a floor: no lesion anywhere",
    "bright": "a floor: lightly smoothed brain pixels above a grey level tuned on this source's train split",
    "threshold": "probability (mean of slice and mirror image) above 0.5, not tuned; each source by the output trained "
    "on its masks",
    "cpu_seconds_per_slice": "one network call, batch of 8, fastest of 5, float32",
}


def bright_level(train: GridData, most: int = 300) -> float:
    """The level with the best mean Dice over lesion slices of the train split."""
    rows = np.nonzero(train.lesion.any((1, 2)))[0]
    if not len(rows):
        return 0.7
    part = train.select(rows[spread(len(rows), most)])
    smoothed = smooth(part.image.astype(np.float32))

    def score(level: float) -> float:
        p = (smoothed > level) & part.brain
        both = 2 * (p & part.lesion).sum((1, 2)) / np.maximum(1, p.sum((1, 2)) + part.lesion.sum((1, 2)))
        return float(both.mean())

    return max(BRIGHT_LEVELS, key=score)


def evaluate_lesion_segmenter(bench: Bench, picture: Path) -> Finding:
    """A segmenter with one output for each source of masks."""
    part = bench.part.select(spread(len(bench.part.image), bench.limit))
    p = lesion_probabilities(images_of(part).to(bench.device), bench.model.network).cpu().numpy()
    pixel = (FIELD_OF_VIEW_MM / float(bench.card["grid"])) ** 2
    sources = bench.kinds or sorted(set(part.source.tolist()))
    numbers: dict[str, Any] = {}
    shown = []
    for source in dict.fromkeys(part.source.tolist()):
        channel = min(sources.index(source) if source in sources else 0, p.shape[1] - 1)
        of = np.nonzero(part.source == source)[0]
        mine, found = part.select(of), p[of, channel] > 0.5
        level = bright_level(bench.train.select(bench.train.source == source))
        floor = bright(mine.image.astype(np.float32), mine.brain, level)
        row: dict[str, Any] = {"output": channel, "bright_level": level}
        for name, mask in (("network", found), ("bright", floor), ("nothing", np.zeros_like(found))):
            counts = [count(a, b) for a, b in zip(mask, mine.lesion, strict=True)]
            row[name] = summary(counts, mine.patient, pixel)
        numbers[source] = row
        lesions = np.nonzero(mine.lesion.any((1, 2)))[0]
        pick = lesions[spread(len(lesions), 8)] if len(lesions) else spread(len(of), 8)
        outlines = [(mine.lesion[pick], "lime"), (found[pick], "red")]
        shown.append((f"{source}: drawn green, found red", mine.image[pick].astype(np.float32), outlines))
        free = np.nonzero(~mine.lesion.any((1, 2)))[0]
        if len(free):
            worst = free[np.argsort(-found[free].sum((1, 2)), kind="stable")[:8]]
            shown.append(
                (
                    f"{source}: lesion-free slices, largest false alarms",
                    mine.image[worst].astype(np.float32),
                    [(found[worst], "red")],
                )
            )
    outlines_figure(picture, f"{bench.model.name}, split {bench.split}", shown)
    network, few = load_model(bench.model.name, "cpu").network, images_of(part, np.arange(min(8, len(part.image))))
    timing = cpu_seconds(lambda: network(few), len(few))
    headline = "lesion Dice " + ", ".join(
        f"{s} {n['network']['lesion_dice']:.3f} (bright {n['bright']['lesion_dice']:.3f})" for s, n in numbers.items()
    )
    return Finding(rounded({**numbers, **timing}), DEFINITIONS, headline)
