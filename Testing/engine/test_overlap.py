"""Overlap: the floors, the empty case, and intervals by patient."""

from __future__ import annotations

import math

import numpy as np
import pytest

from braindiffusion.evaluation.metrics.overlap import (
    Counts,
    bootstrap_interval,
    count,
    patient_means,
    pooled_dice,
    summary,
)

SHAPE = (20, 20)


def drawn(pixels: int) -> np.ndarray:
    """A mask of so many pixels."""
    mask = np.zeros(SHAPE, bool)
    mask.flat[:pixels] = True
    return mask


def shifted(pixels: int, by: int) -> np.ndarray:
    return np.roll(drawn(pixels), by)


NOTHING, ALL = drawn(0), np.ones(SHAPE, bool)


def test_counts_add_up_to_the_slice() -> None:
    assert count(shifted(40, 10), drawn(40)) == Counts(tp=30, fp=10, fn=10, tn=350)


def test_dice_and_iou_of_a_shifted_lesion() -> None:
    c = count(shifted(40, 10), drawn(40))
    assert (c.dice, c.iou) == (0.75, 0.6)


def test_a_perfect_prediction_scores_1() -> None:
    c = count(drawn(40), drawn(40))
    assert (c.dice, c.iou, c.two_class_dice) == (1.0, 1.0, 1.0)


def test_predicting_nothing_scores_0_on_a_lesion() -> None:
    c = count(NOTHING, drawn(40))
    assert (c.dice, c.iou) == (0.0, 0.0)


def test_predicting_everything_scores_by_the_lesions_share() -> None:
    c = count(ALL, drawn(40))
    assert c.dice == pytest.approx(2 * 40 / 440)
    assert c.iou == pytest.approx(40 / 400)


def test_both_empty_is_undefined_and_no_success() -> None:
    c = count(NOTHING, NOTHING)
    assert math.isnan(c.dice)
    assert math.isnan(c.iou)


def test_two_class_dice_of_both_empty_is_undefined_too() -> None:
    assert math.isnan(count(NOTHING, NOTHING).two_class_dice)


def test_a_false_alarm_on_a_lesion_free_slice_scores_0() -> None:
    assert count(drawn(3), NOTHING).dice == 0.0


def test_predicting_nothing_scores_near_one_half_over_two_classes() -> None:
    """The reading under which 0.494 in the published table is a map that is always empty."""
    assert count(NOTHING, drawn(10)).two_class_dice == pytest.approx((0 + 2 * 390 / 790) / 2)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="shapes"):
        count(np.zeros((2, 3), bool), np.zeros((3, 2), bool))


def test_pooled_dice_weighs_by_pixels() -> None:
    large, missed = count(drawn(90), drawn(90)), count(NOTHING, drawn(10))
    assert pooled_dice([large, missed]) == pytest.approx(180 / 190)


def test_pooled_dice_of_nothing_is_undefined() -> None:
    assert math.isnan(pooled_dice([count(NOTHING, NOTHING)]))
    assert math.isnan(pooled_dice([]))


# by patient


def test_a_patient_counts_once_however_many_slices() -> None:
    means = patient_means(np.array([1.0, 1.0, 1.0, 0.0]), np.array(["a", "a", "a", "b"]))
    assert means.tolist() == [1.0, 0.0]


def test_undefined_slices_and_patients_are_left_out() -> None:
    values = np.array([0.5, np.nan, np.nan])
    assert patient_means(values, np.array(["a", "a", "b"])).tolist() == [0.5]


def test_the_interval_holds_the_mean() -> None:
    values = np.random.default_rng(0).random(30)
    low, high = bootstrap_interval(values)
    assert low < values.mean() < high


def test_the_interval_is_about_two_standard_errors_wide_each_way() -> None:
    values = np.random.default_rng(0).standard_normal(200)
    low, high = bootstrap_interval(values)
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / math.sqrt(200), rel=0.1)


def test_the_interval_is_drawn_from_a_seed() -> None:
    values = np.random.default_rng(0).random(10)
    assert bootstrap_interval(values) == bootstrap_interval(values)


def test_one_patient_has_no_interval() -> None:
    assert all(math.isnan(v) for v in bootstrap_interval(np.array([0.5])))


def test_more_slices_of_the_same_patients_do_not_narrow_the_interval() -> None:
    counts = [count(shifted(40, by), drawn(40)) for by in (0, 5, 10, 20, 30)]
    once = summary(counts, np.array(list("abcde")), 1.0)
    thrice = summary(counts * 3, np.array(list("abcde") * 3), 1.0)
    assert once["lesion_dice_interval"] == thrice["lesion_dice_interval"]


# the table

PATIENTS = np.array(["a", "a", "a", "b", "b"])
DRAWN = [drawn(40), drawn(40), NOTHING, drawn(10), NOTHING]


def table(*predicted: np.ndarray) -> dict:
    return summary([count(p, d) for p, d in zip(predicted, DRAWN, strict=True)], PATIENTS, pixel_mm2=2.0)


def test_lesion_dice_is_the_mean_over_patients_of_their_lesion_slices() -> None:
    t = table(drawn(40), NOTHING, ALL, drawn(10), drawn(5))
    assert t["lesion_dice"] == pytest.approx((0.5 + 1.0) / 2)
    assert t["lesion_iou"] == pytest.approx((0.5 + 1.0) / 2)
    assert t["lesion_dice_slice_mean"] == pytest.approx(2 / 3)


def test_slices_are_counted_by_kind() -> None:
    t = table(*DRAWN)
    assert (t["lesion_slices"], t["lesion_free_slices"], t["patients"]) == (3, 2, 2)


def test_false_alarms_are_measured_on_lesion_free_slices_only() -> None:
    t = table(ALL, ALL, drawn(6), ALL, NOTHING)
    assert t["false_alarm_mm2"] == pytest.approx(6 * 2.0 / 2)
    assert t["false_alarm_share"] == 0.5


def test_the_floor_of_predicting_nothing_gains_nothing_from_healthy_slices() -> None:
    t = table(*[NOTHING] * 5)
    assert (t["lesion_dice"], t["pooled_dice"], t["false_alarm_mm2"]) == (0.0, 0.0, 0.0)
    assert t["two_class_dice"] == pytest.approx(0.5, abs=0.03)


def test_the_floor_of_predicting_everything() -> None:
    t = table(*[ALL] * 5)
    assert t["lesion_dice"] == pytest.approx((2 * 40 / 440 + 2 * 10 / 410) / 2)
    assert t["false_alarm_share"] == 1.0


def test_false_alarms_lower_the_pooled_dice_of_all_slices_only() -> None:
    t = table(drawn(40), drawn(40), ALL, drawn(10), NOTHING)
    assert t["pooled_dice"] == 1.0 > t["pooled_dice_all_slices"]


def test_without_lesion_slices_overlap_is_undefined() -> None:
    t = summary([count(NOTHING, NOTHING)] * 2, np.array(["a", "b"]), 1.0)
    assert all(math.isnan(t[k]) for k in ("lesion_dice", "lesion_iou", "two_class_dice", "pooled_dice"))
    assert t["false_alarm_share"] == 0.0


def test_without_lesion_free_slices_false_alarms_are_undefined() -> None:
    t = summary([count(drawn(4), drawn(4))] * 2, np.array(["a", "b"]), 1.0)
    assert math.isnan(t["false_alarm_mm2"])
