"""Inductions of BrainLesionSim in slicer-core's scene: nodes, history, views, thumbnails, files."""

import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import slicer
import vtk
from lesion_sim_helpers import FakeLesionClient, block, induced
from logic_helpers import Heard, makeViews, makeVolume, obliqueAffine

from BrainCounterfactualCommon.scene import annotations, layouts, volumes


@pytest.fixture
def sim(core):
    from BrainLesionSimLib.logic import BrainLesionSimLogic

    made = BrainLesionSimLogic(FakeLesionClient())
    yield made
    made.close()


@pytest.fixture
def views(core):
    """Slice and composite nodes of the three views and one of the user's, as a host would make them."""
    tags = (*layouts.LESION_TAGS, "Red")
    makeViews(*tags)
    return {tag: layouts.composite(tag) for tag in tags}


def test_induction_lies_in_the_scans_study_and_says_what_it_is(sim, head):
    sh = volumes.hierarchy()
    subject = sh.CreateSubjectItem(sh.GetSceneItemID(), "P")
    study = sh.CreateStudyItem(subject, "S")
    sh.SetItemParent(volumes.itemOf(head), study)
    induction = induced(sim, head, samples=3)
    assert len(induction.nodes()) == 5
    for node in induction.nodes():
        assert node.GetName().endswith(" 1 (SYNTHETIC)"), node.GetName()
        assert sh.GetItemAncestorAtLevel(sh.GetItemByDataNode(node), "Study") == study
        assert json.loads(node.GetAttribute("BrainCounterfactual.Provenance"))["synthetic"]
    original = slicer.util.arrayFromVolume(head)
    diseased = slicer.util.arrayFromVolume(induction.diseasedNode)
    assert diseased.dtype == original.dtype
    assert (diseased[block()] == original[block()] + 50).all()
    assert np.allclose(volumes.ijkToRas(induction.diseasedNode), obliqueAffine())
    assert sim.modality(induction.diseasedNode) == "FLAIR"


def test_marks_overlap_and_keep_their_voxels(sim, head):
    induction = induced(sim, head)
    margin = block() | np.roll(block(), 1, 2) | np.roll(block(), -1, 2)
    assert (induction.marked("Lesion") == block()).all()
    assert (induction.marked("Margin") == margin).all()
    assert (induction.marked("Edited") == margin).all()
    assert not induction.marksNode.GetDisplayNode().GetSegmentVisibility("Edited")


def test_difference_has_two_colors(sim, head):
    node = induced(sim, head).differenceNode
    assert node.IsA("vtkMRMLLabelMapVolumeNode")
    assert sorted(np.unique(slicer.util.arrayFromVolume(node))) == [0, 1, 2]
    colors = node.GetDisplayNode().GetColorNode()
    assert colors.GetName() == "Induced change"
    rgba = [0.0] * 4
    alphas = []
    for label in range(3):
        colors.GetColor(label, rgba)
        alphas.append(rgba[3])
    assert alphas == [0, 1, 1]
    assert colors.GetColorName(1) == "inside the lesion"


def test_effects_are_in_a_table(sim, head):
    induction = induced(sim, head)
    table = induction.tableNode
    rows = {table.GetCellText(r, 0): table.GetCellText(r, 1) for r in range(table.GetNumberOfRows())}
    assert rows["Lesion"] == "1.25"
    assert rows["Change of the ventricles"] == "-0.5"
    assert rows["Midline shift, largest (+ to the left)"] == "-1.5"
    assert rows["Mean change inside the lesion"] == "0.2"
    assert rows["Mean change 0 to 2 mm from it"] == ""
    assert induction.effects["ventricle"]["change_ml"] == -0.5
    assert induction.warnings == ["careful"]
    assert [row["index"] for row in induction.slices] == [2, 3]


def test_healings_and_inductions_do_not_meet(sim, head):
    """A scan's healings are the other module's; a diseased scan is a scan like any other there."""
    from BrainCounterfactualCommon.scene.counterfactuals import Counterfactual

    induction = induced(sim, head)
    assert Counterfactual.of(head) == []
    heard = Heard()
    sim.roundTrip(induction, heard)
    sim.client.finishHealing()
    assert sim.results(head) == [induction]
    assert Counterfactual.of(induction.node) == [induction.healed]


def test_undo_redo_keep_and_delete_the_others(sim, head):
    assert not sim.canUndo(head)
    first, second, third = (induced(sim, head, seed=n) for n in range(3))
    assert sim.results(head) == [first, second, third]
    assert [one.seed for one in sim.results(head)] == [0, 1, 2]
    assert sim.undo(head) == second
    assert sim.undo(head) == first
    assert sim.undo(head) is None
    assert sim.undo(head) is None  # as far as it goes
    assert sim.redo(head) == first
    sim.restoreResult(third)
    assert sim.currentResult(head) == third
    assert not sim.canRedo(head)
    second.kept = True
    assert sim.removeOthers(head) == 2
    assert sim.results(head) == [second]
    assert second.kept
    assert sim.currentResult(head) in (None, second)


def test_removing_leaves_nothing(sim, head):
    sim.lesionSegmentation(head)
    induced_once = induced(sim, head)
    sim.removeResult(induced_once)
    sh = volumes.hierarchy()

    def count():
        own = [n for n in slicer.util.getNodesByClass("vtkMRMLNode") if not n.IsA("vtkMRMLColorNode")]
        return len(own) - len(slicer.util.getNodesByClass("vtkMRMLStorageNode")), sh.GetNumberOfItems()

    before = count()
    for _ in range(3):
        induction = induced(sim, head, samples=2)
        sim.roundTrip(induction)
        sim.client.finishHealing()
        sim.removeResult(induction)
    assert count() == before


def test_scene_file_keeps_lesion_inductions_and_round_trip(sim, head, tmp_path):
    sim.updateMargin(head)
    induced(sim, head)
    induction = induced(sim, head, samples=2, seed=8)
    induction.kept = True
    sim.roundTrip(induction, region="margin")
    sim.client.finishHealing(left=3)
    sim.undo(head)
    diseased = slicer.util.arrayFromVolume(induction.diseasedNode).copy()
    assert slicer.util.saveScene(str(tmp_path / "induced.mrb"))
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "induced.mrb"))
    head = slicer.util.getNode("head FLAIR")
    assert (sim.lesionArray(head) == block()).all()
    first, second = sim.results(head)
    assert sim.currentResult(head) == first
    assert sim.redo(head) == second
    assert (slicer.util.arrayFromVolume(second.diseasedNode) == diseased).all()
    assert (second.seed, second.kept, first.kept) == (8, True, False)
    assert (second.marked("Lesion") == block()).all()
    assert second.roundTrip["inside"] == pytest.approx(3.0)
    assert second.healed.counterfactualNode is not None
    assert second.differenceNode.GetDisplayNode().GetColorNode().GetName() == "Induced change"
    assert second.effects["lesion_ml"] == 1.25
    assert second.deviationNode is not None


def test_saved_files_say_synthetic(sim, head, tmp_path):
    induction = induced(sim, head, samples=2)
    sim.roundTrip(induction)
    sim.client.finishHealing()
    paths = [Path(path) for path in sim.saveResult(induction, tmp_path / "out")]
    assert all(path.name.startswith("SYNTHETIC_head_FLAIR_induced_1_") for path in paths)
    roles = {path.name.split(".")[0].split("_induced_1_")[1] for path in paths}
    assert roles == {
        "diseased", "difference", "lesion", "generate_mask", "deviation", "healed", "slices", "effects", "round_trip",
        "provenance",
    }  # fmt: skip
    diseased = next(path for path in paths if "diseased" in path.name)
    array, affine = volumes.readVolumeFile(diseased)
    expected = slicer.util.arrayFromVolume(induction.diseasedNode)
    assert (volumes.resampleNearest(array, affine, head) == expected).all()
    effects = next(path for path in paths if path.name.endswith("effects.json"))
    assert json.loads(effects.read_text(encoding="utf-8"))["lesion_ml"] == 1.25


# --- views ---


def test_three_views_in_two_colors(sim, head, views):
    from BrainLesionSimLib.comparison import Comparison

    sim.updateMargin(head)
    induction = induced(sim, head)
    comparison = Comparison()
    comparison.show(head, induction)
    assert views[layouts.PRIOR].GetBackgroundVolumeID() == head.GetID()
    middle = views[layouts.LESION]
    assert middle.GetBackgroundVolumeID() == head.GetID()
    assert middle.GetLabelVolumeID() == induction.differenceNode.GetID()
    assert middle.GetLabelOpacity() == pytest.approx(0.5)
    right = views[layouts.DISEASED]
    assert right.GetForegroundVolumeID() == induction.diseasedNode.GetID()
    assert right.GetLabelVolumeID() is None
    assert all(views[tag].GetLinkedControl() and views[tag].GetHotLinkedControl() for tag in comparison.tags)
    drawn = sim.lesionSegmentation(head).GetDisplayNode().GetViewNodeIDs()
    assert layouts.sliceNode(layouts.PRIOR).GetID() in drawn
    assert layouts.sliceNode(layouts.DISEASED).GetID() not in drawn
    display = induction.marksNode.GetDisplayNode()
    assert display.GetViewNodeIDs() == (layouts.sliceNode(layouts.LESION).GetID(),)
    comparison.showContours(False)
    assert not display.GetSegmentVisibility("Lesion")
    comparison.showContours(True)
    assert display.GetSegmentVisibility("Margin")
    assert not display.GetSegmentVisibility("Edited")
    assert not comparison.flicker()
    assert right.GetForegroundOpacity() == 0.0
    assert comparison.flicker()
    comparison.setDifferenceOpacity(0.25)
    assert middle.GetLabelOpacity() == pytest.approx(0.25)
    comparison.show(head, None)
    assert middle.GetLabelVolumeID() is None
    assert right.GetForegroundVolumeID() is None


def test_warning_lies_over_every_view_with_something_synthetic(sim, head, views):
    from BrainLesionSimLib.comparison import Comparison

    from BrainCounterfactualCommon.scene.results import SYNTHETIC

    warnings = annotations.SyntheticWarnings(SYNTHETIC, {tag: vtk.vtkRenderer() for tag in views}.get)
    warnings.start()
    comparison = Comparison()
    sim.setLesion(block(), head)
    sim.induce(head, {}, {"onPreview": lambda: comparison.showPreview(head, sim.previewNode)})
    sim.client.preview(2, 2, np.zeros((10, 8), np.int16))
    assert warnings.views == [layouts.DISEASED]
    sim.client.finishInduction()
    comparison.show(head, sim.currentResult(head))
    assert warnings.views == sorted([layouts.LESION, layouts.DISEASED])  # the change is synthetic too
    comparison.flicker()
    assert layouts.DISEASED in warnings.views
    warnings.stop()


def test_layout_is_registered_and_the_users_comes_back(core):
    node = slicer.mrmlScene.AddNode(slicer.vtkMRMLLayoutNode())
    node.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalView)
    switch = layouts.LayoutSwitch()
    switch.showLayout(layouts.LESION_LAYOUT)
    assert switch.isOurs
    assert all(tag in node.GetLayoutDescription(layouts.LESION_LAYOUT) for tag in layouts.LESION_TAGS)
    switch.restore()
    assert node.GetViewArrangement() == slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalView


# --- thumbnails ---


def pixelsOf(path):
    """Size of a PNG, after its pieces have been checked."""
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", data[16:24])
    assert struct.unpack(">I", data[29:33])[0] == zlib.crc32(data[12:29])
    return width, height


def test_thumbnail_shows_the_largest_slice_as_radiologists_see_it(sim, core, tmp_path):
    """One bright voxel in the patient's right front: it must be upper left, however the scan is stored."""
    from BrainLesionSimLib import thumbnails

    for signs in ((1, 1, 1), (-1, -1, 1), (-1, 1, 1)):
        affine = np.diag([*signs, 1.0]) * np.array([2.0, 1.0, 3.0, 1.0])
        array = np.zeros((4, 20, 10), np.int16)
        mask = np.zeros(array.shape, bool)
        i = 8 if signs[0] > 0 else 1  # x = +16 mm of 0..18: right
        j = 17 if signs[1] > 0 else 2  # front
        array[2, j, i] = 100
        mask[2, 8:12, 4:6] = True
        node = makeVolume(array, affine, "dot FLAIR")
        sim.setLesion(mask, node)
        sim.induce(node)
        sim.client.finishInduction(brighter=0)
        picture = thumbnails.picture(sim.currentResult(node))
        assert picture.shape == (96, 96, 3)
        rows, columns = np.nonzero((picture == picture.max()).all(-1) & (picture[..., 0] > 0))
        assert len(rows)
        assert rows.mean() < 48
        assert columns.mean() < 48
        red = (picture[..., 0] > 200) & (picture[..., 1] < 100)
        assert red.any()
        assert pixelsOf(Path(sim.thumbnail(sim.currentResult(node), tmp_path / "t.png"))) == (96, 96)
