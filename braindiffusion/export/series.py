"""The files of a growth series: a volume a size, an animation, and one record."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from braindiffusion import NOT_FOR_DIAGNOSIS
from braindiffusion.export.sheet import cropped
from braindiffusion.io.write import OutputFolder

if TYPE_CHECKING:
    from braindiffusion.pipeline.induce import InduceResult
    from braindiffusion.volume.scan import Scan

FRAME_MS, LAST_MS = 350, 1400
SIDE_PX = 300


def write_series(folder: Path, scan: Scan, results: list[InduceResult], file_format: str = "nifti") -> None:
    """``series_01`` to ``series_NN`` with their lesions, ``growth.gif``, and ``series.json`` with all figures.

    Raises:
        OutputError: the folder cannot be written.
    """
    record: list[dict[str, Any]] = []
    with OutputFolder(folder) as out:
        for number, result in enumerate(results, start=1):
            name = f"series_{number:02d}"
            what = f"{NOT_FOR_DIAGNOSIS}: growth {number} of {len(results)}"
            out.volume(name, result.diseased, scan, file_format=file_format, description=what)
            out.volume(f"{name}_lesion", result.lesion.astype(np.uint8), scan, file_format=file_format)
            record.append({"volume": name, **result.effects})
        animate(out.file("growth.gif"), scan, results)
        out.json("series", {"synthetic": True, "notice": NOT_FOR_DIAGNOSIS, "volumes": record})
        out.json("provenance", results[-1].provenance | {"series": [r.provenance["lesion"] for r in results]})


def animate(path: Path, scan: Scan, results: list[InduceResult]) -> None:
    """An animated GIF: the axial and the coronal plane through the middle of the lesion, from the scan to full size."""
    from PIL import Image, ImageDraw

    placement, last = results[-1].stack.placement, results[-1]
    lesion, tone = placement.to_axial(last.lesion), last.stack.intensity_of(len(last.stack) // 2)
    s, row = (int(lesion.sum(axes).argmax()) for axes in ((1, 2), (0, 2)))
    crop = cropped(placement.to_axial(scan.voxels)[s][None] > tone.zero + 0.05 / tone.gain)
    pixel = SIDE_PX / max(len(range(*crop[i].indices(placement.shape[i + 1]))) * placement.pitch[i] for i in (0, 1))

    def plane(values: np.ndarray, mm: tuple[float, float]) -> Image.Image:
        grey = np.clip((values.astype(np.float32) - tone.zero) * tone.gain / 0.95, 0, 1)
        shown = Image.fromarray((255 * grey).astype(np.uint8))
        size = (round(values.shape[1] * mm[1] * pixel), round(values.shape[0] * mm[0] * pixel))
        return shown.resize((max(1, size[0]), max(1, size[1])), Image.Resampling.BILINEAR)

    frames = []
    for voxels, ml in [(scan.voxels, 0.0), *((r.diseased, r.effects["lesion_ml"]) for r in results)]:
        axial = placement.to_axial(voxels)
        a = plane(axial[s][crop], placement.pitch)
        b = plane(axial[::-1, row, crop[1]], (placement.thickness, placement.pitch[1]))
        frame = Image.new("L", (a.width + b.width + 6, max(a.height, b.height) + 28))
        frame.paste(a, (0, 28))
        frame.paste(b, (a.width + 6, 28))
        ImageDraw.Draw(frame).text((4, 2), f"{NOT_FOR_DIAGNOSIS}\nR    {ml:.1f} mL", fill=255)
        frames.append(frame)
    times = [FRAME_MS] * (len(frames) - 1) + [LAST_MS]
    frames[0].save(
        path, save_all=True, append_images=frames[1:], duration=times, loop=0, comment=NOT_FOR_DIAGNOSIS.encode()
    )
