"""Progress of a command: time left, JSON lines, a bar; never on stdout, which is for results."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import pytest

from braindiffusion.pipeline import progress
from braindiffusion.pipeline.progress import STAGES, Clock, reporter


def event(stage: str, done: int, total: int) -> SimpleNamespace:
    return SimpleNamespace(stage=stage, done=done, total=total)


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock on which two seconds pass between two looks."""
    now = iter(range(0, 1000, 2))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(now)))


@pytest.mark.usefixtures("ticking")
def test_time_left_is_that_of_the_stage() -> None:
    clock = Clock()
    assert clock.left("heal", 0, 10) is None  # nothing done: nothing known; began at 0 s
    assert clock.left("heal", 1, 10) == pytest.approx(2 * 9)  # 1 of 10 after 2 s
    assert clock.left("heal", 10, 10) == 0
    assert clock.left("back", 0, 4) is None  # another stage begins anew
    assert clock.left("back", 2, 4) == pytest.approx(2)  # 2 of 4 after 2 s


@pytest.mark.usefixtures("ticking")
def test_json_is_one_object_a_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with reporter("json") as tell:
        tell(event("heal", 0, 4))
        tell(event("heal", 2, 4))
    out, err = capsys.readouterr()
    lines = [json.loads(line) for line in err.splitlines()]
    assert out == ""
    assert lines[0] == {"event": "progress", "stage": "heal", "done": 0, "total": 4, "seconds_left": None}
    assert lines[1]["seconds_left"] > 0


@pytest.mark.usefixtures("ticking")
def test_plain_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """One as a stage begins, then one each five seconds."""
    with reporter("bar") as tell:
        tell(event("brain", 0, 1))
        for done in range(9):
            tell(event("heal", done, 9))
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert lines[:2] == [STAGES["brain"], "Healing: 0 of 9"]
    assert 2 < len(lines) < 7
    assert all("of 9, about" in line and line.endswith("s left") for line in lines[2:])


def test_a_bar_names_every_stage_and_ends_full(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with reporter("bar") as tell:
        for stage in ("brain", "heal", "unheard of"):
            tell(event(stage, 0, 2))
            tell(event(stage, 1, 2))  # the last step of a stage may never be told
        tell(event("back", 0, 0))  # nothing to do
    out, err = capsys.readouterr()
    assert out == ""
    for name in (STAGES["brain"], STAGES["heal"], "unheard of", STAGES["back"]):
        assert name in err
    assert err.count("100%") >= 4


def test_none_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with reporter("none") as tell:
        tell(event("heal", 1, 2))
    assert capsys.readouterr() == ("", "")
