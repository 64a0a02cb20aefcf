"""What the drawing tools draw: the mask to heal, or the lesion to paint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from BrainLesionSimLib import drawing

from BrainCounterfactualCommon.scene import masks, volumes
from BrainViewerLib.controllers.fields import margin_reach
from BrainViewerLib.signals import Signal
from BrainViewerLib.views.board import LAYOUTS, Board


class Drawing:
    """A segmentation of the scan with one segment that is drawn.

    Attributes:
        name: what the page calls it; ``<name>_ml`` and ``<name>_slices`` of its state say how large it is.
        segment: the segment that is drawn.
        changed: called when it may have changed.
    """

    name = ""
    segment = ""

    def __init__(self, state: Any, logic: Any, board: Board) -> None:
        self.state, self.logic, self.board = state, logic, board
        self.volume: Any = None
        self.changed = Signal()

    def node(self) -> Any:
        """The segmentation; made when missing."""
        raise NotImplementedError

    def found(self) -> Any:
        """The segmentation, or ``None``."""
        raise NotImplementedError

    def array(self) -> np.ndarray:
        """(k,j,i) bool."""
        raise NotImplementedError

    def put(self, mask: np.ndarray) -> None:
        """Replace it by a (k,j,i) array."""
        raise NotImplementedError

    def add_box(self, roi: Any) -> None:
        """Add what lies in a box."""
        raise NotImplementedError

    def from_file(self, path: Path) -> None:
        """Replace it by a file's."""
        raise NotImplementedError

    def clear(self) -> None:
        """Empty it."""
        self.put(np.zeros(volumes.voxels(self.volume).shape, bool))

    def show(self, visible: bool) -> None:
        """In the editing views, or nowhere."""
        self._show(self.node() if visible else self.found(), visible)

    def _show(self, node: Any, visible: bool) -> None:
        display = node.GetDisplayNode() if node is not None else None
        if display is None:
            return
        display.SetViewNodeIDs(self.board.node_ids(LAYOUTS["edit"]))
        display.SetVisibility(int(visible))

    def measure(self) -> None:
        """Tell the page how large it is, and what follows from that."""
        mask = self.array()
        axis = 2 - volumes.axialAxis(volumes.ijkToRas(self.volume))[0]
        others = tuple(a for a in range(3) if a != axis)
        ml = float(mask.sum()) * volumes.voxelVolumeMl(self.volume)
        had = bool(self.state[f"{self.name}_ml"])
        self._show_size(round(ml, 2) if ml >= 0.01 or ml == 0 else 0.01, int(np.count_nonzero(mask.any(axis=others))))
        self.measured(had)

    def _show_size(self, ml: float, slices: int) -> None:
        self.state.update({f"{self.name}_ml": ml, f"{self.name}_slices": slices})

    def forget(self) -> None:
        """There is no scan any more."""
        self.volume = None
        self._show_size(0, 0)

    def measured(self, had: bool) -> None:
        """It may have changed; ``had``: whether there was something before."""

    def drawn(self, exactly: bool = True) -> None:
        """It was changed at once, by a button; ``exactly``: not as a box."""


class Mask(Drawing):
    """What is to be healed."""

    name, segment = "mask", masks.MASK_SEGMENT

    def node(self) -> Any:
        return self.logic.maskSegmentation(self.volume)

    def found(self) -> Any:
        return masks.maskOf(self.volume, make=False)

    def array(self) -> np.ndarray:
        return self.logic.maskArray(self.node(), self.volume)

    def put(self, mask: np.ndarray) -> None:
        self.logic.setMaskArray(mask, self.node(), self.volume)

    def add_box(self, roi: Any) -> None:
        self.logic.addBoxToMask(roi, self.node(), self.volume)

    def from_file(self, path: Path) -> None:
        self.logic.maskFromFile(path, self.node(), self.volume)

    def measured(self, had: bool) -> None:
        state = self.state
        if not state.mask_ml:
            state.heal_mask = "auto"
        elif not had:
            state.heal_mask = "drawn"
        self.changed()

    def drawn(self, exactly: bool = True) -> None:
        if self.state.mask_ml:
            self.state.heal_mask = "drawn"


class Lesion(Drawing):
    """What is to be painted, with the margin around it."""

    name, segment = "lesion", drawing.LESION_SEGMENT

    def __init__(self, state: Any, logic: Any, board: Board) -> None:
        super().__init__(state, logic, board)
        self._margin_of: Any = None

    def node(self) -> Any:
        return self.logic.lesionSegmentation(self.volume)

    def found(self) -> Any:
        return drawing.lesionOf(self.volume, make=False)

    def array(self) -> np.ndarray:
        return self.logic.lesionArray(self.volume)

    def put(self, mask: np.ndarray) -> None:
        self.logic.setLesion(mask, self.volume)

    def add_box(self, roi: Any) -> None:
        self.logic.addBox(roi, self.volume)

    def from_file(self, path: Path) -> None:
        self.logic.lesionFromFile(path, self.volume)

    def show(self, visible: bool) -> None:
        super().show(visible)
        self._show(drawing.marginOf(self.volume, make=False), visible and bool(self.state.show_margin))

    def forget(self) -> None:
        super().forget()
        self._margin_of = None

    def measured(self, had: bool) -> None:
        self.update_margin()
        self.changed()

    def update_margin(self) -> None:
        """Draw the margin again where lesion or reach have changed."""
        if self.volume is None or self.found() is None:
            return
        reach = margin_reach(self.state, self.logic, self.volume)
        self.state.margin_mm = round(reach, 1) if reach is not None else 0
        wanted = (self.volume.GetID(), drawing.stamp(self.volume), reach)
        if wanted != self._margin_of:
            self._margin_of = wanted
            drawing.updateMargin(self.volume, reach)
        self.show(self.state.mode == "induce")

    def drawn(self, exactly: bool = True) -> None:
        self.state.paint_condition = "mask" if exactly else "box"
