"""Real scans of other hospitals: left-handed, thick, stripped, DICOM, 4-D. Structure only, not what is found."""

from __future__ import annotations

import re
import tarfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
from product_run import MARK, names, picture_mark, provenance, read_nifti, refused, run, sha256, succeed

from braindiffusion.io.read import read_scan

pytestmark = [pytest.mark.scans, pytest.mark.weights]

QUICK = ("--steps", 4, "--progress", "none")


@pytest.mark.parametrize(
    ("name", "options", "planes"),
    [
        ("fg6692_FLAIR_raw", ("--slices", "12:14", "--box", "85,100,11,115,130,15"), [12, 13]),
        ("fg6692_FLAIR_brain", ("--slices", "77:79", "--saliency", "acat"), None),
        ("oms01_FLAIR", ("--slices", "17:19", "--box", "140,150,16,180,190,19"), [17, 18]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_flair_scan(
    data_dir: Path, tmp_path: Path, name: str, options: tuple[str, ...], planes: list[int] | None
) -> None:
    path = data_dir / "volumes" / f"{name}.nii.gz"
    before = sha256(path)
    result = succeed("heal", path, *options, *QUICK, "--out", tmp_path)
    assert "Warning: This" not in result.err  # its modality is known, and the model's
    scan, after = read_scan(path), read_nifti(tmp_path / "counterfactual.nii.gz")
    assert after.voxels.dtype == scan.voxels.dtype
    np.testing.assert_allclose(after.affine, scan.affine, atol=1e-3)
    for each in ("anomaly", "lesion", "mask", "saliency"):
        found = read_nifti(tmp_path / f"{each}.nii.gz")
        assert found.voxels.shape == scan.voxels.shape
        np.testing.assert_allclose(found.affine, scan.affine, atol=1e-3)
    changed = after.voxels != scan.voxels
    facts = provenance(tmp_path)
    assert facts["check"]["changed_voxels"] == changed.sum()
    assert facts["scan"]["modality"] == "FLAIR"
    assert 500 < facts["brain"]["volume_ml"] < 2000
    assert np.nonzero(changed.any((0, 1)))[0].size <= 2
    if planes is not None:
        assert np.nonzero(changed.any((0, 1)))[0].tolist() == planes
        assert facts["network_calls"]["per_slice"] == 2 * 5
    assert picture_mark(tmp_path / "overview.png") == MARK
    assert sha256(path) == before


@pytest.fixture(scope="module")
def series(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the oblique T1 series."""
    folder = tmp_path_factory.mktemp("dicom")
    with tarfile.open(data_dir / "dicom" / "hanke_t1_dicom.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return next(folder.rglob("*.dcm")).parent


def test_a_t1_series_is_refused_by_its_modality(series: Path, tmp_path: Path) -> None:
    refused(tmp_path, 3, "ModalityError", "heal", series, *QUICK)
    assert "The lesion of a T1 scan cannot be found" in run("heal", series, *QUICK, "--out", tmp_path / "out").err
    model = ("--model", "flair-healthy-128")
    assert "This is a T1 scan" in run("heal", series, *model, *QUICK, "--out", tmp_path / "out").err


def test_a_t1_series_can_be_forced(series: Path, tmp_path: Path) -> None:
    """Every fourth of its 384 slices, to save time: evenly spaced, so still one series."""
    thin = tmp_path / "series"
    thin.mkdir()
    for file in series.glob("*.dcm"):
        number = int(re.findall(r"\d+", file.stem)[-1])
        if number % 4 == 0:
            image = pydicom.dcmread(file)  # its header says what is true of the thinned series
            image.SliceThickness, image.InstanceNumber = 4 * image.SliceThickness, number // 4
            if "SpacingBetweenSlices" in image:
                image.SpacingBetweenSlices *= 4
            image.save_as(thin / file.name)
    command = (
        "heal",
        thin,
        "--model",
        "flair-healthy-128",
        "--force",
        "--slices",
        "62:63",
        "--box",
        "120,190,62,150,220,62",
        *QUICK,
    )
    result = succeed(*command, "--out", tmp_path / "out")
    assert "Warning: This T1 scan was forced through a model trained on FLAIR" in result.err
    scan, after = read_scan(thin), read_nifti(tmp_path / "out" / "counterfactual.nii.gz")
    assert after.voxels.shape == scan.voxels.shape == (274, 384, 96)
    np.testing.assert_allclose(after.affine, scan.affine, atol=1e-3)
    changed = after.voxels != scan.voxels
    assert np.nonzero(changed.any((0, 1)))[0].tolist() == [62]
    assert provenance(tmp_path / "out")["scan"]["modality"] == "T1"
    assert "overview.png" in names(tmp_path / "out")


def test_a_perfusion_series_is_refused(data_dir: Path, tmp_path: Path) -> None:
    refused(tmp_path, 3, "ScanDimensionError", "heal", data_dir / "volumes" / "pcasl_4D.nii.gz", *QUICK)
