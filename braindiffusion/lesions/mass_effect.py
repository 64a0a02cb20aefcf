"""A scan whose anatomy makes room for a lesion, or takes back the room that one took; with figures.

On the scan's own grid: what :mod:`braindiffusion.lesions.mechanics` computes in millimetres is applied to the voxels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import ndimage

from braindiffusion.lesions.mechanics import PITCH_MM, Displacement, Space, fluid_share, linear, move
from braindiffusion.volume.scan import Scan
from braindiffusion.volume.slices import Intensity, place

MAX_SHARE = 0.95
"""A lesion that displaces its whole volume would grow out of nothing: the model starts from 5 % of it."""
COARSEST_MM = 4.0
DEEP_MM = 20.0
"""Fluid farther than this from the skull is taken for ventricles."""
MIDDLE_MM = 12.0
WORTH = 0.03
"""An undone mass effect has to take away at least this share of the asymmetry."""
AUTO_PERCENT = {
    "tumour": 50.0, "meningioma": 80.0, "haemorrhage": 50.0, "stroke": 15.0, "plaques": 0.0, "spots": 0.0,
}  # fmt: skip
"""Of the lesion's volume, by its kind: tumours displace 30 to 80 %, the swelling of an acute stroke 10 to 30 %."""


@dataclass(frozen=True)
class Middle:
    """The plane between the halves of the skull, from its own left and right walls: a lesion does not move it.

    Attributes:
        distance: (X,Y,Z) mm to the right of the plane.
        right: (3,) the patient's right, along the grid's axes.
        depth: (X,Y,Z) mm from the skull.
        mirror: (3,X,Y,Z) where the mirror image of each cell lies, in cells.
    """

    distance: np.ndarray
    right: np.ndarray
    depth: np.ndarray
    mirror: np.ndarray

    @staticmethod
    def of(space: Space, affine: np.ndarray) -> Middle:
        """Least squares through the middles between the walls, line by line; the lines lie along the grid's axes."""
        direction = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
        axis = int(np.abs(direction[0]).argmax())
        at = np.indices(space.inside.shape).astype(np.float64)
        lines = np.moveaxis(space.inside, axis, 0)
        length = lines.sum(0)
        first, last = lines.argmax(0), len(lines) - 1 - lines[::-1].argmax(0)
        other = [i for i in range(3) if i != axis]
        use = length >= 0.7 * np.percentile(length[length > 0], 90)
        where = np.argwhere(use)
        rows = np.c_[where, np.ones(len(where))]
        slope = np.linalg.lstsq(rows, ((first + last) / 2)[use], rcond=None)[0]
        normal = np.zeros(3)
        normal[axis], normal[other] = 1.0, -slope[:2]
        scale = np.linalg.norm(normal) * np.sign(direction[0, axis])
        normal = normal / scale
        cells = np.tensordot(normal, at, 1) - slope[2] / scale
        depth = ndimage.distance_transform_edt(space.inside) * space.grid.pitch
        return Middle(cells * space.grid.pitch, normal, depth, at - 2 * cells * normal[:, None, None, None])


def midline_shift(moved: Displacement, middle: Middle) -> float:
    """The largest sideways way of what lay deep in the middle, mm; positive towards the patient's left."""
    strip = (np.abs(middle.distance) <= moved.space.grid.pitch) & (middle.depth > DEEP_MM) & (moved.lesion < 0.01)
    if not strip.any() or not moved.steps:
        return 0.0
    sideways = -np.tensordot(middle.right, moved.forward, 1)[strip]
    return float(sideways[np.abs(sideways).argmax()])


def asymmetry(fluid: np.ndarray, lesion: np.ndarray, middle: Middle) -> float:
    """How far deep fluid, mostly ventricles, is from being its own mirror image: 0 it is, 1 nothing overlaps.

    Where the lesion or its mirror image lies is left out.
    """
    mirror = middle.mirror.reshape(3, -1)
    hidden = np.maximum(lesion, linear(lesion, mirror).reshape(lesion.shape)) > 0.1
    use = ((middle.depth > DEEP_MM) | (np.abs(middle.distance) < MIDDLE_MM)) & ~hidden
    smooth = ndimage.gaussian_filter(fluid, 1.0)
    other = linear(smooth, mirror).reshape(fluid.shape)
    return float(np.abs(smooth - other)[use].sum() / max((smooth + other)[use].sum(), 1e-9))


@dataclass(frozen=True)
class MassEffect:
    """A scan whose anatomy was moved. Arrays are (I,J,K).

    Attributes:
        voxels: the scan's dtype; bit-identical to it outside ``moved``.
        moved: bool, where something moved.
        way: float32 mm, how far what is there now was moved.
        outline: uint8, borders of the ventricles in the slices: 1 before, 2 after.
        within: bool, the inside of the skull.
        displacement: the way of everything.
        figures: JSON-ready, with their definitions.
        warnings: sentences for the user.
    """

    voxels: np.ndarray
    moved: np.ndarray
    way: np.ndarray
    outline: np.ndarray
    within: np.ndarray
    displacement: Displacement
    figures: dict[str, Any]
    warnings: list[str]


DEFINITIONS = {
    "displaced_ml": "volume that the lesion gained at the cost of fluid; negative: lost to it",
    "largest_displacement_mm": "of anything inside the skull, outside the lesion",
    "midline_shift_mm": f"the largest sideways way of what lay within a grid cell of the middle plane, more than "
    f"{DEEP_MM:g} mm from the skull and outside the lesion; positive towards the patient's left",
    "fluid": "fluid inside the skull and outside the lesion, by grey value, in the scan and as displaced",
    "ventricle": f"the same, more than {DEEP_MM:g} mm from the skull: mostly ventricles",
    "smallest_volume": "the smallest volume that any place was left of what it had (1: unchanged; 0: folded)",
    "asymmetry": "of deep fluid and the middle strip against its mirror image: 0 the same, 1 nothing overlaps",
}


def pitch_for(scan: Scan) -> float:
    """mm of the grid for a scan: not finer than its voxels are on average."""
    return float(np.clip(np.cbrt(np.prod(scan.spacing)), PITCH_MM, COARSEST_MM))


def displace(
    scan: Scan, brain: np.ndarray, tone: Intensity, lesion: np.ndarray, share: float,
    on_step: Callable[[float], None] | None = None, pitch: float | None = None,
) -> MassEffect:  # fmt: skip
    """Make room for a lesion (or let tissue shrink into it), so that it ends where it was drawn.

    The lesion is first shrunk backwards to what it grew out of, then grown again with the fluid moving along.

    Args:
        brain: (I,J,K) bool; tone: as for :func:`fluid_share`.
        lesion: (I,J,K) bool, as it is to lie in the result.
        share: of its volume that displaces: 0 nothing, 1 all but 5 %; negative: that share was lost, as after an old
            stroke.

    Raises:
        EmptyMaskError, ModalityError.
    """
    space, within = Space.of(scan, brain, tone, pitch or pitch_for(scan))
    final = space.grid.down(lesion)
    ml = _room(space, final, share)
    tell = on_step or (lambda done: None)
    before = move(space, final, -ml, lambda done: tell(0.5 * done)).after
    moved = move(space, before, ml, lambda done: tell(0.5 + 0.5 * done))
    return _applied(scan, brain, tone, within, moved, final, share)


def undo(
    scan: Scan, brain: np.ndarray, tone: Intensity, lesion: np.ndarray, share: float | None,
    on_step: Callable[[float], None] | None = None, pitch: float | None = None,
) -> MassEffect:  # fmt: skip
    """Take back what a lesion that is there displaced.

    Args:
        lesion: (I,J,K) bool, as it lies in the scan.
        share: of its volume; ``None`` finds the one that leaves midline and ventricles most symmetric.

    Raises:
        EmptyMaskError, ModalityError.
    """
    space, within = Space.of(scan, brain, tone, pitch or pitch_for(scan))
    present = space.grid.down(lesion)
    whole = max(float(present[space.inside].sum()) * space.grid.cell_ml, 1e-9)
    moved = move(space, present, -_room(space, present, 1.0 if share is None else share), on_step)
    middle = Middle.of(space, scan.affine)
    if share is None:
        tried = [moved.upto(ml) for ml in (0.0, *moved.ml)]
        left = np.array([asymmetry(_carried(m), m.after, middle) for m in tried])
        moved = tried[int(left.argmin()) if left.min() < (1.0 - WORTH) * left[0] else 0]
        share = -(moved.ml[-1] if moved.ml else 0.0) / whole
    done = _applied(scan, brain, tone, within, moved, moved.after, -share)
    asymmetries = [
        round(asymmetry(f, m, middle), 4) for f, m in ((space.fluid, present), (_carried(moved), moved.after))
    ]  # fmt: skip
    figures = {**done.figures, "asymmetry": dict(zip(("before", "after"), asymmetries, strict=True))}
    return replace(done, figures=figures)


def _room(space: Space, lesion: np.ndarray, share: float) -> float:
    """mL that a lesion gains by a ``share`` of its volume: never more than its solid part can have gained."""
    here = np.where(space.inside, lesion, 0.0)
    solid = float((here * (1.0 - space.fluid)).sum())
    most = solid if solid >= 0.05 * here.sum() else float(here.sum())
    return float(np.clip(share * here.sum(), -here.sum(), MAX_SHARE * most)) * space.grid.cell_ml


def _carried(moved: Displacement) -> np.ndarray:
    """(X,Y,Z) float32, fluid where the displacement took it."""
    space = moved.space
    at = space.index.T + moved.backward[:, space.inside] / space.grid.pitch
    return np.where(space.inside, space.field(linear(space.fluid, at)), np.float32(0.0))


def _applied(
    scan: Scan,
    brain: np.ndarray,
    tone: Intensity,
    within: np.ndarray,
    moved: Displacement,
    lesion: np.ndarray,
    share: float,
) -> MassEffect:
    space, grid = moved.space, moved.space.grid
    voxels, way = moved.apply(scan.voxels, within)
    after = Space.of(replace(scan, voxels=voxels), brain, tone, grid.pitch)[0] if moved.steps else space
    middle = Middle.of(space, scan.affine)
    shift = round(midline_shift(moved, middle), 2)
    far = np.linalg.norm(moved.backward, axis=0)[space.inside & (lesion < 0.5)]
    deep = middle.depth > DEEP_MM
    gained = moved.ml[-1] if moved.ml else 0.0
    asked = _room(space, lesion, share)
    warnings = []
    if abs(gained) < 0.95 * abs(asked):
        warnings.append(
            f"Only {abs(gained):.1f} of {abs(asked):.1f} mL could be displaced: "
            "the fluid in this scan has no more to give."
        )

    def ml(fluid: np.ndarray, there: np.ndarray, where: np.ndarray) -> float:
        return round(float((fluid * (1.0 - np.clip(there, 0, 1)))[where].sum()) * grid.cell_ml, 2)

    figures = {
        "synthetic": True,
        "share_percent": round(100.0 * share, 1),
        "displaced_ml": round(gained, 2),
        "largest_displacement_mm": round(float(far.max()), 2) if far.size else 0.0,
        "midline_shift_mm": shift,
        "midline_towards": "left" if shift > 0 else "right" if shift < 0 else None,
        **{
            name: {"before_ml": ml(space.fluid, moved.lesion, where), "after_ml": ml(after.fluid, lesion, where)}
            for name, where in (("fluid", space.inside), ("ventricle", deep))
        },
        "smallest_volume": round(min(moved.smallest[-1:], default=1.0), 3),
        "moved_voxels": int((way > 0).sum()),
        "grid_mm": grid.pitch,
        "steps": len(moved.steps),
        "definitions": DEFINITIONS,
    }
    outline = _outline(scan, tone, grid.up(middle.depth) > DEEP_MM, scan.voxels, voxels)
    return MassEffect(voxels, way > 0, way, outline, within, moved, figures, warnings)


def _outline(scan: Scan, tone: Intensity, deep: np.ndarray, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    placement = place(scan)
    out = np.zeros(before.shape, np.uint8)
    for label, voxels in ((1, before), (2, after)):
        fluid = placement.to_axial((fluid_share(voxels, tone, scan.modality) > 0.5) & deep)
        fluid = ndimage.binary_opening(fluid, np.ones((1, 2, 2)))
        border = fluid & ~ndimage.binary_erosion(fluid, np.ones((1, 3, 3)))
        placement.to_axial(out)[border] = label
    return out


def in_words(figures: dict[str, Any]) -> str:
    """The figures of a mass effect in a line."""
    shift, ventricle = abs(figures["midline_shift_mm"]), figures["ventricle"]
    towards = f" to the {figures['midline_towards']}" if figures["midline_towards"] else ""
    return (
        f"{figures['displaced_ml']:.1f} mL displaced ({figures['share_percent']:g} %), at most "
        f"{figures['largest_displacement_mm']:.1f} mm; midline {shift:.1f} mm{towards}; "
        f"ventricles {ventricle['before_ml']:.1f} to {ventricle['after_ml']:.1f} mL"
    )
