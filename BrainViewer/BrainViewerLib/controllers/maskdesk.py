"""Drawing the mask, or the lesion: tools in the views, box, threshold, file; each step can be undone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from trame_slicer.segmentation import (
    SegmentationEffectDraw,
    SegmentationEffectErase,
    SegmentationEffectNoTool,
    SegmentationEffectPaint,
    SegmentationEffectScissors,
)
from trame_slicer.segmentation.paint_effect_parameters import BrushDiameterMode
from trame_slicer.segmentation.segmentation_undo_command import SegmentationLabelMapUndoCommand
from undo_stack import UndoStack

from BrainCounterfactualCommon.scene import volumes
from braindiffusion.errors import EmptyMaskError
from BrainViewerLib.controllers.drawings import Lesion, Mask
from BrainViewerLib.server.messages import Messages
from BrainViewerLib.shown import Shown
from BrainViewerLib.signals import Signal
from BrainViewerLib.views.board import LAYOUTS, Board

EFFECTS = {
    "paint": SegmentationEffectPaint,
    "erase": SegmentationEffectErase,
    "draw": SegmentationEffectDraw,
    "scissors": SegmentationEffectScissors,
}
FILL, OUTLINE_ONLY = 0.3, 0.0
SETTLE_SECONDS = 0.25


class MaskDesk:
    """Edits what the open tab draws on the scan shown: the mask to heal, or the lesion to induce.

    Args:
        core: trame-slicer's application.

    Attributes:
        changed: called when there may be more, or less, to undo.
    """

    def __init__(self, core: Any, state: Any, messages: Messages, shown: Shown, board: Board) -> None:
        self._core, self.state, self.messages, self.shown, self.board = core, state, messages, shown, board
        self.changed = Signal()
        self.volume: Any = None
        self.mask, self.lesion = Mask(state, shown.heal.logic, board), Lesion(state, shown.induce.logic, board)
        self.roi: Any = None
        self._turned: Any = None
        self.undo_stack = UndoStack()
        self._placing = False
        self._measuring: asyncio.Task[None] | None = None
        self.editor.set_undo_stack(self.undo_stack)
        self.editor.segmentation_modified.connect(self._modified)
        self.undo_stack.index_changed.connect(self._modified)
        state = self.state
        state.change("tool")(lambda **_: self._on_tool())
        state.change("brush_mm", "brush_sphere")(lambda **_: self._on_brush())
        state.change("show_margin")(lambda **_: self.lesion.update_margin())

    @property
    def editor(self) -> Any:
        return self._core.segmentation_editor

    @property
    def drawing(self) -> Mask | Lesion:
        """What is drawn in the open tab."""
        return self.lesion if self.state.mode == "induce" else self.mask

    @property
    def segmentation(self) -> Any:
        """Its segmentation, or ``None`` without a scan."""
        return self.drawing.node() if self.volume is not None else None

    @property
    def markups(self) -> Any:
        return self._core.markups_logic

    # -- which scan

    def set_scan(self, volume: Any) -> None:
        """Edit what is drawn on this scan. The views must show it: fills drawn before the image come out black."""
        self.volume = self.mask.volume = self.lesion.volume = volume
        self.show_tab()
        for drawing in (self.mask, self.lesion):
            drawing.measure()

    def show_tab(self) -> None:
        """Edit what the open tab draws; the other drawing is hidden, and the steps so far cannot be undone any more."""
        self.stop_placing()
        self.remove_box()
        if self.volume is None:
            return
        drawing, segmentation = self.drawing, self.segmentation
        for each in (self.mask, self.lesion):
            each.show(each is drawing)
        self.outline_only(self.shown.logic.busy)
        self._edit(segmentation)
        self.editor.set_active_segment_id(drawing.segment)
        self.undo_stack.clear()
        self._on_tool()

    def _edit(self, segmentation: Any) -> None:
        """Have the tools change this segmentation of the scan."""
        active = self.editor.active_segmentation
        if active is not None and (active.segmentation_node, active.volume_node) == (segmentation, self.volume):
            return
        self._stop_editing()
        self.editor.set_active_segmentation(segmentation, self.volume)

    def _stop_editing(self) -> None:
        """Take the editor's observer off the segmentation that was edited.

        trame-slicer leaves it there. The editor that it calls is freed by Python's garbage collection, and the next
        stroke on that segmentation would then call freed memory.
        """
        active = self.editor.active_segmentation
        if active is not None and active.segmentation_node is not None:
            active.segmentation_node.RemoveObserver(active._node_obs)

    def let_go(self) -> None:
        """There is no scan any more."""
        self.remove_box()
        self.state.tool = "none"
        self._stop_editing()
        self.editor.clear()
        self.volume = None
        for drawing in (self.mask, self.lesion):
            drawing.forget()

    def outline_only(self, only: bool) -> None:
        """While a run is previewed, what was drawn must not cover it."""
        if self.segmentation is not None and self.segmentation.GetDisplayNode() is not None:
            self.segmentation.GetDisplayNode().SetOpacity2DFill(OUTLINE_ONLY if only else FILL)

    # -- tools

    def _on_tool(self) -> None:
        tool = self.state.tool
        if self._placing and tool == "none":  # the box's own doing: the change is told a moment later
            return
        self.stop_placing()
        if self.volume is None:
            return
        self.editor.set_active_effect_type(EFFECTS.get(tool, SegmentationEffectNoTool))
        self._on_brush()
        self._take_left_button()
        if tool in EFFECTS and self.state.layout != "edit":
            self.state.layout = "edit"

    def _take_left_button(self) -> None:
        """A drag with the left button changes window and level, unless a tool is held or a box lies there."""
        modes = slicer.vtkMRMLInteractionNode
        free = self.state.tool == "none" and self.roi is None
        self.markups.interaction_node.SetCurrentInteractionMode(
            modes.AdjustWindowLevel if free else modes.ViewTransform
        )

    def _on_brush(self) -> None:
        effect = self.editor.active_effect
        if isinstance(effect, SegmentationEffectPaint | SegmentationEffectErase):
            effect.set_brush_diameter(float(self.state.brush_mm), BrushDiameterMode.Absolute)
            effect.set_use_sphere_brush(bool(self.state.brush_sphere))

    # -- the box

    def place_box(self) -> None:
        """Begin to place a box: two clicks in a view."""
        if self.volume is None:
            return
        state = self.state
        state.layout, state.tool = "edit", "none"
        self.remove_box()
        self.editor.set_active_effect_type(SegmentationEffectNoTool)
        self.roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Box")
        self.roi.SetSaveWithScene(False)
        self.roi.CreateDefaultDisplayNodes()
        self.roi.SetAndObserveTransformNodeID(self._turn().GetID())
        display = self.roi.GetDisplayNode()
        display.SetViewNodeIDs(self.board.node_ids(LAYOUTS["edit"]))
        display.SetFillOpacity(0.08)
        display.SetSelectedColor(0.31, 0.71, 0.7)
        display.SetColor(0.31, 0.71, 0.7)
        display.SetPropertiesLabelVisibility(False)
        display.SetGlyphScale(1.6)
        self.roi.AddObserver(slicer.vtkMRMLMarkupsNode.PointPositionDefinedEvent, self._box_changed)
        self._placing = True
        self.markups.place_node(self.roi, False)
        self.messages.say("Click two opposite corners of the box in a view.")

    def _turn(self) -> Any:
        """A transform from the scan's axes: a box drawn on an oblique scan is then straight in its views."""
        directions = volumes.ijkToWorld(self.volume)[:3, :3]
        matrix = np.eye(4)
        matrix[:3, :3] = directions / np.linalg.norm(directions, axis=0)
        self._turned = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Axes of the box")
        self._turned.SetSaveWithScene(False)
        self._turned.SetHideFromEditors(True)
        self._turned.SetMatrixTransformToParent(volumes.vtkMatrix(matrix))
        return self._turned

    def stop_placing(self) -> None:
        """Clicks place nothing any more."""
        self._placing = False
        self.markups.disable_place_mode()

    def _box_changed(self, *_: Any) -> None:
        if self.roi is None or self.roi.GetNumberOfDefinedControlPoints() == 0 or min(self.roi.GetSize()[:2]) <= 0:
            return
        size = list(self.roi.GetSize())
        thick = max(self.volume.GetSpacing())
        deep = [max(edge, 2.2 * thick) if edge < thick else edge for edge in size]
        if deep != size:
            self.roi.SetSize(*deep)
        self._placing = False
        with self.state as state:
            state.box_placed = True
            self.messages.say(f"Drag the handles to fit, then add the box to the {self.drawing.name}.")

    def add_box(self) -> None:
        """Add what lies in the box."""
        if self.roi is None or self.volume is None:
            return
        with self._undoable(), self.messages.report_errors():
            self.drawing.add_box(self.roi)
            self.remove_box()
        self._changed_at_once(exactly=False)

    def remove_box(self) -> None:
        """Take the box away."""
        nodes, self.roi, self._turned = (self.roi, self._turned), None, None
        for node in nodes:
            if node is not None and slicer.mrmlScene.IsNodePresent(node):
                slicer.mrmlScene.RemoveNode(node)
        self.state.box_placed = False
        self._take_left_button()

    # -- all at once

    def mask_from_saliency(self) -> None:
        """Where the map lies above the threshold of step 2."""
        saliency = self.shown.heal.logic.saliency(self.volume) if self.volume is not None else None
        if saliency is None:
            return
        threshold = max(0.05, float(self.state.saliency_threshold))
        with self._undoable(), self.messages.report_errors():
            self.shown.heal.logic.maskFromSaliency(saliency.saliencyNode, threshold, self.segmentation, self.volume)
        self._changed_at_once()

    def from_file(self, path: Path) -> None:
        """Drawn elsewhere."""
        if self.volume is None:
            return
        with self._undoable():
            self.drawing.from_file(path)
        self._changed_at_once()

    def apply_threshold(self) -> None:
        """By grey value, everywhere or inside the mask there is."""
        if self.volume is None:
            return
        state, logic = self.state, self.shown.heal.logic
        voxels = volumes.voxels(self.volume)
        mask = (voxels >= float(state.threshold_low)) & (voxels <= float(state.threshold_high))
        if state.threshold_inside:
            mask &= logic.maskArray(self.segmentation, self.volume)
        with self._undoable(), self.messages.report_errors():
            if not mask.any():
                raise EmptyMaskError("No voxel has such a grey value.", "The range selects nothing.", "Widen it.")
            logic.setMaskArray(mask, self.segmentation, self.volume)
        self._changed_at_once()

    def clear(self) -> None:
        """Empty what is drawn."""
        if self.volume is None:
            return
        with self._undoable():
            self.drawing.clear()
        self._changed_at_once()

    @contextmanager
    def _undoable(self) -> Iterator[None]:
        if self.editor.active_segmentation is None:
            yield
            return
        with SegmentationLabelMapUndoCommand.push_state_change(self.editor.active_segmentation):
            yield

    def step_of_others(self) -> Callable[[], None]:
        """Begin a change that somebody else makes, later; what is returned ends it, so that it can be undone."""
        drawing, step = self.drawing, self._undoable()
        step.__enter__()

        def made() -> None:
            if drawing is self.drawing:  # steps of the other tab cannot be undone
                step.__exit__(None, None, None)
            drawing.measure()
            drawing.drawn()
            self.changed()

        return made

    # -- measuring

    def _modified(self, *_: Any) -> None:
        """A stroke or an undo: measure when it has settled."""
        if self._measuring is not None:
            self._measuring.cancel()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        self._measuring = loop.create_task(self._settle())

    async def _settle(self) -> None:
        await asyncio.sleep(SETTLE_SECONDS)
        with self.state:
            self.measure()

    def _changed_at_once(self, exactly: bool = True) -> None:
        self.measure()
        self.drawing.drawn(exactly)

    def measure(self) -> None:
        """Volume and slices of what is drawn, for the page."""
        if self.volume is not None:
            self.drawing.measure()
            self.changed()
