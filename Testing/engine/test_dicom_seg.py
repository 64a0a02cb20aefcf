"""DICOM segmentations as masks: by highdicom, by our own export, beside the series, with empty frames left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_series import oblique, write_series
from pydicom.dataset import Dataset
from pydicom.pixels import pack_bits
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid
from scan_files import refused

from braindiffusion import errors
from braindiffusion.io.read import read_mask, read_scan

SHAPE = (16, 12, 9)
GRID = oblique((3.0, 3.2, 4.0))
SEG = "1.2.840.10008.5.1.4.1.1.66.4"


def item(**values: Any) -> Dataset:
    out = Dataset()
    for key, value in values.items():
        setattr(out, key, value)
    return out


def segments() -> list[np.ndarray]:
    one, two = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    one[4:9, 3:7, 2:5] = True
    two[7:11, 5:9, 4:7] = True  # overlaps the first
    return [one, two]


def write_seg(folder: Path, path: Path, masks: list[np.ndarray], shift: float = 0.0) -> Path:
    """A binary segmentation drawn on a series; frames that hold nothing are left out."""
    source = [pydicom.dcmread(f) for f in sorted(folder.glob("*.dcm"))]
    shown = [(n, k) for n, mask in enumerate(masks, 1) for k in range(SHAPE[2]) if mask[:, :, k].any()]
    data = pydicom.dcmread(sorted(folder.glob("*.dcm"))[0])
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(data, name)
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = SEG
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    data.SeriesInstanceUID, data.Modality, data.SegmentationType = generate_uid(), "SEG", "BINARY"
    data.BitsAllocated = data.BitsStored = 1
    data.HighBit = data.PixelRepresentation = 0
    data.NumberOfFrames = len(shown)
    orientation = [item(ImageOrientationPatient=list(source[0].ImageOrientationPatient))]
    measures = [item(PixelSpacing=list(source[0].PixelSpacing), SliceThickness="4")]
    data.SharedFunctionalGroupsSequence = Sequence(
        [item(PlaneOrientationSequence=orientation, PixelMeasuresSequence=measures)]
    )
    frames = []
    for number, k in shown:
        place = [float(v) + shift for v in source[k].ImagePositionPatient]
        frames.append(
            item(
                PlanePositionSequence=[item(ImagePositionPatient=[f"{v:.8g}" for v in place])],
                SegmentIdentificationSequence=[item(ReferencedSegmentNumber=number)],
            )
        )
    data.PerFrameFunctionalGroupsSequence = Sequence(frames)
    data.PixelData = pack_bits(np.stack([masks[n - 1][:, :, k].T for n, k in shown]).astype(np.uint8).ravel())
    data.save_as(path)
    return path


@pytest.fixture
def series(tmp_path: Path) -> Path:
    voxels = np.random.default_rng(0).integers(0, 900, SHAPE).astype(np.uint16)
    return write_series(tmp_path / "series", voxels, GRID, planted=False)


def test_frames_go_where_they_say(series: Path, tmp_path: Path) -> None:
    one, two = segments()
    scan = read_scan(series)
    path = write_seg(series, tmp_path / "seg.dcm", [one, two])
    told: list[str] = []
    assert np.array_equal(read_mask(path, scan, on_note=told.append), one | two)
    assert "labels 1, 2" in told[0]
    assert np.array_equal(read_mask(path, scan, labels=[1]), one)
    assert np.array_equal(read_mask(path, scan, labels=[2]), two)


def test_it_is_set_aside_in_the_folder_of_its_series(series: Path) -> None:
    before = read_scan(series)
    write_seg(series, series / "seg.dcm", segments())
    assert np.array_equal(read_scan(series).voxels, before.voxels)


def test_what_is_not_its_place(series: Path, tmp_path: Path) -> None:
    scan = read_scan(series)
    with pytest.raises(errors.MaskGeometryError):
        read_mask(write_seg(series, tmp_path / "seg.dcm", segments(), shift=1.0), scan)
    error = refused(errors.ScanPixelTypeError, write_seg(series, tmp_path / "alone.dcm", segments()), "segmentation")
    assert "--mask" in error.action
    whole = (tmp_path / "seg.dcm").read_bytes()
    (tmp_path / "cut.dcm").write_bytes(whole[: len(whole) - 40])
    with pytest.raises(errors.ScanUnreadableError):
        read_mask(tmp_path / "cut.dcm", scan)


def test_our_own_export_comes_back(series: Path, tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    from braindiffusion.export.dicom_result import write_dicom
    from braindiffusion.export.dicom_source import source_of
    from braindiffusion.io.write import OutputFolder

    scan, (one, _) = read_scan(series), segments()
    maps = {"counterfactual": scan.voxels, "lesion": one.astype(np.uint8)}
    with OutputFolder(tmp_path / "out") as out:
        write_dicom(out, scan, maps, {"task": "heal"}, source=source_of(scan))
    found = [f for f in (tmp_path / "out").rglob("*.dcm") if pydicom.dcmread(f).Modality == "SEG"]
    assert len(found) == 1
    assert np.array_equal(read_mask(found[0], scan), one)
