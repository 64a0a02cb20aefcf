"""The command ``pseudo-label``: a pack with masks that nobody drew, or an error and nothing."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from product_run import Head, run, snapshot, succeed, told

from braindiffusion.training.packs import load_pack

QUIET = ("--progress", "none", "--device", "cpu", "--threads", 1, "--steps", 2)


@pytest.fixture
def data(head: Head, tmp_path: Path) -> Path:
    """Six slices of the head as a pack, twice: a patient of train and one of test."""
    middle = np.nonzero(head.lesion.any((0, 1)))[0]
    chosen = slice(middle[0] - 2, middle[0] + 4)
    images = np.clip(head.voxels[..., chosen].transpose(2, 1, 0)[:, ::-1] / 4, 0, 255).astype(np.uint8)
    masks = head.lesion[..., chosen].transpose(2, 1, 0)[:, ::-1] > 0
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "ours.npz"
    np.savez_compressed(
        path, flair=np.tile(images, (2, 1, 1)), mask_bits=np.packbits(np.tile(masks, (2, 1, 1)), axis=-1),
        width=masks.shape[-1], patient=np.repeat([0, 1], 6), patients=np.array(["a", "b"]),
        slice=np.tile(np.arange(6), 2), split=np.array(["train", "test"]), pitch_mm=3.0,
    )  # fmt: skip
    return path


@pytest.mark.weights
def test_a_pack_of_masks_that_nobody_drew(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "pseudo.npz"
    result = succeed("pseudo-label", "--data", data, "--out", out, "--agreement", 0, *QUIET)
    assert "Research use only" in result.out
    assert result.out.startswith("train: 2 slices healthy, ")
    pack = load_pack(out)
    assert set(pack.patient.tolist()) == {"a"}
    assert set(pack.split.tolist()) == {"train"}
    healthy = ~load_pack(data).masks[:6].any((1, 2))
    assert not (pack.masks | pack.unsure)[healthy].any()
    assert (pack.masks | pack.unsure)[~healthy].any((1, 2)).all()
    with (tmp_path / "new" / "pseudo.csv").open() as handle:
        states = [row["state"] for row in csv.DictReader(handle)]
    assert [state == "healthy" for state in states] == healthy.tolist()


@pytest.mark.weights
@pytest.mark.parametrize(
    ("options", "code", "name"),
    [
        (("--out", "new/pseudo.txt"), 2, "SettingsError"),
        (("--out", "new/pseudo.npz", "--splits", "train,test"), 2, "SettingsError"),
        (("--out", "new/pseudo.npz", "--agreement", 7), 2, "SettingsError"),
        (("--out", "new/pseudo.npz", "--segmenter", "nobody"), 4, "ModelNotFoundError"),
        (("--out", "new/pseudo.npz", "--splits", "val"), 3, "PackError"),
        (("--out", "data/ours.npz"), 2, "SettingsError"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple, code: int, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    before = snapshot(tmp_path)
    told(run("pseudo-label", "--data", data, *options, *QUIET), code, name)
    assert snapshot(tmp_path) == before
