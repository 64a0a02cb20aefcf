"""De-identification: a patient planted in every place we can think of is found nowhere; doubts are held back."""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_series import BIRTH, DAY, FIRST, ID, NAME, ROOT, SECRETS, everything, leaked, oblique, write_series
from PIL import Image, PngImagePlugin

from braindiffusion import NOT_FOR_DIAGNOSIS, errors
from braindiffusion.errors import QuarantineError
from braindiffusion.export import identifiers
from braindiffusion.export.burned_in import find_text
from braindiffusion.export.deidentify import clean_scan, copy_volume
from braindiffusion.export.deidentify_cases import QUARANTINE, deidentify, find_cases
from braindiffusion.export.dicom import DEIDENTIFIED
from braindiffusion.export.faces import RIM_MM, shown_region, within, without_face
from braindiffusion.export.identifiers import Identifiers
from braindiffusion.export.marks import words
from braindiffusion.export.second_pass import check_files, check_text
from braindiffusion.io.read import read_scan
from braindiffusion.io.write import OutputFolder
from braindiffusion.volume.scan import Scan


def head(seed: int = 0) -> np.ndarray:
    """A noisy ball in air, (48,48,12) int16."""
    i, j, k = np.indices((48, 48, 12))
    noise = np.random.default_rng(seed).normal(0, 12, (2, 48, 48, 12))
    ball = 400.0 * (((i - 24) / 20) ** 2 + ((j - 24) / 21) ** 2 + ((k - 6) / 7) ** 2 < 1)
    return np.rint(np.hypot(ball + noise[0], noise[1])).astype(np.int16)


def write_nifti(path: Path, voxels: np.ndarray, planted: bool = True) -> Path:
    """A NIfTI-1 file; with the patient in its notes, its names, an extension, and gzip's own file name."""
    raw = bytearray(352)
    struct.pack_into("<i", raw, 0, 348)
    struct.pack_into("<8h", raw, 40, 3, *voxels.shape, 1, 1, 1, 1)
    struct.pack_into("<2h", raw, 70, 4, 16)
    struct.pack_into("<8f", raw, 76, 1, 3, 3, 7, 1, 1, 1, 1)
    struct.pack_into("<h", raw, 254, 1)
    affine = np.diag([-3.0, 3, 7])
    raw[280:328] = np.c_[affine, [70, -70, -40]].astype("<f4").tobytes()
    raw[344:348] = b"n+1\0"
    extra = b""
    if planted:
        raw[14 : 14 + len(NAME)] = NAME.encode()[:18]
        note = f"{NAME} {FIRST} {ID} 1943-05-21".encode()
        raw[148 : 148 + len(note)] = note
        raw[228 : 228 + len(ID)] = ID.encode()
        raw[328 : 328 + len(FIRST)] = FIRST.encode()
        text = f"<patient>{NAME}^{FIRST}</patient> {DAY}".encode()
        extra = struct.pack("<2i", 16 * (len(text) // 16 + 2), 6) + text
        extra += b" " * (16 * (len(text) // 16 + 2) - len(extra))
        raw[348:352] = b"\1\0\0\0"
    struct.pack_into("<f", raw, 108, 352 + len(extra))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream, gzip.GzipFile(f"{NAME}.nii" if planted else "", "wb", fileobj=stream) as zipped:
        zipped.write(bytes(raw) + extra + voxels.tobytes(order="F"))
    return path


@pytest.fixture
def full_of_names(tmp_path: Path) -> Path:
    """A folder of scans with the patient everywhere."""
    folder = tmp_path / f"{NAME}_{FIRST}" / DAY
    write_nifti(folder / f"sub-{ID}_{NAME}_FLAIR.nii.gz", head())
    sidecar = {
        "PatientName": f"{NAME}^{FIRST}", "PatientID": ID, "AcquisitionDateTime": "2019-03-17T10:11",
        "RepetitionTime": 9, "ScanningSequence": "SE", "InstitutionName": "Sankt-Pankraz", "SeriesDescription": NAME,
        "PatientBirthDate": BIRTH, "EchoTime": NAME,
    }  # fmt: skip
    (folder / f"sub-{ID}_{NAME}_FLAIR.json").write_text(json.dumps(sidecar), encoding="utf-8")
    write_series(folder / f"series {ID}", head(1)[:, :, :6], oblique((3.0, 3.2, 7.0)))
    header = f"NRRD0004\ntype: short\ndimension: 3\nsizes: 48 48 12\nencoding: raw\nendian: little\n# {NAME}\n"
    header += "space: left-posterior-superior\nspace directions: (3,0,0) (0,3,0) (0,0,7)\nspace origin: (0,0,0)\n"
    header += f"content: {NAME}\npatient:={NAME}^{FIRST}\nStudyDate:={DAY}\n\n"
    (folder / f"{NAME}.nrrd").write_bytes(header.encode() + head(2).tobytes(order="F"))
    (folder / "provenance.json").write_text(json.dumps({"scan": {"file": f"{NAME}.nii.gz"}}))
    (folder / "run.log").write_text(f"read {folder}/{NAME}.nii.gz of {FIRST} born {BIRTH}\n")
    return folder.parent


# --- planted everywhere, found nowhere ----------------------------------------------------------------------------


def test_what_is_planted_everywhere_is_found_nowhere(full_of_names: Path, tmp_path: Path, capfd, caplog) -> None:
    assert len(leaked(everything(full_of_names))) == len(SECRETS), "all of it is planted"
    out = tmp_path / "clean"
    outcomes, others = deidentify(full_of_names, out, face="keep")
    assert [o.reason for o in outcomes] == [None, None, None]
    assert others == 2, "a record and a log stay where they are"
    names = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    volumes = {n for n in names if n.count("/") == 0}
    assert volumes == {"case-001.nrrd", "case-002.nii.gz", "case-002.json"}
    assert names - volumes == {f"case-003/{k:04d}.dcm" for k in range(1, 7)}
    assert leaked(everything(out)) == []
    said = capfd.readouterr()
    assert leaked(said.out + said.err + caplog.text + str([o.reason for o in outcomes])) == []


def test_the_scans_themselves_stay_whole(full_of_names: Path, tmp_path: Path) -> None:
    deidentify(full_of_names, tmp_path / "clean", face="keep")
    scan = read_scan(tmp_path / "clean" / "case-002.nii.gz")
    np.testing.assert_array_equal(scan.voxels, head())
    np.testing.assert_allclose(scan.affine[:3], np.c_[np.diag([-3.0, 3, 7]), [70, -70, -40]])
    series = read_scan(tmp_path / "clean" / "case-003")
    np.testing.assert_array_equal(series.voxels, head(1)[:, :, :6])
    np.testing.assert_allclose(series.affine, oblique((3.0, 3.2, 7.0)), atol=1e-4)
    told = json.loads((tmp_path / "clean" / "case-002.json").read_text())
    assert told["RepetitionTime"] == 9
    assert told["ScanningSequence"] == "SE"
    assert set(told) == {"RepetitionTime", "ScanningSequence", "notice", "use"}
    ds = pydicom.dcmread(tmp_path / "clean" / "case-003" / "0001.dcm")
    assert (ds.PatientID, ds.RepetitionTime, ds.SyntheticData) == ("CASE-003", 9000, "NO")


def test_a_copy_says_what_it_is(tmp_path: Path) -> None:
    """A synthetic scan stays synthetic; a study may ask for one notice for both."""
    with OutputFolder(tmp_path) as out:
        out.volume("made", head(), np.diag([3.0, 3, 7, 1]))
    real, made = write_nifti(tmp_path / "real.nii.gz", head(), planted=False), tmp_path / "made.nii.gz"
    for path, notice, expected in (
        (real, None, DEIDENTIFIED), (made, None, NOT_FOR_DIAGNOSIS),
        (made, "MAY BE", "MAY BE"), (real, "MAY BE", "MAY BE"),
    ):  # fmt: skip
        copy_volume(path, tmp_path / "out" / "c.nii.gz", face="keep", notice=notice)
        raw = gzip.decompress((tmp_path / "out" / "c.nii.gz").read_bytes())
        assert raw[148:228].rstrip(b"\0").decode() == expected


def test_the_key_tells_who_is_who_and_lies_elsewhere(full_of_names: Path, tmp_path: Path) -> None:
    with pytest.raises(errors.SettingsError):
        deidentify(full_of_names, tmp_path / "clean", key=tmp_path / "clean" / "key.csv")
    with pytest.raises(errors.SettingsError):
        deidentify(full_of_names, full_of_names / "clean")
    deidentify(full_of_names, tmp_path / "clean", face="keep", key=tmp_path / "key.csv")
    rows = (tmp_path / "key.csv").read_text().splitlines()
    assert len(rows) == 4
    assert NAME in rows[2]
    assert (tmp_path / "key.csv").stat().st_mode & 0o077 == 0


# --- doubts -------------------------------------------------------------------------------------------------------


def with_text(
    voxels: np.ndarray, value: float, at: tuple[int, int] = (0, 0), text: str = "DOE JANE 1943"
) -> np.ndarray:
    """Text burned into every slice, as a device does."""
    out = voxels.copy()
    mark = words((voxels.shape[0] - at[0], voxels.shape[1] - at[1]), [text], 9)
    out[at[0] :, at[1] :][mark] = value
    return out


def test_doubts_are_held_back_with_a_reason(tmp_path: Path) -> None:
    folder = tmp_path / NAME
    large = np.pad(head(), ((40, 40), (40, 40), (0, 0)))
    write_series(folder / "a", large, oblique(), BurnedInAnnotation="YES")
    write_series(folder / "b", with_text(large, 900), oblique())
    write_series(folder / "c", large, oblique(), SOPClassUID="1.2.840.10008.5.1.4.1.1.7")
    (folder / "d.nii.gz").write_bytes(b"no scan")
    write_nifti(folder / "e.nii.gz", large)
    write_series(folder / "f", large, oblique(), Modality="PT")
    outcomes, _ = deidentify(folder, tmp_path / "out", face="keep")
    reasons = {o.case.path.name: o.reason for o in outcomes}
    assert "burned into the pixels" in reasons["a"]
    assert "Text seems to be burned in" in reasons["b"]
    assert "picture of a screen" in reasons["c"]
    assert "ScanUnreadableError" in reasons["d.nii.gz"]
    assert "DicomSeriesError" in reasons["f"]
    assert reasons["e.nii.gz"] is None
    out = {p.name for p in (tmp_path / "out").iterdir()}
    assert out == {QUARANTINE, next(o.code for o in outcomes if o.reason is None) + ".nii.gz"}
    assert leaked(everything(tmp_path / "out")) == []


def test_no_scan_at_all(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(errors.ScanNotFoundError):
        find_cases(tmp_path)


@pytest.mark.parametrize("value", [0, 300, 900], ids=["black", "grey", "white"])
@pytest.mark.parametrize("at", [(2, 2), (60, 45)], ids=["corner", "head"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_burned_in_text_is_found(value: int, at: tuple[int, int], axis: int) -> None:
    voxels = np.pad(np.repeat(head(), 3, 0).repeat(3, 1), ((8, 8), (8, 8), (0, 0)))
    voxels = voxels + np.random.default_rng(1).integers(0, 9, voxels.shape).astype(np.int16)
    plain = np.moveaxis(voxels, 2, axis)
    assert find_text(plain) == []
    found = find_text(np.moveaxis(with_text(voxels, value, at), 2, axis))
    assert found
    assert found[0].axis == axis


def test_smoothed_text_in_the_air_is_found() -> None:
    from scipy import ndimage

    voxels = np.pad(np.repeat(head(), 3, 0).repeat(3, 1), ((8, 8), (8, 8), (0, 0))).astype(np.float32)
    mark = ndimage.gaussian_filter(
        with_text(np.zeros(voxels.shape, np.float32), 700, text="M U L L E R 7 1"), (0.5, 0.5, 0)
    )
    assert find_text(voxels) == []
    assert find_text(voxels + mark)


@pytest.mark.scans
def test_no_text_is_seen_in_real_scans(data_dir: Path) -> None:
    for path in [data_dir / "volumes" / f"{name}.nii.gz" for name in ("fg6692_FLAIR_raw", "oms01_FLAIR", "oms12_T2W")]:
        assert find_text(read_scan(path).voxels, (2,)) == [], path.name


# --- faces --------------------------------------------------------------------------------------------------------


@pytest.fixture
def brain(head_phantom: Scan) -> np.ndarray:
    """The phantom's brain, (I,J,K) bool."""
    at = np.indices(head_phantom.voxels.shape).reshape(3, -1)
    x, y, z = head_phantom.affine[:3, :3] @ at + head_phantom.affine[:3, 3:]
    return ((x / 66) ** 2 + (y / 84) ** 2 + (z / 68) ** 2 < 1).reshape(head_phantom.voxels.shape)


@pytest.mark.parametrize("face", ["remove", "blur"])
def test_nothing_far_from_the_brain_stays(head_phantom: Scan, brain: np.ndarray, face) -> None:
    shown = shown_region(head_phantom, face, brain)
    out = without_face(head_phantom.voxels, shown, head_phantom.spacing, face)
    far = ~within(brain, head_phantom.spacing, RIM_MM + 0.1)
    assert far.any()
    np.testing.assert_array_equal(out[shown], head_phantom.voxels[shown])
    assert (shown >= brain).all()
    before, after = head_phantom.voxels[far].astype(float), out[far].astype(float)
    assert before.std() > 50, "there is a scalp"
    assert after.std() < (1e-9 if face == "remove" else 0.25 * before.std())
    assert out.dtype == head_phantom.voxels.dtype


def test_the_rim_is_measured_in_millimetres() -> None:
    mask = np.zeros((40, 40, 40), bool)
    mask[20, 20, 20] = True
    near = within(mask, np.array([1.0, 2.0, 6.0]), 12)
    assert [near[:, 20, 20].sum(), near[20, :, 20].sum(), near[20, 20, :].sum()] == [25, 13, 5]


def test_a_face_that_cannot_be_placed_is_a_doubt(head_phantom: Scan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("braindiffusion.export.faces.network_brain", lambda scan, device: None)
    with pytest.raises(errors.QuarantineError, match="face"):
        shown_region(head_phantom)
    with pytest.raises(errors.QuarantineError):
        shown_region(head_phantom, "remove", np.zeros(head_phantom.voxels.shape, bool))
    assert shown_region(head_phantom, "keep").all()
    with pytest.raises(errors.SettingsError):
        shown_region(head_phantom, "paint")  # type: ignore[arg-type]


@pytest.mark.weights
def test_the_network_finds_the_phantom_s_brain(head_phantom: Scan, brain: np.ndarray) -> None:
    shown = shown_region(head_phantom)
    assert (shown & brain).sum() > 0.95 * brain.sum()
    assert not shown.all()


# --- words --------------------------------------------------------------------------------------------------------


def test_words_are_found_however_they_are_written() -> None:
    known = Identifiers()
    known.add_name("Müller-Lüdenscheidt^Käthe")
    known.add_date("19431224")
    known.add_path("/data/flair/sub-AB1234/scan.nii.gz")
    for text in (
        "by MULLER",
        "käthe",
        "x_Ludenscheidt_y",
        "24.12.1943",
        "born 1943-12-24",
        "19431224",
        "12/24/1943",
        "ab1234.png",
    ):
        assert known.found_in(text), text
    for text in ("flair scan", "data", "Mulle", "1943", "119431224", "2.25.119431224", "sub"):
        assert not known.found_in(text), text
    assert not known.found_in("made by Muller", known=["made by Muller"])


def test_the_program_and_its_place_identify_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    known = Identifiers()
    known.add_path("/home/reading/SlicerBrainCounterfactual/Resources/Samples/SYNTHETIC_FLAIR_lesion.nii.gz")
    assert not known.found_in("SlicerBrainCounterfactual")
    monkeypatch.setattr(identifiers, "INSTALLATION", Path("/opt/venvQuokka"))
    known.add_path("/opt/venvQuokka/braindiffusion/_resources/Samples/scan.nii.gz")
    known.add_path("/opt/venvQuokka/patients/Wombat/scan.nii.gz")
    assert not known.found_in("venvQuokka")
    assert known.found_in("Wombat") == "wombat"


def test_the_word_is_told_in_the_advice_and_not_in_the_cause() -> None:
    known = Identifiers()
    known.add_path("/data/Wombat/scan.nii.gz")
    with pytest.raises(QuarantineError) as told:
        check_text("a wombat was here", "the title", known)
    assert "'wombat'" in told.value.action
    assert "wombat" not in told.value.what + told.value.why


@pytest.fixture
def patient(tmp_path: Path) -> Identifiers:
    scan = write_series(tmp_path / "source", head()[:, :, :3], oblique())
    return clean_scan(scan, face="keep").identifiers


def test_the_second_pass_distrusts_every_kind_of_file(tmp_path: Path, patient: Identifiers) -> None:
    clean = tmp_path / "clean.nii.gz"
    copy_volume(write_nifti(tmp_path / "n.nii.gz", head()), clean, face="keep")
    check_files([("clean.nii.gz", clean)], patient)
    bad: dict[str, Path] = {f"{NAME}.nii.gz": clean, "strange.xyz": clean}
    for n, (at, text) in enumerate(
        [(14, b"Q"), (228, b"Q"), (328, b"Q"), (348, b"\1"), (108, b"\0\0\xb8\x43"), (184, NAME.encode())]
    ):
        raw = bytearray(gzip.decompress(clean.read_bytes()))
        raw[at : at + len(text)] = text
        bad[f"{n}.nii.gz"] = tmp_path / f"bad{n}.nii.gz"
        bad[f"{n}.nii.gz"].write_bytes(gzip.compress(bytes(raw)))
    bad["named.nii.gz"] = write_nifti(tmp_path / "named.nii.gz", head())
    for n, text in enumerate((f'{{"a": ["{FIRST}"]}}', f'{{"{ID}": 1}}')):
        bad[f"{n}.json"] = tmp_path / f"{n}.json"
        bad[f"{n}.json"].write_text(text)
    bad["page.html"] = tmp_path / "page.html"
    bad["page.html"].write_text(f"<p>{DAY[:4]}-{DAY[4:6]}-{DAY[6:]}</p>")
    note = PngImagePlugin.PngInfo()
    note.add_text("Author", NAME)
    bad["p.png"] = tmp_path / "p.png"
    Image.new("L", (8, 8)).save(bad["p.png"], pnginfo=note)
    for name, path in bad.items():
        with pytest.raises(errors.QuarantineError) as caught:
            check_files([(name, path)], patient)
        assert not leaked(str(caught.value)), "what was found is not told"


@pytest.mark.parametrize(
    "changes",
    [
        {"PatientName": NAME}, {"StudyDate": "20200101"}, {"AcquisitionDateTime": "20200101"},
        {"ImageComments": f"of {FIRST}"}, {"FrameOfReferenceUID": f"{ROOT}.1"}, {"InstitutionName": "x"},
        {"private": "x"},
    ],
    ids=lambda c: next(iter(c)),
)  # fmt: skip
def test_the_second_pass_distrusts_a_dicom_header(
    tmp_path: Path, patient: Identifiers, changes: dict[str, str]
) -> None:
    clean = tmp_path / "out"
    deidentify(tmp_path / "source", clean, face="keep")
    path = clean / "case-001" / "0001.dcm"
    check_files([("a.dcm", path)], patient)
    ds = pydicom.dcmread(path)
    for keyword, value in changes.items():
        if keyword == "private":
            ds.private_block(0x0029, "US", create=True).add_new(1, "LO", value)
        else:
            setattr(ds, keyword, value)
    ds.save_as(path)
    with pytest.raises(errors.QuarantineError):
        check_files([("a.dcm", path)], patient)


def test_pictures_in_a_page_are_no_words(tmp_path: Path) -> None:
    known = Identifiers(names={"ab"})
    page = tmp_path / "p.html"
    page.write_text('<img src="data:image/png;base64,ab+ab/ab==">')
    check_files([("p.html", page)], known)
    with pytest.raises(errors.QuarantineError):
        check_text("ab", "the history", known)


def test_a_damaged_part_of_a_header_is_told(tmp_path: Path) -> None:
    """A sequence that ends before its item: pydicom decodes it only where it is asked for, and raises OSError."""

    folder = write_series(tmp_path / "in", np.arange(42, dtype=np.uint16).reshape(7, 6, 1), oblique(), planted=False)
    file = next(folder.iterdir())
    raw = file.read_bytes()
    at = raw.index(b"\xe0\x7f\x10\x00")
    sequence = struct.pack("<2H2s2xI", 0x5401, 0x0101, b"SQ", 4) + b"\0\0\0\0"
    file.write_bytes(raw[:at] + sequence + raw[at:])
    with pytest.raises(errors.InputError) as caught:
        clean_scan(file, face="keep")
    assert caught.value.action
