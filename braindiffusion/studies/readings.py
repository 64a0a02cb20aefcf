"""Unblinded readings: each answer that counts, joined with what was behind its case."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from braindiffusion.studies.format import REAL
from braindiffusion.studies.sealed import SealedStudy, counting


@dataclass(frozen=True)
class Reading:
    """One case read once by one reader.

    Attributes:
        showing: 1, or 2 for a test-retest repeat.
        answers: question id -> answer.
        label: of the case, from the key (docs/study_format.md).
        revisions: how many answers were replaced by this one.
    """

    reader: str
    session: int
    position: int
    case: str
    showing: int
    answers: dict[str, Any]
    seconds: float
    tools: dict[str, int]
    window: dict[str, list[float]]
    revisions: int
    time: str
    software: str
    label: dict[str, Any]

    @property
    def method(self) -> str:
        """``real`` or the synthetic method."""
        return str(self.label["method"])

    @property
    def subject(self) -> str:
        """The pseudonym of who is shown."""
        return str(self.label["subject"])


def join(study: SealedStudy, key: dict[str, Any], answers: dict[str, list[dict[str, Any]]]) -> list[Reading]:
    """Every answer that counts, by reader and position."""
    out = []
    for reader, given in answers.items():
        order, kept = study.orders[reader], counting(study, given)
        for position in sorted(kept):
            record = kept[position]
            out.append(
                Reading(
                    reader, record["session"], position, record["case"],
                    1 + (record["case"] in order[: position - 1]), record["answers"], float(record["seconds"]),
                    record.get("tools", {}), record.get("window", {}),
                    sum(other["position"] == position for other in given) - 1, record.get("time", ""),
                    record.get("software", ""), key["cases"][record["case"]],
                )
            )  # fmt: skip
    return out


def methods_of(readings: list[Reading]) -> list[str]:
    """The methods read, real first."""
    return sorted({r.method for r in readings}, key=lambda m: (m != REAL, m))


def readers_of(readings: list[Reading]) -> list[str]:
    """The readers with answers, in the study's order."""
    return list(dict.fromkeys(r.reader for r in readings))


@dataclass(frozen=True)
class Cell:
    """What all readers said of one method's cases: subjects and values (readers, cases)."""

    subjects: tuple[str, ...]
    cases: tuple[str, ...]
    values: np.ndarray


def grid(readings: list[Reading], value: Callable[[Reading], float | None]) -> dict[str, Cell]:
    """Values by method for the cases that every reader answered, first showings only.

    Args:
        value: of a reading; ``None`` where it has none.
    """
    readers = readers_of(readings)
    found: dict[str, dict[str, dict[str, float]]] = {}
    labels = {r.case: r for r in readings}
    for r in readings:
        number = value(r) if r.showing == 1 else None
        if number is not None:
            found.setdefault(r.method, {}).setdefault(r.case, {})[r.reader] = float(number)
    out = {}
    for method in methods_of(readings):
        whole = sorted(c for c, by in found.get(method, {}).items() if len(by) == len(readers))
        if whole:
            values = np.array([[found[method][c][reader] for c in whole] for reader in readers])
            out[method] = Cell(tuple(labels[c].subject for c in whole), tuple(whole), values)
    return out


def pooled(cells: dict[str, Cell]) -> Cell:
    """The cases of all methods as one."""
    return Cell(
        tuple(s for c in cells.values() for s in c.subjects),
        tuple(s for c in cells.values() for s in c.cases),
        np.concatenate([c.values for c in cells.values()], axis=1),
    )
