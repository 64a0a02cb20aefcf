"""The hole test: holes lie where they may, measures say what they should, a copy of the truth cannot be told apart."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from braindiffusion.errors import PackError, SettingsError
from braindiffusion.evaluation.tissue import measures
from braindiffusion.evaluation.tissue.fills import FILLS
from braindiffusion.evaluation.tissue.holes import lay_holes
from braindiffusion.evaluation.tissue.measures import interval_of, psnr, sharpness, ssim, told_apart
from braindiffusion.evaluation.tissue.report import markdown, picture
from braindiffusion.evaluation.tissue.run import tissue_test
from braindiffusion.settings import HealSettings
from braindiffusion.training.packs import Pack

H, W, PATIENTS = 96, 80, 8


@pytest.fixture(autouse=True)
def few_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """A third of the pixels a patch: the forest tells these textures apart as surely, in a third of the time."""
    monkeypatch.setattr(measures, "PIXELS", 50)


def pack_of(lesions: bool = True) -> tuple[Pack, np.ndarray]:
    """Two slices a patient, textured ovals; the second shows a lesion."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:H, :W]
    brain = ((y - 48) / 42) ** 2 + ((x - 40) / 34) ** 2 < 1
    n = 2 * PATIENTS
    texture = ndimage.gaussian_filter(rng.standard_normal((n, H, W)), (0, 1, 1))
    images = np.where(brain, 110 + 60 * texture, 0).clip(0, 255).astype(np.uint8)
    masks = np.zeros((n, H, W), bool)
    if lesions:
        masks[1::2] = (y - 40) ** 2 + (x - 50) ** 2 < 36
    patient = np.repeat([f"P{i}" for i in range(PATIENTS)], 2)
    pack = Pack(images, masks, patient, np.tile([0, 1], PATIENTS), np.full(n, "val"), "FLAIR", 1.0, True)
    return pack, np.repeat(brain[None], n, 0)


def test_holes_lie_in_the_brain_of_lesion_free_slices_and_never_overlap() -> None:
    pack, brains = pack_of()
    holes = lay_holes(pack, brains, 12)
    assert len(holes) == 12
    assert len({h.patient for h in holes}) == PATIENTS
    for h in holes:
        assert not pack.masks[h.index].any()
        assert (h.mask & ~brains[h.index]).sum() == 0
        assert h.mask.sum() > 60
    by_slice: dict[int, np.ndarray] = {}
    for h in holes:
        before = by_slice.setdefault(h.index, np.zeros((H, W), int))
        before += h.mask
    assert max(v.max() for v in by_slice.values()) == 1
    again = lay_holes(pack, brains, 12)
    assert all(np.array_equal(a.mask, b.mask) for a, b in zip(holes, again, strict=True))


def test_without_lesions_there_is_no_hole() -> None:
    pack, brains = pack_of(lesions=False)
    with pytest.raises(PackError, match="lesion"):
        lay_holes(pack, brains, 4)


def test_the_truth_itself_scores_best_and_a_flat_patch_is_flat() -> None:
    pack, brains = pack_of()
    hole = lay_holes(pack, brains, 1)[0]
    true = pack.images[hole.index].astype(np.float32) / 255
    assert psnr(true, true, hole.mask) == pytest.approx(100.0)
    assert ssim(true, true, hole.mask) == pytest.approx(1.0)
    assert sharpness(true, true, hole.mask) == pytest.approx(1.0)
    flat = FILLS["mean_fill"](true, hole.mask, brains[hole.index])
    assert sharpness(true, flat, hole.mask) < 0.05
    assert psnr(true, flat, hole.mask) < 40
    noisy = true + np.random.default_rng(0).normal(0, 0.2, true.shape)
    assert sharpness(true, noisy, hole.mask) > 1.5
    for fill in FILLS.values():
        filled = fill(true, hole.mask, brains[hole.index])
        assert np.array_equal(filled[~hole.mask], true[~hole.mask])


def test_other_tissue_of_the_same_kind_is_not_told_apart_and_smooth_tissue_is() -> None:
    pack, brains = pack_of()
    holes = lay_holes(pack, brains, 12)
    true = [pack.images[h.index].astype(np.float32) / 255 for h in holes]
    groups = [h.patient for h in holes]
    masks = [h.mask for h in holes]
    other = [t[:, ::-1].copy() for t in true]  # the same texture, elsewhere, and no seam
    same = told_apart(true, other, masks, groups)[0]
    smooth = [np.where(m, ndimage.gaussian_filter(t, 2), t) for t, m in zip(true, masks, strict=True)]
    assert told_apart(true, smooth, masks, groups)[0] > 0.95
    assert same < 0.85


def test_the_interval_is_over_patients() -> None:
    values, groups = np.array([0.0, 0.0, 1.0, 1.0]), np.array(["a", "a", "b", "b"])
    assert interval_of(values, groups, np.mean) == (0.0, 1.0)


def test_the_report_of_baselines(tmp_path) -> None:
    pack, _ = pack_of()
    report = tissue_test(pack, ["mirror_copy", "mean_fill"], HealSettings(device="cpu"), limit=6)
    text = markdown(report.facts)
    assert "| mean_fill | 1.00" in text
    assert "Research use only" in text
    assert picture(report).startswith(b"\x89PNG")
    with pytest.raises(SettingsError, match="nobody"):
        tissue_test(pack, ["nobody"], HealSettings())
