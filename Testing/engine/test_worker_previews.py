"""What the worker shows of a run: a coarse look at once, then the newest preview as often as is good."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from braindiffusion.events import Event, Plane
from braindiffusion.worker.handlers import _listener


class Told:
    """A job that remembers what it was told; a preview is due only when the test says so."""

    def __init__(self) -> None:
        self.due, self.shown = True, []

    def progress(self, stage: str, done: int, total: int) -> None:
        pass

    def preview_due(self) -> bool:
        return self.due

    def preview(self, axis: int, index: int, path: str, coarse: bool = False) -> None:
        self.shown.append((index, float(np.load(path).max()), coarse))


def event(index: int, value: float, coarse: bool = False) -> Event:
    plane = Plane(0, index, np.full((2, 2), value))
    return Event("heal", 1, 2, index, plane.values, coarse=coarse, plane=lambda: plane)


@pytest.fixture
def told() -> Told:
    return Told()


def test_a_coarse_look_is_shown_even_if_something_was_shown_just_now(told: Told, tmp_path: Path) -> None:
    listen: Any = _listener(told, tmp_path)
    told.due = False
    listen(event(3, 0.5))
    assert told.shown == []
    listen(event(3, 0.7, coarse=True))
    assert told.shown == [(3, 0.7, True)]


def test_the_newest_preview_waits_until_one_is_due(told: Told, tmp_path: Path) -> None:
    listen: Any = _listener(told, tmp_path)
    told.due = False
    for value in (0.1, 0.2, 0.3):
        listen(event(4, value))
    told.due = True
    listen(Event("heal", 2, 2))
    assert told.shown == [(4, 0.3, False)]


def test_without_a_folder_nothing_is_shown(told: Told) -> None:
    _listener(told, None)(event(1, 0.5, coarse=True))
    assert told.shown == []
