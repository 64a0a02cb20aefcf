"""``--format dicom``, ``deidentify`` and ``teach`` as a user runs them, on a head full of the patient."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813 - its usual name
from dicom_series import NAME, leaked, write_series
from product_run import Head, names, provenance, read_nifti, refused, run, save_nifti, succeed, told

from braindiffusion.io.read import on_grid_of, read_scan
from braindiffusion.volume.scan import Scan

pytestmark = pytest.mark.weights

QUICK = ("--steps", 3, "--progress", "none")


@pytest.fixture(scope="module")
def patient(head: Head, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The phantom as an MR series with the patient in every attribute and every name."""
    turned = head.affine.copy()  # its slices turned round: DICOM's axes are right-handed
    turned[:3, 3] += turned[:3, 2] * (head.voxels.shape[2] - 1)
    turned[:3, 2] *= -1
    folder = tmp_path_factory.mktemp("hospital") / NAME
    return write_series(folder, head.voxels[:, :, ::-1], turned)


@pytest.fixture(scope="module")
def healed(patient: Path, head: Head, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A healing of two of its slices as DICOM, and what was printed."""
    out = tmp_path_factory.mktemp("healed") / "out"
    brain, mask = ("--brain", head.brain), ("--mask", head.mask)
    run = succeed("heal", patient, *mask, *brain, "--slices", "10:12", "--format", "dicom", *QUICK, "--out", out)
    return out, run.out + run.err


def series(folder: Path, like: Scan) -> np.ndarray:
    """A series as SimpleITK reads it, on the grid of a scan; every corner within 1e-4 mm."""
    image = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    affine = np.diag([-1.0, -1, 1, 1]) @ affine
    found = Scan(sitk.GetArrayFromImage(image).T, affine)
    turned = on_grid_of(like, found.voxels, found.affine)
    assert turned is not None
    size = np.array(found.voxels.shape) - 1
    corners = np.array([[*(size * c), 1] for c in np.ndindex(2, 2, 2)]).T
    places = (np.linalg.inv(like.affine) @ affine @ corners)[:3]
    assert np.abs(places - np.rint(places)).max() * like.spacing.max() < 1e-4
    return turned


# --- DICOM out ----------------------------------------------------------------------------------------------------


def test_a_healing_as_dicom(healed: tuple[Path, str], patient: Path) -> None:
    out, _ = healed
    assert {"counterfactual", "anomaly", "overview.png", "provenance.json"} <= names(out)
    scan = read_scan(patient)
    changed = series(out / "counterfactual", scan) != scan.voxels
    assert provenance(out)["check"]["changed_voxels"] == changed.sum() > 0
    assert np.nonzero(changed.any((0, 1)))[0].size == 2
    for path in out.rglob("*.dcm"):
        assert pydicom.dcmread(path).SyntheticData == "YES"


def test_an_induction_as_dicom(patient: Path, head: Head, tmp_path: Path) -> None:
    drawn = np.zeros(head.voxels.shape, np.uint8)
    drawn[20:26, 40:46, 10] = 1
    lesion = save_nifti(tmp_path / "drawn.nii.gz", drawn, head.affine)
    command = ("induce", patient, "--kind", "stroke", "--lesion", lesion, "--brain", head.brain, "--force")
    succeed(*command, "--format", "dicom", "--burn-in", *QUICK, "--out", tmp_path / "out")
    scan = read_scan(patient)
    assert (series(tmp_path / "out" / "diseased", scan) != scan.voxels).any()
    first = pydicom.dcmread(tmp_path / "out" / "diseased" / "0001.dcm")
    assert first.SeriesDescription.startswith("SYNTHETIC - induced lesion")
    masks = list((tmp_path / "out" / "masks").glob("*.dcm")) or list((tmp_path / "out" / "lesion").glob("*.dcm"))
    assert masks


def test_what_is_refused_early(healed: tuple[Path, str], patient: Path, tmp_path: Path) -> None:
    refused(tmp_path, 2, "SettingsError", "heal", patient, "--burn-in")
    told(run("heal", patient, "--format", "dicom", "--out", healed[0]), 4, "OutputError")


# --- de-identified copies -----------------------------------------------------------------------------------------


def test_deidentify_takes_out_face_and_names(patient: Path, head: Head, tmp_path: Path) -> None:
    inside = tmp_path / NAME
    inside.mkdir()
    shutil.copy(head.scan, inside / f"{NAME}_FLAIR.nii.gz")
    shutil.copytree(patient, inside / "series")
    (inside / "notes.log").write_text(NAME)
    done = succeed("deidentify", inside, "--out", tmp_path / "out", "--key", tmp_path / "key.csv")
    assert "2 copied, 0 held back" in done.out
    assert "1 other files were not copied" in done.err
    assert leaked(re.sub(r"\S*/pytest-of-\S*", "", done.out + done.err)) == []
    copies = sorted(p for p in (tmp_path / "out").iterdir())
    assert len(copies) == 2
    for copy in copies:
        voxels = read_scan(copy).voxels
        assert (voxels[:, 0, :] == voxels[0, 0, 0]).all(), "the rim of the picture is air"
        share = (voxels != voxels[0, 0, 0]).mean()
        assert 0.3 < share < (head.voxels != 0).mean()
    assert NAME in (tmp_path / "key.csv").read_text()


def test_deidentify_ends_in_an_error_where_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").write_bytes(b"x")
    result = run("deidentify", tmp_path / "a.nii.gz", "--out", tmp_path / "out")
    assert result.code == 3
    assert "QuarantineError" in result.err
    assert names(tmp_path / "out") == {"quarantine.csv"}


# --- teaching files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["nifti", "dicom"])
def test_a_teaching_file_of_a_healing(
    healed: tuple[Path, str], patient: Path, head: Head, tmp_path: Path, form: str
) -> None:
    result, scan = healed[0], patient
    if form == "nifti":
        result, scan = tmp_path / "healed", head.scan
        command = ("heal", scan, "--mask", head.mask, "--brain", head.brain, "--slices", "10:12", *QUICK)
        succeed(*command, "--out", result)
    out = tmp_path / "case"
    options: tuple[Any, ...] = ("--scan", scan, "--brain", head.brain, "--title", "A case", "--diagnosis", "Made up")
    succeed("teach", result, *options, "--out", out)
    record = json.loads((out / "case.json").read_text())
    assert record["title"] == "A case"
    assert record["task"] == "heal"
    before = read_nifti(out / "volumes" / "original.nii.gz").voxels
    after = read_nifti(out / "volumes" / "SYNTHETIC_counterfactual.nii.gz").voxels
    assert np.nonzero((before != after).any((0, 1)))[0].size == 2
    text = (out / "index.html").read_text(encoding="utf-8")
    assert leaked(text) == []
    told_of = (*options[:-1], "A case", "--history", f"seen: {NAME}")
    if form == "dicom":
        refused(tmp_path, 3, "QuarantineError", "teach", result, *told_of)


def test_a_collection_without_cases_is_an_error(tmp_path: Path) -> None:
    told(run("teach", "index", tmp_path), 3, "TeachingFileError")
