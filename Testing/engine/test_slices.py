"""Slices and the way back: any orientation, spacing and type; nothing moves, and nothing else changes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from braindiffusion.errors import NotABrainError, OutsideChangedError, ScanGeometryError
from braindiffusion.scan import Scan
from braindiffusion.slices import (
    BRAIN_LEVEL,
    SliceStack,
    background_level,
    brain_intensity,
    carry_back,
    centred,
    interpolation_matrix,
    map_to_scan,
    mask_to_slices,
    overlap_matrix,
    place,
    to_slices,
)

few = settings(max_examples=60, deadline=None)
DTYPES = ["uint8", "int16", "uint16", "float32"]


def turn(degrees: float, axis: int) -> np.ndarray:
    """Rotation about one patient axis."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    i, j = [(1, 2), (0, 2), (0, 1)][axis]
    out = np.eye(3)
    out[[i, j], [i, j]] = c
    out[i, j], out[j, i] = -s, s
    return out


@dataclass(frozen=True)
class Grid:
    """A voxel grid in space.

    Attributes:
        order: patient axis (0 R, 1 A, 2 S) along each voxel axis.
        sign: whether each voxel axis runs towards right, anterior, superior (1) or away (-1).
        spacing: mm along each voxel axis.
        tilt: rotation of the whole grid.
        shape: voxels along each voxel axis.
    """

    order: tuple[int, ...]
    sign: tuple[int, ...]
    spacing: tuple[float, ...]
    tilt: np.ndarray
    shape: tuple[int, ...]

    @property
    def affine(self) -> np.ndarray:
        out = np.eye(4)
        for axis, (patient, sign, mm) in enumerate(zip(self.order, self.sign, self.spacing, strict=True)):
            out[:3, axis] = self.tilt[:, patient] * sign * mm
        out[:3, 3] = [13.0, -40.0, 7.0]
        return out

    def upright(self, ijk: np.ndarray) -> np.ndarray:
        """(...,3) voxel indices -> mm to the right, front and top, from the middle of the grid, tilt undone."""
        away = (np.asarray(ijk) - (np.array(self.shape) - 1) / 2) @ self.affine[:3, :3].T
        return away @ self.tilt


@st.composite
def grids(
    draw: st.DrawFn, slices: int | None = None, side: tuple[int, int] = (12, 26), mm: tuple[float, float] = (0.6, 6.0)
) -> Grid:
    """Any axis order, direction, spacing and moderate tilt; in the plane well inside the model's field of view."""
    order = tuple(draw(st.permutations(range(3))))
    sign = tuple(draw(st.sampled_from([-1, 1])) for _ in range(3))
    spacing = tuple(draw(st.floats(*mm)) for _ in range(3))
    tilt = turn(draw(st.floats(-20, 20)), draw(st.integers(0, 2)))
    count = slices or draw(st.integers(1, 4))
    shape = tuple(count if patient == 2 else draw(st.integers(*side)) for patient in order)
    return Grid(order, sign, spacing, tilt, shape)


def brain_scan(grid: Grid, dtype: str = "int16", seed: int = 0) -> tuple[Scan, np.ndarray]:
    """A box of textured brain in black air, and its mask."""
    brain = np.zeros(grid.shape, bool)
    brain[tuple(slice(None) if p == 2 else slice(2, -2) for p in grid.order)] = True
    values = np.random.default_rng(seed).integers(90, 150, grid.shape)
    return Scan(np.where(brain, values, 0).astype(dtype), grid.affine), brain


FINE, COARSE = grids(side=(66, 72), mm=(0.6, 2.4)), grids(side=(24, 30), mm=(2.4, 6.0))
UPRIGHT = Grid((0, 1, 2), (1, 1, 1), (1.0, 1.0, 5.0), np.eye(3), (120, 140, 3))


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


# the way back


def healed_where(stack: SliceStack, mask: np.ndarray, step: float) -> np.ndarray:
    return np.where(mask, np.clip(stack.images + np.float32(step), 0, 1), stack.images)


def central_mask(stack: SliceStack, half: int = 5) -> np.ndarray:
    mask = np.zeros_like(stack.brain)
    mask[:, 64 - half : 64 + half, 64 - half : 64 + half] = True
    return mask & stack.brain


@few
@given(grids(), st.sampled_from(DTYPES), st.sampled_from([128, 256]))
def test_healing_nothing_changes_nothing(grid: Grid, dtype: str, size: int) -> None:
    scan, brain = brain_scan(grid, dtype)
    stack = to_slices(scan, brain, size)
    back = carry_back(scan, stack, stack.images.copy(), stack.brain)
    np.testing.assert_array_equal(back.voxels, scan.voxels)
    assert back.voxels.dtype == scan.voxels.dtype
    assert back.changed == 0


def test_healing_nothing_changes_no_voxel_below_the_background() -> None:
    scan, brain = brain_scan(UPRIGHT)
    voxels = scan.voxels.copy()
    voxels[50:60, 70, 1] = -7  # ringing, or a CT's fat
    scan = replace(scan, voxels=voxels)
    stack = to_slices(scan, brain)
    assert carry_back(scan, stack, stack.images.copy(), stack.brain).changed == 0


@pytest.mark.parametrize("dtype", ["float64", "int32"])
def test_healing_nothing_changes_no_voxel_finer_than_float32(dtype: str) -> None:
    scan, brain = brain_scan(UPRIGHT)
    scan = replace(scan, voxels=(scan.voxels * 1234567.1).astype(dtype))
    stack = to_slices(scan, brain)
    assert carry_back(scan, stack, stack.images.copy(), stack.brain).changed == 0


@few
@given(grids(), st.sampled_from(DTYPES), st.floats(-0.4, 0.4))
def test_outside_the_edited_region_every_bit_stays(grid: Grid, dtype: str, step: float) -> None:
    scan, brain = brain_scan(grid, dtype)
    stack = to_slices(scan, brain)
    mask = central_mask(stack)
    back = carry_back(scan, stack, healed_where(stack, mask, step), mask)
    assert (back.voxels.dtype, back.voxels.shape) == (scan.voxels.dtype, scan.voxels.shape)
    np.testing.assert_array_equal(back.voxels[~back.edited], scan.voxels[~back.edited])
    assert back.changed == (back.voxels != scan.voxels).sum()


@few
@given(grids(), st.floats(-0.4, 0.4))
def test_the_edited_region_is_the_mask_and_a_seam(grid: Grid, step: float) -> None:
    scan, brain = brain_scan(grid)
    stack = to_slices(scan, brain)
    mask = central_mask(stack)
    back = carry_back(scan, stack, healed_where(stack, mask, step), mask)
    where = np.argwhere(back.edited)
    # half the mask, half a model pixel, half a voxel and 2 mm of seam from the middle of the brain
    reach = 5 * 1.875 + 0.94 + max(stack.placement.pitch) + 2.0
    assert where.size == 0 or np.abs(grid.upright(where)[:, :2]).max() <= reach


@few
@given(FINE | COARSE, st.sampled_from(DTYPES), st.sampled_from([-0.3, 0.3]), st.data())
def test_a_patch_appears_at_its_place_in_the_world(grid: Grid, dtype: str, step: float, data: st.DataObject) -> None:
    brain = np.zeros(grid.shape, bool)
    brain[tuple(slice(None) if p == 2 else slice(1, -1) for p in grid.order)] = True
    scan = Scan(np.where(brain, 100, 0).astype(dtype), grid.affine)
    stack = to_slices(scan, brain)
    p = stack.placement
    s = data.draw(st.integers(0, len(stack) - 1))
    native = max(1, round(max(p.pitch) / 1.875))
    rows, columns = (np.nonzero(stack.brain[s].any(axis))[0] for axis in (1, 0))
    reach = 2 + native
    row, column = (data.draw(st.integers(int(v[0]) + reach + 4, int(v[-1]) - reach - 4)) for v in (rows, columns))
    mask = np.zeros_like(stack.brain)
    mask[s, row - reach : row + reach + 1, column - reach : column + reach + 1] = True
    back = carry_back(scan, stack, healed_where(stack, mask, step), mask)
    change = np.abs(back.voxels.astype(np.float64) - scan.voxels)
    assert change.any()
    place_found = (grid.upright(np.argwhere(change > 0)) * change[change > 0][:, None]).sum(0) / change.sum()
    expected = ((63.5 - column) * 1.875, (63.5 - row) * 1.875)
    tolerance = max(1.875, 0.5 * max(p.pitch))
    assert place_found[0] == pytest.approx(expected[0], abs=tolerance)
    assert place_found[1] == pytest.approx(expected[1], abs=tolerance)
    assert round(place_found[2] / p.thickness + (len(stack) - 1) / 2) == s


@few
@given(grids(slices=1), st.sampled_from(DTYPES))
def test_a_single_slice_goes_there_and_back(grid: Grid, dtype: str) -> None:
    scan, brain = brain_scan(grid, dtype)
    stack = to_slices(scan, brain)
    mask = central_mask(stack)
    back = carry_back(scan, stack, healed_where(stack, mask, 0.3), mask)
    assert len(stack) == 1
    assert back.changed > 0 or not back.edited.any()


def edited(step: float, seed: int = 0, voxels: np.ndarray | None = None, **options):
    """The textured brain with a central square changed by ``step``: scan, way back, and (I,J,K) mask of its core."""
    scan, brain = brain_scan(UPRIGHT)
    if voxels is not None:
        scan = replace(scan, voxels=voxels)
    stack = to_slices(scan, brain)
    mask = central_mask(stack, 8)
    back = carry_back(scan, stack, healed_where(stack, mask, step), mask, seed, **options)
    core = map_to_scan(mask.astype(np.float32), stack.placement) > 0.999
    return scan, back, core


def test_the_edit_has_the_size_that_the_model_asked_for() -> None:
    scan, back, core = edited(0.2)
    gain = 0.45 / np.median(scan.voxels[scan.voxels > 0])
    change = (back.voxels[core].astype(float) - scan.voxels[core]).mean()
    assert change == pytest.approx(0.2 / gain, rel=0.05)


def test_an_edited_region_keeps_grain_like_its_surroundings() -> None:
    scan, back, core = edited(0.2)
    assert back.voxels[core].std() == pytest.approx(scan.voxels[scan.voxels > 0].std(), rel=0.35)


def test_the_same_seed_brings_back_the_same_voxels() -> None:
    np.testing.assert_array_equal(edited(0.2)[1].voxels, edited(0.2)[1].voxels)


def test_another_seed_draws_another_grain() -> None:
    assert (edited(0.2, seed=0)[1].voxels != edited(0.2, seed=1)[1].voxels).any()


def test_a_wider_seam_reaches_further() -> None:
    assert edited(0.2, seam_mm=1.0)[1].edited.sum() < edited(0.2, seam_mm=6.0)[1].edited.sum()


def test_the_seam_has_no_step() -> None:
    """From the core outwards the mean change falls over several voxels, not at once."""
    scan, back, _ = edited(0.3, seam_mm=6.0)
    change = (back.voxels.astype(float) - scan.voxels)[:, :, 1]
    profile = change[50:70].mean(0)  # along the rows, averaged across the square
    assert np.abs(np.diff(profile)).max() < 0.6 * profile.max()


def test_nothing_becomes_darker_than_air() -> None:
    _, back, _ = edited(-0.45)
    assert back.voxels.min() == 0


@pytest.mark.parametrize(("dtype", "top"), [("uint8", 255), ("int16", 32767), ("uint16", 65535)])
def test_an_integer_never_wraps_around(dtype: str, top: int) -> None:
    scan, brain = brain_scan(UPRIGHT, dtype)
    scan = replace(scan, voxels=np.where(brain, top - 5, 0).astype(dtype))
    stack = to_slices(scan, brain)
    mask = central_mask(stack)
    back = carry_back(scan, stack, healed_where(stack, mask, 0.3), mask)
    assert back.changed > 0
    assert back.voxels[brain].min() > 0.97 * top  # interpolation rings a little along the seam


def test_an_empty_mask_brings_back_the_scan() -> None:
    scan, brain = brain_scan(UPRIGHT)
    stack = to_slices(scan, brain)
    back = carry_back(scan, stack, 1 - stack.images, np.zeros_like(stack.brain))
    np.testing.assert_array_equal(back.voxels, scan.voxels)
    assert not back.edited.any()


def test_the_scan_is_not_written_to() -> None:
    scan, brain = brain_scan(UPRIGHT)
    before = scan.voxels.copy()
    stack = to_slices(scan, brain)
    carry_back(scan, stack, 1 - stack.images, stack.brain)
    np.testing.assert_array_equal(scan.voxels, before)


def test_skull_beside_an_edit_stays_as_it_is() -> None:
    """An edit at the brain's border has a seam, but the seam ends at the brain."""
    scan, brain = brain_scan(UPRIGHT)
    scan = replace(scan, voxels=np.where(brain, scan.voxels, 400).astype(np.int16))
    stack = to_slices(scan, brain)
    mask = np.zeros_like(stack.brain)
    mask[1, :, :50] = True
    mask &= stack.brain
    back = carry_back(scan, stack, healed_where(stack, mask, -0.3), mask)
    assert back.changed > 500
    # a model pixel that is mostly brain may hold a voxel of skull
    far = np.zeros_like(brain)
    far[:1] = far[-1:] = far[:, :1] = far[:, -1:] = True
    assert not (back.voxels != scan.voxels)[far].any()


def test_a_change_outside_the_region_withholds_the_result() -> None:
    """A voxel that does not even equal itself stands for any such defect."""
    scan, brain = brain_scan(UPRIGHT, "float32")
    stack = to_slices(scan, brain)
    broken = scan.voxels.copy()
    broken[0, 0, 0] = np.nan
    mask = central_mask(stack)
    with pytest.raises(OutsideChangedError):
        carry_back(replace(scan, voxels=broken), stack, healed_where(stack, mask, 0.2), mask)


def test_voxels_beyond_the_field_of_view_stay() -> None:
    grid = replace(UPRIGHT, spacing=(3.0, 3.0, 5.0))
    scan, brain = brain_scan(grid)
    stack = to_slices(scan, brain)
    back = carry_back(scan, stack, healed_where(stack, stack.brain, 0.3), stack.brain)
    beyond = np.abs(grid.upright(np.argwhere(back.edited))[:, :2]).max()
    assert beyond <= 120.0
