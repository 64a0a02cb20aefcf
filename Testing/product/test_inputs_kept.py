"""Whatever the command and wherever its results go: inputs are as they were, byte by byte."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from dicom_series import oblique, write_series
from product_run import QUICK, Head, run, sha256, snapshot, succeed

from braindiffusion.errors import SettingsError
from braindiffusion.io.guard import inputs_kept
from braindiffusion.io.write import OutputFolder, complete

pytestmark = pytest.mark.weights
HEAL = ("--slices", "10:11", *QUICK)


@pytest.mark.parametrize("name", ["counterfactual", "mask", "edited", "saliency", "lesion", "anomaly"])
def test_healing_into_the_folder_of_its_input(head: Head, tmp_path: Path, name: str) -> None:
    scan = tmp_path / f"{name}.nii.gz"
    shutil.copy(head.scan, scan)
    before = snapshot(tmp_path)
    result = run("heal", scan, "--mask", head.mask, "--brain", head.brain, *HEAL, "--out", tmp_path)
    assert result.code == 2
    assert "given as input" in result.err
    assert snapshot(tmp_path) == before


def test_saliency_into_the_folder_of_its_input(head: Head, tmp_path: Path) -> None:
    scan = tmp_path / "saliency.nii.gz"
    shutil.copy(head.scan, scan)
    before = snapshot(tmp_path)
    assert run("saliency", scan, "--brain", head.brain, "--slices", "10:11", "--out", tmp_path).code == 2
    (tmp_path / "link").symlink_to(tmp_path)
    assert run("saliency", scan, "--brain", head.brain, "--slices", "10:11", "--out", tmp_path / "link").code == 2
    (tmp_path / "link").unlink()
    assert snapshot(tmp_path) == before


def test_deidentify_never_replaces_a_scan(head: Head, tmp_path: Path) -> None:
    scan = tmp_path / "case-001.nii.gz"
    shutil.copy(head.scan, scan)
    keep = ("--face", "keep")
    for options in (("--out", tmp_path), ("--out", tmp_path / "out", "--key", scan)):
        before = sha256(scan)
        result = run("deidentify", scan, *options, *keep)
        assert result.code in (2, 4), result.err
        assert sha256(scan) == before
    assert not (tmp_path / "out").exists()


def test_two_patients_are_never_mixed(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, depth in (("a", 16), ("b", 10)):
        voxels = rng.integers(0, 900, (20, 18, depth)).astype(np.uint16)
        write_series(tmp_path / name, voxels, oblique(), planted=False, PatientID=f"Patient{name}")
    succeed("deidentify", tmp_path / "a", "--out", tmp_path / "out", "--key", tmp_path / "key.csv", "--face", "keep")
    before = snapshot(tmp_path)
    for key in ("key2.csv", "key.csv"):
        again = run("deidentify", tmp_path / "b", "--out", tmp_path / "out", "--key", tmp_path / key, "--face", "keep")
        assert again.code == 4
        assert "copies of an earlier run" in again.err
    taken = run(
        "deidentify", tmp_path / "b", "--out", tmp_path / "new", "--key", tmp_path / "key.csv", "--face", "keep"
    )
    assert taken.code == 4
    assert "never replaced" in taken.err
    assert snapshot(tmp_path) == before


def test_the_guard_holds_for_every_writer(tmp_path: Path) -> None:
    (tmp_path / "scan.json").write_text("mine")
    (tmp_path / "weights").write_text("mine")
    with inputs_kept([tmp_path / "scan.json", tmp_path / "weights"]):
        with pytest.raises(SettingsError, match="would be replaced"), OutputFolder(tmp_path) as out:
            out.json("scan", {})
        with pytest.raises(SettingsError, match="would be replaced"), complete(tmp_path / "weights") as path:
            path.write_text("ours")
        with OutputFolder(tmp_path) as out:
            out.json("other", {})
    assert {p.name: p.read_text() for p in tmp_path.iterdir() if p.name != "other.json"} == {
        "scan.json": "mine",
        "weights": "mine",
    }
    with OutputFolder(tmp_path) as out:
        out.json("scan", {})  # outside a command nothing is guarded
    assert (tmp_path / "scan.json").read_text() != "mine"
