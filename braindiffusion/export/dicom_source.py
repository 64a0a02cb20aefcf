"""The DICOM series a scan came from: where its images lie, how they are named, what of their headers may be kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from braindiffusion import errors
from braindiffusion.io.dicom import Frame, frames_of
from braindiffusion.io.dicom_series import image_headers
from braindiffusion.volume.scan import Scan

if TYPE_CHECKING:
    from pydicom import Dataset

KINDS = {"MR": "1.2.840.10008.5.1.4.1.1.4", "CT": "1.2.840.10008.5.1.4.1.1.2"}
"""Modality -> SOP class of its single-frame images."""


@cache
def profile() -> dict[str, Any]:
    """What is taken over from a source (dicom_profile.json)."""
    return json.loads(Path(__file__).with_name("dicom_profile.json").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class SourceImage:
    """One image of the source.

    Attributes:
        position: (3,) LPS mm, centre of its first pixel.
        frame: its number in a multi-frame file, from 1; else ``None``.
    """

    position: np.ndarray
    sop_class: str
    sop_instance: str
    frame: int | None


@dataclass(frozen=True)
class Source:
    """A DICOM series.

    Attributes:
        modality: ``MR`` or ``CT``.
        axes: (3,3), columns: direction along a row, down a column, normal; LPS.
        frame_of_reference: UID, or "".
        acquisition: the attributes of dicom_profile.json that it has.
        rescale: (slope, intercept) where all images share one that is not the identity.
        synthetic: whether it says so of itself.
        headers: all of them, for what has to be looked for and never told.
    """

    images: list[SourceImage]
    modality: str
    axes: np.ndarray
    frame_of_reference: str
    acquisition: dict[str, Any]
    rescale: tuple[float, float] | None
    synthetic: bool
    headers: list[Dataset]

    def near(self, position: np.ndarray, reach: float) -> SourceImage | None:
        """The image whose plane passes within ``reach`` mm of a place, or ``None``."""
        normal = self.axes[:, 2]
        found = min(self.images, key=lambda image: abs((image.position - position) @ normal))
        return found if abs((found.position - position) @ normal) <= reach else None


def source_of(scan: Scan) -> Source | None:
    """The series a scan was read from; ``None`` where it was no DICOM."""
    path = scan.path
    if scan.source.get("format") != "DICOM" or path is None or not path.exists():
        return None
    return read_source(scan.files or [path])


def read_source(files: Sequence[Path]) -> Source:
    """The series that lies in some files.

    Raises:
        DicomSeriesError: more than one series, or another modality than MR and CT.
        InputError: as for :func:`braindiffusion.io.read.read_scan`.
    """
    headers = image_headers(list(files), files[0].parent)
    count = len({str(header.get("SeriesInstanceUID", "")) for header in headers.values()})
    if count > 1:
        why = f"They are images of {count} series, which may be of several patients."
        raise errors.DicomSeriesError("The files are not one series.", why, "Give the files of one series.")
    first = next(iter(headers.values()))
    modality = str(first.get("Modality") or "MR")
    if modality not in KINDS:
        raise errors.DicomSeriesError(
            f"The series is of modality {modality[:16]}.", "DICOM is written for MR and CT.", "Write NIfTI instead."
        )
    frames = {file: frames_of(file, header) for file, header in headers.items()}
    layout = frames[next(iter(headers))][0].layout
    row, column = layout[:3] / np.linalg.norm(layout[:3]), layout[3:6] / np.linalg.norm(layout[3:6])
    rescales = {_rescale(header) for header in headers.values()}
    rescale = next(iter(rescales)) if len(rescales) == 1 else (1.0, 0.0)
    return Source(
        images=[_image(frame, headers[file]) for file, all_ in frames.items() for frame in all_],
        modality=modality,
        axes=np.stack([row, column, np.cross(row, column)], axis=1),
        frame_of_reference=str(first.get("FrameOfReferenceUID") or ""),
        acquisition=acquisition_of(lambda keyword: next(_values(first, keyword), None)),
        rescale=None if rescale == (1.0, 0.0) else rescale,
        synthetic=any(str(header.get("SyntheticData") or "NO") == "YES" for header in headers.values()),
        headers=list(headers.values()),
    )


def _image(frame: Frame, header: Dataset) -> SourceImage:
    number = frame.index + 1 if "PerFrameFunctionalGroupsSequence" in header else None
    return SourceImage(frame.position, str(header.get("SOPClassUID")), str(header.get("SOPInstanceUID")), number)


def _rescale(header: Dataset) -> tuple[float, float]:
    slope, intercept = (next(_values(header, name), None) for name in ("RescaleSlope", "RescaleIntercept"))
    return float(1 if slope is None else slope), float(intercept or 0)


def acquisition_of(look: Callable[[str], Any]) -> dict[str, Any]:
    """The attributes that the profile lets through: numbers that are numbers, terms that are known.

    Args:
        look: the value of a keyword in a header or a sidecar, or ``None``.
    """
    from pydicom.datadict import dictionary_VR

    kept: dict[str, Any] = {}
    for keyword in profile()["numbers"]:
        found = look(keyword)
        if found in (None, "") and keyword in profile()["same_as"]:
            found = look(profile()["same_as"][keyword])
        numbers = _numbers(found)
        if numbers and (dictionary_VR(keyword) in ("DS", "FD") or all(isinstance(v, int) for v in numbers)):
            kept[keyword] = numbers if len(numbers) > 1 else numbers[0]
    for keyword, known in profile()["terms"].items():
        found = look(keyword)
        terms = [str(v) for v in ([found] if isinstance(found, str) else found or [])]
        terms = [term for term in terms if term in known]
        if terms:
            kept[keyword] = terms if len(terms) > 1 else terms[0]
    return kept


def _values(header: Dataset, keyword: str) -> Iterator[Any]:
    """What a header says under a keyword: itself, then in the functional groups of a multi-frame file."""
    if header.get(keyword) not in (None, ""):
        yield header.get(keyword)
    for sequence in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in list(header.get(sequence) or [])[:1]:
            for element in group:
                if element.VR == "SQ" and element.value and element.value[0].get(keyword) not in (None, ""):
                    yield element.value[0].get(keyword)


def _numbers(value: Any) -> list[float | int]:
    """A value as numbers, or nothing where it is none."""
    try:
        numbers = [float(v) for v in np.atleast_1d(value)] if value not in (None, "") else []
    except (TypeError, ValueError):
        return []
    if not np.isfinite(numbers).all():
        return []
    return [int(v) if v.is_integer() else round(v, 8) for v in numbers]
