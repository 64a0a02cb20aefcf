"""Formats of FreeSurfer, SPM and FSL, and files under another name than their content."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scan_files import LAS, SHAPE, ramp, refused, write

from braindiffusion import errors
from braindiffusion.io.read import MOST_SWEEPS, read_scan
from braindiffusion.io.write import OutputFolder


@pytest.mark.parametrize("name", ["a.mgz", "a.mgh"])
def test_freesurfer(tmp_path: Path, name: str) -> None:
    nibabel.save(nibabel.MGHImage(ramp(dtype="float32"), LAS), tmp_path / name)
    scan = read_scan(tmp_path / name)
    assert np.array_equal(scan.voxels, ramp())
    assert scan.voxels.dtype == np.float32
    np.testing.assert_allclose(scan.affine, LAS, atol=1e-5)
    assert scan.orientation_known
    whole = (tmp_path / name).read_bytes()
    (tmp_path / f"cut{name[1:]}").write_bytes(whole[: len(whole) // 2])
    refused(errors.ScanUnreadableError, tmp_path / f"cut{name[1:]}")


def test_a_pair_of_header_and_image(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Pair(ramp(), LAS), tmp_path / "a.hdr")
    for name in ("a.hdr", "a.img"):
        scan = read_scan(tmp_path / name)
        assert np.array_equal(scan.voxels, ramp())
        np.testing.assert_allclose(scan.affine, LAS, atol=1e-5)
    (tmp_path / "a.img").unlink()
    assert "a.img is not beside it" in refused(errors.ScanNotFoundError, tmp_path / "a.hdr").why


def test_analyze_is_read_with_a_warning(tmp_path: Path) -> None:
    image = nibabel.AnalyzeImage(ramp(), None)
    image.header.set_zooms((2, 1.5, 5))
    nibabel.save(image, tmp_path / "a.hdr")
    scan = read_scan(tmp_path / "a.hdr")
    assert np.array_equal(scan.voxels, ramp())
    np.testing.assert_allclose(scan.spacing, (2, 1.5, 5))
    assert scan.affine[0, 0] < 0
    assert not scan.orientation_known
    assert "Analyze 7.5" in scan.notes[0]


@pytest.mark.parametrize("kind", ["origin", "mat"])
def test_results_of_an_analyze_scan_lie_where_it_was_read(tmp_path: Path, kind: str) -> None:
    """NIfTI without codes holds no origin: what is written must be what is read back."""
    image = nibabel.Spm99AnalyzeImage(
        ramp(), np.array([[-2.0, 0, 0, 9], [0, 1.5, 0, -4], [0, 0, 5, -30], [0, 0, 0, 1]])
    )
    image.header["origin"][:3] = 5, 3, 4
    nibabel.save(image, tmp_path / "a.hdr")
    assert (tmp_path / "a.mat").exists()
    if kind == "origin":
        (tmp_path / "a.mat").unlink()
    scan = read_scan(tmp_path / "a.hdr")
    assert scan.orientation_known == (kind == "mat")
    assert any((".mat file" if kind == "mat" else "origin in its header is not used") in note for note in scan.notes)
    if kind == "mat":
        np.testing.assert_allclose(scan.affine, image.affine, atol=1e-5)
    with OutputFolder(tmp_path / "out") as out:
        out.volume("v", scan.voxels, scan)
    again = read_scan(tmp_path / "out/v.nii.gz")
    assert again.orientation_known == scan.orientation_known
    np.testing.assert_allclose(again.affine, scan.affine, atol=1e-4)


def test_nifti_2(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti2Image(ramp(), LAS), tmp_path / "a.nii.gz")
    scan = read_scan(tmp_path / "a.nii.gz")
    assert np.array_equal(scan.voxels, ramp())
    np.testing.assert_allclose(scan.affine, LAS)


def test_the_name_does_not_tell_whether_it_is_compressed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii", ramp())
    (tmp_path / "gzip.nii").write_bytes(gzip.compress(path.read_bytes()))
    shutil.copy(path, tmp_path / "plain.nii.gz")
    for name in ("gzip.nii", "plain.nii.gz"):
        assert np.array_equal(read_scan(tmp_path / name).voxels, ramp())


def test_nan_around_the_head_is_background(tmp_path: Path) -> None:
    voxels = ramp(dtype="float32") - 50
    voxels[0], voxels[:, :2] = np.nan, np.nan
    scan = read_scan(write(tmp_path / "a.nii.gz", voxels))
    known = np.isfinite(voxels)
    assert np.array_equal(scan.voxels[known], voxels[known])
    assert (scan.voxels[~known] == np.nanmin(voxels)).all()
    assert f"{(~known).sum()} voxels around the head are NaN" in scan.notes[0]
    voxels[3, 4, 2] = np.nan
    refused(errors.ScanContentError, write(tmp_path / "hole.nii.gz", voxels), "1 voxels are NaN")


def test_nan_is_background_only_where_it_is_connected_to_the_border(tmp_path: Path) -> None:
    voxels = ramp((9, 9, 9), "float32")
    way = [(0, 4, 4), (1, 4, 4), (1, 5, 4), (2, 5, 4), (2, 5, 5), (3, 5, 5), (3, 4, 5), (3, 3, 5), (3, 3, 4)]
    for at in way:  # around corners, in every direction
        voxels[at] = np.nan
    assert "9 voxels around the head are NaN" in read_scan(write(tmp_path / "a.nii", voxels)).notes[0]
    voxels[3, 5, 5] = 1
    refused(errors.ScanContentError, write(tmp_path / "cut.nii", voxels), "3 voxels are NaN")


def test_nan_in_a_maze_is_followed_to_its_end(tmp_path: Path) -> None:
    voxels = np.ones((3, 161, 161), "float32")
    at, turn, last = np.array([0, 0]), 0, 160
    while last > 2:  # a spiral, of more turns than there are sweeps
        for _ in range(3 if turn == 0 else 2):
            step = [(0, 1), (1, 0), (0, -1), (-1, 0)][turn % 4]
            for _ in range(last):
                at += step
                voxels[1, at[0], at[1]] = np.nan
            turn += 1
        last -= 2
    voxels[0, 80, 80] = 5
    assert turn > MOST_SWEEPS
    edge = voxels[1].copy()
    read_scan(write(tmp_path / "a.nii", voxels))
    voxels[1, 2, 10] = 1  # the way in is cut
    count = int(np.isnan(edge).sum())
    why = refused(errors.ScanContentError, write(tmp_path / "cut.nii", voxels)).why
    assert count // 2 < int(why.split()[0]) < count


def test_scaling_that_is_not_a_number(tmp_path: Path) -> None:
    for slope, inter in ((np.inf, 0.0), (1.0, np.nan), (1.0, np.inf)):
        raw = bytearray(write(tmp_path / "whole.nii", ramp()).read_bytes())
        raw[112:120] = np.array([slope, inter], "<f4").tobytes()
        (tmp_path / "a.nii").write_bytes(raw)
        refused(errors.ScanContentError, tmp_path / "a.nii", "what its values mean")
    raw[112:120] = np.array([np.nan, np.nan], "<f4").tobytes()  # what nibabel writes for none
    (tmp_path / "a.nii").write_bytes(raw)
    scan = read_scan(tmp_path / "a.nii")
    assert np.array_equal(scan.voxels, ramp())
    assert "slope" in scan.notes[0]


def test_bits_that_contradict_the_type(tmp_path: Path) -> None:
    raw = bytearray(write(tmp_path / "whole.nii", ramp()).read_bytes())
    raw[72:74] = np.array([4], "<i2").tobytes()
    (tmp_path / "a.nii").write_bytes(raw[: 352 + np.prod(SHAPE) // 2])
    refused(errors.ScanUnreadableError, tmp_path / "a.nii", "4 bits a voxel")


def nrrd(path: Path, encoding: str, data: bytes, more: str = "") -> Path:
    head = f"NRRD0004\ntype: short\ndimension: 3\nsizes: 7 6 5\nendian: little\nencoding: {encoding}\n"
    head += "space: left-posterior-superior\nspace directions: (2,0,0) (0,1.5,0) (0,0,5)\nspace origin: (-90,70,-40)\n"
    path.write_bytes((head + more).encode() + b"\n" * ("LIST" not in more) + data)
    return path


def parts(folder: Path) -> bytes:
    """A file for each slice; all of the voxels."""
    for k in range(5):
        (folder / f"s{k:02d}.raw").write_bytes(ramp()[:, :, k].astype("<i2").tobytes(order="F"))
    return ramp().astype("<i2").tobytes(order="F")


def test_nrrd_in_all_its_ways(tmp_path: Path) -> None:
    import bz2

    raw = parts(tmp_path)
    names = "".join(f"s{k:02d}.raw\n" for k in range(5))
    (tmp_path / "all.bz2").write_bytes(bz2.compress(raw))
    files = [
        nrrd(tmp_path / "bz2.nrrd", "bzip2", bz2.compress(raw)),
        nrrd(tmp_path / "ascii.nrrd", "ascii", " ".join(map(str, ramp().ravel(order="F"))).encode()),
        nrrd(tmp_path / "list.nhdr", "raw", b"", f"data file: LIST\n{names}"),
        nrrd(tmp_path / "pattern.nhdr", "raw", b"", "data file: s%02d.raw 0 4 1\n"),
        nrrd(tmp_path / "bz2.nhdr", "bz2", b"", "data file: all.bz2\n"),
    ]
    for file in files:
        scan = read_scan(file)
        assert np.array_equal(scan.voxels, ramp()), file.name
        np.testing.assert_allclose(scan.affine[:3, :3], np.diag([-2, -1.5, 5]), atol=1e-6)
        assert scan.source["path"] == str(file)
    whole = bz2.compress(np.random.default_rng(0).integers(0, 999, 210).astype("<i2").tobytes())
    refused(errors.ScanUnreadableError, nrrd(tmp_path / "cut.nrrd", "bzip2", whole[:-40]))
    refused(errors.ScanUnreadableError, nrrd(tmp_path / "few.nhdr", "raw", b"", "data file: s%02d.raw 0 3 1\n"))


def meta(path: Path, end: str, before: str = "") -> Path:
    head = "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nOffset = 0 0 0\n"
    head += f"ElementSpacing = 1 1 1\nDimSize = 7 6 5\nElementType = MET_SHORT\n{before}{end}\n"
    path.write_text(head)
    return path


def test_metaimage_lists(tmp_path: Path) -> None:
    parts(tmp_path)
    file = meta(tmp_path / "a.mhd", "ElementDataFile = LIST\n" + "\n".join(f"s{k:02d}.raw" for k in range(5)))
    assert np.array_equal(read_scan(file).voxels, ramp())


def test_headers_name_no_other_file_of_the_disk(tmp_path: Path) -> None:
    secret = tmp_path / "elsewhere" / "secret.raw"
    secret.parent.mkdir()
    secret.write_bytes(parts(tmp_path))
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "link.raw").symlink_to(secret)
    for end in (
        "ElementDataFile = LIST\n" + f"{secret}\n" * 5,
        f"ElementDataFile = {secret}",
        "ElementDataFile = link.raw",
    ):
        refused(errors.ScanUnreadableError, meta(folder / "a.mhd", end))
    colon = meta(folder / "a.mha", "ElementDataFile = LOCAL", f"ElementDataFile : {secret}\n")
    colon.write_bytes(colon.read_bytes() + secret.read_bytes())
    refused(errors.ScanUnreadableError, colon)
    for given in (secret, "link.raw", f"LIST\n{secret}", "../elsewhere/secret.raw"):
        refused(errors.ScanUnreadableError, nrrd(folder / "a.nhdr", "raw", b"", f"data file: {given}\n"))


def test_a_header_of_very_many_lines_is_refused_at_once(tmp_path: Path) -> None:
    more = "".join(f"key{k}:=x\n" for k in range(30_000))
    refused(errors.ScanUnreadableError, nrrd(tmp_path / "a.nrrd", "raw", parts(tmp_path), more), "lines")
