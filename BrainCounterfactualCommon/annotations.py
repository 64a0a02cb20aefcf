"""The warning in the corner of every view that shows a synthetic volume. It stays until the volume is gone from it.

An actor of our own, not the view's corner annotation: the Data Probe rewrites that one at every mouse move. Beside it,
what is shown says so itself: see :func:`BrainCounterfactualCommon.overlays.markDisplay`.
"""

import slicer
import vtk

from BrainCounterfactualCommon import layouts, overlays
from BrainCounterfactualCommon.host import NOT_FOR_DIAGNOSIS
from BrainCounterfactualCommon.host import tr as _


def syntheticIn(compositeNode, attribute):
    """The volumes with this node attribute in any layer of a view."""
    ids = (
        compositeNode.GetBackgroundVolumeID(),
        compositeNode.GetForegroundVolumeID(),
        compositeNode.GetLabelVolumeID(),
    )
    nodes = [slicer.mrmlScene.GetNodeByID(nodeId) for nodeId in ids if nodeId]
    return [node for node in nodes if node is not None and node.GetAttribute(attribute) is not None]


def warningActor():
    """The text, in the upper right corner."""
    actor = vtk.vtkTextActor()
    actor.SetInput(_(NOT_FOR_DIAGNOSIS))
    actor.GetPositionCoordinate().SetCoordinateSystemToNormalizedViewport()
    actor.SetPosition(0.98, 0.97)
    text = actor.GetTextProperty()
    text.SetFontFamilyToArial()
    text.SetFontSize(15)
    text.BoldOn()
    text.ShadowOn()
    text.SetColor(1.0, 0.72, 0.1)
    text.SetJustificationToRight()
    text.SetVerticalJustificationToTop()
    actor.PickableOff()
    return actor


class SyntheticWarnings:
    """Keeps the warning in all slice views that show a synthetic volume, also of a scene that is loaded.

    Args:
        attribute: node attribute that synthetic volumes carry.
        rendererOf: ``(layout name) -> vtkRenderer or None``: where the host's slice views draw.
        render: ``(layout name)``: let the view draw itself again.
        later: ``(function)``: call it when views that are being built are there; at once by default.
    """

    def __init__(self, attribute, rendererOf, render=None, later=None):
        self._attribute = attribute
        self._rendererOf = rendererOf
        self._render = render or (lambda layoutName: None)
        self._later = later or (lambda function: function())
        self._actors = {}
        self._observed = {}
        self._sceneTags = []
        self._scene = None

    def start(self):
        """Watch the scene's slice views."""
        if self._scene is not None:
            return
        self._scene = slicer.mrmlScene

        @vtk.calldata_type(vtk.VTK_OBJECT)
        def onNodeAdded(_caller, _event, node):
            if node.IsA("vtkMRMLSliceCompositeNode"):
                self.update()

        def onSettled(_caller, _event):  # views change before the volumes they name exist: look again at the end
            self.update()
            self._later(self.update)

        settled = ("EndCloseEvent", "EndImportEvent", "EndRestoreEvent", "EndBatchProcessEvent")
        self._sceneTags = [self._scene.AddObserver(getattr(slicer.vtkMRMLScene, name), onSettled) for name in settled]
        self._sceneTags.append(self._scene.AddObserver(slicer.vtkMRMLScene.NodeAddedEvent, onNodeAdded))
        self.update()

    def stop(self):
        """Let go of everything and take the warnings down."""
        for tag in self._sceneTags:
            self._scene.RemoveObserver(tag)
        for node, tag in self._observed.values():
            node.RemoveObserver(tag)
        for name in list(self._actors):
            self._hide(name)
        self._scene, self._sceneTags, self._observed = None, [], {}

    @property
    def viewsWithWarning(self):
        """Layout names of the views that carry it now."""
        return sorted(self._actors)

    def update(self):
        """Look at all views again."""
        if self._scene is None:  # stopped meanwhile
            return
        for node in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
            if self._observed.get(node.GetID(), (None,))[0] is not node:  # a closed scene gives IDs to new nodes
                tag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda caller, _event: self._onComposite(caller))
                self._observed[node.GetID()] = (node, tag)
                layouts.keepApart(node)
            self._onComposite(node)

    def _onComposite(self, node):
        name = node.GetLayoutName()
        shown = syntheticIn(node, self._attribute) if name is not None else []
        wanted = bool(shown)
        if not self._scene.IsBatchProcessing():  # no node is made while others are being read
            for volumeNode in shown:
                overlays.markDisplay(volumeNode)
        if wanted and name not in self._actors:
            renderer = self._rendererOf(name)
            if renderer is None:  # the view has not been built yet: it will be modified again when it is
                return
            self._actors[name] = (warningActor(), renderer)
            renderer.AddViewProp(self._actors[name][0])
            self._render(name)
        elif not wanted and name in self._actors:
            self._hide(name)

    def _hide(self, name):
        actor, renderer = self._actors.pop(name)
        renderer.RemoveViewProp(actor)
        self._render(name)


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
