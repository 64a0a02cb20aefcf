"""Reading DICOM: one series of parallel, evenly spaced slices, sorted along their normal; nothing about the patient."""

from __future__ import annotations

import io
import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from braindiffusion import errors
from braindiffusion.io.checks import (
    COPY_AGAIN,
    EXPORT,
    check_affine,
    check_size,
    for_itk,
    itk_voxels,
    lost_geometry,
    quiet_sitk,
    to_ras,
)
from braindiffusion.io.dicom_stack import Frame, in_order, one_stack, without_copies
from braindiffusion.io.dicom_streams import decoded_planes, inflated_planes, opened
from braindiffusion.modality import modality_of
from braindiffusion.volume.scan import Scan

if TYPE_CHECKING:
    from pydicom import Dataset

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
MOST_DEPTH = 24
"""Sequences in sequences that a header may hold."""
_HINTS = (
    *("Modality", "SeriesDescription", "ProtocolName", "ScanningSequence", "SequenceVariant", "MRAcquisitionType"),
    *("RepetitionTime", "EchoTime", "InversionTime", "MagneticFieldStrength", "SliceThickness"),
)


KINDS = {"CT": "CT", "PT": "PET"}
_IMAGE_TYPES = {
    "ADC": "ADC", "SWI": "SWI", "TOF": "TOF", "DIFFUSION": "DWI", "PERFUSION": "PERFUSION", "FLAIR": "FLAIR",
}  # fmt: skip
_SEQUENCES = (("SWI", "swi"), ("DWI", "ep_b"), ("T1", "tfl3d"), ("FLAIR", "spcir"))
LATE_MS, LONG_TI_MS = 40.0, (1500.0, 3500.0)
"""A T2-weighted echo comes no earlier; the inversion times that null fluid."""


def modality_of_dicom(header: Dataset, name: str) -> str | None:
    """The contrast: by what kind of image it is, its descriptions and the agent given, and by its times.

    Descriptions are short for more than one thing: an early echo makes a "FLAIR" T1-weighted, a fluid-nulling inversion
    makes a "T2" (tirm, dark fluid) FLAIR. Where nothing else tells, the times do, and the name of the file.
    """
    if (kind := header.get("Modality") or "MR") != "MR":
        return KINDS.get(kind)
    types = [str(t).upper() for t in header.get("ImageType") or []]
    if (by_type := next((kind for word, kind in _IMAGE_TYPES.items() if word in types), None)) is not None:
        return by_type  # the first of the table: an ADC map is a diffusion image, too
    text = f"{header.get('SeriesDescription') or ''} {header.get('ProtocolName') or ''}".strip()
    agent = str(header.get("ContrastBolusAgent") or "no").lower() not in ("no", "none")
    by_text = modality_of(text + " contrast" * agent) if text else modality_of(name)
    by_times = _by_times(header)
    if by_text == "FLAIR" and by_times == "T1":
        return "T1GD" if agent else "T1"
    if by_text == "T2" and by_times == "FLAIR":
        return "FLAIR"
    if by_text is not None or re.search(r"\b(loc|localizer|localiser|scout|survey|map)", text.lower()):
        return by_text
    sequence = str(header.get("SequenceName") or "").lower()
    return next((contrast for contrast, part in _SEQUENCES if part in sequence), by_times)


def _by_times(header: Dataset) -> str | None:
    """What echo, repetition and inversion time of a spin echo say, where they are clear."""
    sequence = {str(s) for s in np.atleast_1d(header.get("ScanningSequence") or [])}
    tr, te, ti = (_number(header, k) for k in ("RepetitionTime", "EchoTime", "InversionTime"))
    if "SE" not in sequence or "EP" in sequence or not te:
        return None
    if LONG_TI_MS[0] < ti < LONG_TI_MS[1] and te > 75 and tr > 4000:
        return "FLAIR"
    if te < LATE_MS and ((ti and ti < LONG_TI_MS[0]) or (not ti and 0 < tr < 1000)):
        return "T1"
    return "T2" if te >= 75 and tr > 2000 and not ti else None


def is_dicom(file: Path) -> bool:
    """Whether a file begins as a DICOM file does, with its preamble or (as of old archives) without."""
    with file.open("rb") as stream:
        head = stream.read(132)
    return head[128:] == b"DICM" or _bare(head)


def _bare(head: bytes) -> bool:
    """Whether bytes begin as a DICOM data set does: a low element of the group 2 or 8, of a known kind or short."""
    if len(head) < 16:
        return False
    group, element, kind, length = *struct.unpack_from("<2H", head), head[4:6], struct.unpack_from("<I", head, 4)[0]
    if group not in (0x0002, 0x0008) or element > 0x0018:
        return False
    return kind in (b"UL", b"CS", b"UI", b"OB", b"DA", b"TM", b"SH", b"LO") or (0 < length <= 64 and length % 2 == 0)


def dicom_header(file: Path) -> Dataset | None:
    """The header of a DICOM file, without its pixels; ``None`` for any other file, and for a DICOMDIR.

    Raises:
        ScanUnreadableError: it is damaged.
        ScanPixelTypeError: an image of a number of bits that no grey image has.
    """
    from pydicom import dcmread
    from pydicom.filereader import read_file_meta_info

    if file.name.upper() == "DICOMDIR" or not is_dicom(file):
        return None
    try:
        with file.open("rb") as raw:
            stream = opened(raw, file)
            header = dcmread(stream, stop_before_pixels=True, force=True)
            deflated = stream is not raw
            if deflated:
                header.file_meta, header.buffer = read_file_meta_info(file), None
            if "Rows" in header and not is_segmentation(header):
                _check_pixels(stream, header, file)
            if deflated:
                stream.seek(0, io.SEEK_END)  # to its end, whatever it holds
        if "Rows" not in header and "Image Storage" in _kind_of(header):
            raise errors.ScanUnreadableError(f"{file} is damaged.", "Its header is incomplete.", COPY_AGAIN)
        if not len(header):
            raise errors.ScanUnreadableError(f"{file} is incomplete.", "It ends with its header.", COPY_AGAIN)
        return header
    except errors.BrainDiffusionError:
        raise
    except Exception as error:  # a damaged header raises many kinds
        if isinstance(error, OSError) and error.errno is not None:  # the system's, not pydicom's
            raise
        why = str(error) or type(error).__name__
        raise errors.ScanUnreadableError(f"{file} is damaged.", why, COPY_AGAIN) from error


def _kind_of(header: Dataset) -> str:
    """The name of what a file says it is, or ''."""
    told = header.file_meta.get("MediaStorageSOPClassUID") or header.get("SOPClassUID")
    return str(getattr(told, "name", "") or "")


def is_segmentation(header: Dataset) -> bool:
    """Whether a file is a segmentation object: a mask, not a scan."""
    return str(header.get("Modality") or "") == "SEG" or str(header.get("SOPClassUID") or "") == SEGMENTATION


def _syntax_of(header: Dataset) -> Any:
    """The transfer syntax; where the file has no header of its own, that in which the data set could be read."""
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    told = header.file_meta.get("TransferSyntaxUID")
    if told:
        return told
    implicit, little = header.original_encoding
    return ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian


def _check_pixels(stream: BinaryIO, header: Dataset, file: Path) -> None:
    """Refuse pixels that are fewer than the header promises, which GDCM fills up; ``stream`` stands before them.

    What is compressed shows at decoding.
    """
    bits, syntax = header.get("BitsAllocated"), _syntax_of(header)
    if bits not in (8, 16, 32):
        raise errors.ScanPixelTypeError(f"{file} is not a plain grey image.", f"It has {bits} bits a pixel.", EXPORT)
    if syntax.is_compressed:
        return
    implicit, little = header.original_encoding
    element = stream.read(8 if implicit else 12)
    length = int.from_bytes(element[-4:], "little" if little else "big") if len(element) >= 8 else 0
    rest = -stream.tell() + stream.seek(0, io.SEEK_END)
    held = min(length, rest)
    frames = max(int(header.get("NumberOfFrames") or 1), 1)
    due = int(header.Rows) * int(header.Columns) * int(header.get("SamplesPerPixel") or 1) * frames * bits // 8
    if held < due:
        why = f"It holds {max(held, 0)} bytes of the {due} of pixels that its header promises."
        raise errors.ScanUnreadableError(f"{file} is incomplete.", why, COPY_AGAIN)


def frames_of(file: Path, header: Dataset) -> list[Frame]:
    """The images in one file; an enhanced multi-frame file tells their planes in functional groups.

    Raises:
        ScanPixelTypeError: colour, inverted grey, a segmentation.
        DicomSeriesError: several slices in a way that is not supported.
        ScanGeometryError: no place, orientation or pixel spacing.
        ScanContentError: a slope of 0 or one that is not a number.
    """
    kind = header.get("PhotometricInterpretation")
    if is_segmentation(header):
        why = "It is a DICOM segmentation: a mask."
        raise errors.ScanPixelTypeError(f"{file} is not a scan.", why, "Give it with --mask, and the series as scan.")
    if header.get("SamplesPerPixel", 1) != 1 or kind != "MONOCHROME2":
        action = "Give the original grey series."
        raise errors.ScanPixelTypeError(f"{file} is not a plain grey image.", f"Its pixels are {kind}.", action)
    groups = list(header.get("PerFrameFunctionalGroupsSequence") or [header])
    shared = list(header.get("SharedFunctionalGroupsSequence") or [])

    def fact(group: Dataset, sequence: str, keyword: str) -> Any:
        held = next((place.get(sequence)[0] for place in (group, *shared) if place.get(sequence)), header)
        return held.get(keyword)

    mosaic = "MOSAIC" in (header.get("ImageType") or [])
    if mosaic or int(header.get("NumberOfFrames") or 1) != len(groups):
        raise errors.DicomSeriesError(
            f"{file} packs several slices in a way that is not supported.",
            "It is a mosaic, or its frames do not tell their places.",
            "Convert it to NIfTI with dcm2niix and read that.",
        )
    planes = (
        ("PlanePositionSequence", "ImagePositionPatient"),
        ("PlaneOrientationSequence", "ImageOrientationPatient"),
        ("PixelMeasuresSequence", "PixelSpacing"),
    )
    scaling = "PixelValueTransformationSequence"
    try:
        values = [[np.array(fact(g, *key), dtype=float) for key in planes] for g in groups]
        size = [float(header.Rows), float(header.Columns)]
        frames = [(p.reshape(3), np.concatenate([o.reshape(6), s.reshape(2), size])) for p, o, s in values]
    except (TypeError, ValueError) as error:
        raise lost_geometry(file, "Its header lacks the position, the orientation or the pixel spacing.") from error
    rescales = [_rescale(fact(g, scaling, "RescaleSlope"), fact(g, scaling, "RescaleIntercept"), file) for g in groups]
    return [Frame(file, i, *plane, rescale) for i, (plane, rescale) in enumerate(zip(frames, rescales, strict=True))]


def _rescale(slope: Any, intercept: Any, file: Path) -> tuple[float, float]:
    """Slope and intercept as numbers.

    Raises:
        ScanContentError: they are none, or the slope is 0.
    """
    try:
        found = float(1 if slope in (None, "") else slope), float(0 if intercept in (None, "") else intercept)
    except (TypeError, ValueError):
        found = (math.nan, math.nan)
    if found[0] == 0 or not np.isfinite(found).all():
        why = f"It rescales its values by a slope of {slope!s:.20} and an intercept of {intercept!s:.20}."
        raise errors.ScanContentError(f"{file} does not say what its values mean.", why, EXPORT)
    return found


@dataclass(frozen=True)
class Stack:
    """Parallel slices in order.

    Attributes:
        frames: from the first along ``axes``' third column.
        axes: (3,3), columns: along a row, down a column, from slice to slice; LPS.
        spacing: (3,) mm along a row, down a column, between slices.
        size: columns, rows, slices.
        affine: (4,4) IJK -> RAS mm.
        notes: sentences for the user, without a word that may name the patient.
    """

    frames: tuple[Frame, ...]
    axes: np.ndarray
    spacing: np.ndarray
    size: tuple[int, int, int]
    affine: np.ndarray
    notes: tuple[str, ...]


def stack_of(headers: dict[Path, Dataset], path: Path) -> Stack:
    """The volume that the images of one series make; ``path`` names it in errors.

    Images that lie in another way than nearly all others (a localizer within the series) and copies are left out, and
    that is told.

    Raises:
        DicomSeriesError: no stack, places that repeat or leave a gap, files that are missing by what the tags say.
        ScanGeometryError: a slanted stack, axes that are none.
        InputError: as for :func:`frames_of`.
    """
    frames = [frame for file, header in headers.items() for frame in frames_of(file, header)]
    frames, copies = without_copies(frames, headers)
    frames, others = one_stack(frames, path)
    notes: tuple[str, ...] = ()
    if copies:
        notes += (f"{copies} images are there twice; one of each was read.",)
    if others:
        notes += (f"{others} images that lie in another way than the other {len(frames)} were left out.",)
    layout = frames[0].layout
    row, column, (rows, columns) = layout[:3], layout[3:6], layout[8:].astype(int)
    if not np.allclose([row @ row, column @ column, 1 + row @ column], 1, atol=1e-2):
        raise lost_geometry(path, "Its rows and columns are not at right angles.")
    row = row / np.linalg.norm(row)
    column = column - (column @ row) * row
    column /= np.linalg.norm(column)
    normal = np.cross(row, column)
    first = headers[frames[0].file]
    step = _number(first, "SpacingBetweenSlices") or _number(first, "SliceThickness") or 1.0
    if len(frames) > 1:
        frames, step, more = in_order(frames, normal, headers, path)
        notes += more
    axes, spacing = np.stack([row, column, normal], axis=1), np.array([layout[7], layout[6], step])
    affine = to_ras(axes, spacing, frames[0].position, path)
    size = (int(columns), int(rows), len(frames))
    notes += check_affine(affine, size, path)
    check_size(size, int(first.get("BitsAllocated", 16)) // 8, path)
    return Stack(tuple(frames), axes, spacing, size, affine, notes)


def load_stack(stack: Stack, headers: dict[Path, Dataset], path: Path, notes: tuple[str, ...] = ()) -> Scan:
    """Its voxels, in real-world values."""
    first = headers[stack.frames[0].file]
    planes: np.ndarray | None = None  # (slices, rows, columns), of the widest type so far
    wanted: dict[Path, dict[int, tuple[int, Frame]]] = {}
    for k, frame in enumerate(stack.frames):
        wanted.setdefault(frame.file, {})[frame.index] = k, frame
    for file, members in wanted.items():
        for index, pixels, scaled in _planes(file, headers[file], sorted(members)):
            k, frame = members[index]
            plane = pixels if scaled else _rescaled(pixels, frame.rescale)
            if planes is None:
                planes = np.empty((len(stack.frames), *stack.size[1::-1]), plane.dtype)
            elif plane.dtype != planes.dtype:
                planes = planes.astype(np.result_type(planes, plane), copy=False)
            planes[k] = plane.reshape(planes.shape[1:])
    assert planes is not None
    voxels = planes.transpose(2, 1, 0)
    hints = {k: _plain(first.get(k)) for k in _HINTS if first.get(k) not in (None, "")}
    facts = {"path": str(path), "format": "DICOM", "files": len(wanted), "hints": hints}
    modality = modality_of_dicom(first, path.name)
    return Scan(voxels, stack.affine, modality, facts, notes=(*notes, *stack.notes), files=tuple(wanted))


def _rescaled(pixels: np.ndarray, rescale: tuple[float, float]) -> np.ndarray:
    """Real-world values: whole numbers where slope and intercept are."""
    slope, intercept = rescale
    if rescale == (1.0, 0.0):
        return pixels
    if slope.is_integer() and intercept.is_integer() and abs(slope) < 2**15:
        ends = np.array([int(pixels.min()), int(pixels.max())], dtype=float) * slope + intercept
        fits = next((t for t in (np.int16, np.int32) if np.abs(ends).max() <= np.iinfo(t).max), None)
        if fits is not None:
            return pixels.astype(fits) * fits(slope) + fits(intercept)
    return _floats(pixels, rescale)


def _floats(pixels: np.ndarray, rescale: tuple[float, float]) -> np.ndarray:
    with np.errstate(over="ignore"):  # what becomes infinite is refused later
        return (pixels * np.float64(rescale[0]) + rescale[1]).astype(np.float32)


def _planes(file: Path, header: Dataset, indices: list[int]) -> Iterator[tuple[int, np.ndarray, bool]]:
    """Of some frames of a file (``indices`` in rising order) index, pixels, and whether they are real-world values.

    What is not compressed is decoded by pydicom, frame by frame; GDCM, which is native code, sees compressed pixels
    only: of many frames each by itself, of a single one the file, after its header was found to be no deeper than
    ``MOST_DEPTH``.
    """
    damage = f"{file} cannot be decoded."
    if _syntax_of(header).is_compressed:
        try:
            if int(header.get("NumberOfFrames") or 1) > 1:
                yield from ((*each, False) for each in zip(indices, decoded_planes(file, header, indices), strict=True))
                return
            _check_depth(header, file)
            pixels = itk_voxels(quiet_sitk().ReadImage(for_itk(file), imageIO="GDCMImageIO"))
            yield indices[0], pixels.reshape(pixels.shape[-2:]), True
        except errors.BrainDiffusionError:
            raise
        except (RuntimeError, ValueError, struct.error) as error:
            why = "Its pixels are incomplete, or compressed in an unknown way."
            raise errors.ScanUnreadableError(damage, why, COPY_AGAIN) from error
        return
    try:
        for index, plane in zip(indices, _native_planes(file, header, indices), strict=True):
            stored, width = int(header.get("BitsStored") or 0), 8 * plane.dtype.itemsize
            if plane.dtype.kind in "iu" and 0 < stored < width:  # what else lies in the upper bits is no image
                shift = plane.dtype.type(width - stored)
                plane = (plane << shift) >> shift
            yield index, plane, False
    except errors.BrainDiffusionError:
        raise
    except Exception as error:  # pydicom raises many kinds over a damaged header
        why = str(error) or type(error).__name__
        raise errors.ScanUnreadableError(damage, why, COPY_AGAIN) from error


def _native_planes(file: Path, header: Dataset, indices: list[int]) -> Iterator[np.ndarray]:
    from pydicom import dcmread
    from pydicom.pixels import iter_pixels

    syntax = _syntax_of(header)
    if syntax.is_deflated:
        yield from inflated_planes(file, header, indices)
    elif int(header.get("NumberOfFrames") or 1) > 1:
        yield from iter_pixels(file, indices=indices, transfer_syntax_uid=syntax)
    else:
        data = dcmread(file, force=True)
        data.file_meta.TransferSyntaxUID = syntax
        yield data.pixel_array


def _check_depth(header: Dataset, file: Path) -> None:
    """Refuse sequences in sequences beyond ``MOST_DEPTH`` levels: native readers end the program over them."""
    level = [header]
    for _ in range(MOST_DEPTH):
        level = [item for data in level for element in data if element.VR == "SQ" for item in element.value]
        if not level:
            return
    why = f"Its header is nested more than {MOST_DEPTH} levels deep."
    raise errors.ScanUnreadableError(f"{file} is damaged.", why, COPY_AGAIN)


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
