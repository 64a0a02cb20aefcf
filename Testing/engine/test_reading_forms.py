"""NIfTI: which form counts, what is told, and that results lie where the scan lies, whatever the header says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from scan_files import ramp, refused

from braindiffusion import errors
from braindiffusion.export.dicom import Label, Study
from braindiffusion.io.read import read_mask, read_scan
from braindiffusion.io.write import OutputFolder

SHAPE = (12, 10, 8)
GRID = np.array([[-2.0, 0, 0, 11], [0, 1.5, 0, -7], [0, 0, 4, -14], [0, 0, 0, 1]])
FIVE = np.array([(0, 0, 0), (11, 0, 0), (0, 9, 0), (0, 0, 7), (6, 5, 4)], dtype=float)


def turned(degrees: float = 12.0, shift: tuple[float, float, float] = (4, -20, 9)) -> np.ndarray:
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    move = np.eye(4)
    move[:3, :3] = [[1, 0, 0], [0, c, -s], [0, s, c]]
    move[:3, 3] = shift
    return move @ GRID


def sheared(by: float) -> np.ndarray:
    out = GRID.copy()
    out[1, 2] += by * out[2, 2]
    return out


def save(
    path: Path, qform: tuple[Any, int], sform: tuple[Any, int], voxels: np.ndarray | None = None, **head: Any
) -> Path:
    """Write with nibabel; ``head`` are raw fields."""
    image = nibabel.Nifti1Image(ramp(SHAPE) if voxels is None else voxels, None)
    image.header.set_zooms(np.linalg.norm(GRID[:3, :3], axis=0))
    image.set_qform(*qform)
    image.set_sform(*sform)
    for name, value in head.items():
        image.header[name] = value
    nibabel.save(image, path)
    return path


def written(path: Path, folder: Path) -> Any:
    """What comes out for a scan, as nibabel sees it."""
    scan = read_scan(path)
    with OutputFolder(folder) as out:
        out.volume("v", scan.voxels, scan)
    return nibabel.load(folder / "v.nii.gz")


def places(affine: np.ndarray) -> np.ndarray:
    return np.asarray((affine @ np.c_[FIVE, np.ones(5)].T)[:3])


def test_the_sform_counts_where_it_is_given(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", (GRID, 1), (turned(), 2))
    scan = read_scan(path)
    np.testing.assert_allclose(scan.affine, turned(), atol=1e-5)
    assert len(scan.notes) == 1
    assert "disagree by up to" in scan.notes[0]
    out = written(path, tmp_path / "out")
    for form, code, due in (("qform", 1, GRID), ("sform", 2, turned())):
        affine, found = getattr(out, f"get_{form}")(coded=True)
        assert found == code
        np.testing.assert_allclose(affine, due, atol=1e-4)


def test_forms_that_agree_say_nothing(tmp_path: Path) -> None:
    near = turned(0.0, (0.4, 0.3, -0.9))  # less than half a voxel
    assert read_scan(save(tmp_path / "a.nii.gz", (GRID, 1), (near, 1))).notes == ()


def test_a_mask_on_either_form_is_taken(tmp_path: Path) -> None:
    scan = read_scan(save(tmp_path / "a.nii.gz", (GRID, 1), (turned(), 2)))
    drawn = np.zeros(SHAPE, np.uint8)
    drawn[2:5, 3:6, 4] = 1
    told: list[str] = []
    for grid, notes in ((turned(), 0), (GRID, 1)):
        told.clear()
        mask = read_mask(save(tmp_path / "m.nii.gz", (grid, 1), (grid, 1), drawn), scan, on_note=told.append)
        assert np.array_equal(mask, drawn > 0)
        assert len(told) == notes


def test_no_orientation_is_a_guess_and_is_told(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", (GRID, 0), (GRID, 0))
    scan = read_scan(path)
    np.testing.assert_allclose(scan.affine, nibabel.load(path).affine, atol=1e-5)
    assert not scan.orientation_known
    assert scan.source["orientation"] is None
    assert "LEFT AND RIGHT MAY BE SWAPPED" in scan.notes[0]
    head = written(path, tmp_path / "out").header
    assert (int(head["qform_code"]), int(head["sform_code"])) == (0, 0)


@pytest.mark.parametrize("codes", [(2, 2), (3, 0), (0, 3), (4, 4), (1, 4), (5, 5)])
def test_codes_are_kept(tmp_path: Path, codes: tuple[int, int]) -> None:
    head = written(save(tmp_path / "a.nii.gz", (GRID, codes[0]), (GRID, codes[1])), tmp_path / "out").header
    assert (int(head["qform_code"]), int(head["sform_code"])) == codes


@pytest.mark.parametrize("codes", [(1, 1), (0, 1), (1, 2)])
def test_shear_is_never_dropped(tmp_path: Path, codes: tuple[int, int]) -> None:
    error = refused(errors.ScanGeometryError, save(tmp_path / "a.nii.gz", (GRID, codes[0]), (sheared(0.18), codes[1])))
    assert "10 degrees off the right angle" in error.why


def test_shear_by_rounding_is_tolerated_and_told(tmp_path: Path) -> None:
    rounded = sheared(0.002)  # from the middle to a corner
    path = save(tmp_path / "a.nii.gz", (GRID, 1), (rounded, 1))
    scan = read_scan(path)
    np.testing.assert_allclose(scan.affine, rounded, atol=1e-6)
    assert "off the right angle by rounding, 0.02 mm" in scan.notes[0]
    np.testing.assert_allclose(written(path, tmp_path / "out").get_sform(), rounded, atol=1e-6)


def variants() -> dict[str, tuple[Any, Any, dict[str, Any]]]:
    """Forty headers: (qform, code), (sform, code), raw fields."""
    flip = np.diag([-1.0, 1, 1, 1])
    grids = {
        "left": GRID, "right": flip @ GRID, "tilted": turned(), "tilted right": flip @ turned(31, (1, 2, 3)),
        "permuted": GRID[:, [2, 0, 1, 3]], "far": GRID + np.outer([900, -700, 400, 0], [0, 0, 0, 1]),
    }  # fmt: skip
    out: dict[str, tuple[Any, Any, dict[str, Any]]] = {}
    for name, grid in grids.items():
        out[f"{name}, both"] = ((grid, 1), (grid, 1), {})
        out[f"{name}, sform"] = ((grid, 0), (grid, 2), {})
        out[f"{name}, qform"] = ((grid, 1), (None, 0), {})
        out[f"{name}, template"] = ((grid, 4), (grid, 4), {})
    out["disagree"] = ((GRID, 1), (turned(), 2), {})
    out["disagree, mirrored"] = ((flip @ GRID, 1), (GRID, 1), {})
    out["neither"] = ((GRID, 0), (GRID, 0), {})
    out["neither, tilted"] = ((turned(), 0), (turned(), 0), {})
    out["rounded"] = ((GRID, 1), (sheared(0.001), 1), {})
    out["sheared"] = ((GRID, 1), (sheared(0.18), 1), {})
    out["sheared, sform alone"] = ((GRID, 0), (sheared(0.05), 1), {})
    metres, micro = np.diag([1e-3, 1e-3, 1e-3, 1]) @ turned(), np.diag([1e3, 1e3, 1e3, 1]) @ GRID
    out["metres"] = ((metres, 1), (metres, 1), {"xyzt_units": 1})
    out["micrometres"] = ((micro, 1), (micro, 1), {"xyzt_units": 3})
    out["metres, a slip"] = ((GRID, 1), (GRID, 1), {"xyzt_units": 1})
    out["no unit"] = ((GRID, 1), (GRID, 1), {"xyzt_units": 0})
    out["float32"] = ((GRID, 1), (GRID, 1), {"dtype": "f4"})
    out["float64"] = ((turned(), 1), (turned(), 1), {"dtype": "f8"})
    out["uint8"] = ((GRID, 1), (GRID, 1), {"dtype": "u1"})
    out["int32"] = ((GRID, 1), (GRID, 1), {"dtype": "i4"})
    out["scaled"] = ((GRID, 1), (GRID, 1), {"slope": (0.5, -3.0)})
    return out


def due_affine(name: str, path: Path) -> np.ndarray:
    """Where nibabel says the voxels lie, in mm."""
    affine = np.array(nibabel.load(path).affine)
    affine[:3] *= {"metres": 1e3, "micrometres": 1e-3}.get(name, 1.0)
    return affine


def test_there_are_forty_variants() -> None:
    assert len(variants()) == 40


@pytest.mark.parametrize("name", variants())
def test_five_landmarks_stay_in_every_output(tmp_path: Path, name: str) -> None:
    qform, sform, fields = variants()[name]
    voxels = ramp(SHAPE, fields.pop("dtype", "int16"))
    slope = fields.pop("slope", None)
    path = save(tmp_path / "a.nii", qform, sform, voxels, **fields)
    if slope:
        raw = bytearray(path.read_bytes())
        raw[112:120] = np.array(slope, "<f4").tobytes()
        path.write_bytes(raw)
    if "sheared" in name:
        refused(errors.ScanGeometryError, path, "degrees off the right angle")
        return
    due, scan = places(due_affine(name, path)), read_scan(path)
    np.testing.assert_allclose(places(scan.affine), due, atol=0.01)
    np.testing.assert_allclose(scan.voxels, voxels * slope[0] + slope[1] if slope else voxels)
    marks = np.zeros(SHAPE, np.uint16)
    marks[tuple(FIVE.astype(int).T)] = range(1, 6)
    with OutputFolder(tmp_path / "out") as out:
        for form in ("nifti", "nrrd"):
            out.volume("v", scan.voxels, scan, form)
        if name == "rounded":  # NIfTI and NRRD hold any matrix, DICOM right angles only
            with pytest.raises(errors.ScanGeometryError, match="right angles only"):
                Study(scan)
        else:
            Study(scan).write(out.file, "dicom", 1, marks, Label("v", "Landmarks."))
    np.testing.assert_allclose(places(np.array(nibabel.load(tmp_path / "out/v.nii.gz").affine)), due, atol=0.01)
    for name_out in ("v.nii.gz", "v.nrrd"):
        again = read_scan(tmp_path / "out" / name_out)
        np.testing.assert_allclose(places(again.affine), due, atol=0.01)
        assert np.array_equal(again.voxels, scan.voxels)
    if name == "rounded":
        return
    series = read_scan(tmp_path / "out" / "dicom")  # its axes are in another order
    found = [np.argwhere(series.voxels == n)[0] for n in range(1, 6)]
    np.testing.assert_allclose((series.affine @ np.c_[found, np.ones(5)].T)[:3], due, atol=0.01)
