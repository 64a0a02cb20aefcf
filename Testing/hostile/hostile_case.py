"""What one hostile input is, and what reads it: named, labelled with what must come of it, run the real way."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

TESTING = Path(__file__).resolve().parents[1]
for _folder in (TESTING, TESTING / "product", TESTING / "engine", TESTING.parent):
    if str(_folder) not in sys.path:
        sys.path.append(str(_folder))

Make = Callable[[Path], Any]
"""Writes the input into an empty folder, and returns what the entry point is given."""
Check = Callable[[Any], None]
"""Raises AssertionError unless a result is correct."""
SHAPE = (7, 6, 5)
LAS = np.array([[-2.0, 0, 0, 90], [0, 1.5, 0, -70], [0, 0, 5, -40], [0, 0, 0, 1]])


@dataclass(frozen=True)
class Case:
    """One input.

    Attributes:
        kind: of the list it belongs to; with ``name`` it is unique.
        run: the entry point: what ``make`` returned, and a folder for results that is not there yet -> result.
        errors: classes of the typed errors, one of which must come; none: it must be read.
        check: of the result; with ``errors`` too, either may come (a flipped bit may hit anything).
    """

    kind: str
    name: str
    make: Make
    run: Callable[[Any, Path], Any]
    errors: tuple[str, ...] = ()
    check: Check | None = None

    def __post_init__(self) -> None:
        if not self.errors and self.check is None:
            raise ValueError(f"{self.name} expects nothing")

    def __str__(self) -> str:
        return f"{self.kind}: {self.name}"


def ramp(shape: tuple[int, ...] = SHAPE, dtype: str = "<i2") -> np.ndarray:
    """0, 1, 2 ... in any type."""
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def patch(path: Path, *changes: tuple[Any, ...]) -> Path:
    """Overwrite parts of a file: (offset, struct format, values ...)."""
    raw = bytearray(path.read_bytes())
    for offset, form, *values in changes:
        struct.pack_into(form, raw, offset, *values)
    path.write_bytes(raw)
    return path


def flip(path: Path, seed: int, first: int, last: int, count: int = 1) -> Path:
    """Flip ``count`` bits, drawn by ``seed``, in the bytes from ``first`` up to ``last``."""
    raw = bytearray(path.read_bytes())
    rng = np.random.default_rng(seed)
    for _ in range(count):
        raw[int(rng.integers(first, min(last, len(raw))))] ^= 1 << int(rng.integers(8))
    path.write_bytes(raw)
    return path


def cut(path: Path, keep: float) -> Path:
    """Keep the first part of a file: a fraction, or (over 1) bytes."""
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep if keep > 1 else keep * len(whole))])
    return path


def there_and_back(path: Path, out: Path) -> Any:
    """Read a scan, place it, write it, read that: as the commands do, without a model between.

    Returns:
        The scan; what was written and read again must be the same.
    """
    from braindiffusion.io.read import read_scan
    from braindiffusion.io.write import OutputFolder
    from braindiffusion.volume.slices import place

    scan = read_scan(path)
    p = place(scan)
    axial = p.to_axial(scan.voxels)
    assert np.array_equal(p.from_axial(axial), scan.voxels), "the order of axes is lost"
    few = p.down(axial[:4])
    assert few.shape[1:] == (128, 128)
    assert np.isfinite(few).all(), "slices of the model grid that are not numbers"
    with OutputFolder(out) as folder:
        folder.volume("copy", scan.voxels, scan)
    again = read_scan(out / "copy.nii.gz")
    assert np.array_equal(again.voxels, scan.voxels), "voxels change on the way back"
    reach = np.abs(scan.affine).max()
    assert np.allclose(again.affine, scan.affine, rtol=1e-4, atol=1e-5 * reach), "the place changes on the way back"
    return scan


def holds(voxels: np.ndarray, affine: np.ndarray | None = LAS, dtype: str | None = None) -> Check:
    """A check: these values, this affine (``None``: any sound one) and, where given, this type."""

    def check(scan: Any) -> None:
        assert scan.voxels.shape == voxels.shape, scan.voxels.shape
        assert np.allclose(scan.voxels.astype(float), voxels.astype(float), rtol=1e-6), "other values than were stored"
        assert dtype is None or scan.voxels.dtype == np.dtype(dtype), scan.voxels.dtype
        if affine is not None:
            scale = np.abs(affine).max()
            assert np.allclose(scan.affine, affine, rtol=1e-4, atol=1e-5 * scale), f"the place is\n{scan.affine}"

    return check


def sound(scan: Any) -> None:
    """A check of what a flipped bit may leave: a grid in space with numbers in it."""
    assert np.isfinite(scan.voxels).all()
    assert np.isfinite(scan.affine).all()
    assert (scan.spacing > 0).all()
    assert scan.voxels.ndim == 3
