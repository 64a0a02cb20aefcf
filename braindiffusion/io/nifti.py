"""NIfTI-1 headers and their files, checked for what ITK passes over or mends without a word."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

from braindiffusion import errors
from braindiffusion.io.read import COPY_AGAIN, EXPORT, lost_geometry, not_finite, times

MOST_EXTRA = 1 << 24
"""Bytes before and after the voxels that are still looked at: a few MB, compressed, may stand for terabytes."""
_NIFTI = np.dtype(  # the fields of a NIfTI-1 header that are checked
    {
        "names": [
            *("dim", "type", "bits", "spacing", "offset", "scale"),
            *("qform", "sform", "quaternion", "matrix", "magic"),
        ],
        "formats": ["8i2", "i2", "i2", "8f4", "f4", "2f4", "i2", "i2", "6f4", "(3,4)f4", "S4"],
        "offsets": [40, 70, 72, 76, 108, 112, 252, 254, 256, 280, 344],
        "itemsize": 348,
    }
)


def check_nifti_header(path: Path) -> None:
    """Check a NIfTI file's header alone; raises as :func:`check_nifti` does."""
    with _unzipped(path) as stream:
        _header(stream.read(348), path)


def check_nifti(path: Path, finite: bool = False) -> None:
    """Check a NIfTI file's header, and that it holds all the header promises (.nii.gz: down to the checksum).

    Args:
        finite: also that all voxels are numbers; ITK reads NaN and infinity as 0.

    Raises:
        ScanUnreadableError: not NIfTI-1, incomplete or damaged.
        ScanContentError: NaN or infinite voxels.
        ScanDimensionError, ScanGeometryError: sizes or a spacing that are zero or not numbers.
    """
    with _unzipped(path) as stream:
        head = _header(stream.read(348), path)
        order = head.dtype["dim"].base.str[0]
        kind = {16: f"{order}f4", 64: f"{order}f8"}.get(int(head["type"])) if finite else None
        start = int(head["offset"])
        due, bad = start + math.prod(_size(head)) * int(head["bits"]) // 8, 0
        found = 348 + len(stream.read(start - 348))
        while (chunk := stream.read(1 << 20)) and found < due + MOST_EXTRA:
            found += len(chunk)
            if kind is not None:
                bad += int((~np.isfinite(np.frombuffer(chunk, kind, len(chunk) // int(kind[2])))).sum())
    if not due <= found < due + MOST_EXTRA:
        why = f"Its header promises {due} bytes; it holds {found}{' or more' * (found > due)}."
        raise errors.ScanUnreadableError(f"{path} is {'incomplete' if found < due else 'damaged'}.", why, COPY_AGAIN)
    if bad:
        raise not_finite(path, bad)


@contextmanager
def _unzipped(path: Path) -> Iterator[Any]:
    """The file as a stream of bytes, decompressed where it is compressed."""
    with path.open("rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(path) if zipped else path.open("rb") as stream:
            yield stream
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise errors.ScanUnreadableError(f"{path} is incomplete or damaged.", str(error), COPY_AGAIN) from error


def _size(head: np.void) -> list[int]:
    return head["dim"][1 : 1 + np.clip(head["dim"][0], 0, 7)].tolist()


def _header(block: bytes, path: Path) -> np.void:
    """The header, checked for what ITK mends without a word: a spacing of 0 or NaN, forms of NaN or another scale."""
    order: Literal["<", ">"] = "<" if block[:2] == b"\x5c\x01" else ">"  # 348, little-endian
    if len(block) < 348 or np.frombuffer(block, f"{order}i4", 1)[0] != 348:
        why = "It is NIfTI-2." if block[4:7] == b"n+2" else "It does not begin with a NIfTI-1 header."
        raise errors.ScanUnreadableError(f"{path} cannot be read.", why, EXPORT)
    head = np.frombuffer(block, _NIFTI.newbyteorder(order))[0]
    if head["magic"] != b"n+1" or not 352 <= head["offset"] <= MOST_EXTRA:
        why = "Its header does not say where its voxels begin: it is no single-file NIfTI-1, or damaged."
        raise errors.ScanUnreadableError(f"{path} cannot be read.", why, EXPORT)
    if head["scale"][0] == 0 and head["scale"][1] != 0:  # ITK adds the intercept all the same
        why = f"It rescales its values by a slope of 0 and an intercept of {head['scale'][1]:g}."
        raise errors.ScanContentError(f"{path} does not say what its values mean.", why, EXPORT)
    size = _size(head)
    if not size or min(size) < 1:
        why = f"Its size is {times(size) or 'not given'}."
        raise errors.ScanDimensionError(f"{path} is not one 3-D volume.", why, EXPORT)
    spacing, matrix = head["spacing"][1:4].astype(float)[: len(size)], head["matrix"].astype(float)
    if not (np.isfinite(spacing).all() and (spacing > 0).all()):
        raise lost_geometry(path, f"The spacing is {times(spacing)} mm.")
    if head["sform"] > 0 and not np.isfinite(matrix).all():
        raise lost_geometry(path, "Its sform is not a matrix of numbers.")
    if head["qform"] > 0 and not np.isfinite(head["quaternion"]).all():  # ITK makes them 0
        raise lost_geometry(path, "Its qform is not made of numbers.")
    scale = np.linalg.norm(matrix[:, : len(spacing)], axis=0)
    if head["sform"] > 0 and head["qform"] <= 0 and not np.allclose(scale, spacing, rtol=0.01):
        raise lost_geometry(path, f"pixdim says {times(spacing)} mm, the sform {times(scale)} mm.")
    return head
