"""The table of a cohort: what became of each scan, as JSON, CSV and Markdown."""

from __future__ import annotations

import io
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from braindiffusion import NOT_FOR_DIAGNOSIS, RESEARCH_USE_ONLY, __version__
from braindiffusion.io.tables import markdown_table, markdown_text, write_csv
from braindiffusion.io.text_files import read_json
from braindiffusion.pipeline.provenance import plain

if TYPE_CHECKING:
    from braindiffusion.settings import HealSettings

COLUMNS = (
    "scan", "status", "slices_healed", "lesion_ml", "seconds", "attempts", "warnings", "error", "what", "cause",
    "action",
)  # fmt: skip


@dataclass
class Row:
    """What became of a scan.

    Attributes:
        status: ``done``, ``kept`` (done by an earlier run) or ``failed``.
        key: of the run, see :func:`~braindiffusion.cohort.run.key_of`.
        error: class, what, cause, action; ``lasting``: it would fail the same way again.
    """

    scan: str
    status: str
    key: str
    slices_healed: int | None = None
    lesion_ml: float | None = None
    seconds: float | None = None
    attempts: int = 0
    warnings: list[str] = field(default_factory=list)
    error: dict[str, str] | None = None
    lasting: bool = False

    def may_pass(self) -> bool:
        """Whether it failed, and might not if tried again."""
        return self.error is not None and not self.lasting

    def cells(self) -> dict[str, Any]:
        """The row of the table."""
        told = {k: v for k, v in (self.error or {}).items() if k != "class"}
        facts = asdict(self) | {"error": (self.error or {}).get("class"), "warnings": " ".join(self.warnings)} | told
        return {name: "" if facts.get(name) is None else facts[name] for name in COLUMNS}


def read_table(out: Path) -> dict[str, Row]:
    """The rows that an earlier run left in ``out``, by name; none where there are none, or they cannot be read."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        rows = read_json(out / "cohort.json")["scans"]
        return {row["scan"]: Row(**row) for row in rows}
    return {}


def write_table(out: Path, rows: list[Row], settings: HealSettings) -> None:
    """``cohort.json``, ``cohort.csv`` and ``cohort.md`` in ``out``, together."""
    from braindiffusion.io.write import OutputFolder

    ordered = sorted(rows, key=lambda row: row.scan)
    text = io.StringIO(newline="")
    write_csv(text, COLUMNS, (list(row.cells().values()) for row in ordered))
    head = {"notice": NOT_FOR_DIAGNOSIS, "use": RESEARCH_USE_ONLY, "version": __version__, "settings": plain(settings)}
    with OutputFolder(out) as folder:
        folder.json("cohort", {**head, "scans": [asdict(row) for row in ordered]})
        folder.file("cohort.csv").write_bytes(text.getvalue().encode("utf-8"))
        folder.file("cohort.md").write_text(markdown(ordered), encoding="utf-8")


def tally(rows: list[Row]) -> str:
    """How many scans became what, as a sentence."""
    count = {status: sum(row.status == status for row in rows) for status in ("done", "kept", "failed")}
    return f"{len(rows)} scans: {count['done']} healed now, {count['kept']} by an earlier run, {count['failed']} failed"


def markdown(rows: list[Row]) -> str:
    """The table for people."""
    shown = ("scan", "status", "slices_healed", "lesion_ml", "seconds", "attempts")
    cells = [[markdown_text(row.cells()[name]) for name in shown] for row in rows]
    lines = [f"{tally(rows)}.", "", *markdown_table(shown, cells)]
    for row in rows:
        if row.error:
            told = [markdown_text(row.error[key]) for key in ("class", "what", "cause", "action")]
            lines += ["", f"**{markdown_text(row.scan)}**: {told[0]}: {told[1]} {told[2]} *{told[3]}*"]
    return "\n".join([*lines, "", f"{NOT_FOR_DIAGNOSIS}. {RESEARCH_USE_ONLY}", ""])
