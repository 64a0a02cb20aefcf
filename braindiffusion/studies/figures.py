"""The pictures of a report, as PNG bytes. Colours tell methods apart for colour-blind eyes too (Okabe and Ito)."""

from __future__ import annotations

import io
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from braindiffusion import RESEARCH_USE_ONLY
from braindiffusion.studies.readings import Cell, Reading, readers_of
from braindiffusion.studies.sections import Figure, Row
from braindiffusion.studies.statistics import roc as curves

if TYPE_CHECKING:
    from braindiffusion.studies.protocol import Question
    from braindiffusion.studies.statistics.obuchowski_rockette import Estimate

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#F0E442")
MARKERS = "osD^vP*X"


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Description": RESEARCH_USE_ONLY, "Software": None})
    return buffer.getvalue()


def _canvas(width: float, height: float, columns: int = 1, rows: int = 1) -> tuple[Any, Any]:
    from matplotlib.figure import Figure as Canvas

    figure = Canvas(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for a in axes:
        a.spines[["top", "right"]].set_visible(False)
    return figure, axes


def grades(question: Question, cells: dict[str, Cell], found: dict[str, Estimate], readers: list[str]) -> Figure:
    """Left: means with intervals, a symbol for each reader. Right: how often each grade was given."""
    alt = f"Mean grades of {', '.join(cells)} with intervals and readers, and the share of each grade."
    draw = partial(_draw_grades, question, cells, found, readers)
    return Figure(f"{question.id}_grades", f"Grades by method: {question.id}", draw, alt)


def _draw_grades(question: Question, cells: dict[str, Cell], found: dict[str, Estimate], readers: list[str]) -> bytes:
    figure, (left, right) = _canvas(9.5, 1.2 + 0.45 * max(4, len(cells)), 2)
    for i, (method, cell) in enumerate(cells.items()):
        for j, reader in enumerate(readers):
            label = reader if i == 0 else None
            left.plot(
                cell.values[j].mean(), i, MARKERS[j % 8], color=COLOURS[j % 8], ms=6, mfc="none", label=label, zorder=3
            )
        if method in found:
            e = found[method]
            left.plot([e.low, e.high], [i, i], "-", color="0.35", lw=2, zorder=1)
            left.plot(e.value, i, "|", color="black", ms=16, mew=2.5, zorder=2)
        counts = np.array([(cell.values == v).mean() for v in question.values])
        start = np.concatenate([[0], np.cumsum(counts)[:-1]])
        shades = [str(0.92 - 0.72 * k / (len(counts) - 1)) for k in range(len(counts))]
        right.barh([i] * len(counts), counts, left=start, color=shades, edgecolor="white", height=0.7)
        for k, share in enumerate(counts):
            if share >= 0.06:
                colour = "white" if k > len(counts) / 2 else "black"
                value = question.values[k]
                right.text(start[k] + share / 2, i, str(value), ha="center", va="center", color=colour, fontsize=9)
    low, high = float(question.values[0]), float(question.values[-1])
    left.set(xlim=(low - 0.15, high + 0.15), xlabel="mean grade, 95 % interval", yticks=range(len(cells)))
    left.set_yticklabels(list(cells))
    left.set_ylim(len(cells) - 0.4, -0.6)
    left.grid(axis="x", color="0.9")
    left.legend(loc="upper left", bbox_to_anchor=(0, -0.28), ncols=8, fontsize=8, frameon=False)
    right.set(xlim=(0, 1), xlabel="share of grades", yticks=[], ylim=(len(cells) - 0.4, -0.6))
    return _png(figure)


def roc(question: Question, positive: dict[str, Cell], negative: Cell, readers: list[str]) -> Figure:
    """One panel for each method: the empirical curve of each reader."""
    alt = f"ROC curves of {', '.join(readers)} for {', '.join(positive)}."
    draw = partial(_draw_roc, positive, negative, readers)
    return Figure(f"{question.id}_roc", f"ROC curves: {question.id}", draw, alt)


def _draw_roc(positive: dict[str, Cell], negative: Cell, readers: list[str]) -> bytes:
    columns = min(3, len(positive))
    rows = -(-len(positive) // columns)
    figure, axes = _canvas(3.0 * columns + 0.4, 3.3 * rows, columns, rows)
    for a in axes[len(positive) :]:
        a.set_axis_off()
    for a, (method, cell) in zip(axes, positive.items(), strict=False):
        a.plot([0, 1], [0, 1], ":", color="0.6", lw=1)
        for j, reader in enumerate(readers):
            x, y = curves.curve(cell.values[j], negative.values[j])
            area = curves.area(cell.values[j], negative.values[j])
            a.plot(
                x, y, "-" + MARKERS[j % 8], color=COLOURS[j % 8], ms=4, lw=1.3, mfc="none", label=f"{reader} {area:.2f}"
            )
        a.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", title=method)
        a.set(xlabel="real called synthetic", ylabel="synthetic called synthetic")
        a.legend(loc="lower right", fontsize=8, frameon=False, title="area", title_fontsize=8)
    return _png(figure)


def shares(name: str, title: str, rows: list[Row], chance: float) -> Figure:
    """Shares with exact intervals; rows of reader, method, right, n, share, low, high."""
    alt = f"{title}: shares with exact intervals against {chance:g}."
    return Figure(name, title, partial(_draw_shares, rows, chance), alt)


def _draw_shares(rows: list[Row], chance: float) -> bytes:
    figure, (a,) = _canvas(7.0, 1.0 + 0.26 * max(4, len(rows)))
    labels, readers = [], list(dict.fromkeys(row[0] for row in rows))
    for i, (reader, method, _, n, value, low, high) in enumerate(rows):
        j = readers.index(reader)
        a.plot([low, high], [i, i], "-", color=COLOURS[j % 8], lw=1.8)
        a.plot(value, i, MARKERS[j % 8], color=COLOURS[j % 8], ms=6)
        labels.append(f"{method}, {reader} (n = {n})")
    a.axvline(chance, color="0.5", ls=":", lw=1)
    a.set(xlim=(0, 1), xlabel="share right, exact 95 % interval", yticks=range(len(rows)), ylim=(len(rows) - 0.4, -0.6))
    a.set_yticklabels(labels, fontsize=8)
    a.grid(axis="x", color="0.9")
    return _png(figure)


def times(readings: list[Reading]) -> Figure:
    """Seconds by place in the reader's order, with a running median."""
    alt = "Seconds for each case in the order read, one line a reader."
    return Figure("time", "Time by case", partial(_draw_times, readings), alt)


def _draw_times(readings: list[Reading]) -> bytes:
    figure, (a,) = _canvas(7.5, 3.0)
    for j, reader in enumerate(readers_of(readings)):
        mine = [r for r in readings if r.reader == reader]
        x, y = np.array([r.position for r in mine]), np.array([r.seconds for r in mine])
        a.plot(x, y, MARKERS[j % 8], color=COLOURS[j % 8], ms=3, alpha=0.45, mew=0)
        middle = [float(np.median(y[max(0, i - 5) : i + 6])) for i in range(len(y))]
        a.plot(x, middle, "-", color=COLOURS[j % 8], lw=1.8, label=reader)
    a.set(xlabel="place in the reader's order", ylabel="seconds", ylim=(0, None))
    a.legend(fontsize=8, frameon=False, ncols=4)
    return _png(figure)
