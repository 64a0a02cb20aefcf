"""Reading DICOM: one series of parallel, evenly spaced slices, sorted along their normal; nothing about the patient."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from braindiffusion import errors
from braindiffusion.io.read import (
    COPY_AGAIN,
    EXPORT,
    check_affine,
    check_size,
    for_itk,
    lost_geometry,
    quiet_sitk,
    to_ras,
)
from braindiffusion.modality import modality_of
from braindiffusion.volume.scan import Scan

if TYPE_CHECKING:
    from pydicom import Dataset

MOST_INFLATED = 1 << 27
"""Bytes that a deflated file may grow to."""
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_HINTS = (
    *("Modality", "SeriesDescription", "ProtocolName", "ScanningSequence", "SequenceVariant", "MRAcquisitionType"),
    *("RepetitionTime", "EchoTime", "InversionTime", "MagneticFieldStrength", "SliceThickness"),
)


def modality_of_dicom(header: Dataset, name: str) -> str | None:
    """From the descriptions and the contrast agent; where nothing is described, from the name or the times."""
    if (kind := header.get("Modality") or "MR") != "MR":
        return {"CT": "CT", "PT": "PET"}.get(kind)
    text = f"{header.get('SeriesDescription') or ''} {header.get('ProtocolName') or ''}".strip()
    if text:
        agent = str(header.get("ContrastBolusAgent") or "no").lower() not in ("no", "none")
        return modality_of(text + " contrast" * agent)
    sequence = {str(s) for s in np.atleast_1d(header.get("ScanningSequence") or [])}
    tr, te, ti = (_number(header, k) for k in ("RepetitionTime", "EchoTime", "InversionTime"))
    if modality_of(name) or "SE" not in sequence or "EP" in sequence or te < 75:
        return modality_of(name)
    return "FLAIR" if tr > 5000 and 1600 < ti < 3000 else "T2" if tr > 2000 and not ti else None


@dataclass(frozen=True)
class Frame:
    """One image of a series.

    Attributes:
        file: where it is stored, and as which frame (``index``).
        position: (3,) LPS mm, centre of the first pixel.
        layout: (10,) direction along a row (3) and down a column (3), mm between rows and between columns, number of
            rows and of columns.
    """

    file: Path
    index: int
    position: np.ndarray
    layout: np.ndarray

    def __str__(self) -> str:
        return f"{self.file.name} (frame {self.index + 1})" if self.index else self.file.name


def is_dicom(file: Path) -> bool:
    """Whether a file begins as a DICOM file does."""
    with file.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def _dicom_header(file: Path) -> Dataset | None:
    """The header of a DICOM image, without its pixels; None for any other file."""
    from pydicom import dcmread

    if file.name.upper() == "DICOMDIR" or not is_dicom(file):
        return None
    try:
        with file.open("rb") as stream:
            _check_deflated(stream, file)
            header = dcmread(stream, stop_before_pixels=True)
            if "Rows" in header:
                _check_pixels(stream, header, file)
                return header
        kind = header.file_meta["MediaStorageSOPClassUID"].value.name
    except (OSError, errors.BrainDiffusionError):
        raise
    except Exception as error:  # a damaged header raises many kinds
        why = str(error) or type(error).__name__
        raise errors.ScanUnreadableError(f"{file} is damaged.", why, COPY_AGAIN) from error
    if "Image Storage" in kind:
        raise errors.ScanUnreadableError(f"{file} is damaged.", "Its header is incomplete.", COPY_AGAIN)
    return None


def _check_deflated(stream: BinaryIO, file: Path) -> None:
    """Refuse a deflated file that grows beyond measure: a few MB may stand for terabytes."""
    head = stream.read(1024)
    if _DEFLATED in head:
        # where the deflated part begins is told by the length of the group before it
        stream.seek(144 + int.from_bytes(head[140:144], "little"))
        inflate, grown = zlib.decompressobj(-zlib.MAX_WBITS), 0
        while not inflate.eof and (packed := inflate.unconsumed_tail or stream.read(1 << 16)):
            grown += len(inflate.decompress(packed, 1 << 20))
            if grown > MOST_INFLATED:
                why = f"Its deflated contents grow beyond {MOST_INFLATED >> 20} MiB."
                raise errors.ScanUnreadableError(f"{file} is damaged.", why, COPY_AGAIN)
    stream.seek(0)


def _check_pixels(stream: BinaryIO, header: Dataset, file: Path) -> None:
    """Refuse pixels that are fewer than the header promises, which GDCM fills up; ``stream`` stands before them.

    What is compressed shows at decoding.
    """
    bits, syntax = header.get("BitsAllocated"), header.file_meta.TransferSyntaxUID
    if bits not in (8, 16, 32):
        raise errors.ScanPixelTypeError(f"{file} is not a plain grey image.", f"It has {bits} bits a pixel.", EXPORT)
    if syntax.is_compressed:  # deflated ones too
        return
    implicit, little = header.original_encoding
    element = stream.read(8 if implicit else 12)
    length = int.from_bytes(element[-4:], "little" if little else "big") if len(element) >= 8 else 0
    held = min(length, file.stat().st_size - stream.tell())
    frames = max(int(header.get("NumberOfFrames") or 1), 1)
    due = int(header.Rows) * int(header.Columns) * int(header.get("SamplesPerPixel") or 1) * frames * bits // 8
    if held < due:
        why = f"It holds {max(held, 0)} bytes of the {due} of pixels that its header promises."
        raise errors.ScanUnreadableError(f"{file} is incomplete.", why, COPY_AGAIN)


def frames_of(file: Path, header: Dataset) -> list[Frame]:
    """The images in one file; an enhanced multi-frame file tells their planes in functional groups."""
    kind = header.get("PhotometricInterpretation")
    if header.get("SamplesPerPixel", 1) != 1 or kind != "MONOCHROME2":
        action = "Give the original grey series."
        raise errors.ScanPixelTypeError(f"{file} is not a plain grey image.", f"Its pixels are {kind}.", action)
    groups = list(header.get("PerFrameFunctionalGroupsSequence") or [header])
    shared = list(header.get("SharedFunctionalGroupsSequence") or [])

    def fact(group: Dataset, sequence: str, keyword: str) -> Any:
        held = next((place.get(sequence)[0] for place in (group, *shared) if place.get(sequence)), header)
        return held.get(keyword)

    slopes = {str(fact(g, "PixelValueTransformationSequence", "RescaleSlope")) for g in groups}
    mosaic = "MOSAIC" in (header.get("ImageType") or [])
    if mosaic or int(header.get("NumberOfFrames") or 1) != len(groups) or len(slopes) > 1:
        raise errors.DicomSeriesError(
            f"{file} packs several slices in a way that is not supported.",
            "It is a mosaic, or its frames do not tell their places, or they are scaled differently.",
            "Convert it to NIfTI with dcm2niix and read that.",
        )
    planes = (
        ("PlanePositionSequence", "ImagePositionPatient"),
        ("PlaneOrientationSequence", "ImageOrientationPatient"),
        ("PixelMeasuresSequence", "PixelSpacing"),
    )
    try:
        values = [[np.array(fact(g, *key), dtype=float) for key in planes] for g in groups]
        size = [float(header.Rows), float(header.Columns)]
        return [
            Frame(file, i, p.reshape(3), np.concatenate([o.reshape(6), s.reshape(2), size]))
            for i, (p, o, s) in enumerate(values)
        ]
    except (TypeError, ValueError) as error:
        raise lost_geometry(file, "Its header lacks the position, the orientation or the pixel spacing.") from error


def _stack(frames: list[Frame], normal: np.ndarray, path: Path) -> tuple[list[Frame], float]:
    """Two frames or more in order along the normal, and the mm between them.

    Raises:
        DicomSeriesError: positions that repeat or leave a gap.
        ScanGeometryError: a slanted stack.
    """
    frames = sorted(frames, key=lambda f: float(f.position @ normal))
    positions = np.array([f.position for f in frames])
    along = positions @ normal
    gaps = np.diff(along)
    step, twin, gap = float(np.median(gaps)), int(gaps.argmin()), int(np.abs(gaps - np.median(gaps)).argmax())
    if gaps[twin] < 0.01:
        raise errors.DicomSeriesError(
            f"{path} shows a place more than once.",
            f"{frames[twin]} and {frames[twin + 1]} share a position: echoes, time points, or a copy.",
            "Keep one image per position, or convert it with dcm2niix and read one volume.",
        )
    if abs(gaps[gap] - step) > max(0.05, 0.01 * step):
        raise errors.DicomSeriesError(
            f"The slices in {path} are not evenly spaced.",
            f"After slice {gap + 1}, {frames[gap]}, {frames[gap + 1]} follows at {gaps[gap]:.2f} mm, not {step:.2f}.",
            "Copy the whole series again: slices may be missing.",
        )
    drift = np.linalg.norm(positions - positions[0] - np.outer(along - along[0], normal), axis=1).max()
    if drift > 0.5 * frames[0].layout[6:8].min():
        raise errors.ScanGeometryError(
            f"The slices in {path} are stacked at a slant.",
            f"They drift sideways by {drift:.1f} mm, as with a tilted CT gantry.",
            "Convert it with dcm2niix, which straightens it.",
        )
    return frames, float(along[-1] - along[0]) / (len(frames) - 1)


def headers_of(files: list[Path], path: Path) -> dict[Path, Dataset]:
    """The headers of the images among the files, if they are one series."""
    headers = {file: header for file in files if (header := _dicom_header(file)) is not None}
    if not headers:
        raise errors.ScanNotFoundError(
            f"{path} holds no DICOM images.",
            f"{len(files)} files were looked at; folders inside it are not searched.",
            "Give the folder that holds the images of one series, or one NIfTI file.",
        )
    suffixes = {file.suffix for file in headers}
    short = next((f for f in files if f.suffix in suffixes and f.stat().st_size < 132), None)
    if short is not None:
        why = "It is too short for DICOM: the series was not copied completely."
        raise errors.ScanUnreadableError(f"{short} is incomplete.", why, COPY_AGAIN)
    series: dict[str, list[Dataset]] = {}
    for header in headers.values():
        series.setdefault(str(header.get("SeriesInstanceUID", "")), []).append(header)
    if len(series) > 1:
        told = "; ".join(
            f"{h[0].get('SeriesDescription') or 'no description'}: {len(h)} files, UID ...{uid[-12:]}"
            for uid, h in series.items()
        )
        raise errors.DicomSeriesError(f"{path} holds {len(series)} series.", told, "Keep one series in a folder.")
    return headers


def load_dicom(files: list[Path], path: Path) -> Scan:
    """One volume from the files of a series; ``path`` names it in errors."""
    from pydicom.errors import BytesLengthException

    damage = (AttributeError, NotImplementedError, TypeError, ValueError, BytesLengthException)
    try:
        return _assemble(headers_of(files, path), path)
    except damage as error:  # pydicom decodes a header only where it is asked
        raise errors.ScanUnreadableError(f"A DICOM header in {path} is damaged.", str(error), COPY_AGAIN) from error


def _assemble(headers: dict[Path, Dataset], path: Path) -> Scan:
    frames = [frame for file, header in headers.items() for frame in frames_of(file, header)]
    first, layout = next(iter(headers.values())), frames[0].layout
    odd = next((f for f in frames if not np.allclose(f.layout, layout, rtol=0, atol=1e-3)), None)
    if odd is not None:
        raise errors.DicomSeriesError(
            f"The images in {path} do not form one stack.",
            f"{odd} differs from {frames[0]} in orientation, pixel spacing or size.",
            "Give a folder with one series of parallel slices (no localizers).",
        )
    row, column, (rows, columns) = layout[:3], layout[3:6], layout[8:].astype(int)
    if not np.allclose([row @ row, column @ column, 1 + row @ column], 1, atol=1e-2):
        raise lost_geometry(path, "Its rows and columns are not at right angles.")
    row = row / np.linalg.norm(row)
    column = column - (column @ row) * row
    column /= np.linalg.norm(column)
    normal = np.cross(row, column)
    step = _number(first, "SpacingBetweenSlices") or _number(first, "SliceThickness") or 1.0
    if len(frames) > 1:
        frames, step = _stack(frames, normal, path)
    axes, spacing = np.stack([row, column, normal], axis=1), np.array([layout[7], layout[6], step])
    affine = to_ras(axes, spacing, frames[0].position, path)
    notes = check_affine(affine, (columns, rows, len(frames)), path)
    check_size((columns, rows, len(frames)), int(first.get("BitsAllocated", 16)) // 8, path)
    pixels = {file: _pixels(file).reshape(-1, rows, columns) for file in headers}
    voxels = np.stack([pixels[f.file][f.index] for f in frames]).transpose(2, 1, 0)
    hints = {k: _plain(first.get(k)) for k in _HINTS if first.get(k) not in (None, "")}
    facts = {"path": str(path), "format": "DICOM", "files": len(headers), "hints": hints}
    return Scan(voxels, affine, modality_of_dicom(first, path.name), facts, notes=notes)


def _pixels(file: Path) -> np.ndarray:
    """(frames, rows, columns), rescaled to real-world values: integers where slope and intercept are."""
    sitk = quiet_sitk()
    try:
        return sitk.GetArrayFromImage(sitk.ReadImage(for_itk(file), imageIO="GDCMImageIO"))
    except RuntimeError as error:
        why = "Its pixels are incomplete, or compressed in an unknown way."
        raise errors.ScanUnreadableError(f"{file} cannot be decoded.", why, COPY_AGAIN) from error


def _plain(value: Any) -> Any:
    if isinstance(value, (int, float)):
        return float(value)
    return value if isinstance(value, str) else [str(v) for v in value]


def _number(header: Dataset, keyword: str) -> float:
    """A positive number from the header, or 0 where there is none."""
    try:
        return max(float(header.get(keyword) or 0), 0.0)
    except (TypeError, ValueError):
        return 0.0
