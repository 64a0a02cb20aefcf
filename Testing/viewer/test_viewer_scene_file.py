"""A scene and its record appear together, or neither does."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

RESULT = SimpleNamespace(order=1, provenance={"seed": 3})
NAMES = ["SYNTHETIC_head_1.mrb", "SYNTHETIC_head_1_provenance.json"]


def whole(path: Path) -> bool:
    path.write_bytes(b"a scene")
    return True


def half(path: Path) -> bool:
    path.write_bytes(b"a sc")
    return False


def nothing(path: Path) -> bool:
    return True


def full_disk(path: Path) -> bool:
    path.write_bytes(b"a sc")
    raise OSError(28, os.strerror(28), str(path))


@pytest.fixture
def save(viewer_packages: None, monkeypatch: pytest.MonkeyPatch) -> Callable:
    """``save(write, folder)``: the scene is written by a stand-in."""
    import slicer
    from BrainViewerLib.controllers.saving import Saving

    def run(write: Callable[[Path], bool], folder: Path) -> list[Path]:
        manager = SimpleNamespace(saveNodes=lambda kind, properties: write(Path(properties["fileName"])))
        monkeypatch.setattr(slicer, "app", SimpleNamespace(coreIOManager=lambda: manager), raising=False)
        state, unused = SimpleNamespace(mode="heal", scan_name="head"), SimpleNamespace()
        return Saving(state, unused, unused, unused, {}, folder.parent)._write_scene(RESULT, folder)

    return run


def test_both_are_written(save: Callable, tmp_path: Path) -> None:
    assert save(whole, tmp_path / "out") == [tmp_path / "out" / name for name in NAMES]
    assert (tmp_path / "out" / NAMES[0]).read_bytes() == b"a scene"
    assert json.loads((tmp_path / "out" / NAMES[1]).read_text()) == RESULT.provenance


@pytest.mark.parametrize("write", [half, nothing, full_disk])
def test_a_scene_that_fails_leaves_neither(save: Callable, tmp_path: Path, write: Callable) -> None:
    from braindiffusion.errors import OutputError

    with pytest.raises(OutputError, match="cannot be written"):
        save(write, tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_cannot_take_its_place_leaves_neither(
    save: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Of an earlier result in the folder, both stay."""
    from braindiffusion.errors import OutputError

    save(whole, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr(RESULT, "provenance", {"seed": 4})
    real = os.replace

    def replace(source: Path, place: Path) -> None:
        if Path(place) == tmp_path / name:
            monkeypatch.setattr(os, "replace", real)
            raise OSError(13, os.strerror(13), str(place))
        real(source, place)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(OutputError, match="cannot be written"):
        save(whole, tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
