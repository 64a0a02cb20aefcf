"""Lesions made from parameters: strokes by arterial territory, tumours with core and oedema, white-matter spots.

Nothing here comes from a patient's mask. A shape is a scalar field over patient space, sampled at the brain's voxels
and cut at the rank that gives the volume asked for; so it lies in the brain, has its volume whatever the voxels are,
and is the same lesion on every grid. Positions are relative to the brain: (right, anterior, superior), each from -1 to
1 between the ends of its bounding box along the patient's own axes (a tilt of the head is not undone).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import ndimage

from braindiffusion.errors import LesionSizeError
from braindiffusion.settings import ShapeSettings
from braindiffusion.volume.scan import Scan
from braindiffusion.volume.slices import place

MIDLINE_MM = 2.0
TOLERANCE = 0.03
"""Volume that may be missed, as a share of it; never less than one voxel."""

LOBES: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "frontal": ((0.25, 0.30, -0.15), (0.65, 0.80, 0.70)),
    "parietal": ((0.25, -0.55, 0.20), (0.70, -0.05, 0.75)),
    "temporal": ((0.55, -0.25, -0.55), (0.85, 0.35, -0.15)),
    "occipital": ((0.15, -0.90, -0.25), (0.50, -0.60, 0.25)),
}
"""Boxes of relative positions (|right|, anterior, superior): roughly where the lobes lie."""


@dataclass(frozen=True)
class Territory:
    """A cerebral artery's share of a hemisphere, as a cone from the deep white matter to the cortex.

    Attributes:
        apex: relative position of its tip, |right| first.
        low, high: its axis' direction lies between these, in relative coordinates.
        reach: angle of the cone, degrees, at which the field is 1.
        share: how often a random stroke lies there.
    """

    apex: tuple[float, float, float]
    low: tuple[float, float, float]
    high: tuple[float, float, float]
    reach: float
    share: float


TERRITORIES = {
    "MCA": Territory((0.28, 0.0, 0.0), (1.0, -0.7, -0.35), (1.0, 0.7, 0.6), 26.0, 0.7),
    "ACA": Territory((0.15, 0.1, 0.15), (0.05, 0.5, 0.2), (0.35, 1.0, 1.0), 18.0, 0.1),
    "PCA": Territory((0.20, -0.25, -0.10), (0.1, -1.0, -0.35), (0.5, -1.0, 0.15), 22.0, 0.2),
}
LOBE_TERRITORIES = {"frontal": "MCA", "parietal": "MCA", "temporal": "MCA", "occipital": "PCA"}


@dataclass(frozen=True)
class Shape:
    """A lesion's shape.

    Attributes:
        mask: (I,J,K) bool on the scan's grid, inside the brain.
        core: (I,J,K) bool, the inner part of a tumour (the rest is oedema); empty for other kinds.
        ml: its volume.
        facts: what was asked for and what was drawn, JSON-ready.
    """

    mask: np.ndarray
    core: np.ndarray
    ml: float
    facts: dict[str, Any] = field(default_factory=dict)


class Ground:
    """The voxels a lesion may take, in patient space.

    Attributes:
        index: (N,3) int, voxels of the region; mm: (N,3) RAS mm; depth: (N,) mm from the brain's edge in its slice.
        centre, half: of the brain's bounding box, mm.
        voxel_ml: volume of a voxel.
    """

    def __init__(self, scan: Scan, brain: np.ndarray, allowed: np.ndarray | None) -> None:
        self.affine, self.shape = scan.affine, brain.shape
        self.region = brain if allowed is None else brain & allowed
        p = place(scan)
        axial = p.to_axial(brain)
        depth = np.stack([
            ndimage.distance_transform_edt(np.pad(s, 1), sampling=p.pitch)[1:-1, 1:-1] if s.any() else np.zeros(s.shape)
            for s in axial
        ])  # fmt: skip
        self.index = np.argwhere(self.region)
        self.depth = p.from_axial(depth)[tuple(self.index.T)].astype(np.float32)
        self.mm = self.world(self.index)
        whole = self.world(np.argwhere(brain))
        low, high = (whole.min(0), whole.max(0)) if len(whole) else (np.zeros(3), np.zeros(3))
        self.centre, self.half = (low + high) / 2, np.maximum((high - low) / 2, 1.0)
        self._rows = np.full(self.shape, -1, np.int32)
        self._rows[tuple(self.index.T)] = np.arange(len(self.index), dtype=np.int32)
        self.voxel_ml = float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    def world(self, index: np.ndarray) -> np.ndarray:
        """Voxel indices (N,3) to RAS mm."""
        return index @ self.affine[:3, :3].T + self.affine[:3, 3]

    def relative(self, mm: np.ndarray) -> np.ndarray:
        """RAS mm to positions relative to the brain."""
        return (mm - self.centre) / self.half

    def on_side(self, side: str | None) -> np.ndarray:
        """(N,) bool: voxels of the hemisphere, ``MIDLINE_MM`` clear of its middle; all without a side."""
        if side is None:
            return np.ones(len(self.mm), bool)
        right = self.mm[:, 0] - self.centre[0]
        return right > MIDLINE_MM if side == "R" else right < -MIDLINE_MM

    def nearest(self, mm: np.ndarray, among: np.ndarray) -> np.ndarray:
        """The voxel of ``among`` (N,) bool nearest to a point: its position in mm."""
        candidates = self.mm[among]
        return candidates[((candidates - mm) ** 2).sum(1).argmin()]

    def row_at(self, mm: np.ndarray) -> int:
        """The row of the voxel at a point; -1 outside the region."""
        at = np.rint(np.linalg.solve(self.affine[:3, :3], mm - self.affine[:3, 3])).astype(int)
        inside = (at >= 0).all() and (at < self.shape).all()
        return int(self._rows[tuple(at)]) if inside else -1

    def rows_near(self, row: int, reach_mm: float) -> np.ndarray:
        """Rows of the region within ``reach_mm`` of a row, along every voxel axis."""
        steps = np.ceil(reach_mm / np.linalg.norm(self.affine[:3, :3], axis=0)).astype(int)
        low, high = np.maximum(self.index[row] - steps, 0), self.index[row] + steps + 1
        rows = self._rows[tuple(slice(a, b) for a, b in zip(low, high, strict=True))].ravel()
        return rows[rows >= 0]

    def volume(self, chosen: np.ndarray) -> np.ndarray:
        """(N,) bool to (I,J,K) bool."""
        out = np.zeros(self.shape, bool)
        out[tuple(self.index[chosen].T)] = True
        return out


def ripple(mm: np.ndarray, rng: np.random.Generator, shortest: float = 14.0, longest: float = 60.0) -> np.ndarray:
    """(N,) a smooth random field of about unit spread at (N,3) positions: the same on every grid.

    Args:
        shortest, longest: wavelengths, mm.
    """
    out = np.zeros(len(mm))
    waves = 12
    for _ in range(waves):
        direction = rng.standard_normal(3)
        frequency = 2 * np.pi / rng.uniform(shortest, longest)
        phase = rng.uniform(0, 2 * np.pi)
        out += np.cos(mm @ (direction / np.linalg.norm(direction) * frequency) + phase)
    return out * np.sqrt(2.0 / waves)


def _connected(ground: Ground, chosen: np.ndarray, seed: int) -> np.ndarray:
    """(N,) bool: what of ``chosen`` hangs together with row ``seed``."""
    index = ground.index[chosen]
    low = index.min(0)
    box = np.zeros(index.max(0) - low + 1, bool)
    box[tuple((index - low).T)] = True
    labels, _ = ndimage.label(box, np.ones((3, 3, 3)))
    out = np.zeros_like(chosen)
    out[chosen] = labels[tuple((index - low).T)] == labels[tuple(ground.index[seed] - low)]
    return out


def cut(ground: Ground, values: np.ndarray, among: np.ndarray, count: int) -> np.ndarray:
    """(N,) bool: about ``count`` voxels of the lowest values, connected to the very lowest."""
    order = np.argsort(np.where(among, values, np.inf), kind="stable")[: int(among.sum())]
    wanted = count
    chosen = np.zeros(len(values), bool)
    for _ in range(12):
        trial = np.zeros(len(values), bool)
        trial[order[:wanted]] = True
        trial = _connected(ground, trial, int(order[0]))
        if abs(int(trial.sum()) - count) < abs(int(chosen.sum()) - count) or not chosen.any():
            chosen = trial
        short = count - int(trial.sum())
        if short <= TOLERANCE * count / 3 or wanted >= len(order):
            break
        wanted = min(len(order), wanted + max(1, short))
    excess = int(chosen.sum()) - count
    if excess > 0:  # a bridge to a satellite was crossed: give back the highest
        last = [i for i in order[::-1] if chosen[i]][:excess]
        chosen[last] = False
    return chosen


Field = tuple[np.ndarray, dict[str, Any]]


def _point_in(
    box: tuple[tuple[float, float, float], tuple[float, float, float]], rng: np.random.Generator
) -> np.ndarray:
    return rng.uniform(*np.array(box))


def _stroke(ground: Ground, s: ShapeSettings, side: str, rng: np.random.Generator) -> Field:
    names = list(TERRITORIES)
    drawn = str(rng.choice(names, p=[TERRITORIES[n].share for n in names]))
    name = s.territory or (LOBE_TERRITORIES[s.lobe] if s.lobe else drawn)
    t = TERRITORIES[name]
    mirror = np.array([1.0 if side == "R" else -1.0, 1.0, 1.0])
    apex = ground.centre + ground.half * np.array(t.apex) * mirror
    aim = _point_in((t.low, t.high), rng)
    if s.lobe:
        aim = _point_in(LOBES[s.lobe], rng) - t.apex
    axis = aim * mirror * ground.half
    axis /= np.linalg.norm(axis)
    away = ground.mm - apex
    distance = np.linalg.norm(away, axis=1)
    angle = np.degrees(np.arccos(np.clip(away @ axis / np.maximum(distance, 1e-6), -1, 1)))
    # narrow at the apex, wide at the cortex; an infarct thins out towards the ventricle
    values = angle / t.reach + 0.02 * ground.depth + np.exp(-distance / 6.0)
    values = values + 0.16 * ripple(ground.mm, rng)
    return values, {"territory": name}


def _tumour(ground: Ground, s: ShapeSettings, side: str, rng: np.random.Generator) -> Field:
    box = LOBES[s.lobe] if s.lobe else ((0.25, -0.6, -0.3), (0.65, 0.65, 0.6))
    mirror = np.array([1.0 if side == "R" else -1.0, 1.0, 1.0])
    centre = ground.nearest(ground.centre + ground.half * _point_in(box, rng) * mirror, ground.on_side(side))
    turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    stretch = np.exp(rng.uniform(-0.25, 0.25, 3))
    distance = np.linalg.norm((ground.mm - centre) @ turn / stretch, axis=1)
    # oedema follows white matter: it spreads where it is deep, and spares the cortex
    values = distance * (1 + 0.14 * ripple(ground.mm, rng)) + 6.0 * np.exp(-ground.depth / 3.0)
    return values, {"core_share": round(float(rng.uniform(0.25, 0.5)), 3)}


def _spots(ground: Ground, among: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """White-matter spots: small ellipsoids at the depth of the white matter, until the volume is reached."""
    usual = among & (ground.depth > min(12.0, 0.5 * float(ground.depth.max())))
    pool = usual if usual.any() else among
    chosen = np.zeros(len(among), bool)
    taken = 0
    for _ in range(6000):
        point = ground.centre + ground.half * rng.uniform((-0.6, -0.7, -0.1), (0.6, 0.7, 0.7))
        radius = min(rng.lognormal(0.9, 0.4), 7.0)
        stretch = np.exp(rng.uniform(-0.3, 0.3, 3))
        row = ground.row_at(point)
        if row < 0 or not pool[row]:
            continue
        near = ground.rows_near(row, 1.4 * radius)
        near = near[among[near] & ~chosen[near]]
        ml = 4 / 3 * np.pi * (radius / 10.0) ** 3
        room = min(max(1, round(ml / ground.voxel_ml)), count - taken, len(near))
        distance = (((ground.mm[near] - point) / stretch) ** 2).sum(1)
        chosen[near[np.argsort(distance, kind="stable")[:room]]] = True
        taken = int(chosen.sum())
        if taken == count:
            return chosen
    rest = np.argsort(np.where(among & ~chosen, -ground.depth, np.inf), kind="stable")[: count - taken]
    chosen[rest] = True
    return chosen


def in_boxes(mask: np.ndarray, spacing: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A rounded, uneven lesion in each box of a mask.

    Args:
        mask: (I,J,K) bool; the bounding box of each of its components is filled with one lesion.
        spacing: of its voxels in mm.
        rng: the only source of randomness.

    Returns:
        (I,J,K) bool, inside the boxes.
    """
    out = np.zeros_like(mask)
    labels, _ = ndimage.label(mask, np.ones((3, 3, 3)))
    for found in ndimage.find_objects(labels):
        shape = out[found].shape
        axes = [(np.arange(n) - (n - 1) / 2) / max(n / 2, 0.5) for n in shape]
        radius = np.sqrt(sum(np.meshgrid(*(a**2 for a in axes), indexing="ij")))
        mm = np.stack(np.meshgrid(*(a * n * s / 2 for a, n, s in zip(axes, shape, spacing, strict=True)),
                                  indexing="ij"), -1)  # fmt: skip
        extent = max(n * s for n, s in zip(shape, spacing, strict=True))
        uneven = ripple(mm.reshape(-1, 3), rng, 0.25 * extent, extent).reshape(shape)
        out[found] |= radius * (1 + 0.12 * uneven) < 0.95
    return out


_USUAL: dict[str, tuple[float, float, float, float]] = {
    "stroke": (15.0, 0.9, 1.0, 120.0), "tumour": (40.0, 0.6, 3.0, 150.0), "spots": (6.0, 0.6, 0.5, 30.0),
}  # fmt: skip
KINDS: dict[str, Callable[..., Field] | None] = {"stroke": _stroke, "tumour": _tumour, "spots": None}
"""Field of each kind; spots are placed one by one instead."""


def make_shape(
    scan: Scan,
    brain: np.ndarray,
    settings: ShapeSettings,
    rng: np.random.Generator,
    allowed: np.ndarray | None = None,
) -> Shape:
    """Make a lesion's shape.

    Args:
        scan: for its grid only (any axes, spacing, obliquity; a single slice too).
        brain: (I,J,K) bool.
        rng: the only source of randomness; the same state gives the same lesion in the patient on every grid.
        allowed: (I,J,K) bool, where it may lie (tissue, not ventricles); the brain when not given.

    Raises:
        LesionSizeError: less than a voxel, or it does not fit into the region it is for.
    """
    ground = Ground(scan, brain, allowed)
    side = settings.side or ("LR"[int(rng.integers(2))] if settings.kind != "spots" else None)
    middle, spread, least, most = _USUAL[settings.kind]
    drawn = float(np.clip(middle * np.exp(spread * rng.standard_normal()), least, most))
    among = ground.on_side(side)
    room_ml = float(among.sum()) * ground.voxel_ml
    ml = settings.ml if settings.ml is not None else min(drawn, 0.12 * room_ml)
    count = round(ml / ground.voxel_ml)
    if settings.ml is None:
        count = max(1, count)
    if count < 1 or count > 0.9 * among.sum():
        why = f"A voxel has {ground.voxel_ml:.2g} mL, and the region it is for {room_ml:.0f} mL."
        raise LesionSizeError(f"A {settings.kind} of {ml:g} mL does not fit.", why, "Give another volume.")
    core = np.zeros(brain.shape, bool)
    facts: dict[str, Any] = {}
    builder = KINDS[settings.kind]
    if builder is None:
        chosen = _spots(ground, among, count, rng)
    else:
        values, facts = builder(ground, settings, side, rng)
        chosen = cut(ground, values, among, count)
        if "core_share" in facts:
            inner = np.where(chosen, values, np.inf)
            core = ground.volume(inner <= np.quantile(values[chosen], facts["core_share"]))
    mask = ground.volume(chosen)
    made = float(mask.sum()) * ground.voxel_ml
    facts = {
        "kind": settings.kind, "asked_ml": settings.ml, "ml": round(made, 3), "side": side or "both",
        "lobe": settings.lobe, **facts,
    }  # fmt: skip
    return Shape(mask, core & mask, made, facts)
