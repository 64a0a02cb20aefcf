"""Whole-product tests: the commands as a user runs them, on a simulated head, with a frozen copy of the models."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from product_run import Head, save_nifti, sha256

from braindiffusion.models.registry import release
from braindiffusion.volume.scan import Scan

SHIPPED = Path(__file__).resolve().parents[2] / "Resources" / "Models"


def copy_models(target: Path) -> None:
    """Cards with the weights they belong to: a training may be replacing a pair at this moment."""
    for card in sorted(SHIPPED.glob("*.json")):
        for _ in range(3):
            shutil.copy(card, target)
            weights = json.loads((target / card.name).read_text())
            shutil.copy(card.parent / weights["weights"], target)
            if sha256(target / weights["weights"]) == weights["sha256"]:
                break


@pytest.fixture(scope="session")
def frozen_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped models as they were when the tests began."""
    folder = tmp_path_factory.mktemp("models")
    copy_models(folder)
    return folder


@pytest.fixture(scope="session")
def given_away(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All that is given away, as ``tools/make_release.py`` makes it."""
    pytest.importorskip("hatchling", reason="hatchling builds the wheel; it comes with the test extra.")
    sys.path.append(str(SHIPPED.parents[1] / "tools"))
    import make_release

    folder = tmp_path_factory.mktemp("given away") / "release"
    make_release.make(folder, "5.12")
    return folder


@pytest.fixture(scope="module", autouse=True)
def steady(frozen_models: Path) -> Iterator[None]:
    """The same models for all tests, one thread, plain text: what two runs of a command share."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BRAINDIFFUSION_MODELS", str(frozen_models))
        patch.setenv("TERM", "dumb")
        patch.delenv("FORCE_COLOR", raising=False)
        release()
        yield
        release()
    torch.set_num_threads(threads)


@pytest.fixture
def own_models(tmp_path_factory: pytest.TempPathFactory, frozen_models: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's models folder that a test may spoil."""
    folder = tmp_path_factory.mktemp("own") / "models"
    shutil.copytree(frozen_models, folder)
    monkeypatch.setenv("BRAINDIFFUSION_MODELS", str(folder))
    return folder


@pytest.fixture(scope="session")
def head(head_phantom: Scan, tmp_path_factory: pytest.TempPathFactory) -> Head:
    """The head phantom in a folder whose name has a space and an umlaut."""
    folder = tmp_path_factory.mktemp("head") / "Köpfe 1"
    folder.mkdir()
    affine = head_phantom.affine
    at = np.indices(head_phantom.voxels.shape).reshape(3, -1)
    x, y, z = affine[:3, :3] @ at + affine[:3, 3:]
    shape = head_phantom.voxels.shape
    lesion = (((x - 34) / 15) ** 2 + ((y - 18) / 17) ** 2 + ((z - 12) / 15) ** 2 < 1).reshape(shape)
    brain = ((x / 66) ** 2 + (y / 84) ** 2 + (z / 68) ** 2 < 1).reshape(shape)
    return Head(
        save_nifti(folder / "head_FLAIR.nii.gz", head_phantom.voxels, affine),
        save_nifti(folder / "drawn.nii.gz", lesion.astype(np.uint8), affine),
        save_nifti(folder / "brain.nii.gz", brain.astype(np.uint8), affine),
        "18,34,10,28,46,12",
        head_phantom.voxels,
        lesion,
        affine,
    )
