"""Simplex noise: a continuous, reproducible field with power at the scales it is asked for."""

from __future__ import annotations

import torch

from braindiffusion.diffusion.simplex import fractal_noise, simplex3


def g(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


ORDER = torch.randperm(256, generator=g())


def test_it_is_zero_at_the_lattice() -> None:
    """At a lattice point its own gradient meets no offset, and its neighbours are out of reach or cancel."""
    i, j, k = torch.meshgrid(*(torch.arange(4.0),) * 3, indexing="ij")
    whole = torch.stack([i, j, k], -1)
    lattice = whole - whole.sum(-1, keepdim=True) / 6.0
    assert float(simplex3(lattice, ORDER).abs().max()) < 0.02


def test_it_is_continuous_and_bounded() -> None:
    t = torch.linspace(0, 50, 200_001, dtype=torch.float64)
    line = simplex3(torch.stack([0.7 * t + 0.1, 0.4 * t, 0.59 * t + 3], -1), ORDER)
    assert float(line.diff().abs().max()) < 0.005
    assert 0.4 < float(line.abs().max()) <= 1.1
    assert abs(float(line.mean())) < 0.1


def test_every_map_has_unit_variance_and_is_its_own() -> None:
    noise = fractal_noise((6, 1, 96, 80), torch.arange(6) * 100, g())
    assert torch.allclose(noise.std((2, 3)), torch.ones(6, 1), atol=1e-4)
    assert float(noise.mean((2, 3)).abs().max()) < 1e-5
    flat = noise.flatten(1)
    assert float((torch.corrcoef(flat) - torch.eye(6)).abs().max()) < 0.7


def test_it_is_a_function_of_its_generator() -> None:
    level = torch.tensor([3, 30])
    first, again, other = (fractal_noise((2, 1, 32, 32), level, g(s)) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_it_has_more_power_at_large_scales_than_gaussian_noise() -> None:
    noise = fractal_noise((8, 1, 128, 128), torch.zeros(8), g())
    power = torch.fft.rfft2(noise).abs().square().mean((0, 1))
    radius = (torch.fft.fftfreq(128)[:, None] ** 2 + torch.fft.rfftfreq(128)[None] ** 2).sqrt()
    low = power[radius < 0.05].sum() / power.sum()
    assert float(low) > 0.4
