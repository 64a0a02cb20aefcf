"""Masks on the model grid: from saliency, by millimetres, as boxes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from braindiffusion.errors import SettingsError
from braindiffusion.volume.masks import (
    boxes,
    dilate,
    drop_small,
    fill,
    grown_mask,
    outline_floor,
    percentile_mask,
    smooth,
    touching,
)


def random_saliency(n: int = 2, side: int = 64, seed: int = 0) -> np.ndarray:
    """(N,H,W) smooth positive maps without ties."""
    noise = np.random.default_rng(seed).random((n, side, side))
    return ndimage.gaussian_filter(noise, (0, 2, 2)).astype(np.float32)


def disc(side: int = 64, radius: float = 20) -> np.ndarray:
    """(1,H,W) a round "brain"."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    return (x * x + y * y <= radius * radius)[None]


def dot(side: int = 31) -> np.ndarray:
    """(1,H,W) mask of the central pixel."""
    mask = np.zeros((1, side, side), bool)
    mask[0, side // 2, side // 2] = True
    return mask


# smoothing


def test_smoothing_uses_the_published_kernel() -> None:
    """5 x 5, sigma 1.1: the impulse response is the kernel itself."""
    response = smooth(dot().astype(float))[0, 13:18, 13:18]
    g = np.exp(-(np.arange(-2, 3) ** 2) / (2 * 1.1**2))
    np.testing.assert_allclose(response, np.outer(g, g) / g.sum() ** 2, atol=1e-12)


def test_smoothing_ends_after_2_pixels() -> None:
    assert np.count_nonzero(smooth(dot().astype(float))) == 25


def test_smoothing_stays_within_its_slice() -> None:
    stack = np.zeros((3, 9, 9))
    stack[1, 4, 4] = 1.0
    assert not smooth(stack)[[0, 2]].any()


def test_smoothing_keeps_a_constant_map() -> None:
    np.testing.assert_allclose(smooth(np.full((1, 9, 9), 0.3)), 0.3, atol=1e-15)


# percentile


@pytest.mark.parametrize("percentile", [50.0, 90.0, 99.0])
def test_paper_order_keeps_exactly_the_top_share(percentile: float) -> None:
    saliency = random_saliency()
    kept = percentile_mask(saliency, percentile, over="field_of_view").mean((1, 2)) * 64 * 64
    np.testing.assert_allclose(kept, (100 - percentile) / 100 * 64 * 64, atol=1)


def test_paper_order_keeps_the_brightest_of_the_smoothed_map() -> None:
    saliency = random_saliency()
    mask, smoothed = percentile_mask(saliency, over="field_of_view"), smooth(saliency)
    for n in range(2):
        assert smoothed[n][mask[n]].min() > smoothed[n][~mask[n]].max()


def test_reference_order_keeps_all_that_is_above_the_threshold() -> None:
    saliency = random_saliency()
    above = np.stack([s > np.percentile(s, 90) for s in saliency])
    assert not (above & ~percentile_mask(saliency, order="reference", over="field_of_view")).any()


def test_reference_order_grows_the_thresholded_set_by_2_pixels() -> None:
    saliency = random_saliency()
    above = np.stack([s > np.percentile(s, 90) for s in saliency])
    grown = ndimage.binary_dilation(above, np.ones((1, 5, 5)))
    np.testing.assert_array_equal(percentile_mask(saliency, order="reference", over="field_of_view"), grown)


def test_paper_order_is_the_default() -> None:
    saliency = random_saliency()
    np.testing.assert_array_equal(percentile_mask(saliency), percentile_mask(saliency, order="paper"))


@pytest.mark.parametrize("order", ["paper", "reference"])
def test_a_slice_without_saliency_gets_no_mask(order: str) -> None:
    assert not percentile_mask(np.zeros((2, 16, 16)), order=order, over="field_of_view").any()


@pytest.mark.parametrize("order", ["paper", "reference"])
def test_a_constant_saliency_selects_nothing(order: str) -> None:
    assert not percentile_mask(np.full((1, 16, 16), 0.7), order=order, over="field_of_view").any()


def test_with_more_than_nine_tenths_equal_all_the_rest_is_kept() -> None:
    saliency = np.zeros((1, 40, 40))
    saliency[0, 10:14, 20:25] = np.random.default_rng(0).random((4, 5)) + 0.1
    mask = percentile_mask(saliency, 90, order="reference", over="field_of_view")
    np.testing.assert_array_equal(mask, ndimage.binary_dilation(saliency > 0, np.ones((1, 5, 5))))


def test_with_more_than_nine_tenths_equal_paper_order_keeps_what_smoothing_reaches() -> None:
    saliency = np.zeros((1, 40, 40))
    saliency[0, 20, 20] = 1.0
    mask = percentile_mask(saliency, 90, over="field_of_view")
    np.testing.assert_array_equal(mask, smooth(saliency) > 0)


def test_slices_have_their_own_thresholds() -> None:
    saliency = random_saliency(2)
    saliency[1] *= 100
    np.testing.assert_allclose(percentile_mask(saliency, over="field_of_view").mean((1, 2)), 0.1, atol=0.001)


def test_percentile_over_the_brain_selects_a_tenth_of_the_brain() -> None:
    brain = disc()
    mask = percentile_mask(random_saliency(1) * brain, 90, over="brain", brain=brain)
    assert mask.sum() / brain.sum() == pytest.approx(0.1, abs=0.005)


def test_percentile_over_the_field_of_view_selects_more_of_the_brain() -> None:
    """A tenth of the picture is a third of a brain that fills three tenths of it."""
    brain = disc()
    mask = percentile_mask(random_saliency(1) * brain, 90, order="reference", over="field_of_view", brain=brain)
    assert mask.sum() / brain.sum() > 0.1 * brain.size / brain.sum() - 0.01


@pytest.mark.parametrize("over", ["brain", "field_of_view"])
@pytest.mark.parametrize("order", ["paper", "reference"])
def test_a_mask_stays_inside_the_brain(over: str, order: str) -> None:
    brain = disc()
    mask = percentile_mask(random_saliency(1), order=order, over=over, brain=brain)
    assert mask.any()
    assert not (mask & ~brain).any()


def test_a_slice_without_brain_gets_no_mask() -> None:
    brain = np.concatenate([disc(), np.zeros_like(disc())])
    assert not percentile_mask(random_saliency(2), over="brain", brain=brain)[1].any()


def test_percentile_100_selects_nothing() -> None:
    assert not percentile_mask(random_saliency(), 100, over="field_of_view").any()


@pytest.mark.parametrize("percentile", [-0.1, 100.1, float("nan")])
def test_an_impossible_percentile_is_refused(percentile: float) -> None:
    with pytest.raises(SettingsError):
        percentile_mask(random_saliency(), percentile)


@given(st.floats(0, 100), st.sampled_from(["paper", "reference"]))
def test_a_higher_percentile_never_selects_more(percentile: float, order: str) -> None:
    saliency = random_saliency(1, 24)
    lower = percentile_mask(saliency, percentile, order=order, over="field_of_view")
    higher = percentile_mask(saliency, (percentile + 100) / 2, order=order, over="field_of_view")
    assert not (higher & ~lower).any()


# millimetres


@pytest.mark.parametrize(("pitch", "radius_px"), [(1.875, 2), (0.9375, 4)])
def test_a_margin_reaches_as_far_on_any_grid(pitch: float, radius_px: int) -> None:
    y, x = np.mgrid[:31, :31] - 15
    np.testing.assert_array_equal(dilate(dot(), 3.75, pitch)[0], x * x + y * y <= radius_px**2)


def test_a_margin_stays_within_its_slice() -> None:
    stack = np.concatenate([np.zeros_like(dot()), dot(), np.zeros_like(dot())])
    assert dilate(stack, 10, 1.0).any((1, 2)).tolist() == [False, True, False]


def test_no_margin_changes_nothing() -> None:
    np.testing.assert_array_equal(dilate(disc(), 0.0, 1.0), disc())


def test_the_result_of_no_margin_is_a_copy() -> None:
    mask = dot()
    assert not np.shares_memory(dilate(mask, 0.0, 1.0), mask)


@pytest.mark.parametrize("margin", [5.0, -5.0])
def test_an_empty_mask_stays_empty(margin: float) -> None:
    assert not dilate(np.zeros((2, 9, 9), bool), margin, 1.0).any()


@pytest.mark.parametrize(("pitch", "shrunk_px"), [(1.875, 2), (0.9375, 4)])
def test_a_negative_margin_shrinks(pitch: float, shrunk_px: int) -> None:
    square = np.zeros((1, 41, 41), bool)
    square[0, 10:31, 10:31] = True
    kept = dilate(square, -3.75, pitch)[0]
    assert np.nonzero(kept.any(0))[0].tolist() == list(range(10 + shrunk_px, 31 - shrunk_px))


def test_a_negative_margin_can_shrink_to_nothing() -> None:
    assert not dilate(dot(), -1.0, 1.0).any()


# boxes and specks

TWO_SHAPES = np.zeros((1, 12, 12), bool)
TWO_SHAPES[0, 1, 1] = TWO_SHAPES[0, 2, 1:4] = True
TWO_SHAPES[0, 8:10, 8] = True


def test_each_component_gets_its_box() -> None:
    expected = np.zeros_like(TWO_SHAPES)
    expected[0, 1:3, 1:4] = expected[0, 8:10, 8:9] = True
    np.testing.assert_array_equal(boxes(TWO_SHAPES), expected)


def test_one_box_can_hold_a_whole_slice() -> None:
    expected = np.zeros_like(TWO_SHAPES)
    expected[0, 1:10, 1:9] = True
    np.testing.assert_array_equal(boxes(TWO_SHAPES, per_component=False), expected)


@pytest.mark.parametrize("per_component", [True, False])
def test_an_empty_slice_gets_no_box(per_component: bool) -> None:
    assert not boxes(np.zeros((2, 5, 5), bool), per_component).any()


def test_components_below_the_least_area_are_dropped() -> None:
    kept = drop_small(TWO_SHAPES, 4 * 1.5**2, 1.5)
    assert np.nonzero(kept[0].any(1))[0].tolist() == [1, 2]


def test_a_component_of_just_the_least_area_is_kept() -> None:
    np.testing.assert_array_equal(drop_small(TWO_SHAPES, 2 * 0.5**2, 0.5), TWO_SHAPES)


def test_pixels_that_touch_at_a_corner_are_one_component() -> None:
    diagonal = np.eye(6, dtype=bool)[None]
    np.testing.assert_array_equal(drop_small(diagonal, 6.0, 1.0), diagonal)


def test_the_background_is_never_a_component() -> None:
    assert not drop_small(dot(), 4.0, 1.0).any()


# components that hold a seed


def test_a_component_with_a_seed_is_kept_whole() -> None:
    seed = np.zeros_like(TWO_SHAPES)
    seed[0, 2, 3] = True
    kept = touching(TWO_SHAPES, seed)
    assert kept.sum() == 4
    assert not kept[0, 8:10].any()


def test_a_seed_beside_a_component_keeps_nothing() -> None:
    seed = np.zeros_like(TWO_SHAPES)
    seed[0, 3, 3] = True
    assert not touching(TWO_SHAPES, seed).any()


def test_a_seed_reaches_across_corners() -> None:
    diagonal, seed = np.eye(6, dtype=bool)[None], np.zeros((1, 6, 6), bool)
    seed[0, 0, 0] = True
    np.testing.assert_array_equal(touching(diagonal, seed), diagonal)


def test_a_seed_does_not_reach_other_slices() -> None:
    stack = np.ones((3, 4, 4), bool)
    seed = np.zeros_like(stack)
    seed[1, 0, 0] = True
    assert touching(stack, seed).any((1, 2)).tolist() == [False, True, False]


def test_holes_are_filled_within_each_slice() -> None:
    ring = np.zeros((3, 9, 9), bool)
    ring[1, 2:7, 2:7] = True
    ring[1, 4, 4] = False
    filled = fill(ring)
    assert filled[1].sum() == 25
    assert not filled[[0, 2]].any()


def test_a_bay_is_no_hole() -> None:
    bay = np.zeros((1, 9, 9), bool)
    bay[0, 2:7, 2:7] = True
    bay[0, 2:5, 4] = False
    np.testing.assert_array_equal(fill(bay), bay)


def test_filling_nothing_gives_nothing() -> None:
    assert fill(np.zeros((0, 9, 9), bool)).shape == (0, 9, 9)


def bright_spots() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images with two bright discs in a round brain, the brain, and a seed in the first disc."""
    y, x = np.mgrid[:64, :64]
    first, second = ((x - cx) ** 2 + (y - 32) ** 2 <= 36 for cx in (24, 42))
    images = np.where(disc()[0], 0.45, 0.0) + 0.4 * (first | second)
    seed = np.zeros((1, 64, 64), bool)
    seed[0, 32, 24] = True
    return images[None], disc(), seed


def test_a_seed_grows_to_the_lesion_it_touches_and_no_other() -> None:
    images, brain, seed = bright_spots()
    grown = grown_mask(seed, images, brain, 0.65)[0]
    assert grown[28:37, 20:29].all()
    assert not grown[:, 36:].any()


def test_growth_stays_in_the_brain() -> None:
    images, brain, seed = bright_spots()
    narrow = brain & (np.arange(64) >= 22)
    assert not (grown_mask(seed, images, narrow, 0.65) & ~narrow).any()


def test_a_seed_in_dark_tissue_does_not_grow() -> None:
    images, brain, seed = bright_spots()
    seed = np.roll(seed, 16, axis=1)
    np.testing.assert_array_equal(grown_mask(seed, images, brain, 0.65), seed)


def test_without_seeds_nothing_grows() -> None:
    images, brain, seed = bright_spots()
    assert not grown_mask(np.zeros_like(seed), images, brain, 0.65).any()


def test_the_outline_is_held_where_tissue_reaches_the_brains_border() -> None:
    """A lesion at the border and one deep inside: only the first has a floor, and only its tissue within 8 mm."""
    y, x = np.mgrid[:64, :64]
    brain = ((x - 32) ** 2 + (y - 32) ** 2 < 28**2)[None]
    images = np.where(brain, 0.45, 0.0).astype(np.float32)
    images[0, 30:34, 5:12] = 0.05  # fluid at the border
    mask = brain & (x < 20)[None]
    floor = outline_floor(images, brain, mask, 1.875)
    depth = ndimage.distance_transform_edt(brain[0]) * 1.875
    held = floor[0] > 0
    assert held.any()
    assert not held[depth >= 8].any()
    assert not held[~mask[0]].any()
    assert not held[31:33, 6:9].any()
    assert set(np.unique(floor)) == {np.float32(0), np.float32(0.38)}
    deep = brain & ((x - 32) ** 2 + (y - 32) ** 2 < 36)[None]
    assert not outline_floor(images, brain, deep, 1.875).any()


def test_a_hole_in_the_brain_mask_is_no_border() -> None:
    brain = np.ones((1, 40, 40), bool)
    brain[0, 15:25, 15:25] = False
    padded = np.pad(brain, ((0, 0), (12, 12), (12, 12)))
    images = np.where(padded, 0.45, 0.0).astype(np.float32)
    mask = np.zeros_like(padded)
    mask[0, 22:42, 22:27] = True  # beside the hole, far from the outside
    assert not outline_floor(images, padded, mask, 1.0).any()
