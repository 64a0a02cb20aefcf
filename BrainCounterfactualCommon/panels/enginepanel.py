"""The engine section of the panel: which Python packages are there, install, check, repair. Needs no Qt of its own."""

import slicer

from BrainCounterfactualCommon.host import tr as _
from BrainCounterfactualCommon.panels import texts
from BrainCounterfactualCommon.panels.bindings import onClicks
from BrainCounterfactualCommon.worker import dependencies


class EnginePanel:
    """Asks once, at first use; never at start-up.

    Args:
        ui: the panel's widgets by name.
        logic: the module's, whose worker is to be released.
    """

    def __init__(self, ui, logic):
        self._ui = ui
        onClicks(
            (ui.installButton, self.install),
            (ui.repairButton, lambda: self.install(repair=True)),
            (ui.verifyButton, self.verify),
            (ui.releaseButton, logic.releaseMemory),
        )
        self.update()

    def update(self):
        self._ui.dependenciesLabel.setText(texts.dependencies(dependencies.status(), dependencies.foreignPython()))
        self._ui.installButton.setEnabled(not dependencies.satisfied())

    def ensure(self):
        """Whether the engine can run; what is missing is installed, after asking."""
        return dependencies.satisfied() or self.install()

    def install(self, repair=False):
        """Ask, install, check; whether it is all there now."""
        done = False
        with slicer.util.tryWithErrorDisplay(_("The engine's packages are not installed.")):
            plan = dependencies.makePlan(self._ui.wheelFolderPathLineEdit.currentPath or None, repair)
            done = plan.isEmpty
            if not done and slicer.util.confirmOkCancelDisplay(plan.text(), _("Install Python packages?")):
                with slicer.util.WaitCursor():
                    dependencies.install(plan)
                    dependencies.verify()
                done = True
        self.update()
        return done

    def verify(self):
        """Start the worker's Python once and import everything there."""
        with slicer.util.tryWithErrorDisplay(_("The engine does not start."), waitCursor=True):
            version = dependencies.verify()
            slicer.util.infoDisplay(_("The engine starts, with PyTorch {version}.").format(version=version))
        self.update()
