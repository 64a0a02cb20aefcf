"""Hostile masks: on other grids, of other types, empty, full, labelled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from hostile_case import LAS, Case, Check, cut, patch, ramp
from hostile_nifti import NAN
from product_run import save_nifti

SCAN = (12, 11, 6)
DRAWN = np.zeros(SCAN, bool)
DRAWN[3:6, 4:8, 2] = True


def read(path: Path, out: Path) -> np.ndarray:
    """As every command reads a drawn mask, on a scan of its own."""
    from braindiffusion.io.read import read_mask, read_scan
    from braindiffusion.io.write import OutputFolder

    scan = read_scan(path.parent / "scan.nii")
    mask = read_mask(path, scan)
    with OutputFolder(out) as folder:
        folder.volume("mask", mask, scan)
    assert np.array_equal(read_mask(out / "mask.nii.gz", scan), mask), "the mask changes on the way back"
    return mask


def mask(
    voxels: np.ndarray, affine: np.ndarray = LAS, code: int | None = None, damage: Callable[[Path], Any] | None = None
) -> Callable[[Path], Path]:
    """A mask file beside its scan."""

    def make(folder: Path) -> Path:
        save_nifti(folder / "scan.nii", ramp(SCAN), LAS)
        path = save_nifti(folder / "mask.nii.gz" if damage is None else folder / "mask.nii", voxels, affine, code)
        if damage is not None:
            damage(path)
        return path

    return make


def is_drawn(due: np.ndarray = DRAWN) -> Check:
    """A check: these voxels, and no others."""

    def check(found: np.ndarray) -> None:
        assert found.dtype == bool
        assert np.array_equal(found, due), "other voxels than were drawn"

    return check


def _moved(**by: float) -> np.ndarray:
    affine = LAS.copy()
    affine[:3, 3] += [by.get("x", 0), by.get("y", 0), by.get("z", 0)]
    return affine


def _flipped(axis: int) -> tuple[np.ndarray, np.ndarray]:
    affine = LAS.copy()
    affine[:, 3] += affine[:, axis] * (SCAN[axis] - 1)
    affine[:, axis] *= -1
    return np.flip(DRAWN, axis).astype("u1"), affine


def _labels(value: float, dtype: str) -> np.ndarray:
    return np.where(DRAWN, value, 0).astype(dtype)


def _header(text: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        mask(_labels(1, "u1"))(folder)
        (folder / "mask.nrrd").write_text(text)
        return folder / "mask.nrrd"

    return make


def _folder(folder: Path) -> Path:
    path = mask(_labels(1, "u1"))(folder)
    path.unlink()
    path.mkdir()
    return path


def cases() -> list[Case]:
    """All of them."""
    grid, empty, unreadable, drawn = "MaskGeometryError", "EmptyMaskError", "ScanUnreadableError", is_drawn()
    one = _labels(1, "u1")
    coarse = LAS @ np.diag([2, 1, 1, 1])
    turned = LAS[:, [2, 0, 1, 3]]
    tilted = LAS.copy()
    tilted[:3, :3] = np.array([[1, 0, 0], [0, 0.996, -0.087], [0, 0.087, 0.996]]) @ tilted[:3, :3]
    listed: list[tuple[Any, ...]] = [
        *((f"as {t}", mask(_labels(1, t)), (), drawn) for t in ("i1", "u1", "<i2", "<u2", "<i4", "<u4", "<f4", "<f8")),
        ("as int64", mask(_labels(1, "<i8"), code=1024), (), drawn),
        ("negative labels", mask(_labels(-3, "<i2")), "MaskValueError"),
        ("a background of -1024", mask(np.where(DRAWN, 1, -1024).astype("<i2")), "MaskValueError"),
        ("a smoothed mask", mask(np.linspace(0, 255, DRAWN.size).reshape(SCAN).astype("<f4")), "MaskValueError"),
        ("label 255", mask(_labels(255, "u1")), (), drawn),
        ("probabilities", mask(_labels(1e-6, "<f4")), (), drawn),
        ("NaN outside", mask(np.where(DRAWN, 1.0, NAN).astype("<f4")), (), drawn),
        ("NaN everywhere", mask(np.full(SCAN, NAN, "<f4")), empty),
        ("infinite inside", mask(np.where(DRAWN, np.inf, 0).astype("<f4")), (empty, "ScanContentError"), drawn),
        ("full", mask(np.ones(SCAN, "u1")), (), is_drawn(np.ones(SCAN, bool))),
        ("empty", mask(np.zeros(SCAN, "u1")), empty),
        ("empty through its slope", mask(one, damage=lambda p: patch(p, (112, "<2f", 1.0, 0.0))), (), drawn),
        ("full through its intercept", mask(one, damage=lambda p: patch(p, (112, "<2f", 1.0, 5.0))), (), is_drawn(np.ones(SCAN, bool))),
        *((f"axis {axis} reversed", mask(*_flipped(axis)), (), drawn) for axis in range(3)),
        ("axes in another order", mask(one.transpose(2, 0, 1), turned), (), drawn),
        ("moved by half a voxel", mask(one, _moved(x=1.0)), grid),
        ("moved by a metre", mask(one, _moved(z=1000.0)), grid),
        ("moved by a thousandth of a voxel", mask(one, _moved(x=0.002)), (), drawn),
        ("one column fewer", mask(one[:-1]), (), drawn),
        ("one slice more", mask(np.concatenate([one, one[:, :, :1]], 2)), (), drawn),
        ("half as fine", mask(one[::2], coarse), grid),
        ("tilted", mask(one, tilted), grid),
        ("one voxel", mask(one[:1, :1, :1]), empty),
        ("no geometry", mask(one, damage=lambda p: patch(p, (252, "<2h", 0, 0))), grid),
        ("2-D", mask(one[:, :, 2]), "ScanDimensionError"),
        ("4-D", mask(np.stack([one] * 3, -1)), "ScanDimensionError"),
        ("RGB", mask(np.stack([one] * 3, -1), code=128), "ScanPixelTypeError"),
        ("complex", mask(one.astype("<c8"), code=32), "ScanPixelTypeError"),
        ("singular", mask(one, damage=lambda p: patch(p, (280, "<12f", *[0] * 12))), "ScanGeometryError"),
        ("claims 30000 cubed", mask(one, damage=lambda p: patch(p, (42, "<3h", 30000, 30000, 30000))), "ScanDimensionError"),
        ("cut", mask(one, damage=lambda p: cut(p, 0.7)), unreadable),
        ("empty file", mask(one, damage=lambda p: p.write_bytes(b"")), unreadable),
        ("missing", mask(one, damage=lambda p: p.unlink()), "ScanNotFoundError"),
        ("a folder", _folder, "ScanNotFoundError"),
        ("a segmentation of layers", _header("NRRD0004\ntype: uchar\ndimension: 4\nsizes: 2 12 11 6\nencoding: raw\nspace: LPS\nspace directions: none (1,0,0) (0,1,0) (0,0,1)\nkinds: list domain domain domain\n\n" + "\0" * 1584), empty),
    ]  # fmt: skip
    return [
        Case("mask", name, make, read, (errors,) if isinstance(errors, str) else errors, rest[0] if rest else None)
        for name, make, errors, *rest in listed
    ]
