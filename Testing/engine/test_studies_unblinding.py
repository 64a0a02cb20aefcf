"""A study is unblinded only when it may be: finished, whole, with its own key; and that is recorded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import study_helpers
from simulated_readers import READERS, Readers, copied, seal

from braindiffusion.errors import AnswersError, BrainDiffusionError, OutputError, StudyKeyError, UnfinishedStudyError
from braindiffusion.studies.analyse import analyse_study

pytestmark = pytest.mark.usefixtures("quick_disk")


# --- unblinding ---


def test_the_key_is_used_at_the_end_only_and_it_is_recorded(finished: Path, tmp_path: Path) -> None:
    study = copied(finished, tmp_path)
    analyse_study(study)
    (line,) = (study / "unblinded.jsonl").read_text().splitlines()
    told = json.loads(line)
    assert told["final"] is True
    assert told["answered"] == {"A": 110, "B": 110, "C": 110}
    with pytest.raises(study_helpers.Problem, match="unblinded"):
        study_helpers.read(study, "A", Readers(0).realism)
    assert len(analyse_study(study).facts["unblinded"]) == 2


def test_unfinished_studies_stay_blinded_unless_asked(simulated_folders: Path, tmp_path: Path) -> None:
    study = seal(simulated_folders, tmp_path / "S", "realism", repeats=0, per_method=4)
    with pytest.raises(UnfinishedStudyError, match="no answers"):
        analyse_study(study, interim=True)
    readers = Readers(1)
    study_helpers.read(study, "A", readers.realism)
    study_helpers.read(study, "B", readers.realism, most=9)
    with pytest.raises(UnfinishedStudyError, match="Not all readers") as caught:
        analyse_study(study)
    assert "B 9 of 20, C 0 of 20" in caught.value.why
    assert not (study / "unblinded.jsonl").exists()
    early = analyse_study(study, interim=True)
    assert early.facts["final"] is False
    assert early.sections[0].text[0].startswith("INTERIM")
    assert sum(row["cases"] for row in early.table("realism_methods")) == 9
    assert study_helpers.read(study, "B", readers.realism) == 11, "an interim look does not close the study"


def bad_no_key(study: Path) -> None:
    (study.parent / "STUDY-key.json").unlink()


def bad_changed_key(study: Path) -> None:
    path = study.parent / "STUDY-key.json"
    path.write_bytes(path.read_bytes().replace(b'"naive"', b'"nieve"'))


def bad_answer(study: Path) -> None:
    path = study / "answers" / "B-001.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"realism":0', b'"realism":4', 1))


def bad_scan(study: Path) -> None:
    next((study / "cases").iterdir()).write_bytes(b"other")


def bad_study(study: Path) -> None:
    path = study / "study.json"
    path.write_bytes(path.read_bytes().replace(b'"title": "Realism', b'"title": "realism'))


def bad_stray_reader(study: Path) -> None:
    shutil.copy(study / "answers" / "B-001.jsonl", study / "answers" / "Z-001.jsonl")


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        (bad_no_key, StudyKeyError),
        (bad_changed_key, StudyKeyError),
        (bad_answer, AnswersError),
        (bad_scan, BrainDiffusionError),
        (bad_study, AnswersError),
        (bad_stray_reader, AnswersError),
    ],
)
def test_what_was_changed_is_refused_and_stays_blinded(
    finished: Path, tmp_path: Path, damage: Any, error: type[BrainDiffusionError]
) -> None:
    study = copied(finished, tmp_path)
    damage(study)
    with pytest.raises(error) as caught:
        analyse_study(study, out=tmp_path / "out")
    assert caught.value.action
    assert not (study / "unblinded.jsonl").exists()
    assert not (tmp_path / "out").exists()


def test_the_key_of_another_study_is_refused(finished: Path, simulated_folders: Path, tmp_path: Path) -> None:
    study = copied(finished, tmp_path)
    other = seal(simulated_folders, tmp_path / "OTHER", "realism", per_method=2, repeats=0)
    with pytest.raises(StudyKeyError, match="not the key of this study"):
        analyse_study(study, key=other.parent / "OTHER-key.json")


def test_answers_from_several_places_are_joined(finished: Path, tmp_path: Path) -> None:
    study = copied(finished, tmp_path)
    for reader in READERS:
        (tmp_path / reader).mkdir()
        for path in (study / "answers").glob(f"{reader}-*"):
            shutil.copy(path, tmp_path / reader)
    shutil.copytree(tmp_path / "A", tmp_path / "again")
    shutil.rmtree(study / "answers")
    found = analyse_study(study, answers=[tmp_path / name for name in (*READERS, "again")])
    assert len(found.readings) == 330
    path = tmp_path / "again" / "A-001.jsonl"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(AnswersError, match="changed or damaged"):
        analyse_study(study, answers=[tmp_path / name for name in (*READERS, "again")])


def test_without_a_record_there_is_no_unblinding(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = copied(finished, tmp_path)
    (study / "unblinded.jsonl").mkdir()
    with pytest.raises(OutputError, match="cannot be recorded"):
        analyse_study(study)
