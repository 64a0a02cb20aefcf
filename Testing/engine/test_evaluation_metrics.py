"""Numbers and small parts of the healing evaluation against scikit-learn, scikit-image, scipy, and known cases."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from skimage.metrics import structural_similarity
from sklearn.metrics import average_precision_score, f1_score, jaccard_score

from braindiffusion.errors import SettingsError
from braindiffusion.evaluation.healing.data import PART_SLICES, _parts
from braindiffusion.evaluation.healing.images import flicker, outside_lesion, over_brain, seam
from braindiffusion.evaluation.healing.maps import grid_dice
from braindiffusion.evaluation.healing.plots import apart
from braindiffusion.evaluation.healing.rows import known_rows, rows_named
from braindiffusion.evaluation.healing.scores import volume_dice
from braindiffusion.evaluation.healing.two_class import PUBLISHED, compare, implied, paragraph
from braindiffusion.evaluation.metrics.distribution import distances
from braindiffusion.evaluation.metrics.overlap import count, interval_of, standard_error
from braindiffusion.evaluation.metrics.ranking import LEVELS, Ranking
from braindiffusion.evaluation.result_cache import ResultCache, fingerprint

RNG = np.random.default_rng


def blobs(n: int, seed: int, share: float = 0.2) -> np.ndarray:
    return RNG(seed).random((n, 20, 24)) < share


# overlap against scikit-learn


def test_dice_and_iou_are_scikit_learns() -> None:
    found, drawn = blobs(4, 0), blobs(4, 1)
    for f, d in zip(found, drawn, strict=True):
        c = count(f, d)
        for average, dice, iou in (("binary", c.dice, c.iou), ("macro", c.two_class_dice, c.two_class_iou)):
            assert dice == pytest.approx(f1_score(d.ravel(), f.ravel(), average=average))
            assert iou == pytest.approx(jaccard_score(d.ravel(), f.ravel(), average=average))
    assert grid_dice(found, drawn) == pytest.approx([count(f, d).dice for f, d in zip(found, drawn, strict=True)])


def test_two_class_numbers_of_nothing_and_of_both_empty() -> None:
    nothing, drawn = np.zeros((20, 20), bool), np.zeros((20, 20), bool)
    drawn[:2, :5] = True
    c = count(nothing, drawn)
    assert c.two_class_dice == pytest.approx(0.5 * 2 * 390 / 790)
    assert c.two_class_iou == pytest.approx(0.5 * 390 / 400)
    assert math.isnan(count(nothing, nothing).two_class_iou)
    assert math.isnan(grid_dice(nothing[None], nothing[None])[0])


def test_volume_dice_pools_the_slices_of_a_patient() -> None:
    found, drawn = blobs(5, 2), blobs(5, 3)
    drawn[4] = False  # a patient without a lesion has none
    counts = [count(f, d) for f, d in zip(found, drawn, strict=True)]
    values = volume_dice(counts, np.array(["a", "b", "a", "b", "c"]))
    expected = [f1_score(drawn[i].ravel(), found[i].ravel()) for i in ([0, 2], [1, 3])]
    assert values == pytest.approx(expected)


# ranking against scikit-learn


def quantised(values: np.ndarray) -> np.ndarray:
    return np.rint(values * (LEVELS - 1)) / (LEVELS - 1)


@pytest.mark.parametrize("ties", [False, True])
def test_average_precision_is_scikit_learns(ties: bool) -> None:
    drawn = blobs(3, 4)
    values = quantised(np.clip(RNG(5).random(drawn.shape) + 0.3 * drawn, 0, 1))
    if ties:
        values[values < 0.7] = 0.0
    ranking = Ranking()
    for v, d in zip(values, drawn, strict=True):
        ranking.add(v, d)
    assert ranking.average_precision == pytest.approx(average_precision_score(drawn.ravel(), values.ravel()))


def test_best_dice_is_the_best_of_all_thresholds() -> None:
    drawn = blobs(2, 6)
    values = np.rint(20 * RNG(7).random(drawn.shape) + 8 * drawn) / 40
    ranking = Ranking()
    ranking.add(values, drawn)
    tried = [f1_score(drawn.ravel(), (values >= t).ravel()) for t in np.unique(values)]
    assert ranking.best_dice == pytest.approx(max(tried))


def test_a_ranking_of_nothing_and_a_perfect_one() -> None:
    drawn = blobs(1, 8)
    flat, perfect, empty = Ranking(), Ranking(), Ranking()
    flat.add(np.zeros(drawn.shape), drawn)
    perfect.add(drawn.astype(float), drawn)
    empty.add(np.zeros((4, 4)), np.zeros((4, 4), bool))
    assert flat.average_precision == pytest.approx(drawn.mean())
    assert (perfect.average_precision, perfect.best_dice) == (1.0, 1.0)
    assert math.isnan(empty.average_precision)
    assert math.isnan(empty.best_dice)


# images


def test_ssim_outside_is_scikit_images() -> None:
    x = RNG(0).random((2, 40, 36))
    y = np.clip(x + RNG(1).normal(0, 0.1, x.shape), 0, 1)
    inside = np.zeros(x.shape, bool)
    inside[:, 10:30, 8:28] = True  # away from the border, where the two pad differently
    found = outside_lesion(x, y, inside, np.zeros_like(inside), 1.0)
    for n in range(2):
        _, full = structural_similarity(
            x[n], y[n], win_size=7, data_range=1.0, full=True, use_sample_covariance=False
        )  # fmt: skip
        assert found["ssim"][n] == pytest.approx(full[inside[n]].mean(), abs=1e-5)
        error = (x - y)[n][inside[n]]
        assert found["l1"][n] == pytest.approx(np.abs(error).mean())
        assert found["psnr"][n] == pytest.approx(-10 * math.log10((error**2).mean()))


def test_outside_leaves_out_the_lesion_and_its_rim() -> None:
    before = np.full((1, 40, 40), 0.5)
    brain, drawn = np.ones(before.shape, bool), np.zeros(before.shape, bool)
    drawn[0, 15:25, 15:25] = True
    after = before.copy()
    after[0, 14:26, 14:26] = 0.0  # the lesion and a pixel around it: within 5 mm at 2 mm a pixel
    found = outside_lesion(before, after, brain, drawn, 2.0)
    assert (found["l1"][0], found["psnr"][0]) == (0.0, 100.0)
    assert outside_lesion(before, after, brain, drawn, 6.0)["l1"][0] > 0
    assert math.isnan(outside_lesion(before, after, drawn, drawn, 2.0)["l1"][0])


def test_change_over_the_brain() -> None:
    values, brain = np.zeros((2, 4, 4)), np.zeros((2, 4, 4), bool)
    values[0, :2], brain[0, :, :2] = 0.4, True
    found = over_brain(values, brain)
    assert found[0] == pytest.approx(0.2)
    assert math.isnan(found[1])


def test_flicker_is_0_for_the_same_change_and_1_for_nothing_shared() -> None:
    brain = np.ones((3, 8, 8), bool)
    change = np.zeros((3, 8, 8))
    change[0, :4], change[1, :4], change[2, 4:] = 0.3, 0.3, 0.3
    pairs = np.array([[0, 1], [1, 2]])
    assert flicker(change, brain, pairs) == pytest.approx([0.0, 1.0])
    assert math.isnan(flicker(np.zeros_like(change), brain, pairs)[0])


def test_a_hard_edge_is_a_seam_and_a_soft_one_is_not() -> None:
    before = np.full((1, 30, 30), 0.5)
    region = np.zeros(before.shape, bool)
    region[0, 10:20, 10:20] = True
    hard = np.where(region, 0.2, before)
    assert seam(before, hard, region)[0] == pytest.approx(0.3)
    assert seam(before, before, region)[0] == 0
    assert seam(hard, before, region)[0] == pytest.approx(-0.3)  # an edge that was there and went
    assert math.isnan(seam(before, hard, np.zeros_like(region))[0])


def test_a_set_is_at_distance_0_from_itself() -> None:
    x = RNG(0).random((12, 5))
    found = distances(x, x)
    assert found.fid == pytest.approx(0.0, abs=1e-8)
    assert found.kid < 0.1  # unbiased: below or near 0


# statistics


def test_the_standard_error_is_scipys() -> None:
    values = [0.61, 0.64, 0.6]
    assert standard_error(values) == pytest.approx(stats.sem(values))
    assert math.isnan(standard_error([0.6]))


def test_an_interval_over_patients_leaves_undefined_slices_out() -> None:
    found = interval_of(np.array([0.2, 0.4, np.nan, 0.9]), np.array(["a", "a", "a", "b"]))
    assert found["mean"] == pytest.approx(0.6)
    assert (found["slices"], found["patients"]) == (3, 2)
    assert math.isnan(interval_of(np.array([np.nan]), np.array(["a"]))["mean"])


def test_labels_keep_their_order_and_their_distance() -> None:
    places = apart([0.5, 0.51, 0.1, 0.5], 0.1)
    assert np.diff(np.sort(places)).min() > 0.099
    assert np.argsort(places, kind="stable").tolist() == [2, 0, 3, 1]
    assert places[2] == 0.1


# the published table


@pytest.mark.parametrize(
    ("name", "background", "lesion"),
    [
        ("f-AnoGAN", 0.921, 0.169), ("Dif-fuse", 0.993, 0.405), ("AnoDDPM", 0.988, 0.000), ("DDIM", 0.986, 0.010),
        ("DenoisingAE", 1.000, 0.362), ("ACAT", 0.971, 0.211),
    ],
)  # fmt: skip
def test_the_published_rows_solved_for_two_classes(name: str, background: float, lesion: float) -> None:
    found = implied(*PUBLISHED[name])
    assert found.background == pytest.approx(background, abs=6e-4)
    assert found.lesion == pytest.approx(lesion, abs=6e-4)
    assert abs(found.residual) < (5e-3 if name == "DenoisingAE" else 1e-9)


def test_two_classes_are_recovered_exactly_from_equal_slices() -> None:
    for background, lesion in ((0.99, 0.4), (0.95, 0.0), (0.9, 0.9), (1.0, 1.0)):
        iou = (background / (2 - background) + lesion / (2 - lesion)) / 2
        assert implied((background + lesion) / 2, iou).lesion == pytest.approx(lesion, abs=1e-6)
    with pytest.raises(ValueError, match="lie in"):
        implied(1.2, 0.5)


def test_the_paragraph_is_made_of_the_runs_own_numbers() -> None:
    def row(f: float) -> dict[str, float]:
        b = 0.98
        return {
            "two_class_dice": (b + f) / 2, "two_class_iou": (b / (2 - b) + f / (2 - f)) / 2,
            "lesion_dice_slice_mean": f, "lesion_iou_slice_mean": f / (2 - f),
        }  # fmt: skip

    found = compare({"nothing": row(0.0), "dif_fuse": row(0.63)})
    assert found["largest_gap"] < 1e-6
    text = paragraph(found, "test")
    assert "0.490 Dice" in text
    assert "row dif_fuse reads 0.805 over two classes and 0.630 for the lesion" in text
    assert paragraph(compare({"nothing": row(0.0)}), "test").startswith("Too few rows")


# what is kept, parts, names of rows


def test_what_is_kept_is_used_only_under_its_key(tmp_path: Path) -> None:
    kept = ResultCache(tmp_path)
    kept.save("a/b c", "key", {"x": np.arange(3)})
    assert kept.load("a/b c", "key")["x"].tolist() == [0, 1, 2]  # type: ignore[index]
    assert kept.load("a/b c", "other") is None
    assert kept.load("missing", "key") is None
    path = next(tmp_path.rglob("*.npz"))
    path.write_bytes(path.read_bytes()[:40])
    assert kept.load("a/b c", "key") is None
    assert (kept.made, kept.found) == (1, 1)
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1}) != fingerprint({"a": 1})


def test_small_patients_are_healed_together_and_large_ones_alone() -> None:
    parts = _parts([1] * 20 + [30, 2], [True] * 22)
    assert [len(p) for p in parts] == [PART_SLICES, 4, 30, 2]
    assert np.concatenate(parts).tolist() == list(range(52))
    assert len(_parts([1, 1, 1], [True, False, True])) == 3


def test_rows_are_named_and_floors_come_along() -> None:
    assert [r.name for r in rows_named(["saliency"], "acat")] == ["nothing", "bright", "bright_gated", "saliency_acat"]
    assert [r.name for r in rows_named([], "acat")] == ["nothing", "bright"]
    assert [r.name for r in rows_named(["all"], "acat")] == list(known_rows())
    with pytest.raises(SettingsError):
        rows_named(["magic"], "acat")
