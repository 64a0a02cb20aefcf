"""Marked places against the region that was changed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from braindiffusion.studies.copies import unpack_mask
from braindiffusion.studies.protocol import Question
from braindiffusion.studies.readings import Reading, methods_of, readers_of
from braindiffusion.studies.sections import Row, Section, Table
from braindiffusion.studies.statistics.proportions import share

HIT_MM = 5.0
DEFINITIONS = [
    (
        "hit",
        f"A synthetic case with a mark inside the changed region or within {HIT_MM:g} mm of it (to the nearest voxel's "
        "centre).",
    ),
    ("false mark", "A real case with any mark."),
    ("distance", "From the mark nearest to the changed region, in mm; 0 inside. Median over the cases with a mark."),
    ("exact interval", "95 %, Clopper and Pearson (1934), for one reader: cases drawn at random."),
]


def distance_mm(points: list[list[float]], lesion: dict[str, Any]) -> float:
    """From the nearest of the points (RAS, mm) to the nearest voxel centre of a packed region.

    0 where a point lies in a voxel of the region; NaN without points or where the region is empty.
    """
    mask, affine = unpack_mask(lesion)
    inside = np.argwhere(mask)
    if not points or not len(inside):
        return math.nan
    centres = inside @ affine[:3, :3].T + affine[:3, 3]
    best = math.inf
    for point in np.asarray(points, dtype=float):
        voxel = np.rint(np.linalg.solve(affine[:3, :3], point - affine[:3, 3])).astype(int)
        if all(0 <= v < n for v, n in zip(voxel, mask.shape, strict=True)) and mask[tuple(voxel)]:
            return 0.0
        best = min(best, float(np.linalg.norm(centres - point, axis=1).min()))
    return best


def mark_section(question: Question, readings: list[Reading]) -> Section:
    """How often the changed place was marked, by reader and method."""
    section = Section(f"{question.prompt} ({question.id})", definitions=list(DEFINITIONS))
    firsts = [r for r in readings if r.showing == 1 and question.id in r.answers]
    rows: list[Row] = []
    for reader in readers_of(readings):
        for method in methods_of(readings):
            mine = [r for r in firsts if r.reader == reader and r.method == method]
            if not mine:
                continue
            marks = [r.answers[question.id] for r in mine]
            if all(r.label["lesion"] is None for r in mine):
                s = share(sum(bool(m) for m in marks), len(mine))
                rows.append([reader, method, "false marks", s.right, s.n, s.value, s.low, s.high, None])
                continue
            away = np.array([distance_mm(m, r.label["lesion"]) for m, r in zip(marks, mine, strict=True)])
            s = share(int((away <= HIT_MM).sum()), len(mine))
            middle = float(np.nanmedian(away)) if np.isfinite(away).any() else None
            rows.append([reader, method, "hits", s.right, s.n, s.value, s.low, s.high, middle])
    columns = (
        "reader", "method", "measure", "count", "n", "share", "exact low", "exact high", "median distance mm",
    )  # fmt: skip
    section.tables.append(Table(f"{question.id}_marks", "Marks by reader and method", columns, rows))
    return section
