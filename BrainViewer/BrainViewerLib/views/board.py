"""The slice views: their layouts, what each shows, how they move together.

``Axial``, ``Coronal`` and ``Sagittal`` are the editing desk; ``Original``, ``Counterfactual`` and ``Difference`` (of a
healing), and ``Prior``, ``Lesion``, ``Diseased`` and ``Healed`` (of an induction) stand side by side, linked; ``Blend``
shows scan and result in one place, to fade and flicker between them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
from trame_slicer.views import SliceView, ViewLayoutDefinition, ViewProps, ViewType
from vtkmodules.vtkCommonCore import vtkCommand

from BrainCounterfactualCommon.scene.layouts import composite as composite_of
from BrainCounterfactualCommon.scene.volumes import ijkToWorld, matrixOf
from BrainViewerLib.signals import Signal

LAYOUTS = {
    "edit": ("Axial", "Coronal", "Sagittal"),
    "compare": ("Original", "Counterfactual", "Difference"),
    "induced": ("Prior", "Lesion", "Diseased", "Healed"),
    "blend": ("Blend",),
}
TAGS = tuple(tag for tags in LAYOUTS.values() for tag in tags)
LINKED = ("compare", "induced")
"""Layouts whose views move together."""
LATER = ("induced",)
"""Layouts whose views are made when they are first asked for: each takes some tenths of a second, and memory."""
ORIENTATION = {"Coronal": "Coronal", "Sagittal": "Sagittal"}
COLORS = {"Axial": "#e0655a", "Coronal": "#6fae5c", "Sagittal": "#d9bd4a"}
GROUPS = {tag: group for group, tags in enumerate(LAYOUTS.values()) for tag in tags}
MAIN = {"edit": "Axial", "compare": "Original", "induced": "Prior", "blend": "Blend"}
HEALED = "Healed"
"""The view that is there only after a round trip."""


@dataclass(frozen=True)
class Place:
    """Where a view stands in the scan.

    Attributes:
        index: slice along the volume axis the view looks down, from 0, counted from below (behind, the left).
        count: slices along that axis.
        axis: that voxel axis.
        millimetres: offset of the view along its normal.
    """

    index: int
    count: int
    axis: int
    millimetres: float


def definition(tag: str, plane: str = "Axial") -> ViewLayoutDefinition:
    """What trame-slicer needs to make a view; ``plane``: of those that are not on the editing desk."""
    properties = ViewProps(
        label=tag,
        orientation=ORIENTATION.get(tag, "Axial" if tag in LAYOUTS["edit"] else plane),
        color=COLORS.get(tag, "#7d8a99"),
        group=GROUPS[tag],
        background_color="#000000",
    )
    return ViewLayoutDefinition(tag, ViewType.SLICE_VIEW, properties)


class Board:
    """All views of the viewer.

    Args:
        core: trame-slicer's application.
        on_made: called when views have been made.

    Attributes:
        moved: called with a view's tag when its slice changed.
    """

    def __init__(self, core: Any, on_made: Callable[[], None]) -> None:
        self._manager, self._on_made = core.view_manager, on_made
        self.moved = Signal()
        self.layout = "edit"
        self.volume: Any = None
        self._with_healed = False
        self.plane = "Axial"
        self._views: dict[str, SliceView] = {}
        self._sizes: dict[str, tuple[int, int]] = {}
        for name in LAYOUTS:
            if name not in LATER:
                self.make(name)
        self.show_layout("edit")

    def make(self, name: str) -> None:
        """Make the views of a layout that are not there yet."""
        fresh = [tag for tag in LAYOUTS[name] if tag not in self._views]
        for tag in fresh:
            view = self._manager.create_view(definition(tag, self.plane))
            view.render_window().SetMultiSamples(0)  # pictures need no smoothed edges, software rendering is slow
            self._views[tag] = view
            view.modified.connect(self._moved)
            view.interactor().AddObserver(vtkCommand.WindowResizeEvent, self._resized(tag), -1.0)
        if fresh:
            self._link()
            self._fill(fresh)
            self._on_made()

    def __getitem__(self, tag: str) -> SliceView:
        return self._views[tag]

    def all(self) -> Iterable[SliceView]:
        return self._views.values()

    def node_ids(self, tags: Iterable[str]) -> list[str]:
        """IDs of the slice nodes of views, for display nodes that are to be seen there only."""
        return [self._views[tag].get_view_node_id() for tag in tags if tag in self._views]

    def composites(self) -> list[Any]:
        return list(slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"))

    def _link(self) -> None:
        """Views that stand side by side scroll, zoom and move together; those of the editing desk do not."""
        linked = {tag for name in LINKED for tag in LAYOUTS[name]}
        for node in self.composites():
            together = int(node.GetLayoutName() in linked)
            node.SetLinkedControl(together)
            node.SetHotLinkedControl(together)

    def show_plane(self, plane: str) -> None:
        """Compare and fade in another plane: Axial, Coronal, Sagittal."""
        self.plane = plane
        for tag, view in self._views.items():
            if tag not in LAYOUTS["edit"]:
                self._turn(tag, view)

    def _turn(self, tag: str, view: SliceView) -> None:
        view.set_view_properties(definition(tag, self.plane).properties)
        if self.volume is not None:
            view.reset_view()
            self._to_middle(tag)

    def plane_of(self, tag: str) -> tuple[np.ndarray, float]:
        """The (4,4) slice-to-world matrix of a view, and how many mm it shows across."""
        node = self._views[tag].get_view_node()
        return matrixOf(lambda matrix: matrix.DeepCopy(node.GetSliceToRAS())), float(node.GetFieldOfView()[0])

    # -- layouts

    @property
    def tags(self) -> tuple[str, ...]:
        """The views that are drawn."""
        return tuple(tag for tag in LAYOUTS[self.layout] if tag != HEALED or self._with_healed)

    def show_healed(self, wanted: bool) -> None:
        """Draw the view of the round trip, or not."""
        if wanted != self._with_healed:
            self._with_healed = wanted
            self._manager.set_current_view_ids(list(self.tags))

    def show_layout(self, name: str) -> None:
        """Make a layout the one that is drawn; it opens on the slice that was looked at."""
        before = self.layout
        self.layout = name
        self._manager.set_current_view_ids(list(self.tags))
        if self.volume is not None and before != name and (self.plane == "Axial" or "edit" not in (before, name)):
            offset = self._views[MAIN[before]].get_slice_value()
            for tag in LAYOUTS[name] if name != "edit" else ("Axial",):
                self._views[tag].set_slice_value(offset)
        self.render()

    def _resized(self, tag: str) -> Callable[..., None]:
        def resized(*_: Any) -> None:
            size = tuple(self._views[tag].render_window().GetSize())
            if size != self._sizes.get(tag) and min(size) > 20:
                self._sizes[tag] = size
                if self.volume is not None:
                    self.fit([tag])

        return resized

    def fit(self, tags: Iterable[str] | None = None) -> None:
        """Show whole slices, keeping where each view stands."""
        for tag in tags or self.tags:
            view = self._views[tag]
            offset = view.get_slice_value()
            view.fit_view_to_content()
            view.set_slice_value(offset)
            view.schedule_render()

    # -- what is shown

    def set_volume(self, volume: Any) -> None:
        """Show a scan everywhere, in its own planes, from its middle; ``None`` empties the views."""
        self.volume = volume
        if volume is not None:
            self._link()
        self._fill(self._views)

    def _fill(self, tags: Iterable[str]) -> None:
        for tag in tags:
            self._views[tag].set_background_volume_id(self.volume.GetID() if self.volume else None)
            self._views[tag].set_foreground_volume_id(None)
        if self.volume is None:
            return
        for tag in tags:
            self._views[tag].reset_view()
        for tag in tags:
            self._to_middle(tag)

    def set_layers(
        self,
        tag: str,
        background: Any,
        foreground: Any = None,
        opacity: float = 1.0,
        label: Any = None,
        label_opacity: float = 1.0,
    ) -> None:
        """Background, overlay and label map of a view."""
        view = self._views[tag]
        empty = not view.get_background_volume_id()
        for node, getter, setter in (
            (background, view.get_background_volume_id, view.set_background_volume_id),
            (foreground, view.get_foreground_volume_id, view.set_foreground_volume_id),
        ):
            wanted = node.GetID() if node is not None else None
            if (getter() or None) != wanted:
                setter(wanted)
        if empty and background is not None:  # nothing could be fitted so far
            self.fit([tag])
        if view.get_foreground_opacity() != opacity:
            view.set_foreground_opacity(opacity)
        composite = composite_of(tag)
        wanted = label.GetID() if label is not None else None
        if (composite.GetLabelVolumeID() or None) != wanted:
            composite.SetLabelVolumeID(wanted)
        if composite.GetLabelOpacity() != label_opacity:
            composite.SetLabelOpacity(label_opacity)

    def render(self) -> None:
        """Draw the visible views again."""
        for tag in self.tags:
            self._views[tag].schedule_render()

    # -- where views stand

    def place(self, tag: str) -> Place | None:
        """Where a view stands in the scan; ``None`` without one."""
        if self.volume is None or self.volume.GetImageData() is None or tag not in self._views:
            return None
        view = self._views[tag]
        to_world = ijkToWorld(self.volume)
        plane = matrixOf(lambda matrix: matrix.DeepCopy(view.get_view_node().GetSliceToRAS()))
        axis = self._axis(to_world, plane)
        count = int(self.volume.GetImageData().GetDimensions()[axis])
        middle = (np.array(self.volume.GetImageData().GetDimensions(), float) - 1) / 2
        centre = (to_world @ np.append(middle, 1.0))[:3]
        on_plane = centre - plane[:3, 2] * float(plane[:3, 2] @ (centre - plane[:3, 3]))
        index = int(np.rint((np.linalg.inv(to_world) @ np.append(on_plane, 1.0))[axis]))
        index = min(max(index, 0), count - 1)
        return Place(
            count - 1 - index if self._backwards(to_world, axis) else index, count, axis, view.get_slice_value()
        )

    @staticmethod
    def _axis(to_world: np.ndarray, plane: np.ndarray) -> int:
        directions = to_world[:3, :3] / np.linalg.norm(to_world[:3, :3], axis=0)
        return int(np.abs(directions.T @ plane[:3, 2]).argmax())

    @staticmethod
    def _backwards(to_world: np.ndarray, axis: int) -> bool:
        """Whether a voxel axis runs downwards, backwards or to the left."""
        direction = to_world[:3, axis]
        return bool(direction[np.abs(direction).argmax()] < 0)

    def go_to(self, tag: str, index: int) -> None:
        """Move a view, and those linked with it, to a slice."""
        place = self.place(tag)
        if place is None:
            return
        index = min(max(index, 0), place.count - 1)
        if self._backwards(ijkToWorld(self.volume), place.axis):
            index = place.count - 1 - index
        ijk = (np.array(self.volume.GetImageData().GetDimensions(), float) - 1) / 2
        ijk[place.axis] = index
        point = (ijkToWorld(self.volume) @ np.append(ijk, 1.0))[:3]
        for other in self._linked(tag):
            self._views[other].get_view_node().JumpSliceByOffsetting(*point)
            self._views[other].schedule_render()

    def show_point(self, point: np.ndarray) -> None:
        """Move the views of the layout, each along its normal, to a point (3,) in world mm."""
        for tag in self.tags:
            self._views[tag].get_view_node().JumpSliceByOffsetting(*(float(value) for value in point))
            self._views[tag].schedule_render()

    def step(self, tag: str, by: int) -> None:
        """Move a view by some slices, upwards in the body for positive numbers where the axis points up."""
        place = self.place(tag)
        if place is not None:
            self.go_to(tag, place.index + by)

    def _linked(self, tag: str) -> tuple[str, ...]:
        return next((LAYOUTS[name] for name in LINKED if tag in LAYOUTS[name]), (tag,))

    def _to_middle(self, tag: str) -> None:
        place = self.place(tag)
        if place is not None:
            self.go_to(tag, place.count // 2)

    def _moved(self, view: SliceView) -> None:
        self.moved(view.get_singleton_tag())
