"""DICOM out: geometry, voxels and marks, read back by SimpleITK, pydicom, highdicom and dciodvfy."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813 - its usual name
from dicom_series import ROOT, SECRETS, oblique, write_series

from braindiffusion import errors
from braindiffusion.export.dicom import Coding, Label, Study, grid_of
from braindiffusion.export.dicom_masks import Segment, write_masks
from braindiffusion.export.dicom_result import check_unused, derivation, write_dicom
from braindiffusion.export.dicom_source import acquisition_of, profile, source_of
from braindiffusion.export.identifiers import Identifiers
from braindiffusion.export.second_pass import check_files
from braindiffusion.io.read import on_grid_of, read_scan
from braindiffusion.io.write import OutputFolder
from braindiffusion.volume.scan import Scan

SHAPE = (12, 10, 6)
LAS = np.array([[-2.0, 0, 0, 90], [0, 1.5, 0, -70], [0, 0, 5, -40], [0, 0, 0, 1]])
PROVENANCE = {
    "task": "heal", "settings": {"method": "dif_fuse", "seed": 3}, "software": {"braindiffusion": "0.1.0"},
    "models": [{"name": "m", "sha256": "ab" * 32}], "scan": {"file": "secret.nii"},
}  # fmt: skip


def numbers(dtype: str = "int16", shape: tuple[int, ...] = SHAPE, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 1200, shape).astype(dtype)


def written(folder: Path, scan: Scan, arrays: dict[str, Any], **options: Any) -> Path:
    with OutputFolder(folder) as out:
        write_dicom(out, scan, arrays, PROVENANCE, **options)
    return folder


@pytest.fixture
def planted(tmp_path: Path) -> Scan:
    """A scan read from an oblique series full of the patient."""
    return read_scan(write_series(tmp_path / "in", numbers(), oblique()))


def with_sitk(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels (I,J,K) and affine (IJK -> RAS) as SimpleITK sees a series."""
    image = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image).T, np.diag([-1.0, -1, 1, 1]) @ affine


def check_same_place(scan: Scan, voxels: np.ndarray, affine: np.ndarray, expected: np.ndarray) -> None:
    """Every corner lies where it lay to 1e-4 mm, and every voxel has its value."""
    turned = on_grid_of(scan, voxels, affine)
    assert turned is not None
    np.testing.assert_array_equal(turned, expected)
    turn = np.linalg.inv(scan.affine) @ affine
    signs, order = np.rint(turn[:3, :3]), np.abs(np.rint(turn[:3, :3])).argmax(0)
    for corner in np.ndindex(2, 2, 2):
        at = np.array(corner) * (np.array(voxels.shape) - 1)
        there = np.zeros(3)
        for axis, a in enumerate(order):
            there[a] = at[axis] if signs[a, axis] > 0 else scan.voxels.shape[a] - 1 - at[axis]
        apart = np.linalg.norm((affine @ [*at, 1])[:3] - (scan.affine @ [*there, 1])[:3])
        assert apart < 1e-4


def dciodvfy(path: Path) -> list[str]:
    """Its errors, but for the one about Synthetic Data, which is younger than its dictionary."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed (Debian: dicom3tools)")
    said = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True).stderr
    return [line for line in said.splitlines() if line.startswith("Error") and "(0x0008,0x001c)" not in line]


# --- place and values ---------------------------------------------------------------------------------------------


def test_a_series_goes_out_as_it_came_in(planted: Scan, tmp_path: Path) -> None:
    healed = planted.voxels.copy()
    healed[4:6, 3:6, 2:4] = 7
    out = written(tmp_path / "out", planted, {"counterfactual": healed}, source=source_of(planted))
    check_same_place(planted, *with_sitk(out / "counterfactual"), healed)
    again = read_scan(out / "counterfactual")
    np.testing.assert_array_equal(again.voxels, healed)
    assert again.voxels.dtype == planted.voxels.dtype
    np.testing.assert_allclose(again.affine, planted.affine, rtol=0, atol=1e-6)


@pytest.mark.parametrize("code", ["LAS", "RAS", "LIA", "PSR", "oblique"])
@pytest.mark.parametrize("dtype", ["int16", "uint8", "uint16", "float32"])
def test_volumes_in_any_orientation(tmp_path: Path, code: str, dtype: str) -> None:
    """Axial slices, each voxel where it was."""
    if code == "oblique":
        affine = oblique() @ np.diag([1, -1, 1, 1])  # left-handed
    else:
        axes = {"L": (0, -1), "R": (0, 1), "P": (1, -1), "A": (1, 1), "I": (2, -1), "S": (2, 1)}
        affine = np.eye(4)
        affine[:3, :3] = 0
        for axis, letter in enumerate(code):
            affine[axes[letter][0], axis] = axes[letter][1] * (2.0, 1.5, 5.0)[axis]
        affine[:3, 3] = (11.5, -7.25, 3.0)
    scan = Scan(numbers().clip(0, 250).astype(dtype), affine, "FLAIR")
    out = written(tmp_path / "out", scan, {"diseased": scan.voxels})
    check_same_place(scan, *with_sitk(out / "diseased"), scan.voxels)
    first = pydicom.dcmread(out / "diseased" / "0001.dcm")
    row, column = np.array(first.ImageOrientationPatient, float).reshape(2, 3)
    assert row[0] > 0.9
    assert column[1] > 0.9
    assert np.cross(row, column)[2] > 0.9


def test_a_sheared_grid_is_refused() -> None:
    affine = LAS.copy()
    affine[0, 1] = 0.2
    with pytest.raises(errors.ScanGeometryError):
        grid_of(Scan(numbers(), affine))


@pytest.mark.parametrize(
    ("low", "high", "exact"), [(-5, 900, True), (0, 65535, True), (-1.5, 2.5, False), (0, 1, True), (0, 0.7, False)]
)
def test_coding(low: float, high: float, exact: bool) -> None:
    values = np.array([low, 0, high, (low + high) / 2], np.float64)
    values = np.rint(values) if exact else values
    coding = Coding.of(values)
    back = coding.encode(values) * coding.slope + coding.intercept
    assert np.abs(back - values).max() <= (0 if exact else (high - low) / 32767)
    assert back[1] == 0, "zero stays zero"


def test_a_source_s_own_rescale_gives_its_values_back() -> None:
    stored = np.arange(4096)
    values = stored * 0.37 - 12
    coding = Coding.of(values, rescale=(0.37, -12.0))
    np.testing.assert_array_equal(coding.encode(values), stored)


def test_frames_of_a_multi_frame_source_are_referred_to(tmp_path: Path) -> None:
    from scan_files import dicom

    path = dicom(tmp_path / "e.dcm", numbers(shape=(4, 5, 6)), [0.0, 4.0, 8.0, 12.0])
    scan = read_scan(path)
    out = written(tmp_path / "out", scan, {"counterfactual": scan.voxels}, source=source_of(scan))
    check_same_place(scan, *with_sitk(out / "counterfactual"), scan.voxels)
    items = [pydicom.dcmread(f).SourceImageSequence[0] for f in sorted((out / "counterfactual").iterdir())]
    assert [item.ReferencedFrameNumber for item in items] == [1, 2, 3, 4]
    assert {item.ReferencedSOPInstanceUID for item in items} == {pydicom.dcmread(path).SOPInstanceUID}


# --- marks --------------------------------------------------------------------------------------------------------


def test_every_mark_is_there(planted: Scan, tmp_path: Path) -> None:
    maps = {"counterfactual": planted.voxels, "anomaly": np.full(SHAPE, 0.3, np.float32)}
    out = written(tmp_path / "out", planted, maps, source=source_of(planted))
    source = {d.SOPInstanceUID: d for f in (tmp_path / "in").iterdir() for d in [pydicom.dcmread(f)]}
    one = next(iter(source.values()))
    seen = set()
    for path in sorted(out.rglob("*.dcm")):
        ds = pydicom.dcmread(path)
        assert ds.SyntheticData == "YES"
        assert ds.ImageType[:2] == ["DERIVED", "SECONDARY"]
        assert ds.SeriesDescription.startswith("SYNTHETIC")
        assert (ds.Modality, ds.SOPClassUID) == ("MR", one.SOPClassUID)
        assert ds.FrameOfReferenceUID == one.FrameOfReferenceUID
        assert ds.StudyInstanceUID != one.StudyInstanceUID
        assert ds.SeriesInstanceUID != one.SeriesInstanceUID
        equipment = ds.ContributingEquipmentSequence[0]
        code = equipment.PurposeOfReferenceCodeSequence[0]
        assert (code.CodeValue, code.CodingSchemeDesignator) == ("109100", "DCM")
        assert equipment.ManufacturerModelName == "braindiffusion"
        assert "dif_fuse" in ds.DerivationDescription
        assert "NOT FOR DIAGNOSIS" in ds.DerivationDescription
        referred = source[ds.SourceImageSequence[0].ReferencedSOPInstanceUID]
        np.testing.assert_allclose(referred.ImagePositionPatient, ds.ImagePositionPatient, atol=1e-6)
        assert (ds.RepetitionTime, ds.EchoTime, ds.MagneticFieldStrength) == (9000, 105.5, 3)
        assert list(ds.ScanningSequence) == ["SE", "IR"]
        assert not any(element.tag.is_private for element in ds.iterall())
        seen |= {str(ds.SOPInstanceUID)}
    assert len(seen) == 2 * SHAPE[2]
    assert not seen & {str(uid) for uid in source}


def test_nothing_of_the_patient_but_references_to_the_source(planted: Scan, tmp_path: Path) -> None:
    """The UIDs of the source images stay, for that is what a reference is; all else is gone."""
    out = written(tmp_path / "out", planted, {"counterfactual": planted.voxels}, source=source_of(planted))
    for path in out.rglob("*.dcm"):
        ds = pydicom.dcmread(path)
        del ds.SourceImageSequence, ds.FrameOfReferenceUID
        told = str(ds) + str(ds.file_meta) + path.name
        assert not [secret for secret in SECRETS if secret.lower() in told.lower()]


def test_the_mark_can_be_burned_in(tmp_path: Path) -> None:
    scan = Scan(np.full((96, 96, 2), 100, np.int16), LAS)
    scan.voxels[40:60, 40:60] = 900
    out = written(tmp_path / "out", scan, {"counterfactual": scan.voxels}, burn_in=True)
    plane = pydicom.dcmread(out / "counterfactual" / "0001.dcm").pixel_array
    before = written(tmp_path / "plain", scan, {"counterfactual": scan.voxels})
    changed = plane != pydicom.dcmread(before / "counterfactual" / "0001.dcm").pixel_array
    rows, columns = np.nonzero(changed)
    assert changed.sum() > 50
    assert rows.max() < 30, "a corner, not the head"
    assert columns.min() < 10


def test_the_standard_is_kept(planted: Scan, tmp_path: Path) -> None:
    maps = {
        "counterfactual": planted.voxels,
        "anomaly": np.full(SHAPE, 0.3, np.float32),
        "lesion": planted.voxels > 900,
    }
    out = written(tmp_path / "dicom", planted, maps, source=source_of(planted))
    other = written(tmp_path / "nifti", Scan(numbers(), LAS, "FLAIR"), {"diseased": numbers()})
    files = [out / "counterfactual" / "0002.dcm", out / "anomaly" / "0001.dcm", other / "diseased" / "0003.dcm"]
    for path in (*files, *out.glob("masks/*.dcm")):
        assert not dciodvfy(path)


def test_what_it_says_it_was_made_by() -> None:
    told = derivation(PROVENANCE)
    assert "healing" in told
    assert "m (SHA-256 " + ("ab" * 8) + ")" in told
    assert "seed 3" in told
    assert len(derivation({})) < 400


def test_an_earlier_export_is_not_mixed_with_a_new_one(tmp_path: Path) -> None:
    check_unused(tmp_path)
    written(tmp_path, Scan(numbers(), LAS), {"counterfactual": numbers()})
    with pytest.raises(errors.OutputError, match="earlier export"):
        check_unused(tmp_path)


# --- masks --------------------------------------------------------------------------------------------------------


def masks() -> dict[str, np.ndarray]:
    lesion = np.zeros(SHAPE, bool)
    lesion[3:6, 2:5, 2:4] = True
    region = lesion.copy()
    region[2:8, 1:7, 1:5] = True
    edited = region.copy()
    edited[1, 1:7, 1:5] = True
    return {"lesion": lesion, "mask": region, "edited": edited}


def test_masks_as_a_segmentation(planted: Scan, tmp_path: Path) -> None:
    hd = pytest.importorskip("highdicom", reason="highdicom is not installed")
    arrays = {"counterfactual": planted.voxels, **masks()}
    out = written(tmp_path / "out", planted, arrays, source=source_of(planted))
    seg = hd.seg.segread(out / "masks" / "0001.dcm")
    image = pydicom.dcmread(out / "counterfactual" / "0001.dcm")
    assert [s.SegmentLabel for s in seg.SegmentSequence] == ["lesion", "healed region", "edited region"]
    assert seg.SyntheticData == "YES"
    assert seg.SeriesDescription.startswith("SYNTHETIC")
    assert seg.FrameOfReferenceUID == image.FrameOfReferenceUID
    assert seg.StudyInstanceUID == image.StudyInstanceUID
    for number, expected in enumerate(masks().values(), 1):
        volume = seg.get_volume(segment_numbers=[number])
        at = np.argwhere(volume.array[..., 0])
        lps = (volume.affine @ np.c_[at, np.ones(len(at))].T)[:3]
        ijk = np.linalg.inv(planted.affine) @ np.r_[np.diag([-1, -1, 1]) @ lps, np.ones((1, len(at)))]
        np.testing.assert_allclose(ijk, np.rint(ijk), atol=1e-4)
        found = np.zeros(SHAPE, bool)
        found[tuple(np.rint(ijk[:3]).astype(int))] = True
        np.testing.assert_array_equal(found, expected)


def test_masks_as_series_without_highdicom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("braindiffusion.export.dicom_masks.find_spec", lambda name: None)
    scan = Scan(numbers(), LAS)
    out = written(tmp_path / "out", scan, {"counterfactual": scan.voxels, **masks()})
    for name, expected in masks().items():
        check_same_place(scan, *with_sitk(out / name), expected)
        assert pydicom.dcmread(out / name / "0001.dcm").SyntheticData == "YES"


def test_empty_masks_are_left_out(tmp_path: Path) -> None:
    study = Study(Scan(numbers(), LAS))
    nothing = {"lesion": Segment(np.zeros(SHAPE), "lesion", True, (1, 2, 3))}
    with OutputFolder(tmp_path / "out") as out:
        write_masks(study, out.file, 1, nothing, [], "")
    assert not list((tmp_path / "out").rglob("*.dcm"))


def test_what_an_induction_changed_is_a_segment_each(tmp_path: Path) -> None:
    hd = pytest.importorskip("highdicom", reason="highdicom is not installed")
    scan = Scan(numbers(), LAS)
    labels = masks()["lesion"].astype(np.uint8) + 2 * (masks()["mask"] & ~masks()["lesion"])
    out = written(tmp_path / "out", scan, {"diseased": scan.voxels, "difference": labels.astype(np.uint8)})
    seg = hd.seg.segread(out / "masks" / "0001.dcm")
    assert [s.SegmentLabel for s in seg.SegmentSequence] == ["change inside the lesion", "change around the lesion"]


# --- what is taken over -------------------------------------------------------------------------------------------


def test_only_numbers_and_known_terms_are_taken_over() -> None:
    header = {
        "RepetitionTime": "2000", "EchoTime": "Doe", "InversionTime": float("nan"), "EchoTrainLength": 1.5,
        "ScanningSequence": ["SE", "DOE"], "SequenceVariant": "DOE", "PatientName": "Doe", "PatientPosition": "HFS",
        "ProtocolName": "Doe",
    }  # fmt: skip
    assert acquisition_of(header.get) == {"RepetitionTime": 2000, "ScanningSequence": "SE", "PatientPosition": "HFS"}


def test_the_profile_takes_over_nothing_that_identifies() -> None:
    from pydicom.datadict import dictionary_VR, tag_for_keyword

    taken = [*profile()["numbers"], *profile()["terms"]]
    assert {dictionary_VR(keyword) for keyword in taken} <= {"DS", "IS", "US", "FD", "CS"}
    assert not [keyword for keyword in taken if tag_for_keyword(keyword) >> 16 in (0x0010, 0x0032, 0x0038, 0x0040)]


def test_an_anonymous_export_has_no_date_and_no_way_back(planted: Scan, tmp_path: Path) -> None:
    source = source_of(planted)
    assert source is not None
    with OutputFolder(tmp_path / "out") as out:
        study = Study(planted, source, anonymous=True, patient="P1")
        study.write(out.file, "a", 1, planted.voxels, Label("scan", "Copied.", synthetic=False))
    for path in (tmp_path / "out").rglob("*.dcm"):
        ds = pydicom.dcmread(path)
        dates = [e for e in ds.iterall() if e.VR in ("DA", "DT", "TM") and e.value]
        assert not dates
        assert not [e for e in ds.iterall() if e.VR == "UI" and str(e.value).startswith(ROOT)]
        assert "SourceImageSequence" not in ds
        assert (ds.SyntheticData, ds.PatientID) == ("NO", "P1")


def test_an_anonymous_segmentation_has_the_date_that_the_standard_wants_and_nobody_knows(
    planted: Scan, tmp_path: Path
) -> None:
    pytest.importorskip("highdicom", reason="highdicom is not installed")
    source = source_of(planted)
    with OutputFolder(tmp_path / "out") as out:
        study = Study(planted, source, anonymous=True, patient="P1")
        images = study.write(out.file, "a", 1, planted.voxels, Label("scan", "Made."))
        segment = Segment(planted.voxels > 900, "lesion", True, (255, 0, 0))
        write_masks(study, out.file, 2, {"lesion": segment}, images, "Made.")
        path = out.file("masks/0001.dcm")
        check_files([("masks/0001.dcm", path)], Identifiers())
    ds = pydicom.dcmread(tmp_path / "out" / "masks" / "0001.dcm")
    assert list(ds.ImageType) == ["DERIVED", "PRIMARY"]
    dates = {e.keyword: e.value for e in ds.iterall() if e.VR in ("DA", "DT", "TM") and e.value}
    assert dates == {"ContentDate": "19000101", "ContentTime": "000000"}
    assert not dciodvfy(tmp_path / "out" / "masks" / "0001.dcm")
    known = Identifiers()
    known.add_date("19000101")  # a patient's own
    with pytest.raises(errors.QuarantineError):
        check_files([("masks/0001.dcm", tmp_path / "out" / "masks" / "0001.dcm")], known)
