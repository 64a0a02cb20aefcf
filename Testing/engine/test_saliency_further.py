"""Latent shift, integrated gradients and Grad-CAM on networks whose answer is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from braindiffusion.finders.gradcam import grad_cam
from braindiffusion.finders.integrated import integrated_gradients, path_gradient
from braindiffusion.finders.latent_shift import DROP, latent_shift, slide_ends
from braindiffusion.networks.build import Autoencoder, Classifier


class BrightSpot(nn.Module):
    """Lesion where the upper left quarter is bright."""

    def forward(self, x: Tensor) -> Tensor:
        spot = x[:, 0, :8, :8].mean((1, 2))
        return torch.stack([torch.zeros_like(spot), 6 * spot**2], 1)


class Plain(nn.Module):
    """An autoencoder that changes nothing."""

    def encode(self, x: Tensor) -> Tensor:
        return x

    def decode(self, z: Tensor) -> Tensor:
        return z


@pytest.fixture
def slices() -> Tensor:
    return torch.rand((3, 1, 16, 16), generator=torch.Generator().manual_seed(0))


def test_integrated_gradients_sum_to_the_change_of_the_logit(slices: Tensor) -> None:
    """Completeness, the axiom the method is built on."""
    total = path_gradient(slices, BrightSpot()).sum((1, 2, 3))
    logits = BrightSpot()(slices) - BrightSpot()(torch.zeros_like(slices))
    assert torch.allclose(total, logits[:, 1] - logits[:, 0], rtol=1e-3)


def test_integrated_gradients_look_where_the_classifier_does(slices: Tensor) -> None:
    found = integrated_gradients(slices, BrightSpot())
    assert float(found[:, :, 8:].max()) == 0.0
    assert torch.equal(found.amax((1, 2, 3)), torch.ones(3))


def test_the_slide_ends_when_the_lesion_has_become_unlikely(slices: Tensor) -> None:
    def probability(z: Tensor) -> Tensor:
        return BrightSpot()(z).softmax(1)[:, 1]

    direction = torch.zeros_like(slices)
    direction[:, :, :8, :8] = 0.01
    ends = slide_ends(slices, direction, probability)
    fall = probability(slices) - probability(slices - ends.view(-1, 1, 1, 1) * direction)
    before = probability(slices) - probability(slices - (ends - 10).clamp(min=0).view(-1, 1, 1, 1) * direction)
    assert bool((fall >= DROP).all())
    assert bool((before < DROP).all())


def test_latent_shift_changes_what_makes_the_lesion(slices: Tensor) -> None:
    found = latent_shift(slices, Plain(), BrightSpot())  # type: ignore[arg-type]
    assert float(found[:, :, :8, :8].min()) > 0.5
    assert float(found[:, :, 8:].max()) == 0.0


def test_latent_shift_does_not_depend_on_what_shares_the_batch(slices: Tensor) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        coder, classifier = Autoencoder(widths=(4, 8), latent=4).eval(), Classifier(widths=(4, 8)).eval()
    together = latent_shift(slices, coder, classifier)
    alone = torch.cat([latent_shift(s[None], coder, classifier) for s in slices])
    assert torch.allclose(together, alone, atol=1e-3)


def test_grad_cam_sees_the_quarter_that_decides() -> None:
    class Quarter(nn.Module):
        def features(self, x: Tensor) -> Tensor:
            return nn.functional.avg_pool2d(x, 4)

        def judge(self, f: Tensor) -> Tensor:
            return torch.stack([torch.zeros(len(f)), f.sum((1, 2, 3))], 1)

    x = torch.zeros((1, 1, 16, 16))
    x[:, :, :4, :4] = 1.0
    found = grad_cam(x, Quarter())  # type: ignore[arg-type]
    assert found.shape == x.shape
    assert float(found[0, 0, :3, :3].min()) > 0.5
    assert float(found[0, 0, 8:].max()) == 0.0


def test_each_can_be_stopped(slices: Tensor) -> None:
    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        integrated_gradients(slices, BrightSpot(), on_step=stop)
    with pytest.raises(KeyboardInterrupt):
        latent_shift(slices, Plain(), BrightSpot(), on_step=stop)  # type: ignore[arg-type]
