"""Mass effect and shrinkage: how a lesion moves what it does not touch.

The skull is rigid and full (Monro-Kellie): what a lesion gains, fluid gives up, and tissue in between moves without
changing its volume. On an isotropic grid of a few millimetres over the intracranial space::

    laplace phi = q,  v = grad phi,  no flow through the skull
    q = dV l / sum(l) - dV w / sum(w),   w = fluid that is left * exp(-distance from the lesion / 60 mm)

with ``l`` the share of each cell that is lesion. The lesion and the fluid are carried along in small steps, each as
long as keeps the map from folding; the steps are then traced forwards and backwards as one smooth displacement in mm.
A reserve of the fluid always stays, so that no cavity is squeezed to nothing.

This is a small model for pictures: no stiffness, no falx, no tentorium, no flow of fluid out of the skull. In the
spirit of Prastawa et al., Medical Image Analysis 13 (2009); the figures describe the model, not a patient.

Arrays on the grid are (X,Y,Z), along the scan's voxel axes; a displacement is (3,X,Y,Z) in mm along these axes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy import ndimage, sparse
from scipy.sparse.linalg import cg

from braindiffusion.errors import EmptyMaskError, ModalityError
from braindiffusion.volume.brain import largest_component
from braindiffusion.volume.scan import Scan
from braindiffusion.volume.slices import BRAIN_LEVEL, Intensity, interpolation_matrix, overlap_matrix

PITCH_MM = 2.5
CLOSING_MM = 10.0
"""Sulci and ventricles up to twice this width count as inside the skull."""
REACH_MM = 60.0
RESERVE = 0.3
"""Share of the fluid of every place that stays, however much is asked of it."""
WIDEST = 3.0
"""Fluid swells to at most this many times its volume when a lesion shrinks."""
STEP_CELLS, STEP_STRAIN = 0.5, 0.15
"""Longest step: cells that anything moves, and relative change of any volume."""
MAX_STEPS = 120
SOFT_CELLS = 0.5
"""The wall is smooth, not a staircase of cells: so much of a Gaussian, and each cell knows its share inside."""
LEAST_INSIDE = 0.1
"""Cells with less of them inside the skull are left out."""
STILL_MM = 0.1
"""What moves less than this is left as it is, to the bit."""

FLUID = {
    "FLAIR": (0.62, 0.25), "T1": (0.62, 0.30), "T1GD": (0.62, 0.30), "T2": (1.55, 2.2),
}  # fmt: skip
"""Grey value of tissue and of pure fluid, as shares of the median brain; linear in between."""


def fluid_share(voxels: np.ndarray, tone: Intensity, modality: str | None) -> np.ndarray:
    """Share of each voxel that is fluid, from its grey value: float32 in [0,1], of the shape of ``voxels``.

    Args:
        tone: maps the median brain to ``BRAIN_LEVEL``.
        modality: ``None`` is taken for FLAIR.

    Raises:
        ModalityError: nothing is known of fluid in this contrast.
    """
    if (modality or "FLAIR") not in FLUID:
        raise ModalityError(
            f"No mass effect can be computed on a scan of {modality}.",
            f"Fluid is told from tissue by its grey value on {', '.join(FLUID)} only.",
            "Choose such a scan, or switch the mass effect off.",
        )
    tissue, fluid = FLUID[modality or "FLAIR"]
    level = tone.forward(voxels) / np.float32(BRAIN_LEVEL)
    return np.clip((level - tissue) / (fluid - tissue), 0.0, 1.0).astype(np.float32)


@dataclass(frozen=True)
class Grid:
    """An isotropic grid along the axes of a scan.

    Attributes:
        pitch: mm.
        shape: cells.
        centre: mm of the grid's centre from the scan's first voxel, along each voxel axis.
        source: the scan's shape; ``spacing``: its spacing in mm.
    """

    pitch: float
    shape: tuple[int, int, int]
    centre: tuple[float, float, float]
    source: tuple[int, ...]
    spacing: tuple[float, ...]

    @staticmethod
    def around(mask: np.ndarray, spacing: np.ndarray, pitch: float = PITCH_MM) -> Grid:
        """The grid that holds a mask (I,J,K), with room around it.

        Raises:
            EmptyMaskError: the mask is empty.
        """
        if not mask.any():
            raise EmptyMaskError("There is no brain to displace.", "The brain mask is empty.", "Give a brain mask.")
        room = CLOSING_MM + 2 * pitch
        shape, centre = [], []
        for axis in range(3):
            on = np.nonzero(mask.any(tuple(a for a in range(3) if a != axis)))[0]
            low, high = (on[0] - 0.5) * spacing[axis], (on[-1] + 0.5) * spacing[axis]
            shape.append(int(np.ceil((high - low + 2 * room) / pitch)))
            centre.append(float(low + high) / 2)
        return Grid(pitch, tuple(shape), tuple(centre), mask.shape, tuple(map(float, spacing)))  # type: ignore[arg-type]

    @property
    def cell_ml(self) -> float:
        """Volume of a cell."""
        return self.pitch**3 / 1000.0

    def down(self, values: np.ndarray) -> np.ndarray:
        """(I,J,K) to (X,Y,Z) float32: means over cells, linear where the scan is coarser."""
        out = values.astype(np.float32)
        for axis in range(3):
            weights = overlap_matrix(
                self.source[axis], self.spacing[axis], self.shape[axis], self.pitch, self.centre[axis]
            )
            out = np.moveaxis(np.tensordot(weights.astype(np.float32), out, (1, axis)), 0, axis)
        return out

    def up(self, values: np.ndarray) -> np.ndarray:
        """(X,Y,Z) to (I,J,K) float32, linearly."""
        out = values.astype(np.float32)
        for axis in range(3):
            weights = interpolation_matrix(
                self.source[axis], self.spacing[axis], self.shape[axis], self.pitch, self.centre[axis]
            )
            out = np.moveaxis(np.tensordot(weights.astype(np.float32), out, (1, axis)), 0, axis)
        return out

    def cells(self, voxels: np.ndarray) -> np.ndarray:
        """Positions (3,n) in the scan's voxels, in cells."""
        first = self._first()
        return ((voxels * np.array(self.spacing)[:, None] - first) / self.pitch).astype(np.float32)

    def voxels(self, cells: np.ndarray) -> np.ndarray:
        """Positions (3,n) in cells, in the scan's voxels."""
        return ((cells * self.pitch + self._first()) / np.array(self.spacing)[:, None]).astype(np.float32)

    def _first(self) -> np.ndarray:
        """(3,1) mm from the scan's first voxel to the first cell."""
        return (np.array(self.centre) - (np.array(self.shape) - 1) / 2 * self.pitch)[:, None]


def _closed(mask: np.ndarray, reach: float) -> np.ndarray:
    """A mask closed by a ball of ``reach`` cells, and its holes filled; it must lie clear of the array's border."""
    grown = ndimage.distance_transform_edt(~mask) <= reach
    return np.asarray(ndimage.binary_fill_holes((ndimage.distance_transform_edt(grown) > reach) | mask))


class Space:
    """The inside of a skull, and flow in it.

    Attributes:
        grid: where the arrays lie.
        inside: (X,Y,Z) bool, all that the skull holds.
        fluid: (X,Y,Z) float32 in [0,1].
        index: (n,3) int, the cells inside.
    """

    def __init__(self, grid: Grid, share: np.ndarray, fluid: np.ndarray) -> None:
        self.grid, self.inside = grid, share > LEAST_INSIDE
        inside = self.inside
        self.fluid = np.where(inside, fluid, 0.0).astype(np.float32)
        self.index = np.argwhere(inside)
        self.ml = share[inside] * grid.cell_ml
        self._nearest = _nearest(inside)
        number = np.full(inside.shape, -1)
        number[inside] = np.arange(len(self.index))
        rows, columns, weights, self._open, self._along = [], [], [], [], []
        for axis in range(3):
            a, b = _pair(number, axis)
            open_ = (a >= 0) & (b >= 0)
            one, next_one = _pair(share, axis)
            width = (one + next_one)[open_] / 2
            rows += [a[open_], b[open_]]
            columns += [b[open_], a[open_]]
            weights += [width, width]
            pad = [(1, 1) if i == axis else (0, 0) for i in range(3)]
            self._open.append(np.pad(open_, pad))
            self._along.append(_nearest(self._open[axis]))
        i, j, w = (np.concatenate(v) for v in (rows, columns, weights))
        graph = sparse.coo_matrix((w, (i, j)), 2 * (len(self.index),)).tocsr()
        neighbours = np.asarray(graph.sum(1)).ravel()
        self._laplacian = (sparse.diags(neighbours) - graph).tocsr()
        self._scale = sparse.diags(1.0 / np.maximum(neighbours, 1e-6))

    @staticmethod
    def of(scan: Scan, brain: np.ndarray, tone: Intensity, pitch: float = PITCH_MM) -> tuple[Space, np.ndarray]:
        """The intracranial space of a scan, and the same as (I,J,K) bool: the voxels that may move.

        It is the brain, closed so that it holds sulci and ventricles. What it holds beyond the brain's mask is fluid;
        but next to the skull only what looks like it, so that no bone and no scalp is moved.

        Args:
            brain: (I,J,K) bool.
            tone: as for :func:`fluid_share`.

        Raises:
            EmptyMaskError, ModalityError.
        """
        share = fluid_share(scan.voxels, tone, scan.modality)
        grid = Grid.around(brain, scan.spacing, pitch)
        known = grid.down(np.ones(brain.shape, bool)) > 0.5
        closed = largest_component(_closed(grid.down(brain) > 0.5, CLOSING_MM / pitch) & known)
        inside = ndimage.gaussian_filter(closed.astype(np.float32), SOFT_CELLS)
        within = grid.up(inside) > 0.5
        rim = grid.up(ndimage.distance_transform_edt(closed)) < 1.5
        share = np.where(brain | rim, share, np.float32(1.0))
        within &= brain | (share > 0.5)
        return Space(grid, inside, grid.down(share * within) / np.maximum(grid.down(within), 0.05)), within

    def field(self, values: np.ndarray) -> np.ndarray:
        """(n,...) values of the cells inside as (X,Y,Z,...), continued beyond the skull by the nearest."""
        out = np.zeros((*self.inside.shape, *values.shape[1:]), values.dtype)
        out[self.inside] = values
        return out[self._nearest]

    def flow(self, source: np.ndarray, start: np.ndarray | None = None) -> tuple[list[np.ndarray], np.ndarray]:
        """Potential flow of a source: mm through the faces along each axis, and the potential.

        None goes through the skull. Beyond it the flow along the wall goes on, so that what lies at the wall slides.

        Args:
            source: (n,) mL of each cell inside; their sum is 0.
            start: a potential to begin the search with.
        """
        potential, failed = cg(self._laplacian, -source, x0=start, rtol=1e-5, maxiter=5000, M=self._scale)
        if failed:
            raise RuntimeError("the potential of the flow was not found")
        values = np.zeros(self.inside.shape)
        values[self.inside] = potential
        faces = []
        for axis in range(3):
            a, b = _pair(values, axis)
            out = np.zeros(self._open[axis].shape, np.float32)
            out[_middle(axis)] = (b - a) * (1000.0 / self.grid.pitch**2)
            faces.append(out[self._along[axis]])
        return faces, potential


def _pair(values: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Each cell and its next one along an axis."""
    n = values.shape[axis]
    before, after = [slice(None)] * 3, [slice(None)] * 3
    before[axis], after[axis] = slice(0, n - 1), slice(1, n)
    return values[tuple(before)], values[tuple(after)]


def _middle(axis: int) -> tuple[slice, ...]:
    """All faces along an axis but the outermost."""
    return tuple(slice(1, -1) if i == axis else slice(None) for i in range(3))


def _nearest(known: np.ndarray) -> tuple[np.ndarray, ...]:
    """For each cell, the indices of the nearest one that is known."""
    found = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    return tuple(found.astype(np.int32))


def linear(values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """(n,) values (X,Y,Z) at the points (3,n), in cells."""
    return np.asarray(ndimage.map_coordinates(values, at, order=1, mode="nearest"))


def _drift(faces: list[np.ndarray], at: np.ndarray, cells: float) -> np.ndarray:
    """(3,n) how far the flow takes the points (3,n) in a step of ``cells`` cells a mm: by the midpoint rule."""

    def speed(points: np.ndarray) -> np.ndarray:
        shifted = np.repeat(points[None], 3, 0)
        for axis in range(3):
            shifted[axis, axis] += 0.5
        return np.stack([linear(faces[axis], shifted[axis]) for axis in range(3)])

    return cells * speed(at + 0.5 * cells * speed(at))


@dataclass(frozen=True)
class Displacement:
    """Where everything inside a skull went.

    Attributes:
        space: the skull, and the fluid as it was.
        steps: flow of each step (faces along each axis, mm).
        ml: volume that the lesion has gained after each step; negative: lost.
        lesion: (X,Y,Z) float32, share of each cell that was lesion.
        lesions: (n,) of the cells inside, after each step.
        smallest: after each step, the smallest volume that any place was left of what it had.
    """

    space: Space
    steps: list[list[np.ndarray]]
    ml: list[float]
    lesion: np.ndarray
    lesions: list[np.ndarray]
    smallest: list[float]

    def upto(self, ml: float) -> Displacement:
        """The first part of the way, as near to ``ml`` as a step ends."""
        n = int(np.abs(np.array([0.0, *self.ml]) - ml).argmin())
        return replace(self, steps=self.steps[:n], ml=self.ml[:n], lesions=self.lesions[:n], smallest=self.smallest[:n])

    @cached_property
    def after(self) -> np.ndarray:
        """(X,Y,Z) float32, share of each cell that is lesion at the end."""
        if not self.lesions:
            return self.lesion
        return np.where(self.space.inside, self.space.field(self.lesions[-1]), np.float32(0.0))

    def trace(self, points: np.ndarray, backward: bool) -> np.ndarray:
        """(3,n) where the points (3,n), in cells, come from or go to."""
        at = np.array(points, np.float32)
        for faces in self.steps[::-1] if backward else self.steps:
            at += _drift(faces, at, (-1.0 if backward else 1.0) / self.space.grid.pitch)
        return at

    def _on_grid(self, backward: bool) -> np.ndarray:
        start = self.space.index.T
        way = (self.trace(start, backward) - start) * np.float32(self.space.grid.pitch)
        return np.moveaxis(self.space.field(way.T), -1, 0)

    @cached_property
    def backward(self) -> np.ndarray:
        """(3,X,Y,Z) mm from where something is to where it came from."""
        return self._on_grid(True)

    @cached_property
    def forward(self) -> np.ndarray:
        """(3,X,Y,Z) mm from where something was to where it went."""
        return self._on_grid(False)

    def origins(self, within: np.ndarray, backward: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """Voxels (n,3) of ``within`` (I,J,K) that something moved to, and where it was before, (n,3), in voxels.

        Args:
            backward: ``False`` for the way back: where what was at a voxel is now.
        """
        grid = self.space.grid
        far = np.linalg.norm(self.backward if backward else self.forward, axis=0)
        voxels = np.argwhere(within & (grid.up(ndimage.maximum_filter(far, 3)) > STILL_MM))
        points = grid.cells(voxels.T)
        at = self.trace(points, backward)
        kept = np.linalg.norm(at - points, axis=0) * grid.pitch >= STILL_MM
        return voxels[kept], grid.voxels(at[:, kept]).T

    def apply(
        self, values: np.ndarray, within: np.ndarray, backward: bool = True, smooth: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """Values (I,J,K) as displaced, in their own dtype, and how far what is there now was moved, float32 mm.

        Outside ``within``, and where nothing moved, values stay to the bit; what lies outside is never drawn in.

        Args:
            backward: ``False`` takes what was displaced back to where it was.
            smooth: cubic splines, within the range of the voxels around; else linear (bool: by the half).
        """
        voxels, at = self.origins(within, backward)
        out, way = values.copy(), np.zeros(values.shape, np.float32)
        if not len(voxels):
            return out, way
        way[tuple(voxels.T)] = np.linalg.norm((at - voxels) * np.array(self.space.grid.spacing), axis=1)
        box = tuple(slice(max(0, int(n.min()) - 6), int(n.max()) + 7) for n in np.nonzero(within))
        source, inside = values[box].astype(np.float32), within[box]
        for _ in range(4):  # the skull's own values must not shine through
            known = ndimage.uniform_filter(inside.astype(np.float32), 3)
            mean = ndimage.uniform_filter(np.where(inside, source, 0.0), 3) / np.maximum(known, 1e-6)
            source = np.where(~inside & (known > 1e-3), mean, source)
            inside = inside | (known > 1e-3)
        first = np.array([s.start for s in box], np.float32)
        new = ndimage.map_coordinates(source, (at - first).T, order=3 if smooth else 1, mode="nearest")
        if values.dtype == bool:
            new = new > 0.5
        else:  # splines overshoot at edges
            near = tuple(
                np.clip(np.rint(v).astype(int), 0, n - 1) for v, n in zip((at - first).T, source.shape, strict=True)
            )
            new = np.clip(new, ndimage.minimum_filter(source, 3)[near], ndimage.maximum_filter(source, 3)[near])
            new = np.rint(new) if np.issubdtype(values.dtype, np.integer) else new
        out[tuple(voxels.T)] = new.astype(values.dtype)
        return out, way


def jacobian(displacement: np.ndarray, inside: np.ndarray, pitch: float) -> np.ndarray:
    """(X,Y,Z) determinant of ``x -> x + displacement``: the change of volume; 1 outside. Differences stay inside."""
    matrix = np.zeros((*inside.shape, 3, 3))
    for axis in range(3):
        ahead, behind = (np.roll(displacement, -s, axis + 1) for s in (1, -1))
        can, could = (np.roll(inside, -s, axis) & inside for s in (1, -1))
        spread = np.where(can, ahead - displacement, 0.0) + np.where(could, displacement - behind, 0.0)
        count = np.maximum(can.astype(int) + could, 1)
        matrix[..., axis] = np.moveaxis(spread / count / pitch, 0, -1)
    return np.where(inside, np.linalg.det(matrix + np.eye(3)), 1.0)


def move(space: Space, lesion: np.ndarray, ml: float, on_step: Callable[[float], None] | None = None) -> Displacement:
    """Let a lesion gain ``ml``, or lose it where negative, and move what is around it.

    It ends early where the fluid has no more to give: see ``ml`` of the result.

    Args:
        lesion: (X,Y,Z) float, share of each cell that is lesion to begin with.
        on_step: told the share of the way that is done; may raise to cancel.
    """
    grid, inside, index = space.grid, space.inside, space.index.T
    lesion = np.where(inside, lesion, 0.0).astype(np.float32)
    if ml == 0 or not lesion.any():
        return Displacement(space, [], [], lesion, [], [])
    away = ndimage.distance_transform_edt(lesion < 0.5 * lesion.max()) * grid.pitch
    near = np.exp(-away[inside] / REACH_MM)
    growing, sign = ml > 0, float(np.sign(ml))
    wet: np.ndarray = space.fluid
    solid: np.ndarray = lesion * (1.0 - wet)  # a sulcus inside a lesion is squeezed like any other
    if solid.sum() < 0.05 * lesion.sum():
        solid, wet = lesion, wet * (1.0 - lesion)
    count = len(near)
    moved: np.ndarray = np.zeros((count, 3))  # cells back to the start
    gain: np.ndarray = np.zeros((count, 2))  # of lesion and of fluid, as a share of the volume there was
    lesion_part, fluid_part = solid[inside].astype(float), wet[inside].astype(float)
    steps: list[list[np.ndarray]] = []
    smallest: list[float] = []
    lesions, reached, potential = [], [0.0], None
    while abs(ml) - abs(reached[-1]) > 1e-3 * abs(ml) and len(steps) < MAX_STEPS:
        volume = 1.0 + gain.sum(1)
        present, fluid = (lesion_part + gain[:, 0]) / volume, (fluid_part + gain[:, 1]) / volume
        if growing:
            free = np.maximum(fluid - RESERVE * fluid_part / volume, 0.0)
        else:
            free = fluid * np.clip((WIDEST - fluid * volume / np.maximum(fluid_part, 1e-6)) / (WIDEST - 1.0), 0.0, 1.0)
        taking = free * near
        taking, present = taking * space.ml, present * space.ml
        if taking.sum() < 1e-3 * abs(ml):
            break
        parts = sign * np.stack([present / present.sum(), -taking / taking.sum()], 1)
        source = parts.sum(1)
        flow, potential = space.flow(source, potential)
        fastest = max(float(np.abs(face).max()) for face in flow)
        step = min(
            abs(ml) - abs(reached[-1]),
            STEP_CELLS * grid.pitch / fastest,
            STEP_STRAIN / float(np.abs(source / space.ml).max()),
            0.5 * float(taking.sum()),
        )
        faces = [face * np.float32(step) for face in flow]
        change = step * source / space.ml
        grown = np.where(np.abs(change) > 1e-9, np.expm1(change) / np.where(change == 0, 1.0, change), 1.0)
        gain = gain + parts * (volume * grown * step / space.ml)[:, None]
        drift = _drift(faces, index.astype(float), -1.0 / grid.pitch)
        moved, gain = (
            np.stack([linear(v, index + drift) for v in np.moveaxis(space.field(values), -1, 0)], 1)
            for values in (moved, gain)
        )
        moved = moved + drift.T
        lesion_part, fluid_part = (linear(values, index + moved.T) for values in (solid, wet))
        steps.append(faces)
        reached.append(reached[-1] + sign * step)
        share = linear(lesion, index + moved.T)  # the fluid in a cell belongs to the lesion by that share
        lesions.append(np.clip((share + gain[:, 0] + gain[:, 1] * share) / (1.0 + gain.sum(1)), 0, 1))
        smallest.append(float((1.0 + gain.sum(1)).min()))
        if on_step:
            on_step(abs(reached[-1] / ml))
    return Displacement(space, steps, reached[1:], lesion, lesions, smallest)
