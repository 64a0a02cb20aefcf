"""The pictures of a teaching file: axial slices with and without the lesion, marked, and what differs in colour."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np

from braindiffusion import NOT_FOR_DIAGNOSIS
from braindiffusion.export.marks import words
from braindiffusion.volume.scan import Scan
from braindiffusion.volume.slices import background_level, place

REAL_MARK = "RESEARCH USE ONLY - NOT FOR DIAGNOSIS"
MOST_SLICES = 24
SIDE = 440
"""Longest side of a picture, pixels."""
MARK_HEIGHT = 13
FULL_CHANGE = 0.35
"""Of the grey scale: a difference this large is shown in full colour."""
MORE, LESS = (255, 138, 61), (74, 168, 255)


@dataclass(frozen=True)
class Slice:
    """One slice, as PNG files in memory; ``difference`` is ``None`` where nothing differs."""

    diseased: bytes
    healthy: bytes
    difference: bytes | None


@dataclass(frozen=True)
class Pictures:
    """The slices from below upwards, the one to begin with, and the width of each over its height."""

    slices: list[Slice]
    first: int
    aspect: float


def data_uri(png: bytes) -> str:
    """A PNG file as text for a page."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def draw(
    scan: Scan, diseased: np.ndarray, healthy: np.ndarray, diseased_is_synthetic: bool, healthy_is_synthetic: bool
) -> Pictures:
    """Pictures of a case.

    Args:
        scan: gives the grid; diseased, healthy: (I,J,K) on it.
    """
    p = place(scan)
    with_lesion, without = p.to_axial(diseased).astype(np.float32), p.to_axial(healthy).astype(np.float32)
    air = background_level(scan.voxels)
    rows, columns = _content(np.abs(with_lesion - air))
    top = _white(with_lesion, rows, columns, air)
    with_lesion, without = ((np.clip(v, air, top) - air) / (top - air) for v in (with_lesion, without))
    change = with_lesion - without
    chosen = _telling(with_lesion[:, rows, columns], change)
    shape = _picture_shape((rows.stop - rows.start) * p.pitch[0], (columns.stop - columns.start) * p.pitch[1])
    marks = [
        words(shape, (NOT_FOR_DIAGNOSIS if synthetic else REAL_MARK).split(" - "), MARK_HEIGHT, right)
        for synthetic, right in ((diseased_is_synthetic, False), (healthy_is_synthetic, True))
    ]
    slices = [
        Slice(
            _grey(with_lesion[s][rows, columns], shape, marks[0]), _grey(without[s][rows, columns], shape, marks[1]),
            _coloured(change[s][rows, columns], shape),
        )
        for s in chosen
    ]  # fmt: skip
    most = int(np.abs(change[chosen]).sum((1, 2)).argmax())
    return Pictures(slices, most, shape[1] / shape[0])


def _white(planes: np.ndarray, rows: slice, columns: slice, air: float) -> float:
    """The value shown as white: what hardly anything in the middle of the head exceeds. Fat under the skin may."""
    middle = [slice(s.start + (s.stop - s.start) // 5, s.stop - (s.stop - s.start) // 5) for s in (rows, columns)]
    inner = planes[:, middle[0], middle[1]]
    bright = inner[inner > air]
    return 1.05 * float(np.percentile(bright, 99.7)) if bright.size else float(planes.max()) + 1


def _content(planes: np.ndarray, border: int = 4) -> tuple[slice, slice]:
    """The rows and columns that show something; planes count from air."""
    shown = (planes > 0.08 * np.percentile(planes, 99.5)).any(0)
    lines = [np.nonzero(shown.any(axis))[0] for axis in (1, 0)]
    if not len(lines[0]):
        return slice(0, planes.shape[1]), slice(0, planes.shape[2])
    rows, columns = (
        slice(max(0, int(v[0]) - border), min(n, int(v[-1]) + border + 1))
        for v, n in zip(lines, planes.shape[1:], strict=True)
    )
    return rows, columns


def _telling(planes: np.ndarray, change: np.ndarray) -> list[int]:
    """The slices with a head in them; where there are too many, evenly thinned out, and the most changed stays."""
    content = (planes > 0.08).mean((1, 2))
    changed = np.abs(change).sum((1, 2))
    pool = np.nonzero((content > 0.05) | (changed > 0))[0]
    if len(pool) <= MOST_SLICES:
        return pool.tolist() or [0]
    kept = {int(pool[i]) for i in np.linspace(0, len(pool) - 1, MOST_SLICES).round().astype(int)}
    best = int(changed.argmax())
    if best not in kept:
        kept = (kept - {min(kept, key=lambda s: abs(s - best))}) | {best}
    return sorted(kept)


def _picture_shape(height_mm: float, width_mm: float) -> tuple[int, int]:
    """Rows and columns of square pixels."""
    scale = SIDE / max(height_mm, width_mm)
    return max(48, round(height_mm * scale)), max(48, round(width_mm * scale))


def _grey(plane: np.ndarray, shape: tuple[int, int], mark: np.ndarray) -> bytes:
    from PIL import Image

    picture = Image.fromarray(np.rint(plane * 255).astype(np.uint8)).resize(shape[::-1], Image.Resampling.BICUBIC)
    pixels = np.array(picture)
    ground = np.zeros_like(mark)
    lines, across = np.nonzero(mark.any(1))[0], np.nonzero(mark.any(0))[0]
    ground[: lines[-1] + 3, max(0, across[0] - 2) : across[-1] + 3] = True
    pixels[ground] //= 3
    pixels[mark] = 255
    return _png(Image.fromarray(pixels))


def _coloured(change: np.ndarray, shape: tuple[int, int]) -> bytes | None:
    from PIL import Image

    if not (np.abs(change) > 0.02).any():
        return None
    smooth = np.array(Image.fromarray(change).resize(shape[::-1], Image.Resampling.BILINEAR))
    pixels = np.zeros((*shape, 4), np.uint8)
    pixels[smooth > 0, :3], pixels[smooth < 0, :3] = MORE, LESS
    strength = np.clip(np.abs(smooth) / FULL_CHANGE, 0, 1)
    pixels[..., 3] = np.where(strength > 0.06, np.rint(60 + 170 * strength), 0)
    return _png(Image.fromarray(pixels))


def _png(picture: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "PNG")  # type: ignore[attr-defined]
    return stream.getvalue()
