"""What the pointer tells and measures: a crosshair in linked views with the values there, distances, regions.

The page sends where the pointer is, as shares of a view's width and height; everything else is computed here, in world
mm, so that a measure stays where it is when a view is zoomed, moved or scrolled.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import slicer

from BrainCounterfactualCommon.scene import volumes
from BrainViewerLib.server.messages import Messages
from BrainViewerLib.shown import Shown
from BrainViewerLib.signals import Signal
from BrainViewerLib.views.board import Board

NO_PROBE: dict[str, Any] = {"where": "", "lines": {}, "values": {}}
MIN_MM = 1.0
"""Shorter drags measure nothing: they were clicks."""
PAPER = "#f4d35e"
ENDS = (("L", "R"), ("P", "A"), ("I", "S"))
OBLIQUE = 0.35
"""A direction that lies so far along another axis (20 degrees) has that axis's letter, too."""


@dataclass(frozen=True)
class Measure:
    """A line or an ellipse on one slice.

    Attributes:
        kind: ``distance`` or ``roi``.
        start, end: (3,) world mm; of an ellipse, corners of the box around it.
        right, up: (3,) unit vectors of the view it was drawn in.
    """

    kind: str
    start: np.ndarray
    end: np.ndarray
    right: np.ndarray
    up: np.ndarray

    @property
    def millimetres(self) -> float:
        return float(np.linalg.norm(self.end - self.start))

    def inside(self, points: np.ndarray) -> np.ndarray:
        """(N,) bool: which of (N,3) world points lie in the ellipse."""
        middle, across = (self.start + self.end) / 2, self.end - self.start
        half = np.maximum(np.abs([across @ self.right, across @ self.up]) / 2, 1e-6)
        off = points - middle
        return np.asarray(((off @ self.right) / half[0]) ** 2 + ((off @ self.up) / half[1]) ** 2 <= 1.0)


class Pointer:
    """Probe and measures of the scan shown.

    Attributes:
        drawn_anew: called with a view's tag when the measures over it have changed.
    """

    def __init__(self, state: Any, messages: Messages, shown: Shown, board: Board) -> None:
        self.state, self.messages, self.shown, self.board = state, messages, shown, board
        self.drawn_anew = Signal()
        self.measures: list[Measure] = []
        self.state.probe = NO_PROBE

    # -- places

    def _xy_to_world(self, tag: str) -> np.ndarray:
        node = self.board[tag].get_view_node()
        return np.asarray(volumes.matrixOf(lambda matrix: matrix.DeepCopy(node.GetXYToRAS())))

    def world(self, tag: str, u: float, v: float) -> np.ndarray:
        """(3,) world mm of a point of a view; ``u`` from the left, ``v`` from above, 0 to 1."""
        width, height = self.board[tag].render_window().GetSize()
        return np.asarray((self._xy_to_world(tag) @ (u * width, (1 - v) * height, 0.0, 1.0))[:3])

    def share(self, tag: str, point: np.ndarray) -> tuple[float, float, float]:
        """``(u, v, mm)`` of a world point in a view; how far it lies before or behind its slice."""
        width, height = self.board[tag].render_window().GetSize()
        to_world = self._xy_to_world(tag)
        x, y = (np.linalg.inv(to_world) @ np.append(point, 1.0))[:2]
        normal = np.cross(to_world[:3, 0], to_world[:3, 1])
        off = float((point - to_world[:3, 3]) @ (normal / np.linalg.norm(normal)))
        return float(x / max(1, width)), float(1 - y / max(1, height)), off

    def _axes(self, tag: str) -> tuple[np.ndarray, np.ndarray]:
        to_world = self._xy_to_world(tag)
        right, up = (to_world[:3, n] / np.linalg.norm(to_world[:3, n]) for n in (0, 1))
        return right, up

    # -- probing

    def probe(self, tag: str, u: float, v: float) -> None:
        """The pointer is there; an empty ``tag``: it has left the views."""
        state, board = self.state, self.board
        if self.shown.volume is None or tag not in board.tags:
            if state.probe != NO_PROBE:
                state.probe = NO_PROBE
            return
        point = self.world(tag, float(u), float(v))
        lines, values = {}, {}
        for other in board.tags:
            at = self.share(other, point)
            near = abs(at[2]) < 0.51 * board[other].get_slice_step()
            if state.crosshair and other != tag and (near or board.layout == "edit"):
                lines[other] = cross(at[0], at[1])
            if near or other == tag:
                values[other] = self._value(other, point)
        state.probe = {"where": patient(point), "lines": lines, "values": values}

    def _value(self, tag: str, point: np.ndarray) -> str:
        """The value of what a view shows at a place, in words; of its overlay too."""
        board = self.board
        over = tag in ("Difference", "Axial", "Coronal", "Sagittal") and board[tag].get_foreground_volume_id()
        ids = [None if tag == "Difference" else board[tag].get_background_volume_id(), over]
        found = [text for text in (self._at(node_id, point) for node_id in ids if node_id) if text]
        return " | ".join(found)

    @staticmethod
    def _at(node_id: str, point: np.ndarray) -> str:
        node = slicer.mrmlScene.GetNodeByID(node_id)
        if node is None or node.GetImageData() is None:
            return ""
        ijk = np.rint(np.linalg.inv(volumes.ijkToWorld(node)) @ np.append(point, 1.0))[:3].astype(int)
        voxels = volumes.voxels(node)
        if (ijk < 0).any() or (ijk >= voxels.shape[::-1]).any():
            return ""
        value = float(voxels[tuple(ijk[::-1])])
        return f"{value:.0f}" if abs(value) >= 20 or value == int(value) else f"{value:.2f}"

    # -- measuring

    def measure(self, kind: str, tag: str, u: float, v: float, to_u: float, to_v: float) -> None:
        """A line or an ellipse was drawn."""
        if self.shown.volume is None or tag not in self.board.tags or kind not in ("distance", "roi"):
            return
        start, end = self.world(tag, float(u), float(v)), self.world(tag, float(to_u), float(to_v))
        made = Measure(kind, start, end, *self._axes(tag))
        if made.millimetres < MIN_MM:
            return
        self.measures.append(made)
        self.messages.say(self.text(made, tag))
        self._changed()

    def clear(self) -> None:
        """Take all measures away."""
        self.measures.clear()
        self._changed()

    def _changed(self) -> None:
        self.state.measured = len(self.measures)
        for tag in self.board.tags:
            self.drawn_anew(tag)

    def text(self, measure: Measure, tag: str) -> str:
        """What a measure says in a view."""
        if measure.kind == "distance":
            return f"{measure.millimetres:.1f} mm"
        return self._statistics(measure, tag)

    def _statistics(self, measure: Measure, tag: str) -> str:
        board = self.board
        shown = board[tag].get_foreground_volume_id() if tag == "Difference" else None
        node = slicer.mrmlScene.GetNodeByID(shown or board[tag].get_background_volume_id() or "")
        if node is None:
            return ""
        values = inside(measure, node)
        if not values.size:
            return "outside the scan"
        across = measure.end - measure.start
        area = np.pi / 4 * abs(across @ measure.right) * abs(across @ measure.up)
        return f"mean {values.mean():.4g} ± {values.std():.3g}, {area:.0f} mm²"

    def drawn(self, tag: str) -> str:
        """The measures on a view's slice, as SVG."""
        board, parts = self.board, []
        for measure in self.measures:
            start, end = self.share(tag, measure.start), self.share(tag, measure.end)
            if max(abs(start[2]), abs(end[2])) >= 0.51 * board[tag].get_slice_step():
                continue
            parts.append(shape(measure.kind, start, end, self.text(measure, tag)))
        return svg("".join(parts)) if parts else ""


def inside(measure: Measure, node: Any) -> np.ndarray:
    """The values of a volume in an ellipse on its slice."""
    voxels, to_world = volumes.voxels(node), volumes.ijkToWorld(node)
    to_ijk = np.linalg.inv(to_world)
    size = np.array(voxels.shape[::-1])
    corners = [
        measure.start + a * measure.right * ((measure.end - measure.start) @ measure.right)
        + b * measure.up * ((measure.end - measure.start) @ measure.up)
        for a in (0, 1) for b in (0, 1)
    ]  # fmt: skip
    at = np.array([(to_ijk @ np.append(corner, 1.0))[:3] for corner in corners])
    low = np.clip(np.rint(at.min(0)).astype(int), 0, size - 1)
    high = np.clip(np.rint(at.max(0)).astype(int), 0, size - 1)
    grid = np.stack(np.meshgrid(*(np.arange(a, b + 1) for a, b in zip(low, high, strict=True)), indexing="ij"), -1)
    ijk = grid.reshape(-1, 3)
    points = ijk @ to_world[:3, :3].T + to_world[:3, 3]
    chosen = ijk[measure.inside(points)]
    return np.asarray(voxels[chosen[:, 2], chosen[:, 1], chosen[:, 0]], float)


def patient(point: np.ndarray) -> str:
    """A place in world mm, as a radiologist reads it."""
    ends = zip(ENDS, point, strict=True)
    return "  ".join(f"{pair[int(value >= 0)]} {abs(value):.0f}" for pair, value in ends) + " mm"


def letters(plane: np.ndarray) -> dict[str, str]:
    """Which side of the patient lies at each side of a view, from its (4,4) slice-to-world matrix."""

    def of(direction: np.ndarray) -> str:
        order = sorted(range(3), key=lambda n: -abs(direction[n]))
        return "".join(ENDS[n][int(direction[n] > 0)] for n in order if abs(direction[n]) > OBLIQUE)

    right, up = plane[:3, 0], plane[:3, 1]
    return {"right": of(right), "left": of(-right), "top": of(up), "bottom": of(-up)}


def scale_bar(millimetres_across: float) -> tuple[int, float]:
    """``(mm, share)``: a bar of a round length, at most a quarter of a view so wide."""
    lengths = [n for n in (200, 100, 50, 20, 10, 5, 2, 1) if n <= 0.25 * millimetres_across]
    length = lengths[0] if lengths else 1
    return length, length / millimetres_across if millimetres_across > 0 else 0.0


def svg(inner: str) -> str:
    """A drawing over a whole view."""
    return f'<svg class="bv-svg" width="100%" height="100%" aria-hidden="true">{inner}</svg>'


def cross(u: float, v: float) -> str:
    """A crosshair, as SVG; open in the middle."""
    x, y = f"{100 * u:.2f}%", f"{100 * v:.2f}%"
    line = '<line {} stroke="#7fd6d2" stroke-width="1" stroke-opacity=".75"/>'
    return svg(
        line.format(f'x1="0" x2="100%" y1="{y}" y2="{y}" stroke-dasharray="6 5"')
        + line.format(f'x1="{x}" x2="{x}" y1="0" y2="100%" stroke-dasharray="6 5"')
    )


def shape(kind: str, start: tuple[float, ...], end: tuple[float, ...], text: str) -> str:
    """A measure with its figure, as SVG."""
    x1, y1, x2, y2 = (f"{100 * value:.2f}%" for value in (start[0], start[1], end[0], end[1]))
    style = f'stroke="{PAPER}" stroke-width="1.5" fill="none"'
    if kind == "distance":
        drawn = f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" {style}/>'
        drawn += "".join(f'<circle cx="{x}" cy="{y}" r="2.5" fill="{PAPER}"/>' for x, y in ((x1, y1), (x2, y2)))
    else:
        middle = [50 * (a + b) for a, b in zip(start[:2], end[:2], strict=True)]
        half = [50 * abs(a - b) for a, b in zip(start[:2], end[:2], strict=True)]
        drawn = (
            f'<ellipse cx="{middle[0]:.2f}%" cy="{middle[1]:.2f}%" rx="{half[0]:.2f}%" ry="{half[1]:.2f}%" {style}/>'
        )
    right = max(start[0], end[0])
    anchor, x = ("end", f"{100 * min(start[0], end[0]):.2f}%") if right > 0.7 else ("start", f"{100 * right:.2f}%")
    y = f"{100 * max(start[1], end[1]):.2f}%"
    label = f'<text x="{x}" y="{y}" dy="14" text-anchor="{anchor}" class="bv-measured">{escape(text)}</text>'
    return drawn + label
