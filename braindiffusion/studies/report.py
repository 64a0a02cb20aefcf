"""The report of a study: one HTML page that needs nothing else, CSV tables, pictures, and everything as JSON."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

from braindiffusion import NOT_FOR_DIAGNOSIS, RESEARCH_USE_ONLY
from braindiffusion.export.html import render
from braindiffusion.io.tables import write_csv
from braindiffusion.io.write import OutputFolder
from braindiffusion.studies.sections import VERDICT, Section, Table, shown

TEMPLATE = Path(__file__).with_name("report.html")


def _table(table: Table) -> dict[str, Any]:
    columns = range(len(table.columns))
    texts = [all(isinstance(row[i], str) for row in table.rows if row[i] is not None) for i in columns]
    kinds = ["text" if t else "number" for t in texts]
    rows = [
        {
            "cells": [(shown(v, c), k) for v, c, k in zip(row, table.columns, kinds, strict=True)],
            "significant": table.columns[-1] == VERDICT and row[-1] == "significant",
        }
        for row in table.rows
    ]
    heads = list(zip(table.columns, kinds, strict=True))
    return {"title": table.title, "heads": heads, "rows": rows, "note": table.note}


def html(title: str, sections: list[Section]) -> str:
    """The whole report as one page; pictures are inside, nothing is fetched."""
    told = [
        {
            "title": s.title, "text": s.text, "tables": [_table(t) for t in s.tables], "definitions": s.definitions,
            "figures": [
                {"alt": f.alt, "title": f.title, "data": base64.b64encode(f.png).decode("ascii")} for f in s.figures
            ],
        }
        for s in sections
    ]  # fmt: skip
    return render(TEMPLATE, title=title, sections=told, use=RESEARCH_USE_ONLY, mark=NOT_FOR_DIAGNOSIS)


def csv_text(columns: tuple[str, ...], rows: list[list[Any]]) -> str:
    """A table as CSV; gaps are empty, numbers in full."""
    buffer = io.StringIO()
    write_csv(buffer, columns, (["" if v is None or v != v else v for v in row] for row in rows), end="\n")
    return buffer.getvalue()


def as_data(sections: list[Section]) -> list[dict[str, Any]]:
    """The sections as plain data."""
    return [
        {
            "title": s.title,
            "text": s.text,
            "definitions": dict(s.definitions),
            "tables": {
                t.name: {"title": t.title, "columns": t.columns, "rows": t.rows, "note": t.note} for t in s.tables
            },
        }
        for s in sections
    ]


def write(out: OutputFolder, title: str, facts: dict[str, Any], sections: list[Section]) -> None:
    """``report.html``, ``results.json``, ``tables/*.csv`` and ``figures/*.png``."""
    out.file("report.html").write_text(html(title, sections), encoding="utf-8")
    out.json("results", facts | {"sections": as_data(sections)})
    for section in sections:
        for table in section.tables:
            out.file(f"tables/{table.name}.csv").write_text(csv_text(table.columns, table.rows), encoding="utf-8")
        for figure in section.figures:
            out.file(f"figures/{figure.name}.png").write_bytes(figure.png)
