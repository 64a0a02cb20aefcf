"""Agreement between readers and within one: weighted kappa and intraclass correlation, with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Weights = Literal["none", "linear", "quadratic"]


@dataclass(frozen=True)
class Agreement:
    """A coefficient of agreement over ``n`` cases and its interval; NaN where it is not defined."""

    value: float
    low: float
    high: float
    n: int


def weighted_kappa(
    a: Sequence[object], b: Sequence[object], values: Sequence[object], weights: Weights, level: float = 0.95
) -> Agreement:
    """Cohen's kappa of two raters of the same cases.

    Standard error for a kappa other than 0 by Fleiss, Cohen and Everitt (1969), Psychological Bulletin 72:323-327.

    Args:
        a, b: ratings, each one of ``values``.
        values: all that could be given, in order; weights go by their places.
        weights: ``none`` (Cohen 1960), or disagreement growing with the distance or its square (Cohen 1968).

    Returns:
        Kappa, its normal interval cut at -1 and 1. NaN where both raters gave one and the same value throughout.
    """
    from scipy.stats import norm

    place = {v: i for i, v in enumerate(values)}
    k, n = len(values), len(a)
    if n == 0:
        return Agreement(math.nan, math.nan, math.nan, 0)
    p = np.zeros((k, k))
    np.add.at(p, ([place[v] for v in a], [place[v] for v in b]), 1 / n)
    far = np.abs(np.subtract.outer(np.arange(k), np.arange(k))) / max(1, k - 1)
    w = 1 - {"none": (far > 0).astype(float), "linear": far, "quadratic": far**2}[weights]
    rows, columns = p.sum(1), p.sum(0)
    seen, chance = float((w * p).sum()), float(rows @ w @ columns)
    if math.isclose(chance, 1):
        return Agreement(math.nan, math.nan, math.nan, n)
    kappa = (seen - chance) / (1 - chance)
    lean = (w @ columns)[:, None] + (rows @ w)[None, :]
    spread = (p * (w * (1 - chance) - lean * (1 - seen)) ** 2).sum() - (seen * chance - 2 * chance + seen) ** 2
    half = float(norm.ppf((1 + level) / 2)) * math.sqrt(max(0.0, spread) / n) / (1 - chance) ** 2
    return Agreement(kappa, max(-1.0, kappa - half), min(1.0, kappa + half), n)


def intraclass(table: np.ndarray, average: bool = False, level: float = 0.95) -> Agreement:
    """ICC(2,1) or ICC(2,k): two-way random effects, absolute agreement.

    Shrout and Fleiss (1979), Psychological Bulletin 86:420-428.

    Args:
        table: (cases, raters) without gaps.
        average: of the raters' mean (2,k) instead of a single rater (2,1).

    Returns:
        The coefficient and its F interval. NaN for fewer than two cases or raters, or where nothing varies.
    """
    from scipy.stats import f

    table = np.asarray(table, dtype=float)
    n, k = table.shape
    if n < 2 or k < 2 or np.ptp(table) == 0:
        return Agreement(math.nan, math.nan, math.nan, n)
    mean, cases, raters = table.mean(), table.mean(1), table.mean(0)
    ms_cases = k * ((cases - mean) ** 2).sum() / (n - 1)
    ms_raters = n * ((raters - mean) ** 2).sum() / (k - 1)
    rest = table - cases[:, None] - raters[None, :] + mean
    ms_error = (rest**2).sum() / ((n - 1) * (k - 1))
    single = (ms_cases - ms_error) / (ms_cases + (k - 1) * ms_error + k * (ms_raters - ms_error) / n)
    if ms_error < 1e-12 * ms_cases:  # raters differ by constants at most: the interval has no spread to build on
        low, high = math.nan, math.nan
    else:
        ratio, tail = ms_raters / ms_error, (1 + level) / 2
        own = n * (1 + (k - 1) * single) - k * single
        df = (k - 1) * (n - 1) * (k * single * ratio + own) ** 2
        df /= (n - 1) * k**2 * single**2 * ratio**2 + own**2
        upper, lower = f.ppf(tail, n - 1, df), f.ppf(tail, df, n - 1)
        both = k * ms_raters + (k * n - k - n) * ms_error
        low = n * (ms_cases - upper * ms_error) / (upper * both + n * ms_cases)
        high = n * (lower * ms_cases - ms_error) / (both + n * lower * ms_cases)
    if average:
        single, low, high = (k * r / (1 + r * (k - 1)) for r in (single, low, high))
    return Agreement(float(single), float(low), float(high), n)
