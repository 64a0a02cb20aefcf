"""Pictures of healed slices: a gallery of all methods, what they call a lesion, healthy slices, the seam."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from braindiffusion import NOT_FOR_DIAGNOSIS
from braindiffusion.evaluation.healing.data import Measured
from braindiffusion.evaluation.healing.images import seam
from braindiffusion.evaluation.healing.maps import lesions, score_map
from braindiffusion.evaluation.healing.scores import Scored, strata_of
from braindiffusion.evaluation.induction.pairs import STRATA
from braindiffusion.evaluation.models.figures import save
from braindiffusion.volume.slices import centred

TILE, GAP, TOP = (112, 96), 3, 16
WRAP, LEAST_ACROSS = 14, 6
"""Most and fewest tiles beside one another."""
WHITE, CHANGE = 0.95, 0.4
SCALE = 1.5
"""Pixels of the picture for one of the slice."""


def shown_lesions(data: Measured, each: int = 2) -> np.ndarray:
    """Lesion slices to show: some of each size, evenly spread, not chosen by how they came out."""
    strata = strata_of(data)[0]
    picked: list[int] = []
    for s in STRATA:
        of = np.nonzero(strata == s)[0]
        if len(of):
            at = np.linspace(0, len(of) - 1, min(each, len(of)) + 2)[1:-1].round().astype(int)
            picked += of[np.unique(at)].tolist()
    return np.array(picked, int)


def shown_healthy(data: Measured, most: int = 4) -> np.ndarray:
    """Probed lesion-free slices to show, of the fuller brains, evenly spread."""
    of = np.nonzero(data.probe & (data.brain.mean((1, 2)) > 0.12))[0]
    of = of if len(of) else np.nonzero(data.probe)[0]
    return of[np.unique(np.linspace(0, max(0, len(of) - 1), min(most, len(of))).round().astype(int))]


def _window(image: np.ndarray) -> np.ndarray:
    """The middle of a slice, as large as a tile or smaller."""
    rows, columns = (centred(n, min(n, c)) for n, c in zip(image.shape, TILE, strict=True))
    return image[rows, columns]


def _enlarged(image: np.ndarray) -> np.ndarray:
    """A small piece, its pixels repeated while it fits into a tile."""
    times = max(1, min(c // n for n, c in zip(image.shape, TILE, strict=True)))
    return _window(image.repeat(times, 0).repeat(times, 1))


class _Page:
    """Tiles on black, with outlines and short texts; one axes for all, for hundreds of axes take minutes."""

    def __init__(self, down: int, across: int, title: str) -> None:
        self.pitch = (TILE[0] + GAP, TILE[1] + GAP)
        size = (TOP + down * self.pitch[0], max(across, LEAST_ACROSS) * self.pitch[1])
        self.canvas, self.title = np.zeros((*size, 3), np.float32), title
        self.texts: list[tuple[float, float, str]] = []
        self.outlines: list[tuple[int, int, np.ndarray, str]] = []

    def _at(self, row: int, column: int, shape: tuple[int, ...]) -> tuple[int, int]:
        """Where a piece of that shape begins, centred in its tile."""
        y, x = TOP + row * self.pitch[0], column * self.pitch[1]
        return y + (TILE[0] - shape[0]) // 2, x + (TILE[1] - shape[1]) // 2

    def put(self, row: int, column: int, plane: np.ndarray, colours: str, low: float, high: float) -> None:
        """A plane by a colour map."""
        from matplotlib import colormaps

        y, x = self._at(row, column, plane.shape)
        shown = colormaps[colours](np.clip((plane - low) / (high - low), 0, 1))[..., :3]
        self.canvas[y : y + plane.shape[0], x : x + plane.shape[1]] = shown

    def grey(self, row: int, column: int, plane: np.ndarray) -> None:
        """A slice."""
        self.put(row, column, plane, "gray", 0.0, WHITE)

    def change(self, row: int, column: int, plane: np.ndarray) -> None:
        """A difference: red brighter, blue darker."""
        self.put(row, column, plane, "RdBu_r", -CHANGE, CHANGE)

    def outline(self, row: int, column: int, mask: np.ndarray, colour: str) -> None:
        """The border of a mask."""
        if mask.any() and not mask.all():
            self.outlines.append((*self._at(row, column, mask.shape), mask, colour))

    def text(self, row: int, column: int, words: str) -> None:
        """Words in the upper corner of a tile."""
        self.texts.append((column * self.pitch[1] + 1, TOP + row * self.pitch[0] + 1, words.replace("_", " ")))

    def save(self, path: Path) -> None:
        """Write it, marked as synthetic."""
        from matplotlib.figure import Figure

        height, width = self.canvas.shape[:2]
        figure = Figure(figsize=(width * SCALE / 100, height * SCALE / 100), facecolor="black")
        axes = figure.add_axes((0, 0, 1, 1))
        axes.imshow(self.canvas, interpolation="nearest", aspect="auto", extent=(0, width, height, 0))
        axes.set_axis_off()
        for y, x, mask, colour in self.outlines:
            columns, rows = x + 0.5 + np.arange(mask.shape[1]), y + 0.5 + np.arange(mask.shape[0])
            axes.contour(columns, rows, mask, [0.5], colors=colour, linewidths=0.7)
        for left, top, words in self.texts:
            axes.text(left, top, words, color="white", fontsize=5, va="top")
        axes.text(2, 3, f"{NOT_FOR_DIAGNOSIS}   {self.title}", color="yellow", fontsize=6, va="top")
        axes.set(xlim=(0, width), ylim=(height, 0))
        save(figure, path)


def _blocks(names: list[str]) -> list[list[str]]:
    """Names in blocks of columns; the original stands first in each."""
    n = max(1, -(-len(names) // WRAP))
    size = max(1, -(-len(names) // n))
    return [names[i : i + size] for i in range(0, len(names), size)] or [[]]


def _healed_page(data: Measured, scored: dict[str, Scored], at: np.ndarray, title: str, notes: dict[str, str]) -> _Page:
    """Slices beside what every method made of them, and below that what it changed, in blocks of columns."""
    names = [n for n, s in scored.items() if s.row.find == "heal" and s.made.measured[at].any()]
    blocks = _blocks(names)
    page = _Page(2 * len(at) * len(blocks), 1 + len(blocks[0]), title)
    for b, block in enumerate(blocks):
        for k, i in enumerate(at):
            line = 2 * (b * len(at) + k)
            page.grey(line, 0, _window(data.images[i]))
            page.outline(line, 0, _window(data.on_grid[i]), "lime")
            for j, name in enumerate(block, 1):
                made = scored[name].made
                if made.measured[i]:
                    page.grey(line, j, _window(np.clip(data.images[i] + made.values[i], 0, 1)))
                    page.change(line + 1, j, _window(made.values[i]))
                if k == 0:
                    page.text(line, j, name.upper() + notes.get(name, ""))
        page.text(2 * b * len(at), 0, "original")
    return page


def gallery(data: Measured, scored: dict[str, Scored], path: Path) -> None:
    """Like the paper's Figs. 2 and 4: lesion slices healed by every method, below each what changed."""
    title = f"split {data.split}: healed, the gate held open; below, healed - original; drawn lesion green"
    _healed_page(data, scored, shown_lesions(data), title, {}).save(path)


def healthy(data: Measured, scored: dict[str, Scored], path: Path) -> None:
    """Like the paper's Fig. 6: lesion-free slices, the gate held open; numbers: mean change over the brain."""
    notes = {}
    for name, s in scored.items():
        found = (s.facts.get("images") or {}).get("identity_gate_open")
        if found and np.isfinite(found["mean"]):
            notes[name] = f" {found['mean']:.4f}"
    title = f"split {data.split}: lesion-free slices, the gate held open; below, healed - original; mean change"
    _healed_page(data, scored, shown_healthy(data), title, notes).save(path)


def found_lesions(data: Measured, scored: dict[str, Scored], path: Path) -> None:
    """What every row calls a lesion (red) and what was drawn (green), on its own map."""
    at = shown_lesions(data)
    names = [n for n, s in scored.items() if s.row.find != "nothing" and s.made.measured[at].any()]
    blocks = _blocks(names)
    title = f"split {data.split}: maps, called a lesion (red), drawn (green)"
    page = _Page(len(at) * len(blocks), 1 + len(blocks[0]), title)
    for b, block in enumerate(blocks):
        page.text(b * len(at), 0, "original")
        for k, i in enumerate(at):
            page.grey(b * len(at) + k, 0, _window(data.images[i]))
            page.outline(b * len(at) + k, 0, _window(data.on_grid[i]), "lime")
        for j, name in enumerate(block, 1):
            s = scored[name]
            values = score_map(s.row, s.made, s.facts["point"], data, at)
            found = lesions(s.row, s.made, s.facts["point"], data, at)
            top = 0.3 if s.row.find == "heal" else 1.0
            for k, i in enumerate(at):
                if s.made.measured[i]:
                    line = b * len(at) + k
                    page.put(line, j, _window(values[k]), "inferno", 0.0, top)
                    page.outline(line, j, _window(data.on_grid[i]), "lime")
                    page.outline(line, j, _window(found[k]), "red")
            page.text(b * len(at), j, name.upper())
    page.save(path)


SEAM_ROWS = ("mask_at_end", "dif_fuse_independent", "dif_fuse", "dif_fuse_joint")


def seam_slices(data: Measured, scored: dict[str, Scored]) -> np.ndarray:
    """Slices with a mask and a larger lesion to show the seam on; none where fewer than two of the rows are there."""
    names = [n for n in SEAM_ROWS if n in scored]
    if len(names) < 2:
        return np.empty(0, int)
    strata, masked = strata_of(data)[0], scored[names[0]].made.region.any((1, 2))
    of = np.nonzero(np.isin(strata, STRATA[1:]) & masked)[0]
    return of[np.unique(np.linspace(0, len(of) - 1, 5)[1:-1].round().astype(int))] if len(of) else of


def seams(data: Measured, scored: dict[str, Scored], path: Path) -> None:
    """Like the paper's Fig. 3: the border of the mask, enlarged, applied once at the end or at every step."""
    names, at = [n for n in SEAM_ROWS if n in scored], seam_slices(data, scored)
    region = scored[names[0]].made.region
    page = _Page(
        2 * len(at), 1 + len(names), "the border of the mask (cyan); numbers: jump across it, added by healing"
    )
    for k, i in enumerate(at):
        where = np.nonzero(region[i])
        box = tuple(slice(max(0, int(v.min()) - 6), int(v.max()) + 7) for v in where)
        page.grey(2 * k, 0, _enlarged(data.images[i][box]))
        page.outline(2 * k, 0, _enlarged(region[i][box]), "cyan")
        page.text(2 * k, 0, "original")
        for j, name in enumerate(names, 1):
            values = scored[name].made.values[i]
            healed = np.clip(data.images[i] + values, 0, 1)
            jump = float(seam(data.images[i : i + 1], healed[None], region[i : i + 1])[0])
            page.grey(2 * k, j, _enlarged(healed[box]))
            page.change(2 * k + 1, j, _enlarged(values[box]))
            page.text(2 * k, j, f"{name.upper()} {jump:+.3f}")
    page.save(path)
