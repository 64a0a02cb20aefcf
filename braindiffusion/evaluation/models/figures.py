"""Figures of the model evaluation, one a model. What a network made is marked as synthetic."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from braindiffusion import NOT_FOR_DIAGNOSIS, RESEARCH_USE_ONLY

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from braindiffusion.evaluation.metrics.nearest import Neighbours
    from braindiffusion.evaluation.models.data import Bench
    from braindiffusion.training.grid_data import GridData

SHOWN = (100, 250, 500, 750)


def montage(images: np.ndarray, columns: int) -> np.ndarray:
    """(N,H,W) -> one plane, filled row by row."""
    n, h, w = images.shape
    rows = -(-n // columns)
    canvas = np.zeros((rows * h, columns * w), np.float32)
    for i, image in enumerate(images):
        r, c = divmod(i, columns)
        canvas[r * h : (r + 1) * h, c * w : (c + 1) * w] = image
    return canvas


def show(axes: Axes, plane: np.ndarray, title: str = "", **options: Any) -> None:
    """A grey image without axes."""
    look: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 1, "interpolation": "nearest", **options}
    axes.imshow(plane, **look)
    axes.set_title(title, fontsize=8, loc="left")
    axes.set_axis_off()


def new_figure(width: float, height: float) -> Figure:
    """A figure that lays itself out."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save(figure: Figure, path: Path, synthetic: bool = True) -> None:
    """Write the PNG with its mark."""
    mark = NOT_FOR_DIAGNOSIS if synthetic else RESEARCH_USE_ONLY
    figure.savefig(path, dpi=100, metadata={"Description": mark})


def _planes(x: Tensor) -> np.ndarray:
    return x[:, 0].numpy()


def denoiser_figure(
    path: Path,
    bench: Bench,
    real: Tensor,
    estimates: list[Tensor],
    few: Tensor,
    curve: dict[str, list[float]],
    floor: dict[str, float],
    samples: Tensor | None,
    found: Neighbours | None,
) -> None:
    """Samples beside real slices, estimates by level, the nearest pairs, and the two curves."""
    figure = new_figure(11, 13 if samples is not None else 7)
    grid = figure.add_gridspec(
        3 if samples is not None else 2, 2, height_ratios=[2, 2, 1.4][-3 if samples is not None else -2 :]
    )
    top = 0
    if samples is not None and found is not None:
        pick = np.linspace(0, len(real) - 1, min(16, len(real))).round().astype(int)
        show(
            figure.add_subplot(grid[0, 0]),
            montage(_planes(samples[:16]), 4),
            f"SAMPLES from pure noise: {NOT_FOR_DIAGNOSIS}",
        )
        show(figure.add_subplot(grid[0, 1]), montage(_planes(real)[pick], 4), f"real slices, {bench.split}")
        top = 1
    stack = np.concatenate([_planes(few)[None], np.stack([_planes(e) for e in estimates])])
    show(
        figure.add_subplot(grid[top, 0]),
        montage(stack.reshape(-1, *stack.shape[2:]), len(few)),
        "rows: real; ESTIMATES through the noise of t = " + ", ".join(str(t) for t in SHOWN),
    )
    if samples is not None and found is not None:
        order = np.argsort(found.samples)[:6]
        pairs = np.concatenate([_planes(samples)[order], bench.train.image[found.nearest[order]].astype(np.float32)])
        show(
            figure.add_subplot(grid[top, 1]),
            montage(pairs.reshape(2, -1, *pairs.shape[1:])[:, :6].reshape(-1, *pairs.shape[1:]), len(order)),
            "SAMPLES nearest to a training slice; below, that slice",
        )
    axes = figure.add_subplot(grid[-1, 0])
    axes.plot(curve["t"], curve["psnr"], "o-", ms=3, label="estimate")
    axes.axhline(floor["psnr"], color="grey", ls="--", lw=0.8, label="mean training slice")
    axes.set(xlabel="level t", ylabel="PSNR over the brain, dB")
    axes.legend(fontsize=7)
    if found is not None:
        axes = figure.add_subplot(grid[-1, 1])
        bins = np.linspace(0, max(d.max() for d in (found.samples, found.real, found.train)), 40).tolist()
        for name, d in (
            ("training slices", found.train),
            (f"real, {bench.split}", found.real),
            ("samples", found.samples),
        ):
            axes.hist(d, bins=bins, density=True, histtype="step", label=name)
        axes.set(xlabel="RMS distance to the nearest training slice (of another patient)", yticks=[])
        axes.legend(fontsize=7)
    figure.suptitle(f"{bench.model.name}, split {bench.split}. {RESEARCH_USE_ONLY}", fontsize=9)
    save(figure, path)


def lesion_figure(
    path: Path, bench: Bench, shown: list[tuple[str, GridData, dict[str, np.ndarray]]], n: int = 8
) -> None:
    """For each kind: real slices with the drawn mask, samples told it, told its boxes, told no mask."""
    rows = ("real", "drawn", "boxes", "empty")
    titles = {
        "real": "real, drawn mask in red",
        "drawn": "SAMPLES told the drawn mask",
        "boxes": "SAMPLES told its boxes",
        "empty": "SAMPLES told no mask",
    }
    figure = new_figure(11, 1 + 6.2 * max(1, len(shown)))
    axes = figure.subplots(4 * max(1, len(shown)), 1, squeeze=False)[:, 0]
    for k, (name, part, images) in enumerate(shown):
        pick = np.linspace(0, len(part.image) - 1, min(n, len(part.image))).round().astype(int)
        outline = montage(part.lesion[pick].astype(np.float32), len(pick))
        for a, row in zip(axes[4 * k : 4 * k + 4], rows, strict=True):
            planes = part.image[pick].astype(np.float32) if row == "real" else images[row][pick]
            show(a, montage(planes, len(pick)), f"{name}: {titles[row]}")
            if row in ("real", "drawn"):
                a.contour(outline, [0.5], colors="red", linewidths=0.6)
    figure.suptitle(f"{bench.model.name}, split {bench.split}. {NOT_FOR_DIAGNOSIS}", fontsize=9)
    save(figure, path)


def classifier_figure(
    path: Path, bench: Bench, curves: dict[str, dict[str, np.ndarray]], extra: list[dict[str, Any]]
) -> None:
    """ROC and reliability of each source, and AUROC by level for a noised classifier."""
    figure = new_figure(4 * (3 if extra else 2), 4)
    axes = figure.subplots(1, 3 if extra else 2)
    for name, c in curves.items():
        axes[0].plot(c["false_alarms"], c["hits"], label=name)
        axes[1].plot(c["told"], c["seen"], "o-", ms=3, label=name)
    for a in axes[:2]:
        a.plot([0, 1], [0, 1], color="grey", lw=0.6)
        a.legend(fontsize=7)
    axes[0].set(xlabel="share of lesion-free slices called", ylabel="share of lesion slices called")
    axes[1].set(xlabel="probability told", ylabel="share with a lesion")
    if extra:
        for name in curves:
            mine = [row for row in extra if row["source"] == name]
            axes[2].plot([r["t"] for r in mine], [r["auroc"] for r in mine], "o-", ms=3, label=name)
        axes[2].set(xlabel="level t", ylabel="AUROC")
        axes[2].legend(fontsize=7)
    figure.suptitle(f"{bench.model.name}, split {bench.split}. {RESEARCH_USE_ONLY}", fontsize=9)
    save(figure, path, synthetic=False)


def rows_figure(path: Path, bench: Bench, rows: list[tuple[str, np.ndarray]]) -> None:
    """Rows of (N,H,W) planes, each with its title."""
    figure = new_figure(11, 1.7 * len(rows) + 0.5)
    axes = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
    for a, (title, planes) in zip(axes, rows, strict=True):
        show(a, montage(planes, len(planes)), title)
    figure.suptitle(f"{bench.model.name}, split {bench.split}. {NOT_FOR_DIAGNOSIS}", fontsize=9)
    save(figure, path)


Outlines = tuple[str, np.ndarray, list[tuple[np.ndarray, str]]]
"""A row of a figure: title, slices (N,H,W) in [0,1], masks (N,H,W) with their colours."""


def outlines_figure(path: Path, title: str, rows: list[Outlines]) -> None:
    """Rows of slices with the outlines of masks."""
    width = 10.0
    heights = [width / len(planes) * planes.shape[1] / planes.shape[2] + 0.25 for _, planes, _ in rows]
    figure = new_figure(width, sum(heights) + 0.4)
    axes = figure.subplots(len(rows), 1, squeeze=False, height_ratios=heights)[:, 0]
    for a, (name, planes, masks) in zip(axes, rows, strict=True):
        show(a, montage(planes, len(planes)), name)
        for mask, colour in masks:
            plane = montage(mask.astype(np.float32), len(planes))
            if plane.any():
                a.contour(plane, [0.5], colors=colour, linewidths=0.7)
    figure.suptitle(f"{title}. {RESEARCH_USE_ONLY}", fontsize=9)
    save(figure, path, synthetic=False)
