"""Slicer's own Segment Editor inside the panel, on the mask of the scan. Needs no Qt of its own."""

import slicer

TOOLS = ("Paint", "Draw", "Erase", "Threshold", "Scissors")
"""Effects of the Segment Editor that a mask needs; the others are shown when asked for."""


class EditorPanel:
    """A segment editor with a parameter node of its own, so that the Segment Editor module is not disturbed.

    Args:
        frame: the widget it is put into.
        allTools: the check box that shows more than the tools needed most.
        tag: of its parameter node; each module has its own.
    """

    def __init__(self, frame, allTools, tag):
        self._tag = tag
        self.widget = slicer.qMRMLSegmentEditorWidget()
        self.widget.setMaximumNumberOfUndoStates(10)
        self.widget.setSegmentationNodeSelectorVisible(False)
        self.widget.setSourceVolumeNodeSelectorVisible(False)
        self.widget.setSwitchToSegmentationsButtonVisible(False)
        self.widget.setEffectNameOrder(list(TOOLS))
        self.widget.setUnorderedEffectsVisible(False)
        allTools.connect("toggled(bool)", self.widget.setUnorderedEffectsVisible)
        frame.layout().addWidget(self.widget)
        self.widget.setMRMLScene(slicer.mrmlScene)
        self.makeNode()

    def makeNode(self):
        """Its parameter node; a scene that was closed or loaded has taken the last one away, and what was edited."""
        self.widget.setMRMLSegmentEditorNode(None)
        node = slicer.mrmlScene.GetSingletonNode(self._tag, "vtkMRMLSegmentEditorNode")
        if node is None:
            node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLSegmentEditorNode")
            node.UnRegister(None)  # CreateNodeByClass hands over a reference
            node.SetSingletonTag(self._tag)
            node = slicer.mrmlScene.AddNode(node)
        self.widget.setMRMLSegmentEditorNode(node)
        self.widget.setSegmentationNode(None)  # to be given again, in this order

    def edit(self, segmentationNode, volumeNode):
        """Edit this mask over this scan (``None``: nothing)."""
        if self.widget.segmentationNode() is segmentationNode:
            return
        self.widget.setSegmentationNode(segmentationNode)
        if segmentationNode is not None:
            if segmentationNode.GetDisplayNode() is not None:  # a mask nobody drew may be hidden
                segmentationNode.GetDisplayNode().SetVisibility(True)
            self.widget.setSourceVolumeNode(volumeNode)

    def keepUndo(self):
        """The mask is about to be changed by a button: the editor's Undo takes that back, too."""
        if self.widget.segmentationNode() is not None:
            self.widget.saveStateForUndo()

    def enter(self):
        self.widget.installKeyboardShortcuts()

    def leave(self):
        self.widget.setActiveEffect(None)
        self.widget.uninstallKeyboardShortcuts()

    def close(self):
        self.leave()
        self.widget.setMRMLScene(None)
