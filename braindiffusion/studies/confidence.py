"""Real or synthetic, case by case: ROC curves of confidence, and right answers at the cut."""

from __future__ import annotations

from braindiffusion.studies import figures
from braindiffusion.studies.format import REAL, SYNTHETIC
from braindiffusion.studies.merit import Merit, area_merit, chance_row, difference_rows, share_interval
from braindiffusion.studies.protocol import Question
from braindiffusion.studies.readings import Cell, Reading, grid, pooled, readers_of
from braindiffusion.studies.sections import Row, Section, Table
from braindiffusion.studies.statistics.proportions import share

ALL = "all synthetic"
ALONE = "DeLong, t"
DEFINITIONS = [
    (
        "area",
        "Area under the empirical ROC curve (Bamber 1975): how often a synthetic case is rated more surely synthetic "
        "than a real one, ties counted half. 0.5: the reader cannot tell; 1: always.",
    ),
    (
        "balanced accuracy",
        "Mean of sensitivity and specificity at the cut. Unlike the share of right answers it is 0.5 for guessing, "
        "however many cases are synthetic.",
    ),
    ("sensitivity, specificity", "Share of synthetic cases called synthetic, of real cases called real."),
    ("exact interval", "95 %, Clopper and Pearson (1934), for one reader: cases drawn at random."),
    (
        "interval",
        "95 %, mean over readers, for other readers and cases: Obuchowski and Rockette (1995), Hillis (2007); "
        "covariances by leaving out one subject after the other within each kind of case, which for the area is the "
        "method of DeLong et al. (1988); on the logit scale. With one reader: that reader only. Where every synthetic "
        "case was rated above every real one: exact, as for one right answer for each case of the smaller side.",
    ),
]


def origin_section(question: Question, readings: list[Reading]) -> tuple[Section, list[Row], list[Row]]:
    """How well readers told real from synthetic.

    Returns:
        The section, the rows of tests against chance, and those of methods against each other.
    """

    def rating(r: Reading) -> float | None:
        value = r.answers.get(question.id)
        return float(value == SYNTHETIC) if question.type == "choice" and value is not None else value

    cut = 1.0 if question.cut is None else float(question.cut)
    cells, readers = grid(readings, rating), readers_of(readings)
    says = "the answer 'synthetic'" if question.cut is None else f"grade {question.cut} and above"
    section = Section(f"Real or synthetic? ({question.id})", definitions=list(DEFINITIONS))
    section.text.append(f"Counted as 'synthetic': {says}.")
    negative = cells.pop(REAL, None)
    if negative is None or not cells:
        section.text.append("Real or synthetic cases are missing, so nothing can be told.")
        return section, [], []
    groups = {**cells, ALL: pooled(cells)} if len(cells) > 1 else cells
    binary = {m: _cut(c, cut) for m, c in groups.items()}
    chance: list[Row] = []
    rows: list[Row] = []
    versus: list[Row] = []
    for kind, positives, against in (
        ("area", groups, negative),
        ("balanced accuracy", binary, _cut(negative, cut)),
    ):
        if kind == "area" and question.type == "choice":
            continue  # of two answers the area is the balanced accuracy
        for method, cell in positives.items():
            merit = area_merit({method: cell}, against)
            if merit is not None:
                rows.append(_estimate(kind, method, cell, against, merit))
                count = f"{cell.values.shape[1]} synthetic and {against.values.shape[1]} real cases"
                least = min(cell.values.shape[1], against.values.shape[1])
                chance.append(chance_row(f"{question.id}: {kind}", method, merit, count, least, ALONE))
        versus += _versus(f"{question.id}: {kind}", {m: positives[m] for m in cells}, against)
    columns = ("measure", "method", "synthetic", "real", "readers", "value", "interval low", "interval high")
    section.tables.append(Table(f"{question.id}_told", "Real or synthetic, mean over readers", columns, rows))
    section.tables.append(_exact(question, binary, _cut(negative, cut), readers))
    section.figures.append(figures.roc(question, groups, negative, readers))
    return section, chance, versus


def _cut(cell: Cell, cut: float) -> Cell:
    return Cell(cell.subjects, cell.cases, (cell.values >= cut).astype(float))


def _estimate(kind: str, method: str, cell: Cell, negative: Cell, merit: Merit) -> Row:
    sizes = cell.values.shape[1], negative.values.shape[1]
    low, high, _, _ = share_interval(merit, min(sizes), ALONE)
    return [kind, method, *sizes, len(cell.values), merit.analysis.methods[0].value, low, high]


def _versus(name: str, cells: dict[str, Cell], negative: Cell) -> list[Row]:
    real = negative.values.shape[1]
    return difference_rows(
        name,
        list(cells),
        lambda a, b: area_merit({m: cells[m] for m in (a, b)}, negative),
        lambda a, b: f"{cells[a].values.shape[1]} and {cells[b].values.shape[1]} synthetic, {real} real cases",
        ALONE,
    )


def _exact(question: Question, binary: dict[str, Cell], negative: Cell, readers: list[str]) -> Table:
    rows: list[Row] = []
    for j, reader in enumerate(readers):
        for method, cell in binary.items():
            s = share(int(cell.values[j].sum()), cell.values.shape[1])
            rows.append([reader, "sensitivity", method, s.right, s.n, s.value, s.low, s.high])
        s = share(int((1 - negative.values[j]).sum()), negative.values.shape[1])
        rows.append([reader, "specificity", REAL, s.right, s.n, s.value, s.low, s.high])
    columns = ("reader", "measure", "method", "right", "n", "share", "exact low", "exact high")
    return Table(f"{question.id}_shares", "Right answers by reader", columns, rows)
