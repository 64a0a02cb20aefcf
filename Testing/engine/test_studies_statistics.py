"""Statistics of studies against published examples, other programs and limiting cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm, t

from braindiffusion.studies.power import power_note, smallest_accuracy, smallest_auc, smallest_mean_difference
from braindiffusion.studies.protocol import load_protocol, shipped
from braindiffusion.studies.statistics.agreement import intraclass, weighted_kappa
from braindiffusion.studies.statistics.comparisons import holm, rank_sum, signed_rank
from braindiffusion.studies.statistics.proportions import mean_interval, share
from braindiffusion.studies.statistics.roc import area, curve

FIRST = [0, 1, 2, 3, 4, 4, 3, 2, 2, 1, 0, 3, 4, 2, 1, 3, 2, 4, 0, 1]
SECOND = [0, 1, 1, 3, 4, 3, 3, 2, 3, 1, 1, 3, 4, 2, 0, 2, 2, 4, 1, 1]
SHROUT_FLEISS = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]])
"""Shrout and Fleiss (1979), table 2: six targets, four judges."""


@pytest.mark.parametrize(
    ("weights", "kappa", "low", "high"),
    [
        ("none", 0.5597484276729561, 0.30055537, 0.81894149),
        ("linear", 0.7602739726027398, 0.61134511, 0.90920284),
        ("quadratic", 0.8952095808383234, 0.82254015, 0.96786788),
    ],
)
def test_kappa_as_scikit_learn_its_interval_as_statsmodels(weights: str, kappa: float, low: float, high: float) -> None:
    """scikit-learn 1.9.1 cohen_kappa_score; statsmodels 0.15.0 cohens_kappa."""
    found = weighted_kappa(FIRST, SECOND, range(5), weights)  # type: ignore[arg-type]
    assert found.value == pytest.approx(kappa, abs=1e-12)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-7 if weights != "quadratic" else 2e-5)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=40))
@settings(max_examples=40, deadline=None)
def test_kappa_and_area_as_scikit_learn_on_anything(pairs: list[tuple[int, int]]) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    a, b = ([p[k] for p in pairs] for k in (0, 1))
    for ours, theirs in (("none", None), ("linear", "linear"), ("quadratic", "quadratic")):
        found = weighted_kappa(a, b, range(5), ours).value  # type: ignore[arg-type]
        if not math.isnan(found):
            assert found == pytest.approx(metrics.cohen_kappa_score(a, b, weights=theirs, labels=range(5)), abs=1e-9)
    rated, sick = np.array(a), np.array(b) > 1
    if 0 < sick.sum() < len(sick):
        assert area(rated[sick], rated[~sick]) == pytest.approx(metrics.roc_auc_score(sick, rated))


def test_kappa_of_cohen() -> None:
    """Two raters, 50 yes-no judgements, 20 yes-yes, 15 no-no, 5 and 10 apart: the textbook's 0.4."""
    a = [1] * 25 + [0] * 25
    b = [1] * 20 + [0] * 5 + [1] * 10 + [0] * 15
    assert weighted_kappa(a, b, [0, 1], "none").value == pytest.approx(0.4)


def test_kappa_at_its_limits() -> None:
    assert weighted_kappa(FIRST, FIRST, range(5), "quadratic").value == pytest.approx(1.0)
    assert math.isnan(weighted_kappa([2, 2], [2, 2], range(5), "linear").value)
    assert math.isnan(weighted_kappa([], [], range(5), "linear").value)
    chance = weighted_kappa([0, 0, 1, 1], [0, 1, 0, 1], [0, 1], "none")
    assert chance.value == pytest.approx(0.0)
    assert chance.low < 0 < chance.high


def test_icc_of_shrout_and_fleiss() -> None:
    """Their table 4: ICC(2,1) = 0.29, ICC(2,k) = 0.62; intervals as in R's psych 2.1.9 (0.019-0.76, 0.071-0.93)."""
    single, average = intraclass(SHROUT_FLEISS), intraclass(SHROUT_FLEISS, average=True)
    assert single.value == pytest.approx(0.2897638, abs=1e-7)
    assert average.value == pytest.approx(0.6200505, abs=1e-7)
    assert (single.low, single.high) == pytest.approx((0.0188, 0.7611), abs=5e-5)
    assert (average.low, average.high) == pytest.approx((0.0711, 0.9272), abs=5e-5)


def test_icc_asks_for_absolute_agreement() -> None:
    cases = np.array([1.0, 2, 3, 4, 5])
    assert intraclass(np.stack([cases, cases], 1)).value == pytest.approx(1.0)
    assert intraclass(np.stack([cases, cases + 2], 1)).value < 0.6  # consistency would be 1
    assert math.isnan(intraclass(np.full((5, 3), 2.0)).value)
    assert math.isnan(intraclass(np.array([[1.0, 2.0]])).value)


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [
        (4, 20, 0.05733400, 0.43661400),
        (37, 50, 0.59655232, 0.85369942),
        (0, 10, 0.0, 0.30849710),
        (10, 10, 0.6915029, 1),
    ],
)
def test_exact_interval_as_statsmodels(right: int, n: int, low: float, high: float) -> None:
    """statsmodels 0.15.0 proportion_confint(method="beta"); the edges from 1 - 0.025 ** (1 / n)."""
    found = share(right, n)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-7)


def test_exact_interval_holds_what_it_promises() -> None:
    """Clopper and Pearson: for every true share at least 95 % of the counts have it in their interval."""
    n = 20
    intervals = [share(k, n) for k in range(n + 1)]
    for truth in np.linspace(0.02, 0.98, 25):
        covered = sum(binom.pmf(k, n, truth) for k in range(n + 1) if intervals[k].low <= truth <= intervals[k].high)
        assert covered >= 0.95


def test_binomial_test_against_one_half() -> None:
    assert share(9, 10).p == pytest.approx(2 * 11 / 1024)
    assert share(5, 10).p == 1.0
    assert math.isnan(share(0, 0).p)


def test_mean_interval_is_students() -> None:
    values = np.array([1.0, 2.0, 4.0, 7.0])
    mean, low, high = mean_interval(values)
    half = t.ppf(0.975, 3) * values.std(ddof=1) / 2
    assert (mean, low, high) == pytest.approx((3.5, 3.5 - half, 3.5 + half))
    assert math.isnan(mean_interval(np.array([1.0]))[1])


def test_holm_as_statsmodels_and_by_hand() -> None:
    """statsmodels 0.15.0 multipletests(method="holm")."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
    found = holm([0.01, math.nan, 0.02])
    assert math.isnan(found[1])
    assert (found[0], found[2]) == pytest.approx((0.02, 0.02))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
@settings(max_examples=60, deadline=None)
def test_holm_lies_between_uncorrected_and_bonferroni(p: list[float]) -> None:
    for raw, corrected in zip(p, holm(p), strict=True):
        assert raw <= corrected <= min(1.0, len(p) * raw) + 1e-15


def test_signed_rank_of_wilcoxon() -> None:
    """Wilcoxon (1945): Darwin's maize pairs, T = 24 of 15, exact p 0.041 (smallest rank sum 24)."""
    crossed = np.array([23.5, 12, 21, 22, 19.125, 21.5, 22.125, 20.375, 18.25, 21.625, 23.25, 21, 22.125, 23, 12])
    selfed = np.array([17.375, 20.375, 20, 20, 18.375, 18.625, 18.625, 15.25, 16.5, 18, 16.25, 18, 12.75, 15.5, 18])
    found = signed_rank(crossed, selfed)
    assert found.statistic == 24
    assert found.p == pytest.approx(0.041, abs=2e-3)
    assert found.n == "15 pairs, 15 unequal"
    assert signed_rank(crossed, crossed).p == 1.0


def test_rank_sum_is_symmetric_and_knows_no_difference() -> None:
    a, b = np.array([1.0, 2, 2, 3]), np.array([2.0, 3, 4, 4, 5])
    assert rank_sum(a, b).p == pytest.approx(rank_sum(b, a).p)
    assert rank_sum(a, a).p == 1.0
    assert rank_sum(np.ones(3), np.ones(4)).p == 1.0
    assert math.isnan(rank_sum(np.ones(3), np.array([])).p)
    tie_free = rank_sum(np.array([1.0, 2, 3]), np.array([4.0, 5, 6]))
    assert tie_free.p == pytest.approx(0.1)  # 2 of the 20 orders are as extreme


def test_area_and_curve() -> None:
    """Hanley and McNeil (1982), table I: 58 normal and 51 abnormal CT images rated 1-5, area 0.893."""
    negative = np.repeat([1, 2, 3, 4, 5], [33, 6, 6, 11, 2])
    positive = np.repeat([1, 2, 3, 4, 5], [3, 2, 2, 11, 33])
    assert area(positive, negative) == pytest.approx(0.893, abs=5e-4)
    x, y = curve(positive, negative)
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(y, x) == pytest.approx(area(positive, negative))
    assert area(positive, positive) == 0.5
    assert math.isnan(area(positive, np.array([])))


def test_power_of_the_t_test() -> None:
    """Cohen (1988), table 2.4.1: 0.5 standard deviations take 64 a group, 0.8 take 26 (two-sided 0.05, power 0.80)."""
    assert smallest_mean_difference(64) == pytest.approx(0.5, abs=3e-3)
    assert smallest_mean_difference(26) == pytest.approx(0.8, abs=1e-2)
    assert smallest_mean_difference(34, paired=0.5) == pytest.approx(0.5, abs=5e-3)
    assert smallest_mean_difference(20, sd=2) == pytest.approx(2 * smallest_mean_difference(20))
    assert math.isinf(smallest_mean_difference(1))


def test_power_of_the_binomial_test_by_counting() -> None:
    truth = smallest_accuracy(20)
    counts = [k for k in range(11, 21) if share(k, 20).p <= 0.05]
    assert sum(binom.pmf(k, 20, truth) for k in counts) == pytest.approx(0.8, abs=1e-6)
    assert math.isnan(smallest_accuracy(4))  # four of four right: p = 0.125
    assert smallest_accuracy(200) < smallest_accuracy(50)


def test_power_of_the_area_by_simulation() -> None:
    """40 and 40 normal values; without a difference the area's variance is (40 + 40 + 1) / (12 * 40 * 40)."""
    rng, shift = np.random.default_rng(0), math.sqrt(2) * norm.ppf(smallest_auc(40, 40))
    needed = 0.5 + norm.ppf(0.975) * math.sqrt(81 / (12 * 1600))
    wins = [area(rng.normal(shift, 1, 40), rng.normal(0, 1, 40)) > needed for _ in range(400)]
    assert np.mean(wins) == pytest.approx(0.8, abs=0.06)


@pytest.mark.parametrize("name", shipped())
def test_the_power_note_says_what_can_be_shown_and_when_nothing_can(name: str) -> None:
    protocol = load_protocol(name)
    cases = {"a": 20, "b": 20} | ({"real": 20} if "real" in protocol.cases and protocol.show != "pair" else {})
    note = power_note(protocol, cases, shared=True)
    *told, last = note["text"]
    assert told
    assert all("is shown with 80% power" in line for line in told)
    assert "no proof of equality" in last
    few = power_note(protocol, dict.fromkeys(cases, 1), shared=False)
    assert all("no difference can be shown" in line for line in few["text"][:-1])
    if "mean_difference" in note:
        m = len(cases) * (len(cases) - 1) // 2
        assert note["mean_difference"] == smallest_mean_difference(20, alpha=0.05 / m)
