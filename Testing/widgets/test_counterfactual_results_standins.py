"""Results and saliency in BrainCounterfactual's panel, on STAND-INS for Qt and Slicer's widgets."""

import pytest
import slicer
from panels import work

MODULE = "BrainCounterfactual"


def test_standin_result_table_history_and_compare(widget, scan, views):
    ui = widget.ui
    work(widget, scan)
    assert ui.compareButton.checked
    layoutNode = views.LayoutSwitch.node()
    assert layoutNode.GetViewArrangement() == views.COMPARE_LAYOUT
    assert ui.sliceTable.rowCount == 1
    assert [ui.sliceTable.item(0, c).text() for c in range(4)] == ["1", "0.25", "8", "10"]
    assert "1.5 mL" in ui.summaryLabel.text
    assert "careful" in ui.summaryLabel.text
    work(widget, scan, samples=3)
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
    from BrainCounterfactualCommon.scene import volumes

    work(widget, scan)
    widget.ui.sliceTable.cellDoubleClicked.emit(0, 0)
    assert volumes.sliceIndexOfView(scan, views.sliceNode(views.ORIGINAL)) == 1


def test_standin_table_is_sorted_by_size_and_a_row_still_leads_to_its_slice(widget, scan, views):
    from BrainCounterfactualCommon.scene import volumes

    rows = [{"slice": n, "mask_mm2": 10.0, "lesion_mm2": area} for n, area in ((1, 9.0), (2, 10.0), (4, 100.0))]
    table = widget.ui.sliceTable

    def column(number):
        return [table.item(row, number).text() for row in range(table.rowCount)]

    work(widget, scan, slices=rows)
    assert column(0) == ["4", "2", "1"]  # the largest lesion first
    header = table.horizontalHeader()
    ascending = header.sortIndicatorOrder().__class__.AscendingOrder
    table.sortItems(2, ascending)
    assert column(2) == ["9", "10", "100"]  # as numbers, not as words
    table.cellDoubleClicked.emit(2, 0)
    assert volumes.sliceIndexOfView(scan, views.sliceNode(views.ORIGINAL)) == 4
    header.setSortIndicator(2, ascending)
    widget.ui.undoButton.click()
    widget.ui.redoButton.click()
    assert column(2) == ["9", "10", "100"]  # the user's order stays


def test_standin_areas_are_plotted_beside_the_table(widget, scan, views):
    label = widget.ui.areaPlotLabel
    assert label.isHidden()
    rows = [{"slice": n, "mask_mm2": 50.0, "lesion_mm2": area} for n, area in ((1, 9.0), (3, 40.0))]
    work(widget, scan, slices=rows)
    assert not label.isHidden()
    assert (label.pixmap.width(), label.pixmap.height()) == (64, 180)
    assert "at most 40 mm\u00b2 in slice 3" in label.toolTip
    widget.ui.resultComboBox.setCurrentIndex(0)
    assert label.isHidden()


def test_standin_maps_are_no_choice_for_a_scan(widget, scan, views):
    work(widget, scan, samples=3)
    result = widget.logic.results(scan)[0]
    hidden = widget.ui.inputSelector.sortFilterProxyModel().hiddenNodeIDs
    for node in (result.differenceNode, result.deviationNode, result.anomalyNode, result.saliencyNode):
        assert node.GetID() in hidden
    assert scan.GetID() not in hidden
    assert result.counterfactualNode.GetID() not in hidden


def test_standin_lesion_is_shown_in_space_when_asked_for(widget, scan, views):
    from logic_helpers import makeSurfaceView

    view, node = makeSurfaceView(views.SURFACES), views.LayoutSwitch.node()
    work(widget, scan)
    lesion, edited = (getattr(widget.results.result, role + "Node").GetDisplayNode() for role in ("lesion", "mask"))
    assert (node.GetViewArrangement(), lesion.GetVisibility3D()) == (views.COMPARE_LAYOUT, 0)
    widget.ui.surfacesCheckBox.click()
    assert node.GetViewArrangement() == views.COMPARE_3D_LAYOUT
    assert widget.ui.compareButton.checked
    assert lesion.GetVisibility3D()
    assert view.GetID() in lesion.GetViewNodeIDs()
    assert not edited.GetVisibility3D()
    widget.ui.resultComboBox.setCurrentIndex(0)
    assert not lesion.GetVisibility()
    widget.ui.compareButton.click()
    assert not widget.results.layoutSwitch.isOurs


def test_standin_the_difference_follows_its_slider(widget, scan, views):
    work(widget, scan)
    widget.ui.differenceOpacitySlider.setValue(0.5)
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


def test_standin_parameters_survive_the_scene_file(widget, scan, tmp_path):
    ui = widget.ui
    ui.samplesSpinBox.setValue(5)
    ui.percentileSpinBox.setValue(88.5)
    ui.fusionComboBox.setCurrentIndex(2)
    ui.useMaskCheckBox.click()
    work(widget, scan)
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


def test_standin_slices_that_were_edited_come_first_the_largest_on_top():
    from BrainCounterfactualLib import texts

    rows = [
        {"index": 0, "lesion_probability": 0.9},
        {"index": 1, "mask_mm2": 5.0, "lesion_mm2": 2.0},
        {"index": 2, "mask_mm2": 5.0, "lesion_mm2": 4.0},
        {"index": 3, "lesion_probability": 0.1},
    ]
    assert [row["index"] for row in texts.inOrder(rows)] == [2, 1, 0, 3]
    assert not any("mm2" in column for column in texts.tableColumns())


def test_standin_steps_that_are_done_fold_away_and_may_be_opened(widget, scan, views):
    ui = widget.ui
    work(widget, scan)
    assert [ui.scanSection.collapsed, ui.saliencySection.collapsed, ui.maskSection.collapsed] == [True] * 3
    assert not ui.resultSection.collapsed
    ui.maskSection.collapsed = False
    ui.undoButton.click()
    assert not ui.maskSection.collapsed


def test_standin_times_are_those_of_the_buttons():
    from BrainCounterfactualLib import texts

    volume, one = {"seconds": 41.2, "device": "cpu"}, {"seconds": 2.6, "device": "cpu"}
    assert texts.estimate(volume, one) == "This slice: about 3 s, volume: about 41 s on cpu."
    assert texts.estimate(volume) == "Volume: about 41 s on cpu."
    assert texts.estimate(None) == ""
