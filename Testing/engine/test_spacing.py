"""Which levels a sampler visits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from braindiffusion.diffusion.spacing import ascending_levels
from braindiffusion.errors import SettingsError


@given(st.integers(1, 999), st.integers(1, 1200), st.sampled_from(["quadratic", "uniform"]))
def test_both_ends_are_kept(top: int, steps: int, spacing: str) -> None:
    levels = ascending_levels(top, steps, spacing)
    assert (levels[0], levels[-1]) == (0, top)


@given(st.integers(1, 999), st.integers(1, 1200), st.sampled_from(["quadratic", "uniform"]))
def test_levels_rise_and_never_repeat(top: int, steps: int, spacing: str) -> None:
    assert (np.diff(ascending_levels(top, steps, spacing)) > 0).all()


@given(st.integers(1, 999), st.integers(1, 1200), st.sampled_from(["quadratic", "uniform"]))
def test_there_are_at_most_the_steps_asked_for(top: int, steps: int, spacing: str) -> None:
    assert len(ascending_levels(top, steps, spacing)) <= steps + 1


@pytest.mark.parametrize("steps", [None, 500, 501, 5000])
def test_a_full_run_visits_every_level(steps: int | None) -> None:
    assert ascending_levels(500, steps) == list(range(501))


def test_quadratic_spacing_is_denser_near_the_clean_image() -> None:
    assert (np.diff(np.diff(ascending_levels(500, 20))) > -2).all()
    assert ascending_levels(500, 20)[10] == 125


def test_quadratic_spacing_is_the_default() -> None:
    assert ascending_levels(500, 20) == ascending_levels(500, 20, "quadratic") != ascending_levels(500, 20, "uniform")


def test_uniform_spacing_is_even() -> None:
    assert ascending_levels(500, 20, "uniform") == list(range(0, 501, 25))


def test_one_step_goes_straight_up() -> None:
    assert ascending_levels(500, 1) == [0, 500]


def test_level_0_is_a_walk_of_one() -> None:
    assert ascending_levels(0, 25) == [0]


@pytest.mark.parametrize(("top", "steps"), [(-1, 25), (-1, None), (500, 0), (500, -3)])
def test_impossible_walks_are_refused(top: int, steps: int | None) -> None:
    with pytest.raises(SettingsError):
        ascending_levels(top, steps)
