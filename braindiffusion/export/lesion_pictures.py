"""The picture of an induction. It carries the synthetic mark."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np

from braindiffusion.export.pictures import areas, telling_slices
from braindiffusion.export.sheet import Sheet

if TYPE_CHECKING:
    from braindiffusion.pipeline.induce import InduceResult
    from braindiffusion.volume.scan import Scan

HEADINGS = ("original", "lesion (red), margin (cyan)", "DISEASED", "change inside (red), outside (blue)", "difference")
INSIDE, OUTSIDE, MOVED = (1.0, 0.25, 0.2, 0.5), (0.25, 0.5, 1.0, 0.5), (0.45, 0.85, 0.25, 0.5)
DISPLACED = "change inside (red), outside (blue), moved (green)"


def induction_overview(scan: Scan, result: InduceResult, path: Path | BinaryIO, title: str = "") -> None:
    """original | lesion and margin | diseased | two colours | difference, several slices, on the scan's own grid."""
    chosen = telling_slices(cast(Any, result))

    def axial(volume: np.ndarray) -> np.ndarray:
        return result.stack.placement.to_axial(volume)[chosen]

    before, after = axial(scan.voxels).astype(np.float32), axial(result.diseased).astype(np.float32)
    lesion, margin, labels = axial(result.lesion), axial(result.generate_mask), axial(result.difference)
    effect = result.mass_effect
    notes = areas(lesion, result.stack)
    headings = HEADINGS if effect is None else (*HEADINGS[:3], DISPLACED, *HEADINGS[4:])
    sheet = Sheet(before, result.stack, chosen, headings, 2, notes, sides=scan.orientation_known)
    for i in range(len(chosen)):
        for column, plane in enumerate((before[i], before[i], after[i], after[i])):
            sheet.grey(i, column, plane)
        sheet.outline(i, 1, margin[i], "cyan")
        sheet.outline(i, 1, lesion[i], "red")
        if effect is not None:
            sheet.outline(i, 1, axial(effect.outline == 2)[i], "lime")
            sheet.outline(i, 2, axial(effect.outline == 1)[i], "yellow")
        sheet.colours(i, 3, labels[i], (INSIDE, OUTSIDE, MOVED))
        sheet.difference(i, 4, after[i] - before[i])
    sheet.save(path, title)
