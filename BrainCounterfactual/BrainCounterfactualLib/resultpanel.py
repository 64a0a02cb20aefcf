"""The result section of the panel: history, compare views, flicker, slice table, saving. Needs no Qt of its own."""

import slicer

from BrainCounterfactualCommon import layouts, scene
from BrainCounterfactualCommon.host import tr as _
from BrainCounterfactualLib import texts
from BrainCounterfactualLib.bindings import ChoiceBinding
from BrainCounterfactualLib.comparison import COVERED, Comparison


class ResultPanel:
    """Shows the results of a scan.

    Args:
        ui: the panel's widgets by name.
        logic: BrainCounterfactualLogic.
        makeItem: ``(text) -> item`` of the slice table.
        flickerTimer: calls :meth:`onFlickerTick` while it is started.
        chooseFolder: ``() -> path`` or an empty text.
        onRefreshed: called when another result, or none, may be in view.
    """

    def __init__(self, ui, logic, makeItem, flickerTimer, chooseFolder, onRefreshed):
        self.ui = ui
        self.logic = logic
        self.comparison = Comparison()
        self.layoutSwitch = layouts.LayoutSwitch()
        self.volumeNode = None
        self._parameters = None
        self._makeItem = makeItem
        self._timer = flickerTimer
        self._chooseFolder = chooseFolder
        self._onRefreshed = onRefreshed
        self._rows = []
        self._history = ChoiceBinding(ui.resultComboBox, self._onChosen)
        ui.undoButton.connect("clicked(bool)", lambda _checked: self.undo())
        ui.redoButton.connect("clicked(bool)", lambda _checked: self.redo())
        ui.removeResultButton.connect("clicked(bool)", lambda _checked: self.remove())
        ui.compareButton.connect("toggled(bool)", self.setComparing)
        ui.flickerButton.connect("toggled(bool)", self._onFlickerToggled)
        ui.saveButton.connect("clicked(bool)", lambda _checked: self.save())
        ui.sliceTable.connect("cellClicked(int,int)", self._onCell)

    @property
    def result(self):
        """The result in view, or ``None``."""
        return self.logic.currentResult(self.volumeNode) if self.volumeNode is not None else None

    @property
    def viewTag(self):
        """The view that says which slice is meant."""
        return layouts.ORIGINAL if self.layoutSwitch.isOurs else "Red"

    def setParameters(self, parameters):
        """The parameter node whose fade, opacity and contours are followed; ``None`` for none."""
        self._parameters = parameters
        self.onParameters()

    def setVolume(self, volumeNode):
        """Show the results of another scan."""
        if volumeNode is not self.volumeNode:
            self.stopFlicker()
        self.volumeNode = volumeNode
        self.refresh()

    def onParameters(self):
        """Fade, opacity and contours as the parameters say."""
        if self._parameters is not None:
            self.comparison.setFade(self._parameters.fade)
            self.comparison.setDifferenceOpacity(self._parameters.differenceOpacity)
            self.comparison.showMarks(self._parameters.showContours, self._parameters.showContours)

    def refresh(self):
        """Everything as the scene says."""
        found = self.logic.results(self.volumeNode) if self.volumeNode is not None else []
        result = self.result
        self._history.fill(texts.resultChoices(found) if found else [], result.order if result else 0)
        self.ui.undoButton.setEnabled(bool(found) and self.logic.canUndo(self.volumeNode))
        self.ui.redoButton.setEnabled(bool(found) and self.logic.canRedo(self.volumeNode))
        for widget in (self.ui.removeResultButton, self.ui.saveButton, self.ui.flickerButton, self.ui.fadeSlider):
            widget.setEnabled(result is not None)
        self.ui.compareButton.setEnabled(bool(found))
        self.ui.summaryLabel.setText(texts.summary(result) if found else "")
        saliency = self.logic.saliency(self.volumeNode) if self.volumeNode is not None else None
        rows = result.slices if result else saliency.slices if saliency else []
        self._fillTable(rows)
        if self.ui.compareButton.checked and self.volumeNode is not None:
            self._showInViews()
        self._onRefreshed()

    def _fillTable(self, rows):
        table = self.ui.sliceTable
        self._rows = list(reversed(rows))  # the top of the head first, as one scrolls
        columns = texts.tableColumns()
        table.setColumnCount(len(columns))
        table.setHorizontalHeaderLabels(columns)
        table.setRowCount(len(self._rows))
        for r, row in enumerate(self._rows):
            for c, text in enumerate(texts.tableRow(row)):
                table.setItem(r, c, self._makeItem(text))

    # --- views ---

    def setComparing(self, comparing):
        """Go to the compare layout, or back to the user's own."""
        if self.ui.compareButton.checked != comparing:
            self.ui.compareButton.setChecked(comparing)  # comes back here
            return
        if comparing and self.volumeNode is not None:
            index = self.sliceInView()
            self._showInViews()
            layouts.alignWithVolume(self.comparison.tags, self.volumeNode)
            self._jump(self._worstSlice() if index is None else index)
        else:
            self.stopFlicker()
            self.comparison.show(self.volumeNode, None)
            self.layoutSwitch.restore()

    def _showInViews(self):
        self.layoutSwitch.show(withUncertainty=bool(self.result and self.result.deviationNode))
        self.comparison.show(self.volumeNode, self.result)
        if self._parameters is not None:
            layouts.hideFromViews(self._parameters.boxRoi, COVERED)
        self.onParameters()

    def showPreview(self):
        """The state of the healing under way."""
        if self.layoutSwitch.isOurs and self.logic.previewNode is not None:
            self.comparison.showPreview(self.volumeNode, self.logic.previewNode)

    def sliceInView(self):
        """Axial slice index of the scan that the main view shows, or ``None``."""
        node = layouts.sliceNode(self.viewTag)
        return scene.sliceIndexOfView(self.volumeNode, node) if node is not None else None

    def _worstSlice(self):
        rows = self.result.slices if self.result else []
        worst = max(rows, key=lambda row: row.get("lesion_mm2") or 0, default=None)
        return worst["index"] if worst else None

    def _jump(self, index):
        if index is not None:
            layouts.jumpToSlice(self.volumeNode, index)

    def _onCell(self, row, _column):
        if 0 <= row < len(self._rows):
            self._jump(self._rows[row]["index"])

    # --- history ---

    def showNew(self):
        """A healing has just ended: compare it, at its largest lesion unless the slice in view is healed too."""
        self.refresh()
        self.setComparing(True)
        inView = self.sliceInView()
        healed = {row["index"] for row in self.result.slices if row.get("mask_mm2")}
        if inView not in healed:
            self._jump(self._worstSlice())

    def undo(self):
        self.logic.undo(self.volumeNode)
        self.refresh()

    def redo(self):
        self.logic.redo(self.volumeNode)
        self.refresh()

    def remove(self):
        with slicer.util.tryWithErrorDisplay(_("Failed to delete the result.")):
            result = self.result
            self.comparison.show(self.volumeNode, None)
            if result is not None:
                self.logic.removeResult(result)
            self.refresh()

    def _onChosen(self, order):
        for result in self.logic.results(self.volumeNode):
            if result.order == order:
                self.logic.restoreResult(result)
        while order == 0 and self.logic.canUndo(self.volumeNode):
            self.logic.undo(self.volumeNode)
        self.refresh()

    def save(self):
        with slicer.util.tryWithErrorDisplay(_("Failed to save the result.")):
            folder = self._chooseFolder()
            if folder and self.result is not None:
                paths = self.logic.saveResult(self.result, folder)
                slicer.util.showStatusMessage(_("{n} files saved.").format(n=len(paths)), 5000)

    # --- flicker ---

    def _onFlickerToggled(self, on):
        if on and self.result is not None:
            self.setComparing(True)
            self._timer.start()
        else:
            self._timer.stop()
            self.onParameters()

    def onFlickerTick(self):
        """Swap original and counterfactual."""
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
        self._history.fill([], None)
        self._fillTable([])
        self.ui.summaryLabel.setText("")
