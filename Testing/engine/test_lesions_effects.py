"""Figures of an induction against scenes whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage

from braindiffusion.lesions.disharmony import disharmony, ring_contrast
from braindiffusion.lesions.effects import (
    INSIDE,
    OUTSIDE,
    change_by_distance,
    deep_fluid,
    measure,
    midline_shift,
    two_colours,
)

PITCH, THICK, SIDE = 1.875, 5.0, 128
Y, X = (np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2) * PITCH


def slices(n: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Oval brains of 0.45 with two dark ventricles either side of the middle, and a little smooth texture."""
    brain = (X / 66) ** 2 + (Y / 84) ** 2 < 1
    texture = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal((SIDE, SIDE)), 2)
    image = np.where(brain, 0.45 + 0.3 * texture, 0.0)
    for side in (-9, 9):
        image[((X - side) / 6) ** 2 + (Y / 25) ** 2 < 1] = 0.08
    return np.repeat(image[None], n, 0).astype(np.float32), np.repeat(brain[None], n, 0)


def disc(x: float, y: float, radius: float, n: int = 2) -> np.ndarray:
    return np.repeat(((X - x) ** 2 + (Y - y) ** 2 < radius**2)[None], n, 0)


def test_the_difference_has_two_colours() -> None:
    before, _ = slices()
    lesion, margin = disc(40, 0, 10), disc(40, 0, 16)
    after = before + 0.3 * lesion - 0.1 * (margin & ~lesion)
    labels = two_colours(before, after, lesion)
    assert labels.dtype == np.uint8
    assert (labels[lesion] == INSIDE).mean() > 0.8
    assert (labels[margin & ~lesion] == OUTSIDE).mean() > 0.5
    assert not labels[~margin].any()


def test_an_invisible_change_is_not_coloured() -> None:
    before, _ = slices()
    assert not two_colours(before, before + 0.02, disc(40, 0, 10)).any()


def test_change_is_told_ring_by_ring() -> None:
    before, brain = slices()
    lesion = disc(30, 0, 10)
    ring = (ndimage.distance_transform_edt(~lesion[0]) * PITCH)[None]
    after = before + np.where(lesion, 0.3, np.where((ring > 5) & (ring <= 10), -0.1, 0.0)) * brain
    rows = {(r["from_mm"], r["to_mm"]): r for r in change_by_distance(before, after, lesion, brain, PITCH)}
    assert rows[(None, 0.0)]["mean"] == pytest.approx(0.3, abs=1e-6)
    assert rows[(5.0, 10.0)]["mean"] == pytest.approx(-0.1, abs=1e-6)
    assert rows[(5.0, 10.0)]["mean_absolute"] == pytest.approx(0.1, abs=1e-6)
    assert rows[(10.0, 15.0)]["mean_absolute"] == 0
    assert rows[(None, 0.0)]["pixels"] == (lesion & brain).sum()


def test_ventricles_are_the_dark_inside() -> None:
    before, brain = slices(1)
    truth = before == np.float32(0.08)
    found = deep_fluid(before, np.zeros_like(brain), brain, PITCH)
    assert (found & truth).sum() > 0.95 * truth.sum()
    assert (found & ~truth).sum() < 0.05 * truth.sum()


def test_a_dark_lesion_is_no_ventricle_and_wider_ventricles_are_counted() -> None:
    before, brain = slices()
    lesion, wider = disc(40, 0, 10), disc(9, 0, 12)
    after = np.where(lesion, 0.1, np.where(wider, 0.08, before)).astype(np.float32)
    facts = measure(before, after, lesion, lesion | wider, brain, PITCH, THICK, "FLAIR")["ventricle"]
    added = (wider & (before >= 0.225)).sum() * PITCH**2 * THICK / 1000
    assert facts["change_ml"] == pytest.approx(added, rel=0.1)
    assert facts["after_ml"] - facts["before_ml"] == pytest.approx(facts["change_ml"], abs=1e-3)


def test_where_fluid_is_bright_nothing_is_claimed() -> None:
    before, brain = slices()
    facts = measure(before, before, disc(40, 0, 10), disc(40, 0, 10), brain, PITCH, THICK, "T2")["ventricle"]
    assert facts["change_ml"] is None
    assert "T2" in facts["why"]


@pytest.mark.parametrize("mm", [-6.0, -1.0, 0.0, 2.0, 7.5])
def test_a_shifted_midline_is_found_in_millimetres(mm: float) -> None:
    """Columns run from the patient's right to left: to higher columns is to the left, positive."""
    before, brain = slices()
    after = np.stack([ndimage.shift(b, (0, mm / PITCH), order=1) for b in before]) * brain
    lesion = disc(50, 0, 8)
    found = midline_shift(before, after.astype(np.float32), lesion, brain, PITCH)
    assert found == pytest.approx([mm, mm], abs=0.4)


def test_a_lesion_alone_shifts_nothing() -> None:
    before, brain = slices()
    lesion = disc(45, 0, 12)
    assert not midline_shift(before, before + 0.3 * lesion, lesion, brain, PITCH).any()


def test_all_figures_are_plain_data_with_definitions() -> None:
    before, brain = slices(3)
    lesion, margin = disc(40, 0, 10, 3), disc(40, 0, 20, 3)
    lesion[0] = margin[0] = False
    facts = measure(before, before + 0.3 * lesion, lesion, margin & brain, brain, PITCH, THICK, "FLAIR")
    assert facts["synthetic"] is True
    assert facts["changed_outside_ml"] == 0
    assert facts["changed_inside_ml"] > 0.7 * facts["lesion_on_model_grid_ml"] > 0
    assert facts["contrast"]["after"] - facts["contrast"]["before"] == pytest.approx(0.3, abs=1e-3)
    assert set(facts["definitions"]) == {"lesion_ml", "ventricle", "midline_shift_mm", "change_by_distance", "contrast"}


def test_nothing_painted_gives_figures_of_zero() -> None:
    before, brain = slices()
    lesion = disc(40, 0, 10)
    facts = measure(before, before, lesion, lesion, brain, PITCH, THICK, "FLAIR")
    assert facts["changed_inside_ml"] == facts["changed_outside_ml"] == 0
    assert facts["midline_shift_mm"] == {"largest": 0.0, "mean": 0.0}


# --- disharmony -----------------------------------------------------------------------------------------------


def test_the_ring_contrast_is_inside_less_outside() -> None:
    brain = slices()[1]
    flat, lesion = np.full(brain.shape, 0.4, np.float32), disc(30, 0, 12)
    found = ring_contrast(flat + 0.25 * lesion, lesion, brain, PITCH)
    assert found.values == pytest.approx([0.25, 0.25], abs=1e-6)
    assert found.seam == pytest.approx([0.25, 0.25], abs=1e-6)
    assert found.weighted_mean() == pytest.approx(0.25, abs=1e-6)


def test_a_rim_does_not_count_and_what_is_outside_the_brain_does_not() -> None:
    brain = slices()[1]
    lesion = disc(62, 0, 8)
    rim = ndimage.binary_dilation(lesion, np.array([[[0, 1, 0], [1, 1, 1], [0, 1, 0]]]))
    image = np.where(lesion, 0.7, np.where(rim, 0.9, 0.4)) * brain
    found = ring_contrast(image.astype(np.float32), lesion, brain, PITCH)
    assert found.values == pytest.approx([0.3, 0.3], abs=1e-6)
    assert found.seam[0] < 0


def test_slices_without_a_measurable_lesion_are_nan() -> None:
    brain = slices()[1]
    lesion = disc(30, 0, 12)
    lesion[1] = False
    lesion[1, 60, 60] = True
    found = ring_contrast(np.zeros(brain.shape, np.float32), lesion, brain, PITCH)
    assert math.isnan(found.values[1])
    assert found.weighted_mean() == 0
    assert ring_contrast(np.zeros(brain.shape), np.zeros_like(lesion), brain, PITCH).weighted_mean() is None


def test_harmony_is_zero_and_disharmony_is_counted_in_real_spreads() -> None:
    real = np.array([0.1, 0.2, 0.3, np.nan])
    same, off = disharmony(real, real), disharmony(real, real - 0.15)
    assert (same.difference, same.distance) == (0, 0)
    assert same.slices == (3, 3)
    assert off.difference == pytest.approx(-1.5)
    assert off.distance == pytest.approx(2 / 3)


def test_too_few_lesions_are_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        disharmony(np.array([0.1, np.nan]), np.array([0.2]))
