"""From DICOM images in any order to one stack of slices: copies out, others out, in order, without holes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from braindiffusion import errors

if TYPE_CHECKING:
    from pydicom import Dataset

NEARLY_ALL = 0.75
"""Share of the images that must lie in one way for the others to be left out."""
JITTER, TOLD_JITTER = 0.08, 0.01
"""How far the step from slice to slice may differ from the usual, as a part of it; and from where it is told."""


@dataclass(frozen=True)
class Frame:
    """One image of a series.

    Attributes:
        file: where it is stored, and as which frame (``index``).
        position: (3,) LPS mm, centre of the first pixel.
        layout: (10,) direction along a row (3) and down a column (3), mm between rows and between columns, number of
            rows and of columns.
        rescale: slope and intercept of its values.
    """

    file: Path
    index: int
    position: np.ndarray
    layout: np.ndarray
    rescale: tuple[float, float] = (1.0, 0.0)

    def __str__(self) -> str:
        return f"{self.file.name} (frame {self.index + 1})" if self.index else self.file.name


def without_copies(frames: list[Frame], headers: dict[Path, Dataset]) -> tuple[list[Frame], int]:
    """The frames without those of files that are the same image at the same place, and how many those are."""
    seen: set[tuple[str, int, bytes]] = set()
    kept = []
    for frame in frames:
        uid = str(headers[frame.file].get("SOPInstanceUID") or frame.file)
        key = (uid, frame.index, np.round(frame.position, 3).tobytes())
        if key not in seen:
            seen.add(key)
            kept.append(frame)
    return kept, len(frames) - len(kept)


def one_stack(frames: list[Frame], path: Path) -> tuple[list[Frame], int]:
    """The frames of one orientation, pixel spacing and size, and how many lie otherwise.

    Raises:
        DicomSeriesError: fewer than ``NEARLY_ALL`` lie in one way.
    """
    stacks: list[list[Frame]] = []
    for frame in frames:
        for stack in stacks:
            if np.allclose(stack[0].layout, frame.layout, rtol=0, atol=1e-3):
                stack.append(frame)
                break
        else:
            stacks.append([frame])
    stacks.sort(key=len, reverse=True)
    if len(stacks) > 1 and len(stacks[0]) < NEARLY_ALL * len(frames):
        raise errors.DicomSeriesError(
            f"The images in {path} do not form one stack.",
            f"{stacks[1][0]} differs from {stacks[0][0]} in orientation, pixel spacing or size.",
            "Give a folder with one series of parallel slices (no localizers).",
        )
    return stacks[0], len(frames) - len(stacks[0])


def in_order(
    frames: list[Frame], normal: np.ndarray, headers: dict[Path, Dataset], path: Path
) -> tuple[list[Frame], float, tuple[str, ...]]:
    """Two frames or more in order along the normal, the mm between them, and sentences for the user.

    Raises:
        DicomSeriesError: positions that repeat or leave a gap, or files that are missing by what the tags say.
        ScanGeometryError: a slanted stack.
    """
    frames = sorted(frames, key=lambda f: float(f.position @ normal))
    positions = np.array([f.position for f in frames])
    along = positions @ normal
    gaps = np.diff(along)
    usual, twin, gap = float(np.median(gaps)), int(gaps.argmin()), int(np.abs(gaps - np.median(gaps)).argmax())
    if gaps[twin] < 0.01:
        raise errors.DicomSeriesError(
            f"{path} shows a place more than once.",
            f"{frames[twin]} and {frames[twin + 1]} share a position: echoes, time points, or several volumes.",
            "Keep one image per position, or convert it with dcm2niix and read one volume.",
        )
    off = abs(float(gaps[gap]) - usual)
    if off > max(0.05, JITTER * usual):
        raise errors.DicomSeriesError(
            f"The slices in {path} are not evenly spaced.",
            f"After slice {gap + 1}, {frames[gap]}, {frames[gap + 1]} follows at {gaps[gap]:.2f} mm, not {usual:.2f}.",
            "Copy the whole series again: slices may be missing.",
        )
    drift = np.linalg.norm(positions - positions[0] - np.outer(along - along[0], normal), axis=1).max()
    if drift > 0.5 * frames[0].layout[6:8].min():
        raise errors.ScanGeometryError(
            f"The slices in {path} are stacked at a slant.",
            f"They drift sideways by {drift:.1f} mm, as with a tilted CT gantry.",
            "Convert it with dcm2niix, which straightens it.",
        )
    step = float(along[-1] - along[0]) / (len(frames) - 1)
    notes = _missing(frames, step, headers, path)
    if off > max(0.05, TOLD_JITTER * usual):
        notes += (f"The slices are {step:.2f} mm apart, give or take {off:.2f} mm; they are taken as evenly spaced.",)
    return frames, step, notes


def _missing(frames: list[Frame], step: float, headers: dict[Path, Dataset], path: Path) -> tuple[str, ...]:
    """Compare the places with what the tags say of them: every second file missing leaves no gap.

    Raises:
        DicomSeriesError: both the spacing and the numbers of the images say that files are missing.
    """
    first = headers[frames[0].file]
    try:
        told = abs(float(first.get("SpacingBetweenSlices") or 0))
        numbers = [int(headers[f.file].get("InstanceNumber") or 0) for f in frames]
        thick = float(first.get("SliceThickness") or 0)
    except (TypeError, ValueError):
        return ()
    apart = np.abs(np.diff(numbers))
    skips = int(apart[0]) if len({f.file for f in frames}) == len(frames) and (apart == apart[0]).all() else 1
    ratio = step / told if told > 0 else 1.0
    if ratio > 1.5:
        why = f"They lie {step:.2f} mm apart, and their header says {told:.2f} mm."
        if skips > 1 and abs(ratio - skips) < 0.1:
            raise errors.DicomSeriesError(
                f"Slices of {path} are missing.",
                f"{why} The images are numbered in steps of {skips}.",
                "Copy the whole series again.",
            )
        return (f"Slices may be missing. {why}",)
    if not told and skips > 1 and thick and step > 1.5 * thick:
        return (
            f"Slices may be missing. They lie {step:.2f} mm apart, are {thick:.2f} mm thick, and are numbered in "
            f"steps of {skips}.",
        )
    return ()
