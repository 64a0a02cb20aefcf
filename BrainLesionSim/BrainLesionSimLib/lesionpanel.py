"""The lesion section of the panel: box, file, random generator, size and margin. Needs no Qt of its own."""

import slicer

from BrainCounterfactualCommon.host import tr as _
from BrainCounterfactualCommon.panels.bindings import onClicks
from BrainLesionSimLib import drawing, texts
from BrainLesionSimLib.settings import settingsOf


class LesionPanel:
    """Widgets that change the lesion of the scan, and what is told of it.

    Args:
        ui: the panel's widgets by name.
        logic: BrainLesionSimLogic.
        parameters: ``() -> parameter node or None``.
        chooseFile: ``() -> path`` or an empty text.
        onChanged: called when the lesion may have changed.
        sliceInView: ``() -> axial slice index or None``.
        keepUndo: called before the lesion is changed, so that the editor can take it back.
    """

    def __init__(self, ui, logic, parameters, chooseFile, onChanged, sliceInView, keepUndo):
        self._ui = ui
        self._logic = logic
        self._parameters = parameters
        self._chooseFile = chooseFile
        self._onChanged = onChanged
        self._sliceInView = sliceInView
        self._keepUndo = keepUndo
        self._marginOf = None
        onClicks(
            (ui.lesionFromFileButton, self.fromFile),
            (ui.clearLesionButton, self.clear),
            (ui.addBoxButton, self.addBox),
        )

    def update(self, volumeNode):
        """Enable what can be done; show size and margin as they are."""
        for button in (self._ui.lesionFromFileButton, self._ui.clearLesionButton):
            button.setEnabled(volumeNode is not None)
        parameters = self._parameters()
        roi = parameters.boxRoi if volumeNode is not None else None
        self._ui.addBoxButton.setEnabled(roi is not None)
        if roi is not None and not any(roi.GetSize()):  # just made by the selector: it is nowhere yet
            self._logic.placeBox(roi, volumeNode, self._sliceInView())
        if volumeNode is None:
            self._ui.sizeLabel.setText("")
            return
        settings = settingsOf(parameters)
        reach = self._logic.marginMm(volumeNode, settings)
        self._ui.sizeLabel.setText(texts.size(self._logic.lesionMl(volumeNode), reach))
        self._updateMargin(volumeNode, reach if parameters.showMargin else None)

    def _updateMargin(self, volumeNode, reach):
        """Drawn again only where lesion or reach have changed: it is asked for at every stroke of the brush."""
        wanted = (volumeNode.GetID(), drawing.stamp(volumeNode), reach)
        if wanted != self._marginOf:
            self._marginOf = wanted
            drawing.updateMargin(volumeNode, reach)

    def forget(self):
        """The scene was closed, or another one loaded."""
        self._marginOf = None

    def _change(self, message, change, condition):
        parameters = self._parameters()
        with slicer.util.tryWithErrorDisplay(message, waitCursor=True):
            self._keepUndo()
            change(parameters.inputVolume)
            parameters.condition = condition
        self._onChanged()

    def fromFile(self):
        path, notes = self._chooseFile(), []
        if path:
            message = _("The lesion could not be loaded.")
            self._change(message, lambda volumeNode: self._logic.lesionFromFile(path, volumeNode, notes.append), "mask")
            self._ui.progressLabel.setText(" ".join(notes))

    def fromNode(self, node):
        """Take a segmentation or a label map that lies in the scene, as when it is dragged onto the section."""
        if self._parameters().inputVolume is not None:
            message = _("The lesion could not be taken.")
            self._change(message, lambda volumeNode: self._logic.lesionFromNode(node, volumeNode), "mask")

    def clear(self):
        self._change(_("The lesion could not be cleared."), self._logic.clearLesion, "mask")

    def addBox(self):
        """The model is told the lesion's box from now on, as it is not drawn exactly."""
        roi = self._parameters().boxRoi
        message = _("The box could not be added.")
        self._change(message, lambda volumeNode: self._logic.addBox(roi, volumeNode), "box")
