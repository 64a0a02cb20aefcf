"""Figures of merit by method and reader, each with every subject left out in turn, for the multi-reader analysis."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from braindiffusion.studies.readings import Cell
from braindiffusion.studies.sections import Row
from braindiffusion.studies.statistics import roc
from braindiffusion.studies.statistics.obuchowski_rockette import Analysis, analyse, estimate, jackknife
from braindiffusion.studies.statistics.proportions import share

OR_TEST = "Obuchowski-Rockette"
DIFFERENCE = (
    "measure", "methods", "n", "test", "difference", "interval low", "interval high", "t", "df", "p",
)  # fmt: skip
CHANCE = ("measure", "what", "n", "test", "value", "interval low", "interval high", "p")
FEW = 5
"""Kinds of subjects with fewer members are resampled together: by themselves they would say too little."""


@dataclass(frozen=True)
class Merit:
    """A figure of merit: ``theta`` (methods, readers) and its analysis."""

    methods: list[str]
    theta: np.ndarray
    analysis: Analysis


def _subjects(cells: dict[str, Cell]) -> tuple[dict[str, int], np.ndarray]:
    """Subject -> index, and the group each is resampled in: subjects seen in the same methods."""
    seen: dict[str, tuple[str, ...]] = {}
    for method, cell in cells.items():
        for s in cell.subjects:
            seen[s] = (*seen.get(s, ()), method)
    kinds = list(seen.values())
    small = {k for k in kinds if kinds.count(k) < FEW}
    names = [("few",) if k in small else k for k in kinds]
    if 0 < names.count(("few",)) < FEW:
        largest = max(set(names), key=lambda k: (names.count(k), k))
        names = [largest if n == ("few",) else n for n in names]
    order = list(dict.fromkeys(names))
    return {s: i for i, s in enumerate(seen)}, np.array([order.index(n) for n in names])


def _finish(cells: dict[str, Cell], methods: list[str], theta: np.ndarray, without: list[np.ndarray]) -> Merit:
    _, groups = _subjects(cells)
    free = max(1, len(groups) - len(set(groups.tolist())))
    return Merit(methods, theta, analyse(theta, jackknife(np.array(without), groups), free))


def _enough(cells: dict[str, Cell]) -> bool:
    return bool(cells) and all(len(set(c.subjects)) > 1 for c in cells.values())


def mean_merit(cells: dict[str, Cell]) -> Merit | None:
    """Mean values; ``None`` unless every method shows two subjects."""
    if not _enough(cells):
        return None
    index, _ = _subjects(cells)
    theta = np.array([c.values.mean(1) for c in cells.values()])
    without = []
    for cell in cells.values():
        of = np.array([index[s] for s in cell.subjects])
        kept = len(of) - np.bincount(of, minlength=len(index))
        without += [(v.sum() - np.bincount(of, v, len(index))) / kept for v in cell.values]
    return _finish(cells, list(cells), theta, without)


def area_merit(positive: dict[str, Cell], negative: Cell) -> Merit | None:
    """Areas under the ROC curve of each method against the real cases; ``None`` unless all show two subjects.

    Of values 0 and 1 the area is the balanced accuracy, the mean of sensitivity and specificity.
    """
    cells = {**positive, "": negative}
    if not positive or not _enough(cells):
        return None
    index, _ = _subjects(cells)
    theta, without = np.zeros((len(positive), len(negative.values))), []
    of_negative = np.array([index[s] for s in negative.subjects])
    for i, cell in enumerate(positive.values()):
        of_positive = np.array([index[s] for s in cell.subjects])
        for j, (p, n) in enumerate(zip(cell.values, negative.values, strict=True)):
            theta[i, j] = roc.area(p, n)
            without.append(roc.area_without(p, n, of_positive, of_negative, len(index)))
    return _finish(cells, list(positive), theta, without)


def readers_text(count: int) -> str:
    """``1 reader``, ``3 readers``."""
    return f"{count} reader{'s' if count > 1 else ''}"


def difference_rows(
    name: str,
    methods: list[str],
    of_two: Callable[[str, str], Merit | None],
    cases: Callable[[str, str], str],
    alone: str,
) -> list[Row]:
    """Every method against every other, as rows of ``DIFFERENCE``.

    Each pair is analysed by itself: some share their subjects and some do not, so one error term for all would be too
    small for the ones and too large for the others.

    Args:
        name: what was measured.
        of_two: the figure of merit of two methods.
        cases: how many cases of two methods, as text.
        alone: the test's name where there is one reader.
    """
    rows: list[Row] = []
    for a, b in combinations(methods, 2):
        merit = of_two(a, b)
        if merit is not None:
            e, readers = merit.analysis.differences[0, 1], merit.theta.shape[1]
            n, t = f"{cases(a, b)}, {readers_text(readers)}", e.value / e.error if e.error > 0 else math.nan
            test = OR_TEST if readers > 1 else alone
            rows.append([name, f"{a} - {b}", n, test, e.value, e.low, e.high, t, e.df, e.p])
    return rows


def share_interval(merit: Merit, least: int, alone: str) -> tuple[float, float, float, str]:
    """95 % interval of the only method's area or share, its p against one half, and the test's name.

    On the logit scale, where it stays within 0 and 1 and covers better near them. An area or share of 0 or 1 has no
    spread to judge by: it gets the exact interval of ``least`` right answers out of as many, for that many disjoint
    comparisons were all won.

    Args:
        least: cases of the smaller side; pairs.
        alone: the test's name where there is one reader.
    """
    e = merit.analysis.methods[0]
    if e.value in (0.0, 1.0):
        exact = share(round(e.value * least), least)
        return exact.low, exact.high, exact.p, "exact binomial"
    slope = e.value * (1 - e.value)
    scaled = estimate(math.log(e.value / (1 - e.value)), (e.error / slope) ** 2, e.df)
    low, high = (1 / (1 + math.exp(-v)) for v in (scaled.low, scaled.high))
    return low, high, scaled.p, OR_TEST if merit.theta.shape[1] > 1 else alone


def chance_row(name: str, method: str, merit: Merit, cases: str, least: int, alone: str) -> Row:
    """The only method of ``merit`` against one half, as a row of ``CHANCE``; see :func:`share_interval`."""
    low, high, p, test = share_interval(merit, least, alone)
    n = f"{cases}, {readers_text(merit.theta.shape[1])}"
    return [name, f"{method} against 0.5", n, test, merit.analysis.methods[0].value, low, high, p]
