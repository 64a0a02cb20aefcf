"""The result section of the panel: history, slice table. Needs no Qt of its own."""

from BrainCounterfactualCommon.panels.bindings import ChoiceBinding
from BrainCounterfactualCommon.panels.resultpanel import ResultPanelBase
from BrainCounterfactualCommon.scene import layouts
from BrainCounterfactualLib import texts
from BrainCounterfactualLib.comparison import COVERED, Comparison


class ResultPanel(ResultPanelBase):
    """Shows the results of a scan; see the base class for the arguments."""

    mainView = layouts.ORIGINAL
    ownLayouts = (layouts.COMPARE_LAYOUT, layouts.COMPARE_GRID_LAYOUT, layouts.UNCERTAINTY_LAYOUT)
    covered = COVERED
    opacity = "differenceOpacity"

    def __init__(self, ui, logic, *arguments):
        ResultPanelBase.__init__(self, ui, logic, Comparison(), *arguments)
        self._rows = []
        self._history = ChoiceBinding(ui.resultComboBox, self._onChosen)
        ui.sliceTable.connect("cellDoubleClicked(int,int)", self._onCell)
        ui.sliceTable.verticalHeader().setVisible(False)  # numbers beside the slices' own

    def _fill(self, found, result):
        self._history.fill(texts.resultChoices(found) if found else [], result.order if result else 0)
        self.ui.summaryLabel.setText(texts.summary(result) if found else "")
        saliency = self.logic.saliency(self.volumeNode) if self.volumeNode is not None else None
        rows = result.slices if result else saliency.slices if saliency else []
        self._rows = texts.inOrder(rows)
        self._fillTable(self.ui.sliceTable, texts.tableColumns(), [texts.tableRow(row) for row in self._rows])
        self.ui.sliceTable.resizeColumnsToContents()

    def _isEdited(self, row):
        return bool(row.get("mask_mm2"))

    def _onCell(self, row, _column):
        if 0 <= row < len(self._rows):
            self._jump(self._rows[row]["index"])

    def _onChosen(self, order):
        for result in self.logic.results(self.volumeNode):
            if result.order == order:
                self.logic.restoreResult(result)
        while order == 0 and self.logic.canUndo(self.volumeNode):
            self.logic.undo(self.volumeNode)
        self.refresh()
