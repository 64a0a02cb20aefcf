"""Text burned into pixels, looked for without reading it: a row of shapes of one height, next to each other.

Anatomy makes such rows too, so one of two more things is asked for. Either the shapes are drawn in one exact grey
value, which noise denies to anatomy; or they stand apart from the head and at the same place in two neighbouring
planes, as what a device writes does. It finds printed characters from 5 pixels upwards; it does not find handwriting,
nor smoothed writing across the head or on one plane only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from braindiffusion.volume.slices import background_level

LEAST_HEIGHT, MOST_HEIGHT = 5, 48
"""Of a character, pixels."""
LETTERS = 4
"""Shapes in a row that make a text."""
PURE = 0.7
"""Share of a character's pixels that have its grey value exactly; the rest is smoothing along its edges."""
LEVEL = 0.25
"""What stands out of the air has this share of a plane's brightest value."""

Line = tuple[int, int, int, int]
"""First and last row, first and last column of a text."""


@dataclass(frozen=True)
class Text:
    """Where something that looks like text stands: in the plane ``voxels.take(index, axis)``."""

    axis: int
    index: int
    line: Line


def find_text(voxels: np.ndarray, axes: Sequence[int] = (0, 1, 2), most: int = 1) -> list[Text]:
    """Places in a volume (I,J,K) that look like burned-in text, in planes across the given axes; at most ``most``."""
    found: list[Text] = []
    air = background_level(voxels)
    for axis in axes:
        if min(n for a, n in enumerate(voxels.shape) if a != axis) < 16:
            continue
        above: list[Line] = []
        for index, plane in enumerate(np.moveaxis(voxels, axis, 0)):
            apart = list(_lines(_standing_apart(plane, air)))
            repeated = [line for line in apart if any(np.abs(np.subtract(line, other)).max() <= 1 for other in above)]
            above = apart
            found += [Text(axis, index, line) for line in (*_lines(_drawn(plane)), *repeated)]
            if len(found) >= most:
                return found[:most]
    return found


def _drawn(plane: np.ndarray) -> np.ndarray:
    """Shapes (see :func:`_shapes`) of one grey value: pixels equal to two of their eight neighbours."""
    framed = np.pad(plane.astype(np.float64), 1, constant_values=np.nan)
    rows, columns = plane.shape
    equal = np.zeros(plane.shape, np.uint8)
    for r, c in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1), (2, 2)):
        equal += framed[r : r + rows, c : c + columns] == plane
    return _shapes(plane, equal >= 2, PURE)


def _standing_apart(plane: np.ndarray, air: float) -> np.ndarray:
    """Shapes (see :func:`_shapes`) brighter than air that end inside the plane and are not the largest, the head."""
    top = float(plane.max())
    if not top > air:
        return np.zeros((0, 5))
    labels, count = ndimage.label(plane > air + LEVEL * (top - air), np.ones((3, 3)))
    if count <= LETTERS:
        return np.zeros((0, 5))
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    cut = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1], [areas.argmax(), 0]])
    return _shapes(np.ones(plane.shape), ~np.isin(labels, cut), 1.0)


def _shapes(plane: np.ndarray, mask: np.ndarray, pure: float) -> np.ndarray:
    """(n,5) first and last row, first and last column, grey value of the shapes that could be characters.

    Args:
        pure: least share of a shape's pixels that have its value.
    """
    if mask.sum() < LETTERS * LEAST_HEIGHT:
        return np.zeros((0, 5))
    labels, _ = ndimage.label(mask, np.ones((3, 3)))
    shapes = []
    for n, at in enumerate(ndimage.find_objects(labels), 1):
        (top, bottom), (left, right) = ((side.start, side.stop - 1) for side in at)
        larger, smaller = sorted((bottom - top + 1, right - left + 1), reverse=True)
        if not LEAST_HEIGHT <= larger <= MOST_HEIGHT:
            continue
        values = plane[at][labels[at] == n]
        ink = np.median(values)
        if values.size >= max(larger, 0.12 * larger * smaller) and (values == ink).mean() >= pure:
            shapes.append((top, bottom, left, right, ink))
    return np.array(shapes, float).reshape(-1, 5)


def _lines(shapes: np.ndarray) -> Iterator[Line]:
    """The texts among shapes, along the rows of a plane or along its columns."""
    yield from _rows_of(shapes)
    for left, right, top, bottom in _rows_of(shapes[:, [2, 3, 0, 1, 4]]):
        yield top, bottom, left, right


def _rows_of(shapes: np.ndarray) -> Iterator[Line]:
    """Each run of shapes that stand on one line, of one height and grey value, next to each other."""
    heights, widths = shapes[:, 1] - shapes[:, 0] + 1, shapes[:, 3] - shapes[:, 2] + 1
    shapes = shapes[(heights >= LEAST_HEIGHT) & (heights <= MOST_HEIGHT) & (widths <= 1.5 * heights)]
    shapes = shapes[np.argsort(shapes[:, 2], kind="stable")]
    free = np.ones(len(shapes), bool)
    for first in range(len(shapes)):
        run = [first] if free[first] else []
        for other in range(first + 1, len(shapes) if run else 0):
            last, next_ = shapes[run[-1]], shapes[other]
            height = last[1] - last[0] + 1
            if next_[2] - last[3] > 1.2 * height + 2:
                break
            same_foot = abs(next_[1] - last[1]) <= max(1, round(0.15 * height))
            same_size = abs(next_[1] - next_[0] + 1 - height) <= max(1, round(0.4 * height))
            if free[other] and next_[4] == last[4] and same_foot and same_size and next_[2] > last[3]:
                run.append(other)
        if len(run) >= LETTERS:
            free[run] = False
            line = shapes[run].astype(int)
            yield int(line[:, 0].min()), int(line[:, 1].max()), int(line[0, 2]), int(line[-1, 3])
