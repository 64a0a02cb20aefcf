"""``cohort heal``: twelve scans on two workers, one of them corrupt."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from product_run import MAPS, MARK, Head, names, provenance, read_nifti, run, save_nifti, sha256, succeed, told

pytest.importorskip("distributed", reason="Cohorts need the extra: pip install .[cohort]")
pytestmark = pytest.mark.weights

SLICES = slice(9, 13)


@pytest.fixture(scope="module")
def scans(head: Head, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four slices of the head, twelve times, each with noise of its own and its mask on one slice; the 5th is cut."""
    folder = tmp_path_factory.mktemp("cohort") / "scans"
    folder.mkdir()
    affine = head.affine.copy()
    affine[:3, 3] = (head.affine @ [0, 0, SLICES.start, 1])[:3]
    mask = head.lesion[:, :, SLICES].astype(np.uint8)
    mask[:, :, [0, 2, 3]] = 0
    for i in range(12):
        noise = np.random.default_rng(i).integers(-9, 10, mask.shape)
        voxels = np.clip(head.voxels[:, :, SLICES] + noise, 0, None).astype(np.int16)
        save_nifti(folder / f"p{i:02d}_FLAIR.nii.gz", voxels, affine)
        save_nifti(folder / f"p{i:02d}_mask.nii.gz", mask, affine)
    cut = folder / "p04_FLAIR.nii.gz"
    cut.write_bytes(cut.read_bytes()[:2000])
    return folder


def test_twelve_scans_one_corrupt_on_two_workers(scans: Path, tmp_path: Path) -> None:
    options = (
        "--masks",
        "{subject}_mask.nii.gz",
        "--steps",
        1,
        "--workers",
        2,
        "--progress",
        "none",
        "--device",
        "cpu",
    )
    command = ("cohort", "heal", scans, "--out", tmp_path / "healed", *options)
    first = succeed(*command)
    assert "12 scans: 11 healed now, 0 by an earlier run, 1 failed" in first.out
    assert "Research use only" in first.out
    assert first.err.splitlines() == ["p04: ScanUnreadableError: p04_FLAIR.nii.gz is incomplete or damaged."]
    out = tmp_path / "healed"
    sound = {f"p{i:02d}" for i in range(12)} - {"p04"}
    assert names(out) == sound | {"cohort.json", "cohort.csv", "cohort.md"}
    for name in sound:
        assert names(out / name) == {f"{m}.nii.gz" for m in MAPS} | {"overview.png", "provenance.json"}
        assert provenance(out / name)["network_calls"]["slices_healed"] == 1
        assert MARK in read_nifti(out / name / "counterfactual.nii.gz").description
    rows = {row["scan"]: row for row in csv.DictReader((out / "cohort.csv").open(newline=""))}
    assert {name for name, row in rows.items() if row["status"] == "done"} == sound
    assert rows["p04"]["status"] == "failed"
    assert rows["p04"]["action"]
    assert str(scans) not in (out / "cohort.json").read_text() + (out / "cohort.md").read_text()

    before = {file: (sha256(file), file.stat().st_mtime_ns) for file in out.glob("p*/*")}
    again = succeed(*command)
    assert "12 scans: 0 healed now, 11 by an earlier run, 1 failed" in again.out
    assert {file: (sha256(file), file.stat().st_mtime_ns) for file in out.glob("p*/*")} == before


def test_what_makes_no_cohort_is_refused(scans: Path, tmp_path: Path) -> None:
    for code, name, options in (
        (3, "ScanNotFoundError", (scans, "--out", tmp_path / "o", "--modality", "T2", "--images", "{subject}_T2.nii")),
        (3, "ScanNotFoundError", (tmp_path / "nowhere", "--out", tmp_path / "o")),
        (2, "SettingsError", (scans, "--out", scans / "healed")),
        (2, "SettingsError", (scans, "--out", tmp_path / "o", "--method", "magic")),
        (4, "ModelNotFoundError", (scans, "--out", tmp_path / "o", "--model", "no-such-model")),
    ):
        told(run("cohort", "heal", *options), code, name)
    assert names(tmp_path) == set()


def test_a_cohort_without_a_result_is_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "scans"
    folder.mkdir()
    (folder / "a_FLAIR.nii.gz").write_bytes(b"nothing")
    result = run("cohort", "heal", folder, "--out", tmp_path / "healed", "--progress", "none", "--device", "cpu")
    assert result.code == 3
    assert "1 failed" in result.out
