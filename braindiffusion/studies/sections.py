"""Parts of a report: tables, figures and the words between them. How numbers are shown is decided here."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from braindiffusion.studies.statistics.comparisons import holm

ALPHA = 0.05
Row = list[Any]


@dataclass(frozen=True)
class Table:
    """A table: also the CSV file ``name``. Columns that begin with ``p`` hold p values."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: list[Row]
    note: str = ""


@dataclass(frozen=True)
class Figure:
    """A picture: also the PNG file ``name``; ``alt`` says what it shows. It is drawn when it is asked for."""

    name: str
    title: str
    draw: Callable[[], bytes]
    alt: str

    @cached_property
    def png(self) -> bytes:
        """The picture's bytes."""
        return self.draw()


@dataclass
class Section:
    """One part of the report. ``definitions``: (term, what it means)."""

    title: str
    text: list[str] = field(default_factory=list)
    definitions: list[tuple[str, str]] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)


def shown(value: Any, column: str = "") -> str:
    """A cell as text: p values to three digits, other numbers to two decimals, gaps as a dash."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if column.startswith("p") and (column == "p" or column.startswith("p ")):
        return "< 0.001" if value < 0.001 else f"{value:.3f}"
    if isinstance(value, int):
        return str(value)
    return "∞" if math.isinf(value) else f"{value:.2f}"


VERDICT = "verdict"


def corrected(name: str, title: str, columns: tuple[str, ...], rows: list[Row], alpha: float = ALPHA) -> Table:
    """A table of tests with Holm's correction over all its rows, and the verdict it allows.

    This is the only place where anything is called significant: every row names its n and its test.

    Args:
        columns: with ``n``, ``test`` and ``p`` among them.
    """
    missing = {"n", "test", "p"} - set(columns)
    if missing:
        raise ValueError(f"a table of tests needs {missing}")
    at = columns.index("p")
    adjusted = holm([float(row[at]) for row in rows])
    count = sum(not math.isnan(p) for p in adjusted)
    out = [[*row, p, _verdict(p, alpha)] for row, p in zip(rows, adjusted, strict=True)]
    note = (
        f"Two-sided tests; p (Holm) is corrected for the {count} tests of this table. 'Significant' means "
        f"p (Holm) ≤ {alpha:g}; 'not shown' does not mean equal."
    )
    return Table(name, title, (*columns, "p (Holm)", VERDICT), out, note)


def _verdict(p: float, alpha: float) -> str:
    return "not testable" if math.isnan(p) else "significant" if p <= alpha else "not shown"
