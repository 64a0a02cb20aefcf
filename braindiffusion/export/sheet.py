"""A contact sheet: a row a slice, a column a view, on black; marked as synthetic on every row and at the head."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from braindiffusion import NOT_FOR_DIAGNOSIS

if TYPE_CHECKING:
    from braindiffusion.volume.slices import Intensity, SliceStack

CELL_INCHES, HEAD_INCHES = 2.3, 0.6
SPAN = 0.4
"""Ends of the difference's colours, in the model's units (0.45 is the median brain)."""
_COLD_TO_WARM = ((0.45, 0.95, 1.0), (0.1, 0.45, 0.95), (0.0, 0.0, 0.0), (0.95, 0.3, 0.1), (1.0, 0.95, 0.5))
"""Darker is blue, brighter is orange, unchanged is black as the rest of the page."""


class Sheet:
    """Slices in rows, views in columns, cropped to what is brighter than background.

    Args:
        planes: (N,H,W) scan intensities of the slices shown; they set crop and grey levels.
        stack: of the result; its placement gives the pixels' aspect, its intensities the grey levels.
        chosen: (N,) numbers of the slices.
        headings: of the columns; ``synthetic``: the column whose pictures no scanner made.
        notes: of the rows, beside the slice's number.
        sides: whether the scan says which side is left; else the letters carry a question mark.
    """

    def __init__(
        self, planes: np.ndarray, stack: SliceStack, chosen: Sequence[int], headings: Sequence[str], synthetic: int,
        notes: Sequence[str] = (), sides: bool = True,
    ) -> None:  # fmt: skip
        from matplotlib.figure import Figure

        self.tone: Intensity = stack.intensity_of(chosen[len(chosen) // 2])
        low, high = self.tone.zero, self.tone.zero + (0.95 / self.tone.gain if self.tone.gain else 1.0)
        self._crop = cropped(planes > low + 0.05 * (high - low))
        aspect = stack.placement.pitch[0] / stack.placement.pitch[1]
        self._pixels: dict[str, Any] = {"aspect": aspect, "interpolation": "nearest"}
        self._grey = {"cmap": "gray", "vmin": low, "vmax": high, **self._pixels}
        height, width = planes[0][self._crop].shape
        n, across = len(chosen), len(headings)
        size = (across * CELL_INCHES, n * CELL_INCHES * height * aspect / width + HEAD_INCHES + 0.25)
        self.figure = Figure(figsize=size, facecolor="black")
        self.axes = self.figure.subplots(n, across, squeeze=False)
        for axis, heading in zip(self.axes[0], headings, strict=True):
            axis.set_title(heading, color="white", fontsize=8)
        for row, s, note in zip(self.axes, chosen, notes or [""] * n, strict=True):
            for axis in row:
                axis.set_axis_off()
            label: dict[str, Any] = {"color": "white", "fontsize": 7, "transform": row[0].transAxes}
            row[0].text(0.02, 0.02, f"slice {s}{note and ', '}{note}", **label)
            row[0].text(0.01, 0.5, "R" if sides else "R?", **label)  # axial slices lie as radiologists have them
            row[0].text(0.99, 0.5, "L" if sides else "L?", ha="right", **label)
            mark: dict[str, Any] = {"color": "yellow", "fontsize": 5.5, "ha": "center"}
            row[synthetic].text(0.5, 0.015, NOT_FOR_DIAGNOSIS, transform=row[synthetic].transAxes, **mark)

    def grey(self, row: int, column: int, plane: np.ndarray) -> None:
        """An image in the scan's intensities."""
        self.axes[row, column].imshow(plane[self._crop], **self._grey)

    def difference(self, row: int, column: int, plane: np.ndarray) -> None:
        """A signed difference in scan intensities, with its scale in the first row."""
        from matplotlib.colors import LinearSegmentedColormap

        colours = LinearSegmentedColormap.from_list("cold to warm", _COLD_TO_WARM)
        span = SPAN / self.tone.gain if self.tone.gain else 1.0
        axis = self.axes[row, column]
        picture = axis.imshow(plane[self._crop], cmap=colours, vmin=-span, vmax=span, **self._pixels)
        if row == 0:
            scale = self.figure.colorbar(picture, cax=axis.inset_axes((0.9, 0.08, 0.03, 0.3)))
            digits = 0 if span >= 20 else 2
            scale.set_ticks([-span, 0, span], labels=[f"{v:+.{digits}f}" if v else "0" for v in (-span, 0, span)])
            scale.ax.tick_params(colors="white", labelsize=5.5, length=2, labelleft=True, labelright=False)
            scale.outline.set_edgecolor("white")

    def heat(self, row: int, column: int, plane: np.ndarray) -> None:
        """A map in [0,1] over what is there, clearer where it is higher."""
        shown = plane[self._crop]
        alpha = np.clip(shown * 1.5, 0, 0.8)
        aspect = self._pixels["aspect"]
        self.axes[row, column].imshow(shown, cmap="inferno", vmin=0, vmax=1, alpha=alpha, aspect=aspect)

    def colours(self, row: int, column: int, labels: np.ndarray, rgba: Sequence[tuple[float, ...]]) -> None:
        """Labels 1, 2, ... in the colours given, over what is there."""
        palette = np.array([(0.0, 0.0, 0.0, 0.0), *rgba])
        self.axes[row, column].imshow(palette[labels[self._crop]], **self._pixels)

    def outline(self, row: int, column: int, mask: np.ndarray, colour: str) -> None:
        """The border of a mask; nothing where it is empty or full."""
        shown = mask[self._crop]
        if shown.any() and not shown.all():
            self.axes[row, column].contour(shown, [0.5], colors=colour, linewidths=0.9)

    def save(self, path: Path | BinaryIO, title: str) -> None:
        """Written as PNG, with the mark in the picture and in its metadata."""
        height = self.figure.get_figheight()
        self.figure.suptitle(f"{NOT_FOR_DIAGNOSIS}   {title}", color="yellow", fontsize=9, y=1 - 0.1 / height, va="top")
        self.figure.subplots_adjust(0.005, 0.005, 0.995, 1 - HEAD_INCHES / height, 0.02, 0.02)
        self.figure.savefig(path, dpi=130, facecolor="black", metadata={"Description": NOT_FOR_DIAGNOSIS})


def cropped(planes: np.ndarray, border: int = 8) -> tuple[slice, slice]:
    """Rows and columns that hold all of (N,H,W) bool ``planes``, and a border; everything where they are empty."""
    rows, columns = (np.nonzero(planes.any(axis))[0] for axis in ((0, 2), (0, 1)))
    if not len(rows):
        return slice(None), slice(None)
    down = slice(max(0, rows[0] - border), rows[-1] + border + 1)
    return down, slice(max(0, columns[0] - border), columns[-1] + border + 1)
