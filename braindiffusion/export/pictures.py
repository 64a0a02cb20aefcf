"""Pictures of a result. Every one carries the synthetic mark."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from braindiffusion import NOT_FOR_DIAGNOSIS
from braindiffusion.export.sheet import Sheet

if TYPE_CHECKING:
    from PIL.Image import Image

    from braindiffusion.pipeline.heal import HealResult
    from braindiffusion.pipeline.saliency import SaliencyResult
    from braindiffusion.volume.scan import Scan
    from braindiffusion.volume.slices import SliceStack

HEADINGS = ("original", "saliency", "mask (cyan), lesion (red)", "COUNTERFACTUAL", "difference")


def telling_slices(result: HealResult, count: int = 6) -> list[int]:
    """Slices worth showing, the one with the largest lesion first: spread over those changed, else over the brain."""
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
    return sorted(picked, key=lambda s: (-area[s], s))


def areas(lesion: np.ndarray, stack: SliceStack) -> list[str]:
    """The lesion's area on each of (N,H,W) slices, in words."""
    across, down = stack.placement.pitch[:2]
    return [f"lesion {plane.sum() * across * down:.0f} mm²" for plane in lesion > 0]


def overview(scan: Scan, result: HealResult, path: Path | BinaryIO, title: str = "") -> None:
    """original | saliency | mask | counterfactual | difference, several slices, on the scan's own grid."""
    chosen = telling_slices(result)

    def axial(volume: np.ndarray) -> np.ndarray:
        return result.stack.placement.to_axial(volume)[chosen]

    before, after = axial(scan.voxels).astype(np.float32), axial(result.counterfactual).astype(np.float32)
    saliency, mask, lesion = axial(result.saliency), axial(result.mask), axial(result.lesion)
    notes = areas(lesion, result.stack)
    sheet = Sheet(before, result.stack, chosen, HEADINGS, 3, notes, sides=scan.orientation_known)
    for i in range(len(chosen)):
        for column in (0, 1, 2):
            sheet.grey(i, column, before[i])
        sheet.heat(i, 1, saliency[i])
        sheet.outline(i, 2, mask[i], "cyan")
        sheet.outline(i, 2, lesion[i], "red")
        sheet.grey(i, 3, after[i])
        sheet.difference(i, 4, after[i] - before[i])
    sheet.save(path, title)


def saliency_picture(scan: Scan, found: SaliencyResult, path: Path | BinaryIO, count: int = 12) -> None:
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


def picture_of(draw: Callable[[Any, Any, BinaryIO], None], scan: Scan, result: Any) -> Image:
    """What ``draw(scan, result, file)`` writes, as a picture."""
    import PIL.Image

    buffer = BytesIO()
    draw(scan, result, buffer)
    return PIL.Image.open(buffer)
