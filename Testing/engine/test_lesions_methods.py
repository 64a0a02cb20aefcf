"""The inducers with exact noise predictors: what they cost, keep, draw and refuse. No weights."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from gaussian_oracle import LENGTH, MEAN, SmoothPrior, pixel_eps
from torch import Tensor

from braindiffusion.diffusion.resample import network_calls, renoise, resample, resampling_walk
from braindiffusion.diffusion.schedule import CLEAN, Schedule
from braindiffusion.diffusion.steps import SharedNoise, add_noise, ddpm_move, predict_clean
from braindiffusion.errors import Cancelled, SettingsError
from braindiffusion.healing.dif_fuse import Step
from braindiffusion.lesions.common import Induced, generate_mask, kernel_of, square_dilate
from braindiffusion.lesions.mededit import MedEditSettings, mededit
from braindiffusion.lesions.registry import METHODS
from braindiffusion.lesions.sdedit import RATIOS, SDEditSettings

NAMES = list(METHODS)
KEEPING = ["mededit", "naive_repaint"]


def scene(n: int = 1, side: int = 16) -> tuple[Tensor, Tensor, Tensor]:
    """Images, a lesion of 3 x 3 pixels, and a brain that leaves a frame of 2 pixels."""
    x = torch.rand((n, 1, side, side), generator=torch.Generator().manual_seed(3))
    lesion, brain = torch.zeros_like(x, dtype=torch.bool), torch.zeros_like(x, dtype=torch.bool)
    lesion[..., 5:8, 5:8] = True
    brain[..., 2:-2, 2:-2] = True
    return x, lesion, brain


class Told:
    """A conditional predictor that remembers what it was told; its answer may depend on it."""

    def __init__(self) -> None:
        self.conditions: list[Tensor] = []
        self.levels: list[int] = []

    def __call__(self, x: Tensor, level: int, condition: Tensor) -> Tensor:
        self.conditions.append(condition)
        self.levels.append(level)
        return pixel_eps(x, level)


class Answering(Told):
    """One whose answer depends on the lesion it is told and on the state: what pairs would cancel does not."""

    def __call__(self, x: Tensor, level: int, condition: Tensor) -> Tensor:
        eps = super().__call__(x, level, condition)
        return eps * (1.0 - 0.2 * condition[:, :1].repeat(len(x) // len(condition), 1, 1, 1))


def model_for(name: str) -> Told:
    return Answering() if name == "mededit_paired" else Told()


def run(name: str, n: int = 1, model=None, seed: int = 0, on_step=None, **settings) -> Induced:
    options = {"steps": 6} | ({"kernel": 5} if METHODS[name].margin else {}) | settings
    method = METHODS[name]
    generator = torch.Generator().manual_seed(seed)
    return method.run(*scene(n), model or model_for(name), method.settings(**options), generator, on_step=on_step)


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


# --- what is kept ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KEEPING)
@pytest.mark.parametrize("settings", [{}, {"jump": 2}, {"resamples": 1}, {"harmonise": 2}, {"start": 400}])
def test_what_is_kept_is_bit_identical_and_the_rest_is_painted(name: str, settings: dict) -> None:
    x, lesion, brain = scene(2)
    result = run(name, 2, samples=2, **settings)
    g = generate_mask(lesion, brain, 5 if name == "mededit" else 1)
    assert torch.equal(result.generate, g)
    for sample in result.samples:
        assert torch.equal(sample[~g], x[~g])
        assert (sample != x)[g].all()


def test_a_mask_of_the_opposite_sense_would_keep_the_lesion() -> None:
    """The algorithm as printed: this is what the tests above would catch."""
    x, lesion, brain = scene()
    g = generate_mask(lesion, brain, 5)
    noise = SharedNoise(torch.Generator().manual_seed(0), (1, 16, 16))
    walk = resampling_walk([0, 200, 999])
    printed = resample(torch.randn(x.shape), x, ~g, pixel_eps, walk, Schedule(), noise)
    assert torch.equal(printed[g], x[g])
    assert (printed != x)[~g].all()


@pytest.mark.parametrize("name", ["sdedit", "palette"])
def test_the_others_keep_nothing(name: str) -> None:
    x, _, brain = scene()
    result = run(name)
    assert (result.samples[0] != x).all()
    assert torch.equal(result.generate, brain)


def test_the_known_part_has_the_noise_of_its_level() -> None:
    """Leaving out a square root, or a level, shows in the spread of what the model is given outside g."""
    x, lesion, brain = (v.repeat(1, 1, 8, 8) for v in scene())
    states: dict[int, Tensor] = {}

    def model(state: Tensor, level: int, condition: Tensor) -> Tensor:
        states[level] = state.clone()
        return pixel_eps(state, level)

    settings = MedEditSettings(kernel=1, steps=5, resamples=1, spacing="uniform")
    mededit(x, lesion, brain, model, settings, torch.Generator().manual_seed(0))
    for level, state in states.items():
        if level == 999:
            continue
        a = Schedule().signal(level)
        left = (state - a**0.5 * x)[~lesion]
        assert float(left.std()) == pytest.approx((1 - a) ** 0.5, rel=0.03)
        assert float(left.mean()) == pytest.approx(0, abs=0.05)


def test_the_inputs_are_not_written_to() -> None:
    x, lesion, brain = scene()
    before = [v.clone() for v in (x, lesion, brain)]
    settings = MedEditSettings(steps=3)
    mededit(x, lesion, brain, Told(), settings, torch.Generator().manual_seed(0))
    assert all(torch.equal(a, b) for a, b in zip(before, (x, lesion, brain), strict=True))


# --- the loop itself ------------------------------------------------------------------------------------------


def test_the_golden_loop() -> None:
    """MedEdit written out as in the method card, number for number."""
    x, lesion, brain = scene()
    schedule = Schedule()
    g = generate_mask(lesion, brain, 5)
    noise = SharedNoise(torch.Generator().manual_seed(0), (1, 16, 16))
    levels, resamples, step = [0, 111, 444, 999], 2, 0
    state = noise.at(-2, x)[0]
    for i in range(len(levels) - 1, -1, -1):
        level, target = levels[i], levels[i - 1] if i else CLEAN
        for u in range(resamples if i else 1):
            clean, _ = predict_clean(state, pixel_eps(state, level), level, schedule)
            unknown = ddpm_move(state, clean, noise.at(2 * step, x)[0], level, target, schedule)
            e = noise.at(2 * step + 1, x)[0]
            known = x if target == CLEAN else add_noise(x, e, target, schedule)
            state = torch.where(g, unknown, known)
            step += 1
            if i and u + 1 < resamples:
                alpha = schedule.signal(level) / schedule.signal(target)
                state = alpha**0.5 * state + (1 - alpha) ** 0.5 * noise.at(2 * step, x)[0]
                step += 1
    result = run("mededit", steps=3, resamples=2)
    torch.testing.assert_close(result.samples[0], state, rtol=0, atol=1e-6)


def test_known_before_leaves_the_last_step_as_it_came() -> None:
    x, lesion, _ = scene()
    walk = resampling_walk([0, 200, 999], 2)
    generator = torch.Generator().manual_seed(0)
    noise = SharedNoise(generator, (1, 16, 16))
    start = torch.randn(x.shape, generator=generator)
    before = resample(start, x, lesion, pixel_eps, walk, Schedule(), noise, known="before")
    assert not torch.equal(before[~lesion], x[~lesion])
    assert float((before - x)[~lesion].abs().mean()) < 0.05


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("settings", [{}, {"samples": 3}, {"steps": None}])
def test_settings_foretell_the_network_calls(name: str, settings: dict) -> None:
    model = Told()
    settings = settings | ({"resamples": 1} if settings.get("steps", 1) is None and name in KEEPING else {})
    result = run(name, model=model, **settings)
    expected = METHODS[name].settings(**{"steps": 6} | settings).calls()
    assert len(model.levels) == result.calls == expected


@pytest.mark.parametrize("settings", [{"harmonise": 2}, {"start": 500}, {"start": 500, "lift": 0.2}, {"jump": 3}])
def test_remedies_are_counted(settings: dict) -> None:
    model = Told()
    result = run("mededit", model=model, **settings)
    assert len(model.levels) == result.calls == MedEditSettings(steps=6, **settings).calls()
    assert max(model.levels) == settings.get("start", 999)


@pytest.mark.parametrize("name", NAMES)
def test_progress_is_told_once_for_each_network_call(name: str) -> None:
    steps: list[Step] = []
    result = run(name, 2, on_step=steps.append, samples=2)
    assert [s.done for s in steps] == list(range(1, result.calls + 1))
    assert {s.total for s in steps} == {result.calls}
    assert {tuple(s.clean.shape) for s in steps} == {(2, 1, 16, 16)}


@pytest.mark.parametrize("name", NAMES)
def test_cancelling_stops_before_the_next_call(name: str) -> None:
    model = Told()

    def stop(step: Step) -> None:
        if step.done == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        run(name, model=model, on_step=stop)
    assert len(model.levels) == 3


# --- what the model is told -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mededit", "naive_repaint", "sdedit"])
def test_the_network_is_told_lesion_then_brain(name: str) -> None:
    _, lesion, brain = scene(2)
    model = Told()
    run(name, 2, model=model)
    assert all(torch.equal(c, torch.cat([lesion, brain], 1).float()) for c in model.conditions)


def test_paired_mededit_tells_the_lesion_and_none() -> None:
    _, lesion, brain = scene(2)
    model = Answering()
    run("mededit_paired", 2, model=model)
    expected = torch.cat([torch.cat([lesion, lesion & False]), torch.cat([brain, brain])], 1).float()
    assert all(torch.equal(c, expected) for c in model.conditions)


def test_palette_is_told_the_slice_with_a_hole_of_noise() -> None:
    x, lesion, _ = scene(2)
    model = Told()
    run("palette", 2, model=model)
    (told,) = {id(c): c for c in model.conditions}.values()
    assert told.shape == x.shape
    assert torch.equal(told[~lesion], x[~lesion])
    assert (told != x)[lesion].all()


# --- what is drawn --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_decides(name: str) -> None:
    a, b, c = (run(name, seed=s).samples for s in (4, 4, 5))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


@pytest.mark.parametrize("name", NAMES)
def test_neighbouring_slices_that_are_equal_are_painted_equally(name: str) -> None:
    """Shared noise: a volume does not flicker from slice to slice."""
    x, lesion, brain = (v.expand(3, -1, -1, -1).contiguous() for v in scene())
    method = METHODS[name]
    out = method.run(
        x, lesion, brain, model_for(name), method.settings(steps=4), torch.Generator().manual_seed(0)
    ).samples[0]
    assert torch.equal(out[0], out[1])
    assert torch.equal(out[0], out[2])


@pytest.mark.parametrize("name", NAMES)
def test_the_result_of_a_slice_does_not_depend_on_its_batch(name: str) -> None:
    method, together = METHODS[name], run(name, 3, samples=2)
    options = method.settings(**{"steps": 6, "samples": 2} | ({"kernel": 5} if METHODS[name].margin else {}))
    for i in range(3):
        alone = [v[i : i + 1] for v in scene(3)]
        out = method.run(*alone, model_for(name), options, torch.Generator().manual_seed(0))
        assert torch.equal(out.samples[:, 0], together.samples[:, i])


@pytest.mark.parametrize("name", NAMES)
def test_samples_differ_and_the_first_is_the_single_one(name: str) -> None:
    samples = run(name, samples=3).samples
    assert not torch.equal(samples[0], samples[1])
    assert torch.equal(samples[0], run(name).samples[0])


def test_global_random_state_is_neither_used_nor_changed() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    run("mededit", harmonise=1)
    run("palette")
    assert torch.equal(torch.get_rng_state(), before)


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


# --- pairs ----------------------------------------------------------------------------------------------------


def test_a_network_that_ignores_the_lesion_leaves_the_slice_as_it_is() -> None:
    out = run("mededit_paired", 2, model=Told(), strength=3.0)
    assert torch.equal(out.samples[0], scene(2)[0])


@pytest.mark.parametrize("generators", [1, 2])
def test_a_pair_is_mededit_told_the_lesion_less_mededit_told_none(generators: int) -> None:
    x, lesion, brain = scene(2)
    options = {"kernel": 5, "steps": 6, "samples": 2}

    def noise() -> torch.Generator | list[torch.Generator]:
        made = [torch.Generator().manual_seed(7 + k) for k in range(generators)]
        return made[0] if generators == 1 else made

    def untold(state: Tensor, level: int, told: Tensor) -> Tensor:
        return Answering()(state, level, torch.cat([torch.zeros_like(told[:, :1]), told[:, 1:]], 1))

    pair = METHODS["mededit_paired"]
    got = pair.run(x, lesion, brain, Answering(), pair.settings(**options, strength=1.5), noise())
    with_, without = (
        mededit(x, lesion, brain, model, MedEditSettings(**options), noise()).samples for model in (Answering(), untold)
    )
    assert torch.allclose(got.samples, x + 1.5 * (with_ - without), atol=1e-5)
    assert float((got.samples - x)[:, lesion].abs().mean()) > 0.01
    assert torch.equal(got.generate, generate_mask(lesion, brain, 5))


def test_previews_of_a_pair_show_the_slice_with_the_difference() -> None:
    told: list[Step] = []
    out = run("mededit_paired", 2, on_step=told.append)
    assert told[-1].clean.shape == scene(2)[0].shape
    assert torch.allclose(told[-1].clean, out.samples[0], atol=1e-5)


# --- what is refused ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [{"kernel": 0}, {"resamples": 0}, {"jump": 0}, {"start": 1000}, {"harmonise": -1}, {"samples": 0},
     {"spacing": "cubic"}, {"variance": "big"}, {"harmonise_level": 1000}],
)  # fmt: skip
def test_impossible_settings_are_refused(settings: dict) -> None:
    with pytest.raises(SettingsError):
        MedEditSettings(**settings)


@pytest.mark.parametrize("ratio", [0.0, 1.1])
def test_an_impossible_ratio_is_refused(ratio: float) -> None:
    with pytest.raises(SettingsError):
        SDEditSettings(ratio=ratio)


@pytest.mark.parametrize("name", NAMES)
def test_a_mask_of_another_shape_or_type_is_refused(name: str) -> None:
    x, lesion, brain = scene()
    method = METHODS[name]
    for p, b in ((lesion.float(), brain), (lesion, brain[..., :-1])):
        with pytest.raises(ValueError, match="not bool"):
            method.run(x, p, b, Told(), method.settings(steps=2), torch.Generator())


# --- the brain's reach ----------------------------------------------------------------------------------------


def black(x: Tensor, level: int) -> Tensor:
    """The noise a network that believes in a black image would find."""
    return x / (1.0 - Schedule().signal(level)) ** 0.5


@pytest.mark.parametrize(("last", "expected"), [(200, 0.4), (50, 0.0)])
def test_a_floor_holds_until_the_outline_is_decided(last: int, expected: float) -> None:
    x, lesion, _ = scene(2)
    floor = torch.where(lesion, 0.4, 0.0)
    out = resample(
        torch.randn(x.shape, generator=torch.Generator().manual_seed(1)), x, lesion, black, [400, last, CLEAN],
        Schedule(), SharedNoise(torch.Generator().manual_seed(2), (1, 16, 16)), floor=floor,
    )  # fmt: skip
    assert torch.allclose(out[lesion], torch.full_like(out[lesion], expected), atol=1e-5)
    assert torch.equal(out[~lesion], x[~lesion])


@pytest.mark.parametrize("name", [n for n, m in METHODS.items() if m.takes_floor])
def test_methods_that_take_a_floor_pass_it_on(name: str) -> None:
    x, lesion, brain = scene()
    method, states = METHODS[name], {}
    for floor in (0.0, 0.9):

        def model(state: Tensor, level: int, told: Tensor, floor: float = floor) -> Tensor:
            states.setdefault(floor, []).append(state[:1][lesion].mean().item())
            return black(state, level)

        settings, generator = method.settings(steps=6, resamples=1), torch.Generator().manual_seed(0)
        method.run(x, lesion, brain, model, settings, generator, floor=torch.full_like(x, floor))
    assert states[0.9][0] == states[0.0][0]
    assert max(high - low for high, low in zip(states[0.9], states[0.0], strict=True)) > 0.1
