"""Plots of the healing evaluation: quality against network calls, and what was swept on val."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from braindiffusion import RESEARCH_USE_ONLY
from braindiffusion.evaluation.healing.rows import GROUPS
from braindiffusion.evaluation.models.figures import new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FREE = 0.3
"""Where rows without a network call stand on the logarithmic axis."""


def apart(values: list[float], gap: float) -> list[float]:
    """Places of labels: each near its value, in the same order, at least ``gap`` from the next."""
    order = np.argsort(values, kind="stable")
    places = np.array(values, float)[order]
    for _ in range(200):
        steps = np.diff(places)
        close = np.maximum(0.0, gap - steps) / 2
        if not (close > gap * 1e-3).any():
            break
        places[:-1] -= close
        places[1:] += close
    out = np.empty(len(places))
    out[order] = places
    return out.tolist()


Label = tuple[str, float, float, float]
"""A name, its column, and its point."""


def _labels(axes: Axes, points: list[Label], gap: float) -> None:
    """Names beside their points; those of one column spread out, each with a thin line to its point."""
    for column in sorted({p[1] for p in points}):
        of = [p for p in points if p[1] == column]
        left = max(x for _, _, x, _ in of) * 1.06
        for (name, _, x, y), place in zip(of, apart([p[3] for p in of], gap), strict=True):
            axes.annotate(
                name.replace("_", " "), (x, y), xytext=(left, place), fontsize=5.5, va="center",
                arrowprops={"arrowstyle": "-", "lw": 0.3, "color": "grey", "shrinkA": 0, "shrinkB": 2},
            )  # fmt: skip


def _places(rows: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Where rows stand on the axis of calls: those of equal calls a little apart, so that intervals can be seen."""
    columns: dict[float, list[str]] = {}
    for name, r in rows.items():
        columns.setdefault(max(FREE, round(r["calls_per_slice"])), []).append(name)
    return {
        name: x * 1.018 ** (k - (len(names) - 1) / 2) for x, names in columns.items() for k, name in enumerate(names)
    }


def quality(rows: dict[str, dict[str, Any]], split: str, path: Path) -> None:
    """Lesion Dice of all rows, with intervals, against network calls a slice; below, the same as KID."""
    figure = new_figure(11, 11)
    top, below = figure.subplots(2, 1, sharex=True)
    place = _places(rows)
    dice: list[Label] = []
    kid: list[Label] = []
    for g, group in enumerate(GROUPS):
        of = {n: r for n, r in rows.items() if r["group"] == group}
        if not of:
            continue
        y = np.array([r["lesion_dice"] for r in of.values()], float)
        ends = np.array([r["lesion_dice_interval"] for r in of.values()], float)  # None becomes NaN
        errors = np.abs(np.nan_to_num(ends - y[:, None])).T
        top.errorbar([place[n] for n in of], y, yerr=errors, fmt="o", ms=4, lw=0.6, color=f"C{g}", label=group)
        for name, r in of.items():
            column = max(FREE, round(r["calls_per_slice"]))
            dice.append((name, column, place[name], r["lesion_dice"]))
            d = (r.get("images") or {}).get("distance")
            if d:
                kid.append((name, column, place[name], d["kid"]))
                below.plot(place[name], d["kid"], "o", ms=4, color=f"C{g}")
    top.set(ylabel="lesion Dice", xscale="log", ylim=(-0.04, 1), xlim=(FREE / 1.3, 2.5 * max(place.values())))
    _labels(top, dice, 0.026)
    if kid:
        low, high = below.get_ylim()
        _labels(below, kid, 0.026 * (high - low))
        below.set_ylim(low, high)
    below.set(
        xlabel="network calls a slice (left end: none; equal ones a little apart)", ylabel="KID of healed lesion slices"
    )
    top.legend(fontsize=7, ncols=2, loc="upper left")
    figure.suptitle(f"Quality against network calls, split {split}. {RESEARCH_USE_ONLY}", fontsize=9)
    save(figure, path, synthetic=False)


def heat_map(points: list[dict[str, Any]], slices: int, path: Path) -> bool:
    """Like the paper's Fig. 5: lesion Dice by noise level K and percentile of the mask."""
    of = [p for p in points if p["group"] == "K x percentile"]
    if not of:
        return False
    levels = sorted({p["settings"]["noise_level"] for p in of})
    percentiles = sorted({p["settings"]["percentile"] for p in of})
    table = np.full((len(levels), len(percentiles)), np.nan)
    for p in of:
        at = (levels.index(p["settings"]["noise_level"]), percentiles.index(p["settings"]["percentile"]))
        table[at] = p["lesion_dice"]
    figure = new_figure(1.2 * len(percentiles) + 2.5, 0.8 * len(levels) + 1.8)
    axes = figure.subplots()
    drawn = axes.imshow(table, cmap="viridis")
    for i, j in np.ndindex(*table.shape):
        dark = table[i, j] < np.nanmean(table)
        axes.text(j, i, f"{table[i, j]:.3f}", ha="center", va="center", color="white" if dark else "black", fontsize=8)
    axes.set_xticks(range(len(percentiles)), [f"{p:g}" for p in percentiles])
    axes.set_yticks(range(len(levels)), [str(k) for k in levels])
    axes.set(xlabel="percentile of the mask", ylabel="noise level K")
    figure.colorbar(drawn, label="lesion Dice")
    figure.suptitle(
        f"Dif-fuse, {slices} val lesion slices, threshold tuned at each point.\n{RESEARCH_USE_ONLY}", fontsize=8
    )
    save(figure, path, synthetic=False)
    return True


def level_curve(points: list[dict[str, Any]], slices: int, path: Path) -> bool:
    """Like the paper's Fig. 7: lesion Dice by noise level K, the default mask, and under the percentile rule."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for p in points:
        if p["group"] == "K":
            curves.setdefault("default mask", []).append((p["settings"]["noise_level"], p["lesion_dice"]))
        elif p["group"] == "K x percentile":
            name = f"percentile {p['settings']['percentile']:g}"
            curves.setdefault(name, []).append((p["settings"]["noise_level"], p["lesion_dice"]))
    if not curves:
        return False
    figure = new_figure(7, 4.5)
    axes = figure.subplots()
    for name, curve in curves.items():
        x, y = zip(*sorted(curve), strict=True)
        axes.plot(x, y, "o-", ms=3, lw=1.5 if name == "default mask" else 0.7, label=name)
    axes.set(xlabel="noise level K", ylabel="lesion Dice")
    axes.legend(fontsize=7)
    figure.suptitle(
        f"Dif-fuse, {slices} val lesion slices, threshold tuned at each point.\n{RESEARCH_USE_ONLY}", fontsize=8
    )
    save(figure, path, synthetic=False)
    return True
