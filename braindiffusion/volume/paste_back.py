"""From edited slices on the model's grid back to the scan.

The edited region only is changed. There, the model's difference is carried to the native grid; fine detail that the
model grid cannot hold is kept where little changed, and replaced by the grain of the surroundings where the content
changed, so that neither a blurred patch nor the outline of the lesion stays behind.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from braindiffusion.errors import OutsideChangedError
from braindiffusion.volume.scan import Scan
from braindiffusion.volume.slices import SliceStack


def _grain(residual: np.ndarray, calm: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A texture with the power spectrum and spread of ``residual`` where ``calm``: white noise, shaped in frequency."""
    if calm.sum() < 64:
        return np.zeros_like(residual)
    sample = residual[calm]
    lo, hi = np.percentile(sample, [1, 99])
    tamed = np.where(calm, np.clip(residual, lo, hi) - sample.mean(), 0.0)
    amplitude = np.sqrt(ndimage.gaussian_filter(np.abs(np.fft.fft2(tamed)) ** 2, 2, mode="wrap"))
    texture = np.fft.ifft2(np.fft.fft2(rng.standard_normal(residual.shape)) * amplitude).real
    spread = 1.4826 * np.median(np.abs(sample - np.median(sample)))
    scale = texture.std()
    return (texture * (spread / scale) if scale > 0 else np.zeros_like(residual)).astype(np.float32)


@dataclass(frozen=True)
class WayBack:
    """Result of :func:`carry_back`.

    Attributes:
        voxels: (I,J,K) in the scan's dtype.
        edited: (I,J,K) bool; every voxel outside it is bit-identical to the input (checked).
        changed: number of voxels whose value differs from the input.
    """

    voxels: np.ndarray
    edited: np.ndarray
    changed: int


def edit_slice(
    source: np.ndarray,
    stack: SliceStack,
    s: int,
    healed: np.ndarray,
    mask: np.ndarray,
    rng: np.random.Generator | None = None,
    seam_mm: float = 2.0,
    within: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray] | None:
    """Slice ``s`` as stored, edited, and its edited region (rows,cols) bool; ``None`` where nothing is edited.

    Args:
        source: (rows,cols), in the scan's dtype.
        healed, mask: (H,W), as in :func:`carry_back`.
        rng: for the grain; without it the native detail stays (good enough for a preview).
        within: (rows,cols) bool, where the slice may change: the seam then lies inside it, and inside the mask.
            Without it the seam lies outside the mask, so that the whole of the mask is healed. Of a stack with a
            ``head`` nothing is faded: what was healed replaces what was there.
    """
    p = stack.placement
    native_mm = float(np.mean(p.pitch))
    core = p.up(mask[None])[0]
    inside = core > 0.5 if within is None else (core > 0.5) & within
    if not inside.any() or stack.head is not None:
        weight = inside.astype(float)  # a model that saw the surroundings has drawn the seam itself
    elif within is None:
        distance = ndimage.distance_transform_edt(~inside, sampling=p.pitch)
        weight = np.clip(1.0 - np.maximum(distance - 0.5 * native_mm, 0.0) / seam_mm, 0.0, 1.0)
    else:
        depth = np.maximum(ndimage.distance_transform_edt(inside, sampling=p.pitch) - 0.5 * native_mm, 0.0)
        depth[inside] = np.maximum(depth[inside], 1e-3)  # voxels longer than wide
        weight = np.clip(depth / min(seam_mm, 0.5 * float(depth.max())), 0.0, 1.0)  # the middle of a thin mask, too
    weight = weight * weight * (3.0 - 2.0 * weight)
    cover = p.up(stack.coverage[s : s + 1])[0]
    region = (weight > 0.0) & (cover > 0.5)
    tone = stack.intensity_of(s)
    if not region.any() or tone.gain <= 0:
        return None
    # along its border a stripped image holds only the brain's share of each pixel
    share = np.clip(cover, 0.5, 1.0) if stack.head is None else np.ones_like(cover)
    seen = (stack.images if stack.head is None else stack.head)[s : s + 1]
    difference = p.up((healed - stack.images[s])[None], cubic=True)[0] / share
    if rng is None:
        edit = weight * difference / tone.gain
    else:
        detail = tone.forward(source) - p.up(seen, cubic=True)[0] / share
        brain_native = cover > 0.99
        ring = ndimage.binary_dilation(region, iterations=max(1, round(15.0 / native_mm))) & ~region & brain_native
        calm = ring if ring.sum() > 256 else brain_native & ~region
        grain = _grain(detail, calm, rng)
        spread = max(1.4826 * float(np.median(np.abs(detail[calm]))) if calm.any() else 0.0, 0.02)
        change = np.clip(np.abs(ndimage.gaussian_filter(difference, 1.0)) / (2.0 * spread) - 0.5, 0.0, 1.0)
        edit = weight * (difference + change * (grain - detail)) / tone.gain
    touched = region & (edit != 0.0)  # the rest does not even pass through another type
    stored = source[touched].astype(np.float64)
    new = np.maximum(stored + edit[touched], np.minimum(tone.zero, stored))
    if np.issubdtype(source.dtype, np.integer):
        info = np.iinfo(source.dtype)
        new = np.clip(np.rint(new), info.min, info.max)
    out = source.copy()
    out[touched] = new.astype(source.dtype)
    return out, region


def carry_back(
    scan: Scan,
    stack: SliceStack,
    healed: np.ndarray,
    mask: np.ndarray,
    seed: int = 0,
    seam_mm: float = 2.0,
    within: np.ndarray | None = None,
    on_slice: Callable[[int, int], None] | None = None,
) -> WayBack:
    """Carry the edit of the model grid back to the scan.

    ``v' = v + w [ U(d) / gain + c (g - r) ]`` with ``d`` the model's difference, ``U`` interpolation to the native
    grid, ``r`` the native detail above the model grid, ``g`` grain like the surroundings', ``c`` in [0,1] rising with
    ``|U(d)|`` and ``w`` the soft seam of ``seam_mm``: from 1 to 0 outside the mask, or inside it.

    Args:
        healed: (S,H,W) float32, the counterfactual on the model grid.
        mask: (S,H,W) bool, the region the model was asked to change.
        seed: for the grain.
        within: (S,rows,cols) bool, axial, or ``None``: see :func:`edit_slice`.
        on_slice: called before each slice with (done, total); may raise to cancel.

    Raises:
        OutsideChangedError: a voxel outside the edited region would change (never expected; checked on every run).
    """
    p = stack.placement
    source = p.to_axial(scan.voxels)
    out = source.copy()
    edited = np.zeros(source.shape, dtype=bool)
    for done, s in enumerate(rows := np.nonzero(mask.any((1, 2)))[0]):
        if on_slice:
            on_slice(done, len(rows))
        rng = np.random.default_rng([seed, int(s)])
        limit = None if within is None else within[s]
        if (new := edit_slice(source[s], stack, int(s), healed[s], mask[s], rng, seam_mm, limit)) is not None:
            out[s], edited[s] = new
    voxels, edited_ijk = np.ascontiguousarray(p.from_axial(out)), np.ascontiguousarray(p.from_axial(edited))
    return WayBack(voxels, edited_ijk, check_outside(scan.voxels, voxels, edited_ijk))


def check_outside(before: np.ndarray, after: np.ndarray, edited: np.ndarray) -> int:
    """The number of voxels that changed.

    Args:
        edited: (I,J,K) bool, where they may.

    Raises:
        OutsideChangedError: one changed elsewhere (never expected; checked on every run).
    """
    same = before == after
    if not same[~edited].all():
        raise OutsideChangedError(
            "A voxel outside the edited region changed, so the result was withheld.",
            "This is a defect of the program, not of your scan.",
            "Report it with the provenance record of this run.",
        )
    return int((~same).sum())
