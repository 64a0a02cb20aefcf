"""How often a reader scrolls, zooms, pans and changes grey levels, read from the slice nodes that do it."""

import time

import slicer
import vtk

SAME_GESTURE = 0.5
"""Seconds without a change that end a gesture: a drag zooms once, however many events it sends."""


class ToolUse:
    """Counts the use of tools on one case. ``scroll`` counts slices, the others gestures.

    Args:
        clock: seconds that only ever grow.
    """

    def __init__(self, clock=time.monotonic):
        self._clock = clock
        self.counts, self._last, self._watched, self._held = {}, {}, {}, False

    def start(self, sliceNodes):
        """Begin to count in these views; earlier counts are forgotten."""
        self.stop()
        self.counts, self._last = {}, {}
        for node in sliceNodes:
            tag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, self._moved)
            self._watched[node.GetID()] = [node, tag, _state(node)]

    def stop(self):
        """Let go of the views; the counts stay."""
        for node, tag, _before in self._watched.values():
            node.RemoveObserver(tag)
        self._watched = {}

    def ours(self, move):
        """Call ``move()``, which moves views without the reader."""
        self._held = True
        try:
            move()
        finally:
            self._held = False
            for entry in self._watched.values():
                entry[2] = _state(entry[0])

    def used(self, tool, gesture=True):
        """Count one use; further ones of the same gesture are part of it."""
        now = self._clock()
        if not gesture or now - self._last.get(tool, -SAME_GESTURE) >= SAME_GESTURE:
            self.counts[tool] = self.counts.get(tool, 0) + 1
        self._last[tool] = now

    def _moved(self, node, _event):
        entry = self._watched.get(node.GetID())
        if entry is None or self._held:
            return
        before, now = entry[2], _state(node)
        entry[2] = now
        if before["size"] != now["size"]:  # the window was resized
            return
        if abs(before["offset"] - now["offset"]) > 1e-4:
            self.used("scroll", gesture=False)
        if before["field"] != now["field"]:
            self.used("zoom")
        elif before["origin"] != now["origin"]:
            self.used("pan")


def _state(node):
    """What of a slice node the tools change; rounded, since fitting the same view again differs in the last digits."""
    origin = node.GetXYZOrigin()
    return {
        "offset": node.GetSliceOffset(),
        "field": tuple(round(c, 3) for c in node.GetFieldOfView()[:2]),
        "origin": tuple(round(c, 3) for c in origin[:2]),
        "size": tuple(node.GetDimensions()[:2]),
    }


def interactionNode():
    """The scene's interaction node, or ``None``."""
    return slicer.mrmlScene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
