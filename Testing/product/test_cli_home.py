"""``~`` in what a command is given: a home, or nothing that is found; never a traceback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from product_run import run, snapshot, succeed, told

from braindiffusion import errors
from braindiffusion.export.teaching.case import FORMAT, PAGE, RECORD, THUMBNAIL, VERSION

CASES = [
    ("ScanNotFoundError", ("heal", "{}/a.nii.gz", "--out=out")),
    ("ScanNotFoundError", ("deidentify", "{}/a.nii.gz", "--out=out")),
    ("ModelNotFoundError", ("models", "add", "{}/a.json")),
    ("StudyError", ("study", "analyse", "{}/study", "--out=out")),
    ("StudyError", ("study", "create", "--protocol=realism", "--synthetic=a={}/a", "--real={}/b", "--out=out")),
    ("StudyProtocolError", ("study", "create", "--protocol={}/a.json", "--synthetic=a", "--out=out")),
    ("RecipeError", ("train", "{}/a.json", "--data=.", "--out=out")),
]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, where the commands run."""
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("owner", ["~", "~nobody-of-that-name"])
@pytest.mark.parametrize(("error", "arguments"), CASES)
def test_what_is_not_in_a_home_is_not_found(home: Path, error: str, arguments: tuple[str, ...], owner: str) -> None:
    told(run(*(text.format(owner) for text in arguments)), getattr(errors, error).exit_code, error)
    assert not snapshot(home)


def test_a_folder_at_home_is_read_and_written(home: Path) -> None:
    case = home / "cases" / "one"
    case.mkdir(parents=True)
    facts = {"format": FORMAT, "version": VERSION, "title": "One", "modality": "FLAIR", "kind": ""}
    (case / RECORD).write_text(json.dumps(facts))
    (case / PAGE).write_text("")
    (case / THUMBNAIL).write_bytes(b"\x89PNG")
    assert str(home / "cases" / "index.html") in succeed("teach", "index", "~/cases").out
    assert (home / "cases" / "index.html").is_file()
