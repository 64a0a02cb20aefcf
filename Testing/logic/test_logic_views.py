"""Layouts, overlays, warnings and comparison on slicer-core's own nodes; views are nodes without windows."""

import types

import numpy as np
import pytest
import slicer
import vtk
from BrainCounterfactualLib.comparison import Comparison
from logic_helpers import healed, makeViews, makeVolume

from BrainCounterfactualCommon.scene import annotations, layouts, overlays, volumes
from BrainCounterfactualCommon.scene.results import SYNTHETIC


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
    switch.showLayout(layouts.COMPARE_LAYOUT)
    assert node.GetViewArrangement() == layouts.COMPARE_LAYOUT > 100
    switch.showLayout(layouts.UNCERTAINTY_LAYOUT)
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
    assert warnings.views == []
    result = healed(logic, head)
    views["Red"].SetBackgroundVolumeID(result.counterfactualNode.GetID())  # the user drags it into a view of his own
    assert warnings.views == ["Red"]
    assert rendered == ["Red"]
    actor = renderers["Red"].GetViewProps().GetItemAsObject(0)
    assert actor.GetInput() == "SYNTHETIC - NOT FOR DIAGNOSIS"
    comparison = Comparison()
    comparison.show(head, result)
    assert layouts.COUNTERFACTUAL in warnings.views
    assert layouts.ORIGINAL not in warnings.views
    comparison.flicker()  # the scan shows through, the warning stays
    assert layouts.COUNTERFACTUAL in warnings.views
    views["Red"].SetBackgroundVolumeID(head.GetID())
    assert "Red" not in warnings.views
    assert renderers["Red"].GetViewProps().GetNumberOfItems() == 0
    warnings.stop()
    assert warnings.views == []
    views["Red"].SetBackgroundVolumeID(result.counterfactualNode.GetID())
    assert warnings.views == []


def test_preview_carries_the_warning_too(logic, head, views):
    warnings = annotations.SyntheticWarnings(SYNTHETIC, {tag: vtk.vtkRenderer() for tag in views}.get)
    warnings.start()
    comparison = Comparison()
    logic.heal(head, {}, {"onPreview": lambda: comparison.showPreview(head, logic.previewNode)})
    logic.client.preview(2, 2, np.zeros((10, 8), np.int16))
    assert warnings.views == [layouts.COUNTERFACTUAL]
    warnings.stop()


def test_jump_moves_the_axial_views_only(head, views):
    layouts.alignWithVolume(layouts.COMPARE_TAGS, head)
    red = layouts.sliceNode("Red")
    red.SetOrientation("Sagittal")
    before = red.GetSliceOffset()
    for index in (0, 4):
        layouts.jumpToSlice(head, index)
        for tag in layouts.COMPARE_TAGS:
            assert volumes.sliceIndexOfView(head, layouts.sliceNode(tag)) == index
    assert red.GetSliceOffset() == before


def renderersOf(tags):
    return {tag: vtk.vtkRenderer() for tag in tags}


def words(renderer):
    props = renderer.GetViewProps()
    return {props.GetItemAsObject(n).GetInput() for n in range(props.GetNumberOfItems())}


def test_our_views_say_in_words_what_they_show(logic, head, views):
    renderers = renderersOf(views)
    captions = annotations.Captions(renderers.get)
    captions.start()
    assert words(renderers[layouts.ORIGINAL]) == {"Original"}
    assert words(renderers["Red"]) == set()  # the user's own
    result = healed(logic, head)
    comparison = Comparison()
    comparison.show(head, result)
    assert words(renderers[layouts.COUNTERFACTUAL]) == {"Counterfactual 1"}
    assert words(renderers[layouts.DIFFERENCE]) == {"Difference 1"}
    comparison.show(head, None)
    assert words(renderers[layouts.COUNTERFACTUAL]) == {"Counterfactual"}
    captions.stop()
    assert words(renderers[layouts.ORIGINAL]) == set()


def test_no_view_is_named_like_a_side_of_the_patient(core):
    titles = layouts.viewTitles()
    assert set(titles) == layouts.OUR_TAGS
    assert not {"L", "R", "Left", "Right"} & set(titles.values())
    assert all(len(title) > 3 for title in titles.values())  # words, not letters of which two are the same


def test_patient_sides_follow_the_view(head, views):
    renderers = renderersOf(views)
    watcher = annotations.PatientSides(renderers.get)
    watcher.start()
    node = layouts.sliceNode(layouts.ORIGINAL)
    layouts.alignWithVolume(layouts.COMPARE_TAGS, head)
    assert layouts.sides(node) == ("R", "L", "A", "P")  # as radiologists look: the patient's right is on the left
    assert words(renderers[layouts.ORIGINAL]) == set("RLAP")
    node.SetOrientation("Coronal")
    assert layouts.sides(node) == ("R", "L", "S", "I")
    assert words(renderers[layouts.ORIGINAL]) == set("RLSI")
    assert words(renderers["Red"]) == set()
    watcher.stop()


def test_a_bar_chart_stands_as_the_slices_do():
    from BrainCounterfactualCommon.scene.pictures import EDITED, LESION, PAPER, bars

    picture = bars([0, 2, 4, 0], [0, 8, 8, 0], height=40, width=80)
    assert picture.shape == (40, 80, 3)
    lowest, second, third = (picture[39 - 10 * n - 5] for n in (0, 1, 2))
    assert (lowest == PAPER).all()  # the lowest slice below
    assert ((second == LESION).all(1).sum(), (third == LESION).all(1).sum()) == (20, 40)
    assert (second[20:] == EDITED).all()
    assert (bars([0, 0], [0, 0]) == PAPER).all()
    assert (bars([], []) == PAPER).all()


def test_scale_bar_comes_once_and_may_be_taken_away(head, views):
    node = layouts.sliceNode(layouts.ORIGINAL)
    layouts.alignWithVolume((layouts.ORIGINAL,), head)
    assert node.GetRulerType() == node.RulerTypeThin
    node.SetRulerType(node.RulerTypeNone)
    layouts.alignWithVolume((layouts.ORIGINAL,), head)
    assert node.GetRulerType() == node.RulerTypeNone


@pytest.mark.parametrize(("width", "height", "wide"), [(1600, 900, True), (760, 640, False), (900, 640, False)])
def test_layout_follows_the_shape_of_the_window(core, monkeypatch, width, height, wide):
    area = types.SimpleNamespace(width=width, height=height)
    monkeypatch.setattr(slicer.app, "layoutManager", lambda: types.SimpleNamespace(viewport=lambda: area))
    comparison = Comparison()
    assert comparison.layoutOf(None) == (layouts.COMPARE_LAYOUT if wide else layouts.COMPARE_GRID_LAYOUT)
    assert (layouts.CORONAL in comparison.tags) is not wide
