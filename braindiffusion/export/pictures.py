"""Pictures of a result. Every one carries the synthetic mark."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from braindiffusion import NOT_FOR_DIAGNOSIS

if TYPE_CHECKING:
    from braindiffusion.heal import HealResult, SaliencyResult
    from braindiffusion.scan import Scan


def telling_slices(result: HealResult, count: int = 6) -> list[int]:
    """Slices worth showing: spread over those that were changed, else over the brain."""
    mask, brain = result.on_grid["mask"], result.stack.brain
    area = result.on_grid["lesion"].sum((1, 2)) + 1e-3 * mask.sum((1, 2))
    changed = np.nonzero(mask.any((1, 2)))[0]
    pool = changed if len(changed) else np.nonzero(brain.mean((1, 2)) > 0.1)[0]
    if not len(pool):
        pool = np.arange(len(brain))
    picked = {int(pool[i]) for i in np.linspace(0, len(pool) - 1, min(count, len(pool))).round().astype(int)}
    if len(changed) > count:
        picked.discard(min(picked, key=lambda s: area[s]))
        picked.add(int(area.argmax()))
    return sorted(picked)


def _crop(planes: np.ndarray, border: int = 8) -> tuple[slice, slice]:
    rows, columns = (np.nonzero(planes.any(axis))[0] for axis in ((0, 2), (0, 1)))
    if not len(rows):
        return slice(None), slice(None)
    return slice(max(0, rows[0] - border), rows[-1] + border + 1), slice(
        max(0, columns[0] - border), columns[-1] + border + 1
    )


def overview(scan: Scan, result: HealResult, path: Path, title: str = "") -> None:
    """original | saliency | mask | counterfactual | difference, several slices, on the scan's own grid."""
    from matplotlib.figure import Figure

    p = result.stack.placement
    chosen = telling_slices(result)

    def axial(volume: np.ndarray) -> np.ndarray:
        return p.to_axial(volume)[chosen]

    before, after = axial(scan.voxels).astype(np.float32), axial(result.counterfactual).astype(np.float32)
    tone = result.stack.intensity_of(chosen[len(chosen) // 2])
    low, high = tone.zero, tone.zero + (0.95 / tone.gain if tone.gain else 1.0)
    saliency, mask, lesion = axial(result.saliency), axial(result.mask), axial(result.lesion)
    difference = (after - before) * tone.gain
    rows, columns = _crop(before > low + 0.05 * (high - low))
    aspect = p.pitch[0] / p.pitch[1]
    headings = ["original", "saliency", "mask (cyan), lesion (red)", "COUNTERFACTUAL", "difference"]
    height = (rows.stop or before.shape[1]) - (rows.start or 0)
    width = (columns.stop or before.shape[2]) - (columns.start or 0)
    cell = 2.3
    figure = Figure(figsize=(5 * cell, len(chosen) * cell * height * aspect / width + 0.85), facecolor="black")
    axes = figure.subplots(len(chosen), 5, squeeze=False)
    for i, s in enumerate(chosen):
        view = before[i][rows, columns]
        grey: dict[str, Any] = {"cmap": "gray", "vmin": low, "vmax": high, "aspect": aspect, "interpolation": "nearest"}
        for j in (0, 1, 2):
            axes[i, j].imshow(view, **grey)
        shown = saliency[i][rows, columns]
        axes[i, 1].imshow(shown, cmap="inferno", vmin=0, vmax=1, alpha=np.clip(shown * 1.5, 0, 0.8), aspect=aspect)
        for volume, colour in ((mask, "cyan"), (lesion, "red")):
            plane = volume[i][rows, columns]
            if plane.any() and not plane.all():
                axes[i, 2].contour(plane, [0.5], colors=colour, linewidths=0.9)
        axes[i, 3].imshow(after[i][rows, columns], **grey)
        axes[i, 4].imshow(
            difference[i][rows, columns], cmap="RdBu_r", vmin=-0.4, vmax=0.4, aspect=aspect, interpolation="nearest"
        )
        axes[i, 0].text(0.02, 0.02, f"slice {s}", color="white", fontsize=7, transform=axes[i, 0].transAxes)
        axes[i, 3].text(
            0.5, 0.015, NOT_FOR_DIAGNOSIS, color="yellow", fontsize=5.5, ha="center", transform=axes[i, 3].transAxes
        )
        for a in axes[i]:
            a.set_axis_off()
    for a, heading in zip(axes[0], headings, strict=True):
        a.set_title(heading, color="white", fontsize=8)
    figure.suptitle(
        f"{NOT_FOR_DIAGNOSIS}   {title}", color="yellow", fontsize=9, y=1 - 0.1 / figure.get_figheight(), va="top"
    )
    figure.subplots_adjust(0.005, 0.005, 0.995, 1 - 0.6 / figure.get_figheight(), 0.02, 0.02)
    figure.savefig(path, dpi=130, facecolor="black", metadata={"Description": NOT_FOR_DIAGNOSIS})


def saliency_picture(scan: Scan, found: SaliencyResult, path: Path, count: int = 12) -> None:
    """The slices with the highest lesion probability, with the saliency over them."""
    from matplotlib.figure import Figure

    ranked = sorted(found.slices, key=lambda row: -row["lesion_probability"])[:count]
    chosen = sorted(row["slice"] for row in ranked) or [len(found.stack) // 2]
    probability = {row["slice"]: row["lesion_probability"] for row in found.slices}
    probability.setdefault(chosen[0], float("nan"))
    p = found.stack.placement
    images, maps = p.to_axial(scan.voxels)[chosen].astype(np.float32), p.to_axial(found.saliency)[chosen]
    tone = found.stack.intensity_of(chosen[0])
    columns = min(6, len(chosen))
    rows = -(-len(chosen) // columns)
    figure = Figure(figsize=(2.2 * columns, 2.5 * rows + 0.4), facecolor="black")
    axes = figure.subplots(rows, columns, squeeze=False)
    for a in axes.flat:
        a.set_axis_off()
    aspect = p.pitch[0] / p.pitch[1]
    for a, s, image, shown in zip(axes.flat, chosen, images, maps, strict=False):
        a.imshow(image, cmap="gray", vmin=tone.zero, vmax=tone.zero + 0.95 / tone.gain, aspect=aspect)
        a.imshow(shown, cmap="inferno", vmin=0, vmax=1, alpha=np.clip(1.5 * shown, 0, 0.8), aspect=aspect)
        a.set_title(f"slice {s}   p(lesion) {probability[s]:.2f}", color="white", fontsize=7)
    figure.suptitle("Where the classifier looks. Research use only, not for diagnosis.", color="yellow", fontsize=8)
    figure.subplots_adjust(0.005, 0.005, 0.995, 1 - 0.6 / figure.get_figheight(), 0.02, 0.12)
    figure.savefig(path, dpi=120, facecolor="black", metadata={"Description": NOT_FOR_DIAGNOSIS})
