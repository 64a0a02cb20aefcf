"""STAND-IN for the controllers above the slice views of desktop Slicer, on Slicer's own link logic.

Written from what qMRMLSliceControllerWidget does: its opacity sliders follow the composite node and answer each change
as an interaction of the user; its node selectors answer the removal of a volume by setting again what they hold, as an
interaction too. Interactions of linked views are copied to the others by vtkMRMLSliceLinkLogic, which is the real one.
"""

import slicer
import vtk


class Controllers:
    """A controller for each slice view, present and to come."""

    def __init__(self):
        self.scene = slicer.mrmlScene
        self.link = slicer.vtkMRMLSliceLinkLogic()
        self.link.SetMRMLScene(self.scene)
        self.opacities = {}
        self.tags = []

        @vtk.calldata_type(vtk.VTK_OBJECT)
        def onAdded(_caller, _event, node):
            self.add(node)

        @vtk.calldata_type(vtk.VTK_OBJECT)
        def onRemoved(_caller, _event, node):
            if node.IsA("vtkMRMLVolumeNode"):
                self.onVolumeRemoved()

        events = ((self.scene.NodeAddedEvent, onAdded), (self.scene.NodeRemovedEvent, onRemoved))
        self.observed = [(self.scene, self.scene.AddObserver(*pair)) for pair in events]
        for node in slicer.util.getNodes("vtkMRMLSlice*", useLists=True).values():
            for one in node:
                self.add(one)

    def add(self, node):
        if node.IsA("vtkMRMLSliceCompositeNode") and node not in self.opacities:
            self.opacities[node] = (node.GetForegroundOpacity(), node.GetLabelOpacity())
            tag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda caller, _event: self.onModified(caller))
            self.observed.append((node, tag))

    def close(self):
        for node, tag in self.observed:
            node.RemoveObserver(tag)
        self.link.SetMRMLScene(None)

    def interact(self, node, flag, change):
        """As vtkMRMLSliceLogic's Start- and EndSliceCompositeNodeInteraction around a change."""
        node.SetInteractionFlags(flag)
        if node.GetHotLinkedControl() and node.GetLinkedControl():
            node.InteractingOn()
        change()
        if node.GetLinkedControl():
            node.InteractingOn()
            node.Modified()
            node.InteractingOff()
        node.SetInteractionFlags(0)

    def onModified(self, node):
        foreground, label = node.GetForegroundOpacity(), node.GetLabelOpacity()
        before, self.opacities[node] = self.opacities[node], (foreground, label)
        if label != before[1]:
            self.interact(node, node.LabelOpacityFlag, lambda: node.SetLabelOpacity(label))
        if foreground != before[0]:
            self.interact(node, node.ForegroundOpacityFlag, lambda: node.SetForegroundOpacity(foreground))

    def onVolumeRemoved(self):
        for node in list(self.opacities):
            if self.scene.IsNodePresent(node):
                self.interact(node, node.ForegroundVolumeFlag, lambda n=node: _again(n, "Foreground"))
                self.interact(node, node.BackgroundVolumeFlag, lambda n=node: _again(n, "Background"))


def _again(node, layer):
    """The selector holds a volume that is there, or none."""
    held = slicer.mrmlScene.GetNodeByID(getattr(node, f"Get{layer}VolumeID")() or "")
    getattr(node, f"Set{layer}VolumeID")(held.GetID() if held is not None else None)


class HierarchyPlugins:
    """STAND-IN for the desktop's subject hierarchy plugins: a volume's item comes with it and goes before it."""

    def __init__(self):
        self.scene = slicer.mrmlScene

        @vtk.calldata_type(vtk.VTK_OBJECT)
        def onAdded(_caller, _event, node):
            hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self.scene)
            if node.IsA("vtkMRMLVolumeNode") and not hierarchy.GetItemByDataNode(node):
                hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)

        @vtk.calldata_type(vtk.VTK_OBJECT)
        def onAboutToBeRemoved(_caller, _event, node):
            hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self.scene)
            item = 0 if self.scene.IsClosing() else hierarchy.GetItemByDataNode(node)
            if item:
                hierarchy.RemoveItem(item, False, False)

        events = ((self.scene.NodeAddedEvent, onAdded), (self.scene.NodeAboutToBeRemovedEvent, onAboutToBeRemoved))
        self.tags = [self.scene.AddObserver(*pair) for pair in events]

    def close(self):
        for tag in self.tags:
            self.scene.RemoveObserver(tag)


def shown(tags):
    """tag -> (background, foreground, opacity of it, label, opacity of it) by name."""
    out = {}
    for node in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        if node.GetLayoutName() in tags:
            ids = (node.GetBackgroundVolumeID(), node.GetForegroundVolumeID(), node.GetLabelVolumeID())
            names = [slicer.mrmlScene.GetNodeByID(one) if one else None for one in ids]
            opacity = round(node.GetForegroundOpacity(), 3)
            out[node.GetLayoutName()] = (names[0], names[1], opacity if names[1] is not None else 0.0, names[2])
    return out
