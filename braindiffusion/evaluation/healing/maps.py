"""From what a row made to its anomaly map and its lesions: the same steps for every row, at its operating point.

An operating point is a dict: ``variant`` of the anomaly map (healed rows), ``channel`` (segmenters), ``percentile``
(saliency alone) or ``threshold``, and ``least_mm2``, the smallest component kept.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from braindiffusion.evaluation.healing.data import Measured
from braindiffusion.evaluation.healing.floors import BRIGHT_LEVELS
from braindiffusion.evaluation.healing.rows import Row
from braindiffusion.evaluation.healing.runs import MethodOutput
from braindiffusion.evaluation.metrics.overlap import patient_means
from braindiffusion.volume.anomaly import OTSU, anomaly_map, lesion_map
from braindiffusion.volume.masks import percentile_mask

Point = dict[str, Any]
VARIANTS = ("bright", "ours", "median", "paper")
THRESHOLDS = (0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08, 0.1, 0.12, 0.14, 0.17, 0.2, 0.25, 0.3, OTSU)
PROBABILITIES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
PERCENTILES = (75.0, 80.0, 85.0, 90.0, 95.0, 97.0, 98.0, 99.0)
LEAST_MM2 = (0.0, 50.0, 100.0)
FINALISTS = 4


def starting_points(row: Row, made: MethodOutput) -> list[Point]:
    """What is tried on val for a row, before the least area."""
    if row.find == "heal":
        return [{"variant": v, "threshold": t} for v in VARIANTS for t in THRESHOLDS]
    if row.find == "saliency":
        return [{"percentile": p} for p in PERCENTILES]
    if row.find == "segmenter":
        return [{"channel": c, "threshold": t} for c in range(len(made.values)) for t in PROBABILITIES]
    if row.find == "bright":
        return [{"threshold": t} for t in BRIGHT_LEVELS]
    return [{}]


def score_map(row: Row, made: MethodOutput, point: Point, data: Measured, at: np.ndarray) -> np.ndarray:
    """(n,H,W) >= 0 of the slices ``at``, the higher the more of a lesion; 0 where the row can find nothing."""
    if row.find == "heal":
        healed = data.images[at] + made.values[at]
        values = anomaly_map(data.images[at], healed, str(point.get("variant", "bright")))
        if made.weight is not None:
            values = values * made.weight[at]
    elif row.find == "segmenter":
        values = made.values[int(point.get("channel", 0))][at]
    else:
        values = made.values[at]
    return values * made.region[at]


def open_slices(row: Row, data: Measured, at: np.ndarray) -> np.ndarray:
    """(n,) bool: slices on which a row may call a lesion at all."""
    return data.judged[at] if row.gated else np.ones(len(at), bool)


def lesions(row: Row, made: MethodOutput, point: Point, data: Measured, at: np.ndarray) -> np.ndarray:
    """(n,H,W) bool of the slices ``at``: what a row calls a lesion, behind the gate."""
    found = from_map(row, score_map(row, made, point, data, at), made.region[at], point, data, at)
    return found & open_slices(row, data, at)[:, None, None]


def from_map(
    row: Row, values: np.ndarray, region: np.ndarray, point: Point, data: Measured, at: np.ndarray
) -> np.ndarray:
    """(n,H,W) bool: a map of :func:`score_map` made binary, without specks, the gate held open."""
    if row.find == "nothing" or not len(at):
        return np.zeros(values.shape, bool)
    if row.find == "saliency":
        above = percentile_mask(values, float(point["percentile"]), brain=data.brain[at])
        values, threshold = above.astype(np.float32), 0.5
    else:
        threshold = point["threshold"]
    return lesion_map(values, region, threshold, data.pitch_mm, least_mm2=float(point.get("least_mm2", 0.0)))


def grid_dice(found: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """(n,) Dice of (n,H,W) bool on lesion slices; NaN where both are empty."""
    both = (found.sum((1, 2)) + drawn.sum((1, 2))).astype(float)
    return np.divide(2.0 * (found & drawn).sum((1, 2)), both, out=np.full(len(both), np.nan), where=both > 0)


def tuned_point(row: Row, made: MethodOutput, data: Measured) -> tuple[Point, float]:
    """The operating point with the best lesion Dice on these slices, and that Dice (on the model grid).

    Mean over lesion slices per patient, then over patients. The least area is varied for the best few only.
    """
    every = np.nonzero(data.lesion & made.measured)[0]
    passed = open_slices(row, data, every)
    at = every[passed]
    drawn, patients = data.on_grid[at], data.patient[every]

    def dice(point: Point, values: np.ndarray) -> float:
        each = np.zeros(len(every))
        each[passed] = grid_dice(from_map(row, values, made.region[at], point, data, at), drawn)
        return float(patient_means(each, patients).mean())

    starts = starting_points(row, made)
    maps: dict[tuple[Any, Any], np.ndarray] = {}
    for p in starts:
        key = (p.get("variant"), p.get("channel"))
        if key not in maps:
            maps[key] = score_map(row, made, p, data, at)
    scored = [(dice(p, maps[p.get("variant"), p.get("channel")]), n) for n, p in enumerate(starts)]
    best = sorted(scored, reverse=True, key=lambda pair: (pair[0], -pair[1]))[:FINALISTS]
    tried = []
    for _, n in best:
        values = maps[starts[n].get("variant"), starts[n].get("channel")]
        for least in LEAST_MM2:
            point = {**starts[n], "least_mm2": least}
            tried.append((dice(point, values), point))
    value, point = max(tried, key=lambda pair: pair[0])
    return point, value
