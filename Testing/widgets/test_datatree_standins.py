"""Slicer's data trees: the menu of a right click, and masks dragged onto a panel; on STAND-INS for Qt and Slicer.

The plugin class is made as Slicer makes it, from the file that it is given; how Slicer shows the menu, and how a drag
begins, only a desktop shows.
"""

import runpy
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import slicer
from PySide6 import QtCore, QtGui, QtWidgets

ROOT = Path(__file__).resolve().parents[2]
ENTRIES = {"BrainCounterfactual": "Heal...", "BrainLesionSim": "Induce lesion..."}
pytestmark = pytest.mark.parametrize("module", ENTRIES, indirect=True)


def itemOf(node):
    from BrainCounterfactualCommon.scene import volumes

    return volumes.itemOf(node)


@pytest.fixture
def plugins(module, standins, monkeypatch):
    """Plugins that modules have registered, by name; ``current`` is the item whose menu is open."""
    made = types.SimpleNamespace(byName={}, current=0)

    class Abstract:
        def __init__(self, scriptedPlugin):
            self.scriptedPlugin = scriptedPlugin

    class Scripted(QtCore.QObject):
        def setPythonSource(self, path):
            made.byName[Path(path).stem] = runpy.run_path(path)[Path(path).stem](self)
            made.owner = self

    handler = types.SimpleNamespace(currentItem=lambda: made.current)
    abstract = types.ModuleType("AbstractScriptedSubjectHierarchyPlugin")
    abstract.AbstractScriptedSubjectHierarchyPlugin = Abstract
    monkeypatch.setitem(sys.modules, abstract.__name__, abstract)
    monkeypatch.setattr(slicer, "qSlicerSubjectHierarchyScriptedPlugin", Scripted, raising=False)
    instance = types.SimpleNamespace(instance=lambda: handler)
    monkeypatch.setattr(slicer, "qSlicerSubjectHierarchyPluginHandler", instance, raising=False)
    return made


def test_standin_right_click_on_a_scan_leads_into_the_module(module, widget, scan, plugins, monkeypatch):
    from logic_helpers import makeVolume

    name = module.__name__
    opened = []
    monkeypatch.setattr(slicer.util, "selectModule", opened.append, raising=False)
    monkeypatch.setattr(slicer.util, "getModuleWidget", lambda _name: widget, raising=False)
    getattr(module, name).setup(None)  # Slicer calls it once, when its modules are set up
    (plugin,) = plugins.byName.values()
    (action,) = plugin.itemContextMenuActions()
    assert action.text == ENTRIES[name]
    assert plugin.scriptedPlugin.name == name
    other = makeVolume(np.ones((6, 8, 10), np.int16), np.eye(4), "other FLAIR")
    labels = makeVolume(np.ones((6, 8, 10), np.uint8), np.eye(4), "labels", "vtkMRMLLabelMapVolumeNode")
    for node, offered in ((other, True), (labels, False), (widget._parameterNode.parameterNode, False)):
        action.visible = False  # as Slicer does before it asks
        plugin.showContextMenuActionsForItem(itemOf(node))
        assert action.visible is offered
    action.visible = False
    plugin.showContextMenuActionsForItem(0)
    assert not action.visible
    plugins.current = itemOf(other)
    action.trigger()
    assert opened == [name]
    assert widget.volumeNode is other


def test_standin_nothing_is_registered_where_slicer_has_no_plugins(module):
    getattr(module, module.__name__).setup(None)
    assert not hasattr(slicer, "qSlicerSubjectHierarchyScriptedPlugin")


def drop(target, *names):
    """What is dragged comes, and is let go; whether it was taken."""
    mime = QtCore.QMimeData()
    mime.setUrls([QtCore.QUrl(name) for name in names])
    spot, buttons, keys = QtCore.QPoint(5, 5), QtCore.Qt.MouseButton.LeftButton, QtCore.Qt.KeyboardModifier.NoModifier
    action = QtCore.Qt.DropAction.CopyAction
    enter = QtGui.QDragEnterEvent(spot, action, mime, buttons, keys)
    enter.setAccepted(False)
    QtWidgets.QApplication.sendEvent(target, enter)
    if enter.isAccepted():
        QtWidgets.QApplication.sendEvent(target, QtGui.QDropEvent(QtCore.QPointF(spot), action, mime, buttons, keys))
    return enter.isAccepted()


def test_standin_a_mask_dragged_onto_its_section_is_taken(module, widget, scan, standins):
    from logic_helpers import makeVolume, obliqueAffine

    from BrainCounterfactualCommon.scene import masks

    section = getattr(widget.ui, widget.drawingSections[-1])
    drawn = np.zeros((6, 8, 10), bool)
    drawn[2:4, 3:6, 4:8] = True
    labels = makeVolume(drawn.astype(np.uint8), obliqueAffine(), "labels", "vtkMRMLLabelMapVolumeNode")
    apart = masks.newSegmentation(scan, "of another program", "Tumor", (1, 0, 0), drawn)

    def marked():
        return masks.arrayOf(widget.segmentation(scan), scan)

    tree = "mrml://scene/subjecthierarchy/item?id="
    for node in (labels, apart):
        assert drop(section, f"{tree}{itemOf(node)}")
        assert (marked() == drawn).all()
        clear = widget.ui.clearMaskButton if hasattr(widget.ui, "clearMaskButton") else widget.ui.clearLesionButton
        clear.click()
        assert not marked().any()
    for names in (
        [f"{tree}{itemOf(scan)}"],
        [f"{tree}x"],
        ["file:///tmp/mask.nii"],
        [],
        [f"{tree}{itemOf(labels)}"] * 2,
    ):
        assert not drop(section, *names)
    far = makeVolume(np.ones((2, 2, 2), np.uint8), np.eye(4), "far", "vtkMRMLLabelMapVolumeNode")
    far.SetOrigin(5000, 0, 0)
    assert drop(section, f"{tree}{itemOf(far)}")
    assert "nothing inside this scan" in standins.dialogs.errors[0]
    assert not marked().any()
