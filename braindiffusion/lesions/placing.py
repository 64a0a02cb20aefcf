"""Where a lesion goes: given or made, clipped to the brain, on the scan's grid and on the model's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from braindiffusion.errors import EmptyMaskError, LesionSizeError
from braindiffusion.lesions.shapes import Shape, in_boxes, make_shape
from braindiffusion.lesions.taper import taper
from braindiffusion.settings import MAX_ML, ShapeSettings
from braindiffusion.volume.masks import boxes
from braindiffusion.volume.scan import Scan
from braindiffusion.volume.slices import SliceStack, chosen_slices, map_to_scan, mask_to_slices

if TYPE_CHECKING:
    from braindiffusion.settings import InduceSettings

LESION_FRACTION = 0.5
"""A model pixel belongs to the lesion when half of it does, as in training."""


@dataclass(frozen=True)
class PlacedLesion:
    """Where to paint: the lesion on the scan's grid, and on the model's what is told to the network and what counts."""

    native: np.ndarray
    told: np.ndarray
    inside: np.ndarray
    facts: dict[str, Any]
    warnings: list[str]


def tissue(stack: SliceStack) -> np.ndarray:
    """(S,H,W) bool: brain that is not dark fluid, where a made lesion may lie."""
    from scipy import ndimage

    smooth = ndimage.gaussian_filter(stack.images, (0, 0.6, 0.6))
    return stack.brain & (smooth > 0.25)


def voxel_ml(scan: Scan) -> float:
    """Volume of a voxel in mL."""
    return float(abs(np.linalg.det(scan.affine[:3, :3]))) / 1000.0


def make_lesion(
    scan: Scan, shape: ShapeSettings, seed: int, brain: np.ndarray, stack: SliceStack, within: Any = True
) -> Shape:
    """A lesion made in the tissue of a brain.

    Args:
        within: (I,J,K) bool, further limits.
    """
    allowed = (map_to_scan(tissue(stack).astype(np.float32), stack.placement) > 0.5) & within
    return make_shape(scan, brain, shape, np.random.default_rng([seed, 1]), allowed)


def place_lesion(
    scan: Scan, lesion: np.ndarray | ShapeSettings, settings: InduceSettings, brain: np.ndarray, stack: SliceStack
) -> PlacedLesion:
    """The lesion clipped to the brain and the chosen slices, or made inside it.

    A box is told as a box to a model that learned boxes; one that sees the surroundings (``stack`` has a ``head``) is
    told a rounded lesion that fills it.

    Raises:
        EmptyMaskError: nothing of it lies there; LesionSizeError: too large, or it does not fit.
    """
    wanted = chosen_slices(settings.slices, len(stack), stack.brain)
    ml, warnings = voxel_ml(scan), []
    p = stack.placement
    within = np.zeros(scan.voxels.shape, bool)
    p.to_axial(within)[wanted] = True
    if isinstance(lesion, ShapeSettings):
        shape = make_lesion(scan, lesion, settings.seed, brain, stack, within)
        native, facts = shape.mask, {"origin": "random", **shape.facts}
    else:
        native = lesion.astype(bool)
        facts = {"origin": "given", "voxels": int(native.sum()), "ml": round(float(native.sum()) * ml, 3)}
    inscribed = settings.condition == "box" and stack.head is not None
    if inscribed:
        native = in_boxes(native, scan.spacing, np.random.default_rng([settings.seed, 2]))
        facts["inscribed_ml"] = round(float(native.sum()) * ml, 3)
    elif settings.taper or (settings.taper is None and settings.condition == "box"):
        native = taper(native, scan)
    inside = native & brain & within
    outside = int(native.sum()) - int(inside.sum())
    told = mask_to_slices(native & within, p, LESION_FRACTION) & wanted[:, None, None]
    counted = mask_to_slices(inside, p, LESION_FRACTION) & stack.brain
    told &= counted.any((1, 2))[:, None, None]
    if settings.condition == "box" and not inscribed:
        told = boxes(told)
        counted = told & stack.brain
    else:
        told = counted
    if not counted.any():
        raise EmptyMaskError(
            "The lesion selects nothing that could be painted.",
            "It lies outside the brain, or outside the chosen slices.",
            "Place it inside the brain, or give a brain mask with --brain.",
        )
    if inside.sum() * ml > MAX_ML:
        raise LesionSizeError(
            f"The lesion has {inside.sum() * ml:.0f} mL.", f"At most {MAX_ML:g} mL are painted.", "Make it smaller."
        )
    if outside:
        warnings.append(
            f"{outside} of {int(native.sum())} lesion voxels ({outside * ml:.1f} mL) lie outside the brain "
            "or the chosen slices, and were left out."
        )
    return PlacedLesion(inside, told, counted, {**facts, "clipped_voxels": outside}, warnings)
