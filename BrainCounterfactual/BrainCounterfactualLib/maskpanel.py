"""The mask section of the panel: from saliency, from file, box, clear. Needs no Qt of its own."""

import slicer

from BrainCounterfactualCommon.host import tr as _
from BrainCounterfactualCommon.panels.bindings import onClicks


class MaskPanel:
    """Buttons that change the mask of the scan.

    Args:
        ui: the panel's widgets by name.
        logic: BrainCounterfactualLogic.
        parameters: ``() -> parameter node``.
        chooseFile: ``() -> path`` or an empty text.
        onChanged: called when the mask may have changed.
        sliceInView: ``() -> axial slice index or None``.
        keepUndo: called before the mask is changed, so that the editor can take it back.
    """

    def __init__(self, ui, logic, parameters, chooseFile, onChanged, sliceInView, keepUndo):
        self._ui = ui
        self._logic = logic
        self._parameters = parameters
        self._chooseFile = chooseFile
        self._onChanged = onChanged
        self._sliceInView = sliceInView
        self._keepUndo = keepUndo
        onClicks(
            (ui.maskFromSaliencyButton, self.fromSaliency),
            (ui.maskFromFileButton, self.fromFile),
            (ui.clearMaskButton, self.clear),
            (ui.addBoxButton, self.addBox),
        )

    def update(self, volumeNode):
        """Enable what can be done."""
        hasSaliency = volumeNode is not None and self._logic.saliency(volumeNode) is not None
        self._ui.maskFromSaliencyButton.setEnabled(hasSaliency)
        for button in (self._ui.maskFromFileButton, self._ui.clearMaskButton):
            button.setEnabled(volumeNode is not None)
        roi = self._parameters().boxRoi if volumeNode is not None else None
        self._ui.addBoxButton.setEnabled(roi is not None)
        if roi is not None and not any(roi.GetSize()):  # just made by the selector: it is nowhere yet
            self._logic.placeBox(roi, volumeNode, self._sliceInView())

    def _change(self, message, change):
        parameters = self._parameters()
        volumeNode = parameters.inputVolume
        with slicer.util.tryWithErrorDisplay(message, waitCursor=True):
            self._keepUndo()
            change(self._logic.maskSegmentation(volumeNode), volumeNode)
            parameters.useMask = True
        self._onChanged()

    def fromSaliency(self):
        parameters = self._parameters()
        node = self._logic.saliency(parameters.inputVolume).saliencyNode
        self._change(
            _("No mask could be made from the saliency."),
            lambda seg, volumeNode: self._logic.maskFromSaliency(node, parameters.saliencyThreshold, seg, volumeNode),
        )

    def fromFile(self):
        path, notes = self._chooseFile(), []
        if path:
            self._change(
                _("The mask could not be loaded."),
                lambda seg, volumeNode: self._logic.maskFromFile(path, seg, volumeNode, notes.append),
            )
            self._ui.progressLabel.setText(" ".join(notes))

    def fromNode(self, node):
        """Take a segmentation or a label map that lies in the scene, as when it is dragged onto the section."""
        if self._parameters().inputVolume is not None:
            self._change(
                _("The mask could not be taken."),
                lambda seg, volumeNode: self._logic.maskFromNode(node, seg, volumeNode),
            )

    def clear(self):
        self._change(_("The mask could not be cleared."), self._logic.clearMask)

    def addBox(self):
        roi = self._parameters().boxRoi
        self._change(
            _("The box could not be added."), lambda seg, volumeNode: self._logic.addBoxToMask(roi, seg, volumeNode)
        )
