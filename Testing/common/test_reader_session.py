"""A reader's side of a study: what is shown, what is saved, and that a crash loses nothing. No engine is needed."""

import errno
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
for folder in (ROOT, ROOT / "BrainReaderStudy"):
    sys.path.insert(0, str(folder))

from BrainReaderStudyLib import answerlog  # noqa: E402
from BrainReaderStudyLib.session import Session, openStudy, progressOf  # noqa: E402

from BrainCounterfactualCommon.host import Problem  # noqa: E402

GRADES = [{"value": v, "label": str(v), "definition": f"means {v}"} for v in range(5)]
QUESTIONS = [
    {"id": "realism", "prompt": "How real?", "type": "grades", "grades": GRADES},
    {"id": "place", "prompt": "Where?", "type": "mark", "required": False},
    {"id": "comment", "prompt": "Remarks", "type": "text", "required": False},
]
CASES = ["aaaa0000", "bbbb1111", "cccc2222", "dddd3333"]
SOFTWARE = "test 1.0"


def makeStudy(folder, **protocol):
    """A study of four cases and two readers; R1 sees the second case again at the end."""
    cases = {}
    for name in CASES:
        path = folder / "cases" / f"{name}-scan.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"scan " + name.encode())
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        image = {"role": "scan", "file": "cases/" + path.name, "sha256": digest, "window": [900.0, 450.0]}
        cases[name] = {"images": [image]}
    asked = {"show": "single", "window": {"policy": "locked"}, "going_back": False, "break_every": 2}
    data = {
        "format": "braindiffusion-study",
        "version": 1,
        "study": "0123456789abcdef",
        "title": "A study",
        "notice": "MAY BE SYNTHETIC - NOT FOR DIAGNOSIS",
        "use": "Research use only.",
        "key_sha256": "0" * 64,
        "protocol": dict(asked, questions=QUESTIONS, **protocol),
        "cases": cases,
        "readers": {"R1": [*CASES, CASES[1]], "R2": CASES[::-1]},
    }
    (folder / "study.json").write_text(json.dumps(data))
    return folder


@pytest.fixture
def folder(tmp_path):
    return makeStudy(tmp_path / "STUDY")


def begin(folder, reader="R1", **more):
    return Session(openStudy(folder), reader, SOFTWARE, **more)


def answer(session, grade=3, **more):
    session.shown()
    return session.record(dict({"realism": grade}, **more))


def lines(folder, name):
    return (folder / "answers" / name).read_text().splitlines()


# --- reading ---


def test_cases_come_in_the_readers_order_until_all_are_answered(folder):
    session, seen = begin(folder), []
    while not session.finished:
        seen.append((session.current.position, session.current.case, session.current.images["scan"].path.read_bytes()))
        answer(session)
    assert seen == [(i + 1, c, b"scan " + c.encode()) for i, c in enumerate([*CASES, CASES[1]])]
    assert session.current is None
    assert session.answered == session.total == 5
    assert progressOf(openStudy(folder)) == {"R1": (5, 5), "R2": (0, 4)}


def test_an_answer_is_saved_with_time_tools_window_and_software(folder):
    now = [100.0]
    session = begin(folder, clock=lambda: now[0])
    session.shown()
    now[0] += 4
    session.pause()
    now[0] += 60
    session.goOn()
    now[0] += 2.5
    given = {"realism": 2, "place": [[1.23456, -2, 3]], "comment": "seam"}
    session.record(given, tools={"scroll": 7}, window={"scan": (900, 450)})
    saved = json.loads(lines(folder, "R1-001.jsonl")[1])
    expected = {
        "kind": "answer",
        "position": 1,
        "case": CASES[0],
        "answers": {"realism": 2, "place": [[1.235, -2.0, 3.0]], "comment": "seam"},
        "revision": 0,
        "seconds": 6.5,
        "paused": 60.0,
        "tools": {"scroll": 7},
        "window": {"scan": [900.0, 450.0]},
        "software": SOFTWARE,
    }
    assert {key: saved[key] for key in expected} == expected
    assert set(saved) - set(expected) == {"time", "chain"}


def test_each_answer_is_flushed_to_the_disk(folder, monkeypatch):
    session, flushed = begin(folder), []
    monkeypatch.setattr(os, "fsync", lambda handle: flushed.append(os.fstat(handle).st_size))
    answer(session)
    assert flushed == [(folder / "answers" / "R1-001.jsonl").stat().st_size]


def test_a_break_is_proposed_every_two_cases(folder):
    session, due = begin(folder), []
    while not session.finished:
        due.append(session.breakDue)
        answer(session)
    assert due == [False, False, True, False, True]


# --- crashes ---


def test_killed_in_the_middle_nothing_is_lost(folder):
    """A process that dies without a word after two answers; the next sitting begins with the third case."""
    code = (
        "import os, sys; sys.path[:0] = [{!r}, {!r}]\n"
        "from BrainReaderStudyLib.session import Session, openStudy\n"
        "session = Session(openStudy({!r}), 'R1', 'killed')\n"
        "for grade in (1, 2):\n"
        "    session.shown(); session.record({{'realism': grade}})\n"
        "session.shown(); os._exit(9)\n"
    ).format(str(ROOT), str(ROOT / "BrainReaderStudy"), str(folder))
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    session = begin(folder)
    assert (session.number, session.answered, session.current.position) == (2, 2, 3)
    while not session.finished:
        answer(session)
    grades = [a["answers"]["realism"] for a in answerlog.readAnswers(folder / "answers", "R1", openStudy(folder))[0]]
    assert grades == [1, 2, 3, 3, 3]


@pytest.mark.parametrize("cut", [1, 20, 150])
def test_a_torn_last_line_is_asked_again(folder, cut):
    session = begin(folder)
    answer(session, 1)
    answer(session, 2)
    path = folder / "answers" / "R1-001.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    session = begin(folder)
    assert (session.current.position, session.answered) == (2, 1)
    answer(session, 4)
    found = answerlog.readAnswers(folder / "answers", "R1", openStudy(folder))[0]
    assert [a["answers"]["realism"] for a in found] == [1, 4]


def test_a_file_torn_before_its_first_line_is_no_harm(folder):
    begin(folder).close()
    (folder / "answers" / "R1-001.jsonl").write_bytes(b'{"kind":"sess')
    session = begin(folder)
    assert (session.number, session.current.position) == (2, 1)


def test_a_full_disk_is_told_and_the_answer_can_be_given_again(folder, monkeypatch):
    session, real = begin(folder), os.fsync
    answer(session, 1)

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Problem, match="cannot be saved") as caught:
        answer(session, 2)
    assert caught.value.className == "OutputError"
    assert session.current.position == 2
    monkeypatch.setattr(os, "fsync", real)
    answer(session, 2)
    assert session.current.position == 3
    assert begin(folder).current.position == 3


def test_what_is_written_is_never_touched_again(folder):
    first = begin(folder)
    answer(first)
    first.close()
    before = (folder / "answers" / "R1-001.jsonl").read_bytes()
    second = begin(folder)
    answer(second)
    assert (folder / "answers" / "R1-001.jsonl").read_bytes() == before
    assert (second.number, len(lines(folder, "R1-002.jsonl"))) == (2, 2)


# --- refusals ---


def test_two_at_once_are_kept_apart(folder):
    old = begin(folder)
    new = begin(folder)
    with pytest.raises(Problem, match="opened this study elsewhere"):
        answer(old)
    answer(new)
    assert new.answered == 1


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"realism": None},
        {"realism": 5},
        {"realism": "3"},
        {"realism": True},
        {"realism": 3, "other": 1},
        {"realism": 3, "place": [[0, 0, 0], [1, 1, 1]]},
        {"realism": 3, "place": [[0, 0]]},
        {"realism": 3, "place": [[0, 0, float("nan")]]},
        {"realism": 3, "comment": "x" * 2001},
    ],
)
def test_answers_that_are_not_allowed_are_not_saved(folder, given):
    session = begin(folder)
    session.shown()
    with pytest.raises(Problem) as caught:
        session.record(given)
    assert caught.value.className == "AnswerError"
    assert len(lines(folder, "R1-001.jsonl")) == 1
    assert session.current.position == 1


def test_nothing_to_mark_is_an_answer(folder):
    assert answer(begin(folder), place=[])["answers"] == {"realism": 3, "place": []}


def test_there_is_no_going_back_unless_allowed(folder):
    session = begin(folder)
    answer(session)
    assert not session.canGoBack
    with pytest.raises(Problem, match="no going back"):
        session.goBack()


def test_going_back_replaces_an_answer_and_keeps_the_old_one(tmp_path):
    folder = makeStudy(tmp_path / "STUDY", going_back=True)
    session = begin(folder)
    answer(session, 1)
    session.goBack()
    assert session.current.answers == {"realism": 1}
    assert answer(session, 4)["revision"] == 1
    assert session.current.position == 2
    session.goBack()
    session.goForward()
    assert session.current.position == 2
    session.goForward()
    assert session.current.position == 2, "no further than the first open case"
    assert begin(folder)._given[1]["answers"] == {"realism": 4}
    found = answerlog.readAnswers(folder / "answers", "R1", openStudy(folder))[0]
    assert [a["answers"]["realism"] for a in found] == [1, 4]


def test_a_closed_study_is_not_read_on(folder):
    (folder / "unblinded.jsonl").write_text('{"final": false}\n')
    begin(folder).close()
    (folder / "unblinded.jsonl").write_text('{"final": false}\n{"final": true}\n')
    with pytest.raises(Problem, match="unblinded"):
        begin(folder)


def test_an_unknown_reader_is_refused(folder):
    with pytest.raises(Problem, match="no reader 'R3'"):
        begin(folder, "R3")
    assert not (folder / "answers").exists()


def test_a_key_in_the_folder_is_refused(folder):
    (folder / "cases" / "labels.json").write_text('{"format": "braindiffusion-study-key"}')
    with pytest.raises(Problem, match="key lies inside"):
        openStudy(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(format="other"),
        lambda d: d.update(version=2),
        lambda d: d.pop("readers"),
        lambda d: d["readers"].update(R1=["eeee4444"]),
        lambda d: d["readers"].update({"../R": CASES}),
        lambda d: d["cases"][CASES[0]]["images"][0].update(file="../secret.nii.gz"),
        lambda d: d["cases"][CASES[0]]["images"][0].update(role="left"),
        lambda d: d["protocol"].update(questions=[]),
        lambda d: d["protocol"]["questions"][0].update(type="slider"),
        lambda d: d["protocol"]["questions"][0]["grades"][0].pop("definition"),
    ],
)
def test_a_folder_that_is_no_study_is_refused(folder, change):
    data = json.loads((folder / "study.json").read_text())
    change(data)
    (folder / "study.json").write_text(json.dumps(data))
    with pytest.raises(Problem) as caught:
        openStudy(folder)
    assert caught.value.className == "StudyFolderError"


def test_a_changed_scan_is_found_when_it_is_shown(folder):
    session = begin(folder)
    (folder / "cases" / (CASES[0] + "-scan.nii.gz")).write_bytes(b"another scan")
    with pytest.raises(Problem, match="no reader study"):
        session.current  # noqa: B018


def damage(folder, change):
    for grade in (1, 2):
        session = begin(folder)
        answer(session, grade)
        session.close()
    change(folder / "answers")
    with pytest.raises(Problem) as caught:
        begin(folder)
    assert caught.value.className == "AnswersError"


def test_changed_answers_are_found(folder):
    damage(folder, lambda a: edit(a / "R1-001.jsonl", b'"realism":1', b'"realism":4'))


def test_a_missing_session_is_found(folder):
    damage(folder, lambda a: (a / "R1-001.jsonl").unlink())


def test_a_renamed_session_is_found(folder):
    begin(folder).close()
    (folder / "answers" / "R1-001.jsonl").rename(folder / "answers" / "R2-001.jsonl")
    with pytest.raises(Problem, match="changed or damaged") as caught:
        begin(folder, "R2")
    assert "renamed" in caught.value.cause


def test_a_damaged_line_in_the_middle_is_found(folder):
    damage(folder, lambda a: edit(a / "R1-001.jsonl", b'{"chain"', b'{"cha'))


def test_answers_to_another_study_are_found(folder):
    damage(folder, lambda a: edit(a.parent / "study.json", b"A study", b"Another"))


def edit(path, old, new):
    path.write_bytes(path.read_bytes().replace(old, new))
