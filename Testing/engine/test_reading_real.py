"""Reading the development scans."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from scan_files import refused

from braindiffusion import errors
from braindiffusion.io import read as reading
from braindiffusion.io.read import read_mask, read_scan

REAL = {
    "fg6692_FLAIR_raw": ("LAS", "FLAIR", [208, 256, 26]), "fg6692_T1Gd_raw": ("LAS", "T1GD", [256, 224, 26]),
    "fg6692_FLAIR_brain": ("LPS", "FLAIR", [240, 240, 155]), "du7294_FLAIR_brain": ("LPS", "FLAIR", [240, 240, 155]),
    "m2265_T2w_LIA": ("LIA", "T2", [256, 256, 256]), "oms01_FLAIR": (None, "FLAIR", [320, 320, 36]),
    "oms01_T1W": (None, "T1", [320, 320, 39]), "oms12_T2W": (None, "T2", [348, 384, 44]),
    "rorden_stroke_T2": ("RAS", "T2", [156, 175, 146]),
}  # fmt: skip


@pytest.mark.scans
def test_all_real_volumes(data_dir: Path) -> None:
    files = sorted((data_dir / "volumes").glob("*.nii.gz"))
    assert len(files) >= 16
    for file in files:
        if "4D" in file.name:
            refused(errors.ScanDimensionError, file, "52 x 68 x 20 x 10")
            continue
        scan = read_scan(file)
        code, modality, size = REAL.get(file.name[:-7], (None, scan.modality, scan.source["size"]))
        assert scan.modality == modality
        assert scan.source["size"] == size
        assert code in (None, scan.source["orientation"])
    for patient in ("fg6692", "du7294"):
        scan = read_scan(data_dir / f"volumes/{patient}_FLAIR_brain.nii.gz")
        assert read_mask(data_dir / f"volumes/{patient}_autoseg.nii.gz", scan).any()
    stroke = read_scan(data_dir / "volumes/rorden_stroke_T2.nii.gz")
    assert read_mask(data_dir / "volumes/rorden_stroke_lesion.nii.gz", stroke).any()
    with pytest.raises(errors.MaskGeometryError):
        read_mask(data_dir / "volumes/fg6692_autoseg.nii.gz", stroke)


@pytest.mark.scans
def test_real_dicom_series(data_dir: Path, tmp_path: Path) -> None:
    with tarfile.open(data_dir / "dicom/hanke_t1_dicom.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    scan = read_scan(tmp_path / "dicoms")
    assert scan.voxels.shape == (274, 384, 384)
    assert scan.modality == "T1"
    np.testing.assert_allclose(scan.spacing, [0.7, 0.666667, 0.666667], atol=1e-4)
    one = read_scan(tmp_path / "dicoms" / "N2D_0001.dcm")
    k = np.round(np.linalg.inv(scan.affine) @ one.affine[:, 3], 3)
    assert k[:2].tolist() == [0, 0]
    assert np.array_equal(scan.voxels[:, :, int(k[2])], one.voxels[:, :, 0])
    assert "Jane" not in json.dumps(scan.source)
    smooth = np.abs(np.diff(scan.voxels[::4, ::4].astype(float), axis=2)).mean()
    assert smooth < 0.5 * np.abs(np.diff(scan.voxels[::4, ::4, ::24].astype(float), axis=2)).mean()
    assert reading.orientation_code(scan.affine) == scan.source["orientation"]
