"""Layouts, overlays, warnings and comparison on slicer-core's own nodes; views are nodes without windows."""

import numpy as np
import pytest
import slicer
import vtk
from BrainCounterfactualLib.comparison import Comparison
from logic_helpers import healed, makeViews, makeVolume

from BrainCounterfactualCommon import annotations, layouts, overlays, scene
from BrainCounterfactualCommon.results import SYNTHETIC


@pytest.fixture
def views(core):
    """Slice and composite nodes of all compare views and one of the user's, as a host would make them."""
    tags = (*layouts.COMPARE_TAGS, layouts.UNCERTAINTY, "Red")
    makeViews(*tags)
    return {tag: layouts.composite(tag) for tag in tags}


def test_layouts_are_registered_and_the_users_comes_back(core):
    node = slicer.mrmlScene.AddNode(slicer.vtkMRMLLayoutNode())
    node.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalView)
    switch = layouts.LayoutSwitch()
    switch.show()
    assert node.GetViewArrangement() == layouts.COMPARE_LAYOUT > 100
    switch.show(withUncertainty=True)
    description = node.GetLayoutDescription(layouts.UNCERTAINTY_LAYOUT)
    assert all(tag in description for tag in (*layouts.COMPARE_TAGS, layouts.UNCERTAINTY))
    switch.restore()
    assert node.GetViewArrangement() == slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalView
    node.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)
    switch.restore()  # ours is not shown: the user's choice is left alone
    assert node.GetViewArrangement() == slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView


def test_comparison_fills_the_views(logic, head, views):
    drawn = logic.maskSegmentation(head)
    result = healed(logic, head, samples=3)
    comparison = Comparison()
    comparison.show(head, result)
    shownIn = drawn.GetDisplayNode().GetViewNodeIDs()
    assert layouts.sliceNode("Red").GetID() in shownIn
    assert layouts.sliceNode(layouts.COUNTERFACTUAL).GetID() not in shownIn
    assert views[layouts.ORIGINAL].GetBackgroundVolumeID() == head.GetID()
    top = views[layouts.COUNTERFACTUAL]
    assert top.GetForegroundVolumeID() == result.counterfactualNode.GetID()
    assert top.GetForegroundOpacity() == 1.0
    assert views[layouts.DIFFERENCE].GetForegroundVolumeID() == result.differenceNode.GetID()
    assert views[layouts.UNCERTAINTY].GetForegroundVolumeID() == result.deviationNode.GetID()
    assert all(views[tag].GetLinkedControl() and views[tag].GetHotLinkedControl() for tag in comparison.tags)
    assert not views["Red"].GetLinkedControl()
    assert not comparison.flicker()
    assert top.GetForegroundOpacity() == 0.0
    assert comparison.flicker()
    comparison.setFade(0.3)
    assert top.GetForegroundOpacity() == pytest.approx(0.3)
    legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(result.differenceNode)
    assert legend.GetVisibility()
    comparison.show(head, None)
    assert top.GetForegroundVolumeID() is None
    assert not legend.GetVisibility()
    assert not result.maskNode.GetDisplayNode().GetVisibility()


def test_difference_is_clear_where_nothing_changed(logic, head):
    """What comes out of the display pipeline: transparent at 0, opaque and of two colors at the ends."""
    array = np.zeros((3, 4, 5), np.float32)
    array[1, 1, 1], array[1, 2, 2] = -100, 100
    node = makeVolume(array, np.eye(4), "difference")
    overlays.style(node, overlays.DIVERGING, -100, 100)
    display = node.GetDisplayNode()
    display.SetInputImageDataConnection(node.GetImageDataConnection())
    display.GetOutputImageDataConnection().GetProducer().Update()
    image = display.GetOutputImageData()
    places = ((0, 0, 0), (1, 1, 1), (2, 2, 1))
    rgba = np.array([[image.GetScalarComponentAsDouble(*at, c) for c in range(4)] for at in places])
    assert rgba[0, 3] < 30
    assert rgba[1, 3] > 200
    assert rgba[2, 3] > 200
    assert rgba[1, 2] > rgba[1, 0]  # darker than the scan: blue
    assert rgba[2, 0] > rgba[2, 2]  # brighter: red


def test_own_color_tables_are_made_once_and_others_are_found(core):
    assert overlays.colorNode(overlays.HEAT) is overlays.colorNode(overlays.HEAT)
    assert overlays.colorNode("Grey") is not None
    with pytest.raises(ValueError, match="no color table"):
        overlays.colorNode("Inferno of the future")


def test_threshold_of_an_overlay(logic, head):
    overlays.style(head, overlays.HEAT, 0, 1, threshold=0.4)
    display = head.GetDisplayNode()
    assert display.GetApplyThreshold()
    assert display.GetLowerThreshold() == pytest.approx(0.4)
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == pytest.approx((0, 1))


def test_warning_follows_the_synthetic_volume(logic, head, views):
    renderers = {tag: vtk.vtkRenderer() for tag in views}
    rendered = []
    warnings = annotations.SyntheticWarnings(SYNTHETIC, renderers.get, rendered.append)
    warnings.start()
    assert warnings.viewsWithWarning == []
    result = healed(logic, head)
    views["Red"].SetBackgroundVolumeID(result.counterfactualNode.GetID())  # the user drags it into a view of his own
    assert warnings.viewsWithWarning == ["Red"]
    assert rendered == ["Red"]
    actor = renderers["Red"].GetViewProps().GetItemAsObject(0)
    assert actor.GetInput() == "SYNTHETIC - NOT FOR DIAGNOSIS"
    comparison = Comparison()
    comparison.show(head, result)
    assert layouts.COUNTERFACTUAL in warnings.viewsWithWarning
    assert layouts.ORIGINAL not in warnings.viewsWithWarning
    comparison.flicker()  # the scan shows through, the warning stays
    assert layouts.COUNTERFACTUAL in warnings.viewsWithWarning
    views["Red"].SetBackgroundVolumeID(head.GetID())
    assert "Red" not in warnings.viewsWithWarning
    assert renderers["Red"].GetViewProps().GetNumberOfItems() == 0
    warnings.stop()
    assert warnings.viewsWithWarning == []
    views["Red"].SetBackgroundVolumeID(result.counterfactualNode.GetID())
    assert warnings.viewsWithWarning == []


def test_preview_carries_the_warning_too(logic, head, views):
    warnings = annotations.SyntheticWarnings(SYNTHETIC, {tag: vtk.vtkRenderer() for tag in views}.get)
    warnings.start()
    comparison = Comparison()
    logic.heal(head, {}, {"onPreview": lambda: comparison.showPreview(head, logic.previewNode)})
    logic.client.preview(2, 2, np.zeros((10, 8), np.int16))
    assert warnings.viewsWithWarning == [layouts.COUNTERFACTUAL]
    warnings.stop()


def test_jump_moves_the_axial_views_only(head, views):
    layouts.alignWithVolume(layouts.COMPARE_TAGS, head)
    red = layouts.sliceNode("Red")
    red.SetOrientation("Sagittal")
    before = red.GetSliceOffset()
    for index in (0, 4):
        layouts.jumpToSlice(head, index)
        for tag in layouts.COMPARE_TAGS:
            assert scene.sliceIndexOfView(head, layouts.sliceNode(tag)) == index
    assert red.GetSliceOffset() == before
