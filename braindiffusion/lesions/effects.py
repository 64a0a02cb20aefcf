"""What an induced lesion did, inside it and around it, in figures whose definitions are stated.

Arrays are (S,H,W) on the model grid, images in model units (0.45 is the median brain). All figures describe a
synthetic image: they measure what the model painted, not what a disease would do.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from scipy import ndimage

from braindiffusion.lesions.disharmony import ring_contrast
from braindiffusion.volume.slices import BRAIN_LEVEL

INSIDE, OUTSIDE, MOVED = 1, 2, 3
"""Labels of the difference: painted inside the lesion, painted outside it, and moved by the mass effect."""
VISIBLE = 0.05
"""Least change that is coloured: about a ninth of the median brain."""
DARK = 0.5 * BRAIN_LEVEL
DEEP_MM = 15.0
RINGS_MM = (0.0, 2.0, 5.0, 10.0, 15.0, 20.0, 25.0, 32.0, 45.0)
"""A margin of 22.5 mm ends at 32 mm, in the corners of its square: beyond it nothing may change."""
STRIP_MM, FARTHEST_MM = 18.0, 12.0
DARK_FLUID = {"FLAIR", "T1", "T1GD"}
DEFINITIONS = {
    "lesion_ml": "volume of the lesion's mask inside the brain, on the scan's grid",
    "ventricle": f"pixels below {DARK:.3f} model units (half the median brain), more than {DEEP_MM:g} mm from the "
    "brain's edge in their slice and outside the lesion, before and after, in the slices that hold any of the "
    "generate mask: dark fluid, mostly ventricles; deep sulci and old cavities count too",
    "midline_shift_mm": f"left-right displacement that best explains the change of a strip of {STRIP_MM:g} mm either "
    "side of the brain's middle, outside the lesion, per slice by least squares; positive towards the patient's left; "
    "the largest in size over the slices, and their mean. An estimate of what was painted, not of pressure",
    "change_by_distance": "signed and absolute change (after - before, model units) by distance to the nearest lesion "
    "pixel of the same slice; the margin is a square, so its corners reach 1.41 times as far as its sides",
    "contrast": "mean inside the lesion less the mean of a ring of 2 to 10 mm around it, before and after, averaged "
    "over slices by lesion area",
}


def two_colours(before: np.ndarray, after: np.ndarray, lesion: np.ndarray, least: float = VISIBLE) -> np.ndarray:
    """(S,H,W) uint8: ``INSIDE`` the lesion or ``OUTSIDE`` it, where the smoothed change reaches ``least``; else 0."""
    change = np.abs(ndimage.gaussian_filter(after - before, (0, 0.6, 0.6)))
    seen = (change >= least) & (after != before)  # smoothing must not colour what was kept to the bit
    return np.where(seen, np.where(lesion, INSIDE, OUTSIDE), 0).astype(np.uint8)


def in_plane_distance(mask: np.ndarray, pitch_mm: float) -> np.ndarray:
    """(S,H,W) mm to the nearest pixel of the mask in the same slice; infinite in slices without one."""
    return np.stack([
        ndimage.distance_transform_edt(~m) * pitch_mm if m.any() else np.full(m.shape, np.inf) for m in mask
    ])  # fmt: skip


def change_by_distance(
    before: np.ndarray, after: np.ndarray, lesion: np.ndarray, brain: np.ndarray, pitch_mm: float
) -> list[dict[str, Any]]:
    """Inside the lesion, then ring by ring outside it: mean change, mean absolute change, pixels."""
    change = (after - before).astype(np.float64)
    distance = in_plane_distance(lesion, pitch_mm)
    rows = []
    for low, high in [(None, 0.0), *pairwise(RINGS_MM)]:
        here = brain & (lesion if low is None else (distance > low) & (distance <= high))
        rows.append({
            "from_mm": low, "to_mm": high, "pixels": int(here.sum()),
            "mean": float(change[here].mean()) if here.any() else None,
            "mean_absolute": float(np.abs(change[here]).mean()) if here.any() else None,
        })  # fmt: skip
    return rows


def deep_fluid(images: np.ndarray, lesion: np.ndarray, brain: np.ndarray, pitch_mm: float) -> np.ndarray:
    """(S,H,W) bool: dark pixels deep inside the brain, outside the lesion."""
    depth = np.stack([ndimage.distance_transform_edt(np.pad(b, 1))[1:-1, 1:-1] * pitch_mm for b in brain])
    return (images < DARK) & (depth > DEEP_MM) & ~lesion


def _middle_column(brain: np.ndarray) -> float:
    """The brain's middle from its left and right edges, row by row (median), in pixels."""
    rows = np.nonzero(brain.any(1))[0]
    first = brain[rows].argmax(1)
    last = brain.shape[1] - 1 - brain[rows, ::-1].argmax(1)
    return float(np.median((first + last) / 2))


def midline_shift(
    before: np.ndarray, after: np.ndarray, lesion: np.ndarray, brain: np.ndarray, pitch_mm: float
) -> np.ndarray:
    """(S,) mm, positive towards the patient's left (columns run right to left); 0 where the strip did not change.

    The displacement within ``FARTHEST_MM`` of the strip of ``before`` that comes nearest to ``after`` (mean squared
    difference, to a tenth of a pixel), where neither is lesion.
    """
    out = np.zeros(len(before))
    reach = round(FARTHEST_MM / pitch_mm)
    offsets = np.arange(-10 * reach, 10 * reach + 1) / 10.0
    for s in np.nonzero((before != after).any((1, 2)) & brain.any((1, 2)))[0]:
        middle, half = _middle_column(brain[s]), STRIP_MM / pitch_mm
        lo, hi = max(0, int(middle - half)), min(brain.shape[2], int(middle + half) + 1)
        use = (brain[s] & ~lesion[s])[:, lo:hi]
        if use.sum() < 30 or not (before[s] != after[s])[:, lo:hi][use].any():
            continue
        a = ndimage.gaussian_filter(before[s], 0.7)
        b = ndimage.gaussian_filter(after[s], 0.7)[:, lo:hi]
        cost = []
        for d in offsets:  # linear interpolation at columns - d
            at = np.clip(np.arange(lo, hi) - d, 0, a.shape[1] - 1)
            whole = np.minimum(at.astype(int), a.shape[1] - 2)
            share = (at - whole).astype(a.dtype)
            moved = a[:, whole] * (1 - share) + a[:, whole + 1] * share
            cost.append(float(((moved - b)[use] ** 2).mean()))
        out[s] = offsets[int(np.argmin(np.array(cost) + 1e-9 * np.abs(offsets)))] * pitch_mm
    return out


def measure(
    before: np.ndarray,
    after: np.ndarray,
    lesion: np.ndarray,
    generate: np.ndarray,
    brain: np.ndarray,
    pitch_mm: float,
    thickness_mm: float,
    modality: str | None,
) -> dict[str, Any]:
    """All figures of an induction, JSON-ready, with their definitions.

    Args:
        lesion, generate, brain: (S,H,W) bool; the lesion inside the brain.
        modality: fluid is looked for where it is dark (FLAIR, T1, T1GD; ``None`` is taken for one of them).
    """
    pixel_ml = pitch_mm**2 * thickness_mm / 1000.0
    touched = generate.any((1, 2))
    b, a, p, whole = (v[touched] for v in (before, after, lesion, brain))
    ventricle: dict[str, Any] = {"before_ml": None, "after_ml": None, "change_ml": None}
    if modality is None or modality in DARK_FLUID:
        was, now = (float(deep_fluid(v, p, whole, pitch_mm).sum()) * pixel_ml for v in (b, a))
        ventricle = {"before_ml": round(was, 3), "after_ml": round(now, 3), "change_ml": round(now - was, 3)}
    else:
        ventricle["why"] = f"fluid is not dark on {modality}"
    shift = midline_shift(b, a, p, whole, pitch_mm)
    coloured = two_colours(b, a, p)
    contrast = {
        name: ring_contrast(v, p, whole, pitch_mm).weighted_mean() for name, v in (("before", b), ("after", a))
    }  # fmt: skip
    return {
        "synthetic": True,
        "lesion_on_model_grid_ml": round(float(lesion.sum()) * pixel_ml, 3),
        "generate_ml": round(float(generate.sum()) * pixel_ml, 3),
        "changed_inside_ml": round(float((coloured == INSIDE).sum()) * pixel_ml, 3),
        "changed_outside_ml": round(float((coloured == OUTSIDE).sum()) * pixel_ml, 3),
        "visible_change": VISIBLE,
        "ventricle": ventricle,
        "midline_shift_mm": {
            "largest": round(float(shift[np.abs(shift).argmax()]), 2) if len(shift) else 0.0,
            "mean": round(float(shift.mean()), 2) if len(shift) else 0.0,
        },
        "contrast": contrast,
        "change_by_distance": change_by_distance(b, a, p, whole, pitch_mm),
        "definitions": DEFINITIONS,
    }
