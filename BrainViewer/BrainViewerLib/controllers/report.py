"""A key image and a one-page report of the result in view, for a talk or a file: the slice in view, figures, how made.

Neither holds the scan's name, which may be the patient's.
"""

from __future__ import annotations

import base64
import io
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin
from scipy import ndimage

from BrainCounterfactualCommon.host import NOT_FOR_DIAGNOSIS, RESEARCH_USE_ONLY
from BrainCounterfactualCommon.scene import masks, volumes
from BrainCounterfactualCommon.scene.results import isSynthetic
from braindiffusion import __version__
from braindiffusion.export.html import render

TEMPLATE = Path(__file__).with_name("report.html")
HEIGHT, HEAD, FOOT, GAP = 520, 34, 30, 6
"""Pixels of the key image."""
AMBER, WHITE, RED = (233, 180, 76), (235, 240, 245), (239, 83, 80)
COLD_TO_WARM = ((0.45, 0.95, 1.0), (0.1, 0.45, 0.95), (0.0, 0.0, 0.0), (0.95, 0.3, 0.1), (1.0, 0.95, 0.5))


class Plane:
    """How an axial slice of a volume lies as radiologists have it: the patient's right on the left, front above.

    Args:
        volume: the scan; index: of the slice, along its axial voxel axis.
    """

    def __init__(self, volume: Any, index: int) -> None:
        affine = volumes.ijkToRas(volume)
        self.axis, self.index = 2 - volumes.axialAxis(affine)[0], index
        rows, columns = (a for a in range(3) if a != self.axis)  # of (k,j,i)
        directions = {a: affine[:3, 2 - a] for a in (rows, columns)}
        self._turned = abs(directions[rows][0]) > abs(directions[columns][0])
        if self._turned:
            rows, columns = columns, rows
        self._upwards = directions[rows][1] > 0
        self._rightwards = directions[columns][0] > 0
        self.pitch = (float(np.linalg.norm(directions[rows])), float(np.linalg.norm(directions[columns])))

    def of(self, kji: np.ndarray) -> np.ndarray:
        """(H,W): the slice of a (k,j,i) array."""
        plane = kji.take(self.index, self.axis)
        plane = plane.T if self._turned else plane
        plane = plane[::-1] if self._upwards else plane
        return plane[:, ::-1] if self._rightwards else plane

    def picture(self, rgb: np.ndarray) -> Image.Image:
        """(H,W,3) uint8, with square pixels, as high as a panel."""
        height, width = rgb.shape[0] * self.pitch[0], rgb.shape[1] * self.pitch[1]
        size = (max(1, round(HEIGHT * width / height)), HEIGHT)
        return Image.fromarray(np.ascontiguousarray(rgb)).resize(size, Image.Resampling.BICUBIC)


def grey(plane: np.ndarray, low: float, high: float) -> np.ndarray:
    """(H,W,3) uint8."""
    shown = np.clip((plane.astype(np.float32) - low) / max(high - low, 1e-9), 0, 1)
    return np.repeat((shown * 255).astype(np.uint8)[..., None], 3, -1)


def change(plane: np.ndarray, span: float) -> np.ndarray:
    """(H,W,3) uint8: darker blue, brighter orange, unchanged black."""
    at = np.clip(plane / max(span, 1e-9), -1, 1)
    stops = np.array(COLD_TO_WARM)
    channels = [np.interp(at, np.linspace(-1, 1, len(stops)), stops[:, n]) for n in range(3)]
    return (np.stack(channels, -1) * 255).astype(np.uint8)


def outlined(rgb: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The border of a mask in red."""
    out = rgb.copy()
    out[mask & ~ndimage.binary_erosion(mask)] = RED
    return out


def is_synthetic(volume: Any) -> bool:
    """Whether the scan itself is no scanner's."""
    return isSynthetic(volume) or (volume.GetName() or "").upper().startswith("SYNTHETIC")


def key_image(result: Any, index: int, low: float, high: float) -> bytes:
    """PNG: original, what was made of it, difference, on the slice ``index``; marked as synthetic.

    Args:
        low, high: the grey levels shown black and white.
    """
    volume = result.volumeNode
    plane = Plane(volume, index)
    before, after = (plane.of(volumes.voxels(node)) for node in (volume, result.node))
    lesion = result.marked("Lesion") if result.task == "induce" else masks.arrayOf(result.lesionNode, volume)
    whole = volumes.voxels(result.node).astype(np.float32) - volumes.voxels(volume)
    span = float(np.percentile(np.abs(whole[whole != 0]), 99)) if whole.any() else 1.0
    made = "Diseased" if result.task == "induce" else "Counterfactual"
    panels = [
        ("Original", outlined(grey(before, low, high), plane.of(lesion))),
        (made, grey(after, low, high)),
        (f"Difference (±{span:.3g})", change(plane.of(whole), span)),
    ]
    pictures = [(name, plane.picture(rgb)) for name, rgb in panels]
    width = sum(picture.width for _name, picture in pictures) + GAP * (len(pictures) - 1)
    sheet = Image.new("RGB", (width, HEIGHT + HEAD + FOOT))
    draw = ImageDraw.Draw(sheet)
    large, small = (ImageFont.load_default(size) for size in (17, 13))
    at = 0
    for name, picture in pictures:
        sheet.paste(picture, (at, HEAD))
        draw.text((at + 8, 8), name, WHITE, large)
        for text, x, anchor in (("R", at + 8, "lm"), ("L", at + picture.width - 8, "rm")):
            draw.text((x, HEAD + HEIGHT // 2), text, WHITE, small, anchor)
        if name != "Original" or is_synthetic(volume):
            draw.text((at + picture.width // 2, HEAD + HEIGHT - 12), NOT_FOR_DIAGNOSIS, AMBER, small, "mm")
        at += picture.width + GAP
    bar = 50.0 * HEIGHT / (before.shape[0] * plane.pitch[0])
    draw.line([(8, HEAD + HEIGHT + 20), (8 + bar, HEAD + HEIGHT + 20)], WHITE, 2)
    draw.text((14 + bar, HEAD + HEIGHT + 20), "50 mm", WHITE, small, "lm")
    number = volumes.stackIndex(volume, index) + 1
    draw.text((width - 8, HEAD + HEIGHT + 20), f"slice {number}", WHITE, small, "rm")
    note = PngImagePlugin.PngInfo()
    note.add_text("Description", NOT_FOR_DIAGNOSIS)
    out = io.BytesIO()
    sheet.save(out, "PNG", pnginfo=note)
    return out.getvalue()


def rows_of(result: Any, figures: dict[str, Any], regions: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Name and value of everything the report tells."""
    volume, record = result.volumeNode, result.provenance
    settings, size = record.get("settings", {}), volume.GetImageData().GetDimensions()
    spacing = " × ".join(f"{s:.2f}" for s in volume.GetSpacing())
    kept = [f"{r['ml']:.1f} mL, {r['side']}, {r['slices']}{' (' + r['note'] + ')' if r['note'] else ''}"
            for r in regions if r["kept"]]  # fmt: skip
    dropped = [f"{r['ml']:.1f} mL, {r['side']}, {r['slices']}" for r in regions if not r["kept"]]
    told = ("method", "steps", "seed", "fusion", "samples", "kind")
    said = {name: settings[name] for name in told if settings.get(name) is not None}
    models = [f"{m.get('name')} ({m.get('licence', 'licence unknown')})" for m in record.get("models", [])]
    rows = [
        ("Scan", f"{(record.get('scan') or {}).get('modality') or 'contrast unknown'}, "
                 f"{' × '.join(str(n) for n in size)} voxels of {spacing} mm"),
        ("Lesion", f"{figures['lesion_ml']} mL"),
        ("Regions", "; ".join(kept)),
        ("Dropped by the reader", "; ".join(dropped)),
        ("Outside the edited region", figures["check_text"].removeprefix("✓ ")),
        ("How made", figures["subtitle"]),
        ("Settings", ", ".join(f"{name} {value}" for name, value in said.items())),
        ("Models", "; ".join(models)),
        ("Notes", " ".join(figures["warnings"])),
        ("Software", f"BrainViewer {__version__}, {time.strftime('%Y-%m-%d')}"),
    ]  # fmt: skip
    return [(name, value) for name, value in rows if value]


def page(picture: bytes, rows: list[tuple[str, str]], title: str) -> str:
    """The report: one HTML page that loads nothing."""
    image = base64.b64encode(picture).decode("ascii")
    return render(TEMPLATE, title=title, rows=rows, image=image, mark=NOT_FOR_DIAGNOSIS, use=RESEARCH_USE_ONLY)
