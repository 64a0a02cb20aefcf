"""Detail of a healed region is brought to the level around it, and nothing else changes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy import ndimage

from braindiffusion.healing.texture import BANDS_PX, match_texture, surroundings_of


def scene(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A textured disc of brain with a square hole."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((96, 96))
    image = 0.5 + 0.03 * noise + 0.1 * ndimage.gaussian_filter(noise, 1.5)
    y, x = np.mgrid[:96, :96]
    brain = (y - 48) ** 2 + (x - 48) ** 2 < 45**2
    hole = np.zeros_like(brain)
    hole[36:60, 34:62] = True
    return np.where(brain, image, 0).astype(np.float32), hole, brain


def energies(image: np.ndarray, where: np.ndarray) -> np.ndarray:
    low = [image, *(ndimage.gaussian_filter(image, s) for s in BANDS_PX)]
    return np.array([((a - b)[where] ** 2).mean() for a, b in pairwise(low)])


@pytest.mark.parametrize("factor", [0.6, 1.5])
def test_dull_or_noisy_texture_is_brought_to_the_level_around_it(factor: float) -> None:
    image, hole, brain = scene()
    smooth = ndimage.gaussian_filter(image, 4)
    healed = np.where(hole, smooth + factor * (image - smooth), image).astype(np.float32)
    out = match_texture(healed, hole, brain)
    inner = ndimage.binary_erosion(hole, iterations=4)
    ring = surroundings_of(hole, brain)
    before = energies(healed, inner) / energies(healed, ring)
    after = energies(out, inner) / energies(out, ring)
    assert (np.abs(np.log(after)) < 0.45 * np.abs(np.log(before))).all(), (before, after)
    assert (out[~hole] == healed[~hole]).all()
    assert out.dtype == np.float32


def test_tissue_that_matches_already_is_left_nearly_alone() -> None:
    image, hole, brain = scene(1)
    assert np.abs(match_texture(image, hole, brain) - image).max() < 0.1 * np.abs(image - 0.5)[brain].max()


def test_without_surroundings_nothing_is_changed() -> None:
    image, hole, _ = scene(2)
    assert match_texture(image, hole, hole) is image


def test_a_flat_region_stays_finite() -> None:
    image, hole, brain = scene(3)
    out = match_texture(np.where(hole, np.float32(0.5), image), hole, brain)
    assert np.isfinite(out).all()
    assert out.min() >= 0
    assert out.max() <= 1
