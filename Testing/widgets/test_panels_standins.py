"""What the panels of BrainCounterfactual and BrainLesionSim do alike, on STAND-INS for Qt and Slicer's widgets."""

import sys
import types

import numpy as np
import pytest
import slicer
import standin_slicer
from desktop_controllers import HierarchyPlugins
from panels import draw, finish, makeWidget, work

pytestmark = pytest.mark.parametrize("module", ["BrainCounterfactual", "BrainLesionSim"], indirect=True)


def test_standin_ui_file_names_only_known_widgets_and_parameters(widget):
    loader = widget.layout.itemAt(0).widget().standinLoader
    assert loader.unknown == []
    assert widget.ui.inputSelector.scene is slicer.mrmlScene
    assert len(widget._parameterNode.bound) == {"BrainCounterfactual": 18, "BrainLesionSim": 16}[widget.moduleName]
    assert "Never use it for diagnosis" in widget.ui.bannerLabel.text


def test_standin_the_panel_needs_no_more_width_than_slicer_gives_it(widget, scan, views):
    """Whatever is open: Slicer's own panel begins at about 418 pixels; what is wider would scroll sideways."""
    work(widget, scan)
    for name, section in vars(widget.ui).items():
        if name.endswith("Section"):
            section.collapsed = False
    assert widget.ui.panelContents.minimumSizeHint.width() <= 390


def test_standin_apply_becomes_cancel_and_back(widget, scan):
    ui, text = widget.ui, widget.ui.applyButton.text
    draw(widget, scan)
    ui.applyButton.click()
    assert widget.logic.busy
    assert ui.applyButton.text == "Cancel"
    assert ui.applyButton.enabled
    others = {"BrainCounterfactual": ("healSliceButton", "saliencyButton"), "BrainLesionSim": ("roundTripButton",)}
    assert not any(getattr(ui, name).enabled for name in others[widget.moduleName])
    assert not ui.progressBar.isHidden()
    for stage, said in (("heal", "Healing, 42 s left"), ("induce", "Painting the lesion, 42 s left")):
        widget.logic.client.progress(stage, 3, 12, 42.0)
        assert (ui.progressBar.value, ui.progressBar.maximum) == (3, 12)
        assert ui.progressLabel.text == said
    ui.applyButton.click()
    assert "Stopping" in ui.progressLabel.text
    widget._pollTimer.tick()
    assert not widget.logic.busy
    assert ui.applyButton.text == text
    assert ui.progressBar.isHidden()
    widget._pollTimer.tick()
    assert not widget._pollTimer.active


def test_standin_error_of_the_worker_is_shown(widget, scan, standins):
    text = widget.ui.applyButton.text
    draw(widget, scan)
    widget.ui.applyButton.click()
    widget.logic.client.fail(what="The worker ended unexpectedly.", action="Try again: it is started anew.")
    assert "ended unexpectedly" in standins.dialogs.errors[0]
    assert "Try again" in standins.dialogs.errors[0]
    assert widget.ui.applyButton.enabled
    assert widget.ui.applyButton.text == text


def test_standin_save_writes_files_that_say_synthetic(widget, scan, standins, tmp_path):
    work(widget, scan)
    standins.qt.QFileDialog.getExistingDirectory = lambda *arguments: str(tmp_path)
    widget.ui.saveButton.click()
    assert standins.dialogs.errors == []
    names = [path.name for path in tmp_path.iterdir()]
    assert names
    assert all(name.startswith("SYNTHETIC") for name in names)
    assert f"{len(names)} files saved" in widget.ui.progressLabel.text  # beside the buttons


def test_standin_flicker_and_fade(widget, scan, views):
    work(widget, scan)
    ui, top = widget.ui, views.composite(widget.results.comparison.tops[0])
    assert top.GetForegroundVolumeID() == widget.results.result.node.GetID()
    ui.flickerButton.click()
    timer = widget.results._timer
    assert timer.active
    timer.tick()
    assert top.GetForegroundOpacity() == 0.0
    timer.tick()
    assert top.GetForegroundOpacity() == 1.0
    timer.tick()
    ui.flickerButton.click()
    assert not timer.active
    assert top.GetForegroundOpacity() == 1.0  # back to the slider
    ui.fadeSlider.setValue(0.25)
    assert top.GetForegroundOpacity() == pytest.approx(0.25)


def test_standin_user_layout_comes_back_on_exit(widget, scan, views):
    node, own = views.LayoutSwitch.node(), slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView
    node.SetViewArrangement(own)
    work(widget, scan)
    ours = {"BrainCounterfactual": views.COMPARE_LAYOUT, "BrainLesionSim": views.LESION_LAYOUT}[widget.moduleName]
    assert node.GetViewArrangement() == ours
    widget.exit()
    assert node.GetViewArrangement() == own
    widget.enter()
    assert node.GetViewArrangement() == ours


def test_standin_result_that_comes_while_the_user_is_elsewhere(widget, scan, views, standins):
    draw(widget, scan)
    widget.ui.applyButton.click()
    widget.exit()
    layout = views.LayoutSwitch.node().GetViewArrangement()
    finish(widget)
    assert "SYNTHETIC" in standins.dialogs.status[-1]
    assert views.LayoutSwitch.node().GetViewArrangement() == layout
    widget.enter()
    assert widget.volumeNode is scan
    assert widget.results.result == widget.logic.results(scan)[0]
    assert widget.ui.undoButton.enabled


def test_standin_scene_close_while_working(widget, scan, views, standins):
    from logic_helpers import makeVolume

    ui, layout = widget.ui, views.LayoutSwitch.node()
    own = layout.GetViewArrangement()
    work(widget, scan)
    assert ui.summaryLabel.text
    if widget.moduleName == "BrainCounterfactual":
        widget.onEstimate({"seconds": 3, "device": "cpu"})
    ui.applyButton.click()
    slicer.mrmlScene.Clear(0)
    standins.eventLoop()
    assert standins.dialogs.errors == []  # no dialog while the scene closes: the user did it himself
    assert "scene was closed" in standins.dialogs.status[-1]
    assert widget.volumeNode is None
    for name in ("undo", "redo", "removeResult", "save", "flicker", "compare"):
        assert not getattr(ui, name + "Button").enabled, name
    assert not ui.compareButton.checked
    assert not hasattr(ui, "estimateLabel") or ui.estimateLabel.text == ""
    for slot in (widget.results.undo, widget.results.redo, widget.results.remove):  # pressed all the same
        slot()
    assert standins.dialogs.errors == []
    assert not views.LayoutSwitch().isOurs
    assert layout.GetViewArrangement() == own
    assert not widget.ui.applyButton.enabled
    assert widget.ui.summaryLabel.text == ""
    second = makeVolume(np.ones((6, 8, 10), np.int16), np.eye(4), "second FLAIR")
    widget.ui.inputSelector.setCurrentNode(second)
    draw(widget, second)
    assert widget.ui.applyButton.enabled


def test_standin_scan_removed_while_working(widget, scan, standins):
    draw(widget, scan)
    widget.ui.applyButton.click()
    slicer.mrmlScene.RemoveNode(scan)
    standins.eventLoop()
    assert standins.dialogs.errors == []
    assert "scan was removed" in standins.dialogs.status[-1]
    assert "Choose a scan" in widget.ui.applyButton.toolTip
    assert not widget.ui.compareButton.checked


def test_standin_the_embedded_editor_edits_again_after_a_scene_was_loaded(widget, scan, standins, tmp_path):
    draw(widget, scan)
    slicer.util.saveScene(str(tmp_path / "drawn.mrb"))
    slicer.mrmlScene.Clear(0)
    assert widget.editor.widget.segmentationNode() is None
    slicer.util.loadScene(str(tmp_path / "drawn.mrb"))
    told = widget.editor.widget.told
    assert told["setMRMLSegmentEditorNode"][0] is not None
    assert told["setSegmentationNode"][0] is widget.segmentation(widget.volumeNode)
    assert told["setSourceVolumeNode"][0] is widget.volumeNode


def test_standin_a_job_logs_no_error(widget, scan, views, standins, capfd):
    """Slicer's error icon turns red at any logged error: nothing is asked of items that are gone."""
    plugins = HierarchyPlugins()
    work(widget, scan)
    widget.ui.applyButton.click()
    widget.logic.client.preview(2, 2, np.zeros((10, 8), np.int16))
    finish(widget)
    widget.ui.removeResultButton.click()
    widget.ui.undoButton.click()
    standins.eventLoop()
    plugins.close()
    logged = [line for line in capfd.readouterr().err.splitlines() if "ERR|" in line or "rror" in line]
    assert [line for line in logged if "orientation preset" not in line] == []  # views of this test have no presets


def test_standin_views_are_fitted_once_they_have_their_size(widget, scan, views, standins, monkeypatch):
    """Below 5.8 the size cannot be left out, and a view has none before the event loop is back."""
    fitted = {}

    class SliceLogic:
        def __init__(self, node):
            self.node = node

        def GetSliceNode(self):
            return self.node

        def FitSliceToBackground(self, width, height):
            fitted[self.node.GetLayoutName()] = (width, height)

    tags = {"BrainCounterfactual": views.COMPARE_TAGS, "BrainLesionSim": views.LESION_TAGS}[widget.moduleName]
    logics = [SliceLogic(views.sliceNode(tag)) for tag in tags]
    collection = types.SimpleNamespace(GetNumberOfItems=lambda: len(logics), GetItemAsObject=logics.__getitem__)
    application = types.SimpleNamespace(GetSliceLogics=lambda: collection)
    monkeypatch.setattr(slicer.app, "applicationLogic", lambda: application)
    work(widget, scan)
    assert fitted == {}
    for tag in tags:
        views.sliceNode(tag).SetDimensions(300, 200, 1)
    at = widget.results.sliceInView()
    standins.eventLoop()
    assert fitted == dict.fromkeys(tags, (300, 200))
    assert widget.results.sliceInView() == at
    fitted.clear()
    work(widget, scan)  # the user may have zoomed: the views stay as they are
    standins.eventLoop()
    assert fitted == {}


def test_standin_reload_forgets_the_modules_own_package_and_no_other(widget, monkeypatch):
    reloaded = []
    monkeypatch.setattr(standin_slicer.ScriptedLoadableModuleWidget, "onReload", reloaded.append)
    monkeypatch.setitem(sys.modules, "BrainReaderStudyLib", sys)
    shared = sys.modules["BrainCounterfactualCommon.scene.startup"]
    widget.onReload()
    left = {name.split(".")[0] for name in sys.modules if name.startswith("Brain")}
    assert widget.moduleName + "Lib" not in left
    assert "BrainReaderStudyLib" in left
    assert sys.modules["BrainCounterfactualCommon.scene.startup"] is shared
    assert reloaded == [widget]


def test_standin_reload_keeps_comparing_and_the_users_layout(module, widget, scan, views):
    """Reload cleans up, and makes a new panel in the layout that is there."""
    node, own = views.LayoutSwitch.node(), slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView
    node.SetViewArrangement(own)
    work(widget, scan)
    ours = node.GetViewArrangement()
    widget.cleanup()
    again = makeWidget(module)
    again.setup()
    assert again.ui.compareButton.checked
    assert node.GetViewArrangement() == ours
    again.ui.compareButton.click()
    assert node.GetViewArrangement() == own
    again.cleanup()


def test_standin_self_test_runs(module, standins, views, monkeypatch):
    """All but what needs the engine, and windows: the mark is looked for in views that have one."""
    from BrainCounterfactualCommon.worker import dependencies

    said = []
    monkeypatch.setattr(dependencies, "satisfied", lambda: False)
    monkeypatch.setattr(
        standin_slicer.ScriptedLoadableModuleTest, "delayDisplay", lambda _self, text: said.append(text)
    )
    getattr(module, module.__name__ + "Test")().runTest()
    assert len([text for text in said if "Saving" not in text and "Each view" not in text]) == 5
    assert "The lesion in 3-D" in said
    assert any("not tested" in text for text in said)


@pytest.mark.weights
def test_standin_self_test_walks_the_whole_way_with_the_engine(module, standins, views, monkeypatch):
    """Saliency, healing, induction and the way back are real: the worker is started with this Python."""
    pytest.importorskip("torch", reason="the engine's packages are not installed here")
    from logic_helpers import makeViews

    makeViews(views.HEALED)
    said = []
    monkeypatch.setattr(
        standin_slicer.ScriptedLoadableModuleTest, "delayDisplay", lambda _self, text: said.append(text)
    )
    getattr(module, module.__name__ + "Test")().runTest()
    assert "Test passed" in said


def test_standin_a_scan_loaded_while_the_module_is_open_is_offered(widget, standins):
    from logic_helpers import makeVolume

    assert widget.volumeNode is None
    scan = makeVolume(np.ones((6, 8, 10), np.int16), np.eye(4), "late FLAIR")
    standins.eventLoop()
    assert widget.volumeNode is scan
    makeVolume(np.ones((6, 8, 10), np.int16), np.eye(4), "another")
    standins.eventLoop()
    assert widget.volumeNode is scan


def test_standin_the_editor_shows_five_tools_until_more_are_asked_for(widget):
    told = widget.editor.widget.told
    assert told["setEffectNameOrder"][0] == ["Paint", "Draw", "Erase", "Threshold", "Scissors"]
    assert told["setUnorderedEffectsVisible"] == (False,)
    widget.ui.allToolsCheckBox.click()
    assert told["setUnorderedEffectsVisible"] == (True,)


def test_standin_what_a_button_draws_can_be_taken_back(widget, scan):
    told = widget.editor.widget.told
    assert "saveStateForUndo" not in told
    clear = {"BrainCounterfactual": "clearMaskButton", "BrainLesionSim": "clearLesionButton"}[widget.moduleName]
    draw(widget, scan)
    getattr(widget.ui, clear).click()
    assert "saveStateForUndo" in told


def test_standin_licence_is_a_line_with_the_rest_behind_a_link(widget, scan, standins):
    label = widget.ui.licenceLabel
    assert "CC BY-NC-SA" in label.text
    assert len(label.text) < 200
    label.linkActivated.emit("#licence")
    assert "Licence of the weights" in standins.dialogs.infos[0]


def test_standin_buttons_and_progress_stay_below_what_scrolls(widget):
    ui = widget.ui
    for name in ("applyButton", "progressBar", "progressLabel"):
        assert ui.actionFrame.isAncestorOf(getattr(ui, name))
        assert not ui.panelScrollArea.isAncestorOf(getattr(ui, name))
    for name in ("scanSection", "resultSection", "segmentEditorFrame", "dependenciesSection"):
        assert ui.panelScrollArea.isAncestorOf(getattr(ui, name))
    assert ui.boxSelector.property("baseName") == "Box"


def test_standin_flicker_has_a_key_while_the_module_is_open(widget, scan, views):
    from standin_qt import Shortcut

    work(widget, scan)
    key, timer = Shortcut.made["Ctrl+Shift+F"], widget.results._timer
    key.press()
    assert not timer.active  # not entered yet: the key is another's
    widget.enter()
    key.press()
    assert timer.active
    key.press()
    assert not timer.active
    widget.exit()
    key.press()
    assert not timer.active
    assert "Ctrl+Shift+F" in widget.ui.flickerButton.toolTip
