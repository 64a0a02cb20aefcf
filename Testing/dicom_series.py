"""A DICOM series made with pydicom alone: an oblique head with a patient planted wherever a header has room for one."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

NAME, FIRST, ID = "Quastenfloesser", "Xaveria", "HX4711pq"
BIRTH, DAY = "19430521", "20190317"
ROOT = "1.3.12.2.1107.5.2.32.35131.2019031712243856"
"""A UID root as vendors make them: with the device's number and the date in it."""
SECRETS = (
    NAME, FIRST, ID, BIRTH, DAY, "1943-05-21", "21.05.1943", "2019-03-17", "17.03.2019", ROOT, "Q7-35131-X",
    "Sankt-Pankraz", "Doktorowitsch",
)  # fmt: skip
"""None of these may be found in an export; five digits alone would be, now and then, in a random UID."""


def oblique(spacing: tuple[float, float, float] = (3.0, 3.2, 7.0)) -> np.ndarray:
    """(4,4) IJK -> RAS mm, turned about two axes; rows run to the left, columns backwards, slices upwards."""
    a, b = np.deg2rad(11), np.deg2rad(-8)
    about = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    tilt = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = about @ tilt @ np.diag([-1.0, -1.0, 1.0]) * np.array(spacing)
    affine[:3, 3] = (91.25, 104.5, -63.125)
    return affine


def write_series(folder: Path, voxels: np.ndarray, affine: np.ndarray, planted: bool = True, **tags: Any) -> Path:
    """Write voxels (I,J,K), int16 or uint16, as an MR series.

    Args:
        planted: put the patient into standard, private and nested attributes, UIDs and file names.
        tags: more attributes, or others.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    row, column, across = (lps[:3, :3] / spacing).T
    prefix = f"{ROOT}." if planted else None
    series, study, frame = (generate_uid(prefix=prefix) for _ in range(3))
    for k in range(voxels.shape[2]):
        ds = Dataset()
        ds.SOPClassUID, ds.SOPInstanceUID = MRImageStorage, generate_uid(prefix=prefix)
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, series, frame
        ds.Modality, ds.SeriesDescription, ds.ImageType = "MR", "t2 flair", ["ORIGINAL", "PRIMARY", "M"]
        ds.ScanningSequence, ds.SequenceVariant, ds.MRAcquisitionType = ["SE", "IR"], "SK", "2D"
        ds.RepetitionTime, ds.EchoTime, ds.InversionTime, ds.MagneticFieldStrength = 9000, 105.5, 2500, 3
        ds.EchoTrainLength, ds.FlipAngle, ds.SliceThickness, ds.PatientPosition = 16, 150, 5, "HFS"
        ds.ImagePositionPatient = [f"{v:.10g}" for v in (lps @ [0, 0, k, 1])[:3]]
        ds.ImageOrientationPatient = [f"{v:.12g}" for v in (*row, *column)]
        ds.PixelSpacing, ds.InstanceNumber = [f"{spacing[1]:.10g}", f"{spacing[0]:.10g}"], k + 1
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.Columns, ds.Rows = voxels.shape[:2]
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
        ds.PixelRepresentation = int(voxels.dtype.kind == "i")
        ds.PixelData = np.ascontiguousarray(voxels[:, :, k].T).tobytes()
        if planted:
            plant(ds)
        for keyword, value in tags.items():
            setattr(ds, keyword, value)
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID, ds.file_meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, MRImageStorage
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        ds.save_as(folder / (f"{NAME}_{DAY}_{k:03d}.dcm" if planted else f"{k:03d}.dcm"), enforce_file_format=True)
    assert np.allclose(across, np.cross(row, column), atol=1e-6), "DICOM sorts along the normal"
    return folder


def plant(ds: Dataset) -> None:
    """The patient in every kind of attribute."""
    ds.PatientName, ds.PatientID, ds.PatientBirthDate = f"{NAME}^{FIRST}", ID, BIRTH
    ds.OtherPatientIDs, ds.PatientAddress, ds.PatientComments = ID, f"{NAME} Street 7", f"{FIRST} seen {DAY}"
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = DAY
    ds.AcquisitionDateTime, ds.AccessionNumber, ds.StudyID = f"{DAY}101112", ID, "Q7-35131-X"
    ds.InstitutionName, ds.StationName, ds.DeviceSerialNumber = "Sankt-Pankraz", NAME[:16], "Q7-35131-X"
    ds.ReferringPhysicianName, ds.OperatorsName = "Doktorowitsch^Ivo", "Doktorowitsch"
    ds.StudyDescription, ds.ProtocolName = f"{NAME} 1943-05-21", f"flair {FIRST}"
    ds.ImageComments, ds.Manufacturer = f"{NAME} 21.05.1943, seen 17.03.2019", "Sankt-Pankraz"
    step = Dataset()
    step.RequestedProcedureDescription, step.ScheduledProcedureStepID = f"head of {NAME}", ID
    inner = Dataset()
    inner.ReferencedSOPClassUID, inner.ReferencedSOPInstanceUID = MRImageStorage, generate_uid(prefix=f"{ROOT}.")
    step.ReferencedSOPSequence = Sequence([inner])
    ds.RequestAttributesSequence = Sequence([step])
    for group, creator in ((0x0009, "SANKT PRIVATE"), (0x0029, "SIEMENS CSA HEADER")):
        block = ds.private_block(group, creator, create=True)
        block.add_new(0x10, "LO", f"{NAME}^{FIRST}")
        block.add_new(0x11, "OB", f"<{ID} {DAY}>".encode())
        nested = Dataset()
        nested.PatientName = f"{NAME}^{FIRST}"
        block.add_new(0x12, "SQ", Sequence([nested]))


def everything(folder: Path) -> str:
    """All text of all files below a folder: their names, their bytes, their DICOM headers, unzipped where zipped."""
    told = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        raw = path.read_bytes()
        raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
        told += [path.relative_to(folder).as_posix(), raw.decode("latin-1"), raw.decode("utf-16-le", "ignore")]
        if path.suffix == ".dcm":
            ds = pydicom.dcmread(path)
            told += [str(ds), str(ds.file_meta)]
    return "\n".join(told).lower()


def leaked(text: str, secrets: Iterable[str] = SECRETS) -> list[str]:
    """Which of the secrets stand in a text."""
    return [secret for secret in secrets if secret.lower() in text.lower()]
