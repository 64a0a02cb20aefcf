"""3D Slicer module: see where a classifier finds a lesion, mark it, heal it, compare. Research use only."""

import os

import BrainCounterfactualLib  # first: it finds the shared package
import qt
import slicer
from BrainCounterfactualLib import texts
from BrainCounterfactualLib.choicepanel import ChoicePanel
from BrainCounterfactualLib.logic import BrainCounterfactualLogic
from BrainCounterfactualLib.maskpanel import MaskPanel
from BrainCounterfactualLib.parameters import BrainCounterfactualParameterNode
from BrainCounterfactualLib.resultpanel import ResultPanel
from BrainCounterfactualLib.saliency import Saliency
from BrainCounterfactualLib.samples import registerSampleData
from BrainCounterfactualLib.selftest import BrainCounterfactualTest  # noqa: F401 - found here by its name
from BrainCounterfactualLib.settings import settingsOf
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import ScriptedLoadableModule

from BrainCounterfactualCommon.host import RESEARCH_USE_ONLY, Problem
from BrainCounterfactualCommon.panels import droptarget, volumemenu
from BrainCounterfactualCommon.panels.bindings import showJobButton
from BrainCounterfactualCommon.panels.panelwidget import PanelWidget
from BrainCounterfactualCommon.scene import layouts, overlays, startup
from BrainCounterfactualCommon.worker import dependencies, models

MENU_PLUGIN = "HealSubjectHierarchyPlugin.py"


class BrainCounterfactual(ScriptedLoadableModule):
    """What Slicer knows about the module before it is opened. Nothing heavy happens here."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Brain Counterfactual")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Neuroimaging")]
        self.parent.dependencies = ["Segmentations", "SubjectHierarchy", "Volumes", "Markups"]
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
        startup.atStartup(qt, registerSampleData)

    def setup(self):
        volumemenu.register(os.path.join(os.path.dirname(BrainCounterfactualLib.__file__), MENU_PLUGIN))


class BrainCounterfactualWidget(PanelWidget):
    """The panel. It holds no state of its own: settings live in the parameter node, results in the scene."""

    ParameterNode = BrainCounterfactualParameterNode
    drawingSections = ("saliencySection", "maskSection")

    def __init__(self, parent=None):
        PanelWidget.__init__(self, qt, parent)
        self._shownSaliency = None
        self._estimated = None
        self._oneSlice = None
        self._wrongContrast = ""

    def makeLogic(self):
        return BrainCounterfactualLogic()

    def makePanels(self, flickerTimer, saveInto):
        self.results = ResultPanel(
            self.ui, self.logic, qt.QPixmap, qt.QTableWidgetItem, flickerTimer, saveInto, self.updateButtons, self.later
        )
        self.mask = MaskPanel(
            self.ui,
            self.logic,
            self.parameters,
            lambda: self.chooseMaskFile(_("Mask file")),
            self.updateButtons,
            self.results.sliceInView,
            self.keepUndo,
        )
        self.choices = ChoicePanel(self.ui, self.logic, self.parameters, self.onModality)
        self._drop = droptarget.takeMasks(qt, self.ui.maskSection, self.mask.fromNode)
        self.connectButtons(
            {
                "saliencyButton": self.onSaliency,
                "healSliceButton": lambda: self.onHeal(self.ui.healSliceButton),
                "applyButton": lambda: self.onHeal(self.ui.applyButton),
            }
        )

    def onSceneStartClose(self, caller=None, event=None):
        self._estimated = self._shownSaliency = None
        self.ui.estimateLabel.setText("")
        PanelWidget.onSceneStartClose(self)

    # --- what the panel shows ------------------------------------------------------------------------------

    def settings(self):
        return settingsOf(self._parameterNode)

    def segmentation(self, volumeNode):
        seg = self.logic.maskSegmentation(volumeNode)
        if self._parameterNode.maskSegmentation is not seg:
            self._parameterNode.maskSegmentation = seg
        return seg

    def follow(self):
        PanelWidget.follow(self)
        self._styleSaliency()
        self._askForEstimate()

    def _methodTakesMask(self):
        """Whether the chosen method heals inside a mask; others find their region themselves."""
        method = models.methodNamed(self.logic.methods(), self._parameterNode.method)
        return method is None or method["masked"]

    def updateButtons(self, caller=None, event=None):
        p, volumeNode, busy = self._parameterNode, self.volumeNode, self.logic.busy
        wantsMask = p is not None and p.useMask and self._methodTakesMask()
        empty = self.hasImage and wantsMask and self.logic.maskIsEmpty(volumeNode)
        reason = texts.missing(volumeNode, busy, wantsMask, empty)
        withoutMask = texts.missing(volumeNode, busy, False, False)
        wasWrong, self._wrongContrast = self._wrongContrast, ""
        if self.hasImage and not busy:
            problem = self.logic.modalityProblem(volumeNode, self.settings())
            self._wrongContrast = str(problem) if problem is not None else ""
            reason = self._wrongContrast or reason
            looking = self.logic.saliencyProblem(volumeNode, self.settings())
            withoutMask = str(looking) if looking is not None else withoutMask
        if self._wrongContrast:  # said at the button, and no estimate of what cannot be started
            self.ui.estimateLabel.setText(self._wrongContrast)
            self._estimated = None
        elif wasWrong:
            self.ui.estimateLabel.setText("")
        ui = self.ui
        for button, text, tip, why in (
            (ui.applyButton, _("Heal volume"), _("Heal all slices."), reason),
            (ui.healSliceButton, _("Heal this slice"), _("Heal the axial slice in view: seconds."), reason),
            (ui.saliencyButton, _("Show saliency"), _("Compute where the lesion classifier looks."), withoutMask),
        ):
            showJobButton(button, text, tip, why, busy, self._runningButton)
        self.mask.update(volumeNode if self.hasImage else None)
        PanelWidget.updateButtons(self)

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
        ready = self.hasImage and not self.logic.busy and not self._wrongContrast
        if not (self.asksUnasked and ready and dependencies.satisfied()):
            return
        wanted = (
            self.volumeNode.GetID(), p.method, p.steps, p.noiseLevel, p.samples, p.device, p.modelName, p.useMask
        )  # fmt: skip
        if wanted == self._estimated:
            return
        self._estimated = wanted
        with slicer.util.tryWithErrorDisplay(show=False):
            scan, settings, find = self.volumeNode, self.settings(), not p.useMask
            self.logic.estimate(scan, settings, self.onSliceEstimate, self.onNoEstimate, 1, find)
            self.logic.estimate(scan, settings, self.onEstimate, self.onNoEstimate, None, find)
            self._pollTimer.start()

    def onSliceEstimate(self, told):
        self._oneSlice = told

    def onEstimate(self, told):
        self.ui.estimateLabel.setText(texts.estimate(told, self._oneSlice))
        self.choices.update()  # by now the worker has told its devices

    def onNoEstimate(self, error):
        self.ui.estimateLabel.setText(str(error))

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

    def showNew(self, result):
        if isinstance(result, Saliency):
            self._parameterNode.saliencyVisible = True
            self.results.refresh()
        else:
            self.results.showNew()
        if result.warnings:
            self.ui.estimateLabel.setText("\n".join(result.warnings))
