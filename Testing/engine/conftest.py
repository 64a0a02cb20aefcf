"""Engine tests: one thread, and no model of the person who runs them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

if TYPE_CHECKING:
    from person_scans import Phantom

    from braindiffusion.volume.scan import Scan


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Small tensors are quicker on one thread, and sums come out the same on any machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def no_user_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in place of the user's own models; returns where it would be."""
    folder = tmp_path / "user-models"
    monkeypatch.setenv("BRAINDIFFUSION_MODELS", str(folder))
    return folder


@pytest.fixture(scope="module")
def small_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small healthy model of random weights."""
    from healing_models import add_model

    made = tmp_path_factory.mktemp("models")
    add_model(made, "flair-healthy-128", 64)
    return made


@pytest.fixture
def small_network(small_models: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The models of ``small_models`` in place of the shipped ones."""
    from braindiffusion.models.registry import release

    monkeypatch.setenv("BRAINDIFFUSION_MODELS", str(small_models))
    yield
    release()


@pytest.fixture
def nothing_loaded() -> Iterator[None]:
    """No network in memory, before and after."""
    from braindiffusion.models.registry import release

    release()
    yield
    release()


@pytest.fixture(scope="module")
def study_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Six scans of each of two methods, real ones and priors."""
    from sealing import scans_of_methods

    return scans_of_methods(tmp_path_factory.mktemp("scans"))


@pytest.fixture(scope="module")
def simulated_folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 real scans, and 20 of each of four methods on the same subjects."""
    from simulated_readers import scans_of_methods

    return scans_of_methods(tmp_path_factory.mktemp("scans"))


@pytest.fixture(scope="module")
def quick_disk() -> Iterator[None]:
    """Hundreds of answers: whether each is flushed is tested elsewhere."""
    from simulated_readers import without_flushing

    with without_flushing():
        yield


@pytest.fixture(scope="module")
def finished(quick_disk: None, simulated_folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100 cases and 10 repeats graded by three readers, A in three sittings. Not unblinded: copy it."""
    from simulated_readers import read_by_all, seal

    return read_by_all(seal(simulated_folders, tmp_path_factory.mktemp("realism") / "STUDY", "realism"))


@pytest.fixture
def known_brain(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network is not asked: the brain of a phantom is an ellipsoid; what is no phantom has none."""
    from person_scans import brain_of

    monkeypatch.setattr("braindiffusion.training.prepare.find_brain", brain_of)


@pytest.fixture
def phantom(head_phantom: Scan) -> Phantom:
    """Voxels and lesion of a person: the head with noise of its own, on the left for odd numbers, or healthy."""
    from person_scans import persons

    return persons(head_phantom)


@pytest.fixture
def cohort(tmp_path: Path, phantom: Phantom, head_phantom: Scan) -> Path:
    """Six persons, every third healthy: ``<name>_FLAIR.nii.gz`` and ``<name>_mask.nii.gz``."""
    from person_scans import six_persons

    return six_persons(tmp_path / "scans", phantom, head_phantom.affine)
