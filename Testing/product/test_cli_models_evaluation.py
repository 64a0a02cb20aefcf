"""The command ``evaluate models``."""

from __future__ import annotations

from pathlib import Path

import pytest
from product_run import Head, names, picture_mark, refused, run, strict_json, succeed, told
from test_cli_misc import write_pack

QUIET = ("--progress", "none", "--device", "cpu", "--limit", 2, "--threads", 1)


@pytest.fixture
def data(head: Head, tmp_path: Path) -> Path:
    """A folder with a pack under the names the shipped recipes ask for."""
    for name in ("lgg_flair_256", "soop_flair_axial_1mm"):
        write_pack(tmp_path / "data" / f"{name}.npz", head)
    return tmp_path / "data"


@pytest.mark.weights
def test_models_are_measured_and_the_cards_keep_it(data: Path, own_models: Path, tmp_path: Path) -> None:
    command = ("evaluate", "models", "--data", data, "--out", tmp_path / "out", *QUIET)
    chosen = "flair-acat-classifier,flair-acat-autoencoder"
    result = succeed(*command, "--models", chosen, "--split", "test", "--write")
    assert names(tmp_path / "out") == {
        "models.json", "models.md", "flair-acat-classifier.png", "flair-acat-autoencoder.png",
    }  # fmt: skip
    assert "Split **test**" in result.out
    facts = strict_json((tmp_path / "out" / "models.json").read_text(encoding="utf-8"))
    assert set(facts["models"]) == set(chosen.split(","))
    assert facts["split"] == "test"
    card = strict_json((own_models / "flair-acat-autoencoder.json").read_text())
    assert card["evaluation"]["test"]["numbers"] == facts["models"]["flair-acat-autoencoder"]["numbers"]
    assert "mean squared error" in card["evaluation"]["test"]["definitions"]["mse"]
    assert succeed("models", "verify", "flair-acat-autoencoder").code == 0
    assert picture_mark(tmp_path / "out" / "flair-acat-autoencoder.png").startswith("SYNTHETIC")


def test_what_cannot_be_measured_is_refused(data: Path, tmp_path: Path) -> None:
    command = ("evaluate", "models", "--data", data, *QUIET)
    told(run(*command, "--out", tmp_path / "out", "--models", "no-such-model"), 4, "ModelNotFoundError")
    assert run(*command, "--out", tmp_path / "out", "--split", "train").code == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.weights
def test_missing_data_is_3(tmp_path: Path) -> None:
    refused(tmp_path, 3, "PackError", "evaluate", "models", "--data", tmp_path, "--models", "brain-mask", *QUIET)
