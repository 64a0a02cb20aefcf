"""The picture of an induction. It carries the synthetic mark."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from braindiffusion import NOT_FOR_DIAGNOSIS
from braindiffusion.export.pictures import _crop, telling_slices

if TYPE_CHECKING:
    from braindiffusion.induce import InduceResult
    from braindiffusion.scan import Scan

HEADINGS = ("prior", "lesion (red), margin (cyan)", "DISEASED", "change inside (red), outside (blue)", "difference")


def induction_overview(scan: Scan, result: InduceResult, path: Path, title: str = "") -> None:
    """prior | lesion and margin | diseased | two colours | difference, several slices, on the scan's own grid."""
    from matplotlib.figure import Figure

    p = result.stack.placement
    chosen = telling_slices(cast(Any, result))

    def axial(volume: np.ndarray) -> np.ndarray:
        return p.to_axial(volume)[chosen]

    before, after = axial(scan.voxels).astype(np.float32), axial(result.diseased).astype(np.float32)
    tone = result.stack.intensity_of(chosen[len(chosen) // 2])
    low, high = tone.zero, tone.zero + (0.95 / tone.gain if tone.gain else 1.0)
    lesion, margin, labels = axial(result.lesion), axial(result.generate_mask), axial(result.difference)
    change = (after - before) * tone.gain
    rows, columns = _crop(before > low + 0.05 * (high - low))
    aspect = p.pitch[0] / p.pitch[1]
    height = (rows.stop or before.shape[1]) - (rows.start or 0)
    width = (columns.stop or before.shape[2]) - (columns.start or 0)
    cell, across = 2.3, len(HEADINGS)
    figure = Figure(figsize=(across * cell, len(chosen) * cell * height * aspect / width + 0.85), facecolor="black")
    axes = figure.subplots(len(chosen), across, squeeze=False)
    grey: dict[str, Any] = {"cmap": "gray", "vmin": low, "vmax": high, "aspect": aspect, "interpolation": "nearest"}
    for i, s in enumerate(chosen):
        view, new = before[i][rows, columns], after[i][rows, columns]
        for j, shown in enumerate((view, view, new, new)):
            axes[i, j].imshow(shown, **grey)
        for volume, colour in ((margin, "cyan"), (lesion, "red")):
            plane = volume[i][rows, columns]
            if plane.any() and not plane.all():
                axes[i, 1].contour(plane, [0.5], colors=colour, linewidths=0.9)
        coloured = np.zeros((*view.shape, 4))
        coloured[labels[i][rows, columns] == 1] = (1.0, 0.25, 0.2, 0.5)
        coloured[labels[i][rows, columns] == 2] = (0.25, 0.5, 1.0, 0.5)
        axes[i, 3].imshow(coloured, aspect=aspect, interpolation="nearest")
        axes[i, 4].imshow(
            change[i][rows, columns], cmap="RdBu_r", vmin=-0.4, vmax=0.4, aspect=aspect, interpolation="nearest"
        )
        axes[i, 0].text(0.02, 0.02, f"slice {s}", color="white", fontsize=7, transform=axes[i, 0].transAxes)
        axes[i, 2].text(
            0.5, 0.015, NOT_FOR_DIAGNOSIS, color="yellow", fontsize=5.5, ha="center", transform=axes[i, 2].transAxes
        )
        for a in axes[i]:
            a.set_axis_off()
    for a, heading in zip(axes[0], HEADINGS, strict=True):
        a.set_title(heading, color="white", fontsize=8)
    figure.suptitle(
        f"{NOT_FOR_DIAGNOSIS}   {title}", color="yellow", fontsize=9, y=1 - 0.1 / figure.get_figheight(), va="top"
    )
    figure.subplots_adjust(0.005, 0.005, 0.995, 1 - 0.6 / figure.get_figheight(), 0.02, 0.02)
    figure.savefig(path, dpi=130, facecolor="black", metadata={"Description": NOT_FOR_DIAGNOSIS})
