"""Menus, toolbars and panels of Slicer's main window, put away and brought back as they were. Desktop Slicer only."""

import slicer


class Bars:
    """What of the main window is put away while cases are on screen."""

    def __init__(self):
        self._before = None

    def hide(self):
        """Put everything away; what was visible is remembered."""
        window = slicer.util.mainWindow()
        if window is None or self._before is not None:
            return
        widgets = [*window.findChildren("QMenuBar"), *window.findChildren("QToolBar"), window.statusBar()]
        widgets += [*slicer.util.findChildren(window, "DataProbeCollapsibleWidget"), self._console(window)]
        # what the user has hidden stays hidden afterwards: isHidden() is his wish, visible also that of its parents
        shown = [widget for widget in widgets if widget is not None and not widget.isHidden()]
        panels = slicer.util.findChildren(window, "ModulePanel")
        self._before = (shown, [panel for panel in panels if panel.helpAndAcknowledgmentVisible])
        for widget in shown:
            widget.setVisible(False)
        for panel in self._before[1]:
            panel.helpAndAcknowledgmentVisible = False

    def show(self):
        """Bring back what was visible before; nothing else."""
        if self._before is None:
            return
        (shown, panels), self._before = self._before, None
        for widget in shown:
            widget.setVisible(True)
        for panel in panels:
            panel.helpAndAcknowledgmentVisible = True

    @staticmethod
    def _console(window):
        console = window.pythonConsole()
        return console.parent() if console is not None else None
