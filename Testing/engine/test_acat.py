"""Saliency: ACAT and the plain gradient, with small random networks in float64."""

from __future__ import annotations

from copy import deepcopy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from braindiffusion.cards import installed
from braindiffusion.errors import Cancelled, SettingsError
from braindiffusion.finders import acat as acat_module
from braindiffusion.finders.acat import acat, move_latent, normalise_per_slice
from braindiffusion.finders.gate import judged_lesion, lesion_probability
from braindiffusion.finders.gradient import gradient
from braindiffusion.finders.maps import MAPS as METHODS
from braindiffusion.finders.maps import SaliencyModels, saliency_of
from braindiffusion.models.registry import load_model
from braindiffusion.networks.build import Autoencoder, Classifier
from braindiffusion.volume.brain import classical_brain
from braindiffusion.volume.scan import Scan
from braindiffusion.volume.slices import to_slices


def frozen(network: nn.Module) -> nn.Module:
    return network.double().eval().requires_grad_(False)


@pytest.fixture(scope="module")
def models() -> SaliencyModels:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        classifier = Classifier(widths=(8, 8))
        classifier.head[1].weight.data *= 10  # an opinion strong enough to move a latent
        return SaliencyModels(frozen(Autoencoder(widths=(4, 8), latent=4)), frozen(classifier))


@pytest.fixture(scope="module")
def x() -> Tensor:
    return torch.rand((3, 1, 16, 16), generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def small_acat(x: Tensor, models: SaliencyModels, **options) -> Tensor:
    # the pull is a mean over the latent's entries: 64 here, 16384 in the shipped models
    return acat(x, models.autoencoder, models.classifier, **{"pull": 0.1} | options)


# normalising


def test_each_slice_is_divided_by_its_own_maximum() -> None:
    values = torch.tensor([[2.0, 1.0], [0.5, 0.25]]).view(2, 1, 1, 2)
    assert normalise_per_slice(values).flatten().tolist() == [1.0, 0.5, 1.0, 0.5]


def test_a_slice_of_zeros_stays_zero() -> None:
    assert torch.equal(normalise_per_slice(torch.zeros(2, 1, 4, 4)), torch.zeros(2, 1, 4, 4))


def test_the_maximum_is_taken_over_all_channels() -> None:
    assert normalise_per_slice(torch.tensor([4.0, 1.0]).view(1, 2, 1, 1)).flatten().tolist() == [1.0, 0.25]


# moving the latent


def test_the_defaults_are_the_published_ones() -> None:
    assert (acat_module.STEPS, acat_module.STEP_SIZE, acat_module.PULL) == (20, 1e-3, 100.0)


@pytest.mark.parametrize(("target", "sign"), [(1, 1.0), (0, -1.0)])
def test_a_latent_moves_towards_its_target(models: SaliencyModels, x: Tensor, target: int, sign: float) -> None:
    z0 = models.autoencoder.encode(x)
    z = move_latent(z0, models.autoencoder, models.classifier, target, pull=0.0)

    def margin(latent: Tensor) -> Tensor:
        logits = models.classifier(models.autoencoder.decode(latent))
        return logits[:, 1] - logits[:, 0]

    assert (sign * (margin(z) - margin(z0)) > 0).all()


def test_one_step_is_plain_gradient_descent(models: SaliencyModels, x: Tensor) -> None:
    z0 = models.autoencoder.encode(x).requires_grad_(True)
    cost = F.cross_entropy(models.classifier(models.autoencoder.decode(z0)), torch.ones(3).long(), reduction="sum")
    expected = z0 - 1e-3 * torch.autograd.grad(cost, z0)[0]
    z = move_latent(z0.detach(), models.autoencoder, models.classifier, 1, steps=1)
    torch.testing.assert_close(z, expected.detach(), atol=1e-14, rtol=0)


def test_the_pull_holds_a_latent_back(models: SaliencyModels, x: Tensor) -> None:
    z0 = models.autoencoder.encode(x)
    free, held = (
        (move_latent(z0, models.autoencoder, models.classifier, 1, pull=p) - z0).abs().mean() for p in (0.0, 1.0)
    )
    assert held < free


def test_a_latent_moves_in_20_steps(models: SaliencyModels, x: Tensor) -> None:
    steps: list[int] = []
    move_latent(models.autoencoder.encode(x), models.autoencoder, models.classifier, 1, on_step=steps.append)
    assert steps == list(range(20))


def test_the_start_of_a_move_is_not_written_to(models: SaliencyModels, x: Tensor) -> None:
    z0 = models.autoencoder.encode(x)
    before = z0.clone()
    move_latent(z0, models.autoencoder, models.classifier, 1)
    assert torch.equal(z0, before)
    assert not z0.requires_grad


# the map


def test_saliency_is_the_mean_of_both_directions(models: SaliencyModels, x: Tensor) -> None:
    """An independent rendering of the recipe, slice by slice as published."""
    decode, classify = models.autoencoder.decode, models.classifier
    expected = []
    for one in x[:, None]:
        z0, maps = models.autoencoder.encode(one), []
        for target in (1, 0):
            z = z0.clone()
            for _ in range(20):
                z = z.detach().requires_grad_(True)
                cost = F.cross_entropy(classify(decode(z)), torch.tensor([target])) + 0.1 * (z - z0).abs().mean()
                cost.backward()
                z = z.detach() - 0.001 * z.grad
            d = (decode(z0) - decode(z)).abs()
            maps.append(d / d.max())
        mean = (maps[0] + maps[1]) / 2
        expected.append(mean / mean.max())
    torch.testing.assert_close(small_acat(x, models), torch.cat(expected), atol=1e-7, rtol=0)


def test_both_directions_are_taken(models: SaliencyModels, x: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    targets: list[int] = []
    real = acat_module.move_latent

    def spy(z0, autoencoder, classifier, target, **options):
        targets.append(target)
        return real(z0, autoencoder, classifier, target, **options)

    monkeypatch.setattr(acat_module, "move_latent", spy)
    small_acat(x, models, steps=1)
    assert sorted(targets) == [0, 1]


def test_each_slice_peaks_at_1(models: SaliencyModels, x: Tensor) -> None:
    saliency = small_acat(x, models)
    assert saliency.amax((1, 2, 3)).tolist() == [1.0] * 3
    assert float(saliency.min()) >= 0.0


def test_the_autoencoders_own_error_does_not_show(models: SaliencyModels, x: Tensor) -> None:
    """With a classifier of no opinion the latent stays, and so does the map, however bad the reconstruction."""
    blind = SimpleNamespace(
        autoencoder=models.autoencoder, classifier=lambda image: 0.0 * image.sum((1, 2, 3))[:, None].expand(-1, 2)
    )
    assert float((models.autoencoder(x) - x).abs().mean()) > 0.1
    assert torch.equal(small_acat(x, blind), torch.zeros_like(x))


@pytest.mark.parametrize("method", ["acat", "gradient"])
def test_a_slice_without_gradient_gives_zeros_not_nan(models: SaliencyModels, x: Tensor, method: str) -> None:
    class Blind(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return 0.0 * image.flatten(1)[:, :2]

    found = METHODS[method](x, SaliencyModels(models.autoencoder, Blind()))
    assert torch.equal(found, torch.zeros_like(x))


@pytest.mark.parametrize("method", ["acat", "gradient"])
def test_the_saliency_of_a_slice_does_not_depend_on_its_batch(models: SaliencyModels, x: Tensor, method: str) -> None:
    call = {"acat": small_acat, "gradient": lambda part, m: gradient(part, m.classifier)}[method]
    together = call(x, models)
    alone = torch.cat([call(one, models) for one in x[:, None]])
    torch.testing.assert_close(together, alone, atol=1e-9, rtol=0)


@pytest.mark.parametrize("method", list(METHODS))
def test_saliency_is_deterministic_and_draws_nothing(models: SaliencyModels, x: Tensor, method: str) -> None:
    before = torch.get_rng_state()
    assert torch.equal(METHODS[method](x, models), METHODS[method](x, models))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("method", list(METHODS))
def test_saliency_works_where_the_caller_keeps_no_gradients(models: SaliencyModels, x: Tensor, method: str) -> None:
    wanted = METHODS[method](x, models)
    with torch.no_grad():
        found = METHODS[method](x, models)
    assert torch.equal(found, wanted)
    assert not found.requires_grad


@pytest.mark.parametrize("method", list(METHODS))
def test_saliency_leaves_no_gradient_behind(models: SaliencyModels, x: Tensor, method: str) -> None:
    METHODS[method](x, models)
    assert not x.requires_grad
    assert all(p.grad is None for p in models.classifier.parameters())


def test_plain_gradient_is_that_of_the_lesion_margin(models: SaliencyModels, x: Tensor) -> None:
    leaf = x.clone().requires_grad_(True)
    logits = models.classifier(leaf)
    (g,) = torch.autograd.grad((logits[:, 1] - logits[:, 0]).sum(), leaf)
    expected = g.abs() / g.abs().amax((1, 2, 3), keepdim=True)
    torch.testing.assert_close(gradient(x, models.classifier), expected)


def test_networks_treat_slices_one_by_one(models: SaliencyModels, x: Tensor) -> None:
    """Group, not batch, normalisation: even in training mode nothing leaks between slices."""
    autoencoder = Autoencoder(widths=(4, 8), latent=4).double().train()
    torch.testing.assert_close(autoencoder(x)[:1], autoencoder(x[:1]), atol=1e-12, rtol=0)


# the registry


def test_lesion_probability_is_that_of_the_second_output(models: SaliencyModels, x: Tensor) -> None:
    expected = models.classifier(x).softmax(1)[:, 1]
    np.testing.assert_allclose(lesion_probability(x, models.classifier, batch=2), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("probability", "passes"),
    [
        ([0.1, 0.7, 0.1], [0, 1, 0]),
        ([0.3, 0.7, 0.3], [1, 1, 1]),
        ([0.3, 0.3, 0.1, 0.7], [0, 0, 0, 1]),
        ([0.3, 0.3, 0.3], [0, 0, 0]),
        ([0.6, 0.59, 0.2, 0.19], [1, 1, 1, 0]),
        ([0.7, np.nan, 0.3], [1, 0, 0]),
        ([np.nan, np.nan], [0, 0]),
        ([0.7, 0.1, 0.7], [1, 0, 1]),
    ],
)
def test_a_lesion_is_followed_as_it_tapers_off(probability: list[float], passes: list[int]) -> None:
    assert judged_lesion(np.array(probability), high=0.6, low=0.2).astype(int).tolist() == passes


def test_a_low_gate_above_the_high_one_does_nothing() -> None:
    assert judged_lesion(np.array([0.5, 0.7, 0.65]), high=0.6, low=0.9).tolist() == [False, True, True]


def test_only_wanted_slices_get_saliency(models: SaliencyModels, x: Tensor) -> None:
    found = saliency_of(x, "gradient", models, np.array([True, False, True]))
    assert found.shape == (3, 16, 16)
    assert found.any((1, 2)).tolist() == [True, False, True]


def test_wanted_slices_get_their_own_saliency(models: SaliencyModels, x: Tensor) -> None:
    found = saliency_of(x, "gradient", models, np.array([False, True, True]), batch=1)
    np.testing.assert_allclose(found[1:], gradient(x, models.classifier)[1:, 0], atol=1e-6)


def test_progress_counts_wanted_slices(models: SaliencyModels, x: Tensor) -> None:
    told: list[float] = []
    saliency_of(x, "gradient", models, np.ones(3, bool), batch=2, on_share=told.append)
    assert told == [pytest.approx(2 / 3), 1.0]


def test_no_wanted_slice_costs_nothing(models: SaliencyModels, x: Tensor) -> None:
    told: list[float] = []
    assert not saliency_of(x, "gradient", models, np.zeros(3, bool), on_share=told.append).any()
    assert told == []


def test_cancelling_stops_the_next_batch(models: SaliencyModels, x: Tensor) -> None:
    told: list[float] = []

    def stop(share: float) -> None:
        told.append(share)
        raise Cancelled

    with pytest.raises(Cancelled):
        saliency_of(x, "gradient", models, np.ones(3, bool), batch=1, on_share=stop)
    assert told == [pytest.approx(1 / 3)]


def test_an_unknown_method_is_refused_by_name(models: SaliencyModels, x: Tensor) -> None:
    with pytest.raises(SettingsError, match="psychic"):
        saliency_of(x, "psychic", models, np.ones(3, bool))


# the shipped networks


@pytest.mark.weights
@pytest.mark.skipif("flair-acat-autoencoder" not in installed(), reason="the ACAT models are not shipped")
def test_a_real_map_does_not_depend_on_rounding(head_phantom: Scan) -> None:
    """Float32 agrees with float64; then a slice's map cannot depend on its batch or on the machine either."""
    networks = (load_model("flair-acat-autoencoder").network, load_model("flair-acat-classifier").network)
    stack = to_slices(head_phantom, classical_brain(head_phantom))
    x = torch.from_numpy(stack.images[10:11, 32:96, 32:96])[:, None]
    single = acat(x, *networks)
    double = acat(x.double(), *(deepcopy(network).double() for network in networks))
    assert float((single - double).abs().max()) < 0.03
