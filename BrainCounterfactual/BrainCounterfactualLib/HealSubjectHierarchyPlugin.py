"""*Heal...* in the menu of a right click on a volume; loaded by Slicer itself."""

import qt
from AbstractScriptedSubjectHierarchyPlugin import AbstractScriptedSubjectHierarchyPlugin

from BrainCounterfactualCommon.host import tr as _
from BrainCounterfactualCommon.panels import volumemenu


class HealSubjectHierarchyPlugin(AbstractScriptedSubjectHierarchyPlugin):
    """Adds the entry, and owns no items."""

    filePath = __file__

    def __init__(self, scriptedPlugin):
        scriptedPlugin.name = "BrainCounterfactual"
        AbstractScriptedSubjectHierarchyPlugin.__init__(self, scriptedPlugin)
        self.action = qt.QAction(_("Heal..."), scriptedPlugin)
        self.action.connect("triggered()", lambda: volumemenu.openModule("BrainCounterfactual"))

    def itemContextMenuActions(self):
        return [self.action]

    def showContextMenuActionsForItem(self, itemID):
        if volumemenu.scanOf(itemID) is not None:  # Slicer hides all before it asks
            self.action.visible = True
