"""Progress of a command: a bar, JSON lines, or nothing. Always on stderr; stdout is for results."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

STAGES = {
    "brain": "Finding the brain",
    "saliency": "Saliency",
    "heal": "Healing",
    "displace": "Mass effect",
    "induce": "Inducing",
    "back": "Back to the scan",
    "label": "Labelling",
    "tune": "Tuning on val",
    "evaluate": "Evaluating",
    "cohort": "Scans",
    "study": "Cases",
}


class Clock:
    """Time left, from the work done since a stage began."""

    def __init__(self) -> None:
        self.stage, self.started = "", 0.0

    def left(self, stage: str, done: int, total: int) -> float | None:
        """Seconds left, or ``None`` before anything was done."""
        if stage != self.stage:
            self.stage, self.started = stage, time.monotonic()
        return (time.monotonic() - self.started) * (total - done) / done if done else None


class Lines:
    """Progress in plain lines, for a log or a pipe: one as a stage begins, then one each ``LINE_SECONDS``."""

    LINE_SECONDS = 5.0

    def __init__(self) -> None:
        self._clock, self._stage, self._at = Clock(), "", 0.0

    def tell(self, event: Any) -> None:
        """Print a line, or not yet."""
        left, now = self._clock.left(event.stage, event.done, event.total), time.monotonic()
        if event.stage == self._stage and now - self._at < self.LINE_SECONDS:
            return
        so_far = f": {event.done} of {event.total}" if event.total > 1 else ""
        rest = f", about {left:.0f} s left" if left and left >= 1 else ""
        print(f"{STAGES.get(event.stage, event.stage)}{so_far}{rest}", file=sys.stderr, flush=True)
        self._stage, self._at = event.stage, now


@contextmanager
def reporter(kind: str) -> Iterator[Callable[[Any], None]]:
    """A function that takes :class:`~braindiffusion.pipeline.heal.Event` (stage, done, total).

    Args:
        kind: ``bar`` (plain lines where stderr is not a terminal), ``json`` (one object a line: stage, done, total,
            seconds_left) or ``none``.
    """
    if kind == "json":
        clock = Clock()

        def tell(event: Any) -> None:
            left = clock.left(event.stage, event.done, event.total)
            line = {"event": "progress", "stage": event.stage, "done": event.done, "total": event.total}
            print(
                json.dumps(line | {"seconds_left": None if left is None else round(left, 1)}),
                file=sys.stderr,
                flush=True,
            )

        yield tell
    elif kind == "bar" and not sys.stderr.isatty():
        yield Lines().tell
    elif kind == "bar":
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True)) as bar:
            tasks: dict[str, Any] = {}

            def show(event: Any) -> None:
                if event.stage not in tasks:
                    for task in tasks.values():
                        bar.update(task, completed=bar.tasks[task].total)
                    tasks[event.stage] = bar.add_task(STAGES.get(event.stage, event.stage), total=max(1, event.total))
                bar.update(tasks[event.stage], completed=event.done, total=max(1, event.total))

            yield show
            for task in tasks.values():
                bar.update(task, completed=bar.tasks[task].total)
    else:
        yield lambda event: None
