"""Augmentation on batches of slices, drawn from an explicit generator."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def uniform(shape: tuple[int, ...], low: float, high: float, g: torch.Generator) -> Tensor:
    """Uniform draw in [low, high)."""
    return low + (high - low) * torch.rand(shape, generator=g)


def geometry(
    images: list[Tensor], g: torch.Generator, *, rotate: float, scale: float, shift: float, flip: bool = True
) -> list[Tensor]:
    """The same random flip, rotation (degrees), zoom and shift (fraction of the side) for each (N,1,H,W) tensor."""
    n = len(images[0])
    angle = uniform((n,), -rotate, rotate, g) * math.pi / 180
    zoom = torch.exp(uniform((n,), -scale, scale, g))
    move = uniform((n, 2), -2 * shift, 2 * shift, g)
    mirror = torch.where((torch.rand((n,), generator=g) < 0.5) & flip, -1.0, 1.0)
    cos, sin = zoom * angle.cos(), zoom * angle.sin()
    theta = torch.stack(
        [torch.stack([cos * mirror, -sin, move[:, 0]], 1), torch.stack([sin * mirror, cos, move[:, 1]], 1)], 1
    )
    grid = F.affine_grid(theta, list(images[0].shape), align_corners=False)
    return [F.grid_sample(x, grid.to(x), align_corners=False) for x in images]


def mild_intensity(x: Tensor, g: torch.Generator, gain: float = 0.12, gamma: float = 0.15) -> Tensor:
    """Random gain and gamma of (N,1,H,W) images in [0,1]; air stays 0."""
    n = len(x)
    power = torch.exp(uniform((n, 1, 1, 1), -gamma, gamma, g))
    level = torch.exp(uniform((n, 1, 1, 1), -gain, gain, g))
    return (x.clamp(0, 1) ** power * level).clamp(0, 1)


def random_contrast(x: Tensor, g: torch.Generator, knots: int = 7, ordered: float = 0.35) -> Tensor:
    """A random piecewise-linear remapping of grey values per image: any contrast from one (air stays dark).

    For a share ``ordered`` of the images, brighter stays brighter.
    """
    n = len(x)
    values = torch.rand((n, knots), generator=g)
    values[:, 0] = 0.08 * torch.rand((n,), generator=g)
    keep_order = torch.rand((n, 1), generator=g) < ordered
    values = torch.where(keep_order, values.sort(dim=1).values, values)
    position = x.clamp(0, 1) * (knots - 1)
    low = position.floor().long().clamp(max=knots - 2)
    frac = position - low
    flat = low.flatten(1)
    a, b = values.gather(1, flat), values.gather(1, flat + 1)
    return (a.view_as(x) * (1 - frac) + b.view_as(x) * frac).clamp(0, 1)


def bias_field(x: Tensor, g: torch.Generator, strength: float = 0.35) -> Tensor:
    """A smooth multiplicative field."""
    coarse = uniform((len(x), 1, 4, 4), -strength, strength, g)
    return x * torch.exp(F.interpolate(coarse, size=x.shape[-2:], mode="bicubic", align_corners=True))


def rough_resolution(x: Tensor, g: torch.Generator, most: float = 2.5) -> Tensor:
    """Blur by down- and upsampling with one random factor for the batch."""
    factor = float(uniform((1,), 1.0, most, g))
    side = max(16, int(x.shape[-1] / factor))
    return F.interpolate(F.interpolate(x, size=(side, side), mode="area"), size=x.shape[-2:], mode="bilinear")


def blobs(brain: Tensor, g: torch.Generator) -> Tensor:
    """(N,1,H,W) soft random blobs inside the brain, in [0,1]: lesions for the brain mask to see through."""
    n, _, h, w = brain.shape
    coarse = torch.randn((n, 1, 8, 8), generator=g)
    field = F.interpolate(coarse, size=(h, w), mode="bicubic", align_corners=True)
    return torch.sigmoid((field - 1.2) * 12) * brain


def other_grain(x: Tensor, g: torch.Generator, share: float, noise: float = 0.04) -> Tensor:
    """A share of (N,1,H,W) images blurred, and noise of random strength for all: nothing can be learned from grain."""
    n = len(x)
    chosen = torch.rand((n, 1, 1, 1), generator=g) < share
    rough = torch.where(chosen, rough_resolution(x, g), x)
    strength = uniform((n, 1, 1, 1), 0.0, noise, g)
    return (rough + torch.randn(x.shape, generator=g) * strength * (x > 0)).clamp(0, 1)


def grown(mask: Tensor, pixels: int) -> Tensor:
    """(N,1,H,W) mask grown by a square that reaches so many pixels, float32."""
    return F.max_pool2d(mask.float(), 2 * pixels + 1, 1, pixels)
