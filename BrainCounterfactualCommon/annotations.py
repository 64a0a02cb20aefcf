"""The warning in the corner of every view that shows a synthetic volume. It stays until the volume is gone from it.

An actor of our own, not the view's corner annotation: the Data Probe rewrites that one at every mouse move.
"""

import slicer
import vtk

from BrainCounterfactualCommon.host import NOT_FOR_DIAGNOSIS
from BrainCounterfactualCommon.host import tr as _


def showsSynthetic(compositeNode, attribute):
    """Whether a view has a volume with this node attribute in any of its layers."""
    ids = (
        compositeNode.GetBackgroundVolumeID(),
        compositeNode.GetForegroundVolumeID(),
        compositeNode.GetLabelVolumeID(),
    )
    nodes = [slicer.mrmlScene.GetNodeByID(nodeId) for nodeId in ids if nodeId]
    return any(node is not None and node.GetAttribute(attribute) is not None for node in nodes)


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
    """Keeps the warning in all slice views that show a synthetic volume.

    Args:
        attribute: node attribute that synthetic volumes carry.
        rendererOf: ``(layout name) -> vtkRenderer or None``: where the host's slice views draw.
        render: ``(layout name)``: let the view draw itself again.
    """

    def __init__(self, attribute, rendererOf, render=None):
        self._attribute = attribute
        self._rendererOf = rendererOf
        self._render = render or (lambda layoutName: None)
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

        self._sceneTags = [
            self._scene.AddObserver(slicer.vtkMRMLScene.NodeAddedEvent, onNodeAdded),
            self._scene.AddObserver(slicer.vtkMRMLScene.EndCloseEvent, lambda _caller, _event: self.update()),
        ]
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
        for node in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
            if self._observed.get(node.GetID(), (None,))[0] is not node:  # a closed scene gives IDs to new nodes
                tag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda caller, _event: self._onComposite(caller))
                self._observed[node.GetID()] = (node, tag)
            self._onComposite(node)

    def _onComposite(self, node):
        name = node.GetLayoutName()
        wanted = name is not None and showsSynthetic(node, self._attribute)
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
