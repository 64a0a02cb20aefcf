"""``demo``: the first thing a newcomer runs. It must find and heal the lesion of the shipped sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from product_run import MAPS, MARK, Run, names, picture_mark, provenance, read_nifti, succeed
from scipy import ndimage

pytestmark = pytest.mark.weights

SAMPLES = Path(__file__).resolve().parents[2] / "Resources" / "Samples"
SCAN = SAMPLES / "SYNTHETIC_FLAIR_lesion.nii.gz"
TRUTH = SAMPLES / "SYNTHETIC_FLAIR_lesion_truth.nii.gz"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """The demonstration, as a newcomer runs it."""
    folder = tmp_path_factory.mktemp("demo") / "demo"
    return succeed("demo", "--out", folder, "--progress", "none"), folder


def test_all_its_files_are_there(demo: tuple[Run, Path]) -> None:
    result, folder = demo
    assert names(folder) == {f"{m}.nii.gz" for m in MAPS} | {"overview.png", "provenance.json"}
    assert picture_mark(folder / "overview.png") == MARK
    assert str(folder / "overview.png") in result.out
    assert "Research use only" in result.out
    assert provenance(folder)["scan"]["file"] == SCAN.name


def test_the_sample_says_that_it_is_synthetic() -> None:
    for file in (SCAN, TRUTH):
        assert file.name.startswith("SYNTHETIC")
        assert read_nifti(file).description.startswith(MARK)


def test_the_lesion_is_found(demo: tuple[Run, Path]) -> None:
    found, truth = read_nifti(demo[1] / "lesion.nii.gz").voxels > 0, read_nifti(TRUTH).voxels > 0
    assert 2 * (found & truth).sum() > 0.5 * (found.sum() + truth.sum())


def test_the_lesion_is_gone(demo: tuple[Run, Path]) -> None:
    """Inside the lesion's core the grey value falls to its surroundings' by at least half the contrast."""
    before, after = read_nifti(SCAN).voxels, read_nifti(demo[1] / "counterfactual.nii.gz").voxels
    truth = read_nifti(TRUTH).voxels > 0
    ring = ndimage.binary_dilation(truth, np.ones((3, 3, 1)), iterations=12)
    ring &= ~ndimage.binary_dilation(truth, np.ones((3, 3, 1)), iterations=4) & (before > 0)
    contrast = before[truth].mean() - before[ring].mean()
    assert contrast > 0
    assert before[truth].mean() - after[truth].mean() > 0.5 * contrast
    assert after[truth].mean() > 0.5 * before[ring].mean()  # healed, not erased


def test_the_rest_is_untouched(demo: tuple[Run, Path]) -> None:
    changed = read_nifti(demo[1] / "counterfactual.nii.gz").voxels != read_nifti(SCAN).voxels
    assert changed.any()
    assert changed.mean() < 0.2
    assert provenance(demo[1])["check"]["changed_voxels"] == changed.sum()
