"""3D Slicer module: draw a lesion on a healthy scan, have it painted, compare, heal it again. Research use only."""

import os

import BrainLesionSimLib  # first: it finds the shared package
import qt
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
from slicer.ScriptedLoadableModule import ScriptedLoadableModule

from BrainCounterfactualCommon.host import RESEARCH_USE_ONLY
from BrainCounterfactualCommon.panels import droptarget, volumemenu
from BrainCounterfactualCommon.panels.bindings import showJobButton
from BrainCounterfactualCommon.panels.panelwidget import PanelWidget
from BrainCounterfactualCommon.scene import startup

MENU_PLUGIN = "InduceSubjectHierarchyPlugin.py"


class BrainLesionSim(ScriptedLoadableModule):
    """What Slicer knows about the module before it is opened. Nothing heavy happens here."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Brain Lesion Simulator")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Neuroimaging")]
        self.parent.dependencies = ["Segmentations", "SubjectHierarchy", "Volumes", "Markups"]
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
        startup.atStartup(qt)

    def setup(self):
        volumemenu.register(os.path.join(os.path.dirname(BrainLesionSimLib.__file__), MENU_PLUGIN))


class BrainLesionSimWidget(PanelWidget):
    """The panel. It holds no state of its own: settings live in the parameter node, inductions in the scene."""

    ParameterNode = BrainLesionSimParameterNode
    drawingSections = ("lesionSection",)

    def __init__(self, parent=None):
        PanelWidget.__init__(self, qt, parent)

    def makeLogic(self):
        return BrainLesionSimLogic()

    def makePanels(self, flickerTimer, saveInto):
        self.results = InductionPanel(
            self.ui,
            self.logic,
            lambda path: qt.QIcon(qt.QPixmap(path)),
            qt.QTableWidgetItem,
            flickerTimer,
            saveInto,
            self.updateButtons,
            self.later,
        )
        self.lesion = LesionPanel(
            self.ui,
            self.logic,
            self.parameters,
            lambda: self.chooseMaskFile(_("Lesion file")),
            self.updateButtons,
            self.results.sliceInView,
            self.keepUndo,
        )
        self.choices = ChoicePanel(self.ui, self.logic, self.parameters, self.onModality)
        self._drop = droptarget.takeMasks(qt, self.ui.lesionSection, self.lesion.fromNode)
        self.connectButtons(
            {
                "makeLesionButton": self.onMakeLesion,
                "applyButton": self.onInduce,
                "rerollButton": self.onReroll,
                "roundTripButton": self.onRoundTrip,
                "healResultButton": self.onHealResult,
            }
        )

    def onSceneStartClose(self, caller=None, event=None):
        self.lesion.forget()
        PanelWidget.onSceneStartClose(self)

    # --- what the panel shows ------------------------------------------------------------------------------

    def settings(self):
        return settingsOf(self._parameterNode)

    def segmentation(self, volumeNode):
        return self.logic.lesionSegmentation(volumeNode)

    def updateButtons(self, caller=None, event=None):
        ui, busy, p, volumeNode = self.ui, self.logic.busy, self._parameterNode, self.volumeNode
        offered = bool(self.logic.kindsFor(volumeNode, p.method)) if self.hasImage else False
        ml = self.logic.lesionMl(volumeNode) if self.hasImage else 0.0
        why = texts.missing(volumeNode, busy, offered, ml)
        withoutLesion = texts.missing(volumeNode, busy, offered, ml=1.0)
        results = self.logic.results(volumeNode) if self.hasImage else []
        again = why or ("" if results else _("Induce once first."))
        heal = "" if self.results.result is not None else _("There is no result to heal.")
        for button, text, tip, reason in (
            (ui.makeLesionButton, _("Make a lesion"), _("Replace the lesion by a made one: seconds."), withoutLesion),
            (ui.applyButton, _("Induce"), _("Paint the lesion into the scan."), why),
            (ui.rerollButton, _("Re-roll"), _("The same lesion, painted with a new seed."), again),
            (ui.roundTripButton, _("Induce, then heal"), _("Paint the lesion, heal it, and compare."), why),
            (ui.healResultButton, _("Heal this result"), _("Heal what was painted, and compare."), heal),
        ):
            showJobButton(button, text, tip, reason, busy, self._runningButton)
        self.lesion.update(volumeNode if self.hasImage else None)
        PanelWidget.updateButtons(self)

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

        self._startOrCancel(button, _("The lesion could not be painted."), start)

    def onHealResult(self):
        induction, region = self.results.result, self._parameterNode.healRegion

        def start(_settings, callbacks):
            self.logic.roundTrip(induction, callbacks, region)

        self._startOrCancel(self.ui.healResultButton, _("The result could not be healed."), start)

    def onMade(self, facts):
        if self._parameterNode is not None:
            self.onParameters()
            self.results.showDrawn()
        told = ", ".join("{}: {}".format(name, value) for name, value in facts.items() if value is not None)
        self.say(_("A lesion was made: {facts}").format(facts=told))
