"""A part of a panel onto which a node of Slicer's data trees can be dragged. Qt comes from the module's own file."""

import slicer

ITEM = "mrml://scene/subjecthierarchy/item?id="
"""How the data trees name what is dragged."""


def draggedNode(mimeData):
    """The node of the one item that is dragged; ``None`` for several, and for anything that is not of a data tree."""
    names = [url.toString() for url in mimeData.urls()]
    if len(names) != 1 or not names[0].startswith(ITEM) or not names[0][len(ITEM) :].isdecimal():
        return None
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    return hierarchy.GetItemDataNode(int(names[0][len(ITEM) :]))


def isMask(node):
    """Whether a node may be taken as a mask: a segmentation or a label map."""
    return node is not None and (node.IsA("vtkMRMLSegmentationNode") or node.IsA("vtkMRMLLabelMapVolumeNode"))


def takeMasks(qt, widget, onDropped):
    """Let masks be dropped onto a widget; ``onDropped(node)``. Keep what is returned as long as the widget lives."""

    class Filter(qt.QObject):
        def eventFilter(self, _watched, event):
            kind = event.type()
            if kind not in (qt.QEvent.DragEnter, qt.QEvent.DragMove, qt.QEvent.Drop):
                return False
            node = draggedNode(event.mimeData())
            if not isMask(node):
                return False
            event.acceptProposedAction()
            if kind == qt.QEvent.Drop:
                onDropped(node)
            return True

    made = Filter(widget)
    widget.setAcceptDrops(True)
    widget.installEventFilter(made)
    return made
