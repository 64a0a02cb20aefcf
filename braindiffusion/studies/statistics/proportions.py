"""Shares of right answers: exact intervals and tests; and intervals of means."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

LEVEL = 0.95


@dataclass(frozen=True)
class Share:
    """A share of ``right`` out of ``n``, its exact interval, and the exact two-sided p against one half."""

    right: int
    n: int
    value: float
    low: float
    high: float
    p: float


def share(right: int, n: int, level: float = LEVEL) -> Share:
    """The share with its exact interval (Clopper and Pearson 1934) and binomial test against one half.

    The test adds the probabilities of all counts no likelier than the one seen. Everything is NaN for ``n`` = 0.
    """
    from scipy.stats import binomtest

    if n == 0:
        return Share(0, 0, math.nan, math.nan, math.nan, math.nan)
    test = binomtest(right, n, 0.5)
    interval = test.proportion_ci(confidence_level=level, method="exact")
    return Share(right, n, right / n, float(interval.low), float(interval.high), float(test.pvalue))


def mean_interval(values: np.ndarray, level: float = LEVEL) -> tuple[float, float, float]:
    """Mean and its t interval over independent values; NaN limits for fewer than two."""
    from scipy.stats import t

    values = np.asarray(values, dtype=float)
    if values.size < 2:
        return (float(values[0]) if values.size else math.nan), math.nan, math.nan
    half = float(t.ppf((1 + level) / 2, values.size - 1) * values.std(ddof=1) / math.sqrt(values.size))
    mean = float(values.mean())
    return mean, mean - half, mean + half
