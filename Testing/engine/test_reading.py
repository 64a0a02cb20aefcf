"""Reading: geometry and values as stored, and every refusal with its reason."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scan_files import LAS, SHAPE, patched, ramp, refused, write

from braindiffusion import errors
from braindiffusion.io.read import parse_box, read_mask, read_scan
from braindiffusion.volume.scan import Scan

# --- what is read -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_values_dtype_and_affine_come_back(tmp_path: Path, dtype: str, suffix: str) -> None:
    tilt = np.eye(4)
    tilt[:3, :3] = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]])
    for affine, code in ((LAS, "LAS"), (np.diag([-1.0, 1, 1, 1]) @ LAS, "RAS"), (tilt @ LAS, "LAS")):
        scan = read_scan(write(tmp_path / f"häd 1_FLAIR{suffix}", ramp(dtype=dtype), affine))
        assert scan.voxels.dtype == dtype
        assert np.array_equal(scan.voxels, ramp(dtype=dtype))
        np.testing.assert_allclose(scan.affine, affine, atol=2e-5)
        assert scan.affine.dtype == np.float64
        assert scan.source["orientation"] == code
        assert scan.modality == "FLAIR"


def test_source_tells_where_it_came_from(tmp_path: Path) -> None:
    import hashlib

    scan = read_scan(write(tmp_path / "a.nii.gz", ramp()))
    assert scan.source == {
        "path": str(tmp_path / "a.nii.gz"),
        "format": "NIfTI",
        "size": [7, 6, 5],
        "spacing": [2.0, 1.5, 5.0],
        "orientation": "LAS",
        "sha256": hashlib.sha256(ramp().T.tobytes()).hexdigest(),
    }
    assert scan.modality is None


def test_single_slice_keeps_its_third_axis(tmp_path: Path) -> None:
    for suffix in (".nii.gz", ".nrrd"):
        scan = read_scan(write(tmp_path / f"s{suffix}", ramp((7, 6, 1))))
        assert scan.voxels.shape == (7, 6, 1)
        np.testing.assert_allclose(scan.affine, LAS, atol=1e-6)


def test_rescale_gives_real_values(tmp_path: Path) -> None:
    scan = read_scan(patched(tmp_path / "a.nii", (112, "<2f", 0.5, 3.0)))
    np.testing.assert_allclose(scan.voxels, ramp() * 0.5 + 3)


def test_four_dimensions_of_which_one_counts(tmp_path: Path) -> None:
    head = "NRRD0004\ntype: uchar\ndimension: 4\nsizes: 2 3 4 1\nencoding: raw\nspace: left-posterior-superior\n"
    head += (
        "space directions: (2,0,0) (0,1,0) (0,0,1) none\nspace origin: (5,6,7)\nkinds: domain domain domain list\n\n"
    )
    (tmp_path / "a.nrrd").write_bytes(head.encode() + bytes(range(24)))
    patched(tmp_path / "a.nii", (40, "<8h", 4, 7, 6, 5, 1, 1, 1, 1))
    assert read_scan(tmp_path / "a.nrrd").voxels.shape == (2, 3, 4)
    assert read_scan(tmp_path / "a.nii").voxels.shape == SHAPE


def test_importing_is_light() -> None:
    code = (
        "import sys, braindiffusion.io.read; print([m for m in ('torch', 'SimpleITK', 'pydicom') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_missing_foreign_and_damaged_files(tmp_path: Path) -> None:
    refused(errors.ScanNotFoundError, tmp_path / "missing.nii.gz")
    refused(errors.ScanNotFoundError, tmp_path, "no DICOM images")
    for name, content in {
        "a.txt": b"hi",
        "e.nii.gz": b"",
        "x.nii.gz": b"x" * 900,
        "x.nrrd": b"x",
        "x.mha": b"",
    }.items():
        (tmp_path / name).write_bytes(content)
        refused(errors.ScanUnreadableError, tmp_path / name)
    refused(errors.ScanNotFoundError, tmp_path, "5 files were looked at")


@pytest.mark.parametrize("keep", [0.2, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_truncated_files(tmp_path: Path, keep: float, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 999, (20, 20, 20)).astype(np.int16)
    whole = write(tmp_path / f"a{suffix}", noise).read_bytes()
    (tmp_path / f"cut{suffix}").write_bytes(whole[: int(keep * len(whole))])
    refused(errors.ScanUnreadableError, tmp_path / f"cut{suffix}")


def test_gzip_integrity(tmp_path: Path) -> None:
    whole = bytearray(write(tmp_path / "a.nii.gz", np.zeros((30, 30, 30), np.int16)).read_bytes())
    (tmp_path / "no-checksum.nii.gz").write_bytes(whole[:-8])  # all voxels are there
    whole[-6] ^= 1
    (tmp_path / "bad-checksum.nii.gz").write_bytes(whole)
    short = gzip.compress(gzip.decompress(write(tmp_path / "b.nii.gz", ramp()).read_bytes())[:-1])
    (tmp_path / "short.nii.gz").write_bytes(short)
    for name in ("no-checksum", "bad-checksum", "short"):
        refused(errors.ScanUnreadableError, tmp_path / f"{name}.nii.gz")


def test_dimensions(tmp_path: Path) -> None:
    import SimpleITK as sitk  # noqa: N813

    for size in ([4, 5, 6, 2], [4, 5]):
        sitk.WriteImage(sitk.Image(size, sitk.sitkFloat32), str(tmp_path / "a.nii.gz"))
        refused(errors.ScanDimensionError, tmp_path / "a.nii.gz", " x ".join(map(str, size)))
    refused(errors.ScanDimensionError, patched(tmp_path / "zero.nii", (44, "<h", 0)))
    refused(errors.ScanDimensionError, patched(tmp_path / "none.nii", (40, "<h", 0)))


def test_absurd_sizes_are_refused_before_memory_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 200000 30000 40000\nencoding: raw\n\n"
    (tmp_path / "a.nrrd").write_text(head)
    refused(errors.ScanDimensionError, tmp_path / "a.nrrd", "2.4e+14 voxels")
    refused(errors.ScanDimensionError, patched(tmp_path / "a.nii", (42, "<3h", 32000, 32000, 32000)), "3.28e+13")
    monkeypatch.setattr(os, "sysconf", lambda name: 100)
    refused(errors.MemoryExhaustedError, write(tmp_path / "b.nii", np.zeros((30, 30, 30), np.int16)))


def test_pixel_types(tmp_path: Path) -> None:
    import SimpleITK as sitk  # noqa: N813

    vectors = [sitk.Image([4, 5, 6], kind, 3) for kind in (sitk.sitkVectorUInt8, sitk.sitkVectorFloat32)]
    for image, suffix in zip(
        [*vectors, sitk.Image([4, 5, 6], sitk.sitkComplexFloat32)], (".nii.gz", ".nrrd", ".nii"), strict=True
    ):
        sitk.WriteImage(image, str(tmp_path / f"a{suffix}"))
        refused(errors.ScanPixelTypeError, tmp_path / f"a{suffix}")
    refused(errors.ScanPixelTypeError, patched(tmp_path / "rgb.nii", (70, "<2h", 128, 8)))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_not_numbers(tmp_path: Path, suffix: str, dtype: str, value: float) -> None:
    voxels = ramp(dtype=dtype)
    voxels[3, 2, 1] = value
    refused(errors.ScanContentError, write(tmp_path / f"a{suffix}", voxels), "1 voxels")


def test_constant_volume(tmp_path: Path) -> None:
    refused(errors.ScanContentError, write(tmp_path / "a.nii.gz", np.full(SHAPE, 3, np.int16)), "Every voxel is 3")


NAN = float("nan")


@pytest.mark.parametrize(
    "changes",
    [
        [(80, "<f", 0.0)],
        [(80, "<f", NAN)],
        [(84, "<f", -1.0)],
        [(252, "<2h", 0, 0), (80, "<3f", 0.0, 0.0, 0.0)],
        [(252, "<2h", 0, 1), (280, "<4f", NAN, 0.0, 0.0, 0.0)],
        [(252, "<2h", 0, 1), (280, "<8f", -2.0, 0.6, 0.0, 0.0, 0.0, 1.5, 0.0, 0.0)],  # sheared
        [(252, "<2h", 0, 1), (280, "<8f", -2.0, 1.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)],  # singular
        [(252, "<2h", 0, 1), (280, "<4f", -4.0, 0.0, 0.0, 0.0)],  # sform says 4 mm, pixdim 2 mm
    ],
)
def test_nifti_geometry_that_is_none(tmp_path: Path, changes: list[tuple[Any, ...]]) -> None:
    refused(errors.ScanGeometryError, patched(tmp_path / "a.nii", *changes))


@pytest.mark.parametrize(
    "lines",
    [
        "space: LPS\nspace directions: (1,0,0) (0,1,0) (0,0,0)",
        "space: LPS\nspace directions: (1,0,0) (0.3,1,0) (0,0,1)",
        "space: LPS\nspace directions: (1,0,0) (1,0,0) (0,0,1)",
        "space: LPS\nspace directions: (nan,0,0) (0,1,0) (0,0,1)",
        "spacings: 1 2 nan",
    ],
)
def test_nrrd_geometry_that_is_none(tmp_path: Path, lines: str) -> None:
    head = f"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 2 3 4\nencoding: raw\n{lines}\n\n"
    (tmp_path / "a.nrrd").write_bytes(head.encode() + bytes(range(24)))
    refused(errors.ScanGeometryError, tmp_path / "a.nrrd")


@pytest.mark.parametrize(
    ("spacing", "axes"), [("0 1 1", "1 0 0"), ("nan 1 1", "1 0 0"), ("-1 1 1", "1 0 0"), ("1 1 1", "1 1 0")]
)
def test_metaimage_geometry_that_is_none(tmp_path: Path, spacing: str, axes: str) -> None:
    head = f"ObjectType = Image\nNDims = 3\nBinaryData = True\nTransformMatrix = {axes} 0 1 0 0 0 1\nOffset = 0 0 0\n"
    head += f"ElementSpacing = {spacing}\nDimSize = 2 3 4\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
    (tmp_path / "a.mha").write_bytes(head.encode() + bytes(range(24)))
    refused(errors.ScanGeometryError, tmp_path / "a.mha")


# --- masks and boxes ----------------------------------------------------------------------------------------


def test_a_mask_in_any_order_of_axes(tmp_path: Path, head_phantom: Scan) -> None:
    mask = head_phantom.voxels > 600
    for order in ((0, 1, 2), (2, 0, 1), (1, 0, 2)):
        for flips in ((False, False, False), (True, False, True)):
            stored, affine = mask.astype(np.float32).transpose(order), head_phantom.affine[:, [*order, 3]].copy()
            for axis, flip in enumerate(flips):
                if flip:
                    affine[:, 3] += affine[:, axis] * (stored.shape[axis] - 1)
                    affine[:, axis] *= -1
                    stored = np.flip(stored, axis)
            found = read_mask(write(tmp_path / "mask.nii.gz", stored * 0.5, affine), head_phantom)
            assert found.dtype == bool
            assert np.array_equal(found, mask)
            assert found.flags.c_contiguous


def test_masks_that_are_refused(tmp_path: Path, head_phantom: Scan) -> None:
    mask, affine = (head_phantom.voxels > 600).astype(np.uint8), head_phantom.affine
    moved, coarse = affine.copy(), affine.copy()
    moved[0, 3] += 0.1
    coarse[:3, 2] *= 1.01
    for voxels, grid in (
        (mask, moved),
        (mask, coarse),
        (mask[::2], affine @ np.diag([2, 1, 1, 1])),
    ):
        with pytest.raises(
            errors.MaskGeometryError, match=r"Mask: .* LAS.*Scan: 64 x 72 x 20 voxels of 3.20 x 3.00 x 7.00 mm, LAS"
        ):
            read_mask(write(tmp_path / "m.nii.gz", voxels, grid), head_phantom)
    with pytest.raises(errors.EmptyMaskError):
        read_mask(write(tmp_path / "m.nii.gz", mask * 0, affine), head_phantom)
    with pytest.raises(errors.ScanNotFoundError):
        read_mask(tmp_path / "none.nii.gz", head_phantom)
    full = read_mask(write(tmp_path / "m.nrrd", np.where(mask, np.nan, 1.0), affine), head_phantom)
    assert np.array_equal(full, mask == 0)


def test_boxes(head_phantom: Scan) -> None:
    box = parse_box(" 1, 2,3,1,4, 19", head_phantom)
    assert box.shape == head_phantom.voxels.shape
    assert box.sum() == 1 * 3 * 17
    assert box[1, 2:5, 3:20].all()
    for text in (
        "",
        "1,2,3",
        "1,2,3,4,5,x",
        "1.5,2,3,4,5,6",
        "5,2,3,4,5,6",
        "0,0,0,64,1,1",
        "-1,0,0,1,1,1",
        "1,2,3,4,5,6,7",
    ):
        with pytest.raises(errors.BoxError) as caught:
            parse_box(text, head_phantom)
        assert "63,71,19" in caught.value.action
