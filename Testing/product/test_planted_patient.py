"""A patient planted in every place we can think of is found in no export, no study, no teaching file and no log.

The head phantom always; slices of a real oblique T1 series where the development scans are. The exports are read back
by SimpleITK, highdicom and Slicer's own core, and lie where the scan lies.
"""

from __future__ import annotations

import importlib.util
import io
import logging
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813 - its usual name
from dicom_series import BIRTH, DAY, NAME, SECRETS, everything, leaked, plant, write_series
from product_run import QUICK, Head, provenance, succeed
from pydicom.uid import generate_uid

from braindiffusion import NOT_FOR_DIAGNOSIS
from braindiffusion.io.read import on_grid_of, read_scan

pytestmark = pytest.mark.weights

ROOT = Path(__file__).resolve().parents[2]
SLICES = slice(252, 264)
"""Of the 384 of the T1 series."""


@dataclass(frozen=True)
class Hospital:
    """A series full of the patient, in a folder named after him.

    Attributes:
        options: of ``heal``.
        planes: those that are healed.
        secrets: what must not be found.
        brain: options that spare the network that finds it.
    """

    series: Path
    options: tuple[Any, ...]
    planes: list[int]
    secrets: tuple[str, ...]
    brain: tuple[Any, ...] = ()

    @property
    def files(self) -> list[Path]:
        return sorted(self.series.iterdir())


@dataclass(frozen=True)
class Export:
    """What ``heal --format dicom`` left, and all it said."""

    folder: Path
    said: str


def phantom(head: Head, folder: Path) -> Hospital:
    turned = head.affine.copy()  # its slices turned round: DICOM's axes are right-handed
    turned[:3, 3] += turned[:3, 2] * (head.voxels.shape[2] - 1)
    turned[:3, 2] *= -1
    series = write_series(folder, head.voxels[:, :, ::-1], turned)
    brain = ("--brain", head.brain)
    return Hospital(series, ("--mask", head.mask, "--slices", "10:12", *brain), [8, 9], SECRETS, brain)


def hanke(data_dir: Path, folder: Path, unpacked: Path) -> Hospital:
    """Twelve slices of the series, with the patient of :func:`plant` beside what its own header has."""
    with tarfile.open(data_dir / "dicom" / "hanke_t1_dicom.tar.xz") as archive:
        archive.extractall(unpacked, filter="data")
    folder.mkdir(parents=True)
    files = sorted(unpacked.rglob("*.dcm"))[SLICES]
    own: set[str] = set()
    for number, path in enumerate(files):
        ds = pydicom.dcmread(path)
        own |= {str(ds.PatientName), str(ds.StudyDate)}
        plant(ds)
        ds.preamble = f"{NAME} {BIRTH}".encode().ljust(128, b"\0")
        ds.file_meta.SourceApplicationEntityTitle = NAME[:16]
        ds.file_meta.PrivateInformationCreatorUID = generate_uid()
        ds.file_meta.PrivateInformation = f"{NAME} {DAY}".encode()
        ds.save_as(folder / f"{NAME}_{DAY}_{number:03d}.dcm")
    shutil.rmtree(unpacked)
    box = ("--box", "150,180,5,175,205,6")
    return Hospital(folder, box, [5, 6], (*SECRETS, *sorted(own)))


@pytest.fixture(scope="module", params=["phantom", pytest.param("hanke", marks=pytest.mark.scans)])
def hospital(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Hospital:
    base = tmp_path_factory.mktemp("hospital")
    folder = base / f"{NAME} {BIRTH}" / DAY
    if request.param == "phantom":
        return phantom(request.getfixturevalue("head"), folder)
    return hanke(request.getfixturevalue("data_dir"), folder, base / "unpacked")


@contextmanager
def overheard(temporary: Path) -> Iterator[io.StringIO]:
    """Everything that is logged, at any level; temporary files go into a folder of their own."""
    heard = io.StringIO()
    handler, root = logging.StreamHandler(heard), logging.getLogger()
    level = root.level
    temporary.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(temporary))
        root.addHandler(handler)
        root.setLevel(logging.DEBUG)
        try:
            yield heard
        finally:
            root.removeHandler(handler)
            root.setLevel(level)


@pytest.fixture(scope="module")
def exported(hospital: Hospital, tmp_path_factory: pytest.TempPathFactory) -> Export:
    """The healing of two slices as DICOM."""
    base = tmp_path_factory.mktemp("exported")
    with overheard(base / "temporary") as heard:
        run = succeed("heal", hospital.series, *hospital.options, "--format", "dicom", *QUICK, "--out", base / "out")
    return Export(base / "out", run.out + run.err + heard.getvalue() + everything(base / "temporary"))


def references(hospital: Hospital) -> set[str]:
    """UIDs of the source that an export is meant to name: its images, its frame of reference."""
    uids: set[str] = set()
    for path in hospital.files:
        ds = pydicom.dcmread(path, stop_before_pixels=True)
        uids |= {str(ds.SOPInstanceUID), str(ds.FrameOfReferenceUID)}
    return uids


DRAWN = re.compile(r"2\.25\.\d+|\b[0-9a-f]{64}\b")
"""UIDs and hashes of our own: long enough to hold a short number by chance."""


def found(folder: Path, hospital: Hospital, but: set[str] = frozenset()) -> list[str]:
    """Secrets in a folder, when these references to the source are taken out."""
    text = everything(folder)
    for uid in but:
        text = text.replace(uid.lower(), "")
    return leaked(DRAWN.sub("", text), hospital.secrets)


def check_place(hospital: Hospital, export: Export, voxels: np.ndarray, affine: np.ndarray) -> None:
    """Every corner within 1e-4 mm, every voxel that of the scan outside of what was healed."""
    scan = read_scan(hospital.series)
    size = np.array(voxels.shape) - 1
    corners = np.array([[*(size * c), 1] for c in np.ndindex(2, 2, 2)]).T
    ijk = (np.linalg.inv(scan.affine) @ affine @ corners)[:3]
    there = scan.affine @ np.vstack([np.rint(ijk), np.ones(8)])
    assert np.abs(there - affine @ corners).max() < 1e-4, "mm"
    turned = on_grid_of(scan, voxels, affine)
    assert turned is not None
    changed = turned != scan.voxels
    assert np.nonzero(changed.any((0, 1)))[0].tolist() == hospital.planes
    assert provenance(export.folder)["check"]["changed_voxels"] == changed.sum()


# --- the export ---------------------------------------------------------------------------------------------------


def test_simpleitk_finds_it_where_the_scan_lies(hospital: Hospital, exported: Export) -> None:
    files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(exported.folder / "counterfactual"))
    image = sitk.ReadImage(files)
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    check_place(hospital, exported, sitk.GetArrayFromImage(image).T, np.diag([-1.0, -1, 1, 1]) @ affine)


RELOAD = """
import sys
from core_application import CoreApplication
CoreApplication().install()
import numpy as np, slicer
from BrainCounterfactualCommon.scene import volumes
node = volumes.loadDicomSeries(sys.argv[2:], "again")
np.savez(sys.argv[1], voxels=slicer.util.arrayFromVolume(node).T, affine=volumes.ijkToRas(node))
"""


def test_slicer_core_finds_it_where_the_scan_lies(hospital: Hospital, exported: Export, tmp_path: Path) -> None:
    """By the loader of our own modules, in a process without the engine, as Slicer has it."""
    if importlib.util.find_spec("slicer") is None:
        pytest.skip("slicer-core is not installed: pip install -e '.[viewer]'")
    files = sorted((exported.folder / "counterfactual").iterdir(), reverse=True)
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "Testing" / "logic")))
    command = [sys.executable, "-c", RELOAD, tmp_path / "again.npz", *files]
    done = subprocess.run(
        [str(part) for part in command], env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "again.npz") as again:
        check_place(hospital, exported, again["voxels"], again["affine"])


def test_every_mark_is_in_every_file(hospital: Hospital, exported: Export) -> None:
    source = pydicom.dcmread(hospital.files[0])
    files = sorted(exported.folder.rglob("*.dcm"))
    assert {path.parent.name for path in files} >= {"counterfactual", "anomaly"}
    studies, series, referred = set(), set(), set()
    for path in files:
        ds = pydicom.dcmread(path)
        assert ds.SyntheticData == "YES"
        assert ds.ImageType[:2] == ["DERIVED", "SECONDARY"] or ds.Modality == "SEG"
        assert ds.SeriesDescription.startswith("SYNTHETIC")
        assert NOT_FOR_DIAGNOSIS.partition(" - ")[2] in str(ds.PatientName)
        assert ds.FrameOfReferenceUID == source.FrameOfReferenceUID
        equipment = ds.ContributingEquipmentSequence[0]
        assert equipment.PurposeOfReferenceCodeSequence[0].CodeValue == "109100"
        assert not [element for element in ds.iterall() if element.tag.is_private]
        studies.add(ds.StudyInstanceUID)
        series.add(ds.SeriesInstanceUID)
        if path.parent.name == "counterfactual":
            assert ds.Modality == source.Modality
            assert ds.DerivationDescription
            assert path.read_bytes()[:128] == bytes(128), "nothing before the header"
            referred.add(ds.SourceImageSequence[0].ReferencedSOPInstanceUID)
    assert len(studies) == 1
    assert not (studies | series) & {source.StudyInstanceUID, source.SeriesInstanceUID}
    assert referred == {pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID for path in hospital.files}


def test_other_readers_take_it(exported: Export) -> None:
    folder = exported.folder
    if shutil.which("dciodvfy"):
        for path in (*sorted((folder / "counterfactual").iterdir())[:2], *folder.glob("masks/*.dcm")):
            said = subprocess.run(["dciodvfy", path], capture_output=True, text=True).stderr.splitlines()
            assert not [x for x in said if x.startswith("Error") and "(0x0008,0x001c)" not in x]
    hd = pytest.importorskip("highdicom", reason="highdicom is not installed")
    seg = hd.seg.segread(folder / "masks" / "0001.dcm")
    assert "edited region" in [s.SegmentLabel for s in seg.SegmentSequence]


def test_the_patient_is_nowhere_in_the_export_or_the_logs(hospital: Hospital, exported: Export) -> None:
    planted = leaked(everything(hospital.series), hospital.secrets)
    assert NAME in planted
    assert DAY in planted
    assert found(exported.folder, hospital, but=references(hospital)) == []
    assert leaked(exported.said.replace(str(exported.folder), ""), hospital.secrets) == []


# --- what is made from it -----------------------------------------------------------------------------------------


def test_the_patient_is_nowhere_in_a_teaching_file(hospital: Hospital, exported: Export, tmp_path: Path) -> None:
    texts = ("--title", "A case", "--question", "Where?", "--choice", "Left", "--choice", "Right", "--answer", 2)
    command = ("teach", exported.folder, "--scan", hospital.series, *(hospital.brain or ("--face", "keep")), *texts)
    with overheard(tmp_path / "temporary") as heard:
        run = succeed(*command, "--out", tmp_path / "case")
    assert found(tmp_path / "case", hospital) == [], "without references: a teaching file has none"
    assert leaked(run.out + run.err + heard.getvalue() + everything(tmp_path / "temporary"), hospital.secrets) == []


def test_the_patient_is_nowhere_in_a_study(hospital: Hospital, exported: Export, tmp_path: Path) -> None:
    """Sealed from the series and its healing, read, unblinded and analysed: study, answers, key, report, logs."""
    sys.path.insert(0, str(ROOT / "Testing" / "engine"))
    import study_helpers

    for origin, series in (("real", hospital.series), ("healed", exported.folder / "counterfactual")):
        shutil.copytree(series, tmp_path / NAME / origin / f"{NAME}_{DAY}")
    given = ("--real", tmp_path / NAME / "real", "--synthetic", f"healed={tmp_path / NAME / 'healed'}")
    sealed, results = tmp_path / "sealed", tmp_path / "results"
    with overheard(tmp_path / "temporary") as heard:
        runs = [
            succeed(
                "study", "create", *given, "--protocol", "realism", "--face", "keep", "--repeats", 0,
                "--out", sealed / "STUDY", "--progress", "none",
            )
        ]  # fmt: skip
        assert study_helpers.read(sealed / "STUDY", "R1", lambda *_: {"realism": 3}) == 2
        runs.append(succeed("study", "analyse", sealed / "STUDY", "--out", results))
    assert (sealed / "STUDY-key.json").is_file()
    assert len(list((sealed / "STUDY" / "cases").iterdir())) == 2
    for folder in (sealed, results, tmp_path / "temporary"):
        assert found(folder, hospital) == [], folder.name
    assert leaked("".join(run.out + run.err for run in runs) + heard.getvalue(), hospital.secrets) == []


def test_what_looks_for_the_patient_finds_him(hospital: Hospital, tmp_path: Path) -> None:
    """The search itself: one name in one private attribute, in a copy of one file, is seen."""
    ds = pydicom.dcmread(hospital.files[0])
    clean = pydicom.Dataset()
    for keyword in ("SOPClassUID", "SOPInstanceUID"):
        setattr(clean, keyword, generate_uid() if keyword == "SOPInstanceUID" else ds.SOPClassUID)
    clean.file_meta = pydicom.dataset.FileMetaDataset()
    clean.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    clean.save_as(tmp_path / "clean.dcm", enforce_file_format=True)
    assert found(tmp_path, hospital) == []
    clean.private_block(0x0009, "X", create=True).add_new(0x10, "OB", NAME.encode())
    clean.save_as(tmp_path / "clean.dcm", enforce_file_format=True)
    assert found(tmp_path, hospital) == [NAME]
