"""The README's promise, over all commands: whatever they are asked to write where, each input is as it was.

Every command is run so that its results would fall on what it was given: into the folder of its inputs, which bear the
names of its results, through links, onto a file. It may refuse or succeed; every byte that was there stays.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from dicom_series import oblique, write_series
from product_run import QUICK, Head, run, save_nifti, snapshot

from braindiffusion.cli.app import app

pytestmark = pytest.mark.weights
FAST = ("--slices", "10:11", "--model", "flair-healthy-128", *QUICK)
WRITES_NOTHING = {
    "check", "series", "models list", "models methods", "models info", "models verify", "study protocols", "view",
    "install-shortcut", "read",
}  # fmt: skip
"""Commands that are given nothing to write over: they tell, or (``view``, ``read``) keep what is asked in their own."""


def leaves(command: Any, names: tuple[str, ...] = ()) -> Iterator[str]:
    """Every command of the program."""
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from leaves(inner, (*names, name))
    else:
        yield " ".join(names)


class Inputs:
    """A folder of inputs, each under the name that a result would take there.

    Attributes:
        here: the folder; ``out`` leads to it through a link.
    """

    def __init__(self, head: Head, here: Path) -> None:
        self.head, self.here = head, here
        self.out = here.parent / "link"
        self.out.symlink_to(here)
        for name in ("counterfactual", "diseased", "saliency", "case-001"):
            shutil.copy(head.scan, here / f"{name}.nii.gz")
        for name, drawn in (
            ("mask", head.mask),
            ("lesion", head.mask),
            ("edited", head.brain),
            ("anomaly", head.brain),
        ):
            shutil.copy(drawn, here / f"{name}.nii.gz")
        (here / "case-001.json").write_text(json.dumps({"EchoTime": 0.1}))
        (here / "provenance.json").write_text(json.dumps({"scan": {}, "models": [], "settings": {}}))
        (here / "overview.png").write_bytes(b"a picture")
        (here / "strata.csv").write_text("name,stratum\ncounterfactual,a\n")
        voxels = np.random.default_rng(0).integers(0, 900, (20, 18, 6)).astype(np.uint16)
        write_series(here / "counterfactual", voxels, oblique(), planted=False)
        recipe = {
            "name": "mine", "task": "classifier", "modality": ["FLAIR"], "batch": 1, "iterations": 1,
            "data": {"kind": "packs", "packs": ["pack.npz"], "grid": 32, "select": "all"},
            "network": {"class": "Classifier", "args": {"widths": [4, 8]}}, "optimiser": {"lr": 0.001},
        }  # fmt: skip
        for name in ("config", "mine"):
            (here / f"{name}.json").write_text(json.dumps(recipe))
        sys.path.append(str(Path(__file__).parents[1] / "engine"))
        from tiny_training import write_pack

        write_pack(here / "pack.npz")
        (here / "dataset").mkdir()
        (here / "dataset" / "pairs.json").write_text("{}")
        (here / "own").mkdir()
        shutil.copy(head.scan, here / "own" / "x_FLAIR.nii.gz")
        for name in ("p", "counterfactual"):
            (here / "p").mkdir(exist_ok=True)
            save_nifti(here / "p" / f"{name}.nii.gz", head.voxels, head.affine)

    def scan(self, name: str) -> Path:
        return self.here / f"{name}.nii.gz"


Command = Callable[[Inputs], tuple[Any, ...]]
COMMANDS: list[tuple[str, Command]] = [
    ("heal", lambda i: ("heal", i.scan("counterfactual"), "--mask", i.scan("mask"), *FAST, "--out", i.here)),
    ("heal", lambda i: ("heal", i.head.scan, "--mask", i.scan("lesion"), *FAST, "--out", i.out)),
    ("heal", lambda i: ("heal", i.head.scan, "--box", i.head.box, "--brain", i.scan("edited"), *FAST, "--out", i.here)),
    ("heal", lambda i: ("heal", i.scan("mask"), "--box", i.head.box, *FAST, "--out", i.scan("mask"))),
    ("heal", lambda i: ("heal", i.here / "counterfactual", "--force", "--box", "5,5,2,9,9,3", "--model",
                        "flair-healthy-128", *QUICK, "--format", "dicom", "--out", i.here)),
    ("heal", lambda i: ("heal", i.here / "own" / "x_FLAIR.nii.gz", "--mask", i.head.mask, "--brain", i.head.brain,
                        *FAST, "--out", i.out / "own")),
    ("saliency", lambda i: ("saliency", i.scan("saliency"), "--slices", "10:11", "--progress", "none", "--out", i.out)),
    ("induce", lambda i: ("induce", i.scan("diseased"), "--kind", "stroke", "--lesion", i.scan("lesion"), "--method",
                          "mededit", *QUICK, "--resamples", 1, "--out", i.here)),
    ("induce", lambda i: ("induce", i.head.scan, "--kind", "stroke", "--lesion", i.head.mask, "--brain",
                          i.scan("diseased"), "--method", "mededit", *QUICK, "--resamples", 1, "--out", i.out)),
    ("deidentify", lambda i: ("deidentify", i.scan("case-001"), "--face", "keep", "--out", i.here)),
    ("deidentify", lambda i: ("deidentify", i.here, "--face", "keep", "--out", i.out)),
    ("deidentify", lambda i: ("deidentify", i.scan("mask"), "--face", "keep", "--out", i.here / "p", "--key",
                              i.scan("mask"))),
    ("deidentify", lambda i: ("deidentify", i.here / "p", "--face", "keep", "--out", i.here.parent / "fresh", "--key",
                              i.out / "p" / "p.nii.gz")),
    ("prepare", lambda i: ("prepare", i.here, "--images", "{subject}.nii.gz", "--out", i.here / "pack.npz", "--key",
                           i.scan("mask"), "--progress", "none")),
    ("prepare", lambda i: ("prepare", i.here / "p", "--out", i.here / "p" / "p.nii.gz", "--progress", "none")),
    ("pseudo-label", lambda i: ("pseudo-label", "--data", i.here / "pack.npz", "--out", i.out / "pack.npz")),
    ("train", lambda i: ("train", i.here / "config.json", "--data", i.here, "--out", i.here)),
    ("train", lambda i: ("train", i.out / "mine.json", "--data", i.here, "--out", i.here)),
    ("cohort heal", lambda i: ("cohort", "heal", i.here, "--out", i.here, "--workers", 1)),
    ("cohort heal", lambda i: ("cohort", "heal", i.here / "p", "--out", i.out, "--workers", 1)),
    ("study create", lambda i: ("study", "create", "--real", i.here, "--synthetic", f"a={i.here / 'p'}", "--protocol",
                                "realism", "--face", "keep", "--out", i.out, "--progress", "none")),
    ("study create", lambda i: ("study", "create", "--real", i.here / "p", "--synthetic", f"a={i.here / 'p'}",
                                "--protocol", "realism", "--face", "keep", "--strata", i.here / "strata.csv", "--key",
                                i.out / "strata.csv", "--out", i.here.parent / "fresh", "--progress", "none")),
    ("study analyse", lambda i: ("study", "analyse", i.here, "--key", i.here / "mine.json", "--out", i.out)),
    ("teach case", lambda i: ("teach", i.here, "--scan", i.scan("diseased"), "--title", "x", "--out", i.out)),
    ("teach index", lambda i: ("teach", "index", i.here)),
    ("models add", lambda i: ("models", "add", i.here / "mine.json")),
    ("demo", lambda i: ("demo", "--out", i.scan("mask"), "--progress", "none")),
    ("bench", lambda i: ("bench", "--out", i.scan("mask"))),
    *((f"evaluate {name}", lambda i, name=name: ("evaluate", name, "--data", i.here / "pack.npz", "--out",
                                                 i.here / "pack.npz"))
      for name in ("tune", "healing", "models", "induction", "tissue", "believable")),
    ("evaluate nnunet", lambda i: ("evaluate", "nnunet", "--dataset", i.here / "dataset", "--predictions", i.here,
                                   "--out", i.out)),
]  # fmt: skip


def test_no_command_is_left_out() -> None:
    assert {name for name, _ in COMMANDS} | WRITES_NOTHING == set(leaves(typer.main.get_command(app)))


@pytest.mark.parametrize("number", range(len(COMMANDS)), ids=[f"{n}-{name}" for n, (name, _) in enumerate(COMMANDS)])
def test_every_byte_that_was_there_stays(
    head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setenv("BRAINDIFFUSION_MODELS", str(tmp_path / "models"))
    here = tmp_path / "in"
    here.mkdir()
    inputs = Inputs(head, here)
    before = snapshot(here), snapshot(head.scan.parent)
    result = run(*COMMANDS[number][1](inputs))
    after = snapshot(here), snapshot(head.scan.parent)
    for old, new in zip(before, after, strict=True):
        assert {name: digest for name, digest in new.items() if name in old} == old
    assert result.code in (0, 2, 3, 4)
    assert result.code == 0 or "Do: " in result.err or "Usage: " in result.err
