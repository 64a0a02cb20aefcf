"""Several readers, several cases: the analysis of Obuchowski and Rockette with the degrees of freedom of Hillis.

A figure of merit (mean grade, area under the ROC curve, share of right answers) is computed for each method and reader;
readers are a random factor, cases enter by the covariances of the figures of merit, estimated by leaving out one case
after the other. It assumes nothing on how grades are spread, holds for any figure of merit alike, and generalises to
other readers and other cases. A mixed model of the single grades would do so for means only, and wants them normal.

Obuchowski and Rockette (1995), Communications in Statistics - Simulation 24:285-308; Hillis (2007), Statistics in
Medicine 26:596-619; Hillis (2014), Statistics in Medicine 33:330-360.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Estimate:
    """A value with its standard error, degrees of freedom (infinite: normal) and 95 % interval."""

    value: float
    error: float
    df: float
    low: float
    high: float

    @property
    def p(self) -> float:
        """Two-sided, against 0."""
        return self.p_against(0.0)

    def p_against(self, null: float) -> float:
        """Two-sided p; 1 for a value that is the null without error, NaN where there is no error to judge by."""
        from scipy.stats import t

        if self.error == 0 and self.value == null:
            return 1.0
        if not self.error > 0:
            return math.nan
        return float(2 * t.sf(abs(self.value - null) / self.error, self.df))


@dataclass(frozen=True)
class Analysis:
    """What the analysis found.

    Attributes:
        methods: the mean over readers of each method, in order, for readers and cases drawn at random.
        these_readers: the same for these readers only: cases drawn at random.
        differences: (i, k) -> method i minus method k; ``fixed`` the same for these readers only.
        F, df1, df2, p: test that all methods are alike; NaN for one method or one reader.
        components: mean squares T, R, TR and error variance, Cov1, Cov2, Cov3.
    """

    methods: list[Estimate]
    these_readers: list[Estimate]
    differences: dict[tuple[int, int], Estimate]
    fixed: dict[tuple[int, int], Estimate]
    F: float
    df1: float
    df2: float
    p: float
    components: dict[str, float]


def estimate(value: float, variance: float, df: float, level: float = 0.95) -> Estimate:
    """A value with its t interval; the interval is NaN where the variance is."""
    from scipy.stats import t

    error = math.sqrt(max(0.0, variance)) if not math.isnan(variance) else math.nan
    half = float(t.ppf((1 + level) / 2, df)) * error if error else error
    return Estimate(value, error, df, value - half, value + half)


def jackknife(without: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Covariances of figures of merit over cases.

    Args:
        without: (F,K) each figure of merit with case k left out; its full value where it does not use case k.
        groups: (K,) cases drawn together: all the same number for the plain jackknife, else one for each kind of case
            (real, method A ...), which is then resampled by itself.

    Returns:
        (F,F) sum over groups of (n-1)/n times the sum of squares about the group's mean. A group of one adds nothing.
    """
    out = np.zeros((len(without), len(without)))
    for g in np.unique(groups):
        mine = without[:, groups == g]
        n = mine.shape[1]
        off = mine - mine.mean(1, keepdims=True)
        out += (n - 1) / n * off @ off.T
    return out


def _ddf(error: float, ms: float, df: float) -> float:
    """Hillis: degrees of freedom of an error term that holds a mean square of ``df``."""
    return df * (error / ms) ** 2 if ms > 0 else math.inf


def analyse(theta: np.ndarray, covariance: np.ndarray, case_df: float = math.inf) -> Analysis:
    """The analysis of variance of figures of merit.

    With one reader there is nothing to say of other readers: ``methods`` and ``differences`` are then those of this
    reader.

    Args:
        theta: (I,J) figure of merit of method i and reader j.
        covariance: (I*J, I*J) of the raveled ``theta``, over cases.
        case_df: degrees of freedom of the covariances; no test has more. Infinite as published; with few cases, those
            of a t test over cases.
    """
    i_count, j_count = theta.shape
    c = covariance.reshape(i_count, j_count, i_count, j_count)
    own = np.array([[c[i, :, k, :] for k in range(i_count)] for i in range(i_count)])  # (I,I,J,J)
    diagonal = np.eye(j_count, dtype=bool)
    other = ~np.eye(i_count, dtype=bool)

    def mean(values: np.ndarray) -> float:
        return float(values.mean()) if values.size else 0.0

    var = mean(np.diag(covariance))
    cov1, cov3 = mean(own[other][:, diagonal]), mean(own[other][:, ~diagonal])
    var_of = [mean(own[i, i][diagonal]) for i in range(i_count)]
    cov2_of = [mean(own[i, i][~diagonal]) for i in range(i_count)]
    cov2 = mean(np.array(cov2_of))
    rows, columns, all_mean = theta.mean(1), theta.mean(0), theta.mean()
    ms_t = j_count * float(((rows - all_mean) ** 2).sum()) / max(1, i_count - 1)
    ms_r = i_count * float(((columns - all_mean) ** 2).sum()) / max(1, j_count - 1)
    rest = theta - rows[:, None] - columns[None, :] + all_mean
    df_tr = (i_count - 1) * (j_count - 1)
    ms_tr = float((rest**2).sum()) / df_tr if df_tr else math.nan
    between = j_count * max(cov2 - cov3, 0.0)

    these = [
        estimate(float(rows[i]), (var_of[i] + (j_count - 1) * max(cov2_of[i], 0.0)) / j_count, case_df)
        for i in range(i_count)
    ]
    pairs = [(i, k) for i in range(i_count) for k in range(i + 1, i_count)]
    spread = 2 / j_count * (var - cov1 + (j_count - 1) * max(cov2 - cov3, 0.0))
    fixed = {(i, k): estimate(float(rows[i] - rows[k]), spread, case_df) for i, k in pairs}
    methods, differences = these, fixed
    big_f = df2 = p = math.nan
    if j_count > 1:
        methods = []
        for i in range(i_count):
            ms = float(((theta[i] - rows[i]) ** 2).sum()) / (j_count - 1)
            error = ms + j_count * max(cov2_of[i], 0.0)
            methods.append(estimate(float(rows[i]), error / j_count, min(case_df, _ddf(error, ms, j_count - 1))))
        if i_count > 1:
            error = ms_tr + between
            df2 = min(case_df, _ddf(error, ms_tr, df_tr))
            differences = {(i, k): estimate(float(rows[i] - rows[k]), 2 / j_count * error, df2) for i, k in pairs}
            if error > 0:
                big_f = ms_t / error
                p = _upper_f(big_f, i_count - 1, df2)
    parts = {"T": ms_t, "R": ms_r, "TR": ms_tr, "Var": var, "Cov1": cov1, "Cov2": cov2, "Cov3": cov3}
    return Analysis(methods, these, differences, fixed, big_f, float(i_count - 1), df2, p, parts)


def _upper_f(value: float, df1: float, df2: float) -> float:
    from scipy.stats import chi2, f

    return float(chi2.sf(value * df1, df1) if math.isinf(df2) else f.sf(value, df1, df2))
