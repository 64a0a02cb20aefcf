"""3D Slicer module: draw a lesion on a healthy scan, have it painted, compare, heal it again. Research use only."""

import importlib
import sys

import BrainLesionSimLib  # noqa: F401 - first: it finds the packages it shares
import qt
import slicer
import vtk
from BrainCounterfactualLib.editorpanel import EditorPanel
from BrainCounterfactualLib.enginepanel import EnginePanel
from BrainCounterfactualLib.exportpanel import ExportPanel
from BrainCounterfactualLib.results import SYNTHETIC
from BrainLesionSimLib import texts
from BrainLesionSimLib.choicepanel import ChoicePanel
from BrainLesionSimLib.inductionpanel import InductionPanel
from BrainLesionSimLib.lesionpanel import LesionPanel
from BrainLesionSimLib.logic import BrainLesionSimLogic
from BrainLesionSimLib.parameters import BrainLesionSimParameterNode
from BrainLesionSimLib.selftest import BrainLesionSimTest  # noqa: F401 - found here by its name
from BrainLesionSimLib.settings import settingsOf, shapeOf
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleWidget
from slicer.util import VTKObservationMixin

from BrainCounterfactualCommon.annotations import SyntheticWarnings, desktopRender, desktopRenderer
from BrainCounterfactualCommon.host import RESEARCH_USE_ONLY

POLL_MS, FLICKER_MS = 50, 450
PACKAGES = ("BrainLesionSimLib", "BrainCounterfactualLib", "BrainCounterfactualCommon")


class BrainLesionSim(ScriptedLoadableModule):
    """What Slicer knows about the module before it is opened. Nothing heavy happens here."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Brain Lesion Simulator")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Neuroimaging")]
        self.parent.dependencies = ["Segmentations", "Volumes", "Markups"]
        self.parent.contributors = ["The SlicerBrainCounterfactual authors"]
        self.parent.helpText = _(
            "Paint a stroke or a tumor into a brain MRI: draw it, box it, load it or have one made, and a diffusion "
            "model fills it in, with the effects around it (MedEdit, Ben Alaya et al., 2024). Prior, lesion and "
            "diseased scan are shown side by side, the change in two colors; the lesion can be healed again in one "
            "click.<p><b>{notice}</b><p>"
            'See the <a href="https://github.com/SlicerBrainCounterfactual/SlicerBrainCounterfactual">documentation</a>.'
        ).format(notice=RESEARCH_USE_ONLY)
        self.parent.acknowledgementText = _(
            "Method: MedEdit (Ben Alaya, Lang, Wiestler, Schnabel, Bercea: MedEdit: Counterfactual Diffusion-based "
            "Image Editing on Brain MRI, MICCAI SASHIMI workshop, 2024), written from the paper, with corrections. "
            "Healing: Dif-fuse (Fontanella et al., 2024). Weights carry their own licences, shown in the module."
        )


class BrainLesionSimWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel. It holds no state of its own: settings live in the parameter node, inductions in the scene."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.ui = None
        self._parameterNode = None
        self._connections = None
        self._runningButton = None
        self._updating = False

    # --- setup ---------------------------------------------------------------------------------------------

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/BrainLesionSim.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = self.makeLogic()
        self._pollTimer = self._timer(POLL_MS, self.onPoll)
        self.results = InductionPanel(
            self.ui,
            self.logic,
            qt.QTableWidgetItem,
            lambda path: qt.QIcon(qt.QPixmap(path)),
            self._timer(FLICKER_MS, lambda: self.results.onFlickerTick()),
            _chooseFolder,
            self.updateButtons,
        )
        parameters = self.parameters
        self.lesion = LesionPanel(
            self.ui, self.logic, parameters, _chooseLesionFile, self.updateButtons, self.results.sliceInView
        )
        self.engine = EnginePanel(self.ui, self.logic)
        self.warnings = SyntheticWarnings(SYNTHETIC, desktopRenderer, desktopRender)
        self.warnings.start()
        self.editor = EditorPanel(self.ui.segmentEditorFrame, "BrainLesionSim")
        self.choices = ChoicePanel(self.ui, self.logic, parameters, self.onModality)
        self.export = ExportPanel(
            self.ui, self.logic, lambda: self.results.induction, _chooseFolder, self._startOrCancel, self.updateButtons
        )
        for name, slot in (
            ("makeLesionButton", self.onMakeLesion),
            ("applyButton", self.onInduce),
            ("rerollButton", self.onReroll),
            ("roundTripButton", self.onRoundTrip),
            ("healResultButton", self.onHealResult),
        ):
            getattr(self.ui, name).connect("clicked(bool)", lambda _checked, slot=slot: slot())
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndImport)
        self.initializeParameterNode()

    def makeLogic(self):
        """The logic; tests put their own here."""
        return BrainLesionSimLogic()

    def parameters(self):
        """The parameter node, or ``None`` while there is none."""
        return self._parameterNode

    def _timer(self, interval, slot):
        timer = qt.QTimer()
        timer.setInterval(interval)
        timer.connect("timeout()", slot)
        return timer

    # --- life ----------------------------------------------------------------------------------------------

    def cleanup(self):
        """The module is reloaded or Slicer ends."""
        self._pollTimer.stop()
        self.results.stopFlicker()
        self.warnings.stop()
        self.setParameterNode(None)
        self.removeObservers()
        self.editor.close()
        self.logic.close()

    def enter(self):
        self.initializeParameterNode()
        self.editor.enter()
        self.results.comeBack()

    def exit(self):
        self.editor.leave()
        self.results.leave()
        self.setParameterNode(None)

    def onSceneStartClose(self, caller=None, event=None):
        self.editor.edit(None, None)
        self.results.forget()
        self.lesion.forget()
        self.setParameterNode(None)

    def onSceneEndClose(self, caller=None, event=None):
        self.editor.makeNode()
        if self.parent.isEntered:
            self.initializeParameterNode()

    def onSceneEndImport(self, caller=None, event=None):
        """A scene was loaded: its own settings and inductions are shown."""
        if self.parent.isEntered:
            self.setParameterNode(None)
            self.initializeParameterNode()

    def onReload(self):
        """Reload the packages too (developer mode), not the module file alone."""
        for name in [n for n in sys.modules if n.split(".")[0] in PACKAGES]:
            del sys.modules[name]
        importlib.invalidate_caches()
        ScriptedLoadableModuleWidget.onReload(self)

    def initializeParameterNode(self):
        """Follow the scene's parameter node; a first scan is chosen where none is."""
        if self._parameterNode is not None:
            return
        self.setParameterNode(BrainLesionSimParameterNode(self.logic.getParameterNode()))
        if self._parameterNode.inputVolume is None:
            volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
            scans = [n for n in volumes if n.GetAttribute(SYNTHETIC) is None and not n.IsA("vtkMRMLLabelMapVolumeNode")]
            if scans:
                self._parameterNode.inputVolume = scans[0]

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

    # --- what the panel shows ------------------------------------------------------------------------------

    @property
    def volumeNode(self):
        return self._parameterNode.inputVolume if self._parameterNode is not None else None

    def onParameters(self, caller=None, event=None):
        """Everything follows the parameter node."""
        if self._updating:  # what is set below comes back here
            return
        self._updating = True
        try:
            self._followVolume()
            self.results.onParameters()
            self.choices.update()
            self.updateButtons()
        finally:
            self._updating = False

    def _followVolume(self):
        volumeNode = self.volumeNode
        if volumeNode is not self.results.volumeNode:
            self.results.setVolume(volumeNode)
        if volumeNode is None or volumeNode.GetImageData() is None:
            self.editor.edit(None, None)
            return
        seg = self.logic.lesionSegmentation(volumeNode)
        self.editor.edit(seg, volumeNode)
        if not self.hasObserver(seg, slicer.vtkSegmentation.SourceRepresentationModified, self.updateButtons):
            self.addObserver(seg, slicer.vtkSegmentation.SourceRepresentationModified, self.updateButtons)

    def updateButtons(self, caller=None, event=None):
        """Enabled where it can be done; the tooltip says what is missing."""
        busy, p, volumeNode = self.logic.busy, self._parameterNode, self.volumeNode
        hasImage = volumeNode is not None and volumeNode.GetImageData() is not None
        offered = bool(self.logic.kindsFor(volumeNode, p.method)) if hasImage else False
        ml = self.logic.lesionMl(volumeNode) if hasImage else 0.0
        why = texts.missing(volumeNode, busy, offered, ml)
        results = self.logic.results(volumeNode) if hasImage else []
        again = why or ("" if results else _("Induce once first."))
        heal = "" if self.results.induction is not None else _("There is no result to heal.")
        for button, text, tip, reason in (
            (self.ui.makeLesionButton, _("Make a lesion"), _("Replace the lesion by a made one: seconds."), ""),
            (self.ui.applyButton, _("Induce"), _("Paint the lesion into the scan."), why),
            (self.ui.rerollButton, _("Re-roll"), _("The same lesion, painted with a new seed."), again),
            (self.ui.roundTripButton, _("Induce, then heal"), _("Paint the lesion, heal it, and compare."), why),
            (self.ui.healResultButton, _("Heal this result"), _("Heal what was painted, and compare."), heal),
        ):
            if button is self.ui.makeLesionButton:
                reason = texts.missing(volumeNode, busy, offered, ml=1.0)  # that needs none yet
            running = busy and button is self._runningButton
            button.setText(_("Cancel") if running else text)
            button.setEnabled(running or (not busy and not reason))
            button.setToolTip(_("Stop it.") if running else reason or tip)
        self.lesion.update(volumeNode if hasImage else None)
        self.export.update(self._runningButton)
        self.ui.progressBar.setVisible(busy)
        if not busy:
            self.ui.progressLabel.setText("")

    def onModality(self, name):
        if self.volumeNode is not None:
            self.logic.setModality(self.volumeNode, name)
            self.onParameters()

    # --- jobs ----------------------------------------------------------------------------------------------

    def onMakeLesion(self):
        def start(settings, callbacks):
            p = self._parameterNode
            p.condition = "mask"
            self.logic.makeLesion(p.inputVolume, shapeOf(p), dict(settings, seed=p.shapeSeed), callbacks)

        self._startOrCancel(self.ui.makeLesionButton, _("No lesion could be made."), start, self.onMade)

    def onInduce(self):
        self._induce(self.ui.applyButton, self.logic.induce)

    def onReroll(self):
        if not self.logic.busy:
            self._parameterNode.seed = self.logic.nextSeed(self.volumeNode)
        self._induce(self.ui.rerollButton, self.logic.induce)

    def onRoundTrip(self):
        region = self._parameterNode.healRegion
        self._induce(self.ui.roundTripButton, self.logic.induceThenHeal, region=region)

    def _induce(self, button, induce, **more):
        def start(settings, callbacks):
            p = self._parameterNode
            induce(p.inputVolume, settings, callbacks, viewSlice=self.results.sliceInView(), **more)
            if p.preview:
                self.results.setComparing(True)

        self._startOrCancel(button, _("The lesion could not be painted."), start, self.onDone)

    def onHealResult(self):
        induction, region = self.results.induction, self._parameterNode.healRegion

        def start(_settings, callbacks):
            self.logic.roundTrip(induction, callbacks, region)

        self._startOrCancel(self.ui.healResultButton, _("The result could not be healed."), start, self.onDone)

    def _startOrCancel(self, button, message, start, onDone):
        if self.logic.busy:
            self.logic.cancel()
            self.ui.progressLabel.setText(_("Stopping..."))
            return
        with slicer.util.tryWithErrorDisplay(message):
            if not self.engine.ensure():
                return
            self._runningButton = button
            callbacks = {
                "onProgress": self.onProgress,
                "onPreview": self.results.showPreview,
                "onDone": onDone,
                "onError": self.onError,
                "onCancelled": self.onEnd,
            }
            start(settingsOf(self._parameterNode), callbacks)
            self.ui.progressBar.setRange(0, 0)
            self.ui.progressLabel.setText(_("Starting the engine..."))
            self._pollTimer.start()
        self.updateButtons()

    def onPoll(self):
        self.logic.poll()
        if not self.logic.busy and not self.logic.client.busy:
            self._pollTimer.stop()

    def onProgress(self, stage, done, total, secondsLeft):
        self.ui.progressBar.setRange(0, max(int(total), 1))
        self.ui.progressBar.setValue(int(done))
        self.ui.progressLabel.setText(texts.progress(stage, secondsLeft))

    def onMade(self, facts):
        if self._parameterNode is not None:
            self.onParameters()
        told = ", ".join("{}: {}".format(name, value) for name, value in facts.items() if value is not None)
        slicer.util.showStatusMessage(_("A lesion was made: {facts}").format(facts=told), 5000)

    def onDone(self, induction):
        if self._parameterNode is None:  # the user is in another module: the result waits in the scene
            slicer.util.showStatusMessage(_("The result is in the scene: {name}").format(name=induction.node.GetName()))
            return
        self.results.showNew()
        self.onParameters()

    def onEnd(self):
        if self._parameterNode is not None:
            self.results.refresh()
        self.updateButtons()

    def onError(self, error):
        self.onEnd()
        slicer.util.errorDisplay(str(error))


def _chooseFolder():
    return qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), _("Save the result into a folder"))


def _chooseLesionFile():
    pattern = _("Masks") + " (*.nii *.nii.gz *.nrrd *.nhdr *.mha *.mhd)"
    return qt.QFileDialog.getOpenFileName(slicer.util.mainWindow(), _("Lesion file"), "", pattern)
