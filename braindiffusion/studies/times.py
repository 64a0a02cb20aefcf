"""How long readers took and what they did meanwhile. Described, not tested."""

from __future__ import annotations

from collections import Counter

import numpy as np

from braindiffusion.studies import figures
from braindiffusion.studies.readings import Reading, methods_of, readers_of
from braindiffusion.studies.sections import Row, Section, Table

DEFINITIONS = [
    ("seconds", "From the scans on screen to the answer, without pauses. Median and quartiles, over all showings."),
    (
        "trend",
        "Spearman's rank correlation of time with place in the reader's order: below 0, the reader became quicker.",
    ),
    ("replaced", "Answers given again after going back."),
]


def time_section(readings: list[Reading]) -> Section:
    """Time by reader and by method, sessions, replaced answers and use of tools."""
    from scipy.stats import spearmanr

    section = Section("Time and handling", definitions=list(DEFINITIONS))
    rows: list[Row] = []
    for reader in readers_of(readings):
        mine = [r for r in readings if r.reader == reader]
        seconds = np.array([r.seconds for r in mine])
        varies = len(mine) > 2 and np.ptp(seconds) > 0
        trend = float(spearmanr([r.position for r in mine], seconds).statistic) if varies else None
        rows.append([
            reader, len(mine), len({r.session for r in mine}), *_quartiles(seconds), float(seconds.sum() / 60), trend,
            sum(r.revisions for r in mine),
        ])  # fmt: skip
    columns = ("reader", "cases", "sessions", "median s", "quartile 1", "quartile 3", "total min", "trend", "replaced")
    section.tables.append(Table("time_readers", "Time by reader", columns, rows))
    rows = []
    for method in methods_of(readings):
        seconds = np.array([r.seconds for r in readings if r.method == method])
        rows.append([method, len(seconds), *_quartiles(seconds)])
    by_method = ("method", "cases", "median s", "quartile 1", "quartile 3")
    section.tables.append(Table("time_methods", "Time by method", by_method, rows))
    tools: Counter[tuple[str, str]] = Counter()
    for r in readings:
        tools.update({(r.reader, name): count for name, count in r.tools.items()})
    if tools:
        rows = [[reader, name, count] for (reader, name), count in sorted(tools.items())]
        section.tables.append(Table("tools", "Use of tools", ("reader", "tool", "times"), rows))
    section.figures.append(figures.times(readings))
    return section


def _quartiles(seconds: np.ndarray) -> list[float]:
    return [float(np.percentile(seconds, q)) for q in (50, 25, 75)]
