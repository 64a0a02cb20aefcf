"""The result section of the panel: history, slice table with its plot. Needs no Qt of its own."""

import os
import tempfile

from BrainCounterfactualCommon.panels.bindings import ChoiceBinding
from BrainCounterfactualCommon.panels.resultpanel import ResultPanelBase
from BrainCounterfactualCommon.scene import layouts, pictures
from BrainCounterfactualLib import texts
from BrainCounterfactualLib.comparison import COVERED, Comparison

UNSORTED = -1
"""No column: as the rows were given."""
ROW_PX = 22


class ResultPanel(ResultPanelBase):
    """Shows the results of a scan; see the base class for the other arguments.

    Args:
        makePixmap: ``(path of a PNG) -> pixmap``.
    """

    mainView = layouts.ORIGINAL
    ownLayouts = (
        layouts.COMPARE_LAYOUT, layouts.COMPARE_GRID_LAYOUT, layouts.COMPARE_3D_LAYOUT, layouts.UNCERTAINTY_LAYOUT
    )  # fmt: skip
    covered = COVERED
    opacity = "differenceOpacity"

    def __init__(self, ui, logic, makePixmap, *arguments):
        ResultPanelBase.__init__(self, ui, logic, Comparison(), *arguments)
        self._makePixmap = makePixmap
        self._history = ChoiceBinding(ui.resultComboBox, self._onChosen)
        ui.sliceTable.connect("cellDoubleClicked(int,int)", self._onCell)
        ui.sliceTable.verticalHeader().setVisible(False)  # numbers beside the slices' own
        ui.sliceTable.verticalHeader().setDefaultSectionSize(ROW_PX)
        header = ui.sliceTable.horizontalHeader()
        header.setSortIndicator(UNSORTED, header.sortIndicatorOrder())

    def _fill(self, found, result):
        self._history.fill(texts.resultChoices(found) if found else [], result.order if result else 0)
        self.ui.summaryLabel.setText(texts.summary(result) if found else "")
        saliency = self.logic.saliency(self.volumeNode) if self.volumeNode is not None else None
        rows = result.slices if result else saliency.slices if saliency else []
        table = self.ui.sliceTable
        self._fillTable(table, texts.tableColumns(), [texts.tableRow(row) for row in texts.inOrder(rows)])
        table.setSortingEnabled(True)
        table.resizeColumnsToContents()
        self._plot(rows)

    def _plot(self, rows):
        """Areas of lesion and edited region by slice, beside the table."""
        label = self.ui.areaPlotLabel
        words = texts.areas(rows)
        label.setVisible(bool(words))
        label.setToolTip(words)
        if words:
            ordered = sorted(rows, key=lambda row: row["position_mm"])
            areas = ([row.get(name) or 0.0 for row in ordered] for name in ("lesion_mm2", "mask_mm2"))
            with tempfile.TemporaryDirectory(prefix="BrainCounterfactual-") as folder:
                path = pictures.save(pictures.bars(*areas), os.path.join(folder, "areas.png"))
                label.setPixmap(self._makePixmap(path))

    def _isEdited(self, row):
        return bool(row.get("mask_mm2"))

    def _onCell(self, row, _column):
        item = self.ui.sliceTable.item(row, 0)  # wherever the user's sorting has put it
        if item is not None:
            self._jump(int(item.text()))

    def _onChosen(self, order):
        for result in self.logic.results(self.volumeNode):
            if result.order == order:
                self.logic.restoreResult(result)
        while order == 0 and self.logic.canUndo(self.volumeNode):
            self.logic.undo(self.volumeNode)
        self.refresh()
