"""3D Slicer module: read a blinded study, one case at a time, with keys and Enter. Research use only."""

import BrainReaderStudyLib  # noqa: F401 - first: it finds the packages it shares
import qt
import slicer
from BrainReaderStudyLib.logic import LAYOUTS, BrainReaderStudyLogic
from BrainReaderStudyLib.readingpanel import ReadingPanel
from BrainReaderStudyLib.selftest import BrainReaderStudyTest  # noqa: F401 - found here by its name
from BrainReaderStudyLib.session import progressOf
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import ScriptedLoadableModule

from BrainCounterfactualCommon.host import RESEARCH_USE_ONLY
from BrainCounterfactualCommon.panels.bars import Bars
from BrainCounterfactualCommon.panels.modulewidget import ModuleWidget
from BrainCounterfactualCommon.scene import startup
from BrainCounterfactualCommon.scene.layouts import LayoutSwitch

SOFTWARE = "BrainReaderStudy 0.1.0 on Slicer {}"
WRITING = ("Ctrl+Return",)
"""The shortcuts that work while a text is written: all others are letters and keys of the text."""


class BrainReaderStudy(ScriptedLoadableModule):
    """What Slicer knows about the module before it is opened. Nothing heavy happens here."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Brain Reader Study")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Neuroimaging")]
        self.parent.dependencies = ["Volumes", "Markups"]
        self.parent.contributors = ["The SlicerBrainCounterfactual authors"]
        self.parent.helpText = _(
            "Read a blinded study of real and synthetic brain scans that 'braindiffusion study create' has sealed: one "
            "case at a time, grades by keys, grey levels as sealed, every answer saved at once.<p><b>{notice}</b><p>"
            'See the <a href="https://github.com/SlicerBrainCounterfactual/SlicerBrainCounterfactual">documentation</a>.'
        ).format(notice=RESEARCH_USE_ONLY)
        self.parent.acknowledgementText = _(
            "Protocol of the realism reading: MedEdit (Ben Alaya, Lang, Wiestler, Schnabel, Bercea: MedEdit: "
            "Counterfactual Diffusion-based Image Editing on Brain MRI, MICCAI SASHIMI workshop, 2024)."
        )
        startup.atStartup(qt)


class BrainReaderStudyWidget(ModuleWidget):
    """The panel. Answers live in the study's folder; the scene holds the case on screen and no more."""

    def __init__(self, parent=None):
        ModuleWidget.__init__(self, qt, parent)
        self.panel = self._fitted = None
        self._shortcuts = []

    # --- setup ---------------------------------------------------------------------------------------------

    def setup(self):
        uiWidget = self.loadUi()
        self.logic = BrainReaderStudyLogic()
        self._layouts = LayoutSwitch()
        self._bars = Bars()
        self.later = startup.laterBy(qt)
        self.panel = ReadingPanel(
            self.ui,
            self.logic,
            self.onShown,
            self.onHidden,
            lambda error: slicer.util.errorDisplay(str(error)),
            self.onWriting,
        )
        self.connectButtons({"openButton": self.onOpen, "startButton": self.onStart, "leaveButton": self.onLeave})
        self._makeShortcuts(uiWidget)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self._showStudy()

    def _makeShortcuts(self, uiWidget):
        """Keys work wherever the pointer is; a text that is being written keeps its own."""
        panel = self.panel
        what = [(digit, lambda digit=digit: panel.onDigit(digit)) for digit in "0123456789"]
        what += [
            ("Return", panel.onEnter),
            ("Enter", panel.onEnter),
            ("Ctrl+Return", panel.onEnter),
            ("Left", lambda: panel.onAsk(-1)),
            ("Right", lambda: panel.onAsk(1)),
            ("Backspace", panel.onBack),
            ("M", panel.onMark),
            ("N", panel.onNothing),
            ("P", panel.onPause),
        ]
        for key, slot in what:
            shortcut = qt.QShortcut(slicer.util.mainWindow() or uiWidget)
            shortcut.setKey(qt.QKeySequence(key))
            shortcut.setEnabled(False)
            shortcut.connect("activated()", slot)
            self._shortcuts.append((key, shortcut))

    # --- life ----------------------------------------------------------------------------------------------

    def cleanup(self):
        """The module is reloaded or Slicer ends."""
        self.removeObservers()
        self.onLeave()
        self._enableKeys(False)

    def exit(self):
        """Another module is opened: the time does not count."""
        self.panel.onPause()
        self._enableKeys(False)

    def enter(self):
        self._enableKeys(self.logic.session is not None)

    def onSceneStartClose(self, caller=None, event=None):
        """Somebody closes the scene: the case is lost, what was answered is not."""
        if self.logic.session is not None:
            self.onLeave()

    # --- study and reader ----------------------------------------------------------------------------------

    def onOpen(self):
        folder = self.chooseFolder(_("Folder of the study"))
        if folder:
            self.openStudy(folder)

    def openStudy(self, folder):
        """Open a study and list its readers."""
        with slicer.util.tryWithErrorDisplay(_("The study cannot be opened.")):
            self.logic.open(folder)
        self._showStudy()

    def _showStudy(self):
        study, box = self.logic.study, self.ui.readerComboBox
        box.clear()
        self._readers = []
        if study is not None:
            with slicer.util.tryWithErrorDisplay(_("The answers cannot be read.")):
                for reader, (done, total) in progressOf(study).items():
                    self._readers.append(reader)
                    box.addItem(_("{reader}: {done} of {total}").format(reader=reader, done=done, total=total))
        self.ui.studyLabel.setText(study.title if study is not None else _("No study is open."))
        self.ui.noticeLabel.setText(study.notice if study is not None else "")
        self.ui.startButton.setEnabled(bool(self._readers))

    def onStart(self):
        reader = self._readers[self.ui.readerComboBox.currentIndex]
        version = getattr(slicer.app, "applicationVersion", "")
        with slicer.util.tryWithErrorDisplay(_("The reading cannot begin.")):
            self.logic.begin(reader, SOFTWARE.format(version).strip())
            self._layouts.showLayout(LAYOUTS[self.logic.study.protocol["show"]])  # its views are there from now on
            self.panel.start()
            self._enableKeys(True)

    def onLeave(self):
        """End the sitting; what is answered is saved."""
        self.logic.end()
        self._enableKeys(False)
        self.panel.stop()
        self._layouts.restore()
        self._showStudy()

    # --- the window ----------------------------------------------------------------------------------------

    def onShown(self):
        """Scans are on screen: nothing else is."""
        self.logic.showViews()
        self._bars.hide()
        self.later(self._fit)

    def onHidden(self):
        """A break, or no study."""
        if self.logic.session is not None:
            self.logic.hideViews()
        self._bars.show()

    def _fit(self):
        """The views have their size now: each new case is shown whole, in its middle."""
        if self.panel.stage == "case" and self._fitted is not self.logic.sheet:
            self._fitted = self.logic.sheet
            self.logic.fit()

    def onWriting(self, writing):
        self._enableKeys(self.logic.session is not None)

    def _enableKeys(self, enabled):
        writing = self.panel is not None and self.panel.writing
        for key, shortcut in self._shortcuts:
            shortcut.setEnabled(enabled and (not writing or key in WRITING))
