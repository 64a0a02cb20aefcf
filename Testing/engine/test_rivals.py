"""Ablations and rivals of Dif-fuse on the exact Gaussian predictor: what they cost, keep and change."""

from __future__ import annotations

import pytest
import torch
from gaussian_oracle import Counting, SmoothPrior, pixel_eps
from torch import Tensor

from braindiffusion.diffusion.schedule import Schedule
from braindiffusion.errors import Cancelled, SettingsError
from braindiffusion.healing.ablations import AblationSettings, without_mask
from braindiffusion.healing.anoddpm import AnoDDPMSettings, anoddpm
from braindiffusion.healing.autoddpm import AutoDDPMSettings, autoddpm, misfit, structural_similarity
from braindiffusion.healing.denoising_ae import DenoisingAESettings, denoising_ae
from braindiffusion.healing.guided import GuidedSettings, guided, towards_healthy
from braindiffusion.healing.registry import METHODS, method_named
from braindiffusion.healing.repaint import RePaintSettings, repaint
from braindiffusion.stages import HealSettings


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


RIVALS = {
    "ddpm": (without_mask, AblationSettings(up="noise", steps=None), {}),
    "ddim_ddpm": (without_mask, AblationSettings(steps=None), {}),
    "mask_at_end": (without_mask, AblationSettings(steps=None, mask_at_end=True), {}),
    "repaint": (repaint, RePaintSettings(), {}),
    "anoddpm": (anoddpm, AnoDDPMSettings(), {}),
    "autoddpm": (autoddpm, AutoDDPMSettings(), {}),
    "guided": (guided, GuidedSettings(steps=10), {"classifier": no_opinion}),
}
CALLS = {
    "ddpm": 501, "ddim_ddpm": 1001, "mask_at_end": 1001, "repaint": 2410, "anoddpm": 101, "autoddpm": 452, "guided": 21,
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
    with pytest.raises(SettingsError):
        GuidedSettings(samples=2)


def test_simplex_noise_reaches_the_level_it_should() -> None:
    """The state that AnoDDPM starts from has the variance that the schedule promises."""
    seen: list[Tensor] = []

    def listen(x: Tensor, level: int) -> Tensor:
        seen.append(x)
        return torch.zeros_like(x)

    x = torch.zeros((1, 1, 64, 64))
    anoddpm(x, left(x), listen, AnoDDPMSettings(noise_level=400), g())
    assert float(seen[0].std()) == pytest.approx((1 - Schedule().signal(400)) ** 0.5, rel=1e-3)


def test_the_denoising_autoencoder_is_one_call() -> None:
    x = image()
    out = denoising_ae(x, left(x), torch.nn.Identity(), DenoisingAESettings(samples=2), g())
    assert out.calls == 1
    assert torch.equal(out.samples, x[None].repeat(2, 1, 1, 1, 1))


@pytest.mark.parametrize("name", list(METHODS))
def test_a_registered_method_takes_what_it_shares_and_keeps_what_is_its_own(name: str) -> None:
    method = METHODS[name]
    options = method.options(HealSettings(noise_level=40, steps=4, samples=2))
    assert options.samples == 2
    assert {k: getattr(options, k) for k in method.fixed} == method.fixed
    x = image(1, 16)
    small = {"repaint": RePaintSettings(levels=20, samples=2), "autoddpm": AutoDDPMSettings(20, 5, 2, samples=2)}
    result = method.run(x, left(x), pixel_eps, small.get(name, options), g())
    assert result.samples.shape == (2, *x.shape)
    if "noise_level" not in method.fixed and hasattr(options, "noise_level"):
        assert options.noise_level == 40


def test_an_unknown_method_is_refused_with_those_there_are() -> None:
    with pytest.raises(SettingsError, match="dif_fuse"):
        method_named("wishful")
