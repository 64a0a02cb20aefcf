"""The inducers with exact noise predictors: what they keep, draw and refuse. No weights."""

from __future__ import annotations

import pytest
import torch
from gaussian_oracle import pixel_eps
from inducer_scenes import KEEPING, NAMES, Answering, Told, model_for, run, scene
from torch import Tensor

from braindiffusion.diffusion.resample import resample, resampling_walk
from braindiffusion.diffusion.schedule import CLEAN, Schedule
from braindiffusion.diffusion.steps import SharedNoise, add_noise, ddpm_move, predict_clean
from braindiffusion.errors import Cancelled, SettingsError
from braindiffusion.events import Step
from braindiffusion.lesions.common import generate_mask
from braindiffusion.lesions.mededit import MedEditSettings, mededit
from braindiffusion.lesions.registry import METHODS
from braindiffusion.lesions.sdedit import SDEditSettings

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
