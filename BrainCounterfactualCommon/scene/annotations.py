"""Texts in the corners of slice views: the warning over synthetic volumes, what a view of ours shows, patient sides.

Actors of our own, not the view's corner annotation: the Data Probe rewrites that one at every mouse move. Beside the
warning, what is shown says so itself: see :func:`BrainCounterfactualCommon.scene.overlays.markDisplay`.
"""

import slicer
import vtk

from BrainCounterfactualCommon.host import NOT_FOR_DIAGNOSIS
from BrainCounterfactualCommon.host import tr as _
from BrainCounterfactualCommon.scene import layouts, overlays

UPPER_LEFT, UPPER_RIGHT = (0.02, 0.97), (0.98, 0.97)
LEFT, RIGHT, TOP, BOTTOM = (0.02, 0.5), (0.98, 0.5), (0.5, 0.98), (0.5, 0.02)
WARNING_COLOR, PLAIN_COLOR = (1.0, 0.72, 0.1), (0.9, 0.9, 0.9)


def syntheticIn(compositeNode, attribute):
    """The volumes with this node attribute in any layer of a view."""
    ids = (
        compositeNode.GetBackgroundVolumeID(),
        compositeNode.GetForegroundVolumeID(),
        compositeNode.GetLabelVolumeID(),
    )
    nodes = [slicer.mrmlScene.GetNodeByID(nodeId) for nodeId in ids if nodeId]
    return [node for node in nodes if node is not None and node.GetAttribute(attribute) is not None]


def textActor(words, place, color, size=15):
    """A text at a place of the view, (0,0) lower left to (1,1) upper right, that grows away from the nearest edges."""
    actor = vtk.vtkTextActor()
    actor.SetInput(words)
    actor.GetPositionCoordinate().SetCoordinateSystemToNormalizedViewport()
    actor.SetPosition(*place)
    text = actor.GetTextProperty()
    text.SetFontFamilyToArial()
    text.SetFontSize(size)
    text.BoldOn()
    text.ShadowOn()
    text.SetColor(*color)
    for at, low, high, middle in (
        (place[0], text.SetJustificationToLeft, text.SetJustificationToRight, text.SetJustificationToCentered),
        (
            place[1],
            text.SetVerticalJustificationToBottom,
            text.SetVerticalJustificationToTop,
            text.SetVerticalJustificationToCentered,
        ),
    ):
        (low if at < 0.3 else high if at > 0.7 else middle)()
    actor.PickableOff()
    return actor


class CornerTexts:
    """Keeps texts in slice views as the scene says, also of a scene that is loaded.

    A subclass says which nodes decide (``watched``: a class whose nodes have a layout name) and what is written
    (:meth:`textsOf`).

    Args:
        rendererOf: ``(layout name) -> vtkRenderer or None``: where the host's slice views draw.
        render: ``(layout name)``: let the view draw itself again.
        later: ``(function)``: call it when views that are being built are there; at once by default.
    """

    watched = "vtkMRMLSliceCompositeNode"

    def __init__(self, rendererOf, render=None, later=None):
        self._rendererOf = rendererOf
        self._render = render or (lambda layoutName: None)
        self._later = later or (lambda function: function())
        self._shown = {}
        self._observed = {}
        self._sceneTags = []
        self._scene = None

    def textsOf(self, node):
        """What belongs into the view of a node: tuples ``(words, place, color)``; none where nothing does."""
        raise NotImplementedError

    def start(self):
        """Watch the scene's slice views."""
        if self._scene is not None:
            return
        self._scene = slicer.mrmlScene

        @vtk.calldata_type(vtk.VTK_OBJECT)
        def onNodeAdded(_caller, _event, node):
            if node.IsA(self.watched):
                self.update()

        def onSettled(_caller, _event):  # views change before the volumes they name exist: look again at the end
            self.update()
            self._later(self.update)

        settled = ("EndCloseEvent", "EndImportEvent", "EndRestoreEvent", "EndBatchProcessEvent")
        self._sceneTags = [self._scene.AddObserver(getattr(slicer.vtkMRMLScene, name), onSettled) for name in settled]
        self._sceneTags.append(self._scene.AddObserver(slicer.vtkMRMLScene.NodeAddedEvent, onNodeAdded))
        self.update()

    def stop(self):
        """Let go of everything and take the texts down."""
        for tag in self._sceneTags:
            self._scene.RemoveObserver(tag)
        for node, tag in self._observed.values():
            node.RemoveObserver(tag)
        for name in list(self._shown):
            self._hide(name)
        self._scene, self._sceneTags, self._observed = None, [], {}

    @property
    def views(self):
        """Layout names of the views that carry a text now."""
        return sorted(self._shown)

    def update(self):
        """Look at all views again."""
        if self._scene is None:  # stopped meanwhile
            return
        for node in slicer.util.getNodesByClass(self.watched):
            if self._observed.get(node.GetID(), (None,))[0] is not node:  # a closed scene gives IDs to new nodes
                tag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda caller, _event: self._onModified(caller))
                self._observed[node.GetID()] = (node, tag)
            self._onModified(node)

    def _onModified(self, node):
        name = node.GetLayoutName()
        wanted = tuple(self.textsOf(node)) if name is not None else ()
        if wanted == self._shown.get(name, ((),))[0]:
            return
        if name in self._shown:
            self._hide(name)
        renderer = self._rendererOf(name) if wanted else None
        if renderer is not None:  # else the view has not been built yet: it will be modified again when it is
            actors = [textActor(*text) for text in wanted]
            self._shown[name] = (wanted, actors, renderer)
            for actor in actors:
                renderer.AddViewProp(actor)
            self._render(name)

    def _hide(self, name):
        _texts, actors, renderer = self._shown.pop(name)
        for actor in actors:
            renderer.RemoveViewProp(actor)
        self._render(name)


class SyntheticWarnings(CornerTexts):
    """The warning in all slice views that show a synthetic volume. It stays until the volume is gone from the view.

    Args:
        attribute: node attribute that synthetic volumes carry; for the others see the base class.
    """

    def __init__(self, attribute, *arguments):
        CornerTexts.__init__(self, *arguments)
        self._attribute = attribute

    def textsOf(self, node):
        layouts.keepApart(node)
        shown = syntheticIn(node, self._attribute)
        if not slicer.mrmlScene.IsBatchProcessing():  # no node is made while others are being read
            for volumeNode in shown:
                overlays.markDisplay(volumeNode)
        return [(_(NOT_FOR_DIAGNOSIS), UPPER_RIGHT, WARNING_COLOR)] if shown else []


class Captions(CornerTexts):
    """What our own views show, in whole words: "Original", "Counterfactual 2"."""

    def textsOf(self, node):
        caption = layouts.captionOf(node)
        return [(caption, UPPER_LEFT, PLAIN_COLOR)] if caption else []


class PatientSides(CornerTexts):
    """R, L, A, P, S and I at the edges of our own views, as the view is turned."""

    watched = "vtkMRMLSliceNode"

    def textsOf(self, node):
        if node.GetLayoutName() not in layouts.OUR_TAGS:
            return []
        return [(letter, place, PLAIN_COLOR) for letter, place in zip(layouts.sides(node), (LEFT, RIGHT, TOP, BOTTOM))]


# --- desktop Slicer ----------------------------------------------------------------------------------------


def _desktopView(layoutName):
    layoutManager = slicer.app.layoutManager()
    widget = layoutManager.sliceWidget(layoutName) if layoutManager is not None else None
    return widget.sliceView() if widget is not None else None


def desktopRenderer(layoutName):
    """Where a slice view of desktop Slicer draws, or ``None`` while it has not been built."""
    view = _desktopView(layoutName)
    return view.renderWindow().GetRenderers().GetFirstRenderer() if view is not None else None


def desktopRender(layoutName):
    """Let a slice view of desktop Slicer draw itself again."""
    view = _desktopView(layoutName)
    if view is not None:
        view.scheduleRender()
