"""BrainCounterfactual's panel on STAND-INS for Qt and Slicer's widgets: names, wiring, state; no real widgets."""

import hashlib
import sys
import types
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname

import numpy as np
import slicer
from panels import draw, makeWidget

MODULE = "BrainCounterfactual"


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
    draw(widget, scan)  # as the Segment Editor does: the segmentation tells that it changed
    assert widget.ui.applyButton.enabled
    assert widget.editor.widget.segmentationNode() is widget.logic.maskSegmentation(scan)
    widget.ui.clearMaskButton.click()
    assert not widget.ui.applyButton.enabled


def test_standin_model_shows_licence_and_modality_can_be_said(widget, scan):
    assert "CC BY-NC-SA" in widget.ui.licenceLabel.text
    models = widget.ui.modelComboBox
    assert models.currentText == "tissue-256"
    assert widget.ui.modalityComboBox.currentText == "FLAIR"
    index = widget.ui.modalityComboBox.findText("T1")
    widget.ui.modalityComboBox.setCurrentIndex(index)
    assert widget.logic.modality(scan) == "T1"
    assert models.currentText == "tissue-256"  # it is for any
    assert models.findText("flair-healthy-128 (not for this modality)") >= 0


def test_standin_new_box_lies_on_the_slice_and_marks(widget, scan):
    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
    assert not widget.ui.addBoxButton.enabled
    widget.ui.boxSelector.setCurrentNode(roi)
    assert min(roi.GetSize()) > 0
    widget.ui.addBoxButton.click()
    mask = widget.logic.maskArray(widget.logic.maskSegmentation(scan), scan)
    assert mask.any((1, 2)).tolist() == [False, True, True, True, True, True]
    assert widget.ui.applyButton.enabled


def test_standin_what_was_assumed_while_reading_stands_below_the_scan(widget, scan, tmp_path):
    from logic_helpers import makeVolume, obliqueAffine

    from BrainCounterfactualCommon.worker.client import Result

    widget.asksUnasked = True
    path = str(tmp_path / "head FLAIR.nrrd")
    slicer.util.saveNode(makeVolume(np.ones((6, 8, 10), np.int16), obliqueAffine(), "m"), path)
    loaded = slicer.util.loadVolume(path)
    widget.ui.inputSelector.setCurrentNode(loaded)
    asked = next(job for job in widget.logic.client.jobs if job.request == "notes")
    assert asked.payload == {"path": path}
    assert widget.ui.notesLabel.isHidden()
    elsewhere = obliqueAffine()
    elsewhere[0, 3] += 9
    asked.tell("onResult", Result({}, {"notes": ["LEFT AND RIGHT MAY BE SWAPPED."], "affine": elsewhere.tolist()}))
    assert "LEFT AND RIGHT MAY BE SWAPPED.\nSlicer puts this scan up to 9.0 mm from" in widget.ui.notesLabel.text
    assert not widget.ui.notesLabel.isHidden()
    widget.ui.inputSelector.setCurrentNode(scan)  # of another scan nothing is known
    assert widget.ui.notesLabel.text == ""
    assert widget.ui.notesLabel.isHidden()


def test_standin_a_mask_that_had_to_be_read_in_a_way_says_so(widget, scan, standins, tmp_path):
    from logic_helpers import makeVolume, obliqueAffine

    path = tmp_path / "mask.nrrd"
    finer = obliqueAffine() @ np.diag([0.7, 0.7, 0.7, 1])
    slicer.util.saveNode(makeVolume(np.linspace(0, 1, 480, dtype=np.float32).reshape(6, 8, 10), finer, "m"), str(path))
    standins.qt.QFileDialog.getOpenFileName = lambda *arguments: str(path)
    widget.ui.maskFromFileButton.click()
    assert "0.5" in widget.ui.progressLabel.text
    assert "resampled" in widget.ui.progressLabel.text


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


def test_standin_settings_reach_the_worker(widget, scan):
    draw(widget, scan)
    ui = widget.ui
    ui.samplesSpinBox.setValue(3)
    ui.marginSpinBox.setValue(4.0)
    ui.fusionComboBox.setCurrentIndex(1)
    ui.maskRuleComboBox.setCurrentIndex(2)
    ui.seamComboBox.setCurrentIndex(2)
    ui.applyButton.click()
    sent = widget.logic.client.last
    assert sent.payload["settings"]["seam"] == "outside"
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
    draw(widget, scan)
    widget.ui.applyButton.click()
    assert widget.logic.client.last.payload["settings"]["noise_level"] is None
    widget.logic.client.finish()
    widget.ui.stepsSpinBox.setValue(20)
    widget.ui.noiseLevelSpinBox.setValue(8)
    widget.ui.applyButton.click()
    sent = widget.logic.client.last.payload["settings"]
    assert (sent["noise_level"], sent["steps"]) == (8, 8)


def test_standin_heal_this_slice_takes_the_view(widget, scan, views):
    from BrainCounterfactualCommon.scene import volumes

    draw(widget, scan)
    red = views.sliceNode("Red")
    red.RotateToVolumePlane(scan)
    red.JumpSliceByOffsetting(*volumes.sliceCenter(scan, 3))
    widget.ui.healSliceButton.click()
    assert widget.ui.healSliceButton.text == "Cancel"
    sent = widget.logic.client.last
    assert sent.payload["settings"]["slices"] == [3, 4]
    assert sent.payload["view_slice"] == 3
    assert np.argwhere(sent.arrays["mask"])[:, 2].tolist() == [3] * 9


def test_standin_view_beside_the_scan_is_said(widget, scan, views, standins):
    draw(widget, scan)
    views.sliceNode("Red").JumpSliceByOffsetting(0, 0, 5000)
    widget.ui.healSliceButton.click()
    assert "does not show the scan" in standins.dialogs.errors[0]
    assert not widget.logic.busy
    assert widget.ui.healSliceButton.text == "Heal this slice"


def test_standin_a_wrong_contrast_is_said_at_the_button(widget, scan, standins):
    draw(widget, scan)
    ui = widget.ui
    assert ui.applyButton.enabled
    ui.modalityComboBox.setCurrentIndex(ui.modalityComboBox.findText("T1"))
    ui.modelComboBox.setCurrentIndex(ui.modelComboBox.findText("flair-healthy-128 (not for this modality)"))
    for button in (ui.applyButton, ui.healSliceButton, ui.saliencyButton):
        assert not button.enabled
        assert "This is a T1 scan" in button.toolTip
    assert "This is a T1 scan" in ui.estimateLabel.text
    assert standins.dialogs.errors == []
    ui.modalityComboBox.setCurrentIndex(ui.modalityComboBox.findText("FLAIR"))
    assert ui.applyButton.enabled
    assert ui.estimateLabel.text == ""


def test_standin_dependencies_are_asked_for_once_and_can_be_declined(module, standins, monkeypatch):
    from logic_helpers import makeVolume

    from BrainCounterfactualCommon.worker import dependencies

    monkeypatch.setattr(dependencies, "installedVersion", lambda name: None)
    monkeypatch.delenv("BRAINDIFFUSION_PYTHON", raising=False)
    installed = []
    monkeypatch.setattr(dependencies, "install", installed.append)
    monkeypatch.setattr(dependencies, "verify", lambda: "2.8.0")
    monkeypatch.setattr(dependencies, "_hasPyTorchUtils", lambda: True)
    widget = makeWidget(module)
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
    monkeypatch.setitem(sys.modules, "SampleData", sample)
    for signal, slot in connected:
        if signal == "startupCompleted()":
            slot()
    path = Path(url2pathname(urlparse(registered["uris"]).path))
    assert registered["checksums"] == "SHA256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    assert Path(registered["thumbnailFileName"]).is_file()
    assert registered["nodeNames"].startswith("SYNTHETIC")
