"""f-AnoGAN's networks: whose turn it is, what the penalty asks, and what the encoder may change."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from braindiffusion.healing.f_anogan import FAnoGANSettings, f_anogan
from braindiffusion.networks.gan import PENALTY, AnoGAN, EncodedGAN

SMALL = {"latent": 8, "size": (32, 32), "widths": (8, 8, 8), "patch": 2}


def g(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def seeded(kind: type[nn.Module], **more: object) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return kind(**SMALL, **more)


def drawn_inputs(n: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Real slices, codes, and where the penalty is taken."""
    x = torch.rand((n, 1, 32, 32), generator=g(1))
    return x, torch.randn((n, 8), generator=g(2)), torch.rand((n, 1, 1, 1), generator=g(3))


def touched(network: nn.Module) -> set[str]:
    return {name.split(".")[0] for name, p in network.named_parameters() if p.grad is not None}


def test_turns_are_taken_and_each_trains_its_own_part() -> None:
    network = seeded(AnoGAN, critic_turns=2)
    whose = []
    for _ in range(6):
        network.zero_grad(set_to_none=True)
        network(*drawn_inputs()).backward()
        whose.append(touched(network))
    assert whose == 2 * [{"critic"}, {"critic"}, {"generator"}]


def test_the_turn_is_part_of_the_state() -> None:
    network, again = seeded(AnoGAN, critic_turns=2), seeded(AnoGAN, critic_turns=2)
    for _ in range(2):
        network(*drawn_inputs())
    again.load_state_dict(network.state_dict())
    again(*drawn_inputs()).backward()
    assert touched(again) == {"generator"}


class Sum(nn.Module):
    """A critic that adds up pixels; its gradient has the length ``slope`` everywhere."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(slope / 32))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x.sum((1, 2, 3))


@pytest.mark.parametrize("slope", [1.0, 3.0])
def test_a_critic_pays_for_every_slope_but_1(slope: float) -> None:
    """Wasserstein distance of the batch plus the penalty, both by hand."""
    network = seeded(AnoGAN)
    network.critic = Sum(slope)
    x, z, mix = drawn_inputs()
    with torch.no_grad():
        distance = slope / 32 * (network.generator(z).sum((1, 2, 3)) - x.sum((1, 2, 3))).mean()
    expected = float(distance) + PENALTY * (slope - 1) ** 2
    assert float(network(x, z, mix).detach()) == pytest.approx(expected, rel=1e-4)


def test_outside_training_the_distance_is_told_and_no_turn_is_taken() -> None:
    network = seeded(AnoGAN).eval()
    network.critic = Sum(1.0)
    x, z, mix = drawn_inputs()
    told = network(x, z, mix)
    with torch.no_grad():
        assert float(told) == pytest.approx(float((x.sum() - network.generator(z).sum()) / 32 / len(x)), rel=1e-4)
    assert int(network.turn) == 0


def test_what_is_drawn_lies_between_black_and_white() -> None:
    drawn = seeded(AnoGAN).generator(10 * torch.randn((4, 8), generator=g())).detach()
    assert drawn.shape == (4, 1, 32, 32)
    assert 0.0 <= float(drawn.min()) < float(drawn.max()) <= 1.0


def test_only_the_encoder_learns_in_the_second_stage() -> None:
    network = seeded(EncodedGAN)
    network(drawn_inputs()[0], torch.tensor(1.0)).mean().backward()
    assert touched(network) == {"encoder"}


def test_the_distance_is_that_of_pixels_and_of_what_the_critic_sees() -> None:
    network = seeded(EncodedGAN)
    x, y = torch.rand((2, 2, 1, 32, 32), generator=g())
    apart = (network.critic.features(x) - network.critic.features(y)).square().mean((1, 2, 3))
    torch.testing.assert_close(network.distance(x, y, 0.0), (x - y).square().mean((1, 2, 3)))
    torch.testing.assert_close(network.distance(x, y, 2.0), (x - y).square().mean((1, 2, 3)) + 2 * apart)
    assert not network.distance(x, x, 1.0).any()


def test_of_a_larger_slice_the_middle_is_drawn_and_the_rest_stays() -> None:
    network = seeded(EncodedGAN).eval()
    x = torch.rand((2, 1, 40, 36), generator=g())
    y = network(x)
    torch.testing.assert_close(y[:, :, 4:36, 2:34], network(x[:, :, 4:36, 2:34]))
    y[:, :, 4:36, 2:34] = x[:, :, 4:36, 2:34]
    assert torch.equal(y, x)


def test_healing_is_one_call_and_the_mask_is_not_asked() -> None:
    network, calls = seeded(EncodedGAN).eval(), []
    x = torch.rand((2, 1, 32, 32), generator=g())

    def counted(part: Tensor) -> Tensor:
        calls.append(len(part))
        return network(part)

    nothing, everything = torch.zeros_like(x, dtype=torch.bool), torch.ones_like(x, dtype=torch.bool)
    settings = FAnoGANSettings(samples=2)
    a, b = (f_anogan(x, mask, counted, settings, g()) for mask in (nothing, everything))
    assert calls == [2, 2]
    assert a.calls == settings.calls() == 1
    assert torch.equal(a.samples, b.samples)
    assert torch.equal(a.samples[0], network(x))
    assert torch.equal(a.samples[0], a.samples[1])
