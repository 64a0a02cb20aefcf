"""The command ``prepare``, and a training on what it makes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from product_run import Head, refused, run, save_nifti, snapshot, strict_json, succeed, told

from braindiffusion.training.packs import load_pack

QUIET = ("--progress", "none", "--device", "cpu")
PEOPLE = ("anna", "bela", "carl")
RECIPE = {
    "name": "mine", "task": "classifier", "modality": ["FLAIR"],
    "data": {"kind": "packs", "packs": ["ours.npz"], "grid": 32, "select": "all"},
    "network": {"class": "Classifier", "args": {"widths": [4, 8]}},
    "optimiser": {"lr": 0.001}, "batch": 2, "iterations": 3,
}  # fmt: skip


@pytest.fixture
def scans(head: Head, tmp_path: Path) -> Path:
    """The head three times, each with noise of its own, and its mask."""
    folder = tmp_path / "Unsere Köpfe"
    folder.mkdir()
    for i, name in enumerate(PEOPLE):
        noise = np.random.default_rng(i).integers(-9, 10, head.voxels.shape)
        voxels = np.clip(head.voxels + noise, 0, None).astype(np.int16)
        save_nifti(folder / f"{name}_FLAIR.nii.gz", voxels, head.affine)
        save_nifti(folder / f"{name}_mask.nii.gz", head.lesion.astype(np.uint8), head.affine)
    return folder


@pytest.mark.weights
def test_prepare_makes_a_pack_that_trains(scans: Path, tmp_path: Path) -> None:
    pytest.importorskip("lightning_fabric", reason="Training needs the extra: pip install .[train]")
    result = succeed("prepare", scans, "--out", tmp_path / "data" / "ours.npz", "--size", 128, *QUIET)
    lines = [line.split() for line in result.out.splitlines()]
    assert lines[0][0] == "split"
    assert [line[:2] for line in lines[1:5]] == [["train", "1"], ["val", "1"], ["test", "1"], ["all", "3"]]
    assert "Research use only" in result.out
    assert not any(name in result.out + result.err for name in PEOPLE)
    pack = load_pack(tmp_path / "data" / "ours.npz")
    assert set(pack.patient.tolist()) == {"p0001", "p0002", "p0003"}
    assert pack.masks.any((1, 2)).sum() == int(lines[4][4])
    (tmp_path / "mine.json").write_text(json.dumps(RECIPE))
    command = ("train", tmp_path / "mine.json", "--data", tmp_path / "data", "--device", "cpu")
    records = [strict_json(line) for line in succeed(*command, "--out", tmp_path / "run").out.splitlines()]
    assert records[-1]["iteration"] == 3


@pytest.mark.weights
def test_prepare_with_patterns_names_and_a_split_of_ones_own(scans: Path, tmp_path: Path) -> None:
    options = ("--images", "*_FLAIR.nii.gz", "--masks", "{subject}_mask.nii.gz", "--split", "0.5,0.5,0", "--names")
    succeed("prepare", scans, "--out", tmp_path / "ours.npz", "--size", 64, *options, *QUIET)
    pack = load_pack(tmp_path / "ours.npz")
    assert set(pack.patient.tolist()) == set(PEOPLE)
    assert set(pack.split.tolist()) == {"train", "val"}


@pytest.mark.weights
def test_prepare_says_what_it_left_out(scans: Path, tmp_path: Path) -> None:
    bad = scans / "bela_FLAIR.nii.gz"
    bad.write_bytes(bad.read_bytes()[:400])
    before = snapshot(tmp_path)
    told(run("prepare", scans, "--out", tmp_path / "ours.npz", *QUIET), 3, "ScanUnreadableError")
    assert snapshot(tmp_path) == before
    result = succeed("prepare", scans, "--out", tmp_path / "ours.npz", "--size", 64, "--skip-bad", *QUIET)
    assert f"Left out: {bad}" in result.err
    assert len(set(load_pack(tmp_path / "ours.npz").patient.tolist())) == 2


@pytest.mark.weights
def test_prepare_writes_the_key_only_where_asked(scans: Path, tmp_path: Path) -> None:
    succeed("prepare", scans, "--out", tmp_path / "o" / "ours.npz", "--size", 64, "--key", tmp_path / "k.csv", *QUIET)
    rows = sorted(line.split(",") for line in (tmp_path / "k.csv").read_text().splitlines()[1:])
    assert [row[0] for row in rows] == ["p0001", "p0002", "p0003"]
    assert {row[1] for row in rows} == set(PEOPLE)
    assert [f.name for f in (tmp_path / "o").iterdir()] == ["ours.npz"]


def test_prepare_refuses_what_makes_no_cohort(scans: Path, tmp_path: Path, head: Head) -> None:
    def fails(code: int, name: str, *options: object) -> None:
        before = snapshot(tmp_path)
        told(run("prepare", scans, "--out", tmp_path / "ours.npz", *options, *QUIET), code, name)
        assert snapshot(tmp_path) == before

    fails(3, "ScanNotFoundError", "--images", "{subject}_T9.nii.gz")
    fails(3, "ScanNotFoundError", "--masks", "{subject}_lesion.nii.gz")
    fails(2, "SettingsError", "--images", "scan.nii.gz")
    fails(2, "SettingsError", "--split", "most")
    fails(2, "SettingsError", "--split", "0.9,0.9,0.9")
    fails(2, "SettingsError", "--size", 100)
    fails(2, "SettingsError", "--names", "--key", tmp_path / "key.csv")
    (scans / "carl_mask.nii.gz").unlink()
    fails(3, "CohortError")
    half_a_voxel = np.eye(4)
    half_a_voxel[0, 3] = 0.5
    save_nifti(scans / "anna_mask.nii.gz", head.lesion.astype(np.uint8), head.affine @ half_a_voxel)
    fails(3, "MaskGeometryError", "--without-mask", "healthy")
    save_nifti(scans / "carl_FLAIR.nii", head.voxels, head.affine)
    fails(3, "CohortError", "--without-mask", "healthy")


def test_prepare_refuses_another_ending(scans: Path, tmp_path: Path) -> None:
    refused(tmp_path, 2, "SettingsError", "prepare", scans, *QUIET)
