"""Undo and redo: of what is drawn, and from result to result."""

from __future__ import annotations

from typing import Any

from BrainViewerLib.controllers.maskdesk import MaskDesk
from BrainViewerLib.server.messages import Messages
from BrainViewerLib.shown import Shown
from BrainViewerLib.signals import Signal


class History:
    """The two arrows of the top bar, for the open tab.

    Attributes:
        stepped: called when another result of the open tab came into view.
    """

    def __init__(self, state: Any, messages: Messages, shown: Shown, masks: MaskDesk) -> None:
        self.state, self.messages, self.shown, self.masks = state, messages, shown, masks
        self.stepped = Signal()
        self._of_results = False  # whether the last step went from result to result

    def refresh(self) -> None:
        """Whether there is something to undo."""
        state, volume, logic = self.state, self.shown.volume, self.shown.logic
        stack = self.masks.undo_stack
        state.can_undo = volume is not None and (stack.can_undo() or logic.canUndo(volume))
        state.can_redo = volume is not None and (stack.can_redo() or logic.canRedo(volume))

    def undo(self) -> None:
        """In the edit layout the last change of what is drawn, else back to the earlier result."""
        self._step("undo")

    def redo(self) -> None:
        """The other way."""
        self._step("redo")

    def _step(self, which: str) -> None:
        state, volume = self.state, self.shown.volume
        stack, logic = self.masks.undo_stack, self.shown.logic
        if volume is None:
            return
        can_draw = stack.can_undo() if which == "undo" else stack.can_redo()
        can_result = logic.canUndo(volume) if which == "undo" else logic.canRedo(volume)
        result_first = state.layout != "edit" or (which == "redo" and self._of_results)  # back the way one came
        if can_draw and not (can_result and result_first):
            self._of_results = False
            getattr(stack, which)()
            self.masks.measure()
            done = "undone." if which == "undo" else "done again."
            self.messages.say(f"{self.masks.drawing.name.capitalize()}: {done}")
        elif can_result:
            self._of_results = True
            result = getattr(logic, which)(volume)
            if result is None:
                state.layout = "edit"
            elif state.layout == "edit":
                state.layout = "compare"
            self.stepped()
            self.messages.say(f"Result {result.order} is in view." if result is not None else "The scan as it was.")
        self.refresh()
