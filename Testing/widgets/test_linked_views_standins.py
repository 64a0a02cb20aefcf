"""What each linked view shows, after every action: panels on STAND-INS, view controllers on Slicer's own link logic.

The order of events is the desktop's: every opacity comes back as an interaction, the preview's removal before onDone.
"""

import numpy as np
import pytest
import slicer
from desktop_controllers import Controllers, shown
from panels import draw, finish, work

MODULE = "BrainCounterfactual"


@pytest.fixture
def controllers(standins, views):
    """Linked views with controllers; ours form a group of their own, as the layout makes them."""
    for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        node.SetViewGroup(views.VIEW_GROUP if node.GetLayoutName() in views.OUR_TAGS else 0)
    made = Controllers()
    yield made
    made.close()


def healedViews(views, scan, result, fade=1.0, difference=0.8, uncertain=False):
    out = {
        views.ORIGINAL: (scan, None, 0.0, None),
        views.COUNTERFACTUAL: (scan, result.node if result else None, fade if result else 0.0, None),
        views.DIFFERENCE: (scan, result.differenceNode if result else None, difference if result else 0.0, None),
    }
    if uncertain:
        out[views.UNCERTAINTY] = (scan, result.deviationNode, difference, None)
    return out


def test_standin_controllers_do_mix_views_that_are_not_kept_apart(controllers, scan, views):
    """The fault itself: without the flag, one opacity is copied to all linked views."""
    views.link(views.COMPARE_TAGS)
    for tag in views.COMPARE_TAGS:
        views.composite(tag).SetInteractionFlagsModifier(2**32 - 1)
        views._byLayoutName("vtkMRMLSliceCompositeNode", tag).SetForegroundVolumeID(scan.GetID())
    original, top, _difference = (views._byLayoutName("vtkMRMLSliceCompositeNode", tag) for tag in views.COMPARE_TAGS)
    for node in (original, top):
        node.SetInteractionFlagsModifier(2**32 - 1)
    top.SetForegroundOpacity(0.8)
    assert original.GetForegroundOpacity() == pytest.approx(0.8)


def test_standin_heal_every_action_leaves_each_view_its_own(controllers, widget, scan, views, standins):
    ui, client, tags = widget.ui, widget.logic.client, views.COMPARE_TAGS
    draw(widget, scan)
    ui.applyButton.click()
    client.preview(2, 2, np.zeros((10, 8), np.int16))
    preview = widget.logic.previewNode
    expected = healedViews(views, scan, None)
    assert shown(tags) == {**expected, views.COUNTERFACTUAL: (scan, preview, 1.0, None)}
    client.finish()
    standins.eventLoop()
    first = widget.results.result
    assert shown(tags) == healedViews(views, scan, first)
    ui.differenceOpacitySlider.setValue(0.5)
    assert shown(tags) == healedViews(views, scan, first, difference=0.5)
    ui.fadeSlider.setValue(0.25)
    assert shown(tags) == healedViews(views, scan, first, 0.25, 0.5)
    ui.fadeSlider.setValue(1.0)
    ui.flickerButton.click()
    widget.results._timer.tick()
    assert shown(tags) == healedViews(views, scan, first, 0.0, 0.5)
    ui.flickerButton.click()
    assert shown(tags) == healedViews(views, scan, first, 1.0, 0.5)
    ui.undoButton.click()
    assert shown(tags) == healedViews(views, scan, None)
    ui.redoButton.click()
    assert shown(tags) == healedViews(views, scan, first, difference=0.5)
    work(widget, scan, samples=3)
    standins.eventLoop()
    second = widget.results.result
    assert shown((*tags, views.UNCERTAINTY)) == healedViews(views, scan, second, 1.0, 0.5, True)
    ui.removeResultButton.click()
    assert shown(tags) == healedViews(views, scan, first, difference=0.5)
    ui.compareButton.click()
    ui.compareButton.click()
    standins.eventLoop()
    assert shown(tags) == healedViews(views, scan, first, difference=0.5)


@pytest.mark.parametrize("how", ["error", "cancel"])
def test_standin_a_job_without_result_leaves_each_view_its_own(controllers, widget, scan, views, how, standins):
    work(widget, scan)
    first = widget.results.result
    widget.ui.applyButton.click()
    widget.logic.client.preview(2, 2, np.zeros((10, 8), np.int16))
    if how == "error":
        widget.logic.client.fail()
    else:
        widget.ui.applyButton.click()
        widget._pollTimer.tick()
    standins.eventLoop()
    assert shown(views.COMPARE_TAGS) == healedViews(views, scan, first)
    assert not [n for n in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if "preview" in n.GetName()]


def test_standin_a_loaded_scene_keeps_each_view_its_own(controllers, widget, scan, views, standins, tmp_path):
    """The file says that views are linked, and nothing of what is kept apart."""
    work(widget, scan)
    slicer.util.saveScene(str(tmp_path / "compared.mrb"))
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "compared.mrb"))
    standins.eventLoop()
    scan = widget.volumeNode
    result = widget.logic.currentResult(scan)
    for tag in views.COMPARE_TAGS:
        node = views._byLayoutName("vtkMRMLSliceCompositeNode", tag)
        assert node.GetLinkedControl()
        assert node.GetInteractionFlagsModifier() == 0
    top = views._byLayoutName("vtkMRMLSliceCompositeNode", views.COUNTERFACTUAL)
    top.SetForegroundOpacity(0.3)  # by the slider in the view's own bar
    assert shown(views.COMPARE_TAGS) == healedViews(views, scan, result, 0.3)


@pytest.mark.parametrize("module", ["BrainLesionSim"], indirect=True)
def test_standin_induce_every_action_leaves_each_view_its_own(controllers, widget, scan, views, standins):
    ui, client, tags = widget.ui, widget.logic.client, views.LESION_TAGS

    def expected(induction, fade=1.0):
        return {
            views.PRIOR: (scan, None, 0.0, None),
            views.LESION: (scan, None, 0.0, induction.differenceNode if induction else None),
            views.DISEASED: (scan, induction.node if induction else None, fade if induction else 0.0, None),
        }

    draw(widget, scan)
    ui.applyButton.click()
    client.preview(2, 2, np.zeros((10, 8), np.int16))
    preview = widget.logic.previewNode
    assert shown(tags) == {**expected(None), views.DISEASED: (scan, preview, 1.0, None)}
    finish(widget)
    standins.eventLoop()
    first = widget.results.result
    assert shown(tags) == expected(first)
    ui.fadeSlider.setValue(0.25)
    assert shown(tags) == expected(first, 0.25)
    ui.undoButton.click()
    assert shown(tags) == expected(None)
    ui.redoButton.click()
    assert shown(tags) == expected(first, 0.25)
    ui.healResultButton.click()
    client.finishHealing()
    standins.eventLoop()
    assert shown((views.PRIOR, views.DISEASED)) == {tag: expected(first, 0.25)[tag] for tag in tags[::2]}
