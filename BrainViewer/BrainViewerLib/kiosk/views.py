"""The views of a reader study: one for each scan of a case, labelled by its role and nothing else."""

from __future__ import annotations

from typing import Any

from BrainReaderStudyLib.logic import VIEWS, BrainReaderStudyLogic
from trame_slicer.views import SliceView, ViewLayoutDefinition, ViewProps, ViewType
from vtkmodules.vtkCommonCore import vtkCommand

from BrainCounterfactualCommon.scene import layouts, volumes

GRAY = "#7d8a99"
ROLES = {tag: role for role, tag in VIEWS.items()}
EMPTY: dict[str, Any] = {
    "color": GRAY, "under": "", "at": "", "index": 0, "count": 0, "synthetic": False, "live": False,
    "left": "R", "right": "L", "top": "A", "bottom": "P", "marks": "", "scale_mm": 0, "scale": 0,
}  # fmt: skip
"""A view's label; ``synthetic`` is never said of a single scan: that would answer the question."""


class KioskViews:
    """Makes the views of a study and keeps them in step with the page."""

    def __init__(self, core: Any, state: Any, logic: BrainReaderStudyLogic) -> None:
        self._core, self.state, self.logic = core, state, logic
        self._views: dict[str, SliceView] = {}
        self._sizes: dict[str, tuple[int, ...]] = {}

    def make(self) -> None:
        """Make the views; what lies over them is made now too, and may refer to this."""
        manager = self._core.view_manager
        for tag in self.logic.tags:
            self.state[f"view_{tag}"] = {**EMPTY, "title": layouts.viewTitles()[tag]}
            properties = ViewProps(
                label=tag, orientation="Axial", color=GRAY, group=layouts.VIEW_GROUP, background_color="#000000"
            )
            view = manager.create_view(ViewLayoutDefinition(tag, ViewType.SLICE_VIEW, properties))
            view.render_window().SetMultiSamples(0)
            view.modified.connect(lambda _view, tag=tag: self._moved(tag))
            view.interactor().AddObserver(vtkCommand.WindowResizeEvent, lambda *_, tag=tag: self._resized(tag), -1.0)
            self._views[tag] = view
        manager.set_current_view_ids(list(self._views))

    def show(self) -> None:
        """A case was put into the views: whole slices, from the middle."""

        def whole_from_the_middle() -> None:
            self._fit(self._views)
            self.logic.toMiddle()

        self.logic.tools.ours(whole_from_the_middle)
        for tag in self._views:
            self._moved(tag)
        self.render()

    def render(self) -> None:
        """Draw again."""
        for view in self._views.values():
            view.schedule_render()

    def reset(self) -> None:
        """Whole slices again, asked for by the reader."""
        self.logic.tools.used("reset")
        self.logic.tools.ours(lambda: self._fit(self._views))

    def _fit(self, tags: Any) -> None:
        for tag in tags:
            view = self._views[tag]
            offset = view.get_slice_value()
            view.fit_view_to_content()
            view.set_slice_value(offset)
            view.schedule_render()

    def _resized(self, tag: str) -> None:
        size = tuple(self._views[tag].render_window().GetSize())
        if size != self._sizes.get(tag) and min(size) > 20:
            self._sizes[tag] = size
            if self.logic.nodes:
                self.logic.tools.ours(lambda: self._fit([tag]))

    # -- slices

    def go_to(self, tag: str, index: int) -> None:
        """Move a view, and those linked with it, to a slice counted from below."""
        node = self._node(tag)
        if node is None:
            return
        index = min(max(int(index), 0), volumes.sliceCount(node) - 1)
        linked = tuple(self._views) if self.logic.linked else (tag,)
        layouts.jumpToSlice(node, volumes.stackIndex(node, index), linked)
        self.render()

    def step(self, by: int) -> None:
        """Move the view under the pointer by some slices, upwards for positive numbers."""
        active = self.state.active_view
        tag = active if active in self._views else next(iter(self._views))
        self.go_to(tag, self.state[f"view_{tag}"]["index"] + by)

    def _node(self, tag: str) -> Any:
        return self.logic.nodes.get(ROLES[tag])

    def _moved(self, tag: str) -> None:
        label = self._label(tag)
        if self.state[f"view_{tag}"] != label:
            with self.state as state:
                state[f"view_{tag}"] = label

    def _label(self, tag: str) -> dict[str, Any]:
        node, title = self._node(tag), layouts.viewTitles()[tag]
        index = None if node is None else volumes.sliceIndexOfView(node, layouts.sliceNode(tag))
        if index is None:
            return {**EMPTY, "title": title}
        shown, count = volumes.stackIndex(node, index), volumes.sliceCount(node)
        return {**EMPTY, "title": title, "index": shown, "count": count, "at": f"{shown + 1} / {count}"}
