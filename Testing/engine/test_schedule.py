"""The noise schedule: published values, and levels that cannot wrap around."""

from __future__ import annotations

import numpy as np
import pytest

from braindiffusion.diffusion.schedule import CLEAN, Schedule

SPOTS = {
    0: "0.9999", 99: "0.8970", 199: "0.6590", 249: "0.5241", 498: "0.07938", 499: "0.07859", 500: "0.07780",
    749: "0.003351", 999: "4.04e-05",
}  # fmt: skip


@pytest.mark.parametrize(("level", "printed"), SPOTS.items())
def test_signal_fraction_has_the_published_value(level: int, printed: str) -> None:
    digits = len(printed.split("e")[0].replace(".", "").lstrip("0"))
    assert Schedule().signal(level) == pytest.approx(float(printed), rel=0.6 * 10 ** (1 - digits))


def test_the_level_below_0_is_the_clean_image() -> None:
    assert CLEAN == -1
    assert Schedule().signal(CLEAN) == 1.0


@pytest.mark.parametrize("level", [1000, -2, -1000, 10**6])
def test_a_level_off_the_schedule_raises(level: int) -> None:
    with pytest.raises(IndexError, match=str(level)):
        Schedule().signal(level)


def test_both_ends_of_the_schedule_are_levels() -> None:
    assert 0 < Schedule().signal(999) < Schedule().signal(0) < 1


def test_the_schedule_is_float64() -> None:
    assert Schedule().abar.dtype == np.float64


def test_signal_falls_at_every_level() -> None:
    assert (np.diff(Schedule().abar) < 0).all()


def test_a_shorter_schedule_ends_where_it_says() -> None:
    with pytest.raises(IndexError):
        Schedule(levels=10).signal(10)
