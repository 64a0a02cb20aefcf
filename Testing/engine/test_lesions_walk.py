"""The resampling walk and the generate mask: what they cost, where they reach, and how well they close the seam."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from gaussian_oracle import LENGTH, MEAN, SmoothPrior
from inducer_scenes import Told, run, scene
from torch import Tensor

from braindiffusion.diffusion.resample import network_calls, renoise, resampling_walk
from braindiffusion.diffusion.schedule import CLEAN, Schedule
from braindiffusion.diffusion.steps import add_noise
from braindiffusion.errors import SettingsError
from braindiffusion.lesions.common import generate_mask, kernel_of, square_dilate
from braindiffusion.lesions.mededit import MedEditSettings, mededit
from braindiffusion.lesions.registry import METHODS
from braindiffusion.lesions.sdedit import RATIOS

# --- the walk -------------------------------------------------------------------------------------------------


def test_mededit_as_published_costs_3997_calls() -> None:
    assert MedEditSettings(steps=None).calls() == 999 * 4 + 1 == 3997


def test_repaint_as_published_walks_2410_down_and_2160_up() -> None:
    walk = resampling_walk(range(250), resamples=10, jump=10)
    ups = sum(b > a for a, b in pairwise(walk))
    assert (len(walk), network_calls(walk), ups) == (4571, 2410, 2160)


@pytest.mark.parametrize(
    ("name", "settings", "calls"),
    [("naive_repaint", {}, 999 * 3 + 1), ("palette", {}, 1000), ("sdedit", {"ratio": RATIOS["stroke"]}, 200),
     ("sdedit", {"ratio": RATIOS["tumour"]}, 600)],
)  # fmt: skip
def test_the_others_cost_what_was_published(name: str, settings: dict, calls: int) -> None:
    assert METHODS[name].settings(steps=None, **settings).calls() == calls


def test_a_walk_of_one_jump_takes_each_step_u_times_and_the_last_once() -> None:
    assert resampling_walk([0, 5, 9], resamples=2) == [9, 5, 9, 5, 0, 5, 0, CLEAN]


def test_a_walk_with_jumps_climbs_what_it_came_down() -> None:
    assert resampling_walk([0, 1, 2, 3, 4], resamples=2, jump=2) == [4, 3, 2, 3, 4, 3, 2, 1, 0, 1, 2, 1, 0, CLEAN]


def test_without_resampling_a_walk_goes_straight_down() -> None:
    assert resampling_walk(range(4)) == [3, 2, 1, 0, CLEAN]


@pytest.mark.parametrize("settings", [{"resamples": 0}, {"jump": 0}])
def test_an_impossible_walk_is_refused(settings: dict) -> None:
    with pytest.raises(SettingsError):
        resampling_walk(range(5), **settings)


def test_going_back_up_restores_the_marginal() -> None:
    """A state of level 300 lifted to 400 has the mean and spread the forward process has at 400."""
    schedule, n = Schedule(), 200_000
    g = torch.Generator().manual_seed(0)
    low = add_noise(torch.full((n,), 0.8), torch.randn(n, generator=g), 300, schedule)
    high = renoise(low, torch.randn(n, generator=g), 300, 400, schedule)
    a = schedule.signal(400)
    assert float(high.mean()) == pytest.approx(0.8 * a**0.5, abs=0.01)
    assert float(high.std()) == pytest.approx((1 - a) ** 0.5, abs=0.01)


# --- the generate mask ----------------------------------------------------------------------------------------


def test_a_kernel_of_25_grows_a_pixel_to_25_by_25() -> None:
    lesion = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    lesion[0, 0, 30, 33] = True
    rows, columns = torch.nonzero(square_dilate(lesion, 25)[0, 0], as_tuple=True)
    assert len(rows) == 25 * 25
    assert (int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max())) == (18, 42, 21, 45)


def test_an_even_kernel_reaches_one_further_up_and_left() -> None:
    lesion = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    lesion[0, 0, 32, 32] = True
    rows, columns = torch.nonzero(square_dilate(lesion, 20)[0, 0], as_tuple=True)
    assert (int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max())) == (22, 41, 22, 41)


def test_growing_stops_at_the_edge_of_the_image_and_of_the_brain() -> None:
    _, lesion, brain = scene()
    assert torch.equal(generate_mask(lesion, brain, 25), brain)


def test_a_margin_in_millimetres_becomes_the_published_kernel() -> None:
    assert kernel_of(22.5, 1.875) == 25
    assert kernel_of(0.0, 1.875) == 1
    assert kernel_of(22.5, 0.9375) == 49


def test_naive_repaint_paints_the_lesion_only() -> None:
    assert torch.equal(run("naive_repaint").generate, scene()[1])


def test_dropping_the_brain_would_show() -> None:
    x, _, brain = scene()
    changed = run("mededit", kernel=25).samples[0] != x
    assert torch.equal(changed, brain)


# --- how good it is: the exact conditional of a Gaussian prior -------------------------------------------------


def seam(steps: int | None, resamples: int, spacing: str = "quadratic") -> float:
    """Root mean square jump at the edge of what is painted, of 64 draws from a smooth prior; exact: 0.010."""
    prior = SmoothPrior.make()

    def model(x: Tensor, level: int, condition: Tensor) -> Tensor:
        return prior.eps(x, level)

    settings = MedEditSettings(kernel=1, steps=steps, resamples=resamples, spacing=spacing, samples=64, clip=None)  # type: ignore[arg-type]
    brain = torch.ones_like(prior.mask)
    out = mededit(prior.healthy, prior.mask, brain, model, settings, torch.Generator().manual_seed(0)).samples
    values = out.reshape(64, LENGTH)
    return float((values[:, 25] - values[:, 24]).square().mean().sqrt())


def test_resampling_closes_the_seam() -> None:
    once, four = seam(15, 1), seam(15, 4)
    assert four < 0.75 * once


def test_the_default_of_15_steps_has_the_seam_of_the_full_walk() -> None:
    """61 calls against 3,997: the full walk's 0.031 was measured once, it takes too long to repeat here."""
    assert seam(15, 4) < 1.1 * 0.031


def test_quadratic_spacing_beats_uniform() -> None:
    assert seam(15, 4) < 0.75 * seam(15, 4, "uniform")


def test_a_late_start_stays_near_the_image() -> None:
    x, lesion, brain = scene()
    x = torch.full_like(x, MEAN + 0.3)
    far, near = (
        mededit(x, lesion, brain, Told(), MedEditSettings(kernel=5, steps=8, start=s, resamples=1, samples=16),
                torch.Generator().manual_seed(0)).samples[:, lesion].mean()
        for s in (999, 20)
    )  # fmt: skip
    assert abs(float(near) - (MEAN + 0.3)) < 0.5 * abs(float(far) - (MEAN + 0.3))


def test_a_late_start_can_begin_from_a_brighter_lesion() -> None:
    x, lesion, brain = scene()
    options = MedEditSettings(kernel=5, steps=8, start=20, resamples=1, samples=16, lift=0.4)
    out = mededit(x, lesion, brain, Told(), options, torch.Generator().manual_seed(0)).samples
    plain = mededit(x, lesion, brain, Told(), replace(options, lift=0.0), torch.Generator().manual_seed(0)).samples
    assert float((out - plain)[:, lesion].mean()) > 0.2
    assert float((out - plain)[:, brain & ~lesion].abs().max()) < 1e-5
