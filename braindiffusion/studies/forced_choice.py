"""Two-alternative forced choice: how often the synthetic one of two was found, against one half."""

from __future__ import annotations

from braindiffusion.studies import figures
from braindiffusion.studies.merit import chance_row, difference_rows, mean_merit, share_interval
from braindiffusion.studies.protocol import Question
from braindiffusion.studies.readings import Reading, grid, pooled, readers_of
from braindiffusion.studies.sections import Row, Section, Table
from braindiffusion.studies.statistics.proportions import share

ALL = "all methods"
DEFINITIONS = [
    ("accuracy", "Share of pairs in which the reader named the synthetic scan. Guessing gives one half."),
    (
        "exact interval",
        "95 %, Clopper and Pearson (1934), for one reader: pairs drawn at random, one subject's taken as independent.",
    ),
    ("exact binomial", "Two-sided test of one reader's share against one half."),
    (
        "interval",
        "95 %, mean over readers, for other readers and pairs: Obuchowski and Rockette (1995), Hillis (2007); "
        "covariances by leaving out one subject after the other; on the logit scale.",
    ),
]


def choice_section(question: Question, readings: list[Reading]) -> tuple[Section, list[Row], list[Row]]:
    """How often readers named the synthetic scan of a pair.

    Returns:
        The section, the rows of tests against chance, and those of methods against each other.
    """

    def right(r: Reading) -> float | None:
        value = r.answers.get(question.id)
        return None if value is None else float(value == r.label["side"])

    cells, readers = grid(readings, right), readers_of(readings)
    section = Section(f"{question.prompt} ({question.id})", definitions=list(DEFINITIONS))
    if not cells:
        section.text.append("No pair was answered by every reader.")
        return section, [], []
    groups = {**cells, ALL: pooled(cells)} if len(cells) > 1 else cells
    rows: list[Row] = []
    means: list[Row] = []
    chance: list[Row] = []
    for method, cell in groups.items():
        for j, reader in enumerate(readers):
            s = share(int(cell.values[j].sum()), cell.values.shape[1])
            rows.append([reader, method, s.right, s.n, s.value, s.low, s.high])
            if method == list(groups)[-1]:
                what, n = f"{reader}, {method} against 0.5", f"{s.n} pairs, 1 reader"
                chance.append([question.id, what, n, "exact binomial", s.value, s.low, s.high, s.p])
        merit = mean_merit({method: cell})
        if merit is not None and len(readers) > 1:
            n = cell.values.shape[1]
            low, high, _, _ = share_interval(merit, n, "")
            means.append([method, n, len(readers), merit.analysis.methods[0].value, low, high])
            chance.append(chance_row(question.id, method, merit, f"{n} pairs", n, ""))
    columns = ("reader", "method", "right", "n", "accuracy", "exact low", "exact high")
    section.tables.append(Table(f"{question.id}_accuracy", "Accuracy by reader", columns, rows))
    if means:
        over = ("method", "pairs", "readers", "accuracy", "interval low", "interval high")
        section.tables.append(Table(f"{question.id}_methods", "Accuracy, mean over readers", over, means))
    section.figures.append(figures.shares(f"{question.id}_accuracy", "Accuracy by reader", rows, 0.5))
    versus = difference_rows(
        question.id,
        list(cells),
        lambda a, b: mean_merit({m: cells[m] for m in (a, b)}),
        lambda a, b: f"{cells[a].values.shape[1]} and {cells[b].values.shape[1]} pairs",
        "t over pairs",
    )
    return section, chance, versus
