"""How far readers agree, with each other and with themselves."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np

from braindiffusion.studies.protocol import Protocol, Question
from braindiffusion.studies.readings import Reading, grid, readers_of
from braindiffusion.studies.sections import Row, Section, Table
from braindiffusion.studies.statistics.agreement import Agreement, intraclass, weighted_kappa

DEFINITIONS = [
    (
        "kappa",
        "Agreement beyond chance of two readings of the same cases: 1 complete, 0 as by chance. Grades: quadratic "
        "weights (Cohen 1968), so that a gap of two grades counts four times a gap of one; choices: unweighted (Cohen "
        "1960). 95 % interval by the standard error of Fleiss, Cohen and Everitt (1969).",
    ),
    (
        "ICC(2,1), ICC(2,k)",
        "Intraclass correlation, two-way random effects, absolute agreement, of one reader and of the mean of all "
        "(Shrout and Fleiss 1979): the share of the variance of grades that comes from the cases. 95 % F interval.",
    ),
    ("same", "Share of cases given the same answer both times."),
    ("within a reader", "First against second showing of the cases that came twice."),
]


def agreement_section(protocol: Protocol, readings: list[Reading]) -> Section:
    """Agreement between readers, and within each over the cases that came twice."""
    section = Section("Agreement", definitions=list(DEFINITIONS))
    between: list[Row] = []
    within: list[Row] = []
    for question in protocol.questions:
        if question.type in ("grades", "choice"):
            between += _between(question, readings)
            within += _within(question, readings)
    columns = ("question", "readers", "cases", "coefficient", "value", "interval low", "interval high")
    if between:
        section.tables.append(Table("agreement_between", "Between readers", columns, between))
    else:
        section.text.append("One reader: nothing can be said of agreement between readers.")
    if within:
        section.tables.append(Table("agreement_within", "Within readers", ("question", "reader", *columns[2:]), within))
    else:
        section.text.append("No case was read twice: nothing can be said of agreement within readers.")
    return section


def _place(question: Question, value: object) -> float | None:
    """An answer as its place among those allowed."""
    return None if value is None else float(question.values.index(value))  # type: ignore[arg-type]


def _rows(question: Question, who: str, table: np.ndarray) -> list[Row]:
    """Coefficients of a table (cases, 2 readings)."""
    places = list(range(len(question.values)))
    a, b = (table[:, k].astype(int).tolist() for k in (0, 1))
    weights = "quadratic" if question.type == "grades" else "none"
    name = "weighted kappa" if question.type == "grades" else "kappa"
    return [_row(question, who, name, weighted_kappa(a, b, places, weights))]  # type: ignore[arg-type]


def _row(question: Question, who: str, name: str, found: Agreement) -> Row:
    return [question.id, who, found.n, name, found.value, found.low, found.high]


def _between(question: Question, readings: list[Reading]) -> list[Row]:
    readers = readers_of(readings)
    cells = grid(readings, lambda r: _place(question, r.answers.get(question.id)))
    if len(readers) < 2 or not cells:
        return []
    table = np.concatenate([c.values for c in cells.values()], axis=1).T
    rows: list[Row] = []
    kappas = []
    for i, k in combinations(range(len(readers)), 2):
        rows += _rows(question, f"{readers[i]} and {readers[k]}", table[:, [i, k]])
        kappas.append(rows[-1][4])
    known = [k for k in kappas if not math.isnan(k)]
    if len(readers) > 2 and known:
        rows.append([question.id, "mean of pairs", len(table), rows[-1][3], float(np.mean(known)), None, None])
    if question.type == "grades":
        rows.append(_row(question, "all", "ICC(2,1)", intraclass(table)))
        rows.append(_row(question, "all", "ICC(2,k)", intraclass(table, average=True)))
    return rows


def _within(question: Question, readings: list[Reading]) -> list[Row]:
    rows: list[Row] = []
    for reader in readers_of(readings):
        twice: dict[str, dict[int, float]] = {}
        for r in readings:
            value = _place(question, r.answers.get(question.id))
            if r.reader == reader and value is not None:
                twice.setdefault(r.case, {})[r.showing] = value
        table = np.array([[by[1], by[2]] for by in twice.values() if len(by) == 2])
        if not len(table):
            continue
        rows += _rows(question, reader, table)
        if question.type == "grades":
            rows.append(_row(question, reader, "ICC(2,1)", intraclass(table)))
        rows.append([question.id, reader, len(table), "same", float((table[:, 0] == table[:, 1]).mean()), None, None])
    return rows
