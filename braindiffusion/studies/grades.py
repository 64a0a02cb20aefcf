"""Grades by method: means with intervals, readers against each other, methods against each other."""

from __future__ import annotations

import numpy as np

from braindiffusion.studies import figures
from braindiffusion.studies.merit import difference_rows, mean_merit
from braindiffusion.studies.protocol import Question
from braindiffusion.studies.readings import Cell, Reading, grid, readers_of
from braindiffusion.studies.sections import Row, Section, Table
from braindiffusion.studies.statistics.comparisons import rank_sum, signed_rank
from braindiffusion.studies.statistics.obuchowski_rockette import Analysis
from braindiffusion.studies.statistics.proportions import mean_interval

PAIRED = 0.8
"""Two methods are compared subject by subject when at least this share of the smaller one's subjects is in both."""
DEFINITIONS = [
    (
        "mean, SD",
        "Over all first showings that every reader graded: mean over cases, then over readers; standard deviation over "
        "single grades (n - 1).",
    ),
    (
        "interval",
        "95 %, for the mean over other readers and other cases like these: Obuchowski and Rockette (1995) with the "
        "degrees of freedom of Hillis (2007), at most those of a t test over cases; covariances by leaving out one "
        "subject after the other. With one reader: Student's t over cases, and nothing is said of other readers.",
    ),
    ("these readers", "95 % interval for these readers only: other cases like these, the same readers."),
    (
        "leaning",
        "A reader's grade minus the mean of the other readers on the same case, averaged over cases, with Student's t "
        "interval over cases. Above 0: more generous than the others.",
    ),
]
RANK = ("measure", "methods", "n", "test", "statistic", "p")


def grade_section(question: Question, readings: list[Reading]) -> tuple[Section, list[Row], list[Row]]:
    """What was answered to a question of grades.

    Returns:
        The section, and the rows of its multi-reader tests and of its rank tests, to be corrected with those of all
        other questions.
    """
    cells = grid(readings, lambda r: r.answers.get(question.id))
    readers = readers_of(readings)
    section = Section(f"{question.prompt} ({question.id}: grades)", definitions=[*_meanings(question), *DEFINITIONS])
    if not cells:
        section.text.append("No case was graded by every reader.")
        return section, [], []
    found = {m: merit.analysis for m, c in cells.items() if (merit := mean_merit({m: c})) is not None}
    section.tables.append(_by_method(question, cells, found))
    section.tables.append(_by_reader(question, cells, readers))
    strata = _by_stratum(question, readings)
    if strata is not None:
        section.tables.append(strata)
    section.figures.append(figures.grades(question, cells, {m: a.methods[0] for m, a in found.items()}, readers))
    total = sum(c.values.shape[1] for c in cells.values())
    section.text.append(f"{total} cases graded by all of {len(readers)} readers.")
    tests = difference_rows(
        question.id,
        list(cells),
        lambda a, b: mean_merit({m: cells[m] for m in (a, b)}),
        lambda a, b: f"{cells[a].values.shape[1]} and {cells[b].values.shape[1]} cases",
        "t over cases",
    )
    return section, tests, _rank_rows(question.id, cells)


def _meanings(question: Question) -> list[tuple[str, str]]:
    return [(f"{g.value} {g.label}", g.definition) for g in question.grades]


def _by_method(question: Question, cells: dict[str, Cell], found: dict[str, Analysis]) -> Table:
    rows: list[Row] = []
    for method, cell in cells.items():
        limits: list[float | None] = [None] * 4
        if method in found:
            everyone, these = found[method].methods[0], found[method].these_readers[0]
            limits = [everyone.low, everyone.high, these.low, these.high]
        spread = float(cell.values.std(ddof=1)) if cell.values.size > 1 else None
        counts = " / ".join(str(int((cell.values == v).sum())) for v in question.values)
        rows.append([method, *cell.values.shape[::-1], float(cell.values.mean()), spread, *limits, counts])
    columns = (
        "method", "cases", "readers", "mean", "SD", "interval low", "interval high", "these readers low",
        "these readers high", "grades " + " / ".join(str(v) for v in question.values),
    )  # fmt: skip
    return Table(f"{question.id}_methods", "Grades by method", columns, rows)


def _by_reader(question: Question, cells: dict[str, Cell], readers: list[str]) -> Table:
    everything = np.concatenate([c.values for c in cells.values()], axis=1)
    rows: list[Row] = []
    for j, reader in enumerate(readers):
        means = [float(c.values[j].mean()) for c in cells.values()]
        leaning: tuple[float | None, ...] = (None, None, None)
        if len(readers) > 1:
            leaning = mean_interval(everything[j] - np.delete(everything, j, axis=0).mean(0))
        rows.append([reader, everything.shape[1], float(everything[j].mean()), *leaning, *means])
    columns = ("reader", "cases", "mean", "leaning", "leaning low", "leaning high", *(f"mean {m}" for m in cells))
    return Table(f"{question.id}_readers", "Grades by reader", columns, rows)


def _by_stratum(question: Question, readings: list[Reading]) -> Table | None:
    """Means by method and stratum, described only; ``None`` where there is one stratum."""
    strata = sorted({str(r.label["stratum"]) for r in readings})
    if len(strata) < 2:
        return None
    rows: list[Row] = []
    for stratum in strata:
        some = grid([r for r in readings if r.label["stratum"] == stratum], lambda r: r.answers.get(question.id))
        for method, cell in some.items():
            spread = float(cell.values.std(ddof=1)) if cell.values.size > 1 else None
            rows.append([stratum, method, cell.values.shape[1], float(cell.values.mean()), spread])
    note = "Described, not tested: too few cases in each."
    columns = ("stratum", "method", "cases", "mean", "SD")
    return Table(f"{question.id}_strata", "Grades by stratum", columns, rows, note)


def _rank_rows(name: str, cells: dict[str, Cell]) -> list[Row]:
    """Rank tests on each case's mean over readers; subject by subject where both methods show the same."""
    rows: list[Row] = []
    methods = list(cells)
    for i, first in enumerate(methods):
        for second in methods[i + 1 :]:
            a, b = cells[first], cells[second]
            x = dict(zip(a.subjects, a.values.mean(0), strict=True))
            y = dict(zip(b.subjects, b.values.mean(0), strict=True))
            both = [s for s in x if s in y]
            if len(both) >= PAIRED * min(len(x), len(y)):
                test = signed_rank(np.array([x[s] for s in both]), np.array([y[s] for s in both]))
            else:
                test = rank_sum(a.values.mean(0), b.values.mean(0))
            rows.append([name, f"{first} - {second}", test.n, test.name, test.statistic, test.p])
    return rows
