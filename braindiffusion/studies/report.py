"""The report of a study: one HTML page that needs nothing else, CSV tables, pictures, and everything as JSON."""

from __future__ import annotations

import base64
import io
from html import escape
from typing import Any

from braindiffusion import NOT_FOR_DIAGNOSIS, RESEARCH_USE_ONLY
from braindiffusion.io.tables import write_csv
from braindiffusion.io.write import OutputFolder
from braindiffusion.studies.sections import VERDICT, Figure, Section, Table, shown

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#222;max-width:62rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem}h2{font-size:1.25rem;margin-top:2.4rem;border-bottom:1px solid #ddd}h3{font-size:1rem}
table{border-collapse:collapse;font-size:.86rem;margin:.4rem 0}th,td{padding:.2rem .6rem;text-align:right}
th{border-bottom:2px solid #888;vertical-align:bottom}td{border-bottom:1px solid #e4e4e4}
td.text,th.text{text-align:left}td{white-space:nowrap}.scroll{overflow-x:auto}.note,figcaption{color:#555;font-size:.86rem}
tr.significant td{background:#fff6d6}figure{margin:1rem 0}img{max-width:100%}dt{font-weight:600}
dl{font-size:.88rem;color:#333}.mark{background:#fff3cd;padding:.5rem .8rem;border-left:4px solid #e0a800}
@media print{body{max-width:none}h2{break-after:avoid}}
"""


def _table(table: Table) -> str:
    texts = [
        all(isinstance(row[i], str) for row in table.rows if row[i] is not None) for i in range(len(table.columns))
    ]
    kinds = ["text" if t else "number" for t in texts]
    head = "".join(f'<th class="{k}">{escape(c)}</th>' for c, k in zip(table.columns, kinds, strict=True))
    body = []
    for row in table.rows:
        cells = "".join(
            f'<td class="{k}">{escape(shown(v, c))}</td>' for v, c, k in zip(row, table.columns, kinds, strict=True)
        )
        marked = table.columns[-1] == VERDICT and row[-1] == "significant"
        body.append(f'<tr class="significant">{cells}</tr>' if marked else f"<tr>{cells}</tr>")
    note = f'<p class="note">{escape(table.note)}</p>' if table.note else ""
    rows = "".join(body)
    return (
        f'<h3>{escape(table.title)}</h3><div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>{note}"
    )


def _figure(figure: Figure) -> str:
    data = base64.b64encode(figure.png).decode("ascii")
    return (
        f'<figure><img alt="{escape(figure.alt)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(figure.title)}</figcaption></figure>"
    )


def _section(section: Section) -> str:
    parts = [f"<h2>{escape(section.title)}</h2>", *(f"<p>{escape(t)}</p>" for t in section.text)]
    parts += [_table(t) for t in section.tables if t.rows] + [_figure(f) for f in section.figures]
    if section.definitions:
        terms = "".join(f"<dt>{escape(t)}</dt><dd>{escape(d)}</dd>" for t, d in section.definitions)
        parts.append(f"<h3>Definitions</h3><dl>{terms}</dl>")
    return "\n".join(parts)


def html(title: str, sections: list[Section]) -> str:
    """The whole report as one page; pictures are inside, nothing is fetched."""
    body = "\n".join(_section(s) for s in sections)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width"><title>{escape(title)}</title><style>{STYLE}</style></head>\n<body>\n'
        f'<h1>{escape(title)}</h1>\n<p class="mark">{escape(RESEARCH_USE_ONLY)} The cases are partly synthetic: '
        f"{escape(NOT_FOR_DIAGNOSIS)}.</p>\n{body}\n</body></html>\n"
    )


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
