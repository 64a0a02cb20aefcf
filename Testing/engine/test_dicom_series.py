"""DICOM folders as a PACS, a CD or an old archive gives them: what is read, what is left out, what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_series import oblique, write_series
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid
from scan_files import refused

from braindiffusion import errors
from braindiffusion.io.dicom_series import list_series
from braindiffusion.io.read import read_scan

SHAPE = (9, 8, 12)
GRID = oblique((3.0, 3.2, 4.0))


def voxels(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 900, SHAPE).astype(np.uint16)


def series(folder: Path, seed: int = 0, **tags: Any) -> np.ndarray:
    """A FLAIR series; its voxels (I,J,K)."""
    made = voxels(seed)
    write_series(folder, made, GRID, planted=False, **({"SpacingBetweenSlices": 4, "SliceThickness": 4} | tags))
    return made


def edit(file: Path, change: Callable[[Any], None]) -> None:
    data = pydicom.dcmread(file)
    change(data)
    data.save_as(file)


def without_preamble(file: Path) -> None:
    """The data set alone, as old archives hold it."""
    data = file.read_bytes()
    length = int.from_bytes(data[140:144], "little")
    file.write_bytes(data[144 + length :])


def localizer(folder: Path, name: str, uid: str | None = None) -> None:
    """An image across, from the folder's first file."""
    data = pydicom.dcmread(sorted(folder.glob("0*.dcm"))[0])
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    data.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    if uid:
        data.SeriesInstanceUID, data.SeriesDescription = uid, "loc"
        data.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    data.save_as(folder / name)


def same(found: Any, due: np.ndarray) -> None:
    assert np.array_equal(found.voxels, due)
    np.testing.assert_allclose(found.affine, GRID, atol=1e-4)


def test_deflated(tmp_path: Path) -> None:
    due = series(tmp_path)
    for file in tmp_path.glob("*.dcm"):
        edit(file, lambda d: setattr(d.file_meta, "TransferSyntaxUID", DeflatedExplicitVRLittleEndian))
    same(read_scan(tmp_path), due)


@pytest.mark.parametrize("which", ["all", "every second"])
def test_files_without_a_preamble_are_read_too(tmp_path: Path, which: str) -> None:
    due = series(tmp_path)
    for file in sorted(tmp_path.glob("*.dcm"))[:: 1 if which == "all" else 2]:
        without_preamble(file)
    same(read_scan(tmp_path), due)


def test_implicit_without_a_preamble(tmp_path: Path) -> None:
    due = series(tmp_path)
    for file in tmp_path.glob("*.dcm"):
        data = pydicom.dcmread(file)
        data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        pydicom.dcmwrite(file, data, implicit_vr=True, little_endian=True)
        without_preamble(file)
    same(read_scan(tmp_path), due)


def test_every_second_file_missing_is_noticed(tmp_path: Path) -> None:
    series(tmp_path / "numbers")
    for file in sorted((tmp_path / "numbers").glob("*.dcm"))[1::2]:
        file.unlink()
    error = refused(errors.DicomSeriesError, tmp_path / "numbers", "missing")
    assert "8.00 mm apart, and their header says 4.00" in error.why
    series(tmp_path / "renumbered")
    for k, file in enumerate(sorted((tmp_path / "renumbered").glob("*.dcm"))):
        if k % 2:
            file.unlink()
        else:
            edit(file, lambda d, n=k: setattr(d, "InstanceNumber", n // 2 + 1))
    assert "Slices may be missing" in read_scan(tmp_path / "renumbered").notes[0]


def test_a_localizer_beside_the_scan(tmp_path: Path) -> None:
    due = series(tmp_path)
    for k in range(3):
        localizer(tmp_path, f"LOC{k}.dcm", "1.2.3")
    scan = read_scan(tmp_path)
    same(scan, due)
    assert scan.notes == ("1 other series of the folder were left out.",)
    assert len(scan.files) == SHAPE[2]
    listed = list_series(tmp_path)
    assert [s.usable for s in listed] == [True, False]
    assert (listed[0].description, listed[0].modality) == ("t2 flair", "FLAIR")


def test_a_localizer_within_the_series(tmp_path: Path) -> None:
    due = series(tmp_path)
    localizer(tmp_path, "LOC.dcm")
    scan = read_scan(tmp_path)
    same(scan, due)
    assert "1 images that lie in another way than the other 12 were left out" in scan.notes[0]


def test_a_cd(tmp_path: Path) -> None:
    due = series(tmp_path / "DICOM" / "ST000001" / "SE000001")
    for file in (tmp_path / "DICOM" / "ST000001" / "SE000001").iterdir():
        file.rename(file.with_suffix(""))
    (tmp_path / "DICOMDIR").write_bytes(bytes(128) + b"DICM" + bytes(40))
    (tmp_path / "VERSION").write_text("1.0")
    (tmp_path / "AUTORUN.INF").write_text("[autorun]")
    same(read_scan(tmp_path), due)


def test_companions_of_philips_are_left_aside(tmp_path: Path) -> None:
    """IM files are the images; XX (raw data, spectra) and PS (presentation states) lie beside them."""
    due = series(tmp_path)
    images = sorted(tmp_path.iterdir())
    for k, file in enumerate(images, 1):
        file.rename(tmp_path / f"IM_{k:04d}")
    kinds = ("1.2.840.10008.5.1.4.1.1.66", "1.3.46.670589.11.0.0.12.1", "1.3.46.670589.11.0.0.12.2")
    for k, (name, kind) in enumerate([*(("XX", kind) for kind in kinds), ("PS", "1.2.840.10008.5.1.4.1.1.11.1")], 1):
        data = pydicom.dcmread(tmp_path / "IM_0001", stop_before_pixels=True)
        for keyword in ("Rows", "Columns", "BitsAllocated", "PixelSpacing", "ImagePositionPatient"):
            delattr(data, keyword)
        data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = kind
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        data.private_block(0x2005, "Philips MR Imaging DD 001", create=True).add_new(0x32, "OB", bytes(4096))
        data.save_as(tmp_path / f"{name}_{k:04d}")
    scan = read_scan(tmp_path)
    same(scan, due)
    assert len(scan.files) == SHAPE[2]
    assert scan.notes == ()


def test_exact_copies_are_read_once(tmp_path: Path) -> None:
    due = series(tmp_path)
    shutil.copytree(tmp_path, tmp_path / "again")
    scan = read_scan(tmp_path)
    same(scan, due)
    assert "12 images are there twice" in scan.notes[0]


def test_positions_that_jitter(tmp_path: Path) -> None:
    due = series(tmp_path)
    normal = GRID[:3, 2] / 4.0 * [-1, -1, 1]
    rng = np.random.default_rng(1)
    for file in sorted(tmp_path.glob("*.dcm"))[1:-1]:
        move = float(rng.uniform(-0.08, 0.08)) * normal  # 2 % of 4 mm
        place = pydicom.dcmread(file).ImagePositionPatient
        moved = [f"{p:.8g}" for p in np.array(place, float) + move]
        edit(file, lambda d, to=moved: setattr(d, "ImagePositionPatient", to))
    scan = read_scan(tmp_path)
    same(scan, due)
    assert "4.00 mm apart, give or take" in scan.notes[0]


def test_choosing_among_several(tmp_path: Path) -> None:
    first = series(tmp_path / "a", 1, SeriesDescription="t2 flair tra Mustermann", SeriesInstanceUID="1.2.840.9")
    second = series(tmp_path / "b", 2, SeriesDescription="t1 mprage sag 3 Mustermann")
    error = refused(errors.DicomSeriesError, tmp_path, "--series")
    assert "Mustermann" not in str(error)
    assert "FLAIR, 9 x 8 x 12 voxels" in error.why
    uid = str(pydicom.dcmread(next((tmp_path / "b").iterdir())).SeriesInstanceUID)
    number = next(str(s.number) for s in list_series(tmp_path) if s.uid == uid)
    for wanted in (number, uid, uid[-8:], "T1 MPRAGE SAG 3 MUSTERMANN", "mprage"):
        same(read_scan(tmp_path, series=wanted), second)
    same(read_scan(tmp_path, series="flair"), first)
    for wanted in ("9", "3", "²", "Muster", "", "t2 tse"):
        with pytest.raises(errors.DicomSeriesError, match="is not one series"):
            read_scan(tmp_path, series=wanted)


def test_a_single_slice_is_not_taken_for_a_broken_scan(tmp_path: Path) -> None:
    series(tmp_path)
    edit(tmp_path / "005.dcm", lambda d: setattr(d, "SeriesInstanceUID", "1.2.9"))
    refused(errors.DicomSeriesError, tmp_path, "2 series, none of them usable")


@pytest.mark.parametrize("slope", ["0", "nan", "1e999", "two"])
def test_a_slope_that_is_none_is_told(tmp_path: Path, slope: str) -> None:
    series(tmp_path, RescaleSlope="1.5", RescaleIntercept="0")
    for file in tmp_path.glob("*.dcm"):
        raw = file.read_bytes()
        at = raw.index(b"\x28\x00\x53\x10DS") + 8
        file.write_bytes(raw[:at] + slope.ljust(4)[:4].encode() + raw[at + 4 :])
    with pytest.raises((errors.ScanContentError, errors.ScanUnreadableError)):
        read_scan(tmp_path)


def test_upper_bits_are_no_image(tmp_path: Path) -> None:
    due = series(tmp_path)

    def overlay(data: Any) -> None:
        data.BitsStored, data.HighBit = 12, 11
        data.PixelData = (np.frombuffer(data.PixelData, "<u2") | 0x8000).tobytes()

    for file in tmp_path.glob("*.dcm"):
        edit(file, overlay)
    same(read_scan(tmp_path), due)


def test_deep_sequences_end_as_an_error_before_native_code(tmp_path: Path) -> None:
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence
    from pydicom.uid import RLELossless

    series(tmp_path)

    def deepen(data: Any) -> None:
        data.compress(RLELossless)
        inner = Dataset()
        for _ in range(60):
            outer = Dataset()
            outer.add_new(0x0040A730, "SQ", Sequence([inner]))
            inner = outer
        data.ContentSequence = Sequence([inner])

    edit(tmp_path / "003.dcm", deepen)
    refused(errors.ScanUnreadableError, tmp_path, "levels deep")


def test_a_folder_of_other_scans_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").write_bytes(b"x")
    error = refused(errors.ScanNotFoundError, tmp_path, "no DICOM images")
    assert "a.nii.gz" in error.action


@pytest.mark.parametrize("keyword", ["ImageType", "SeriesDescription", "EchoTime", "SeriesInstanceUID", "Rows"])
def test_an_attribute_of_an_unknown_kind_is_damage(tmp_path: Path, keyword: str) -> None:
    """One flipped bit in the two letters that say how an attribute is written; pydicom tells when it is looked at."""
    series(tmp_path)
    file = tmp_path / "000.dcm"
    tag = pydicom.tag.Tag(keyword)
    start = tag.group.to_bytes(2, "little") + tag.element.to_bytes(2, "little")
    data = file.read_bytes()
    at = data.index(start, 132) + 5
    file.write_bytes(data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :])
    for one in (file, tmp_path):
        with pytest.raises(errors.InputError):
            read_scan(one)
