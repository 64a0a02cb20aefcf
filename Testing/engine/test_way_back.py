"""The way back to the scan: the edit in its place with a seam and with grain, and nothing else changed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from slice_grids import COARSE, DTYPES, FINE, UPRIGHT, Grid, brain_scan, few, grids

from braindiffusion.errors import OutsideChangedError
from braindiffusion.volume.paste_back import carry_back
from braindiffusion.volume.scan import Scan
from braindiffusion.volume.slices import SliceStack, map_to_scan, to_slices


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


@pytest.mark.parametrize("step", [0.3, -0.2])
def test_a_seam_inside_leaves_every_voxel_outside_the_mask(step: float) -> None:
    scan, brain = brain_scan(UPRIGHT)
    stack = to_slices(scan, brain)
    mask = central_mask(stack, 6)
    within = stack.placement.up(mask.astype(np.float32)) > 0.5
    within[:, : within.shape[1] // 2] = False  # what was drawn is half of what the model changed
    back = carry_back(scan, stack, healed_where(stack, mask, step), mask, within=within)
    drawn = stack.placement.from_axial(within)
    assert back.changed > 0
    assert not (back.edited & ~drawn).any()
    assert not ((back.voxels != scan.voxels) & ~drawn).any()


def test_a_seam_inside_still_heals_the_middle_of_a_thin_mask() -> None:
    scan, brain = brain_scan(UPRIGHT)
    stack = to_slices(scan, brain)
    mask = central_mask(stack, 1)
    within = stack.placement.up(mask.astype(np.float32)) > 0.5
    back = carry_back(scan, stack, healed_where(stack, mask, 0.3), mask, within=within)
    gain = 0.45 / np.median(scan.voxels[scan.voxels > 0])
    assert np.abs(back.voxels.astype(float) - scan.voxels).max() > 0.15 / gain
