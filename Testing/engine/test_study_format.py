"""The engine and BrainReaderStudy share files and no code: here each reads what the other writes, and both agree."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import study_helpers
from BrainReaderStudyLib import answerlog, questions, studyfolder
from BrainReaderStudyLib.session import Session, openStudy
from hypothesis import given, settings
from hypothesis import strategies as st

from BrainCounterfactualCommon.host import Problem
from braindiffusion.errors import AnswersError
from braindiffusion.studies import format as engine
from braindiffusion.studies import sealed
from braindiffusion.studies.create import CreatedStudy, create_study
from braindiffusion.studies.design import StudySettings
from braindiffusion.studies.protocol import load_protocol, shipped

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "study_format.md").read_text(encoding="utf-8")
NAMES = ("a", "b", "c")


@pytest.fixture(scope="module", params=shipped())
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> CreatedStudy:
    """A small study by every shipped protocol; R1 and R2 are read by one test each."""
    tmp_path = tmp_path_factory.mktemp("study")
    protocol = load_protocol(request.param)
    real = study_helpers.scans(tmp_path / "real", ("x", "y", "z"), 0)
    method = study_helpers.scans(tmp_path / "method", NAMES, 1, lesion=True)
    priors = study_helpers.scans(tmp_path / "prior", NAMES, 2)
    return create_study(
        real if "real" in protocol.cases else None, {"method": method}, protocol, tmp_path / "STUDY",
        StudySettings(readers=("R1", "R2"), repeats=1, seed=1, face="keep"),
        priors=priors if protocol.show == "with_prior" else None,
    )  # fmt: skip


def any_answer(question: dict[str, Any], grade: int = 0) -> Any:
    """Something that answers a question."""
    if question["type"] in ("grades", "choice"):
        return question["grades" if question["type"] == "grades" else "options"][grade]["value"]
    return [[1.0, 2.0, 3.0]] if question["type"] == "mark" else "a remark"


def answer_all(folder: Path, reader: str, sittings: int = 1) -> None:
    study = openStudy(folder)
    for k in range(sittings):
        session = Session(study, reader, "module 1")
        while not session.finished and (k == sittings - 1 or session.answered < k + 1):
            session.shown()
            session.record({q["id"]: any_answer(q) for q in study.questions}, tools={"zoom": 1})
        session.close()


def test_the_module_opens_what_the_engine_seals(made: CreatedStudy) -> None:
    theirs, ours = openStudy(made.study), sealed.open_study(made.study)
    assert theirs.sha256 == ours.sha256
    assert theirs.readers == ours.orders
    assert theirs.protocol == ours.protocol.as_dict(), "every default is filled in"
    session = Session(theirs, "R1", "module 1")
    images = session.current.images
    assert tuple(images) == engine.ROLES[ours.protocol.show] == studyfolder.ROLES[ours.protocol.show]
    assert all(image.window > 0 and image.path.is_file() for image in images.values())


def test_the_engine_reads_what_the_module_saves(made: CreatedStudy) -> None:
    answer_all(made.study, "R1", sittings=3)
    theirs = answerlog.readAnswers(made.study / "answers", "R1", openStudy(made.study))[0]
    ours = sealed.read_answers(sealed.open_study(made.study))
    assert set(ours) == {"R1", "R2"}
    assert [{k: v for k, v in a.items() if k != "session"} for a in ours["R1"]] == theirs
    assert [a["position"] for a in ours["R1"]] == list(range(1, made.presentations + 1))
    assert len({a["session"] for a in ours["R1"]}) == 3


@pytest.fixture
def answered(tmp_path: Path) -> Path:
    """A study read to its end by one reader in two sittings."""
    real = study_helpers.scans(tmp_path / "real", ("x", "y", "z"), 0)
    method = study_helpers.scans(tmp_path / "method", NAMES, 1)
    made = create_study(
        real,
        {"method": method},
        load_protocol("realism"),
        tmp_path / "S",
        StudySettings(repeats=0, seed=1, face="keep"),
    )
    answer_all(made.study, "R1", sittings=2)
    return made.study


def edit(path: Path, old: bytes, new: bytes, count: int = -1) -> None:
    assert old in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(old, new, count))


DAMAGE = {
    "an answer": lambda a: edit(a / "R1-002.jsonl", b'"realism":0', b'"realism":4', 1),
    "a time": lambda a: edit(a / "R1-002.jsonl", b'"seconds":', b'"seconds":1', 1),
    "a line out": lambda a: (a / "R1-002.jsonl").write_bytes(
        b"".join((a / "R1-002.jsonl").read_bytes().splitlines(keepends=True)[k] for k in (0, 2, 3))
    ),
    "a session out": lambda a: (a / "R1-001.jsonl").unlink(),
    "half a line": lambda a: edit(a / "R1-002.jsonl", b'"case":', b'"ca', 1),
    "the study": lambda a: edit(a.parent / "study.json", b'"title": "Realism', b'"title": "realism'),
    "a header": lambda a: edit(a / "R1-001.jsonl", b'"reader":"R1"', b'"reader":"R2"'),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_both_find_the_same_damage(answered: Path, what: str) -> None:
    DAMAGE[what](answered / "answers")
    with pytest.raises(AnswersError):
        sealed.read_answers(sealed.open_study(answered))
    with pytest.raises(Problem) as caught:
        answerlog.readAnswers(answered / "answers", "R1", openStudy(answered))
    assert caught.value.className == "AnswersError"


@pytest.mark.parametrize("cut", [1, 40])
def test_both_leave_out_a_torn_last_line(answered: Path, cut: int) -> None:
    path = answered / "answers" / "R1-002.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    theirs = answerlog.readAnswers(answered / "answers", "R1", openStudy(answered))[0]
    ours = sealed.read_answers(sealed.open_study(answered))["R1"]
    assert len(ours) == len(theirs) == 5


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-1, 11), st.floats(-2, 9), st.text(max_size=3),
    st.sampled_from(["left", "right", "real", "synthetic", "x" * 2001]),
    st.lists(st.lists(st.one_of(st.floats(-200, 200), st.integers(0, 3)), min_size=2, max_size=4), max_size=2),
)  # fmt: skip


@pytest.mark.parametrize("name", shipped())
@given(value=VALUES)
@settings(max_examples=60, deadline=None)
def test_both_allow_the_same_answers(name: str, value: Any) -> None:
    for question in load_protocol(name).questions:
        plain = question.as_dict()
        try:
            saved = questions.checked([plain], {question.id: value})
        except Problem:
            assert not sealed.allowed(question, value) or (question.required and value == "")
        else:
            assert saved == {} or sealed.allowed(question, saved[question.id])
            assert saved or not question.required


@given(
    st.dictionaries(
        st.text(max_size=5), st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text())
    )
)
@settings(max_examples=60, deadline=None)
def test_both_hash_alike_and_survive_reading_back(record: dict[str, Any]) -> None:
    line = answerlog.chained("0" * 64, record)
    back = json.loads(answerlog.canonical(line))
    assert engine.canonical(back) == answerlog.canonical(line)
    assert sealed._chain("0" * 64, back) == line["chain"]


def test_both_count_the_same_answer(tmp_path: Path) -> None:
    """After going back the last one."""
    real = study_helpers.scans(tmp_path / "real", ("x", "y"), 0)
    method = study_helpers.scans(tmp_path / "method", ("a", "b"), 1)
    made = create_study(
        real, {"method": method}, load_protocol("likert"), tmp_path / "S", StudySettings(repeats=0, seed=1, face="keep")
    )
    study = openStudy(made.study)
    session = Session(study, "R1", "module 1")
    for grade in (0, 1):
        session.shown()
        session.record({q["id"]: any_answer(q, grade) for q in study.questions if q["type"] == "grades"})
        session.goBack()
    ours = sealed.open_study(made.study)
    counted = sealed.counting(ours, sealed.read_answers(ours)["R1"])
    assert counted[1]["answers"] == session.current.answers
    assert counted[1]["answers"]["anatomy"] == 2
    assert counted[1]["revision"] == 1


def test_the_document_names_every_field(made: CreatedStudy) -> None:
    answer_all(made.study, "R2")
    study = json.loads((made.study / "study.json").read_text())
    key = json.loads(made.key.read_text())
    head, line = (json.loads(x) for x in (made.study / "answers" / "R2-001.jsonl").read_text().splitlines()[:2])
    used = set(study) | set(study["protocol"]) | set(key) | set(head) | set(line)
    used |= {k for q in study["protocol"]["questions"] for k in q} | set(next(iter(key["cases"].values())))
    used |= set(study["cases"][study["readers"]["R1"][0]]["images"][0])
    named = set(re.findall(r"[`\"]([a-z_0-9]+)[`\"]", DOCUMENT))
    assert not used - named


def test_formats_and_versions_are_the_same() -> None:
    assert (engine.STUDY, engine.KEY, engine.ANSWERS) == (
        studyfolder.FORMAT, studyfolder.KEY_FORMAT, answerlog.FORMAT,
    )  # fmt: skip
    assert engine.VERSION == studyfolder.VERSION == answerlog.VERSION
    assert engine.ROLES == studyfolder.ROLES
