"""What the views show: layers and labels of the open tab, moving, fading and flicker."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np

from BrainCounterfactualCommon.scene import volumes
from BrainCounterfactualCommon.scene.results import isSynthetic
from BrainViewerLib.shown import Shown
from BrainViewerLib.views.board import COLORS, LAYOUTS, MAIN, TAGS, Board
from BrainViewerLib.views.layers import GRAY, HealLayers
from BrainViewerLib.views.layers_induced import InduceLayers
from BrainViewerLib.views.levels import Levels
from BrainViewerLib.views.pointer import Pointer, letters, scale_bar

FLICKER_SECONDS, CINE_SECONDS = 0.7, 0.125
FOLLOWED = (
    "saliency_on", "saliency_opacity", "saliency_threshold", "blend", "overlay_opacity", "overlay_range", "third",
    "show_mask", "show_lesion", "show_margin", "change_opacity",
)  # fmt: skip
"""What of the page the views follow."""


class Display:
    """Keeps the views in step with the page's choices.

    Args:
        pointer: what it measured is drawn over the views.
    """

    def __init__(self, state: Any, shown: Shown, board: Board, pointer: Pointer) -> None:
        self.state, self.board, self.pointer = state, board, pointer
        self.volume: Any = None
        self.levels = Levels(state, shown, board)
        self._tabs: dict[str, HealLayers | InduceLayers] = {
            "heal": HealLayers(state, shown, board),
            "induce": InduceLayers(state, shown, board),
        }
        self._flicker: asyncio.Task[None] | None = None
        self._cine: asyncio.Task[None] | None = None
        for tag in TAGS:
            state[f"view_{tag}"] = self._label(tag, None)
        state.change("layout")(lambda layout, **_: self.show_layout(layout))
        state.change(*FOLLOWED)(lambda **_: self.refresh())
        state.change("flicker_auto")(lambda **_: self._on_flicker_auto())
        state.change("cine")(lambda **_: self._on_cine())
        state.change("plane")(lambda **_: self._on_plane())

    def set_scan(self, volume: Any) -> None:
        """Show a scan in all views; ``None`` empties them."""
        self.volume = volume
        self.levels.set_scan(volume)
        self.board.set_volume(volume)
        self.refresh()

    def refresh(self) -> None:
        """Layers, contours and labels of all views, from the page's choices."""
        state, volume = self.state, self.volume
        if volume is not None:
            for mode, layers in self._tabs.items():
                if mode != state.mode:
                    layers.hide(volume)
            self._tabs[state.mode].show(volume)
            self.levels.follow()
        for tag in TAGS:
            self._relabel(tag)
        state.slice_now = self.slice_index()
        self.board.render()

    # -- labels

    def moved(self, tag: str) -> None:
        """A view shows another slice."""
        if self.volume is None:
            return
        with self.state:
            self._relabel(tag)
            if tag == MAIN[self.board.layout]:
                self.state.slice_now = self.slice_index()

    def _relabel(self, tag: str) -> None:
        label = self._label(tag, self.board.place(tag) if self.volume is not None else None)
        if self.state[f"view_{tag}"] != label:
            self.state[f"view_{tag}"] = label

    def _label(self, tag: str, place: Any) -> dict[str, Any]:
        if place is None:
            empty = dict.fromkeys(("at", "under", "left", "right", "top", "bottom", "marks"), "")
            numbers = {"index": 0, "count": 0, "scale_mm": 0, "scale": 0}
            return {"title": tag, "color": GRAY, "synthetic": False, "live": False, **numbers, **empty}
        label = self._tabs[self.state.mode].label(tag, self.volume)
        itself = isSynthetic(self.volume) or self.volume.GetName().upper().startswith("SYNTHETIC")
        plane, across = self.board.plane_of(tag)
        scale_mm, scale = scale_bar(across)
        return {
            "title": label.title or tag,
            "color": label.color or COLORS.get(tag, GRAY),
            "under": label.under,
            "at": f"{place.index + 1} / {place.count}  {place.millimetres:+.1f} mm",
            "index": place.index,
            "count": place.count,
            "synthetic": label.synthetic or itself,
            "live": label.live,
            "scale_mm": scale_mm,
            "scale": round(100 * scale, 2),
            "marks": self.pointer.drawn(tag) if tag in self.board.tags else "",
            **letters(plane),
        }

    # -- moving

    def slice_index(self) -> int:
        """The axial slice in view (index along the scan's axial voxel axis); -1 without a scan."""
        if self.volume is None:
            return -1
        tag = MAIN[self.board.layout] if self.board.plane == "Axial" else "Axial"
        index = volumes.sliceIndexOfView(self.volume, self.board[tag].get_view_node())
        return -1 if index is None else index

    def go_to(self, tag: str, index: int) -> None:
        """Move one view (and what is linked with it) to a slice."""
        self.board.go_to(tag, int(index))

    def go_to_slice(self, index: int) -> None:
        """Show an axial slice in the layout at hand."""
        if self.volume is None:
            return
        point = volumes.sliceCenter(self.volume, int(index))
        tags = ("Axial",) if self.board.layout == "edit" else LAYOUTS[self.board.layout]
        for tag in tags:
            self.board[tag].get_view_node().JumpSliceByOffsetting(*(float(value) for value in point))
            self.board[tag].schedule_render()

    def step(self, by: int) -> None:
        """Move the view under the pointer by some slices."""
        tag = self.state.active_view
        self.board.step(tag if tag in self.board.tags else self.board.tags[0], by)

    def step_to_end(self, last: bool) -> None:
        """The view under the pointer to its last slice, or its first."""
        tag = self.state.active_view
        tag = tag if tag in self.board.tags else self.board.tags[0]
        place = self.board.place(tag)
        if place is not None:
            self.board.go_to(tag, place.count - 1 if last else 0)

    def maximise(self, tag: str) -> None:
        """One view over all others, or all again."""
        state = self.state
        if self.volume is not None and state.tool == "none":
            state.maximised = "" if state.maximised or tag not in self.board.tags else tag

    def fit(self) -> None:
        """Whole slices again."""
        if self.volume is not None:
            self.board.fit()

    # -- layouts, fading

    def show_layout(self, layout: str) -> None:
        """Make a layout of the open tab the one that is seen: edit, compare, blend."""
        state = self.state
        state.layout = layout
        state.maximised = ""
        wanted = "induced" if layout == "compare" and state.mode == "induce" else layout
        if wanted in LAYOUTS and wanted != self.board.layout:
            self.board.show_layout(wanted)
            if layout != "blend":
                state.flicker_auto = False
            if layout != "edit":
                state.tool = state.tool if state.tool in ("distance", "roi") else "none"
            self.refresh()

    def flicker(self) -> None:
        """Swap scan and result in one place."""
        state = self.state
        if not state.shown_id:
            return
        if state.layout != "blend":
            state.layout, state.blend = "blend", 1.0
        else:
            state.blend = 0.0 if float(state.blend) > 0.5 else 1.0

    def _on_plane(self) -> None:
        """Compare in another plane, through the largest region of the result in view."""
        self.board.show_plane(self.state.plane)
        regions = self.state.regions
        if self.volume is not None and regions and self.state.mode == "heal":
            self.board.show_point(np.array(regions[0]["point"]))
        self.refresh()

    def _on_cine(self) -> None:
        if self._cine is not None:
            self._cine.cancel()
            self._cine = None
        if self.state.cine:
            self._cine = asyncio.get_event_loop().create_task(self._run_through())

    async def _run_through(self) -> None:
        while self.state.cine and self.volume is not None:
            with self.state as state:
                tag = state.active_view if state.active_view in self.board.tags else self.board.tags[0]
                place = self.board.place(tag)
                if place is not None:
                    self.board.go_to(tag, (place.index + 1) % place.count)
            await asyncio.sleep(CINE_SECONDS)

    def _on_flicker_auto(self) -> None:
        if self._flicker is not None:
            self._flicker.cancel()
            self._flicker = None
        if self.state.flicker_auto:
            self._flicker = asyncio.get_event_loop().create_task(self._keep_flickering())

    async def _keep_flickering(self) -> None:
        while self.state.flicker_auto:
            with self.state as state:
                state.blend = 0.0 if float(state.blend) > 0.5 else 1.0
            await asyncio.sleep(FLICKER_SECONDS)
