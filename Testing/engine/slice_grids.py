"""Voxel grids of any orientation and spacing, and a brain on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from braindiffusion.volume.scan import Scan

few = settings(max_examples=60, deadline=None)
DTYPES = ["uint8", "int16", "uint16", "float32"]


def turn(degrees: float, axis: int) -> np.ndarray:
    """Rotation about one patient axis."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    i, j = [(1, 2), (0, 2), (0, 1)][axis]
    out = np.eye(3)
    out[[i, j], [i, j]] = c
    out[i, j], out[j, i] = -s, s
    return out


@dataclass(frozen=True)
class Grid:
    """A voxel grid in space.

    Attributes:
        order: patient axis (0 R, 1 A, 2 S) along each voxel axis.
        sign: whether each voxel axis runs towards right, anterior, superior (1) or away (-1).
        spacing: mm along each voxel axis.
        tilt: rotation of the whole grid.
        shape: voxels along each voxel axis.
    """

    order: tuple[int, ...]
    sign: tuple[int, ...]
    spacing: tuple[float, ...]
    tilt: np.ndarray
    shape: tuple[int, ...]

    @property
    def affine(self) -> np.ndarray:
        out = np.eye(4)
        for axis, (patient, sign, mm) in enumerate(zip(self.order, self.sign, self.spacing, strict=True)):
            out[:3, axis] = self.tilt[:, patient] * sign * mm
        out[:3, 3] = [13.0, -40.0, 7.0]
        return out

    def upright(self, ijk: np.ndarray) -> np.ndarray:
        """(...,3) voxel indices -> mm to the right, front and top, from the middle of the grid, tilt undone."""
        away = (np.asarray(ijk) - (np.array(self.shape) - 1) / 2) @ self.affine[:3, :3].T
        return away @ self.tilt


@st.composite
def grids(
    draw: st.DrawFn, slices: int | None = None, side: tuple[int, int] = (12, 26), mm: tuple[float, float] = (0.6, 6.0)
) -> Grid:
    """Any axis order, direction, spacing and moderate tilt; in the plane well inside the model's field of view."""
    order = tuple(draw(st.permutations(range(3))))
    sign = tuple(draw(st.sampled_from([-1, 1])) for _ in range(3))
    spacing = tuple(draw(st.floats(*mm)) for _ in range(3))
    tilt = turn(draw(st.floats(-20, 20)), draw(st.integers(0, 2)))
    count = slices or draw(st.integers(1, 4))
    shape = tuple(count if patient == 2 else draw(st.integers(*side)) for patient in order)
    return Grid(order, sign, spacing, tilt, shape)


def brain_scan(grid: Grid, dtype: str = "int16", seed: int = 0) -> tuple[Scan, np.ndarray]:
    """A box of textured brain in black air, and its mask."""
    brain = np.zeros(grid.shape, bool)
    brain[tuple(slice(None) if p == 2 else slice(2, -2) for p in grid.order)] = True
    values = np.random.default_rng(seed).integers(90, 150, grid.shape)
    return Scan(np.where(brain, values, 0).astype(dtype), grid.affine), brain


FINE, COARSE = grids(side=(66, 72), mm=(0.6, 2.4)), grids(side=(24, 30), mm=(2.4, 6.0))
UPRIGHT = Grid((0, 1, 2), (1, 1, 1), (1.0, 1.0, 5.0), np.eye(3), (120, 140, 3))
