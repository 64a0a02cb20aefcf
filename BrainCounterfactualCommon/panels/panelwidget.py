"""Base of the widgets whose jobs make results: the life of the panel, the parameter node, jobs. Desktop Slicer only."""

import slicer
import vtk

from BrainCounterfactualCommon.host import tr as _
from BrainCounterfactualCommon.panels import texts
from BrainCounterfactualCommon.panels.editorpanel import EditorPanel
from BrainCounterfactualCommon.panels.enginepanel import EnginePanel
from BrainCounterfactualCommon.panels.exportpanel import ExportPanel
from BrainCounterfactualCommon.panels.modulewidget import ModuleWidget
from BrainCounterfactualCommon.scene import overlays, startup, volumes
from BrainCounterfactualCommon.scene.results import isSynthetic
from BrainCounterfactualCommon.worker import dependencies

POLL_MS, FLICKER_MS = 50, 450
FLICKER_KEY = "Ctrl+Shift+F"
OWN_DOING = ("SceneClosedError", "ScanRemovedError")
"""Ends of a job that the user brought about himself."""


class PanelWidget(ModuleWidget):
    """The panel of a module whose jobs make results. Settings live in the parameter node, results in the scene.

    A subclass makes its logic, parameter node and panels, says what its buttons do and when, and may do more where the
    methods below are called.
    """

    ParameterNode = None
    """The class of the parameter node."""
    drawingSections = ()
    """Names of the sections in which is said where."""

    def __init__(self, qt, parent=None):
        ModuleWidget.__init__(self, qt, parent)
        self._parameterNode = None
        self._connections = None
        self._runningButton = None
        self._updating = False
        self._notedFile = None
        self.asksUnasked = not slicer.app.testingEnabled()
        self.later = startup.laterBy(qt)

    # --- what a module's own panel is made of ---------------------------------------------------------------

    def makeLogic(self):
        """The logic; tests put their own here."""
        raise NotImplementedError

    def makePanels(self, flickerTimer, saveInto):
        """Make the panels ``results``, ``choices`` and what else there is, and connect the buttons.

        Args:
            saveInto: ``() -> path`` of the folder for a result, or an empty text.
        """
        raise NotImplementedError

    def settings(self):
        """Settings of a job, from the parameter node."""
        raise NotImplementedError

    def segmentation(self, volumeNode):
        """The segmentation that is drawn on a scan."""
        raise NotImplementedError

    def updateButtons(self, caller=None, event=None):
        """Enabled where it can be done; the tooltip says what is missing."""
        self.export.update(self._runningButton)
        self.ui.progressBar.setVisible(self.logic.busy)

    # --- setup ---------------------------------------------------------------------------------------------

    def setup(self):
        uiWidget = self.loadUi()
        self.logic = self.makeLogic()
        self._flickerKey = self._qt.QShortcut(slicer.util.mainWindow() or uiWidget)
        self._flickerKey.setKey(self._qt.QKeySequence(FLICKER_KEY))
        self._flickerKey.setEnabled(False)
        self._flickerKey.connect("activated()", lambda: self.ui.flickerButton.click())
        self.ui.flickerButton.setToolTip("{} ({})".format(self.ui.flickerButton.toolTip, FLICKER_KEY))
        self._pollTimer = self._timer(POLL_MS, self.onPoll)

        def saveInto():
            return self.chooseFolder(_("Save the result into a folder"))

        self.makePanels(self._timer(FLICKER_MS, lambda: self.results.onFlickerTick()), saveInto)
        self.engine = EnginePanel(self.ui, self.logic)
        startup.begin(self._qt)  # where Slicer was started without waiting for its modules, as in tests
        self.editor = EditorPanel(self.ui.segmentEditorFrame, self.ui.allToolsCheckBox, self.moduleName)
        self.export = ExportPanel(
            self.ui, self.logic, lambda: self.results.result, saveInto, self._startOrCancel, self.updateButtons
        )
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndImport)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.NodeAddedEvent, self.onNodeAdded)
        self.ui.licenceLabel.connect("linkActivated(QString)", lambda _link: self.choices.showLicence())
        self.initializeParameterNode()

    def _timer(self, interval, slot):
        timer = self._qt.QTimer()
        timer.setInterval(interval)
        timer.connect("timeout()", slot)
        return timer

    def chooseMaskFile(self, title):
        """A mask file's path, or an empty text."""
        pattern = _("Masks") + " (*.nii *.nii.gz *.nrrd *.nhdr *.mha *.mhd)"
        return self._qt.QFileDialog.getOpenFileName(slicer.util.mainWindow(), title, "", pattern)

    # --- life ----------------------------------------------------------------------------------------------

    def cleanup(self):
        """The module is reloaded or Slicer ends."""
        self._pollTimer.stop()
        self._flickerKey.setEnabled(False)
        self.results.stopFlicker()
        self.setParameterNode(None)
        self.removeObservers()
        self.editor.close()
        self.logic.close()

    def enter(self):
        self.initializeParameterNode()
        self.editor.enter()
        self._flickerKey.setEnabled(True)
        self.results.comeBack()

    def exit(self):
        self.editor.leave()
        self._flickerKey.setEnabled(False)
        self.results.leave()
        self.setParameterNode(None)

    def onSceneStartClose(self, caller=None, event=None):
        self.editor.edit(None, None)
        self.setParameterNode(None)
        self.results.forget()

    def onSceneEndClose(self, caller=None, event=None):
        self.editor.makeNode()
        self.results.followLayout()
        if self.parent.isEntered:
            self.initializeParameterNode()

    def onSceneEndImport(self, caller=None, event=None):
        """A scene was loaded: its own settings and results are shown."""
        self.editor.makeNode()
        self.results.followLayout()
        if self.parent.isEntered:
            self.setParameterNode(None)
            self.initializeParameterNode()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeAdded(self, caller, event, node):
        """A scan that is loaded while none is chosen is offered; it has no voxels yet."""
        if node.IsA("vtkMRMLScalarVolumeNode") and not slicer.mrmlScene.IsBatchProcessing():
            self.later(self._offerScan)

    def _offerScan(self):
        if self._parameterNode is not None and self._parameterNode.inputVolume is None:
            self._chooseFirst()

    # --- the parameter node --------------------------------------------------------------------------------

    def parameters(self):
        """The parameter node, or ``None`` while there is none."""
        return self._parameterNode

    def initializeParameterNode(self):
        """Follow the scene's parameter node; a first scan is chosen where none is."""
        if self._parameterNode is not None:
            return
        self.setParameterNode(self.ParameterNode(self.logic.getParameterNode()))
        if self._parameterNode.inputVolume is None:
            self._chooseFirst()

    def _chooseFirst(self):
        volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        scans = [n for n in volumes if not isSynthetic(n) and not n.IsA("vtkMRMLLabelMapVolumeNode")]
        if scans:
            self._parameterNode.inputVolume = scans[0]

    def chooseScan(self, volumeNode):
        """Take this scan, as from the menu of a right click."""
        self.initializeParameterNode()
        self._parameterNode.inputVolume = volumeNode

    def setParameterNode(self, parameterNode):
        if self._parameterNode is not None:
            self._parameterNode.disconnectGui(self._connections)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParameters)
        self._parameterNode = parameterNode
        self.results.setParameters(parameterNode)
        if parameterNode is not None:
            self._connections = parameterNode.connectGui(self.ui)
            self.addObserver(parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParameters)
        self.onParameters()

    @property
    def volumeNode(self):
        return self._parameterNode.inputVolume if self._parameterNode is not None else None

    @property
    def hasImage(self):
        """Whether a scan with voxels is chosen."""
        return self.volumeNode is not None and self.volumeNode.GetImageData() is not None

    def onParameters(self, caller=None, event=None):
        """Everything follows the parameter node."""
        if self._updating:  # what is set below comes back here
            return
        self._updating = True
        try:
            self.follow()
        finally:
            self._updating = False

    def follow(self):
        """Show everything as parameters and scan say."""
        volumeNode = self.volumeNode
        if volumeNode is not self.results.volumeNode:
            if volumeNode is None and self._parameterNode is not None:  # the scan was removed
                self.results.setComparing(False)
            self.results.setVolume(volumeNode)
        seg = self.segmentation(volumeNode) if self.hasImage else None
        self.editor.edit(seg, volumeNode if self.hasImage else None)
        changed = slicer.vtkSegmentation.SourceRepresentationModified
        if seg is not None and not self.hasObserver(seg, changed, self.updateButtons):
            self.addObserver(seg, changed, self.updateButtons)
        self.results.onParameters()
        self.choices.update()
        self._askForNotes()
        self._offerScansOnly()
        self.updateButtons()

    def _offerScansOnly(self):
        """Maps that were made are looked at in the views, and are no choice for a scan."""
        found = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        self.ui.inputSelector.sortFilterProxyModel().hiddenNodeIDs = [
            node.GetID() for node in found if overlays.isMap(node)
        ]

    def _askForNotes(self):
        """What had to be assumed to read the scan stands below it, as long as it is chosen."""
        scan = self.volumeNode if self.hasImage else None
        path = volumes.fileOf(scan) if scan is not None else None
        if path == self._notedFile:
            return
        self._notedFile = None
        self._showNotes([])
        if path is None or not (self.asksUnasked and dependencies.satisfied()):
            return
        self._notedFile = path
        with slicer.util.tryWithErrorDisplay(show=False):
            self.logic.readingNotes(scan, lambda notes: self._notedFile == path and self._showNotes(notes))
            self._pollTimer.start()

    def _showNotes(self, notes):
        self.ui.notesLabel.setText("\n".join(notes))
        self.ui.notesLabel.setVisible(bool(notes))

    def onModality(self, name):
        if self.volumeNode is not None:
            self.logic.setModality(self.volumeNode, name)
            self.onParameters()

    # --- jobs ----------------------------------------------------------------------------------------------

    def _startOrCancel(self, button, message, start, onDone=None):
        """Cancel the job under way, or start one: ``start(settings, callbacks)``; its errors begin with the message."""
        if self.logic.busy:
            self.logic.cancel()
            self.say(_("Stopping..."))
            return
        with slicer.util.tryWithErrorDisplay(message):
            if not self.engine.ensure():
                return
            self._runningButton = button
            callbacks = {
                "onProgress": self.onProgress,
                "onPreview": self.results.showPreview,
                "onDone": onDone or self.onDone,
                "onError": self.onError,
                "onCancelled": self.onEnd,
            }
            wasRunning = self.logic.client.isRunning()
            start(self.settings(), callbacks)
            self.ui.progressBar.setRange(0, 0)
            self.say("" if wasRunning else _("Starting the engine..."))
            self._pollTimer.start()
        self.updateButtons()

    def onPoll(self):
        self.logic.poll()
        if not self.logic.busy and not self.logic.client.busy:
            self._pollTimer.stop()

    def onProgress(self, stage, done, total, secondsLeft):
        self.ui.progressBar.setRange(0, max(int(total), 1))
        self.ui.progressBar.setValue(int(done))
        self.say(texts.progress(stage, secondsLeft))

    def say(self, words):
        """Tell something beside the buttons, where one looks."""
        self.ui.progressLabel.setText(words)

    def keepUndo(self):
        """Before a button changes what is drawn."""
        self.editor.keepUndo()

    def onDone(self, result):
        self.say("")
        overlays.markDisplay(result.node)
        if self._parameterNode is None:  # the user is in another module: the result waits in the scene
            slicer.util.showStatusMessage(_("The result is in the scene: {name}").format(name=result.node.GetName()))
            return
        self.showNew(result)
        self.onParameters()
        self.foldAway()

    def showNew(self, result):
        """A job has just made this."""
        self.results.showNew()

    def foldAway(self):
        """What is done folds away, and the results unfold; the user may open everything again."""
        for name in self.stepsOf(self.results.result):
            getattr(self.ui, name).collapsed = True
        self.ui.resultSection.collapsed = self.results.result is None

    def stepsOf(self, result):
        """Names of the sections that are done when there is this result."""
        return ("scanSection", *self.drawingSections) if result is not None else ()

    def onEnd(self):
        """A job has ended without a result."""
        self.say("")
        if self._parameterNode is not None:
            self.results.refresh()
        self.updateButtons()

    def onError(self, error):
        if error.className in OWN_DOING:  # in the middle of a removal: no dialog, and nothing is touched
            self.later(self.onEnd)
            self.later(lambda: slicer.util.showStatusMessage(error.what, 5000))
            return
        self.onEnd()
        slicer.util.errorDisplay(str(error))
