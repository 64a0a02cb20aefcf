"""The panel on STAND-INS for Qt and Slicer's widgets: names, wiring, state. Real widget behavior is not tested here."""

import importlib

import numpy as np
import pytest
import slicer


@pytest.fixture
def module(standins):
    return importlib.import_module("BrainCounterfactual")


@pytest.fixture
def widget(module, monkeypatch):
    """The panel, set up; its worker answers when the test says so."""
    from logic_fake_client import FakeClient

    from BrainCounterfactualCommon import dependencies

    monkeypatch.setattr(dependencies, "satisfied", lambda: True)
    made = module.BrainCounterfactualWidget()
    made.makeLogic = lambda: module.BrainCounterfactualLogic(FakeClient())
    made.setup()
    yield made
    made.cleanup()


@pytest.fixture
def scan(widget):
    from logic_helpers import makeVolume, obliqueAffine

    node = makeVolume(np.arange(480, dtype=np.int16).reshape(6, 8, 10), obliqueAffine(), "head FLAIR")
    widget.ui.inputSelector.setCurrentNode(node)
    return node


@pytest.fixture
def views(standins):
    """Slice views as nodes: those of the compare layout and the usual Red."""
    from BrainCounterfactualCommon import layouts

    slicer.mrmlScene.AddNode(slicer.vtkMRMLLayoutNode())
    for tag in (*layouts.COMPARE_TAGS, layouts.UNCERTAINTY, "Red"):
        for className in ("vtkMRMLSliceNode", "vtkMRMLSliceCompositeNode"):
            node = getattr(slicer, className)()
            node.SetLayoutName(tag)
            node.SetSingletonTag(tag)
            slicer.mrmlScene.AddNode(node)
    return layouts


def mark(widget, scan):
    mask = np.zeros((6, 8, 10), bool)
    mask[2:4, 2:5, 3:6] = True
    widget.logic.setMaskArray(mask, widget.logic.maskSegmentation(scan), scan)


def heal(widget, samples=1):
    widget.ui.applyButton.click()
    widget.logic.client.finish(samples=samples)


def test_standin_ui_file_names_only_known_widgets_and_parameters(widget):
    loader = widget.layout.itemAt(0).widget().standinLoader
    assert loader.unknown == []
    assert widget.ui.inputSelector.scene is slicer.mrmlScene
    assert len(widget._parameterNode.bound) == 17


def test_standin_apply_says_what_is_missing(widget):
    ui = widget.ui
    assert not ui.applyButton.enabled
    assert "Choose a scan" in ui.applyButton.toolTip
    from logic_helpers import makeVolume

    scan = makeVolume(np.ones((4, 5, 6), np.int16), np.eye(4), "x FLAIR")
    ui.inputSelector.setCurrentNode(scan)
    assert not ui.applyButton.enabled
    assert "Mark what is to be healed" in ui.applyButton.toolTip
    assert ui.saliencyButton.enabled  # that needs no mask
    ui.useMaskCheckBox.click()
    assert ui.applyButton.enabled
    assert ui.healSliceButton.enabled
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    ui.inputSelector.setCurrentNode(empty)
    assert "holds no image" in ui.applyButton.toolTip


def test_standin_painting_enables_apply(widget, scan):
    assert not widget.ui.applyButton.enabled
    mark(widget, scan)  # as the Segment Editor does: the segmentation tells that it changed
    assert widget.ui.applyButton.enabled
    assert widget.editor.widget.segmentationNode() is widget.logic.maskSegmentation(scan)
    widget.ui.clearMaskButton.click()
    assert not widget.ui.applyButton.enabled


def test_standin_model_shows_licence_and_modality_can_be_said(widget, scan):
    assert "CC BY-NC-SA" in widget.ui.licenceLabel.text
    assert widget.ui.modelComboBox.currentText == "flair-healthy-128"
    assert widget.ui.modalityComboBox.currentText == "FLAIR"
    index = widget.ui.modalityComboBox.findText("T1")
    widget.ui.modalityComboBox.setCurrentIndex(index)
    assert widget.logic.modality(scan) == "T1"
    assert "not for this modality" in widget.ui.modelComboBox.currentText


def test_standin_apply_becomes_cancel_and_back(widget, scan):
    mark(widget, scan)
    ui = widget.ui
    ui.applyButton.click()
    assert widget.logic.busy
    assert ui.applyButton.text == "Cancel"
    assert ui.applyButton.enabled
    assert not ui.healSliceButton.enabled
    assert not ui.saliencyButton.enabled
    assert not ui.progressBar.isHidden()
    widget.logic.client.progress("heal", 3, 12, 42.0)
    assert (ui.progressBar.value, ui.progressBar.maximum) == (3, 12)
    assert "42 s left" in ui.progressLabel.text
    ui.applyButton.click()
    assert "Stopping" in ui.progressLabel.text
    widget._pollTimer.tick()
    assert not widget.logic.busy
    assert ui.applyButton.text == "Heal volume"
    assert ui.progressBar.isHidden()
    widget._pollTimer.tick()
    assert not widget._pollTimer.active


def test_standin_new_box_lies_on_the_slice_and_marks(widget, scan):
    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
    assert not widget.ui.addBoxButton.enabled
    widget.ui.boxSelector.setCurrentNode(roi)
    assert min(roi.GetSize()) > 0
    widget.ui.addBoxButton.click()
    mask = widget.logic.maskArray(widget.logic.maskSegmentation(scan), scan)
    assert mask.any((1, 2)).tolist() == [False, True, True, True, True, True]
    assert widget.ui.applyButton.enabled


def test_standin_mask_from_file(widget, scan, standins, tmp_path):
    from logic_helpers import makeVolume, obliqueAffine

    path = tmp_path / "mask.nrrd"
    slicer.util.saveNode(makeVolume(np.ones((6, 8, 10), np.uint8), obliqueAffine(), "m"), str(path))
    standins.qt.QFileDialog.getOpenFileName = lambda *arguments: str(path)
    widget.ui.maskFromFileButton.click()
    assert widget.logic.maskArray(widget.logic.maskSegmentation(scan), scan).all()
    path.write_bytes(b"damaged")
    widget.ui.maskFromFileButton.click()
    assert "cannot be read" in standins.dialogs.errors[0]


def test_standin_save_writes_files_that_say_synthetic(widget, scan, standins, tmp_path):
    mark(widget, scan)
    heal(widget)
    standins.qt.QFileDialog.getExistingDirectory = lambda *arguments: str(tmp_path)
    widget.ui.saveButton.click()
    assert standins.dialogs.errors == []
    names = [path.name for path in tmp_path.iterdir()]
    assert names
    assert all(name.startswith("SYNTHETIC") for name in names)


def test_standin_settings_reach_the_worker(widget, scan):
    mark(widget, scan)
    ui = widget.ui
    ui.samplesSpinBox.setValue(3)
    ui.marginSpinBox.setValue(4.0)
    ui.fusionComboBox.setCurrentIndex(1)
    ui.maskRuleComboBox.setCurrentIndex(2)
    ui.applyButton.click()
    sent = widget.logic.client.last
    assert sent.payload["settings"]["samples"] == 3
    assert sent.payload["settings"]["margin_mm"] == 4.0
    assert sent.payload["settings"]["percentile"] is None
    assert sent.payload["settings"]["fusion"] == "joint"
    assert sent.payload["settings"]["mask_rule"] == "percentile"
    assert sent.arrays["mask"].sum() == 18


def test_standin_methods_that_cannot_run_are_barred_and_say_why(widget, scan):
    from logic_fake_client import methodsTold

    combo = widget.ui.methodComboBox
    assert [combo.itemText(n) for n in range(combo.count)] == ["Dif-fuse"]  # the worker has not told yet
    widget.logic.client.info = {"methods": methodsTold()}
    widget.onParameters()
    assert combo.currentText == "Dif-fuse"
    assert [bool(combo.model().item(n).isEnabled()) for n in range(combo.count)] == [True, True, True, False]
    assert "About DDPM." in combo.itemData(1, 3)
    assert "flair-latent-healthy is not installed" in combo.itemData(3, 3)


def test_standin_a_method_that_finds_its_region_needs_no_mask(widget, scan):
    from logic_fake_client import methodsTold

    widget.logic.client.info = {"methods": methodsTold()}
    widget.onParameters()
    assert not widget.ui.applyButton.enabled  # nothing is marked
    widget.ui.methodComboBox.setCurrentIndex(2)
    assert widget._parameterNode.method == "swift"
    assert widget.ui.modelComboBox.currentText == "brain-mask"  # its own
    assert widget.ui.applyButton.enabled
    widget.ui.applyButton.click()
    sent = widget.logic.client.last
    assert sent.payload["settings"]["method"] == "swift"
    assert "mask" not in sent.arrays


def test_standin_the_noise_level_is_the_methods_own_until_it_is_set(widget, scan):
    mark(widget, scan)
    widget.ui.applyButton.click()
    assert widget.logic.client.last.payload["settings"]["noise_level"] is None
    widget.logic.client.finish()
    widget.ui.noiseLevelSpinBox.setValue(8)
    widget.ui.applyButton.click()
    sent = widget.logic.client.last.payload["settings"]
    assert (sent["noise_level"], sent["steps"]) == (8, 8)


def test_standin_heal_this_slice_takes_the_view(widget, scan, views):
    from BrainCounterfactualCommon import scene

    mark(widget, scan)
    red = views.sliceNode("Red")
    red.RotateToVolumePlane(scan)
    red.JumpSliceByOffsetting(*scene.sliceCenter(scan, 3))
    widget.ui.healSliceButton.click()
    assert widget.ui.healSliceButton.text == "Cancel"
    sent = widget.logic.client.last
    assert sent.payload["settings"]["slices"] == [3, 4]
    assert sent.payload["view_slice"] == 3
    assert np.argwhere(sent.arrays["mask"])[:, 2].tolist() == [3] * 9


def test_standin_view_beside_the_scan_is_said(widget, scan, views, standins):
    mark(widget, scan)
    views.sliceNode("Red").JumpSliceByOffsetting(0, 0, 5000)
    widget.ui.healSliceButton.click()
    assert "does not show the scan" in standins.dialogs.errors[0]
    assert not widget.logic.busy
    assert widget.ui.healSliceButton.text == "Heal this slice"


def test_standin_error_of_the_worker_is_shown(widget, scan, standins):
    mark(widget, scan)
    widget.ui.applyButton.click()
    widget.logic.client.fail(what="The worker ended unexpectedly.", action="Try again: it is started anew.")
    assert "ended unexpectedly" in standins.dialogs.errors[0]
    assert "Try again" in standins.dialogs.errors[0]
    assert widget.ui.applyButton.enabled
    assert widget.ui.applyButton.text == "Heal volume"


def test_standin_refused_settings_are_shown_in_words(widget, scan, standins):
    mark(widget, scan)
    widget.logic.setModality(scan, "T1")
    widget.ui.applyButton.click()
    assert "This is a T1 scan" in standins.dialogs.errors[0]
    assert not widget.logic.busy


def test_standin_result_table_history_and_compare(widget, scan, views):
    mark(widget, scan)
    ui = widget.ui
    heal(widget)
    assert ui.compareButton.checked
    layoutNode = views.LayoutSwitch.node()
    assert layoutNode.GetViewArrangement() == views.COMPARE_LAYOUT
    assert ui.sliceTable.rowCount == 1
    assert [ui.sliceTable.item(0, c).text() for c in (0, 2, 4)] == ["1", "0.25", "8"]
    assert "1.5 mL" in ui.summaryLabel.text
    assert "careful" in ui.summaryLabel.text
    heal(widget, samples=3)
    assert layoutNode.GetViewArrangement() == views.UNCERTAINTY_LAYOUT
    assert [ui.resultComboBox.itemText(n) for n in range(3)] == ["Original", "#1 - 1.5 mL", "#2 - 1.5 mL"]
    assert ui.resultComboBox.currentIndex == 2
    ui.undoButton.click()
    assert ui.resultComboBox.currentIndex == 1
    assert layoutNode.GetViewArrangement() == views.COMPARE_LAYOUT  # one sample has no uncertainty to show
    ui.resultComboBox.setCurrentIndex(0)
    assert not ui.undoButton.enabled
    assert views.composite(views.COUNTERFACTUAL).GetForegroundVolumeID() is None
    ui.redoButton.click()
    first = widget.logic.results(scan)[0]
    assert views.composite(views.COUNTERFACTUAL).GetForegroundVolumeID() == first.counterfactualNode.GetID()
    ui.removeResultButton.click()
    assert len(widget.logic.results(scan)) == 1


def test_standin_table_row_jumps_to_its_slice(widget, scan, views):
    from BrainCounterfactualCommon import scene

    mark(widget, scan)
    heal(widget)
    widget.ui.sliceTable.cellClicked.emit(0, 0)
    assert scene.sliceIndexOfView(scan, views.sliceNode(views.ORIGINAL)) == 1


def test_standin_flicker_and_fade(widget, scan, views):
    mark(widget, scan)
    heal(widget)
    ui, top = widget.ui, views.composite(views.COUNTERFACTUAL)
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
    ui.differenceOpacitySlider.setValue(0.5)
    assert views.composite(views.DIFFERENCE).GetForegroundOpacity() == pytest.approx(0.5)


def test_standin_saliency_overlay_follows_its_sliders(widget, scan, views):
    ui = widget.ui
    ui.saliencyButton.click()
    assert ui.saliencyButton.text == "Cancel"
    widget.logic.client.finish()
    node = widget.logic.saliency(scan).saliencyNode
    red = views.composite("Red")
    assert red.GetForegroundVolumeID() == node.GetID()
    ui.saliencyOpacitySlider.setValue(0.75)
    ui.saliencyThresholdSlider.setValue(0.4)
    assert red.GetForegroundOpacity() == pytest.approx(0.75)
    assert node.GetDisplayNode().GetLowerThreshold() == pytest.approx(0.4)
    ui.saliencyVisibleCheckBox.click()
    assert red.GetForegroundVolumeID() is None
    red.SetForegroundVolumeID(scan.GetID())
    ui.seedSpinBox.setValue(9)  # nothing about saliency: the user's view is left alone
    assert red.GetForegroundVolumeID() == scan.GetID()
    assert ui.sliceTable.rowCount == 1
    ui.maskFromSaliencyButton.click()
    assert ui.applyButton.enabled


def test_standin_user_layout_comes_back_on_exit(widget, scan, views):
    mark(widget, scan)
    node = views.LayoutSwitch.node()
    node.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)
    heal(widget)
    assert node.GetViewArrangement() == views.COMPARE_LAYOUT
    widget.exit()
    assert node.GetViewArrangement() == slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView
    widget.enter()
    assert node.GetViewArrangement() == views.COMPARE_LAYOUT


def test_standin_result_that_comes_while_the_user_is_elsewhere(widget, scan, standins):
    mark(widget, scan)
    widget.ui.applyButton.click()
    widget.exit()
    widget.logic.client.finish()
    assert "SYNTHETIC" in standins.dialogs.status[-1]
    widget.enter()
    assert widget.volumeNode is scan
    assert widget.ui.sliceTable.rowCount == 1


def test_standin_scene_close_while_healing(widget, scan, views, standins):
    mark(widget, scan)
    heal(widget)
    widget.ui.applyButton.click()
    slicer.mrmlScene.Clear(0)
    assert "scene was closed" in standins.dialogs.errors[0]
    assert widget.volumeNode is None
    assert not widget.ui.applyButton.enabled
    assert widget.ui.sliceTable.rowCount == 0
    from logic_helpers import makeVolume

    second = makeVolume(np.ones((6, 8, 10), np.int16), np.eye(4), "second FLAIR")
    widget.ui.inputSelector.setCurrentNode(second)
    mark(widget, second)
    assert widget.ui.applyButton.enabled


def test_standin_scan_removed_while_healing(widget, scan, standins):
    mark(widget, scan)
    widget.ui.applyButton.click()
    slicer.mrmlScene.RemoveNode(scan)
    assert "scan was removed" in standins.dialogs.errors[0]
    assert "Choose a scan" in widget.ui.applyButton.toolTip


def test_standin_parameters_survive_the_scene_file(widget, scan, tmp_path):
    mark(widget, scan)
    ui = widget.ui
    ui.samplesSpinBox.setValue(5)
    ui.percentileSpinBox.setValue(88.5)
    ui.fusionComboBox.setCurrentIndex(2)
    ui.useMaskCheckBox.click()
    heal(widget)
    slicer.util.saveScene(str(tmp_path / "panel.mrb"))
    slicer.mrmlScene.Clear(0)
    assert ui.samplesSpinBox.value == 1
    slicer.util.loadScene(str(tmp_path / "panel.mrb"))
    assert ui.samplesSpinBox.value == 5
    assert ui.percentileSpinBox.value == 88.5
    assert ui.fusionComboBox.currentIndex == 2
    assert not ui.useMaskCheckBox.checked
    assert widget.volumeNode.GetName() == "head FLAIR"
    assert widget._parameterNode.maskSegmentation is widget.logic.maskSegmentation(widget.volumeNode)
    assert ui.resultComboBox.currentIndex == 1


def test_standin_dependencies_are_asked_for_once_and_can_be_declined(module, standins, monkeypatch):
    from logic_fake_client import FakeClient
    from logic_helpers import makeVolume

    from BrainCounterfactualCommon import dependencies

    monkeypatch.setattr(dependencies, "installedVersion", lambda name: None)
    monkeypatch.delenv("BRAINDIFFUSION_PYTHON", raising=False)
    installed = []
    monkeypatch.setattr(dependencies, "install", installed.append)
    monkeypatch.setattr(dependencies, "verify", lambda: "2.8.0")
    widget = module.BrainCounterfactualWidget()
    widget.makeLogic = lambda: module.BrainCounterfactualLogic(FakeClient())
    widget.setup()
    assert standins.dialogs.questions == []  # not at start-up
    assert "missing" in widget.ui.dependenciesLabel.text
    widget.ui.inputSelector.setCurrentNode(makeVolume(np.ones((4, 5, 6), np.int16), np.eye(4), "x FLAIR"))
    standins.dialogs.answer = False
    widget.ui.saliencyButton.click()
    assert "torch>=" in standins.dialogs.questions[0]
    assert not widget.logic.busy
    assert not installed
    standins.dialogs.answer = True
    widget.ui.saliencyButton.click()
    assert len(installed) == 1
    assert widget.logic.busy
    widget.cleanup()


def test_standin_module_says_research_only_and_cites(module, standins, monkeypatch):
    import types

    connected = []
    monkeypatch.setattr(slicer.app, "commandOptions", lambda: types.SimpleNamespace(noMainWindow=False), raising=False)
    monkeypatch.setattr(slicer.app, "connect", lambda signal, slot: connected.append((signal, slot)), raising=False)
    parent = types.SimpleNamespace()
    module.BrainCounterfactual(parent)
    assert "Never use it for diagnosis" in parent.helpText
    for name in ("Dif-fuse", "ACAT", "MedEdit", "Fontanella", "Ben Alaya"):
        assert name in parent.acknowledgementText
    registered = {}
    sample = types.ModuleType("SampleData")
    sample.SampleDataLogic = types.SimpleNamespace(
        registerCustomSampleDataSource=lambda **named: registered.update(named)
    )
    monkeypatch.setitem(__import__("sys").modules, "SampleData", sample)
    assert connected[0][0] == "startupCompleted()"
    connected[0][1]()
    import hashlib
    from pathlib import Path
    from urllib.parse import urlparse
    from urllib.request import url2pathname

    path = Path(url2pathname(urlparse(registered["uris"]).path))
    assert registered["checksums"] == "SHA256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    assert Path(registered["thumbnailFileName"]).is_file()
    assert registered["nodeNames"].startswith("SYNTHETIC")
