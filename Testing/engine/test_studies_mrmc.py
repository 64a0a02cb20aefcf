"""Multi-reader multi-case analysis: a published example to its last digit, limits, and coverage by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import chi2, norm
from van_dyke import ratings

from braindiffusion.studies.merit import area_merit, share_interval
from braindiffusion.studies.readings import Cell
from braindiffusion.studies.statistics import roc
from braindiffusion.studies.statistics.obuchowski_rockette import Analysis, analyse, estimate, jackknife


def areas(groups_apart: bool) -> tuple[np.ndarray, np.ndarray]:
    """Areas (2,5) of the example and their covariances (10,10)."""
    positive, negative = ratings()
    theta, without = np.zeros((2, 5)), []
    for i in range(2):
        for j in range(5):
            theta[i, j] = roc.area(positive[i, j], negative[i, j])
            without.append(roc.area_without(positive[i, j], negative[i, j], np.arange(45), np.arange(45, 114), 114))
    groups = np.repeat([0, 1 if groups_apart else 0], [45, 69])
    return theta, jackknife(np.array(without), groups)


@pytest.fixture(scope="module")
def published() -> Analysis:
    """OR-DBM MRMC 2.51 (Schartz, Hillis, Pesce, Berbaum) on this data: trapezoidal areas, jackknife."""
    theta, covariance = areas(groups_apart=False)
    return analyse(theta, covariance)


def test_areas_are_those_published() -> None:
    theta, _ = areas(groups_apart=False)
    expected = [
        [0.91964573, 0.85877617, 0.90386473, 0.97310789, 0.82979066],
        [0.94782609, 0.90531401, 0.92173913, 0.99935588, 0.92995169],
    ]
    np.testing.assert_allclose(theta, expected, atol=6e-9)


def test_components_are_those_published(published: Analysis) -> None:
    expected = {
        "T": 0.00479617, "R": 0.00383620, "TR": 0.00055103, "Cov1": 0.00034661, "Cov2": 0.00034407,
        "Cov3": 0.00023903, "Var": 0.00080229,
    }  # fmt: skip
    assert published.components == pytest.approx(expected, abs=6e-9)


def test_random_readers_and_cases_as_published(published: Analysis) -> None:
    assert pytest.approx(4.46, abs=5e-3) == published.F
    assert published.df2 == pytest.approx(15.26, abs=5e-3)
    assert published.p == pytest.approx(0.0517, abs=5e-5)
    difference = published.differences[0, 1]
    assert difference.value == pytest.approx(-0.04380032, abs=6e-9)
    assert difference.error == pytest.approx(0.02075, abs=5e-6)
    assert difference.p == pytest.approx(0.0517, abs=5e-5)
    assert (difference.low, difference.high) == pytest.approx((-0.08796, 0.00036), abs=6e-6)


def test_single_treatments_as_published(published: Analysis) -> None:
    for found, error, df, low, high in zip(
        published.methods, (0.03317360, 0.02156637), (12.74, 12.71), (0.82522360, 0.89413783),
        (0.96885048, 0.98753689), strict=True,
    ):  # fmt: skip
        assert found.error == pytest.approx(error, abs=6e-9)
        assert found.df == pytest.approx(df, abs=6e-3)
        assert (found.low, found.high) == pytest.approx((low, high), abs=2e-8)


def test_fixed_readers_as_published(published: Analysis) -> None:
    fixed = published.fixed[0, 1]
    assert fixed.error == pytest.approx(0.01872, abs=5e-6)
    assert fixed.p == pytest.approx(0.0193, abs=5e-5)
    assert chi2.sf(5.47595, 1) == pytest.approx(fixed.p, abs=1e-7)
    errors = [e.error for e in published.these_readers]
    assert errors == pytest.approx([0.02428971, 0.01677632], abs=6e-9)


def test_one_reader_as_published() -> None:
    theta, covariance = areas(groups_apart=False)
    c = covariance.reshape(2, 5, 2, 5)[:, :1, :, :1].reshape(2, 2)
    found = analyse(theta[:, :1], c)
    assert found.differences[0, 1].error == pytest.approx(0.02551, abs=5e-6)
    assert found.differences[0, 1].p == pytest.approx(0.2693, abs=5e-5)
    assert math.isnan(found.p)
    assert (found.methods[0].low, found.methods[0].high) == pytest.approx((0.86060081, 0.97869066), abs=2e-8)


def test_jackknife_in_groups_is_delong() -> None:
    """DeLong, DeLong and Clarke-Pearson (1988), written out: covariances of the structural components."""
    positive, negative = ratings()
    _, covariance = areas(groups_apart=True)
    placed = np.array([roc.placements(positive[i, j], negative[i, j]) for i in range(2) for j in range(5)])
    delong = np.cov(placed.mean(2)) / 45 + np.cov(placed.mean(1)) / 69
    np.testing.assert_allclose(covariance, delong, rtol=1e-10)


def test_of_means_the_jackknife_is_the_variance_of_the_mean() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(3, 20))
    without = (values.sum(1, keepdims=True) - values) / 19
    np.testing.assert_allclose(jackknife(without, np.zeros(20)), np.cov(values) / 20, rtol=1e-10)


def test_readers_who_agree_entirely_leave_the_cases_uncertainty() -> None:
    theta = np.array([[3.0, 3.0, 3.0], [2.0, 2.0, 2.0]])
    covariance = np.kron(np.eye(2), np.full((3, 3), 0.04))
    found = analyse(theta, covariance)
    assert found.methods[0].error == pytest.approx(0.2)
    assert math.isinf(found.methods[0].df)
    assert found.differences[0, 1].error == pytest.approx(math.sqrt(0.08))


def test_without_any_spread_nothing_is_claimed() -> None:
    found = analyse(np.array([[4.0, 4.0], [0.0, 0.0]]), np.zeros((4, 4)))
    assert math.isnan(found.differences[0, 1].p)
    assert math.isnan(found.p)
    assert estimate(1.0, 0.0, math.inf).p_against(1.0) == 1.0


def test_a_subject_seen_on_both_sides_is_left_out_of_both() -> None:
    positive, negative = np.array([4, 3, 1, 5]), np.array([2, 3, 1])
    of_positive, of_negative = np.array([0, 1, 2, 2]), np.array([0, 3, 2])
    found = roc.area_without(positive, negative, of_positive, of_negative, 4)
    for k in range(4):
        expected = roc.area(positive[of_positive != k], negative[of_negative != k])
        assert found[k] == pytest.approx(expected)


def test_few_cases_bound_the_degrees_of_freedom() -> None:
    theta, covariance = areas(groups_apart=False)
    bounded = analyse(theta, covariance, case_df=5)
    assert bounded.df2 == bounded.differences[0, 1].df == bounded.fixed[0, 1].df == 5
    assert bounded.p > analyse(theta, covariance).p


def simulate(rng: np.random.Generator, gap: float) -> Analysis:
    """Three readers grade 30 shared subjects under three methods; readers and cases are drawn anew."""
    subjects, readers = 30, 3
    method = np.array([0.0, gap, 0.0])[:, None, None]
    grades = (
        2.0 + method + rng.normal(0, 0.3, (1, readers, 1)) + rng.normal(0, 0.15, (3, readers, 1))
        + rng.normal(0, 0.5, (1, 1, subjects)) + rng.normal(0, 0.4, (3, 1, subjects))
        + rng.normal(0, 0.6, (3, readers, subjects))
    )  # fmt: skip
    without = (grades.sum(2, keepdims=True) - grades) / (subjects - 1)
    return analyse(grades.mean(2), jackknife(without.reshape(9, -1), np.zeros(subjects)))


def test_intervals_cover_and_the_test_keeps_its_level() -> None:
    """Over 400 studies: 95 % intervals hold the truth in 91-99 %, equal methods differ in at most 8 %."""
    rng = np.random.default_rng(0)
    studies = [simulate(rng, 0.5) for _ in range(400)]
    held = np.mean([s.differences[0, 1].low <= -0.5 <= s.differences[0, 1].high for s in studies])
    means = np.mean([s.methods[1].low <= 2.5 <= s.methods[1].high for s in studies])
    false = np.mean([s.differences[0, 2].p <= 0.05 for s in studies])
    assert 0.91 <= held <= 0.99
    assert 0.91 <= means <= 0.99
    assert 0.01 <= false <= 0.08
    assert np.mean([s.differences[0, 1].value for s in studies]) == pytest.approx(-0.5, abs=0.03)


def test_intervals_of_areas_cover_when_real_cases_are_shared() -> None:
    """Two methods on the same 20 subjects against the same 20 real cases: the true area and the true difference."""
    rng, held, apart = np.random.default_rng(3), [], []
    level = np.array([0.0, 1.0])
    truth = norm.cdf(level / np.sqrt(2 * (0.6**2 + 0.6**2)))
    for _ in range(300):
        lean = rng.normal(0, 0.3, (3, 1))
        real = rng.normal(0, 0.6, (1, 20)) + rng.normal(0, 0.6, (3, 20)) + lean
        subjects = tuple(f"s{i}" for i in range(20))
        shared, cells = rng.normal(0, 0.4, (1, 20)), {}
        for m, mean in zip("ab", level, strict=True):
            own = rng.normal(0, np.sqrt(0.6**2 - 0.4**2), (1, 20))
            values = mean + shared + own + rng.normal(0, 0.6, (3, 20)) + lean
            cells[m] = Cell(subjects, tuple(f"{m}{s}" for s in subjects), values)
        names = tuple(f"r{i}" for i in range(20))
        both = area_merit(cells, Cell(names, names, real))
        alone = area_merit({"b": cells["b"]}, Cell(names, names, real))
        assert both is not None
        assert alone is not None
        (low, high, _, _), d = share_interval(alone, 20, ""), both.analysis.differences[0, 1]
        held.append(low <= truth[1] <= high)
        apart.append(d.low <= truth[0] - truth[1] <= d.high)
    assert 0.91 <= np.mean(held) <= 0.99
    assert 0.91 <= np.mean(apart) <= 0.99


def test_an_area_without_errors_gets_the_exact_interval() -> None:
    """20 of 20 right: Clopper and Pearson's lower limit 0.025 ** (1 / 20), sign test 2 * 0.5 ** 20."""
    names = tuple(f"s{i}" for i in range(20))
    merit = area_merit({"b": Cell(names, names, np.full((3, 20), 5.0))}, Cell(names, names, np.ones((3, 20))))
    assert merit is not None
    low, high, p, test = share_interval(merit, 20, "")
    assert (low, high, p) == pytest.approx((0.025**0.05, 1.0, 2 * 0.5**20))
    assert test == "exact binomial"
