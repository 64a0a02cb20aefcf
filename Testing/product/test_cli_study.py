"""``study create`` and ``study analyse`` as a user runs them; readers answer through BrainReaderStudy's session."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from product_run import names, run, save_nifti, snapshot, strict_json, succeed, told

ROOT = Path(__file__).resolve().parents[2]
for _folder in (ROOT, ROOT / "BrainReaderStudy"):
    if str(_folder) not in sys.path:
        sys.path.insert(0, str(_folder))

from BrainReaderStudyLib.session import Session, openStudy  # noqa: E402

QUIET = ("--progress", "none")


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """Folders real, mededit and palette, five small scans each."""
    rng = np.random.default_rng(0)
    for folder in ("real", "mededit", "palette"):
        (tmp_path / folder).mkdir()
        for i in range(5):
            name = f"{folder}{i}" if folder == "real" else f"sub{i}"
            voxels = rng.integers(0, 500, (6, 7, 3)).astype(np.int16)
            save_nifti(tmp_path / folder / f"{name}.nii.gz", voxels, np.diag([-1.0, 1.0, 5.0, 1.0]))
    return tmp_path


def create(inputs: Path, *more: Any, protocol: str = "realism") -> tuple[Any, ...]:
    return (
        "study", "create", "--real", inputs / "real", "--synthetic", inputs / "mededit", "--synthetic",
        f"pal={inputs / 'palette'}", "--protocol", protocol, "--out", inputs / "STUDY", "--face", "keep", *more, *QUIET,
    )  # fmt: skip


def read(study: Path, reader: str, most: int | None = None) -> None:
    session = Session(openStudy(study), reader, "script 1")
    while not session.finished and (most is None or session.answered < most):
        session.shown()
        session.record({"realism": (session.current.position + ord(reader[-1])) % 5})
    session.close()


def test_a_study_from_its_folders_to_its_report(inputs: Path) -> None:
    done = succeed(*create(inputs, "--readers", "3", "--repeats", "2", "--per-method", 4))
    assert "mededit             4 cases" in done.out
    assert "pal                 4 cases" in done.out
    assert "14 to read, for each of 3 readers" in done.out
    assert "with 80% power" in done.out
    assert names(inputs / "STUDY") == {"study.json", "cases"}
    assert (inputs / "STUDY-key.json").is_file()
    for reader in ("R1", "R2", "R3"):
        read(inputs / "STUDY", reader)
    done = succeed("study", "analyse", inputs / "STUDY", "--out", inputs / "out")
    assert "Methods against each other: " in done.out
    assert names(inputs / "out") == {"report.html", "results.json", "tables", "figures"}
    results = strict_json((inputs / "out" / "results.json").read_text())
    assert results["counts"] == {"mededit": {"all": 4}, "pal": {"all": 4}, "real": {"all": 4}}
    assert "Research use only" in done.out


def test_a_study_that_is_not_finished_is_not_unblinded(inputs: Path) -> None:
    succeed(*create(inputs))
    read(inputs / "STUDY", "R1", most=3)
    before = snapshot(inputs)
    told(run("study", "analyse", inputs / "STUDY", "--out", inputs / "out"), 3, "UnfinishedStudyError")
    assert snapshot(inputs) == before
    done = succeed("study", "analyse", inputs / "STUDY", "--out", inputs / "out", "--interim")
    assert done.out.startswith("INTERIM")


def test_no_key_no_analysis(inputs: Path) -> None:
    succeed(*create(inputs, "--key", inputs / "safe" / "labels.json"))
    read(inputs / "STUDY", "R1")
    analyse = ("study", "analyse", inputs / "STUDY", "--out", inputs / "out")
    before = snapshot(inputs)
    told(run(*analyse), 3, "StudyKeyError")
    assert snapshot(inputs) == before
    succeed(*analyse, "--key", inputs / "safe" / "labels.json")


@pytest.mark.parametrize(
    ("more", "code", "error"),
    [
        (("--per-method", 6), 3, "StudyError"),
        (("--readers", "R1,R1"), 2, "SettingsError"),
        (("--lesion-ml", "5,2"), 2, "SettingsError"),
        (("--prior", "nowhere"), 2, "SettingsError"),
        (("--synthetic", "pal=elsewhere"), 3, "StudyError"),
        (("--strata", "nowhere.csv"), 3, "StudyError"),
    ],
)
def test_refusals_leave_nothing_behind(inputs: Path, more: tuple[Any, ...], code: int, error: str) -> None:
    before = snapshot(inputs)
    told(run(*create(inputs, *more)), code, error)
    assert snapshot(inputs) == before


def test_an_unknown_protocol_names_those_there_are(inputs: Path) -> None:
    result = run(*create(inputs, protocol="beauty"))
    told(result, 2, "StudyProtocolError")
    listed = succeed("study", "protocols").out
    for line in listed.splitlines():
        assert line.split()[0] in result.err


def test_a_protocol_of_ones_own(inputs: Path) -> None:
    protocol = {
        "format": "braindiffusion-protocol", "version": 1, "name": "mine", "title": "Mine", "instructions": "Look.",
        "show": "single", "questions": [
            {"id": "kind", "prompt": "What is it?", "type": "choice", "options": [
                {"value": "a", "label": "A", "definition": "first"},
                {"value": "b", "label": "B", "definition": "second"},
            ]},
        ],
    }  # fmt: skip
    (inputs / "mine.json").write_text(json.dumps(protocol))
    succeed(*create(inputs, protocol=str(inputs / "mine.json")))
    session = Session(openStudy(inputs / "STUDY"), "R1", "script 1")
    while not session.finished:
        session.shown()
        session.record({"kind": "a"})
    succeed("study", "analyse", inputs / "STUDY", "--out", inputs / "out")
    counts = (inputs / "out" / "tables" / "kind_counts.csv").read_text().splitlines()
    assert counts == ["method,answer,times", "mededit,a,5", "pal,a,5", "real,a,5"]


def test_making_and_analysing_a_study_needs_no_torch(inputs: Path) -> None:
    succeed(*create(inputs))
    read(inputs / "STUDY", "R1")
    script = (
        "import sys\nfrom braindiffusion.cli.app import app\n"
        "for arguments in (['study', '--help'], ['study', 'create', '--help']):\n"
        "    try: app(arguments)\n    except SystemExit as done: assert not done.code\n"
        "assert not {'torch', 'scipy', 'matplotlib', 'numpy'} & set(sys.modules)\n"
        f"try: app(['study', 'analyse', {str(inputs / 'STUDY')!r}, '--out', {str(inputs / 'out')!r}])\n"
        "except SystemExit as done: assert not done.code\n"
        "assert 'scipy' in sys.modules and 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
