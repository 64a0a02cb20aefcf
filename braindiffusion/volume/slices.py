"""From a scan in any orientation to axial slices on the model's grid, with the geometry of the way back.

A slice of the model grid is one stored slice of the scan: the voxel axis nearest to the patient's superior direction
is walked, nothing is interpolated between slices. Within a slice, resampling is separable: one small matrix per
axis (``Placement``), so going there is ``R @ slice @ C.T``, an area mean where the scan is finer than the model grid.
How an edit returns is in :mod:`braindiffusion.volume.paste_back`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from braindiffusion.errors import NotABrainError, ScanGeometryError, SliceRangeError
from braindiffusion.volume.scan import Scan

FIELD_OF_VIEW_MM = 240.0
NATIVE_MM = (0.8, 1.15)
"""Pixels of this size are taken as they are by a model that works at the scan's own resolution."""
BRAIN_LEVEL = 0.45
"""Model value of the median brain voxel: leaves room for hyperintense lesions below 1."""


def overlap_matrix(n: int, pitch: float, m: int, target_pitch: float, centre: float) -> np.ndarray:
    """Resampling matrix (m, n) from ``n`` samples of ``pitch`` mm to ``m`` samples of ``target_pitch`` mm.

    Area-weighted where the target is coarser (weights are overlaps of intervals), linear where it is finer. The
    target grid is centred on ``centre`` (mm, from the first source sample). Samples outside the source count as 0.
    """
    at = centre + (np.arange(m) - (m - 1) / 2) * target_pitch
    source = np.arange(n) * pitch
    if target_pitch >= pitch:
        lo = np.maximum(at[:, None] - target_pitch / 2, source[None] - pitch / 2)
        hi = np.minimum(at[:, None] + target_pitch / 2, source[None] + pitch / 2)
        return np.clip(hi - lo, 0.0, None) / target_pitch
    return np.clip(1.0 - np.abs(at[:, None] - source[None]) / pitch, 0.0, None)


def interpolation_matrix(
    n: int, pitch: float, m: int, target_pitch: float, centre: float, cubic: bool = False
) -> np.ndarray:
    """Interpolation (n, m) from the model grid back to the source samples; 0 beyond the model grid.

    Linear, or cubic convolution (Keys 1981, a = -0.5), which leaves no facets in an enlarged picture.
    """
    at = centre + (np.arange(m) - (m - 1) / 2) * target_pitch
    t = np.abs(np.arange(n)[:, None] * pitch - at[None]) / target_pitch
    if not cubic:
        return np.clip(1.0 - t, 0.0, None)
    near = (1.5 * t - 2.5) * t * t + 1.0
    far = ((-0.5 * t + 2.5) * t - 4.0) * t + 2.0
    return np.where(t <= 1.0, near, np.where(t < 2.0, far, 0.0))


def centred(size: int, width: int) -> slice:
    """The middle ``width`` of ``size`` pixels."""
    first = (size - width) // 2
    return slice(first, first + width)


@dataclass(frozen=True)
class Placement:
    """Where the model grid lies in the scan.

    Attributes:
        order: voxel axes of the scan as (slice, row, column).
        flip: whether each of those axes runs against superior->, anterior->posterior, right->left.
        shape: scan shape along ``order``.
        pitch: scan spacing in mm along (row, column).
        thickness: spacing in mm along the slice axis.
        size: side of the model grid in pixels.
        centre: centre of the model grid in mm from the first (row, column), after flipping.
        field_mm: side of the model grid in mm.
    """

    order: tuple[int, int, int]
    flip: tuple[bool, bool, bool]
    shape: tuple[int, int, int]
    pitch: tuple[float, float]
    thickness: float
    size: int
    centre: tuple[float, float]
    field_mm: float = FIELD_OF_VIEW_MM

    @property
    def model_pitch(self) -> float:
        """Spacing of the model grid in mm."""
        return self.field_mm / self.size

    def to_axial(self, array: np.ndarray) -> np.ndarray:
        """(I,J,K) -> (slices, rows, columns): a view, superior last, anterior up, patient right on the left."""
        axial = array.transpose(self.order)
        return axial[tuple(slice(None, None, -1) if f else slice(None) for f in self.flip)]

    def from_axial(self, array: np.ndarray) -> np.ndarray:
        """The inverse of :meth:`to_axial` (a view)."""
        array = array[tuple(slice(None, None, -1) if f else slice(None) for f in self.flip)]
        return array.transpose(np.argsort(self.order))

    def matrices(self) -> tuple[np.ndarray, np.ndarray]:
        """(size, rows) and (size, columns): scan -> model grid."""
        return tuple(  # type: ignore[return-value]
            overlap_matrix(n, p, self.size, self.model_pitch, c).astype(np.float32)
            for n, p, c in zip(self.shape[1:], self.pitch, self.centre, strict=True)
        )

    def back_matrices(self, cubic: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """(rows, size) and (columns, size): model grid -> scan."""
        return tuple(  # type: ignore[return-value]
            interpolation_matrix(n, p, self.size, self.model_pitch, c, cubic).astype(np.float32)
            for n, p, c in zip(self.shape[1:], self.pitch, self.centre, strict=True)
        )

    def down(self, axial: np.ndarray) -> np.ndarray:
        """(S,rows,cols) -> (S,size,size) float32."""
        r, c = self.matrices()
        return np.einsum("ab,sbd,ed->sae", r, axial.astype(np.float32), c, optimize=True)

    def up(self, model: np.ndarray, cubic: bool = False) -> np.ndarray:
        """(S,size,size) -> (S,rows,cols) float32, 0 beyond the model grid."""
        r, c = self.back_matrices(cubic)
        return np.einsum("ab,sbd,ed->sae", r, model.astype(np.float32), c, optimize=True)


def _on_pixels(placement: Placement) -> Placement:
    """The placement on the scan's own pixels, where these are square and of a size in ``NATIVE_MM``; else as it is.

    Nothing is resampled then, there or back: the model sees, and leaves, the scan's own grain.
    """
    pitch = float(np.mean(placement.pitch))
    square = max(placement.pitch) - min(placement.pitch) <= 1e-3 * pitch
    if not (square and NATIVE_MM[0] <= pitch <= NATIVE_MM[1]):
        return placement
    half = 0.5 if placement.size % 2 == 0 else 0.0
    row, column = (float(np.floor(c / p) + half) * p for c, p in zip(placement.centre, placement.pitch, strict=True))
    return replace(placement, centre=(row, column), field_mm=placement.size * pitch)


def place(scan: Scan, brain: np.ndarray | None = None, size: int = 128, native: bool = False) -> Placement:
    """Choose the placement: axes by direction, centre on the brain's bounding box (or on the volume).

    Args:
        native: take the scan's own pixels where they are about 1 mm, and the grid's nominal pitch elsewhere.

    Raises:
        ScanGeometryError: the voxel axes cannot be told apart in space.
    """
    direction = scan.affine[:3, :3] / np.linalg.norm(scan.affine[:3, :3], axis=0)
    # columns: voxel axes; rows: R, A, S. Assign each patient axis its own voxel axis, best total match first.
    score = np.abs(direction)
    best = max(
        ((i, j, k) for i in range(3) for j in range(3) for k in range(3) if len({i, j, k}) == 3),
        key=lambda p: score[2, p[0]] * 1.001 + score[1, p[1]] + score[0, p[2]],
    )
    if min(score[2, best[0]], score[1, best[1]], score[0, best[2]]) < 0.3:
        raise ScanGeometryError(
            "The scan's axes cannot be matched to the patient's.",
            "No voxel axis points towards the top of the head.",
            "Check the orientation in the file's header.",
        )
    s, a, r = best
    # superior last; rows run from anterior to posterior; columns from patient right to left
    flip = (bool(direction[2, s] < 0), bool(direction[1, a] > 0), bool(direction[0, r] > 0))
    spacing = scan.spacing
    shape = tuple(int(scan.voxels.shape[i]) for i in best)
    pitch = (float(spacing[a]), float(spacing[r]))
    placement = Placement(best, flip, shape, pitch, float(spacing[s]), size, (0.0, 0.0))  # type: ignore[arg-type]
    extent = [(0, shape[1] - 1), (0, shape[2] - 1)]
    if brain is not None and brain.any():
        flat = np.any(placement.to_axial(brain), axis=0)
        lines = (np.nonzero(np.any(flat, axis=1))[0], np.nonzero(np.any(flat, axis=0))[0])
        extent = [(int(v.min()), int(v.max())) for v in lines]
    row, column = ((lo + hi) / 2 * p for (lo, hi), p in zip(extent, pitch, strict=True))
    placed = replace(placement, centre=(row, column))
    return _on_pixels(placed) if native else placed


@dataclass(frozen=True)
class Intensity:
    """Linear map between stored values and model values: ``model = clip((v - zero) * gain, 0, 1)``."""

    zero: float
    gain: float

    def forward(self, v: np.ndarray) -> np.ndarray:
        """Stored values -> model values, unclipped, float32."""
        return ((v.astype(np.float32) - np.float32(self.zero)) * np.float32(self.gain)).astype(np.float32)


def background_level(voxels: np.ndarray) -> float:
    """Stored value of air: the exact constant of a stripped scan if it has one, else a low percentile, at most 0."""
    values, counts = np.unique(voxels[::2, ::2, ::2] if min(voxels.shape) > 2 else voxels, return_counts=True)
    commonest = float(values[counts.argmax()])
    if counts.max() > 0.25 * counts.sum() and (voxels < commonest).mean() < 0.02:
        return commonest
    return float(min(0.0, np.percentile(voxels, 0.5)))


def brain_intensity(voxels: np.ndarray, brain: np.ndarray) -> Intensity:
    """Per-volume scaling: air goes to 0, the median over the brain to ``BRAIN_LEVEL``.

    The median, not an upper percentile or the maximum: a large bright lesion must not darken the healthy tissue.

    Raises:
        NotABrainError: the brain mask is empty or as dark as air.
    """
    zero = background_level(voxels)
    inside = voxels[brain]
    median = float(np.median(inside)) if inside.size else zero
    if not median > zero:
        raise NotABrainError(
            "No brain was found in the scan.",
            "The brain mask is empty, or as dark as the background.",
            "Give a brain mask with --brain, or check that this is a scan of a head.",
        )
    return Intensity(zero, BRAIN_LEVEL / (median - zero))


@dataclass
class SliceStack:
    """Axial slices of one scan on the model grid.

    Attributes:
        images: (S,H,W) float32 in [0,1], brain only (0 outside it).
        brain: (S,H,W) bool.
        coverage: (S,H,W) float32, the brain's share of each pixel: below 1 along its border.
        placement: geometry of the way back.
        intensity: grey values of the way back; one per volume, or one per slice for ``per_slice_max``.
        head: (S,H,W) float32 in [0,1], the slices with what surrounds the brain, for models that look at it; ``images``
            are then these in the brain. ``None`` for a stack that was stripped before it was resampled.
    """

    images: np.ndarray
    brain: np.ndarray
    coverage: np.ndarray
    placement: Placement
    intensity: Intensity | list[Intensity]
    head: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.images)

    def intensity_of(self, s: int) -> Intensity:
        """Grey-value map of slice ``s``."""
        return self.intensity[s] if isinstance(self.intensity, list) else self.intensity


def whole_slices(scan: Scan, brain: np.ndarray, size: int = 256) -> SliceStack:
    """Scan -> axial slices with their surroundings, on the scan's own pixels where these are about 1 mm.

    Args:
        brain: (I,J,K) bool, on the scan's grid.
    """
    placement = place(scan, brain, size, native=True)
    tone = brain_intensity(scan.voxels, brain)
    head = np.clip(placement.down(np.clip(tone.forward(placement.to_axial(scan.voxels)), 0.0, 1.0)), 0.0, 1.0)
    coverage = placement.down(placement.to_axial(brain))
    on_grid = coverage > 0.5
    return SliceStack(head * on_grid, on_grid, coverage, placement, tone, head)


def to_slices(scan: Scan, brain: np.ndarray, size: int = 128, scaling: str = "brain_median") -> SliceStack:
    """Scan -> axial slices on the model grid, stripped to the brain.

    Args:
        brain: (I,J,K) bool, on the scan's grid.
        size: 128 or 256.
        scaling: ``brain_median`` (per volume), or ``per_slice_max`` as published, for reproduction only: neighbouring
            slices then get different gains.
    """
    placement = place(scan, brain, size)
    axial, axial_brain = placement.to_axial(scan.voxels), placement.to_axial(brain)
    overall = brain_intensity(scan.voxels, brain)
    intensity: Intensity | list[Intensity] = overall
    if scaling == "per_slice_max":
        tops = [float(sl[m].max()) if m.any() else 0.0 for sl, m in zip(axial, axial_brain, strict=True)]
        intensity = [Intensity(overall.zero, 1.0 / (t - overall.zero) if t > overall.zero else 0.0) for t in tops]
        scaled = np.stack([i.forward(sl) for i, sl in zip(intensity, axial, strict=True)])
    else:
        scaled = overall.forward(axial)
    coverage = placement.down(axial_brain)
    on_grid = coverage > 0.5
    return SliceStack(_stripped(scaled, axial_brain, on_grid, placement), on_grid, coverage, placement, intensity)


def _stripped(scaled: np.ndarray, brain: np.ndarray, on_grid: np.ndarray, placement: Placement) -> np.ndarray:
    """(S,rows,cols) in model values, unclipped, and its brain -> (S,H,W) images."""
    return np.clip(placement.down(np.clip(scaled, 0.0, 1.0) * brain), 0.0, 1.0) * on_grid


def same_slices(stack: SliceStack, scan: Scan, brain: np.ndarray) -> SliceStack:
    """Slices of other voxels on the grid, and in the grey values, of ``stack``: its scan, displaced.

    Args:
        brain: (I,J,K) bool, that of ``stack``.
    """
    axial, axial_brain = stack.placement.to_axial(scan.voxels), stack.placement.to_axial(brain)
    scaled = np.stack([stack.intensity_of(s).forward(plane) for s, plane in enumerate(axial)])
    if stack.head is not None:
        head = np.clip(stack.placement.down(np.clip(scaled, 0.0, 1.0)), 0.0, 1.0)
        return replace(stack, images=head * stack.brain, head=head)
    return replace(stack, images=_stripped(scaled, axial_brain, stack.brain, stack.placement))


def mask_to_slices(mask: np.ndarray, placement: Placement, fraction: float = 0.25) -> np.ndarray:
    """(I,J,K) bool -> (S,H,W) bool: model pixels covered by the mask to at least ``fraction``.

    A mask too thin to reach the fraction anywhere keeps its best-covered pixel of every slice it touches.
    """
    covered = placement.down(placement.to_axial(mask).astype(np.float32))
    out = covered >= fraction
    for s in np.nonzero(covered.any((1, 2)) & ~out.any((1, 2)))[0]:
        out[s] = covered[s] == covered[s].max()
    return out


def map_to_scan(values: np.ndarray, placement: Placement) -> np.ndarray:
    """(S,H,W) map -> (I,J,K) float32 on the scan's grid."""
    axial = np.zeros((len(values), *placement.shape[1:]), np.float32)
    for s in np.nonzero(values.any((1, 2)))[0]:  # most slices of most maps are empty
        axial[s] = placement.up(values[s : s + 1])[0]
    return np.ascontiguousarray(placement.from_axial(axial))


def window_of(brain: np.ndarray, crop: list[int] | None) -> tuple[slice, slice, slice]:
    """The part of the model grid a network works on: its training crop, or the whole grid when a brain does not fit."""
    whole = (slice(None), slice(None), slice(None))
    if not crop:
        return whole
    window = (slice(None), centred(brain.shape[1], crop[0]), centred(brain.shape[2], crop[1]))
    return window if brain[window].sum() == brain.sum() else whole


def chosen_slices(ends: tuple[int | None, int | None] | None, count: int, brain: np.ndarray) -> np.ndarray:
    """(S,) bool: slices to work on, those of the range that hold enough brain (``a:b`` counts as stored from below).

    Raises:
        SliceRangeError: the range selects nothing.
    """
    wanted = np.zeros(count, bool)
    a, b = ends or (None, None)
    wanted[slice(a, b)] = True
    if not wanted.any():
        raise SliceRangeError(
            f"Slices {a}:{b} select nothing.",
            f"The scan has {count} slices, 0 to {count - 1}.",
            "Give --slices a:b inside that range.",
        )
    return wanted & (brain.mean((1, 2)) >= 0.01)
