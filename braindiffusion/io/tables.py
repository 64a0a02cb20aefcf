"""Tables as text: CSV that a spreadsheet does not take for formulas, Markdown that a name does not break."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TextIO

FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What a spreadsheet runs as a formula begins with one of these."""


def csv_cell(value: Any) -> Any:
    """A value for a cell: text that would be run as a formula gets an apostrophe before it; numbers do not."""
    if not isinstance(value, str) or not value.startswith(FORMULAS):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def write_csv(stream: TextIO, columns: Sequence[str], rows: Iterable[Sequence[Any]], end: str = "\r\n") -> None:
    """Write a table: a line of names, then the rows.

    Args:
        stream: opened with ``newline=""``.
    """
    writer = csv.writer(stream, lineterminator=end)
    writer.writerow([csv_cell(name) for name in columns])
    writer.writerows([csv_cell(value) for value in row] for row in rows)


def write_csv_file(path: Path, rows: Sequence[dict[str, Any]], columns: Sequence[str] | None = None) -> None:
    """Write one file; its columns are those of all rows unless given, a gap is empty."""
    names = list(columns or dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as stream:
        write_csv(stream, names, ([row.get(name, "") for name in names] for row in rows))


def markdown_text(value: Any) -> str:
    """Any text in one line of Markdown, shown as it is: no markup, no HTML, no end of a table's cell."""
    line = " ".join(str(value).split())
    return re.sub(r"([\\`*_\[\]|~])", r"\\\1", line).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table, and an empty one after it; nothing where there are no rows. Cells are Markdown already."""
    body = [f"| {' | '.join(row)} |" for row in rows]
    return [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns), *body, ""] if body else []


def number(value: float | None, digits: int = 3, form: str = "f") -> str:
    """A number for a table, or a dash where there is none; ``form``: ``f``, ``+f``, ``g``."""
    if value is None or value != value:
        return "-"
    sign, kind = form[:-1], form[-1]
    return f"{value:{sign}.{digits}{kind}}"


def with_interval(middle: float | None, interval: Sequence[float | None] | None, digits: int = 3) -> str:
    """A number with its interval, where that is known."""
    if number(middle) == "-" or not interval or "-" in (low := [number(v, digits) for v in interval]):
        return number(middle, digits)
    return f"{number(middle, digits)} ({' to '.join(low)})"
