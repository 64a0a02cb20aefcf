"""Engine tests: one thread, and no model of the person who runs them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch


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
