"""Slices: any orientation, spacing and type; nothing moves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from slice_grids import DTYPES, UPRIGHT, Grid, brain_scan, few, grids

from braindiffusion.errors import NotABrainError, ScanGeometryError
from braindiffusion.volume.scan import Scan
from braindiffusion.volume.slices import (
    BRAIN_LEVEL,
    background_level,
    brain_intensity,
    centred,
    interpolation_matrix,
    map_to_scan,
    mask_to_slices,
    overlap_matrix,
    place,
    to_slices,
)

# resampling matrices


@given(st.integers(4, 60), st.floats(0.3, 1.0), st.integers(3, 40), st.floats(1.0, 4.0), st.floats(-3, 3))
def test_rows_of_an_area_mean_sum_to_1_inside(n: int, pitch: float, m: int, target: float, off: float) -> None:
    centre = (n - 1) / 2 * pitch + off
    at = centre + (np.arange(m) - (m - 1) / 2) * target
    inside = (at - target / 2 > -pitch / 2) & (at + target / 2 < (n - 0.5) * pitch)
    np.testing.assert_allclose(overlap_matrix(n, pitch, m, target, centre).sum(1)[inside], 1.0, atol=1e-9)


@given(st.integers(4, 60), st.floats(1.0, 6.0), st.integers(3, 40), st.floats(0.3, 0.99), st.floats(-3, 3))
def test_rows_of_a_linear_interpolation_sum_to_1_inside(
    n: int, pitch: float, m: int, target: float, off: float
) -> None:
    centre = (n - 1) / 2 * pitch + off
    at = centre + (np.arange(m) - (m - 1) / 2) * target
    inside = (at > 0) & (at < (n - 1) * pitch)
    np.testing.assert_allclose(overlap_matrix(n, pitch, m, target, centre).sum(1)[inside], 1.0, atol=1e-9)


@pytest.mark.parametrize("cubic", [False, True])
def test_the_way_back_of_a_constant_is_the_constant(cubic: bool) -> None:
    matrix = interpolation_matrix(100, 1.0, 64, 2.0, 49.5, cubic)
    np.testing.assert_allclose(matrix.sum(1), 1.0, atol=1e-9)


@pytest.mark.parametrize("cubic", [False, True])
def test_the_way_back_of_a_ramp_is_the_ramp(cubic: bool) -> None:
    at = 49.5 + (np.arange(64) - 31.5) * 2.0
    np.testing.assert_allclose(interpolation_matrix(100, 1.0, 64, 2.0, 49.5, cubic) @ at, np.arange(100), atol=1e-9)


@pytest.mark.parametrize("cubic", [False, True])
def test_beyond_the_model_grid_there_is_nothing(cubic: bool) -> None:
    matrix = interpolation_matrix(300, 1.0, 64, 2.0, 149.5, cubic)
    assert not matrix[:80].any()
    assert not matrix[-80:].any()


def test_256_to_128_is_exactly_the_mean_of_2_by_2() -> None:
    voxels = np.random.default_rng(0).integers(0, 4096, (256, 256, 2)).astype(np.uint16)
    p = place(Scan(voxels, np.diag([-0.9375, -0.9375, 5.0, 1.0])))
    axial = p.to_axial(voxels).astype(np.float64)
    mean = axial.reshape(2, 128, 2, 128, 2).mean((2, 4))
    np.testing.assert_array_equal(p.down(axial), mean.astype(np.float32))


def test_a_scan_on_the_models_own_grid_is_not_resampled() -> None:
    voxels = np.random.default_rng(0).random((128, 128, 2)).astype(np.float32)
    p = place(Scan(voxels, np.diag([-1.875, -1.875, 5.0, 1.0])))
    np.testing.assert_array_equal(p.down(p.to_axial(voxels)), p.to_axial(voxels))
    np.testing.assert_array_equal(p.up(p.to_axial(voxels)), p.to_axial(voxels))


def test_the_middle_of_a_side() -> None:
    assert centred(128, 96) == slice(16, 112)


# placement


@few
@given(grids(), st.sampled_from([*DTYPES, "bool"]))
def test_to_axial_and_back_is_exact(grid: Grid, dtype: str) -> None:
    voxels = np.random.default_rng(0).integers(0, 200, grid.shape).astype(dtype)
    p = place(Scan(voxels, grid.affine))
    back = p.from_axial(p.to_axial(voxels))
    assert back.dtype == voxels.dtype
    np.testing.assert_array_equal(back, voxels)


@few
@given(grids())
def test_from_axial_and_back_is_exact(grid: Grid) -> None:
    p = place(Scan(np.zeros(grid.shape), grid.affine))
    axial = np.random.default_rng(0).random(p.shape)
    np.testing.assert_array_equal(p.to_axial(p.from_axial(axial)), axial)


@few
@given(grids(), st.data())
def test_a_bright_voxel_lands_on_its_pixel(grid: Grid, data: st.DataObject) -> None:
    voxel = [data.draw(st.integers(0, n - 1)) for n in grid.shape]
    voxels = np.zeros(grid.shape, np.float32)
    voxels[tuple(voxel)] = 1000.0
    p = place(Scan(voxels, grid.affine))
    image = p.down(p.to_axial(voxels))
    right, front, top = grid.upright(voxel)
    lowest = -(p.shape[0] - 1) / 2 * p.thickness
    assert image.sum((1, 2)).argmax() == round((top - lowest) / p.thickness)
    weights = image.sum(0)
    y, x = np.mgrid[:128, :128]
    row, column = (float((v * weights).sum() / weights.sum()) for v in (y, x))
    # rows from front to back, columns from the patient's right to the left
    assert row == pytest.approx(63.5 - front / 1.875, abs=1.0)
    assert column == pytest.approx(63.5 - right / 1.875, abs=1.0)


@few
@given(grids())
def test_spacing_goes_to_its_own_axis(grid: Grid) -> None:
    p = place(Scan(np.zeros(grid.shape), grid.affine))
    by_patient_axis = [grid.spacing[grid.order.index(axis)] for axis in (2, 1, 0)]
    np.testing.assert_allclose([p.thickness, *p.pitch], by_patient_axis)


def test_the_grid_is_centred_on_the_brain() -> None:
    scan = Scan(np.zeros(UPRIGHT.shape), UPRIGHT.affine)
    brain = np.zeros(UPRIGHT.shape, bool)
    brain[10:51, 60:101] = True
    p = place(scan, brain)
    y, x = np.nonzero(p.down(p.to_axial(brain))[0] > 0.5)
    assert (y.min() + y.max()) / 2 == pytest.approx(63.5, abs=0.5)
    assert (x.min() + x.max()) / 2 == pytest.approx(63.5, abs=0.5)


@pytest.mark.parametrize("size", [128, 256])
def test_the_field_of_view_is_240_mm(size: int) -> None:
    p = place(Scan(np.zeros(UPRIGHT.shape), UPRIGHT.affine), size=size)
    assert p.model_pitch * size == 240.0
    assert p.down(np.zeros(p.shape)).shape == (3, size, size)


def test_axes_that_do_not_span_the_head_are_refused() -> None:
    affine = np.eye(4)
    affine[:3, 1] = [1.0, 0.05, 0.0]
    with pytest.raises(ScanGeometryError):
        place(Scan(np.zeros((4, 4, 4)), affine))


# grey values


def test_air_of_a_stripped_scan_is_its_constant() -> None:
    voxels = np.full((10, 10, 10), -1024, np.int16)
    voxels[3:7, 3:7, 3:7] = 40
    assert background_level(voxels) == -1024.0


def test_air_of_a_noisy_scan_is_zero() -> None:
    assert background_level(np.random.default_rng(0).integers(0, 50, (20, 20, 20)).astype(np.int16)) == 0.0


def test_air_below_zero_is_found() -> None:
    noise = np.random.default_rng(0).normal(-500, 10, (20, 20, 20)).astype(np.float32)
    assert background_level(noise) == pytest.approx(-526, abs=6)


def test_the_median_brain_has_the_models_level() -> None:
    scan, brain = brain_scan(UPRIGHT)
    tone = brain_intensity(scan.voxels, brain)
    assert float(np.median(tone.forward(scan.voxels[brain]))) == pytest.approx(BRAIN_LEVEL, abs=1e-6)
    assert float(tone.forward(np.zeros(1))[0]) == 0.0


def test_a_bright_lesion_does_not_darken_the_brain() -> None:
    scan, brain = brain_scan(UPRIGHT)
    voxels = scan.voxels.copy()
    voxels[20:40, 20:40] = 30000
    tone, without = brain_intensity(voxels, brain), brain_intensity(scan.voxels, brain)
    assert tone.gain == pytest.approx(without.gain, rel=0.05)


@pytest.mark.parametrize("empty", [True, False])
def test_a_brain_that_is_empty_or_black_is_refused(empty: bool) -> None:
    voxels = np.zeros((8, 8, 8), np.int16)
    voxels[0] = 5
    brain = np.zeros(voxels.shape, bool)
    brain[4:6] = not empty
    with pytest.raises(NotABrainError):
        brain_intensity(voxels, brain)


def test_slices_are_stripped_and_in_range() -> None:
    scan, brain = brain_scan(UPRIGHT)
    voxels = scan.voxels.copy()
    voxels[0] = voxels[40:46, 40:46] = 20000  # scalp, and a vessel
    stack = to_slices(replace(scan, voxels=voxels), brain)
    assert stack.images.dtype == np.float32
    assert (float(stack.images.min()), float(stack.images.max())) == (0.0, 1.0)
    assert not stack.images[~stack.brain].any()
    assert stack.images[:, 64, 4:10].max() == 0.0


def test_slices_of_one_volume_share_their_gain() -> None:
    scan, brain = brain_scan(UPRIGHT)
    voxels = scan.voxels.copy()
    voxels[..., 1] = np.where(brain[..., 1], 60, 0)
    stack = to_slices(replace(scan, voxels=voxels), brain)
    middle = stack.images[:, 60:68, 60:68].mean((1, 2))
    assert middle[1] == pytest.approx(0.5 * middle[0], rel=0.05)


def test_published_scaling_takes_each_slice_to_its_own_maximum() -> None:
    scan, brain = brain_scan(UPRIGHT)
    voxels = scan.voxels.copy()
    voxels[..., 1] = np.where(brain[..., 1], 60, 0)
    stack = to_slices(replace(scan, voxels=voxels), brain, scaling="per_slice_max")
    assert float(stack.images[1].max()) == pytest.approx(1.0, abs=1e-5)
    assert stack.intensity_of(1).gain == pytest.approx(1 / 60)


def test_published_scaling_survives_an_empty_slice() -> None:
    scan, brain = brain_scan(UPRIGHT)
    brain = brain.copy()
    brain[..., 2] = False
    stack = to_slices(scan, brain, scaling="per_slice_max")
    assert not stack.images[2].any()
    assert np.isfinite(stack.images).all()


# masks and maps


@few
@given(grids())
def test_a_map_returns_to_where_it_came_from(grid: Grid) -> None:
    scan, brain = brain_scan(grid)
    p = place(scan, brain)
    inner = p.up(p.down(np.ones(p.shape))) > 0.999
    ramp = p.to_axial(grid.upright(np.stack(np.indices(grid.shape), -1))[..., 1].astype(np.float32))
    back = map_to_scan(p.down(ramp), p)
    assert back.shape == grid.shape
    # by the border the map falls to 0; far from it a ramp stays a ramp
    inside = np.zeros(grid.shape, bool)
    inside[tuple(slice(None) if a == 2 else slice(5, -5) for a in grid.order)] = True
    inside &= np.ascontiguousarray(p.from_axial(inner))
    assume(inside.any())
    assert np.abs(back - p.from_axial(ramp))[inside].max() < 0.5 * 1.875


@few
@given(grids(), st.data())
def test_a_drawn_voxel_is_never_lost(grid: Grid, data: st.DataObject) -> None:
    scan, brain = brain_scan(grid)
    mask = np.zeros(grid.shape, bool)
    mask[tuple(data.draw(st.integers(0, n - 1)) for n in grid.shape)] = True
    p = place(scan, brain)
    on_grid = mask_to_slices(mask, p)
    np.testing.assert_array_equal(on_grid.any((1, 2)), p.to_axial(mask).any((1, 2)))


def test_a_mask_keeps_its_area() -> None:
    scan, brain = brain_scan(UPRIGHT)
    mask = np.zeros(UPRIGHT.shape, bool)
    mask[30:70, 40:90, 1] = True
    p = place(scan, brain)
    assert mask_to_slices(mask, p, 0.5).sum() * p.model_pitch**2 == pytest.approx(mask.sum(), rel=0.08)
