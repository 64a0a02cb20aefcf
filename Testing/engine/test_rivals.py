"""Ablations and rivals of Dif-fuse on the exact Gaussian predictor: what they cost, keep and change."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from gaussian_oracle import Counting, SmoothPrior, pixel_eps
from torch import Tensor

from braindiffusion.diffusion.inversion import invert
from braindiffusion.diffusion.schedule import CLEAN, Schedule
from braindiffusion.diffusion.steps import ddim_move, predict_clean
from braindiffusion.errors import Cancelled, SettingsError
from braindiffusion.healing.ablations import AblationSettings, without_mask
from braindiffusion.healing.anoddpm import AnoDDPMSettings, anoddpm
from braindiffusion.healing.autoddpm import AutoDDPMSettings, autoddpm, misfit, structural_similarity
from braindiffusion.healing.classifier_free import HEALTHY, UNLABELLED, ClassifierFreeSettings, classifier_free
from braindiffusion.healing.denoising_ae import DenoisingAESettings, denoising_ae
from braindiffusion.healing.guided import GuidedSettings, guided, towards_healthy
from braindiffusion.healing.latent import LatentSettings, latent
from braindiffusion.healing.registry import METHODS, method_named
from braindiffusion.healing.repaint import RePaintSettings, repaint
from braindiffusion.settings import HealSettings


def g(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def prior() -> SmoothPrior:
    return SmoothPrior.make()


def image(n: int = 2, side: int = 16) -> Tensor:
    return 0.2 + 0.4 * torch.rand((n, 1, side, side), generator=g(3))


def left(x: Tensor) -> Tensor:
    mask = torch.zeros_like(x, dtype=torch.bool)
    mask[..., : x.shape[-1] // 2] = True
    return mask


def no_opinion(x: Tensor, level: Tensor) -> Tensor:
    return torch.zeros(len(x), 2) + 0 * x.sum((1, 2, 3))[:, None]


class Labelled(Counting):
    """A predictor of classes that remembers what it was told; the healthy are darker by ``darker``."""

    def __init__(self, darker: float = 0.0) -> None:
        super().__init__()
        self.labels: list[int] = []
        self.darker = darker

    def __call__(self, x: Tensor, level: int, label: int = -1) -> Tensor:
        self.labels.append(label)
        return super().__call__(x + (self.darker if label == HEALTHY else 0.0), level)


class SameCoder:
    """Latents that are the pixels themselves."""

    def encode(self, x: Tensor) -> Tensor:
        return x

    decode = encode


RIVALS = {
    "ddpm": (without_mask, AblationSettings(up="noise", steps=None), {}),
    "ddim_ddpm": (without_mask, AblationSettings(steps=None), {}),
    "mask_at_end": (without_mask, AblationSettings(steps=None, mask_at_end=True), {}),
    "repaint": (repaint, RePaintSettings(), {}),
    "anoddpm": (anoddpm, AnoDDPMSettings(), {}),
    "autoddpm": (autoddpm, AutoDDPMSettings(), {}),
    "guided": (guided, GuidedSettings(steps=10), {"classifier": no_opinion}),
    "latent": (latent, LatentSettings(), {"coder": SameCoder()}),
}
CALLS = {
    "ddpm": 501, "ddim_ddpm": 1001, "mask_at_end": 1001, "repaint": 2410, "anoddpm": 101, "autoddpm": 452, "guided": 31,
    "latent": 506,
}  # fmt: skip


@pytest.mark.parametrize("name", list(RIVALS))
def test_settings_foretell_the_network_calls(name: str) -> None:
    healer, settings, further = RIVALS[name]
    model, told = Counting(), []
    x = image(side=8)
    result = healer(x, left(x), model, settings, g(), on_step=told.append, **further)
    assert len(model.levels) == result.calls == settings.calls() == CALLS[name]
    assert [step.done for step in told] == list(range(1, CALLS[name] + 1))
    assert told[0].clean.shape == x.shape


@pytest.mark.parametrize("name", list(RIVALS))
def test_a_listener_can_stop_it(name: str) -> None:
    healer, settings, further = RIVALS[name]

    def stop(_: object) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        healer(image(), left(image()), pixel_eps, settings, g(), on_step=stop, **further)


@pytest.mark.parametrize("name", [n for n in RIVALS if n != "guided"])
def test_the_seed_decides(name: str) -> None:
    healer, settings, further = RIVALS[name]
    x = image(1, 8)
    first, again, other = (healer(x, left(x), pixel_eps, settings, g(s), **further).samples for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_ddim_both_ways_is_a_reconstruction_that_keeps_the_lesion(prior: SmoothPrior) -> None:
    settings = AblationSettings(up="invert", down="ddim", steps=None)
    out = without_mask(prior.lesion, prior.mask, prior.eps, settings, g()).samples[0]
    change = (out - prior.lesion).abs()
    assert float(change[~prior.mask].mean()) < 0.02
    assert float(change[prior.mask].mean()) < 0.1  # the lesion stands 0.5 above the rest


def test_without_its_mask_the_healthy_rest_is_drawn_anew(prior: SmoothPrior) -> None:
    """The plain ablation changes what is outside the mask by a tenth of the range; that is what the mask is for."""
    out = without_mask(prior.lesion, prior.mask, prior.eps, AblationSettings(up="noise", steps=None), g()).samples[0]
    assert 0.05 < float((out - prior.lesion).abs()[~prior.mask].mean()) < 0.25


@pytest.mark.parametrize("name", ["mask_at_end", "repaint", "autoddpm"])
def test_those_with_a_mask_keep_the_rest_to_the_bit(name: str) -> None:
    healer, settings, further = RIVALS[name]
    x = image()
    out = healer(x, left(x), pixel_eps, settings, g(), **further).samples[0]
    assert torch.equal(out[~left(x)], x[~left(x)])


def test_repaint_removes_the_lesion(prior: SmoothPrior) -> None:
    out = repaint(prior.lesion, prior.mask, prior.eps, RePaintSettings(), g()).samples[0]
    bright = prior.lesion[prior.mask].mean()
    assert float(out[prior.mask].mean()) < float(bright) - 0.1


def test_the_misfit_is_where_the_images_differ() -> None:
    x = image(1, 32)
    y = x.clone()
    y[..., 10:16, 10:16] += 0.4
    score = misfit(x, y)
    assert float(score[..., 11:15, 11:15].min()) > 0.13
    assert float(score[..., 24:, 24:].max()) < 1e-6
    assert torch.allclose(structural_similarity(x, x), torch.ones_like(x), atol=1e-5)


def test_guidance_climbs_towards_healthy() -> None:
    def bright_is_ill(x: Tensor, level: Tensor) -> Tensor:
        return torch.stack([torch.zeros(len(x)), x.mean((1, 2, 3))], 1)

    x = image(2, 8)
    assert bool((towards_healthy(x, 100, bright_is_ill) < 0).all())
    plain = guided(x, left(x), pixel_eps, GuidedSettings(steps=20), g(), classifier=no_opinion).samples
    pushed = guided(x, left(x), pixel_eps, GuidedSettings(steps=20), g(), classifier=bright_is_ill).samples
    assert float(pushed.mean()) < float(plain.mean())


def test_classifier_free_guidance_goes_up_without_a_label_and_down_with_both() -> None:
    x, model, told = image(2, 8), Labelled(), []
    settings = ClassifierFreeSettings(steps=10)
    result = classifier_free(x, left(x), model, settings, g(), on_step=told.append)
    assert len(model.labels) == result.calls == settings.calls() == 42
    assert model.labels == [UNLABELLED] * 20 + [UNLABELLED, HEALTHY] * 11  # each step up is refined once
    assert [step.done for step in told] == [*range(1, 21), *range(22, 43, 2)]


def test_guidance_costs_what_was_published_at_every_level() -> None:
    assert GuidedSettings(noise_level=500).calls() == 1001
    assert ClassifierFreeSettings(noise_level=500).calls() == 1502
    assert GuidedSettings(noise_level=500, steps=10).calls() == 31
    assert GuidedSettings(noise_level=500, steps=10, fixed_point=0).calls() == 21


def test_refined_steps_bring_the_slice_back(prior: SmoothPrior) -> None:
    """Without guidance the way up and down is the identity; ten plain steps miss it."""

    def error(fixed_point: int | None) -> float:
        settings = GuidedSettings(noise_level=500, steps=10, fixed_point=fixed_point, guidance=0.0)
        out = guided(prior.lesion, prior.mask, prior.eps, settings, g(), classifier=no_opinion).samples[0]
        return float((out - prior.lesion).abs().mean())

    assert error(None) == error(1) < 0.8 * error(0)


def test_guidance_of_strength_one_is_the_healthy_class_alone() -> None:
    """The convention: eps_0 + s (eps_h - eps_0). At s = 1 down is plain DDIM with the label, at 0 without it."""
    x, darker = image(2, 8), Labelled(0.3)

    def healed(guidance: float) -> Tensor:
        return classifier_free(x, left(x), darker, ClassifierFreeSettings(steps=20, guidance=guidance), g()).samples

    plain = guided(x, left(x), pixel_eps, GuidedSettings(steps=20), g(), classifier=no_opinion).samples
    assert torch.equal(healed(0.0), plain)
    ground = [float(healed(s).mean()) for s in (0.0, 1.0, 3.0)]
    assert ground[0] > ground[1] > ground[2]
    levels = GuidedSettings(steps=20).levels()
    state = invert(x, pixel_eps, levels, Schedule(), fixed_point=1)[-1]
    for level, target in pairwise([*reversed(levels), CLEAN]):
        clean, eps = predict_clean(state, darker(state, level, HEALTHY), level, Schedule())
        state = ddim_move(clean, eps, target, Schedule())
    torch.testing.assert_close(healed(1.0)[0], state, atol=1e-4, rtol=0)


def test_a_guided_method_draws_nothing() -> None:
    for settings in (GuidedSettings, ClassifierFreeSettings):
        with pytest.raises(SettingsError, match="draws nothing"):
            settings(samples=2)


def test_simplex_noise_reaches_the_level_it_should() -> None:
    """The state that AnoDDPM starts from has the variance that the schedule promises."""
    seen: list[Tensor] = []

    def listen(x: Tensor, level: int) -> Tensor:
        seen.append(x)
        return torch.zeros_like(x)

    x = torch.zeros((1, 1, 64, 64))
    anoddpm(x, left(x), listen, AnoDDPMSettings(noise_level=400, steps=1), g())
    assert float(seen[0].std()) == pytest.approx((1 - Schedule().signal(400)) ** 0.5, rel=1e-3)


def test_the_denoising_autoencoder_is_one_call() -> None:
    x = image()
    out = denoising_ae(x, left(x), torch.nn.Identity(), DenoisingAESettings(samples=2), g())
    assert out.calls == 1
    assert torch.equal(out.samples, x[None].repeat(2, 1, 1, 1, 1))


@pytest.mark.parametrize("name", list(METHODS))
def test_a_registered_method_takes_what_it_shares_and_keeps_what_is_its_own(name: str) -> None:
    method = METHODS[name]
    own = method.settings(**method.fixed)
    assert method.options(HealSettings(variance="large", steps=4)).samples == 1
    if not hasattr(own, "noise_level"):
        with pytest.raises(SettingsError, match="has no noise_level"):
            method.options(HealSettings(noise_level=40))
        return
    options = method.options(HealSettings(noise_level=40, steps=4))
    assert options.noise_level == 40
    assert {k: getattr(options, k) for k in method.fixed} == dict(method.fixed)
    assert method.options(HealSettings()).noise_level == own.noise_level  # its own, not another method's
    assert getattr(options, "steps", 4) == 4


def test_what_was_tuned_gives_way_to_what_is_asked_for() -> None:
    method, tuned = METHODS["guided"], {"noise_level": 250, "guidance": 30.0, "threshold": 0.2, "unknown": 1}
    assert method.options(HealSettings(), tuned).noise_level == 250
    options = method.options(HealSettings(noise_level=300), tuned)
    assert (options.noise_level, options.guidance) == (300, 30.0)
    with pytest.raises(SettingsError, match="has no guidance"):
        METHODS["dif_fuse"].options(HealSettings(guidance=2.0))


def test_an_unknown_method_is_refused_with_those_there_are() -> None:
    with pytest.raises(SettingsError, match="dif_fuse"):
        method_named("wishful")
