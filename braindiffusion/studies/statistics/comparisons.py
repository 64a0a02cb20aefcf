"""Tests of two methods against each other, and Holm's correction for doing several."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Test:
    """One test: its name, how many cases went in, its statistic, degrees of freedom where it has any, and p."""

    name: str
    n: str
    statistic: float
    df: float
    p: float


def signed_rank(a: np.ndarray, b: np.ndarray) -> Test:
    """Wilcoxon's signed-rank test (1945) of paired values, two-sided; equal pairs are left out.

    Exact for up to 50 unequal pairs without ties among the differences, else normal with tie correction. p is 1 where
    all pairs are equal, NaN without pairs.
    """
    from scipy.stats import wilcoxon

    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    unequal = int((a != b).sum())
    n = f"{len(a)} pairs, {unequal} unequal"
    if not unequal:
        return Test("Wilcoxon signed rank", n, 0.0, math.nan, 1.0 if len(a) else math.nan)
    differences = np.abs(a - b)[a != b]
    exact = unequal <= 50 and len(np.unique(differences)) == unequal
    found = wilcoxon(a, b, zero_method="wilcox", method="exact" if exact else "approx")
    return Test("Wilcoxon signed rank", n, float(found.statistic), math.nan, float(found.pvalue))


def rank_sum(a: np.ndarray, b: np.ndarray) -> Test:
    """Mann and Whitney's test (1947) of independent values, two-sided, ties corrected; NaN where a side is empty."""
    from scipy.stats import mannwhitneyu

    n = f"{len(a)} and {len(b)} cases"
    if not len(a) or not len(b):
        return Test("Mann-Whitney", n, math.nan, math.nan, math.nan)
    if np.ptp(np.concatenate([a, b])) == 0:
        return Test("Mann-Whitney", n, len(a) * len(b) / 2, math.nan, 1.0)
    found = mannwhitneyu(a, b, alternative="two-sided")
    return Test("Mann-Whitney", n, float(found.statistic), math.nan, float(found.pvalue))


def holm(p: Sequence[float]) -> list[float]:
    """p values corrected for all of them together (Holm 1979): the k-th smallest of m times m - k + 1, never falling.

    NaN stays NaN and does not count.
    """
    out = [math.nan] * len(p)
    order = sorted((i for i in range(len(p)) if not math.isnan(p[i])), key=lambda i: p[i])
    highest = 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p[i]))
        out[i] = highest
    return out
