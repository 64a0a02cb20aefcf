"""check and series: what is said of an input before anything is done, and the seam of a drawn mask."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dicom_series import oblique, write_series
from product_run import QUICK, Head, provenance, read_nifti, run, save_nifti, succeed

pytestmark = pytest.mark.weights


def test_the_page_of_a_scan_and_its_mask(head: Head) -> None:
    page = succeed("check", head.scan, "--mask", head.mask, "--brain", head.brain).out
    for fact in (
        "NIfTI",
        "by its sform, code",
        "FLAIR, by its name",
        "litres, as given",
        "mL",
        "Nothing speaks against",
    ):
        assert fact in page
    assert head.scan.name not in page
    assert str(head.scan.parent) not in page


def test_the_page_says_what_would_be_refused(head: Head, tmp_path: Path) -> None:
    voxels = np.where(read_nifti(head.mask).voxels > 0, 1, -1).astype("<i2")
    mask = save_nifti(tmp_path / "Mustermann_mask.nii.gz", voxels, head.affine)
    result = run("check", head.scan, "--mask", mask, "--brain", head.brain)
    assert result.code == 3
    assert "MaskValueError: the file does not say what of it is mask." in result.out
    assert "It holds -1, 1" in result.out
    assert "Mustermann" not in result.out
    (tmp_path / "cut.nii").write_bytes(b"\x5c\x01\0\0")
    broken = run("check", tmp_path / "cut.nii")
    assert broken.code == 3
    assert "REFUSED. ScanUnreadableError" in broken.out


def test_the_list_of_series(tmp_path: Path) -> None:
    voxels = np.arange(6 * 5 * 4, dtype=np.uint16).reshape(6, 5, 4)
    write_series(tmp_path / "a", voxels, oblique(), planted=False)
    write_series(tmp_path / "b", voxels, oblique(), planted=False, SeriesDescription="t1 mprage")
    (tmp_path / "b" / "001.dcm").unlink()
    page = succeed("series", tmp_path).out
    assert "t2 flair" in page
    assert "FLAIR" in page
    assert "t1 mprage" in page
    assert "14.00" in page  # mm from one slice to the next, where one is missing
    assert run("series", tmp_path / "none").code == 3


@pytest.mark.parametrize("margin", [(), ("--margin-mm", 0)])
def test_a_drawn_mask_holds_every_change(head: Head, tmp_path: Path, margin: tuple[object, ...]) -> None:
    command = ("heal", head.scan, "--mask", head.mask, "--brain", head.brain, "--slices", "10:12", *QUICK, *margin)
    succeed(*command, "--out", tmp_path)
    after, mask, edited = (read_nifti(tmp_path / f"{n}.nii.gz").voxels for n in ("counterfactual", "mask", "edited"))
    changed = after != head.voxels
    assert changed.any()
    assert not (changed & (mask == 0)).any()
    assert not (changed & (edited == 0)).any()
    drawn = read_nifti(head.mask).voxels > 0
    facts = provenance(tmp_path)["check"]
    assert facts["changed_outside_mask"] == 0
    assert facts["changed_outside_drawn"] == (changed & ~drawn).sum()
    if margin:
        assert facts["changed_outside_drawn"] == 0
