"""The result section of a panel: history, compare views, flicker, saving. Needs no Qt of its own."""

import slicer

from BrainCounterfactualCommon.host import tr as _
from BrainCounterfactualCommon.panels.bindings import onClicks
from BrainCounterfactualCommon.scene import layouts, volumes

DISPLAY_ROLE = 0  # Qt.DisplayRole: numbers are sorted as numbers


class ResultPanelBase:
    """Shows the results of a scan.

    A subclass says how they are listed and described (:meth:`_fill`), which layouts are its own (``ownLayouts``), which
    of its views says what slice is meant (``mainView``), which are kept free of the box
    (``covered``), and which parameter is the opacity of the difference (``opacity``).

    Args:
        ui: the panel's widgets by name.
        logic: the module's.
        comparison: the module's, a :class:`BrainCounterfactualCommon.scene.comparison.ComparisonBase`.
        makeItem: ``() -> item`` of a table.
        flickerTimer: calls :meth:`onFlickerTick` while it is started.
        chooseFolder: ``() -> path`` or an empty text.
        onRefreshed: called when another result, or none, may be in view.
        later: ``(function)``: call it when views that are being built have their size.
    """

    mainView = ""
    ownLayouts = ()
    covered = ()
    opacity = ""

    def __init__(self, ui, logic, comparison, makeItem, flickerTimer, chooseFolder, onRefreshed, later):
        self.ui = ui
        self.logic = logic
        self.comparison = comparison
        self.layoutSwitch = layouts.LayoutSwitch()
        self.volumeNode = None
        self._parameters = None
        self._makeItem = makeItem
        self._timer = flickerTimer
        self._chooseFolder = chooseFolder
        self._onRefreshed = onRefreshed
        self._later = later
        onClicks(
            (ui.undoButton, self.undo),
            (ui.redoButton, self.redo),
            (ui.removeResultButton, self.remove),
            (ui.saveButton, self.save),
        )
        ui.compareButton.connect("toggled(bool)", self.setComparing)
        ui.flickerButton.connect("toggled(bool)", self._onFlickerToggled)
        self.followLayout()

    # --- what a module's own panel says ---

    def _fill(self, found, result):
        """List the results ``found``, and describe the one in view (or ``None``)."""
        raise NotImplementedError

    def _isEdited(self, row):
        """Whether a slice of a result was changed."""
        return True

    # --- what is shown ---

    @property
    def result(self):
        """The result in view, or ``None``."""
        return self.logic.currentResult(self.volumeNode) if self.volumeNode is not None else None

    @property
    def viewTag(self):
        """The view that says which slice is meant."""
        return self.mainView if self.layoutSwitch.isOurs else "Red"

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

    def followLayout(self):
        """The button says what is shown: a layout of ours may come with a scene, or be there before the panel."""
        self._press(self.layoutSwitch.shows(self.ownLayouts))

    def _press(self, comparing):
        wasBlocked = self.ui.compareButton.blockSignals(True)
        self.ui.compareButton.setChecked(comparing)
        self.ui.compareButton.blockSignals(wasBlocked)

    def onParameters(self):
        """Fade, opacity, contours and surfaces as the parameters say."""
        if self._parameters is None:
            return
        self.comparison.setFade(self._parameters.fade)
        self.comparison.setDifferenceOpacity(getattr(self._parameters, self.opacity))
        self.comparison.showContours(self._parameters.showContours)
        if self.comparison.surfaces != self._parameters.showSurfaces:
            self.comparison.showSurfaces(self._parameters.showSurfaces)
            if self.ui.compareButton.checked and self.volumeNode is not None:
                self._showInViews()  # another layout

    def refresh(self):
        """Everything as the scene says."""
        ui, volumeNode = self.ui, self.volumeNode
        found = self.logic.results(volumeNode) if volumeNode is not None else []
        result = self.result
        ui.undoButton.setEnabled(bool(found) and self.logic.canUndo(volumeNode))
        ui.redoButton.setEnabled(bool(found) and self.logic.canRedo(volumeNode))
        for widget in (ui.removeResultButton, ui.saveButton, ui.flickerButton, ui.fadeSlider):
            widget.setEnabled(result is not None)
        ui.compareButton.setEnabled(bool(found))
        self._fill(found, result)
        if ui.compareButton.checked and volumeNode is not None:
            self._showInViews()
        self._onRefreshed()

    def _fillTable(self, table, columns, rows):
        """Texts and numbers; what the user has sorted by stays."""
        table.setSortingEnabled(False)  # rows would change places while they are filled
        table.setColumnCount(len(columns))
        table.setHorizontalHeaderLabels(columns)
        table.setRowCount(len(rows))
        for r, row in enumerate(rows):
            for c, value in enumerate(row):
                item = self._makeItem()
                item.setData(DISPLAY_ROLE, value)
                table.setItem(r, c, item)

    # --- views ---

    def setComparing(self, comparing):
        """Go to the compare layout, or back to the user's own."""
        if self.ui.compareButton.checked != comparing:
            self.ui.compareButton.setChecked(comparing)  # comes back here
            return
        if comparing and self.volumeNode is not None:
            index = self.sliceInView()
            self._showInViews()
            self._jump(self._largestSlice() if index is None else index)
        else:
            self.stopFlicker()
            self.comparison.show(self.volumeNode, None)
            self.layoutSwitch.restore()

    def _showInViews(self):
        before = self.comparison.tags if self.layoutSwitch.shows(self.ownLayouts) else ()
        self.layoutSwitch.showLayout(self.comparison.layoutOf(self.result))
        self.comparison.show(self.volumeNode, self.result)
        if self._parameters is not None:
            layouts.hideFromViews(self._parameters.boxRoi, self.comparison.tags)
        self.onParameters()
        if self.comparison.tags != before:
            layouts.alignWithVolume(self.comparison.tags, self.volumeNode)
            self._later(self._fit)

    def _fit(self):
        """The views have their size now."""
        if self.volumeNode is None or not self.layoutSwitch.shows(self.ownLayouts):  # left meanwhile
            return
        index = self.sliceInView()
        layouts.fitToBackground(self.comparison.tags)
        layouts.fitSurfaces()
        self._jump(index)
        self.comparison.showLegends()

    def showPreview(self):
        """The state of the job under way."""
        if self.layoutSwitch.isOurs and self.logic.previewNode is not None:
            self.comparison.showPreview(self.volumeNode, self.logic.previewNode)

    def sliceInView(self):
        """Axial slice index of the scan that the main view shows, or ``None``."""
        node = layouts.sliceNode(self.viewTag)
        return volumes.sliceIndexOfView(self.volumeNode, node) if node is not None else None

    def _largestSlice(self):
        rows = self.result.slices if self.result else []
        largest = max(rows, key=lambda row: row.get("lesion_mm2") or 0, default=None)
        return largest["index"] if largest else None

    def _jump(self, index):
        if index is not None:
            layouts.jumpToSlice(self.volumeNode, index)

    # --- history ---

    def showNew(self):
        """A job has just made a result: compare it, at its largest lesion unless the slice in view was changed too."""
        self.refresh()
        self.setComparing(True)
        edited = {row["index"] for row in self.result.slices if self._isEdited(row)} if self.result else set()
        if self.sliceInView() not in edited:
            self._jump(self._largestSlice())

    def undo(self):
        if self.volumeNode is not None:
            self.logic.undo(self.volumeNode)
        self.refresh()

    def redo(self):
        if self.volumeNode is not None:
            self.logic.redo(self.volumeNode)
        self.refresh()

    def remove(self):
        with slicer.util.tryWithErrorDisplay(_("Failed to delete the result.")):
            result = self.result
            self.comparison.show(self.volumeNode, None)
            if result is not None:
                self.logic.removeResult(result)
            self.refresh()

    def save(self):
        with slicer.util.tryWithErrorDisplay(_("Failed to save the result.")):
            folder = self._chooseFolder()
            if folder and self.result is not None:
                paths = self.logic.saveResult(self.result, folder)
                self.ui.progressLabel.setText(_("{n} files saved in {folder}.").format(n=len(paths), folder=folder))

    # --- flicker ---

    def _onFlickerToggled(self, on):
        if on and self.result is not None:
            self.setComparing(True)
            self._timer.start()
        else:
            self._timer.stop()
            self.onParameters()

    def onFlickerTick(self):
        """Swap scan and result."""
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
        self._press(False)
        self.layoutSwitch.restore()
        self.volumeNode = self._parameters = None
        self.comparison.forget()
        self.refresh()
