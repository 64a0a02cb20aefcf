"""Fractal simplex noise as the noise of a diffusion model (AnoDDPM, Wyatt et al. 2022).

Gaussian noise has equal power at all scales, so a denoiser mends small things first; simplex noise has most of its
power at large scales, so that lesions of many sizes are drowned at few steps.
"""

from __future__ import annotations

import torch
from torch import Tensor

_GRADIENTS = torch.tensor(
    [[a, b, 0.0] for a in (1.0, -1.0) for b in (1.0, -1.0)]
    + [[a, 0.0, b] for a in (1.0, -1.0) for b in (1.0, -1.0)]
    + [[0.0, a, b] for a in (1.0, -1.0) for b in (1.0, -1.0)]
)
"""(12,3) directions to the middles of a cube's edges (Perlin 2002)."""
_REACH = 0.5
"""Squared radius at which the influence of a lattice point ends; above 0.5 the noise would jump between cells."""


def simplex3(points: Tensor, order: Tensor) -> Tensor:
    """Simplex noise in three dimensions (Perlin 2001).

    Space is cut into tetrahedra by skewing a cubic lattice along its diagonal; each of a tetrahedron's four corners
    adds ``(0.5 - r^2)^4`` times the dot product of its pseudo-random gradient with the offset to the point.

    Args:
        points: (...,3).
        order: (256,) a permutation of 0..255, which decides the gradients.

    Returns:
        (...) values in about [-1,1], of mean 0.
    """
    cell = torch.floor(points + points.sum(-1, keepdim=True) / 3.0)
    near = points - (cell - cell.sum(-1, keepdim=True) / 6.0)
    # corners of the tetrahedron: walk from the cell's origin along the largest offset first
    larger = near.unsqueeze(-2) > near.unsqueeze(-1)
    earlier = torch.ones(3, 3, dtype=torch.bool, device=points.device).tril(-1)
    rank = (larger | ((near.unsqueeze(-2) == near.unsqueeze(-1)) & earlier)).sum(-1)
    gradients = _GRADIENTS.to(points)
    total = torch.zeros(points.shape[:-1], dtype=points.dtype, device=points.device)
    whole = cell.long()
    for corner in range(4):
        step = (rank < corner).to(points)
        offset = near - step + corner / 6.0
        weight = (_REACH - (offset**2).sum(-1)).clamp(min=0.0) ** 4
        i, j, k = (whole + step.long()).remainder(256).unbind(-1)
        key = order[(i + order[(j + order[k]).remainder(256)]).remainder(256)]
        total = total + weight * (gradients[key.remainder(12)] * offset).sum(-1)
    return 76.0 * total


def fractal_noise(
    shape: tuple[int, ...],
    level: Tensor,
    generator: torch.Generator,
    *,
    octaves: int = 6,
    persistence: float = 0.8,
    wavelength: float = 64.0,
) -> Tensor:
    """Noise of several scales: each octave has half the wavelength and ``persistence`` times the amplitude.

    Every map of the batch has its own place in the noise (the published code shares one map), and is brought to mean 0
    and variance 1, since the formulas of diffusion assume unit variance and the raw sum has about a tenth of it.

    Args:
        shape: (N,C,H,W).
        level: (N,) noise level, the third coordinate.
        wavelength: of the first octave, in pixels.

    Returns:
        (N,C,H,W) float32.
    """
    n, c, h, w = shape
    order = torch.randperm(256, generator=generator)
    place = torch.rand((n, c, 2), generator=generator) * 4096.0
    y, x = torch.meshgrid(torch.arange(h, dtype=torch.float32), torch.arange(w, dtype=torch.float32), indexing="ij")
    points = torch.stack(
        [x.expand(n, c, h, w), y.expand(n, c, h, w), level.float().view(n, 1, 1, 1).expand(n, c, h, w)], -1
    )
    points = points + torch.cat([place, torch.zeros(n, c, 1)], -1)[:, :, None, None]
    total = torch.zeros(shape)
    for octave in range(octaves):
        total = total + persistence**octave * simplex3(points * (2.0**octave / wavelength), order)
    mean = total.mean((2, 3), keepdim=True)
    return (total - mean) / total.std((2, 3), keepdim=True).clamp(min=1e-6)
