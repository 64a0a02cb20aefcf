"""Dif-fuse: what it costs, what it tells, what it keeps, and what it refuses."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from gaussian_oracle import Counting, pixel_eps
from torch import Tensor

from braindiffusion.diffusion.inversion import invert
from braindiffusion.diffusion.schedule import CLEAN, Schedule
from braindiffusion.diffusion.steps import SharedNoise, ddpm_move, predict_clean
from braindiffusion.errors import Cancelled, SettingsError
from braindiffusion.events import Step
from braindiffusion.healing.contract import Healed
from braindiffusion.healing.dif_fuse import DifFuseSettings, dif_fuse

FUSIONS = ["joint", "independent", "cached"]


def image(n: int = 1, channels: int = 1, side: int = 8) -> Tensor:
    return torch.rand((n, channels, side, side), generator=torch.Generator().manual_seed(3))


def half(x: Tensor) -> Tensor:
    """(N,1,H,W) mask: the left half."""
    mask = torch.zeros_like(x[:, :1], dtype=torch.bool)
    mask[..., : x.shape[-1] // 2] = True
    return mask


def run(x: Tensor, mask: Tensor | None = None, model=pixel_eps, seed: int = 0, on_step=None, **settings) -> Healed:
    options = DifFuseSettings(**{"steps": 10} | settings)
    generator = torch.Generator().manual_seed(seed)
    return dif_fuse(x, half(x) if mask is None else mask, model, options, generator, on_step=on_step)


# cost


@pytest.mark.parametrize(("fusion", "calls"), [("joint", 1001), ("independent", 1501), ("cached", 1001)])
def test_a_full_run_costs_the_published_network_calls(fusion: str, calls: int) -> None:
    model = Counting()
    result = run(image(side=2), model=model, steps=None, fusion=fusion)
    assert (len(model.levels), result.calls) == (calls, calls)


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("settings", [{}, {"steps": 25}, {"fixed_point": 3}, {"samples": 3}, {"noise_level": 1}])
def test_settings_foretell_the_network_calls(fusion: str, settings: dict) -> None:
    model = Counting()
    run(image(side=2), model=model, fusion=fusion, **settings)
    assert len(model.levels) == DifFuseSettings(**{"steps": 10, "fusion": fusion} | settings).calls()


def test_the_default_of_10_steps_costs_21_calls() -> None:
    assert DifFuseSettings().calls() == 21


def test_the_network_sees_the_levels_of_the_walk_in_order() -> None:
    model = Counting()
    run(image(side=2), model=model, steps=4, noise_level=100, spacing="uniform")
    assert model.levels == [0, 25, 50, 75, 100, 75, 50, 25, 0]


def test_samples_share_the_way_up_and_the_first_step_down() -> None:
    model = Counting()
    run(image(2, side=2), model=model, steps=2, samples=3, fusion="cached")
    assert model.sizes == [2, 2, 2, 6, 6]


# progress


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("fixed_point", [0, 2])
def test_progress_is_told_once_for_each_network_call(fusion: str, fixed_point: int) -> None:
    model, steps = Counting(), []
    run(image(side=2), model=model, fusion=fusion, fixed_point=fixed_point, on_step=steps.append)
    assert [s.done for s in steps] == list(range(1, len(model.levels) + 1))
    assert {s.total for s in steps} == {len(model.levels)}


def test_progress_shows_the_clean_estimate_of_each_slice() -> None:
    steps: list[Step] = []
    run(image(2), samples=3, on_step=steps.append)
    assert {tuple(s.clean.shape) for s in steps} == {(2, 1, 8, 8)}


def test_progress_is_told_after_the_call_it_counts() -> None:
    model, seen = Counting(), []
    run(image(side=2), model=model, on_step=lambda step: seen.append((step.done, len(model.levels))))
    assert all(done == calls for done, calls in seen)


@pytest.mark.parametrize("at", [1, 7, 15])
def test_cancelling_stops_before_the_next_call(at: int) -> None:
    model = Counting()

    def stop(step: Step) -> None:
        if step.done == at:
            raise Cancelled

    with pytest.raises(Cancelled):
        run(image(side=2), model=model, on_step=stop)
    assert len(model.levels) == at


# what is kept


def test_an_empty_mask_gives_the_image_back_exactly_when_cached() -> None:
    x = image()
    assert torch.equal(run(x, torch.zeros_like(x, dtype=torch.bool), fusion="cached").samples[0], x)


@pytest.mark.parametrize("fusion", ["joint", "independent"])
def test_an_empty_mask_costs_the_round_trip_error_only(fusion: str) -> None:
    x = image()
    back = run(x, torch.zeros_like(x, dtype=torch.bool), fusion=fusion, steps=None, clip=None).samples[0]
    assert 0.0 < float((back - x).abs().mean()) < 0.02


def test_cached_fusion_keeps_every_bit_outside_the_mask() -> None:
    x = image(2)
    healed = run(x, fusion="cached", samples=2).samples
    outside = ~half(x).expand_as(healed)
    assert torch.equal(healed[outside], x.expand_as(healed)[outside])


@pytest.mark.parametrize("fusion", FUSIONS)
def test_noise_level_0_is_the_identity_and_costs_nothing(fusion: str) -> None:
    x, model = image(2), Counting()
    result = run(x, model=model, noise_level=0, fusion=fusion, samples=2)
    assert torch.equal(result.samples, x.expand(2, *x.shape))
    assert (model.levels, result.calls) == ([], 0)
    assert DifFuseSettings(noise_level=0, fusion=fusion).calls() == 0


def test_the_input_is_not_written_to() -> None:
    x = image()
    before = x.clone()
    run(x)
    assert torch.equal(x, before)


def test_the_mask_is_respected_in_each_channel() -> None:
    x = image(1, channels=2)
    mask = torch.zeros_like(x, dtype=torch.bool)
    mask[:, 0, :, :4] = True
    mask[:, 1, :4] = True
    assert torch.equal(run(x, mask, fusion="cached").samples[0] != x, mask)


def test_a_mask_of_one_channel_serves_all() -> None:
    x = image(1, channels=2)
    assert torch.equal(run(x).samples, run(x, half(x).expand_as(x)).samples)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_all_but_the_masked_pixels_stay_close(fusion: str) -> None:
    x = 0.4 + 0.1 * image()
    healed = run(x, fusion=fusion, steps=None).samples[0]
    outside = ~half(x)
    assert float((healed - x)[outside].abs().mean()) < 0.02 < float((healed - x)[~outside].abs().mean())


# what is drawn


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_full_mask_is_plain_inversion_and_ddpm(fusion: str) -> None:
    x, schedule = image(2), Schedule()
    up = [0, 25, 50, 75, 100]
    state = invert(x, pixel_eps, up, schedule)[-1]
    noise = SharedNoise(torch.Generator().manual_seed(0), (1, 8, 8))
    for level, target in pairwise([*reversed(up), CLEAN]):
        clean, _ = predict_clean(state, pixel_eps(state, level), level, schedule)
        state = ddpm_move(state, clean, noise.at(level, state)[0], level, target, schedule)
    everywhere = torch.ones_like(x, dtype=torch.bool)
    healed = run(x, everywhere, steps=4, noise_level=100, spacing="uniform", fusion=fusion).samples[0]
    assert torch.equal(healed, state)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_the_same_seed_gives_the_same_image(fusion: str) -> None:
    assert torch.equal(run(image(), fusion=fusion, seed=4).samples, run(image(), fusion=fusion, seed=4).samples)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_another_seed_gives_another_image_inside_the_mask(fusion: str) -> None:
    x = image()
    a, b = (run(x, fusion=fusion, seed=s).samples[0] for s in (4, 5))
    assert (a != b)[half(x)].all()


def test_global_random_state_is_neither_used_nor_changed() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = run(image(), samples=2).samples
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(run(image(), samples=2).samples, first)


def test_large_variance_draws_more_widely() -> None:
    """Over few large steps the two variances differ; at every level they almost agree."""
    x = torch.full((1, 1, 32, 32), 0.4)
    small, large = (run(x, steps=4, variance=v).samples[0][half(x)].std() for v in ("small", "large"))
    assert float(large) > 1.02 * float(small)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_the_result_of_a_slice_does_not_depend_on_its_batch(fusion: str) -> None:
    x = image(3)
    together = run(x, fusion=fusion, samples=2).samples
    for i in range(3):
        assert torch.equal(run(x[i : i + 1], fusion=fusion, samples=2).samples[:, 0], together[:, i])


def test_equal_slices_heal_equally() -> None:
    """Neighbouring slices share their noise, so that a volume does not flicker."""
    x = image().expand(3, -1, -1, -1)
    healed = run(x).samples[0]
    assert torch.equal(healed[0], healed[1])


def test_samples_differ_inside_and_agree_outside() -> None:
    x = image()
    a, b = run(x, samples=2, fusion="independent").samples
    assert (a != b)[half(x)].all()
    assert torch.equal(a[~half(x)], b[~half(x)])


@pytest.mark.parametrize("fusion", FUSIONS)
def test_the_first_of_several_samples_is_the_single_one(fusion: str) -> None:
    """So that asking for more samples does not change the picture (for images of a multiple of 16 pixels: torch
    redraws the last 16 normals of a tensor of any other size)."""
    assert torch.equal(run(image(2), samples=3, fusion=fusion).samples[0], run(image(2), fusion=fusion).samples[0])


# what else comes back


@pytest.mark.parametrize("fusion", ["joint", "cached"])
def test_the_reconstruction_is_the_image_where_there_is_no_second_chain(fusion: str) -> None:
    assert torch.equal(run(image(), fusion=fusion).reconstruction, image())


def test_the_reconstruction_of_independent_fusion_is_its_outside() -> None:
    x = image()
    result = run(x, fusion="independent")
    assert torch.equal(result.reconstruction[~half(x)], result.samples[0][~half(x)])
    assert not torch.equal(result.reconstruction, x)


# reference indexing


def test_reference_indexing_walks_499_levels_each_way() -> None:
    model = Counting()
    run(image(side=2), model=model, steps=None, fusion="joint", index_mode="reference")
    assert model.levels == [*range(1, 500), *range(498, -1, -1)]


def test_reference_indexing_lists_the_levels_of_the_published_loop() -> None:
    up, down = DifFuseSettings(steps=None, fusion="independent", index_mode="reference").levels()
    assert up == list(range(1, 501))
    assert down == [*range(498, -1, -1), CLEAN]


def test_reference_indexing_with_two_chains_saves_one_of_the_published_1497_calls() -> None:
    """The first call of both chains is on the same state at the same level; its answer serves both."""
    model = Counting()
    run(image(side=2), model=model, steps=None, fusion="independent", index_mode="reference")
    assert len(model.levels) == 1497 - 1


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 25, "fusion": "independent"},
        {"steps": None, "fusion": "cached"},
        {"steps": None, "fusion": "independent", "noise_level": 2},
    ],
)
def test_reference_indexing_refuses_what_was_never_published(settings: dict) -> None:
    with pytest.raises(SettingsError):
        run(image(), index_mode="reference", **settings)


@pytest.mark.parametrize("settings", [{"noise_level": -1}, {"steps": 0}])
def test_impossible_settings_are_refused(settings: dict) -> None:
    with pytest.raises(SettingsError):
        run(image(), **settings)


@pytest.mark.parametrize(
    "settings",
    [{"fusion": "cache"}, {"variance": "big"}, {"spacing": "cubic"}, {"index_mode": "theirs"}, {"noise_level": 1000},
     {"samples": 0}, {"fixed_point": -1}],
)  # fmt: skip
def test_unknown_settings_are_refused_before_the_first_call(settings: dict) -> None:
    model = Counting()
    with pytest.raises(SettingsError):
        run(image(side=2), model=model, **settings)
    assert model.levels == []


# the outline


def test_a_floor_holds_the_clean_estimate_up_while_the_outline_is_decided() -> None:
    """Without it the exact prior returns to 0.4; a floor of 0.9 down to level 100 leaves the result far above that."""
    x = image(2)
    mask = half(x)
    floor = 0.9 * mask.float()
    settings = DifFuseSettings(steps=20)

    def mean(floor: Tensor | None) -> float:
        out = dif_fuse(x, mask, pixel_eps, settings, torch.Generator().manual_seed(0), floor=floor).samples[0]
        assert torch.equal(out[~mask], x[~mask])
        return float(out[mask].mean())

    assert mean(floor) > mean(None) + 0.1
    assert mean(torch.zeros_like(floor) - 9) == mean(None)
