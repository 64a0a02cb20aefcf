"""Copies of scans as a study keeps them: int16, one grey scale for all images of a case."""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from braindiffusion.errors import StudyError
from braindiffusion.io.checks import orientation_code
from braindiffusion.studies.protocol import Window
from braindiffusion.volume.scan import Scan

MOST = 32767
MIDDLE = 0.6
"""Share of the head's extent along each axis whose grey values decide what is shown white."""
FOREGROUND = 0.1
"""Voxels above this share of the 99.9th percentile are the head: air would drown it in the percentiles."""


@dataclass(frozen=True)
class Copy:
    """One image of a case.

    Attributes:
        voxels: (I,J,K) int16, 0..32767; affine: (4,4) IJK -> RAS mm.
        window: width and level in the copy's values.
    """

    voxels: np.ndarray
    affine: np.ndarray
    window: tuple[float, float]


def sealed_copies(scans: dict[str, Scan], window: Window, together: bool) -> dict[str, Copy]:
    """The images of one case.

    One linear map takes the lowest voxel to 0 and the highest to 32767, so that neither number type nor range tells
    where a scan comes from.

    Args:
        scans: by role, a prior after its scan.
        together: one map and one window for all (a scan and its prior, window of the prior), else one each.
    """
    out = {}
    for role, scan in scans.items():
        group = list(scans.values()) if together else [scan]
        low = min(float(s.voxels.min()) for s in group)
        high = max(float(s.voxels.max()) for s in group)
        scale = MOST / (high - low)
        voxels = np.rint((scan.voxels.astype(np.float64) - low) * scale).astype(np.int16)
        darkest, brightest = _range(group[-1].voxels, window)
        width = max(1.0, (brightest - darkest) * scale)
        level = ((brightest + darkest) / 2 - low) * scale
        out[role] = Copy(voxels, scan.affine, (round(width, 1), round(level, 1)))
    return out


def _range(voxels: np.ndarray, window: Window) -> tuple[float, float]:
    """The grey values shown as black and as white.

    The low percentile is taken over all voxels (black is air), the high one over the middle of the head: the fat of the
    scalp would leave the brain dark.
    """
    if window.width is not None and window.level is not None:
        return window.level - window.width / 2, window.level + window.width / 2
    assert window.percentiles is not None
    low = float(np.percentile(voxels, window.percentiles[0]))
    air, bright = float(voxels.min()), float(np.percentile(voxels, 99.9))
    head = voxels > air + FOREGROUND * (bright - air)
    inner = _middle(head)
    middle = voxels[inner][head[inner]]
    return low, float(np.percentile(middle if middle.size else voxels, window.percentiles[1]))


def _middle(head: np.ndarray) -> tuple[slice, ...]:
    """The inner part of where the head lies, along each axis."""
    out = []
    for axis in range(3):
        lines = np.flatnonzero(head.any(tuple(a for a in range(3) if a != axis)))
        low, high = (lines[0], lines[-1] + 1) if lines.size else (0, head.shape[axis])
        edge = int((high - low) * (1 - MIDDLE) / 2)
        out.append(slice(low + edge, high - edge))
    return tuple(out)


def grid_of(scan: Scan) -> str:
    """Size, spacing and axes as text; equal for scans that look alike on screen."""
    size = " x ".join(str(n) for n in scan.voxels.shape)
    spacing = " x ".join(f"{s:.2f}" for s in scan.spacing)
    return f"{size} voxels of {spacing} mm, {orientation_code(scan.affine)}"


def check_same_grid(scan: Scan, prior: Scan, name: str) -> None:
    """Raises StudyError where a scan and its prior cannot be laid side by side voxel by voxel."""
    if scan.voxels.shape != prior.voxels.shape or np.abs(scan.affine - prior.affine).max() > 1e-2:
        raise StudyError(
            f"{name} and its prior lie on different grids.",
            f"Scan: {grid_of(scan)}. Prior: {grid_of(prior)}.",
            "Give the prior that the scan was made from.",
        )


def pack_mask(mask: np.ndarray, affine: np.ndarray) -> dict[str, Any]:
    """A mask (I,J,K) bool as plain data, small enough for the key."""
    bits = base64.b64encode(zlib.compress(np.packbits(mask).tobytes(), 9)).decode("ascii")
    return {"shape": list(mask.shape), "affine": affine.tolist(), "bits": bits}


def unpack_mask(data: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """The mask (I,J,K) bool and its affine (4,4) IJK -> RAS mm; the inverse of :func:`pack_mask`."""
    shape = tuple(data["shape"])
    bits = np.frombuffer(zlib.decompress(base64.b64decode(data["bits"])), np.uint8)
    return np.unpackbits(bits, count=int(np.prod(shape))).reshape(shape).astype(bool), np.array(data["affine"])
