"""The mid-sagittal line: found on a tilted symmetric head, and what mirroring does."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from braindiffusion.volume.midline import Midline, estimate_midline, midlines, mirrored

H, W = 160, 144


def head(angle_deg: float, shift: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A symmetric textured oval, turned about its middle and moved sideways."""
    rng = np.random.default_rng(seed)
    half = ndimage.gaussian_filter(rng.standard_normal((H, W // 2)), 3)
    image = np.concatenate([half, half[:, ::-1]], 1)
    y, x = np.mgrid[:H, :W]
    oval = ((y - (H - 1) / 2) / 70) ** 2 + ((x - (W - 1) / 2) / 55) ** 2 < 1
    image = np.where(oval, 0.5 + 2 * image, 0.0)
    turned = ndimage.rotate(image, angle_deg, reshape=False, order=1)
    brain = ndimage.rotate(oval.astype(float), angle_deg, reshape=False, order=1) > 0.5
    return (
        ndimage.shift(turned, (0, shift), order=1).astype(np.float32),
        ndimage.shift(brain.astype(float), (0, shift), order=1) > 0.5,
    )


@pytest.mark.parametrize(("angle", "shift"), [(0, 0), (8, 4), (-10, -6), (3, 9)])
def test_the_line_of_a_tilted_head_is_found(angle: float, shift: float) -> None:
    image, brain = head(angle, shift)
    line = estimate_midline(image, brain)
    assert abs(np.rad2deg(line.angle)) == pytest.approx(abs(angle), abs=0.7)
    assert line.offset == pytest.approx(shift, abs=0.7)
    other = mirrored(image[None], [line])[0]
    both = brain & (mirrored(brain[None].astype(np.float32), [line], nearest=True)[0] > 0.5)
    assert np.corrcoef(image[both], other[both])[0, 1] > 0.95


def test_a_lesion_that_is_left_out_does_not_pull_the_line() -> None:
    image, brain = head(5, 2)
    y, x = np.mgrid[:H, :W]
    lesion = (y - 60) ** 2 + (x - 100) ** 2 < 25**2
    image = np.where(lesion, 3.0, image)
    line = estimate_midline(image, brain, lesion)
    assert abs(np.rad2deg(line.angle)) == pytest.approx(5, abs=0.8)
    assert line.offset == pytest.approx(2, abs=0.8)


def test_mirroring_twice_returns_the_slice() -> None:
    image, brain = head(0, 0)
    line = Midline(0.0, 0.0)
    twice = mirrored(mirrored(image[None], [line]), [line])[0]
    assert np.abs(twice - image)[brain].max() < 1e-4
    assert mirrored(image[None], [line])[0] == pytest.approx(image[:, ::-1], abs=1e-4)


def test_the_lines_of_a_volume_lie_in_one_plane() -> None:
    slices = [head(4, 2 + 0.25 * s, seed=s) for s in range(8)]
    images, brains = np.stack([s[0] for s in slices]), np.stack([s[1] for s in slices])
    images[3] = np.random.default_rng(1).random((H, W))  # a slice that says nothing
    found = midlines(images, brains)
    assert {round(line.angle, 6) for line in found} == {round(found[0].angle, 6)}
    assert np.diff([line.offset for line in found]) == pytest.approx(0.25, abs=0.12)


def test_without_a_brain_the_line_is_the_middle() -> None:
    nothing = np.zeros((4, H, W), bool)
    assert midlines(np.zeros((4, H, W), np.float32), nothing) == [Midline(0.0, 0.0)] * 4
