"""The result section of the panel: thumbnails, undo, views, effects, saving. Needs no Qt of its own."""

import os
import shutil
import tempfile

import slicer

from BrainCounterfactualCommon import layouts, scene
from BrainCounterfactualCommon.host import tr as _
from BrainLesionSimLib import texts
from BrainLesionSimLib.comparison import Comparison


class InductionPanel:
    """Shows the inductions of a scan.

    Args:
        ui: the panel's widgets by name.
        logic: BrainLesionSimLogic.
        makeItem: ``(text) -> item`` of the effects table.
        makeIcon: ``(path of a PNG) -> icon`` of the strip.
        flickerTimer: calls :meth:`onFlickerTick` while it is started.
        chooseFolder: ``() -> path`` or an empty text.
        onRefreshed: called when another result, or none, may be in view.
    """

    def __init__(self, ui, logic, makeItem, makeIcon, flickerTimer, chooseFolder, onRefreshed):
        self.ui = ui
        self.logic = logic
        self.comparison = Comparison()
        self.layoutSwitch = layouts.LayoutSwitch()
        self.volumeNode = None
        self._parameters = None
        self._makeItem, self._makeIcon = makeItem, makeIcon
        self._timer = flickerTimer
        self._chooseFolder = chooseFolder
        self._onRefreshed = onRefreshed
        self._strip = []
        ui.resultStrip.connect("currentRowChanged(int)", self._onChosen)
        for button, slot in (
            (ui.undoButton, self.undo),
            (ui.redoButton, self.redo),
            (ui.keepButton, self.keep),
            (ui.removeResultButton, self.remove),
            (ui.removeOthersButton, self.removeOthers),
            (ui.saveButton, self.save),
        ):
            button.connect("clicked(bool)", lambda _checked, slot=slot: slot())
        ui.compareButton.connect("toggled(bool)", self.setComparing)
        ui.flickerButton.connect("toggled(bool)", self._onFlickerToggled)

    @property
    def induction(self):
        """The induction in view, or ``None``."""
        return self.logic.currentResult(self.volumeNode) if self.volumeNode is not None else None

    @property
    def viewTag(self):
        """The view that says which slice is meant."""
        return layouts.PRIOR if self.layoutSwitch.isOurs else "Red"

    def setParameters(self, parameters):
        """The parameter node whose fade, opacity and contours are followed; ``None`` for none."""
        self._parameters = parameters
        self.onParameters()

    def setVolume(self, volumeNode):
        """Show the inductions of another scan."""
        if volumeNode is not self.volumeNode:
            self.stopFlicker()
        self.volumeNode = volumeNode
        self.refresh()

    def onParameters(self):
        """Fade, opacity and contours as the parameters say."""
        if self._parameters is not None:
            self.comparison.setFade(self._parameters.fade)
            self.comparison.setChangeOpacity(self._parameters.changeOpacity)
            self.comparison.showContours(self._parameters.showContours)

    def refresh(self):
        """Everything as the scene says."""
        ui, volumeNode = self.ui, self.volumeNode
        found = self.logic.results(volumeNode) if volumeNode is not None else []
        induction = self.induction
        self._fillStrip(found, induction)
        ui.undoButton.setEnabled(bool(found) and self.logic.canUndo(volumeNode))
        ui.redoButton.setEnabled(bool(found) and self.logic.canRedo(volumeNode))
        for widget in (ui.keepButton, ui.removeResultButton, ui.saveButton, ui.flickerButton, ui.fadeSlider):
            widget.setEnabled(induction is not None)
        ui.keepButton.setChecked(induction is not None and induction.kept)
        ui.removeOthersButton.setEnabled(any(one.kept for one in found) and not all(one.kept for one in found))
        ui.compareButton.setEnabled(bool(found))
        ui.summaryLabel.setText(texts.summary(induction) if found else "")
        ui.roundTripLabel.setText(texts.roundTrip(induction.roundTrip) if induction else "")
        self._fillTable(texts.effectRows(induction))
        if ui.compareButton.checked and volumeNode is not None:
            self._showInViews()
        self._onRefreshed()

    def _fillStrip(self, found, induction):
        strip = self.ui.resultStrip
        wasBlocked = strip.blockSignals(True)
        wanted = [(one.node.GetID(), texts.stripLabel(one)) for one in found]
        if wanted != self._strip:
            self._strip = wanted
            strip.clear()
            folder = tempfile.mkdtemp(prefix="BrainLesionSim-")
            try:
                for row, (one, (_nodeId, label)) in enumerate(zip(found, wanted)):
                    path = self.logic.thumbnail(one, os.path.join(folder, "{}.png".format(one.order)))
                    strip.addItem(label)
                    strip.item(row).setIcon(self._makeIcon(path))
            finally:
                shutil.rmtree(folder, ignore_errors=True)
        strip.setCurrentRow(found.index(induction) if induction is not None else -1)
        strip.blockSignals(wasBlocked)

    def _fillTable(self, rows):
        table, columns = self.ui.effectsTable, texts.effectColumns()
        table.setColumnCount(len(columns))
        table.setHorizontalHeaderLabels(columns)
        table.setRowCount(len(rows))
        for r, row in enumerate(rows):
            for c, text in enumerate(row):
                table.setItem(r, c, self._makeItem(text))
        table.resizeColumnsToContents()

    # --- views ---

    def setComparing(self, comparing):
        """Go to the layout of the three views, or back to the user's own."""
        if self.ui.compareButton.checked != comparing:
            self.ui.compareButton.setChecked(comparing)  # comes back here
            return
        if comparing and self.volumeNode is not None:
            index = self.sliceInView()
            self._showInViews()
            layouts.alignWithVolume(self.comparison.tags, self.volumeNode)
            self._jump(self._largestSlice() if index is None else index)
        else:
            self.stopFlicker()
            self.comparison.show(self.volumeNode, None)
            self.layoutSwitch.restore()

    def _showInViews(self):
        self.layoutSwitch.showLayout(layouts.LESION_LAYOUT)
        self.comparison.show(self.volumeNode, self.induction)
        if self._parameters is not None:
            layouts.hideFromViews(self._parameters.boxRoi, (layouts.LESION, layouts.DISEASED))
        self.onParameters()

    def showPreview(self):
        """The state of the run under way."""
        if self.layoutSwitch.isOurs and self.logic.previewNode is not None:
            self.comparison.showPreview(self.volumeNode, self.logic.previewNode)

    def sliceInView(self):
        """Axial slice index of the scan that the main view shows, or ``None``."""
        node = layouts.sliceNode(self.viewTag)
        return scene.sliceIndexOfView(self.volumeNode, node) if node is not None else None

    def _largestSlice(self):
        rows = self.induction.slices if self.induction else []
        largest = max(rows, key=lambda row: row.get("lesion_mm2") or 0, default=None)
        return largest["index"] if largest else None

    def _jump(self, index):
        if index is not None:
            layouts.jumpToSlice(self.volumeNode, index)

    # --- history ---

    def showNew(self):
        """An induction has just ended: show it, at its largest slice unless the one in view is painted too."""
        self.refresh()
        self.setComparing(True)
        painted = {row["index"] for row in self.induction.slices} if self.induction else set()
        if self.sliceInView() not in painted:
            self._jump(self._largestSlice())

    def undo(self):
        self.logic.undo(self.volumeNode)
        self.refresh()

    def redo(self):
        self.logic.redo(self.volumeNode)
        self.refresh()

    def keep(self):
        if self.induction is not None:
            self.induction.kept = not self.induction.kept
        self.refresh()

    def remove(self):
        with slicer.util.tryWithErrorDisplay(_("Failed to delete the result.")):
            induction = self.induction
            self.comparison.show(self.volumeNode, None)
            if induction is not None:
                self.logic.removeResult(induction)
            self.refresh()

    def removeOthers(self):
        """Delete what is not kept; asked first, as there is no way back."""
        others = [one for one in self.logic.results(self.volumeNode) if not one.kept]
        question = _("Delete {n} results that are not kept?").format(n=len(others))
        if not others or not slicer.util.confirmOkCancelDisplay(question):
            return
        with slicer.util.tryWithErrorDisplay(_("Failed to delete the results.")):
            self.comparison.show(self.volumeNode, None)
            self.logic.removeOthers(self.volumeNode)
            self.refresh()

    def _onChosen(self, row):
        found = self.logic.results(self.volumeNode) if self.volumeNode is not None else []
        if 0 <= row < len(found):
            self.logic.restoreResult(found[row])
            self.refresh()

    def save(self):
        with slicer.util.tryWithErrorDisplay(_("Failed to save the result.")):
            folder = self._chooseFolder()
            if folder and self.induction is not None:
                paths = self.logic.saveResult(self.induction, folder)
                slicer.util.showStatusMessage(_("{n} files saved.").format(n=len(paths)), 5000)

    # --- flicker ---

    def _onFlickerToggled(self, on):
        if on and self.induction is not None:
            self.setComparing(True)
            self._timer.start()
        else:
            self._timer.stop()
            self.onParameters()

    def onFlickerTick(self):
        """Swap prior and diseased volume."""
        self.comparison.flicker()

    def stopFlicker(self):
        self._timer.stop()
        self.ui.flickerButton.setChecked(False)

    # --- life ---

    def leave(self):
        """The module is left: the user's layout comes back; whether to compare is remembered."""
        self.stopFlicker()
        self.layoutSwitch.restore()

    def comeBack(self):
        if self.ui.compareButton.checked and self.volumeNode is not None:
            self._showInViews()

    def forget(self):
        """The scene is about to be closed."""
        self.stopFlicker()
        self.ui.compareButton.setChecked(False)
        self.volumeNode = self._parameters = None
        self.comparison.forget()
        self._fillStrip([], None)
        self._fillTable([])
        self.ui.summaryLabel.setText("")
        self.ui.roundTripLabel.setText("")
