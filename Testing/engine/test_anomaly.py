"""Anomaly maps and lesion maps: a healthy slice shows nothing, and scale is never made up."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from braindiffusion.errors import SettingsError
from braindiffusion.volume.anomaly import VARIANTS, anomaly_map, grey_open_close, lesion_map

SIDE = 48
EVERYWHERE = np.ones((1, SIDE, SIDE), bool)


def slices(n: int = 1, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).random((n, SIDE, SIDE))
    return (0.3 + 0.3 * ndimage.gaussian_filter(noise, (0, 1, 1))).astype(np.float32)


def with_block(x: np.ndarray, height: float = 0.3, size: int = 14, at: int = 16) -> np.ndarray:
    """The slices with a bright square."""
    out = x.copy()
    out[:, at : at + size, at : at + size] += np.float32(height)
    return out


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_unchanged_slice_has_no_anomaly(variant: str) -> None:
    assert not anomaly_map(slices(), slices(), variant).any()


@pytest.mark.parametrize("variant", ["ours", "bright", "paper"])
def test_a_nearly_unchanged_slice_has_no_lesion(variant: str) -> None:
    """Differences far below the threshold stay below it, because a map is not divided by its own maximum."""
    x = slices()
    healed = x + 0.01 * np.random.default_rng(1).standard_normal(x.shape).astype(np.float32)
    assert not lesion_map(anomaly_map(x, healed, variant), EVERYWHERE, 0.1, 1.875).any()


@pytest.mark.parametrize("variant", ["ours", "bright", "paper"])
def test_an_anomaly_is_in_the_units_of_the_slice(variant: str) -> None:
    x = slices()
    anomaly = anomaly_map(with_block(x, 0.3), x, variant)
    assert anomaly[0, 22, 22] == pytest.approx(0.3, abs=1e-3)
    np.testing.assert_allclose(anomaly_map(with_block(x, 0.6), x, variant), 2 * anomaly, atol=1e-5)


@pytest.mark.parametrize("variant", ["ours", "bright", "paper"])
def test_a_slice_has_the_same_anomaly_whatever_lies_beside_it(variant: str) -> None:
    x = slices(2)
    sick = x.copy()
    sick[0] = with_block(x[:1], 0.3)[0]
    sick[1] = with_block(x[1:], 0.9)[0]
    np.testing.assert_array_equal(anomaly_map(sick, x, variant)[:1], anomaly_map(sick[:1], x[:1], variant))


@pytest.mark.parametrize("variant", ["ours", "paper", "reference"])
def test_dark_and_bright_changes_count_alike(variant: str) -> None:
    x = slices()
    np.testing.assert_allclose(
        anomaly_map(with_block(x), x, variant), anomaly_map(x, with_block(x), variant), atol=1e-6
    )


def test_ours_keeps_a_thin_lesion() -> None:
    x = slices()
    thin = x.copy()
    thin[:, 10:40, 20:22] += np.float32(0.4)
    assert anomaly_map(thin, x, "ours").max() > 0.3


def test_paper_removes_what_is_thinner_than_its_kernel() -> None:
    x = np.full((1, SIDE, SIDE), 0.4, np.float32)
    thin = x.copy()
    thin[:, 10:40, 20:24] += np.float32(0.4)
    assert anomaly_map(thin, x, "paper").max() == 0.0


def test_paper_fills_a_pinhole() -> None:
    x = np.full((1, SIDE, SIDE), 0.4, np.float32)
    pinhole = with_block(x)
    pinhole[0, 22, 22] = x[0, 22, 22]
    assert anomaly_map(pinhole, x, "paper")[0, 22, 22] == pytest.approx(0.3, abs=1e-6)


def test_opening_and_closing_are_those_of_a_5_by_5_square() -> None:
    values = np.random.default_rng(0).random((2, SIDE, SIDE))
    for got, v in zip(grey_open_close(values), values, strict=True):
        opened = ndimage.maximum_filter(ndimage.minimum_filter(v, 5), 5)
        np.testing.assert_array_equal(got, ndimage.minimum_filter(ndimage.maximum_filter(opened, 5), 5))


def test_reference_is_the_published_recipe() -> None:
    """|healed - reconstruction| over its maximum, to 8 bit by truncation, eroded, opened, closed."""
    x, reconstruction = slices(1, 0), slices(1, 5)
    healed = with_block(reconstruction, 0.3)
    d = np.abs(healed - reconstruction)[0]
    grey = (d / d.max() * 255).astype(np.uint8)
    eroded = ndimage.grey_erosion(grey, (5, 5))
    opened = ndimage.grey_opening(eroded, (5, 5))
    expected = ndimage.grey_closing(opened, (5, 5)) / 255.0
    got = anomaly_map(x, healed, "reference", reconstruction=reconstruction)[0]
    np.testing.assert_allclose(got, expected, atol=1 / 255)


def test_reference_compares_with_the_reconstruction_not_the_slice() -> None:
    healed = slices(1, 5)
    assert not anomaly_map(slices(1, 0), healed, "reference", reconstruction=healed).any()


def test_reference_shaves_2_pixels_off_every_border() -> None:
    x = slices()
    shown = anomaly_map(with_block(x, size=14), x, "reference")[0] > 0.5
    assert shown.sum() == 10 * 10


def test_reference_scales_each_slice_to_its_own_maximum() -> None:
    """Which is why it is for reproduction only."""
    x = slices(2)
    sick = x.copy()
    sick[0], sick[1] = with_block(x[:1], 0.01)[0], with_block(x[1:], 0.9)[0]
    assert anomaly_map(sick, x, "reference").max((1, 2)).min() > 0.9


def test_bright_shows_only_what_is_brighter_than_the_healthy_estimate() -> None:
    x = slices()
    np.testing.assert_array_equal(anomaly_map(with_block(x), x, "bright"), anomaly_map(with_block(x), x, "ours"))
    assert not anomaly_map(x, with_block(x), "bright").any()


def test_an_unknown_variant_is_refused() -> None:
    with pytest.raises(SettingsError, match="theirs"):
        anomaly_map(slices(), slices(), "theirs")


# lesion maps


def test_a_lesion_lies_inside_the_mask() -> None:
    mask = np.zeros_like(EVERYWHERE)
    mask[:, :, :20] = True
    found = lesion_map(np.ones((1, SIDE, SIDE), np.float32), mask, 0.1, 1.875)
    np.testing.assert_array_equal(found, mask)


def test_only_what_is_above_the_threshold_is_a_lesion() -> None:
    anomaly = np.array([[[0.1, 0.1001, 0.05]]], np.float64)
    assert lesion_map(anomaly, np.ones((1, 1, 3), bool), 0.1, 1.0).tolist() == [[[False, True, False]]]


def test_holes_in_a_lesion_are_filled() -> None:
    anomaly = np.zeros((1, SIDE, SIDE), np.float32)
    anomaly[0, 10:20, 10:20] = 1.0
    anomaly[0, 14, 14] = 0.0
    assert lesion_map(anomaly, EVERYWHERE, 0.1, 1.0).sum() == 100


def test_a_hole_in_the_mask_is_not_filled() -> None:
    anomaly, mask = np.ones((1, SIDE, SIDE), np.float32), EVERYWHERE.copy()
    mask[0, 14, 14] = False
    assert not lesion_map(anomaly, mask, 0.1, 1.0)[0, 14, 14]


def test_specks_are_dropped_by_area() -> None:
    anomaly = np.zeros((1, SIDE, SIDE), np.float32)
    anomaly[0, 5:7, 5:7] = anomaly[0, 20:30, 20:30] = 1.0
    found = lesion_map(anomaly, EVERYWHERE, 0.1, 2.0, least_mm2=17.0)
    assert (found.sum(), found[0, 5, 5]) == (100, False)


def test_opening_removes_threads_and_keeps_blocks() -> None:
    anomaly = np.zeros((1, SIDE, SIDE), np.float32)
    anomaly[0, 10:25, 10:25] = anomaly[0, 17, 25:40] = 1.0
    found = lesion_map(anomaly, EVERYWHERE, 0.1, 1.0, opening_mm=2.0)
    assert not found[0, 17, 30:].any()
    assert found[0, 13:22, 13:22].all()


def test_an_opening_below_a_pixel_does_nothing() -> None:
    anomaly = np.zeros((1, SIDE, SIDE), np.float32)
    anomaly[0, 17, 5:40] = 1.0
    assert lesion_map(anomaly, EVERYWHERE, 0.1, 1.875, opening_mm=1.8).sum() == 35
