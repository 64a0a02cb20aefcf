"""DICOM segmentations as masks: each frame is put where its own position says, on the grid of the scan."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from braindiffusion import errors
from braindiffusion.io.checks import COPY_AGAIN, check_size, lost_geometry
from braindiffusion.io.dicom import dicom_header, is_dicom, is_segmentation
from braindiffusion.volume.lattice import on_lattice
from braindiffusion.volume.scan import LPS_TO_RAS, Scan

MOST_SEGMENTS = 64
PROBABLE = 0.5


def is_seg(file: Path) -> bool:
    """Whether a file is a DICOM segmentation."""
    if not file.is_file() or not is_dicom(file):
        return False
    header = dicom_header(file)
    return header is not None and is_segmentation(header)


def read_seg(file: Path, scan: Scan, note: Callable[[str], None]) -> np.ndarray:
    """The segments of a file on the scan's grid.

    Args:
        note: given sentences for the user.

    Returns:
        (I,J,K,S) uint8, one layer a segment; its value is the number of the segment.

    Raises:
        MaskGeometryError: a frame does not lie on the scan's grid.
        ScanUnreadableError, ScanGeometryError: it is damaged, or does not say where its frames lie.
        MaskValueError: more segments than are read.
    """
    from pydicom import dcmread

    damage = (AttributeError, KeyError, IndexError, NotImplementedError, TypeError, ValueError, RecursionError)
    try:
        data = dcmread(file, force=True)
        count = int(data.get("NumberOfFrames") or 1)
        check_size((int(data.Columns), int(data.Rows), count), 1, file)
        fraction = str(data.get("SegmentationType") or "BINARY") != "BINARY"
        cut = PROBABLE * float(data.get("MaximumFractionalValue") or 1) if fraction else 1
        pixels = np.asarray(data.pixel_array).reshape(count, int(data.Rows), int(data.Columns)) >= cut
        places = [_place(data, k) for k in range(count)]
    except damage as error:
        raise errors.ScanUnreadableError(f"{file} is damaged.", str(error), COPY_AGAIN) from error
    numbers = sorted({number for number, *_ in places})
    if len(numbers) > MOST_SEGMENTS or (numbers and not 0 < numbers[0] <= numbers[-1] <= 255):
        raise errors.MaskValueError(
            f"{file} holds too many segments.", f"It holds {len(numbers)}.", "Save those that count as one file."
        )
    if fraction:
        note("The segmentation holds probabilities; what is 0.5 or more is used.")
    step = np.linalg.norm(scan.affine[:3, :3], axis=0)
    out = np.zeros((*scan.voxels.shape, len(numbers)), np.uint8)
    for plane, (number, position, row, column, spacing) in zip(pixels, places, strict=True):
        if not plane.any():
            continue
        normal = np.cross(row, column)
        along = np.abs(np.linalg.inv(scan.affine[:3, :3] / step) @ (LPS_TO_RAS[:3, :3] @ normal)).argmax()
        lps = np.eye(4)
        lps[:3, :3] = np.stack([row * spacing[1], column * spacing[0], normal * step[along]], axis=1)
        lps[:3, 3] = position
        placed = on_lattice(plane.T[:, :, None], LPS_TO_RAS @ lps, scan.voxels.shape, scan.affine)
        if placed is None:
            raise errors.MaskGeometryError(
                "The mask lies on another grid than the scan.",
                "A frame of the segmentation is not one of the scan's planes, or has other pixels.",
                "Draw it on this series, or save it as NIfTI and add --resample-mask.",
            )
        out[placed, numbers.index(number)] = number
    return out


def _place(data: object, k: int) -> tuple[int, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Segment number, position (LPS mm), row and column direction, and spacing between rows and columns of a frame."""
    own = (data.get("PerFrameFunctionalGroupsSequence") or [])[k : k + 1]  # type: ignore[attr-defined]
    shared = (data.get("SharedFunctionalGroupsSequence") or [])[:1]  # type: ignore[attr-defined]

    def fact(sequence: str, keyword: str) -> np.ndarray:
        for group in (*own, *shared):
            held = group.get(sequence)
            if held and held[0].get(keyword) is not None:
                return np.atleast_1d(np.array(held[0].get(keyword), dtype=float))
        raise lost_geometry(Path(str(getattr(data, "filename", "the file"))), f"Frame {k + 1} lacks its {keyword}.")

    axes = fact("PlaneOrientationSequence", "ImageOrientationPatient").reshape(6)
    position = fact("PlanePositionSequence", "ImagePositionPatient").reshape(3)
    spacing = fact("PixelMeasuresSequence", "PixelSpacing").reshape(2)
    number = int(fact("SegmentIdentificationSequence", "ReferencedSegmentNumber")[0])
    return number, position, axes[:3], axes[3:], spacing
