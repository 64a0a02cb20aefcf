"""Latent healing on the exact predictor: the divergence against its formula, what it finds, what it leaves alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from gaussian_oracle import MEAN, SPREAD, pixel_eps
from torch import Tensor
from torch.nn import functional as F

from braindiffusion.diffusion.schedule import Schedule
from braindiffusion.diffusion.steps import add_noise
from braindiffusion.errors import SettingsError
from braindiffusion.healing.latent import (
    LatentSettings,
    cells_of,
    divergence,
    latent,
    latent_mask,
    score_latents,
    smoothed,
)

SCHEDULE = Schedule()
LEVEL = 3e-4
"""Healthy cells of this prior stay below 1.1e-4, the lesion's reach 8e-4."""
QUICK = LatentSettings(steps=10, level=LEVEL, band=(400, 600), smoothing=0)


def g(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Quarter:
    """Latents are means of 4 x 4 pixels; back, each fills its cell."""

    def encode(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 4)

    def decode(self, z: Tensor) -> Tensor:
        return F.interpolate(z, scale_factor=4)


def healthy(n: int = 2, side: int = 32) -> Tensor:
    """Slices whose cells are draws of the prior that the predictor knows."""
    return Quarter().decode((MEAN + SPREAD * torch.randn((n, 1, side // 4, side // 4), generator=g(5))).clamp(0, 1))


def with_lesion(x: Tensor) -> Tensor:
    out = x.clone()
    out[..., 8:16, 12:20] = 1.6  # far outside the prior: two by two cells
    return out


def run(x: Tensor, mask: Tensor | None = None, settings: LatentSettings = QUICK, seed: int = 0) -> Tensor:
    everywhere = torch.ones_like(x, dtype=torch.bool)
    return latent(x, everywhere if mask is None else mask, pixel_eps, settings, g(seed), coder=Quarter()).samples


def test_the_divergence_is_that_of_two_gaussians() -> None:
    """Against torch.distributions, the means by DDPM's eq. 7 written out."""
    z0, t = torch.randn((1, 2, 3, 3), generator=g(1)), 480
    z = add_noise(z0, torch.randn(z0.shape, generator=g(2)), t, SCHEDULE)
    found, clean = divergence(z0, z, pixel_eps, t, SCHEDULE)
    a, b = float(SCHEDULE.abar[t]), float(SCHEDULE.abar[t - 1])
    beta = 1 - a / b

    def mean(x0: Tensor) -> Tensor:
        return b**0.5 * beta / (1 - a) * x0 + (1 - beta) ** 0.5 * (1 - b) / (1 - a) * z

    sigma = torch.full_like(z0, (beta * (1 - b) / (1 - a)) ** 0.5)
    q, p = (torch.distributions.Normal(mean(x), sigma) for x in (z0, clean))
    torch.testing.assert_close(found, torch.distributions.kl_divergence(q, p), rtol=1e-4, atol=1e-7)


def all_cells(z: Tensor) -> Tensor:
    return torch.ones_like(z[:, :1], dtype=torch.bool)


def test_smoothing_stays_in_the_brain_and_keeps_what_is_even() -> None:
    cells = torch.rand((2, 1, 9, 7), generator=g(4)) > 0.4
    even = smoothed(torch.full((2, 1, 9, 7), 0.3), cells, 1.5)
    torch.testing.assert_close(even, 0.3 * cells.float())
    score = torch.rand((2, 1, 9, 7), generator=g(5))
    elsewhere = torch.where(cells, score, torch.full_like(score, 100.0))
    torch.testing.assert_close(smoothed(elsewhere, cells, 1.5), smoothed(score, cells, 1.5))
    assert torch.equal(smoothed(score, cells, 0.0), score * cells)
    blurred = smoothed(score, torch.ones_like(cells), 1.5)
    assert float(blurred.std()) < 0.6 * float(score.std())
    assert not smoothed(score, torch.zeros_like(cells), 1.5).any()


def test_an_outlier_has_the_highest_score_wherever_it_lies() -> None:
    z0 = healthy(4, 64)[..., ::4, ::4].clone()
    where = torch.zeros_like(z0, dtype=torch.bool)
    for n in range(4):
        where[n, 0, 3 * n, 15 - 4 * n] = True
    z0[where] = 1.6
    score = score_latents(z0, all_cells(z0), pixel_eps, LatentSettings(smoothing=0), g(), SCHEDULE)
    assert score.shape == (4, 1, 16, 16)
    assert float(score[where].min()) > 3 * float(score[~where].max())


def test_the_score_is_the_mean_over_channels_and_levels() -> None:
    z0 = torch.randn((1, 3, 4, 4), generator=g(3))
    settings = LatentSettings(band=(450, 450), looks=1)
    whole = score_latents(z0, all_cells(z0), pixel_eps, settings, g(), SCHEDULE)
    levels: list[int] = []

    def listen(z: Tensor, level: int) -> Tensor:
        levels.append(level)
        return pixel_eps(z, level)

    score_latents(z0, all_cells(z0), listen, LatentSettings(), g(), SCHEDULE)
    assert levels == [500, 550, 600, 650, 700]
    thrice = LatentSettings(band=(450, 450), looks=3)
    twice = score_latents(z0, all_cells(z0), pixel_eps, thrice, g(), SCHEDULE)
    torch.testing.assert_close(whole, twice)  # three looks at one level are one


def test_a_lesion_is_found_and_healed_and_the_rest_is_bit_identical() -> None:
    x = with_lesion(healthy())
    out = run(x)[0]
    lesion = torch.zeros_like(x, dtype=torch.bool)
    lesion[..., 8:16, 12:20] = True
    assert float(out[lesion].mean()) < 1.0
    far = torch.ones_like(lesion)
    far[..., 4:20, 8:24] = False  # a cell around it: the mask's border is soft
    assert torch.equal(out[far], x[far])


def test_healthy_slices_are_left_alone() -> None:
    x = healthy()
    assert torch.equal(run(x)[0], x)


def test_an_empty_mask_leaves_the_slice_and_half_a_mask_its_other_half() -> None:
    x = with_lesion(healthy())
    nowhere = torch.zeros_like(x, dtype=torch.bool)
    for settings in (QUICK, LatentSettings(steps=10, smoothing=0)):
        assert torch.equal(run(x, nowhere, settings)[0], x)
    half = nowhere.clone()
    half[..., :16] = True
    out = run(x, half)[0]
    assert torch.equal(out[~half], x[~half])
    assert not torch.equal(out, x)


def test_without_noise_nothing_changes_at_no_call() -> None:
    x = with_lesion(healthy())
    result = latent(x, x > 0, pixel_eps, LatentSettings(noise_level=0), g(), coder=Quarter())
    assert torch.equal(result.samples[0], x)
    assert result.calls == LatentSettings(noise_level=0).calls() == 0


def test_without_a_level_each_slice_gives_up_the_same_share() -> None:
    score = torch.rand((3, 1, 20, 20), generator=g(4))
    cells = torch.zeros((3, 1, 20, 20), dtype=torch.bool)
    cells[:2, :, 5:15, 5:15] = True
    found = latent_mask(score, cells, None)
    assert found.sum((1, 2, 3)).tolist() == [10, 10, 0]  # 10 % of 100 cells; no cell, none
    assert not (found & ~cells).any()


def test_a_cell_belongs_to_a_mask_that_covers_half_of_it() -> None:
    mask = torch.zeros((1, 1, 8, 8), dtype=torch.bool)
    mask[..., :2, :4] = True  # half of the first cell
    mask[..., 4:8, 4:5] = True  # a quarter of the last
    assert cells_of(mask, torch.zeros(1, 1, 2, 2)).flatten().tolist() == [True, False, False, False]


def test_samples_differ_inside_only() -> None:
    x = with_lesion(healthy(1))
    samples = run(x, settings=replace(QUICK, samples=3))
    assert samples.shape == (3, *x.shape)
    spread = samples.std(0)
    assert float(spread.max()) > 0.01
    assert float(spread[..., 24:].max()) == 0


def test_the_last_preview_shows_what_was_healed() -> None:
    x, told = with_lesion(healthy(1)), []
    latent(x, x > -1, pixel_eps, QUICK, g(), on_step=told.append, coder=Quarter())
    assert [s.done for s in told] == list(range(1, QUICK.calls() + 1))
    assert torch.equal(told[0].clean, x)
    assert told[-1].clean.shape == x.shape
    assert float(told[-1].clean[..., 8:16, 12:20].mean()) < 1.0


@pytest.mark.parametrize("band", [(0, 600), (600, 400), (400, 1000)])
def test_an_impossible_band_is_refused(band: tuple[int, int]) -> None:
    with pytest.raises(SettingsError, match="levels"):
        LatentSettings(band=band)
