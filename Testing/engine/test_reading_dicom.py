"""Reading DICOM: series in order, multi-frame, compressed, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset
from scan_files import dicom, ramp, refused

from braindiffusion import errors
from braindiffusion.io.read import read_scan
from braindiffusion.volume.scan import LPS_TO_RAS

DICOM_AFFINE = LPS_TO_RAS @ np.array([[1.5, 0, 0, 10], [0, 1.6, -2.4, 20], [0, 1.2, 3.2, 30], [0, 0, 0, 1.0]])


def series(folder: Path, depth: int = 5, **tags: Any) -> np.ndarray:
    """A series whose file names run against the order of its slices; returns its voxels (I,J,K)."""
    folder.mkdir(exist_ok=True)
    voxels = ramp((6, 5, depth))
    for k in range(depth):
        dicom(folder / f"{(7 * k) % 11:02d}", voxels[:, :, k].T.copy(), 4.0 * k, InstanceNumber=depth - k, **tags)
    return voxels


def test_dicom_series_sorted_by_position(tmp_path: Path) -> None:
    voxels = series(tmp_path / "s")
    (tmp_path / "s" / "notes.txt").write_text("x")
    (tmp_path / "s" / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    (tmp_path / "s" / "deeper").mkdir()
    scan = read_scan(tmp_path / "s")
    assert np.array_equal(scan.voxels, voxels)
    assert scan.voxels.dtype == np.int16
    np.testing.assert_allclose(scan.affine, DICOM_AFFINE, atol=1e-9)
    assert scan.modality == "FLAIR"
    assert scan.source["format"] == "DICOM"
    assert scan.source["files"] == 5
    assert scan.source["hints"] == {"Modality": "MR", "SeriesDescription": "AX FLAIR", "EchoTime": 110.0}
    told = json.dumps(scan.source)
    assert not any(word in told for word in ("Doe", "4711", "1970", "20200202", "1.2.3.4"))


def test_one_dicom_file_is_one_slice(tmp_path: Path) -> None:
    scan = read_scan(dicom(tmp_path / "one", ramp((5, 6), "uint16")))
    assert np.array_equal(scan.voxels, ramp((5, 6), "uint16").T[:, :, None])
    np.testing.assert_allclose(scan.affine, DICOM_AFFINE, atol=1e-9)


@pytest.mark.parametrize("order", [[0, 4, 8, 12], [12, 8, 4, 0], [4, 0, 12, 8]])
def test_enhanced_multi_frame(tmp_path: Path, order: list[float]) -> None:
    voxels = ramp((6, 5, 4), "uint16")
    frames = np.stack([voxels[:, :, int(z) // 4].T for z in order])
    scan = read_scan(dicom(tmp_path / "e.dcm", frames, [float(z) for z in order]))
    assert np.array_equal(scan.voxels, voxels)
    np.testing.assert_allclose(scan.affine, DICOM_AFFINE, atol=1e-9)
    refused(errors.DicomSeriesError, dicom(tmp_path / "bare.dcm", frames, NumberOfFrames=4), "several slices")


@pytest.mark.parametrize(("slope", "intercept", "kind"), [(1, 0, "i"), (1, -1024, "i"), (2, 0, "i"), (0.5, 3, "f")])
def test_rescale(tmp_path: Path, slope: float, intercept: float, kind: str) -> None:
    voxels = series(tmp_path / "s", RescaleSlope=slope, RescaleIntercept=intercept)
    scan = read_scan(tmp_path / "s")
    assert scan.voxels.dtype.kind == kind
    np.testing.assert_allclose(scan.voxels, voxels * slope + intercept)


def test_compressed_dicom(tmp_path: Path) -> None:
    from pydicom import dcmread
    from pydicom.uid import RLELossless

    data = dcmread(dicom(tmp_path / "one", ramp((64, 60))))
    data.compress(RLELossless)
    data.save_as(tmp_path / "one")
    assert np.array_equal(read_scan(tmp_path / "one").voxels[:, :, 0], ramp((64, 60)).T)


@pytest.mark.parametrize("order", [[0, 4, 8, 12], [12, 0, 8, 4]])
@pytest.mark.parametrize("kind", ["int16", "uint16"])
@pytest.mark.parametrize("way", ["RLELossless", "DeflatedExplicitVRLittleEndian"])
def test_packed_multi_frame(tmp_path: Path, way: str, kind: str, order: list[float]) -> None:
    """The voxels of its plain twin, whatever the order of the frames in the file."""
    from pydicom import dcmread, uid

    voxels = ramp((60, 64, 4), kind) - (1000 if kind == "int16" else 0)
    frames = np.stack([voxels[:, :, int(z) // 4].T for z in order])
    path = dicom(tmp_path / "e.dcm", frames, order)
    data = dcmread(path)
    for group, slope in zip(data.PerFrameFunctionalGroupsSequence, (1, 2, 1, 1), strict=True):
        group.PixelValueTransformationSequence = [Dataset()]
        group.PixelValueTransformationSequence[0].RescaleSlope = slope
        group.PixelValueTransformationSequence[0].RescaleIntercept = 0
    if way == "RLELossless":
        data.compress(uid.RLELossless)
    else:
        data.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
    data.save_as(path)
    scan = read_scan(path)
    slopes = np.array([2.0 if z == order[1] else 1.0 for z in (0, 4, 8, 12)])
    assert np.array_equal(scan.voxels, voxels * slopes)
    np.testing.assert_allclose(scan.affine, DICOM_AFFINE, atol=1e-9)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - 600])
    refused(errors.ScanUnreadableError, path)


def test_slopes_that_differ_between_slices(tmp_path: Path) -> None:
    voxels = series(tmp_path / "s")
    dicom(tmp_path / "s" / "07", voxels[:, :, 1].T.copy(), 4.0, RescaleSlope="0.25", RescaleIntercept="0")
    scan = read_scan(tmp_path / "s")
    np.testing.assert_allclose(scan.voxels, voxels * np.array([1, 0.25, 1, 1, 1]))


def test_dicom_folders_that_are_refused(tmp_path: Path) -> None:
    image = ramp((5, 6))
    cases: list[tuple[str, type[errors.BrainDiffusionError], str, dict[str, Any]]] = [
        ("two series", errors.DicomSeriesError, "share a position", {"z": 16.0, "SeriesDescription": "T1"}),
        ("gap", errors.DicomSeriesError, "After slice 5", {"z": 24.0}),
        ("duplicate", errors.DicomSeriesError, "share a position", {"z": 16.0}),
        ("slant", errors.ScanGeometryError, "slant", {"ImagePositionPatient": [14, 8, 46]}),
        ("colour", errors.ScanPixelTypeError, "RGB", {"PhotometricInterpretation": "RGB"}),
        ("mosaic", errors.DicomSeriesError, "mosaic", {"ImageType": ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]}),
        ("no place", errors.ScanGeometryError, "position", {"ImagePositionPatient": None}),
    ]  # fmt: skip
    for name, kind, says, tags in cases:
        folder = tmp_path / name
        series(folder)
        dicom(folder / "odd", image, tags.pop("z", 20.0), **tags)
        refused(kind, folder, says)
    uneven = refused(errors.DicomSeriesError, tmp_path / "gap", "8.00 mm, not 4.00")
    assert "odd" in uneven.why


@pytest.mark.parametrize("keep", [0.0, 0.25, 0.3, 0.5, 0.7, 0.97])
def test_damaged_dicom(tmp_path: Path, keep: float) -> None:
    series(tmp_path / "s")
    whole = (tmp_path / "s" / "00").read_bytes()
    (tmp_path / "s" / "00").write_bytes(whole[: int(keep * len(whole))])
    refused(errors.ScanUnreadableError, tmp_path / "s")


@pytest.mark.parametrize(
    ("tags", "modality"),
    [
        ({"SeriesDescription": "AX T1", "ContrastBolusAgent": "Gadovist"}, "T1GD"),
        ({"SeriesDescription": "AX T1 PRE", "ContrastBolusAgent": "Gadovist"}, "T1"),
        ({"SeriesDescription": "AX T1", "ContrastBolusAgent": "None"}, "T1"),
        ({"SeriesDescription": "", "ProtocolName": "T2 TSE"}, "T2"),
        ({"SeriesDescription": "FLAIR", "Modality": "CT"}, "CT"),
        ({"ScanningSequence": ["SE", "IR"], "RepetitionTime": 9000, "InversionTime": 2500}, "FLAIR"),
        ({"ScanningSequence": "SE", "RepetitionTime": 4000}, "T2"),
        ({"ScanningSequence": "EP", "RepetitionTime": 4000}, None),
        ({"SeriesDescription": "Localizer"}, None),
    ],
)  # fmt: skip
def test_modality_from_dicom(tmp_path: Path, tags: dict[str, Any], modality: str | None) -> None:
    tags = {"SeriesDescription": ""} | tags
    assert read_scan(dicom(tmp_path / "one", ramp((5, 6)), **tags)).modality == modality


TIRM = {"ScanningSequence": ["SE", "IR"], "RepetitionTime": 9000, "EchoTime": 94, "InversionTime": 2500}
T1_FLAIR = {"ScanningSequence": ["SE", "IR"], "RepetitionTime": 2000, "EchoTime": 12, "InversionTime": 800}


@pytest.mark.parametrize(
    ("tags", "modality"),
    [
        ({"SeriesDescription": "FDG brain", "Modality": "PT"}, "PET"),
        ({"SeriesDescription": "SWI_Images"}, "SWI"),
        ({"SeriesDescription": "TOF_3D_multi-slab"}, "TOF"),
        ({"SeriesDescription": "t2_tirm_tra", **TIRM}, "FLAIR"),
        ({"SeriesDescription": "t2_tra", **TIRM}, "FLAIR"),
        ({"SeriesDescription": "AX T1 SE FLAIR", **T1_FLAIR}, "T1"),
        ({"SeriesDescription": "AX FLAIR", **T1_FLAIR, "ContrastBolusAgent": "Gadovist"}, "T1GD"),
        ({"SeriesDescription": "AX FLAIR", **TIRM}, "FLAIR"),
        ({"SeriesDescription": "", "ScanningSequence": "SE", "RepetitionTime": 500, "EchoTime": 15}, "T1"),
        ({"SeriesDescription": "serie 3", "SequenceName": "*swi3d1r"}, "SWI"),
        ({"SeriesDescription": "serie 4", "SequenceName": "*tfl3d1_16ns"}, "T1"),
        ({"SeriesDescription": "ep2d", "ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "ADC"]}, "ADC"),
    ],
)  # fmt: skip
def test_tags_and_descriptions_together(tmp_path: Path, tags: dict[str, Any], modality: str | None) -> None:
    assert read_scan(dicom(tmp_path / "one", ramp((5, 6)), **tags)).modality == modality
