"""Scans as files, written without the code under test, and how a refusal must look."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from braindiffusion import errors
from braindiffusion.io.read import read_scan
from braindiffusion.volume.scan import LPS_TO_RAS

LAS = np.array([[-2.0, 0, 0, 90], [0, 1.5, 0, -70], [0, 0, 5, -40], [0, 0, 0, 1]])
SHAPE = (7, 6, 5)


def ramp(shape: tuple[int, ...] = SHAPE, dtype: str = "int16") -> np.ndarray:
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def write(path: Path, voxels: np.ndarray, affine: np.ndarray = LAS) -> Path:
    """Write with SimpleITK alone, so that reading is not tested against our own writing."""
    import SimpleITK as sitk  # noqa: N813

    image = sitk.GetImageFromArray(np.ascontiguousarray(voxels.T))
    lps = LPS_TO_RAS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    sitk.WriteImage(image, str(path))
    return path


def patched(path: Path, *changes: tuple[Any, ...], voxels: np.ndarray | None = None) -> Path:
    """A NIfTI file whose header fields (offset, format, values ...) are overwritten."""
    raw = bytearray(write(path.with_name("whole.nii"), ramp() if voxels is None else voxels).read_bytes())
    for offset, form, *values in changes:
        struct.pack_into(form, raw, offset, *values)
    path.write_bytes(raw)
    return path


def refused(kind: type[errors.BrainDiffusionError], path: Path, says: str = "") -> errors.BrainDiffusionError:
    before = sorted(path.parent.rglob("*"))
    with pytest.raises(kind) as caught:
        read_scan(path)
    assert type(caught.value) is kind
    assert says in str(caught.value)
    assert caught.value.action
    assert sorted(path.parent.rglob("*")) == before
    return caught.value


def dicom(path: Path, pixels: np.ndarray, z: float | list[float] = 0.0, **tags: Any) -> Path:
    """One MR image (rows, columns), or an enhanced multi-frame one (frames, rows, columns), 2 x 1.5 mm, tilted."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

    def item(**values: Any) -> Dataset:
        data = Dataset()
        for key, value in values.items():
            setattr(data, key, value)
        return data

    kind = EnhancedMRImageStorage if isinstance(z, list) else MRImageStorage
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = kind, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    rows, columns = pixels.shape[-2:]
    data = item(
        file_meta=meta, SOPClassUID=kind, SOPInstanceUID=meta.MediaStorageSOPInstanceUID, Modality="MR",
        PatientName="Doe^Jane", PatientID="4711", PatientBirthDate="19700101", StudyDate="20200202",
        SeriesInstanceUID="1.2.3.4", SeriesDescription="AX FLAIR", Rows=rows, Columns=columns, SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2", BitsAllocated=16, BitsStored=16, HighBit=15,
        PixelRepresentation=int(pixels.dtype.kind == "i"), PixelData=pixels.tobytes(), EchoTime="110",
    )  # fmt: skip
    axes = [1, 0, 0, 0, 0.8, 0.6]
    places = [[10, 20 - 0.6 * p, 30 + 0.8 * p] for p in (z if isinstance(z, list) else [z])]
    if isinstance(z, list):
        data.NumberOfFrames = len(z)
        data.SharedFunctionalGroupsSequence = [
            item(
                PlaneOrientationSequence=[item(ImageOrientationPatient=axes)],
                PixelMeasuresSequence=[item(PixelSpacing=[2, 1.5])],
            )
        ]
        data.PerFrameFunctionalGroupsSequence = [
            item(PlanePositionSequence=[item(ImagePositionPatient=p)]) for p in places
        ]
    else:
        data.ImageOrientationPatient, data.ImagePositionPatient, data.PixelSpacing = axes, places[0], [2, 1.5]
        data.SpacingBetweenSlices = "4"
    for key, value in tags.items():
        setattr(data, key, value)
    data.save_as(path, enforce_file_format=True)
    return path
