"""What no pack is made from: each refused by its cause, or left out where that was asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from person_scans import QUICK, made, save

from braindiffusion.errors import (
    CohortError,
    MaskGeometryError,
    ModalityError,
    NotABrainError,
    ScanNotFoundError,
    ScanUnreadableError,
)
from braindiffusion.training.cohort import find_cases
from braindiffusion.training.prepare import PrepareSettings, prepare_pack
from braindiffusion.volume.scan import Scan

pytestmark = pytest.mark.usefixtures("known_brain")


# what is refused


def test_a_folder_without_scans_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScanNotFoundError, match="--images"):
        prepare_pack(tmp_path, tmp_path / "mine.npz")
    with pytest.raises(ScanNotFoundError, match="There is no folder"):
        prepare_pack(tmp_path / "none", tmp_path / "mine.npz")


def test_two_files_for_one_scan_are_refused(cohort: Path, head_phantom: Scan) -> None:
    save(cohort / "anna_FLAIR.nrrd", head_phantom.voxels, head_phantom.affine)
    with pytest.raises(CohortError, match=r"anna_FLAIR\.nrrd"):
        find_cases(cohort, "FLAIR")


def test_the_same_scan_under_two_names_is_refused(cohort: Path, tmp_path: Path) -> None:
    (cohort / "bela_FLAIR.nii.gz").write_bytes((cohort / "anna_FLAIR.nii.gz").read_bytes())
    with pytest.raises(CohortError, match="bela_FLAIR"):
        prepare_pack(cohort, tmp_path / "mine.npz", QUICK)
    assert not (tmp_path / "mine.npz").exists()


def test_a_mask_on_another_grid_is_refused_by_name(cohort: Path, tmp_path: Path, head_phantom: Scan) -> None:
    lesion = np.zeros((10, 10, 10), np.uint8)
    lesion[5] = 1
    half_a_voxel = np.eye(4)
    half_a_voxel[:3, 3] = 0.5
    save(cohort / "carl_mask.nii.gz", lesion, head_phantom.affine @ half_a_voxel)
    for settings in (QUICK, PrepareSettings(size=128, skip_bad=True)):
        with pytest.raises(MaskGeometryError, match="carl_mask"):
            prepare_pack(cohort, tmp_path / "mine.npz", settings)
    assert not (tmp_path / "mine.npz").exists()


def test_an_unreadable_scan_is_refused_or_left_out(cohort: Path, tmp_path: Path) -> None:
    bad = cohort / "dora_FLAIR.nii.gz"
    bad.write_bytes(bad.read_bytes()[:500])
    with pytest.raises(ScanUnreadableError, match="dora_FLAIR"):
        prepare_pack(cohort, tmp_path / "mine.npz", QUICK)
    pack, done = made(cohort, tmp_path / "mine.npz", PrepareSettings(size=128, skip_bad=True, pseudonyms=False))
    assert [path for path, _ in done.skipped] == [bad]
    assert "dora" not in pack.patient.tolist()


def test_what_is_no_brain_is_refused_by_name(cohort: Path, tmp_path: Path, head_phantom: Scan) -> None:
    noise = np.random.default_rng(0).integers(0, 400, head_phantom.voxels.shape).astype(np.int16)
    save(cohort / "emil_FLAIR.nii.gz", noise, head_phantom.affine)
    with pytest.raises(NotABrainError, match="emil_FLAIR"):
        prepare_pack(cohort, tmp_path / "mine.npz", QUICK)


def test_another_modality_by_name_is_refused(cohort: Path, tmp_path: Path) -> None:
    settings = PrepareSettings(size=128, modality="T1")
    with pytest.raises(ModalityError, match="_FLAIR"):
        prepare_pack(cohort, tmp_path / "mine.npz", settings, images="{subject}_FLAIR.nii.gz")
    forced = PrepareSettings(size=128, modality="T1", force=True)
    pack, _ = made(cohort, tmp_path / "mine.npz", forced, images="{subject}_FLAIR.nii.gz")
    assert pack.modality == "T1"


def test_a_missing_mask_is_not_taken_for_health(cohort: Path, tmp_path: Path) -> None:
    (cohort / "anna_mask.nii.gz").unlink()
    with pytest.raises(CohortError, match="anna_FLAIR"):
        prepare_pack(cohort, tmp_path / "mine.npz", QUICK)
    healthy = PrepareSettings(size=128, without_mask="healthy", pseudonyms=False)
    assert "anna" in made(cohort, tmp_path / "a.npz", healthy)[0].patient.tolist()
    skipping = PrepareSettings(size=128, without_mask="skip", pseudonyms=False)
    pack, done = made(cohort, tmp_path / "b.npz", skipping)
    assert "anna" not in pack.patient.tolist()
    assert done.skipped[0][0].name == "anna_FLAIR.nii.gz"


def test_without_any_mask_nothing_is_said_of_lesions(cohort: Path, tmp_path: Path) -> None:
    for mask in cohort.glob("*_mask.nii.gz"):
        mask.unlink()
    pack, done = made(cohort, tmp_path / "mine.npz")
    assert not pack.has_masks
    assert "not known" in done.table()
    assert any("No masks" in note for note in done.notes)


def test_a_pack_is_written_whole_or_not_at_all(cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device", str(tmp_path / "mine.npz"))

    (tmp_path / "mine.npz").write_bytes(b"of before")
    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(Exception, match="cannot be written"):
        prepare_pack(cohort, tmp_path / "mine.npz", QUICK)
    assert (tmp_path / "mine.npz").read_bytes() == b"of before"


def test_the_pack_says_how_it_was_made(cohort: Path, tmp_path: Path) -> None:
    made(cohort, tmp_path / "mine.npz")
    with np.load(tmp_path / "mine.npz") as data:
        facts = json.loads(str(data["facts"]))
    assert facts["modality"] == "FLAIR"
    assert facts["scans"] == 6
