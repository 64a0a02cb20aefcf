"""The result section of the panel: thumbnails, effects, what is kept. Needs no Qt of its own."""

import os
import shutil
import tempfile

import slicer

from BrainCounterfactualCommon.host import tr as _
from BrainCounterfactualCommon.panels.bindings import onClicks
from BrainCounterfactualCommon.panels.resultpanel import ResultPanelBase
from BrainCounterfactualCommon.scene import layouts, volumes
from BrainLesionSimLib import drawing, texts
from BrainLesionSimLib.comparison import COVERED, Comparison


class InductionPanel(ResultPanelBase):
    """Shows the inductions of a scan; see the base class for the other arguments.

    Args:
        makeIcon: ``(path of a PNG) -> icon`` of the strip.
    """

    mainView = layouts.PRIOR
    ownLayouts = (
        layouts.LESION_LAYOUT, layouts.LESION_GRID_LAYOUT, layouts.LESION_3D_LAYOUT, layouts.ROUND_TRIP_LAYOUT
    )  # fmt: skip
    covered = COVERED
    opacity = "changeOpacity"

    def __init__(self, ui, logic, makeIcon, *arguments):
        ResultPanelBase.__init__(self, ui, logic, Comparison(), *arguments)
        self._makeIcon = makeIcon
        self._strip = []
        ui.resultStrip.connect("currentRowChanged(int)", self._onChosen)
        onClicks((ui.keepButton, self.keep), (ui.removeOthersButton, self.removeOthers))

    def _fill(self, found, induction):
        ui = self.ui
        self._fillStrip(found, induction)
        ui.keepButton.setEnabled(induction is not None)
        ui.keepButton.setChecked(induction is not None and induction.kept)
        ui.removeOthersButton.setEnabled(any(one.kept for one in found) and not all(one.kept for one in found))
        ui.summaryLabel.setText(texts.summary(induction) if found else "")
        ui.roundTripLabel.setText(texts.roundTrip(induction.roundTrip) if induction else "")
        self._fillTable(ui.effectsTable, texts.effectColumns(), texts.effectRows(induction))
        ui.effectsTable.resizeColumnsToContents()

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

    def _isEdited(self, row):
        """A slice that holds only margin shows nothing of the lesion."""
        return bool(row.get("lesion_mm2"))

    def showDrawn(self):
        """The slice that holds most of the lesion as drawn comes into view."""
        areas = drawing.lesionArray(self.volumeNode).sum(volumes.planeAxes(self.volumeNode))
        if areas.any():
            self._jump(int(areas.argmax()))

    def keep(self):
        if self.result is not None:
            self.result.kept = not self.result.kept
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
