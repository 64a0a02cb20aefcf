"""Single steps: forward, DDPM, DDIM and its inversion, as algebra to the last digit."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from braindiffusion.diffusion.schedule import CLEAN, Schedule
from braindiffusion.diffusion.steps import SharedNoise, add_noise, ddim_move, ddpm_move, ddpm_std, predict_clean

SCHEDULE = Schedule()
LEVELS = [1, 2, 49, 250, 500, 999]


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape or (2, 1, 8, 8), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def largest(t: Tensor) -> float:
    return float(t.abs().max())


@pytest.mark.parametrize("level", [0, 500, 999])
def test_noise_is_added_with_the_schedules_weights(level: int) -> None:
    a = float(torch.from_numpy(SCHEDULE.abar)[level])
    x0, noise = normal(0), normal(1)
    assert largest(add_noise(x0, noise, level, SCHEDULE) - (a**0.5 * x0 + (1 - a) ** 0.5 * noise)) < 1e-12


def test_no_noise_is_added_at_the_clean_level() -> None:
    x0 = normal(0)
    assert torch.equal(add_noise(x0, normal(1), CLEAN, SCHEDULE), x0)


@pytest.mark.parametrize("level", LEVELS)
def test_the_clean_image_comes_back_from_its_true_noise(level: int) -> None:
    x0, noise = normal(0), normal(1)
    found, eps = predict_clean(add_noise(x0, noise, level, SCHEDULE), noise, level, SCHEDULE, clip=None)
    assert largest(found - x0) < 1e-9
    assert torch.equal(eps, noise)


@pytest.mark.parametrize("level", [0, 500, 999])
def test_a_clipped_clean_image_stays_in_its_range(level: int) -> None:
    found, _ = predict_clean(normal(0), normal(1), level, SCHEDULE, clip=(0.0, 0.5))
    assert 0.0 <= float(found.min()) <= float(found.max()) <= 0.5


@pytest.mark.parametrize("level", [0, 500, 999])
def test_clipping_derives_the_noise_again(level: int) -> None:
    x = normal(0)
    found, eps = predict_clean(x, normal(1), level, SCHEDULE, clip=(0.0, 0.5))
    assert largest(add_noise(found, eps, level, SCHEDULE) - x) < 1e-12
    assert largest(eps - normal(1)) > 1e-3


@pytest.mark.parametrize("level", LEVELS)
def test_ddpm_mean_equals_its_eps_form(level: int) -> None:
    x, eps = normal(0), normal(1)
    x0, _ = predict_clean(x, eps, level, SCHEDULE, clip=None)
    a, b = SCHEDULE.signal(level), SCHEDULE.signal(level - 1)
    alpha = a / b
    expected = (x - (1 - alpha) / math.sqrt(1 - a) * eps) / math.sqrt(alpha)
    assert largest(ddpm_move(x, x0, torch.zeros_like(x), level, level - 1, SCHEDULE) - expected) < 1e-12


@pytest.mark.parametrize("level", LEVELS)
def test_one_step_on_the_whole_schedule_has_its_own_beta(level: int) -> None:
    beta = 1e-4 + (0.02 - 1e-4) * level / 999
    a, b = SCHEDULE.signal(level), SCHEDULE.signal(level - 1)
    assert ddpm_std(level, level - 1, SCHEDULE, "large") == pytest.approx(math.sqrt(beta), rel=1e-9)
    assert ddpm_std(level, level - 1, SCHEDULE) == pytest.approx(math.sqrt(beta * (1 - b) / (1 - a)), rel=1e-9)


@pytest.mark.parametrize(("level", "target"), [(1, 0), (500, 499), (999, 998), (500, 450), (20, 0)])
def test_stochastic_ddim_with_eta_1_has_the_small_variance(level: int, target: int) -> None:
    a, b = SCHEDULE.signal(level), SCHEDULE.signal(target)
    sigma = math.sqrt((1 - b) / (1 - a)) * math.sqrt(1 - a / b)
    assert ddpm_std(level, target, SCHEDULE, "small") == pytest.approx(sigma, abs=1e-15)


@pytest.mark.parametrize(("level", "target"), [(500, 499), (500, 450), (20, 0)])
def test_ddpm_mean_equals_ddim_with_eta_1(level: int, target: int) -> None:
    x, eps = normal(0), normal(1)
    x0, _ = predict_clean(x, eps, level, SCHEDULE, clip=None)
    b, sigma = SCHEDULE.signal(target), ddpm_std(level, target, SCHEDULE)
    expected = math.sqrt(b) * x0 + math.sqrt(1 - b - sigma**2) * eps
    assert largest(ddpm_move(x, x0, torch.zeros_like(x), level, target, SCHEDULE) - expected) < 1e-12


@pytest.mark.parametrize("variance", ["small", "large"])
def test_the_last_step_adds_no_noise(variance: str) -> None:
    x, x0 = normal(0), normal(1)
    assert ddpm_std(0, CLEAN, SCHEDULE, variance) == 0.0
    assert largest(ddpm_move(x, x0, normal(2), 0, CLEAN, SCHEDULE, variance) - x0) < 1e-12


def test_noise_of_a_ddpm_step_has_the_stated_spread() -> None:
    x, x0, noise = normal(0), normal(1), normal(2)
    quiet = ddpm_move(x, x0, torch.zeros_like(x), 500, 450, SCHEDULE)
    step = ddpm_move(x, x0, noise, 500, 450, SCHEDULE) - quiet
    assert largest(step - ddpm_std(500, 450, SCHEDULE) * noise) < 1e-12


@pytest.mark.parametrize(("level", "target"), [(0, 1), (10, 11), (499, 500), (0, 25), (998, 999)])
def test_inversion_step_equals_the_printed_formula(level: int, target: int) -> None:
    x, eps = normal(0), normal(1)
    a, b = SCHEDULE.signal(level), SCHEDULE.signal(target)
    printed = x + math.sqrt(b) * (
        (math.sqrt(1 / a) - math.sqrt(1 / b)) * x + (math.sqrt(1 / b - 1) - math.sqrt(1 / a - 1)) * eps
    )
    moved = ddim_move(*predict_clean(x, eps, level, SCHEDULE, clip=None), target, SCHEDULE)
    assert largest(moved - printed) < 1e-12


def test_ddim_to_the_clean_level_is_the_clean_estimate() -> None:
    assert torch.equal(ddim_move(normal(0), normal(1), CLEAN, SCHEDULE), normal(0))


@pytest.mark.parametrize(("level", "target"), [(0, -2), (500, 1000)])
def test_steps_refuse_levels_off_the_schedule(level: int, target: int) -> None:
    with pytest.raises(IndexError):
        ddim_move(normal(0), normal(1), target, SCHEDULE)
    with pytest.raises(IndexError):
        ddpm_move(normal(0), normal(0), normal(1), level, target, SCHEDULE)


def drawn(seed: int, level: int, batch: int = 1, samples: int = 1) -> Tensor:
    noise = SharedNoise(torch.Generator().manual_seed(seed), (1, 32, 32), samples)
    return noise.at(level, torch.zeros(batch, 1, 32, 32))


def test_the_same_seed_draws_the_same_noise() -> None:
    assert torch.equal(drawn(7, 100), drawn(7, 100))


def test_another_seed_draws_other_noise() -> None:
    assert not torch.isclose(drawn(7, 100), drawn(8, 100)).any(dim=None)


def test_noise_does_not_depend_on_the_batch() -> None:
    assert torch.equal(drawn(7, 100, batch=1), drawn(7, 100, batch=5))


def test_noise_does_not_depend_on_the_order_of_levels() -> None:
    noise = SharedNoise(torch.Generator().manual_seed(7), (1, 32, 32))
    like = torch.zeros(1, 1, 32, 32)
    noise.at(300, like)
    assert torch.equal(noise.at(100, like), drawn(7, 100))


@pytest.mark.parametrize("other", [99, 101, 0, CLEAN])
def test_every_level_has_its_own_noise(other: int) -> None:
    a, b = drawn(7, 100).flatten(), drawn(7, other).flatten()
    assert abs(float(torch.corrcoef(torch.stack([a, b]))[0, 1])) < 0.15


def test_every_sample_has_its_own_noise() -> None:
    a, b = drawn(7, 100, samples=2).flatten(1)
    assert abs(float(torch.corrcoef(torch.stack([a, b]))[0, 1])) < 0.15


def test_noise_is_standard_normal() -> None:
    draws = torch.stack([drawn(3, level) for level in range(64)])
    assert float(draws.mean()) == pytest.approx(0.0, abs=0.02)
    assert float(draws.std()) == pytest.approx(1.0, abs=0.02)


def test_the_generator_is_used_once() -> None:
    used, fresh = torch.Generator().manual_seed(5), torch.Generator().manual_seed(5)
    SharedNoise(used, (1, 4, 4)).at(3, torch.zeros(1))
    torch.randint(0, 2**40, (1,), generator=fresh)
    assert torch.equal(used.get_state(), fresh.get_state())
