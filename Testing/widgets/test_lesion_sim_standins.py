"""BrainLesionSim's panel on STAND-INS for Qt and Slicer's widgets: names, wiring, state; no real widgets."""

import importlib
import types

import numpy as np
import pytest
import slicer
from panels import draw, work

MODULE = "BrainLesionSim"


def marginArray(widget, scan):
    from BrainCounterfactualCommon.scene import masks

    return masks.segmentArray(widget.logic.marginSegmentation(scan), "Margin", scan)


def test_standin_buttons_say_what_is_missing(widget):
    from logic_helpers import makeVolume

    ui = widget.ui
    assert not ui.applyButton.enabled
    assert "Choose a scan" in ui.applyButton.toolTip
    scan = makeVolume(np.ones((6, 8, 10), np.int16), np.eye(4), "x FLAIR")
    ui.inputSelector.setCurrentNode(scan)
    assert "Say where" in ui.applyButton.toolTip
    assert ui.makeLesionButton.enabled  # that needs no lesion yet
    draw(widget, scan)
    assert ui.applyButton.enabled
    assert ui.roundTripButton.enabled
    assert not ui.rerollButton.enabled
    assert "Induce once first" in ui.rerollButton.toolTip


def test_standin_a_modality_without_a_model_is_refused_naming_those_there_are(widget, scan):
    ui = widget.ui
    draw(widget, scan)
    assert [ui.kindComboBox.itemText(n) for n in range(ui.kindComboBox.count)] == ["Stroke", "Tumour"]
    assert "CC BY-NC-SA" in ui.licenceLabel.text
    ui.modalityComboBox.setCurrentIndex(ui.modalityComboBox.findText("T1"))
    assert not ui.applyButton.enabled
    assert "No lesion model is for this modality" in ui.applyButton.toolTip
    assert "stroke on FLAIR" in ui.licenceLabel.text
    ui.modalityComboBox.setCurrentIndex(ui.modalityComboBox.findText("T1GD"))
    assert ui.kindComboBox.currentText == "Tumour"
    assert widget._parameterNode.kind == "tumour"
    assert ui.applyButton.enabled


def test_standin_size_and_margin_follow_the_brush(widget, scan):
    ui = widget.ui
    assert "No lesion is drawn" in ui.sizeLabel.text
    draw(widget, scan)
    assert "Lesion: 0.1 mL" in ui.sizeLabel.text
    assert "22.5 mm" in ui.sizeLabel.text
    wide = marginArray(widget, scan)
    assert wide.any((1, 2)).tolist() == [False, False, True, True, False, False]
    assert wide.sum() > 18
    ui.marginSpinBox.setValue(0.0)
    assert marginArray(widget, scan).sum() == 18
    ui.showMarginCheckBox.click()
    assert not marginArray(widget, scan).any()
    ui.clearLesionButton.click()
    assert "No lesion is drawn" in ui.sizeLabel.text
    assert widget.editor.widget.segmentationNode() is widget.logic.lesionSegmentation(scan)


def test_standin_a_box_is_told_as_a_box(widget, scan):
    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
    assert not widget.ui.addBoxButton.enabled
    widget.ui.boxSelector.setCurrentNode(roi)
    assert min(roi.GetSize()) > 0
    widget.ui.addBoxButton.click()
    assert widget.logic.lesionArray(scan).any()
    assert widget._parameterNode.condition == "box"
    assert "18.8 mm" in widget.ui.sizeLabel.text
    widget.ui.applyButton.click()
    assert widget.logic.client.last.payload["settings"]["condition"] == "box"


def test_standin_lesion_from_file(widget, scan, standins, tmp_path):
    from logic_helpers import makeVolume, obliqueAffine

    path = tmp_path / "mask.nrrd"
    slicer.util.saveNode(makeVolume(np.ones((6, 8, 10), np.uint8), obliqueAffine(), "m"), str(path))
    standins.qt.QFileDialog.getOpenFileName = lambda *arguments: str(path)
    widget.ui.lesionFromFileButton.click()
    assert widget.logic.lesionArray(scan).all()
    path.write_bytes(b"damaged")
    widget.ui.lesionFromFileButton.click()
    assert "cannot be read" in standins.dialogs.errors[0]


def test_standin_make_a_lesion(widget, scan, standins):
    from lesion_sim_helpers import block

    ui = widget.ui
    ui.shapeKindComboBox.setCurrentIndex(2)
    ui.shapeSideComboBox.setCurrentIndex(1)
    ui.shapeMlSpinBox.setValue(12.5)
    ui.shapeSeedSpinBox.setValue(4)
    ui.makeLesionButton.click()
    assert ui.makeLesionButton.text == "Cancel"
    sent = widget.logic.client.last
    assert sent.request == "shape"
    assert sent.payload["shape"] == {"kind": "spots", "ml": 12.5, "side": "L", "lobe": None, "territory": None}
    assert sent.payload["settings"]["seed"] == 4
    widget.logic.client.finishShape(block())
    assert ui.makeLesionButton.text == "Make a lesion"
    assert "0.1 mL" in ui.sizeLabel.text
    assert "A lesion was made" in ui.progressLabel.text


def test_standin_a_made_lesion_and_an_induced_one_come_into_view(widget, scan, views, standins):
    """At its largest slice; a slice that holds nothing but margin shows nothing of it."""
    from BrainCounterfactualCommon.scene import volumes

    mask = np.zeros((6, 8, 10), bool)
    mask[4, 2:6, 3:7] = mask[3, 3, 3] = True
    red = views.sliceNode("Red")
    red.RotateToVolumePlane(scan)
    red.JumpSliceByOffsetting(*volumes.sliceCenter(scan, 1))
    widget.ui.makeLesionButton.click()
    widget.logic.client.finishShape(mask)
    assert volumes.sliceIndexOfView(scan, red) == 4
    red.JumpSliceByOffsetting(*volumes.sliceCenter(scan, 2))
    widget.ui.applyButton.click()
    client = widget.logic.client
    finishInduction = client.finishInduction
    tell = client.last.tell

    def tellWithMarginBelow(name, *arguments):
        if name == "onResult":
            arguments[0].data["slices"].append({"slice": 2, "lesion_mm2": 0.0, "generate_mm2": 9.0})
        tell(name, *arguments)

    client.last.tell = tellWithMarginBelow
    finishInduction()
    standins.eventLoop()
    assert widget.results.sliceInView() == 4


def test_standin_a_round_trip_shows_the_healed_scan_and_hides_what_nobody_drew(widget, scan, views):
    from logic_helpers import makeViews

    makeViews(views.HEALED)
    draw(widget, scan)
    widget.ui.roundTripButton.click()
    client = widget.logic.client
    client.finishInduction()
    client.finishHealing()
    induction = widget.results.result
    assert views.LayoutSwitch.node().GetViewArrangement() == views.ROUND_TRIP_LAYOUT
    assert views.composite(views.HEALED).GetForegroundVolumeID() == induction.healed.node.GetID()
    assert views.composite(views.DISEASED).GetForegroundVolumeID() == induction.node.GetID()
    covering = (widget.logic.maskSegmentation(induction.node), induction.healed.maskNode, induction.healed.lesionNode)
    assert [node.GetDisplayNode().GetVisibility() for node in covering] == [0, 0, 0]


def test_standin_preview_and_result_in_three_views(widget, scan, views):
    draw(widget, scan)
    ui = widget.ui
    ui.applyButton.click()
    assert views.LayoutSwitch.node().GetViewArrangement() == views.LESION_LAYOUT
    widget.logic.client.preview(2, 2, np.zeros((10, 8), np.int16))
    assert views.composite(views.DISEASED).GetForegroundVolumeID() == widget.logic.previewNode.GetID()
    widget.logic.client.finishInduction()
    induction = widget.results.result
    assert views.composite(views.DISEASED).GetForegroundVolumeID() == induction.diseasedNode.GetID()
    assert views.composite(views.LESION).GetLabelVolumeID() == induction.differenceNode.GetID()
    ui.changeOpacitySlider.setValue(0.2)
    assert views.composite(views.LESION).GetLabelOpacity() == pytest.approx(0.2)
    ui.contoursCheckBox.click()
    assert not induction.marksNode.GetDisplayNode().GetSegmentVisibility("Lesion")
    rows = {
        ui.effectsTable.item(r, 0).text(): ui.effectsTable.item(r, 1).text() for r in range(ui.effectsTable.rowCount)
    }
    assert rows["Lesion"] == "1.25 mL"
    assert rows["Change of the ventricles"] == "-0.50 mL"
    assert "Mean change 0 to 2 mm from it" not in rows  # nothing was there
    assert "1.2 mL" in ui.summaryLabel.text
    assert "careful" in ui.summaryLabel.text


def test_standin_reroll_fills_the_strip_and_what_is_liked_is_kept(widget, scan, views, standins):
    work(widget, scan)
    ui = widget.ui
    for seed in (1, 2):
        ui.rerollButton.click()
        assert widget.logic.client.last.payload["settings"]["seed"] == seed
        widget.logic.client.finishInduction(brighter=50 + seed)
    strip = ui.resultStrip
    assert [strip.item(n).text() for n in range(3)] == ["#1 - seed 0", "#2 - seed 1", "#3 - seed 2"]
    assert not strip.item(0).icon().isNull()
    assert strip.currentRow == 2
    strip.setCurrentRow(1)
    assert widget.results.result.seed == 1
    ui.keepButton.click()
    assert strip.item(1).text() == "\u2605 #2 - seed 1"
    ui.undoButton.click()
    assert strip.currentRow == 0
    assert not ui.keepButton.checked
    ui.undoButton.click()
    assert strip.currentRow == -1
    assert not ui.undoButton.enabled
    assert views.composite(views.DISEASED).GetForegroundVolumeID() is None
    ui.redoButton.click()
    standins.dialogs.answer = False
    ui.removeOthersButton.click()
    assert strip.count == 3
    standins.dialogs.answer = True
    ui.removeOthersButton.click()
    assert "Delete 2 results" in standins.dialogs.questions[-1]
    assert strip.count == 1
    strip.setCurrentRow(0)
    ui.removeResultButton.click()
    assert strip.count == 0


def test_standin_induce_then_heal_in_one_click(widget, scan):
    ui = widget.ui
    draw(widget, scan)
    ui.roundTripButton.click()
    widget.logic.client.finishInduction()
    assert ui.roundTripButton.text == "Cancel"  # the healing is under way
    widget.logic.client.finishHealing(left=2)
    assert ui.roundTripButton.text == "Induce, then heal"
    assert "the lesion, as painted" in ui.roundTripLabel.text
    assert "10 % of the change remains" in ui.roundTripLabel.text
    assert "outside the region" not in ui.roundTripLabel.text
    ui.undoButton.click()
    assert ui.roundTripLabel.text == ""


def test_standin_a_result_can_be_healed_later(widget, scan):
    assert not widget.ui.healResultButton.enabled
    work(widget, scan)
    widget.ui.healRegionComboBox.setCurrentIndex(1)
    widget.ui.healResultButton.click()
    assert widget.logic.client.last.request == "heal"
    assert widget.logic.client.last.arrays["mask"].sum() == widget.results.result.marked("Margin").sum()
    widget.logic.client.finishHealing()
    assert widget.results.result.roundTrip
    assert widget.ui.roundTripLabel.text


def test_standin_what_a_lesion_displaces_is_asked_for(widget, scan):
    spin = widget.ui.massEffectSpinBox
    assert spin.value == 0  # nothing moves unless it is asked for
    for value, due in ((0, 0), (60, 60), (-20, -20), (spin.minimum, None)):
        spin.setValue(value)
        assert widget.settings()["mass_effect"] == due


def test_standin_lesion_and_what_it_displaced_are_shown_in_space_when_asked_for(widget, scan, views):
    from logic_helpers import makeSurfaceView

    from BrainCounterfactualCommon.scene import masks

    view, ui = makeSurfaceView(views.SURFACES), widget.ui
    way, outline = np.zeros((10, 8, 6), np.float32), np.zeros((10, 8, 6), np.uint8)
    way[2:8, 2:6, 1:4] = 3.0
    outline[3:7, 2:6, 2] = 2
    outline[4:6, 3:5, 2] = 0  # a border encloses what it borders
    work(widget, scan, arrays={"displaced_outline": outline, "displacement_mm": way})
    result = widget.results.result
    lesion, moved = result.marksNode, result.displacedNode
    assert not lesion.GetDisplayNode().GetVisibility3D()
    assert not moved.GetDisplayNode().GetVisibility()
    assert views.LayoutSwitch.node().GetViewArrangement() == views.LESION_LAYOUT
    assert not lesion.GetSegmentation().ContainsRepresentation("Closed surface")  # nothing is made unasked
    ui.surfacesCheckBox.click()
    assert views.LayoutSwitch.node().GetViewArrangement() == views.LESION_3D_LAYOUT
    shown = lesion.GetDisplayNode()
    assert shown.GetVisibility3D()
    assert [shown.GetSegmentVisibility3D(name) for name in ("Lesion", "Margin", "Edited")] == [True, False, False]
    assert lesion.GetSegmentation().ContainsRepresentation("Closed surface")
    for node in (lesion, moved):
        assert view.GetID() in node.GetDisplayNode().GetViewNodeIDs()
    assert moved.GetDisplayNode().GetVisibility3D()
    ids = [moved.GetSegmentation().GetNthSegmentID(n) for n in range(2)]
    assert ids == ["Ventricles", "Moved"]
    assert masks.segmentArray(moved, "Ventricles", scan).sum() == 16
    assert masks.segmentArray(moved, "Moved", scan).sum() == (way > 0).sum()
    assert not moved.GetDisplayNode().GetSegmentVisibility2DOutline("Moved")  # nothing of it lies over the slices
    ui.contoursCheckBox.click()
    assert shown.GetVisibility()  # the surfaces stay
    assert not shown.GetSegmentVisibility2DOutline("Lesion")
    ui.surfacesCheckBox.click()
    assert not shown.GetVisibility3D()
    assert views.LayoutSwitch.node().GetViewArrangement() == views.LESION_LAYOUT


def test_standin_parameters_survive_the_scene_file(widget, scan, views, tmp_path):
    ui = widget.ui
    p = widget._parameterNode
    chosen = {
        "kind": "tumour", "shapeKind": "spots", "shapeMl": 7.5, "shapeSide": "R", "shapeLobe": "frontal",
        "shapeSeed": 3, "showMargin": False, "preview": False, "method": "mededit", "condition": "box", "steps": 9,
        "resamples": 2, "marginMm": 12.0, "samples": 2, "seed": 6, "device": "cpu", "fade": 0.5,
        "changeOpacity": 0.25, "showContours": False, "showSurfaces": True, "healRegion": "margin", "massEffect": 40.0,
    }  # fmt: skip
    for name, value in chosen.items():
        setattr(p, name, value)
    assert set(p.names) == {*chosen, "inputVolume", "boxRoi"}
    work(widget, scan)
    slicer.util.saveScene(str(tmp_path / "panel.mrb"))
    slicer.mrmlScene.Clear(0)
    assert ui.stepsSpinBox.value == 15
    assert ui.resultStrip.count == 0
    slicer.util.loadScene(str(tmp_path / "panel.mrb"))
    p = widget._parameterNode
    assert {name: getattr(p, name) for name in chosen} == chosen
    assert widget.volumeNode.GetName() == "head FLAIR"
    assert ui.kindComboBox.currentText == "Tumour"
    assert ui.stepsSpinBox.value == 9
    assert ui.resultStrip.count == 1
    assert widget.editor.widget.segmentationNode() is widget.logic.lesionSegmentation(widget.volumeNode)


def test_standin_both_modules_live_side_by_side(widget, scan, standins):
    """Each has its own parameter node and segment editor node; a diseased scan is no first choice of either."""
    work(widget, scan)
    other = importlib.import_module("BrainCounterfactual").BrainCounterfactualWidget()
    other.setup()
    assert other._parameterNode.parameterNode is not widget._parameterNode.parameterNode
    assert other.volumeNode is scan
    assert other.ui.resultComboBox.count == 0  # an induction is no healing
    editors = slicer.util.getNodesByClass("vtkMRMLSegmentEditorNode")
    assert {node.GetSingletonTag() for node in editors} == {"BrainCounterfactual", "BrainLesionSim"}
    other.cleanup()


def test_standin_module_says_research_only_and_cites(module, monkeypatch):
    monkeypatch.setattr(slicer.app, "commandOptions", lambda: types.SimpleNamespace(noMainWindow=True), raising=False)
    parent = types.SimpleNamespace()
    module.BrainLesionSim(parent)
    assert "Never use it for diagnosis" in parent.helpText
    for name in ("MedEdit", "Ben Alaya", "2024"):
        assert name in parent.helpText
        assert name in parent.acknowledgementText
