"""Lesion-shaped holes on lesion-free slices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from braindiffusion.errors import PackError
from braindiffusion.training.packs import Pack

DILATION_PX = 2
MIN_LESION_PX = 60
LEAST_BRAIN_MM2 = 4000.0
MIN_INSIDE = 0.9
"""Share of a hole that has to lie inside the brain."""
SIZES_MM2 = (300.0, 1500.0)
"""Bounds of the strata small, medium, large."""
CSF_SHARE = 0.15
"""A hole with more of its pixels this dark is counted to the ventricles (or cisterns)."""
BORDER_MM = 6.0
HOLES_A_SLICE, APART_PX = 2, 12


@dataclass(frozen=True)
class Hole:
    """A hole in one slice of a pack.

    Attributes:
        index: of the slice in the pack.
        patient: of the slice.
        mask: (H,W) bool.
        size: ``small`` | ``medium`` | ``large`` (below 300, 1500 mm2, above).
        place: ``ventricle`` (holds CSF away from the surface), ``convexity`` (reaches within 6 mm of the brain's
            border), ``end`` (on the lowest or highest fifth of the patient's slices) or ``deep``.
    """

    index: int
    patient: str
    mask: np.ndarray
    size: str
    place: str


def _cut_out(mask: np.ndarray) -> np.ndarray:
    grown = ndimage.binary_dilation(mask, iterations=DILATION_PX)
    rows, columns = np.nonzero(grown.any(1))[0], np.nonzero(grown.any(0))[0]
    return grown[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _laid(shape: np.ndarray, centre: tuple[int, int], brain: np.ndarray) -> np.ndarray | None:
    """The shape centred on a pixel, cut to the brain; ``None`` where too much of it lies outside."""
    h, w = shape.shape
    y, x = centre[0] - h // 2, centre[1] - w // 2
    if y < 0 or x < 0 or y + h > brain.shape[0] or x + w > brain.shape[1]:
        return None
    hole = np.zeros_like(brain)
    hole[y : y + h, x : x + w] = shape
    inside = hole & brain
    return inside if inside.sum() >= MIN_INSIDE * hole.sum() else None


def _place_of(image: np.ndarray, brain: np.ndarray, hole: np.ndarray, pitch: float, end: bool) -> str:
    if end:
        return "end"
    depth = ndimage.distance_transform_edt(brain) * pitch
    dark = image < 0.5 * np.median(image[brain])
    if (dark & (depth > 12.0))[hole].mean() > CSF_SHARE:
        return "ventricle"
    return "convexity" if depth[hole].min() < BORDER_MM else "deep"


def lesion_free(pack: Pack, brains: np.ndarray) -> np.ndarray:
    """Indices of the slices without a lesion that show enough brain; ``brains``: (N,H,W) bool."""
    return np.nonzero(~pack.masks.any((1, 2)) & (brains.sum((1, 2)) * pack.pitch_mm**2 >= LEAST_BRAIN_MM2))[0]


def patients_in_turn(pack: Pack, rows: np.ndarray, rng: np.random.Generator) -> list[int]:
    """The slices ``rows``, one of each patient after the other: few of them still are many patients."""
    names = rng.permutation(sorted(set(pack.patient[rows].tolist())))
    each = [rng.permutation(rows[pack.patient[rows] == name]).tolist() for name in names]
    return [of[i] for i in range(max(map(len, each), default=0)) for of in each if i < len(of)]


def lay_holes(pack: Pack, brains: np.ndarray, limit: int, seed: int = 0) -> list[Hole]:
    """At most ``limit`` holes, spread over patients: masks of other patients on lesion-free slices.

    A slice gets its second hole, well apart from the first, only when every slice has one.

    Args:
        brains: (N,H,W) bool.
        seed: of slices, shapes and places.

    Raises:
        PackError: the pack has no lesion to take a shape from, or no lesion-free slice.
    """
    rng = np.random.default_rng(seed)
    lesions = np.nonzero(pack.masks.sum((1, 2)) >= MIN_LESION_PX)[0]
    free = lesion_free(pack, brains)
    if not len(lesions) or not len(free):
        raise PackError(
            "The hole test needs lesions and lesion-free slices.",
            f"{len(lesions)} slices show a lesion of {MIN_LESION_PX} pixels, {len(free)} none.",
            "Choose a pack, and a split, that has both.",
        )
    first = {p: pack.position[pack.patient == p].min() for p in set(pack.patient[free].tolist())}
    last = {p: pack.position[pack.patient == p].max() for p in first}
    order = patients_in_turn(pack, free, rng)
    holes: list[Hole] = []
    taken = {index: np.zeros_like(brains[index]) for index in order}
    for index in order * HOLES_A_SLICE:
        if len(holes) == limit:
            break
        patient, brain = str(pack.patient[index]), brains[index] & ~taken[index]
        if not brain.any():
            continue
        others = lesions[pack.patient[lesions] != patient]
        candidates = np.argwhere(brain)
        for _ in range(40 if len(others) else 0):
            shape = _cut_out(pack.masks[rng.choice(others)])
            hole = _laid(shape, tuple(candidates[rng.integers(len(candidates))]), brain)
            if hole is None:
                continue
            area = float(hole.sum()) * pack.pitch_mm**2
            size = "small" if area < SIZES_MM2[0] else "medium" if area < SIZES_MM2[1] else "large"
            span = max(1, last[patient] - first[patient])
            where = (pack.position[index] - first[patient]) / span
            end = last[patient] > first[patient] and (where < 0.2 or where > 0.8)
            place = _place_of(pack.images[index].astype(np.float32), brains[index], hole, pack.pitch_mm, end)
            taken[index] |= ndimage.binary_dilation(hole, iterations=APART_PX)
            holes.append(Hole(int(index), patient, hole, size, place))
            break
    return holes
