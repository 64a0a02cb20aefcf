"""No face in what is given away: of a head, the brain and a rim around it stay.

A face can be recognised in a rendering of a head scan (Schwarz et al., N Engl J Med 2019;381:1684), so the skin of
nose, mouth, cheeks, orbits and ears has to go. The skull's vault lies in the rim and stays.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from scipy import ndimage

from braindiffusion.errors import NotABrainError, QuarantineError, SettingsError
from braindiffusion.volume.brain import check_is_brain, network_brain
from braindiffusion.volume.scan import Scan
from braindiffusion.volume.slices import background_level

Face = Literal["remove", "blur", "keep"]
RIM_MM = 12.0
"""Beyond the brain mask: bone, and the cortex that a mask may miss. More than 10 mm, so that the copy of a head is not
taken for a stripped brain (:func:`braindiffusion.volume.brain.looks_stripped`)."""
BLUR_MM = 15.0
"""Standard deviation: as wide as a nose."""


def shown_region(scan: Scan, face: Face = "remove", brain: np.ndarray | None = None, device: str = "cpu") -> np.ndarray:
    """(I,J,K) bool: what stays as it is, the brain and its rim; everything for ``keep``.

    A scan that looks stripped gets no other treatment: a slab of a head can look so too.

    Args:
        brain: (I,J,K) bool, the user's own brain mask; without it the network finds the brain.

    Raises:
        SettingsError: there is no such way.
        QuarantineError: no brain was found, so nobody can tell where the face is.
    """
    if face not in get_args(Face):
        raise SettingsError(f"There is no face '{face}'.", f"Known: {', '.join(get_args(Face))}.", "Choose one.")
    if face == "keep":
        return np.ones(scan.voxels.shape, bool)
    mask = brain if brain is not None else network_brain(scan, device)
    if mask is None:
        raise _unsure("The model 'brain-mask' is not installed, and without it the brain is not found surely enough.")
    try:
        check_is_brain(scan, mask, "given" if brain is not None else "network")
    except NotABrainError as error:
        raise _unsure("No brain was found, so it cannot be told where the face is.") from error
    return within(mask, scan.spacing, RIM_MM)


def _unsure(why: str) -> QuarantineError:
    return QuarantineError("The face cannot be taken out.", why, "Give a brain mask, or keep the face (--face keep).")


def within(mask: np.ndarray, spacing: np.ndarray, reach_mm: float) -> np.ndarray:
    """The voxels at most ``reach_mm`` from a mask, which is not empty."""
    near = np.zeros(mask.shape, bool)
    pad = np.ceil(reach_mm / spacing).astype(int) + 1
    lines = [np.nonzero(mask.any(tuple(b for b in range(3) if b != a)))[0] for a in range(3)]
    box = tuple(slice(max(0, v[0] - p), v[-1] + p + 1) for v, p in zip(lines, pad, strict=True))
    near[box] = ndimage.distance_transform_edt(~mask[box], sampling=spacing) <= reach_mm
    return near


def without_face(voxels: np.ndarray, shown: np.ndarray, spacing: np.ndarray, face: Face = "remove") -> np.ndarray:
    """A copy in the same dtype: as stored where ``shown``; elsewhere air, or a blur 15 mm wide.

    Args:
        voxels: (I,J,K), the scan or anything on its grid in its grey values.
        shown: of :func:`shown_region`.
        spacing: (3,) mm.
    """
    if face == "keep" or shown.all():
        return voxels.copy()
    air = background_level(voxels)
    out = np.full_like(voxels, voxels.dtype.type(air))
    if face == "blur":
        soft = ndimage.gaussian_filter(np.where(shown, air, voxels).astype(np.float32), BLUR_MM / spacing)
        out = soft.astype(voxels.dtype) if voxels.dtype.kind == "f" else np.rint(soft).astype(voxels.dtype)
    out[shown] = voxels[shown]
    return out
