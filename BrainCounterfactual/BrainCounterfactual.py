"""3D Slicer module: see where a classifier finds a lesion, mark it, heal it, compare. Research use only."""

import importlib
import sys

import BrainCounterfactualLib  # noqa: F401 - first: it finds the shared package
import qt
import slicer
import vtk
from BrainCounterfactualLib import models, texts
from BrainCounterfactualLib.choicepanel import ChoicePanel
from BrainCounterfactualLib.editorpanel import EditorPanel
from BrainCounterfactualLib.enginepanel import EnginePanel
from BrainCounterfactualLib.exportpanel import ExportPanel
from BrainCounterfactualLib.logic import BrainCounterfactualLogic
from BrainCounterfactualLib.maskpanel import MaskPanel
from BrainCounterfactualLib.parameters import BrainCounterfactualParameterNode
from BrainCounterfactualLib.resultpanel import ResultPanel
from BrainCounterfactualLib.results import SYNTHETIC
from BrainCounterfactualLib.samples import registerSampleData
from BrainCounterfactualLib.selftest import BrainCounterfactualTest  # noqa: F401 - found here by its name
from BrainCounterfactualLib.settings import settingsOf
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleWidget
from slicer.util import VTKObservationMixin

from BrainCounterfactualCommon import dependencies, layouts, overlays
from BrainCounterfactualCommon.annotations import SyntheticWarnings, desktopRender, desktopRenderer
from BrainCounterfactualCommon.host import RESEARCH_USE_ONLY, Problem

POLL_MS, FLICKER_MS = 50, 450


class BrainCounterfactual(ScriptedLoadableModule):
    """What Slicer knows about the module before it is opened. Nothing heavy happens here."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Brain Counterfactual")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Neuroimaging")]
        self.parent.dependencies = ["Segmentations", "Volumes", "Markups"]
        self.parent.contributors = ["The SlicerBrainCounterfactual authors"]
        self.parent.helpText = _(
            "Remove a lesion from a brain MRI: a classifier's saliency, your own mask or a box says where, and a "
            "diffusion model trained on lesion-free slices fills in. Original, counterfactual and difference are shown "
            "side by side.<p><b>{notice}</b><p>"
            'See the <a href="https://github.com/SlicerBrainCounterfactual/SlicerBrainCounterfactual">documentation</a>.'
        ).format(notice=RESEARCH_USE_ONLY)
        self.parent.acknowledgementText = _(
            "Methods: Dif-fuse (Fontanella, Mair, Wardlaw, Trucco, Storkey: Diffusion models for counterfactual "
            "generation and anomaly detection in brain images, IEEE Transactions on Medical Imaging, 2024); "
            "ACAT (Fontanella et al., 2023); MedEdit (Ben Alaya et al., 2024). Written from the papers. "
            "Weights carry their own licences, shown in the module."
        )
        if not slicer.app.commandOptions().noMainWindow:
            slicer.app.connect("startupCompleted()", registerSampleData)


class BrainCounterfactualWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel. It holds no state of its own: settings live in the parameter node, results in the scene."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.ui = None
        self._parameterNode = None
        self._connections = None
        self._runningButton = None
        self._updating = False
        self._shownSaliency = None
        self._estimated = None
        self.estimates = not slicer.app.testingEnabled()

    # --- setup ---------------------------------------------------------------------------------------------

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/BrainCounterfactual.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = self.makeLogic()
        self._pollTimer = self._timer(POLL_MS, self.onPoll)
        flickerTimer = self._timer(FLICKER_MS, lambda: self.results.onFlickerTick())
        self.results = ResultPanel(
            self.ui, self.logic, qt.QTableWidgetItem, flickerTimer, _chooseFolder, self.updateButtons
        )
        self.mask = MaskPanel(
            self.ui,
            self.logic,
            lambda: self._parameterNode,
            _chooseMaskFile,
            self.updateButtons,
            self.results.sliceInView,
        )
        self.engine = EnginePanel(self.ui, self.logic)
        self.warnings = SyntheticWarnings(SYNTHETIC, desktopRenderer, desktopRender)
        self.warnings.start()
        self.editor = EditorPanel(self.ui.segmentEditorFrame)
        self.choices = ChoicePanel(self.ui, self.logic, lambda: self._parameterNode, self.onModality)
        self.export = ExportPanel(
            self.ui, self.logic, lambda: self.results.result, _chooseFolder, self._startOrCancel, self.updateButtons
        )
        for name, slot in (
            ("saliencyButton", self.onSaliency),
            ("healSliceButton", lambda: self.onHeal(self.ui.healSliceButton)),
            ("applyButton", lambda: self.onHeal(self.ui.applyButton)),
        ):
            getattr(self.ui, name).connect("clicked(bool)", lambda _checked, slot=slot: slot())
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndImport)
        self.initializeParameterNode()

    def makeLogic(self):
        """The logic; tests put their own here."""
        return BrainCounterfactualLogic()

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
        self.setParameterNode(None)

    def onSceneEndClose(self, caller=None, event=None):
        self.editor.makeNode()
        if self.parent.isEntered:
            self.initializeParameterNode()

    def onSceneEndImport(self, caller=None, event=None):
        """A scene was loaded: its own settings and results are shown."""
        if self.parent.isEntered:
            self.setParameterNode(None)
            self.initializeParameterNode()

    def onReload(self):
        """Reload the packages too (developer mode), not the module file alone."""
        for name in [
            n for n in sys.modules if n.split(".")[0] in ("BrainCounterfactualLib", "BrainCounterfactualCommon")
        ]:
            del sys.modules[name]
        importlib.invalidate_caches()
        ScriptedLoadableModuleWidget.onReload(self)

    def initializeParameterNode(self):
        """Follow the scene's parameter node; a first scan is chosen where none is."""
        if self._parameterNode is not None:
            return
        self.setParameterNode(BrainCounterfactualParameterNode(self.logic.getParameterNode()))
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
            self._styleSaliency()
            self.choices.update()
            self.updateButtons()
            self._askForEstimate()
        finally:
            self._updating = False

    def _followVolume(self):
        volumeNode = self.volumeNode
        if volumeNode is not self.results.volumeNode:
            self.results.setVolume(volumeNode)
        if volumeNode is None or volumeNode.GetImageData() is None:
            self.editor.edit(None, None)
            return
        seg = self.logic.maskSegmentation(volumeNode)
        if self._parameterNode.maskSegmentation is not seg:
            self._parameterNode.maskSegmentation = seg
        self.editor.edit(seg, volumeNode)
        if not self.hasObserver(seg, slicer.vtkSegmentation.SourceRepresentationModified, self.updateButtons):
            self.addObserver(seg, slicer.vtkSegmentation.SourceRepresentationModified, self.updateButtons)

    def _methodTakesMask(self):
        """Whether the chosen method heals inside a mask; others find their region themselves."""
        method = models.methodNamed(self.logic.methods(), self._parameterNode.method)
        return method is None or method["masked"]

    def updateButtons(self, caller=None, event=None):
        """Enabled where it can be done; the tooltip says what is missing."""
        busy = self.logic.busy
        p, volumeNode = self._parameterNode, self.volumeNode
        hasImage = volumeNode is not None and volumeNode.GetImageData() is not None
        wantsMask = p is not None and p.useMask and self._methodTakesMask()
        empty = hasImage and wantsMask and self.logic.maskIsEmpty(volumeNode)
        reason = texts.missing(volumeNode, busy, wantsMask, empty)
        for button, text, tip in (
            (self.ui.applyButton, _("Heal volume"), _("Heal all slices.")),
            (self.ui.healSliceButton, _("Heal this slice"), _("Heal the axial slice in view: seconds.")),
            (self.ui.saliencyButton, _("Show saliency"), _("Compute where the lesion classifier looks.")),
        ):
            running = busy and button is self._runningButton
            needsMask = button is not self.ui.saliencyButton
            why = reason if needsMask else texts.missing(volumeNode, busy, False, False)
            button.setText(_("Cancel") if running else text)
            button.setEnabled(running or (not busy and not why))
            button.setToolTip(_("Stop it.") if running else why or tip)
        self.mask.update(volumeNode if hasImage else None)
        self.export.update(self._runningButton)
        self.ui.progressBar.setVisible(busy)
        if not busy:
            self.ui.progressLabel.setText("")

    def _styleSaliency(self):
        p = self._parameterNode
        saliency = self.logic.saliency(p.inputVolume) if p is not None and p.inputVolume is not None else None
        if saliency is None:
            return
        wanted = (saliency.saliencyNode.GetID(), p.saliencyVisible, p.saliencyOpacity, p.saliencyThreshold)
        if wanted == self._shownSaliency:  # the user may have put something else into his views meanwhile
            return
        self._shownSaliency = wanted
        overlays.style(saliency.saliencyNode, overlays.HEAT, 0.0, 1.0, threshold=max(p.saliencyThreshold, 1e-3))
        for tag in ("Red", "Green", "Yellow", layouts.ORIGINAL):
            layouts.showOverlay(tag, p.inputVolume, saliency.saliencyNode, p.saliencyVisible, p.saliencyOpacity)

    def _askForEstimate(self):
        """How long it will take and on what, told before it is started."""
        p = self._parameterNode
        ready = self.estimates and not self.logic.busy and self.volumeNode is not None and dependencies.satisfied()
        if not ready or self.volumeNode.GetImageData() is None:
            return
        wanted = (
            self.volumeNode.GetID(), p.method, p.steps, p.noiseLevel, p.samples, p.device, p.modelName, p.useMask
        )  # fmt: skip
        if wanted == self._estimated:
            return
        self._estimated = wanted
        with slicer.util.tryWithErrorDisplay(show=False):
            settings = settingsOf(p)
            self.logic.estimate(
                self.volumeNode, settings, self.onEstimate, self.onNoEstimate, withSaliency=not p.useMask
            )
            self._pollTimer.start()

    def onEstimate(self, told):
        self.ui.estimateLabel.setText(texts.estimate(told))
        self.choices.update()  # by now the worker has told its devices

    def onNoEstimate(self, error):
        self.ui.estimateLabel.setText(str(error))

    def onModality(self, name):
        if self.volumeNode is not None:
            self.logic.setModality(self.volumeNode, name)
            self.onParameters()

    # --- jobs ----------------------------------------------------------------------------------------------

    def onSaliency(self):
        self._startOrCancel(
            self.ui.saliencyButton,
            _("The saliency could not be computed."),
            lambda settings, callbacks: self.logic.computeSaliency(self.volumeNode, settings, callbacks),
        )

    def onHeal(self, button):
        oneSlice = button is self.ui.healSliceButton

        def start(settings, callbacks):
            p, index = self._parameterNode, self.results.sliceInView()
            if oneSlice and index is None:
                raise Problem(
                    "NoSliceError",
                    _("The view does not show the scan."),
                    _("Its slice lies outside."),
                    _("Scroll into the scan, or heal the volume."),
                )
            mask = p.maskSegmentation if p.useMask and self._methodTakesMask() else None
            chosen = index if oneSlice else None
            self.logic.heal(self.volumeNode, settings, callbacks, maskNode=mask, sliceIndex=chosen, viewSlice=index)
            if p.preview:
                self.results.setComparing(True)

        self._startOrCancel(button, _("The scan could not be healed."), start)

    def _startOrCancel(self, button, message, start, onDone=None):
        if self.logic.busy:
            self.logic.cancel()
            self.ui.progressLabel.setText(_("Stopping..."))
            return
        with slicer.util.tryWithErrorDisplay(message):
            if not self.engine.ensure():
                return
            self._runningButton = button
            start(settingsOf(self._parameterNode), self._callbacks(onDone or self.onDone))
            self.ui.progressBar.setRange(0, 0)
            self.ui.progressLabel.setText(_("Starting the engine..."))
            self._pollTimer.start()
        self.updateButtons()

    def _callbacks(self, onDone):
        return {
            "onProgress": self.onProgress,
            "onPreview": self.results.showPreview,
            "onDone": onDone,
            "onError": self.onError,
            "onCancelled": self.onCancelled,
        }

    def onPoll(self):
        self.logic.poll()
        if not self.logic.busy and not self.logic.client.busy:
            self._pollTimer.stop()

    def onProgress(self, stage, done, total, secondsLeft):
        self.ui.progressBar.setRange(0, max(int(total), 1))
        self.ui.progressBar.setValue(int(done))
        self.ui.progressLabel.setText(texts.progress(stage, secondsLeft))

    def onDone(self, result):
        if self._parameterNode is None:  # the user is in another module: the result waits in the scene
            slicer.util.showStatusMessage(_("The result is in the scene: {name}").format(name=result.node.GetName()))
            return
        if result.counterfactualNode is not None:
            self.results.showNew()
        else:
            self._parameterNode.saliencyVisible = True
            self.results.refresh()
        self.onParameters()
        if result.warnings:
            self.ui.estimateLabel.setText("\n".join(result.warnings))

    def onCancelled(self):
        self.results.refresh()
        self.updateButtons()

    def onError(self, error):
        if self._parameterNode is not None:
            self.results.refresh()
        self.updateButtons()
        slicer.util.errorDisplay(str(error))


def _chooseFolder():
    return qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), _("Save the result into a folder"))


def _chooseMaskFile():
    pattern = _("Masks") + " (*.nii *.nii.gz *.nrrd *.nhdr *.mha *.mhd)"
    return qt.QFileDialog.getOpenFileName(slicer.util.mainWindow(), _("Mask file"), "", pattern)
