"""The predictor that stands between networks and samplers, and networks from plain data."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from braindiffusion.diffusion.schedule import Schedule
from braindiffusion.networks.build import EpsPredictor, build_network

SCHEDULE = Schedule()
SMALL_UNET = {
    "class": "PatchedUNet",
    "args": {
        "patch": 2, "channels": [8, 8], "attention_levels": [False, False], "num_res_blocks": 1,
        "num_head_channels": 8, "norm_num_groups": 4,
    },
}  # fmt: skip


class Fake(nn.Module):
    """Answers with a function of what it saw, and remembers it."""

    def __init__(self, answer) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: Tensor, levels: Tensor) -> Tensor:
        self.x, self.levels = x, levels
        return self.answer(x)


def test_a_velocity_is_turned_into_the_same_noise() -> None:
    g = torch.Generator().manual_seed(0)
    x0, noise = torch.rand((2, 1, 8, 8), generator=g), torch.randn((2, 1, 8, 8), generator=g)
    a = SCHEDULE.signal(300)
    x = math.sqrt(a) * x0 + math.sqrt(1 - a) * noise
    velocity = math.sqrt(a) * noise - math.sqrt(1 - a) * x0
    eps = EpsPredictor(Fake(lambda _: velocity), SCHEDULE, prediction="v")(x, 300)
    torch.testing.assert_close(eps, noise, atol=1e-5, rtol=0)


def test_a_predicted_noise_is_handed_on() -> None:
    x = torch.rand(2, 1, 8, 8)
    assert torch.equal(EpsPredictor(Fake(lambda v: 3 * v), SCHEDULE)(x, 5), 3 * x)


def test_every_slice_is_asked_about_at_the_same_level() -> None:
    network = Fake(lambda v: v)
    EpsPredictor(network, SCHEDULE)(torch.rand(3, 1, 8, 8), 77)
    assert network.levels.tolist() == [77, 77, 77]


def test_calls_are_counted_by_batch_and_by_slice() -> None:
    model = EpsPredictor(Fake(lambda v: v), SCHEDULE)
    model(torch.rand(3, 1, 8, 8), 1)
    model(torch.rand(2, 1, 8, 8), 1)
    assert (model.calls, model.slice_calls) == (2, 5)


def test_a_condition_is_seen_by_every_slice() -> None:
    network = Fake(lambda v: v[:, :1])
    condition = torch.ones(1, 2, 8, 8)
    EpsPredictor(network, SCHEDULE, condition=condition)(torch.zeros(3, 1, 8, 8), 1)
    assert torch.equal(network.x[:, 1:], condition.expand(3, -1, -1, -1))


def test_the_network_is_put_in_eval_mode() -> None:
    network = Fake(lambda v: v).train()
    EpsPredictor(network, SCHEDULE)
    assert not network.training


def test_half_precision_stays_inside_the_network() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 1))
    spy = Fake(network)
    out = EpsPredictor(spy, SCHEDULE, precision="bf16")(torch.rand(1, 1, 8, 8), 1)
    assert out.dtype == torch.float32
    assert network(spy.x).dtype == torch.float32


def test_no_gradient_is_kept() -> None:
    spy = Fake(nn.Conv2d(1, 1, 1))
    assert not EpsPredictor(spy, SCHEDULE)(torch.rand(1, 1, 8, 8), 1).requires_grad


@pytest.mark.parametrize("shape", [(16, 16), (12, 20)])
def test_the_patched_network_answers_at_full_resolution(shape: tuple[int, int]) -> None:
    network = build_network(SMALL_UNET).eval()
    assert network(torch.rand(2, 1, *shape), torch.tensor([1, 2])).shape == (2, 1, *shape)


def test_the_patched_network_hears_the_level() -> None:
    torch.manual_seed(0)
    network = build_network(SMALL_UNET).eval()
    for p in network.parameters():  # the last layer starts at zero
        nn.init.normal_(p, std=0.1)
    x = torch.rand(1, 1, 16, 16)
    assert not torch.allclose(network(x, torch.tensor([5])), network(x, torch.tensor([900])))


@pytest.mark.parametrize(
    ("name", "shape"), [("Autoencoder", (2, 1, 32, 32)), ("Classifier", (2, 2)), ("BrainMaskUNet", (2, 1, 32, 32))]
)
def test_networks_are_built_from_plain_data(name: str, shape: tuple[int, ...]) -> None:
    args = {"BrainMaskUNet": {"features": [4, 4, 4, 4, 4, 4]}}.get(name, {"widths": [4, 8]})
    assert build_network({"class": name, "args": args}).eval()(torch.rand(2, 1, 32, 32)).shape == shape


def test_the_latent_has_a_quarter_of_the_side() -> None:
    network = build_network({"class": "Autoencoder", "args": {"widths": [4, 8], "latent": 5}})
    assert network.encode(torch.rand(1, 1, 16, 24)).shape == (1, 5, 4, 6)


# --- conditions, classes, guidance ----------------------------------------------------------------------------


class Labelled(Fake):
    """As :class:`Fake`, told a class too."""

    def forward(self, x: Tensor, levels: Tensor, label: Tensor) -> Tensor:  # type: ignore[override]
        self.label = label
        return super().forward(x, levels)


def test_each_slice_has_its_own_condition_in_every_sample() -> None:
    network = Fake(lambda v: v[:, :1])
    own = torch.arange(3.0).view(3, 1, 1, 1).expand(3, 2, 8, 8)
    EpsPredictor(network, SCHEDULE, condition=torch.full((1, 2, 8, 8), 9.0))(torch.zeros(6, 1, 8, 8), 1, own)
    assert network.x[:, 1, 0, 0].tolist() == [0, 1, 2, 0, 1, 2]


def test_a_class_is_told_for_every_slice() -> None:
    network = Labelled(lambda v: v)
    EpsPredictor(network, SCHEDULE, label=2)(torch.rand(3, 1, 8, 8), 1)
    assert network.label.tolist() == [2, 2, 2]


def test_guidance_goes_past_the_answer_without_a_lesion() -> None:
    """eps_0 + 3 (eps - eps_0), where the answer is the lesion's channel plus the brain's."""
    model = EpsPredictor(Fake(lambda v: v[:, 1:2] + 10 * v[:, 2:]), SCHEDULE, guidance=3.0)
    eps = model(torch.zeros(2, 1, 8, 8), 1, torch.ones(1, 2, 8, 8))
    assert torch.equal(eps, torch.full((2, 1, 8, 8), 10.0 + 3.0))
    assert (model.calls, model.slice_calls) == (2, 4)


def test_the_patched_network_hears_the_class() -> None:
    torch.manual_seed(0)
    spec = {"class": "PatchedUNet", "args": {**SMALL_UNET["args"], "num_class_embeds": 3}}  # type: ignore[dict-item]
    network = build_network(spec).eval()
    for p in network.parameters():
        nn.init.normal_(p, std=0.1)
    x, level = torch.rand(1, 1, 16, 16), torch.tensor([5])
    assert not torch.allclose(network(x, level, torch.tensor([0])), network(x, level, torch.tensor([2])))
