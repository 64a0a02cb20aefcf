"""Base of the modules' widgets. Desktop Slicer only; Qt comes from the module's own file, the one that imports it."""

import importlib
import sys

import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleWidget
from slicer.util import VTKObservationMixin

from BrainCounterfactualCommon.panels.bindings import onClicks


class ModuleWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """A module's panel from its ``.ui`` file.

    Args:
        qt: the module ``qt``.
    """

    def __init__(self, qt, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self._qt = qt
        self.logic = self.ui = None

    def loadUi(self):
        """The panel's widget; its children are in ``ui`` by name."""
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/{}.ui".format(self.moduleName)))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        return uiWidget

    def connectButtons(self, slots):
        """Call a slot without arguments when its button is clicked; button's name -> slot."""
        onClicks(*((getattr(self.ui, name), slot) for name, slot in slots.items()))

    def chooseFolder(self, title):
        """A folder's path, or an empty text."""
        return self._qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), title)

    def onReload(self):
        """Reload the module's own package too (developer mode), not its file alone.

        The shared package stays: the other modules hold it, and what watches the scene since the start.
        """
        for name in [name for name in sys.modules if name.split(".")[0] == self.moduleName + "Lib"]:
            del sys.modules[name]
        importlib.invalidate_caches()
        ScriptedLoadableModuleWidget.onReload(self)
