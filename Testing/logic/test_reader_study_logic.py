"""BrainReaderStudy's logic on slicer-core: what the scene holds of a case, grey levels, marks, tools, resuming."""

import sys
from pathlib import Path

import numpy as np
import pytest
import slicer

ROOT = Path(__file__).resolve().parents[2]
for folder in (ROOT / "BrainReaderStudy", ROOT / "Testing"):
    sys.path.insert(0, str(folder))

import reader_study  # noqa: E402
from BrainReaderStudyLib.logic import BrainReaderStudyLogic  # noqa: E402
from logic_helpers import makeViews  # noqa: E402

from BrainCounterfactualCommon.host import Problem  # noqa: E402
from BrainCounterfactualCommon.scene import layouts, volumes  # noqa: E402

TAGS = (layouts.CASE, layouts.CASE_PRIOR, layouts.CASE_LEFT, layouts.CASE_RIGHT)


@pytest.fixture
def views(core):
    """The module's slice views, as nodes, and the pointer's node."""
    makeViews(*TAGS)
    pointer = slicer.vtkMRMLInteractionNode()
    pointer.SetSingletonTag("Singleton")
    slicer.mrmlScene.AddNode(pointer)
    return core


@pytest.fixture
def begun(views, tmp_path):
    """``begun(**study)``: a logic at the first case of reader R1."""
    made, now = [], [0.0]

    def begin(**study):
        folder = reader_study.make_study(tmp_path / "STUDY", **study)
        logic = BrainReaderStudyLogic(lambda: now[0])
        made.append(logic)
        logic.now = now
        logic.open(folder)
        logic.begin("R1", "test 1")
        logic.show()
        return logic

    yield begin
    for logic in made:
        logic.close()


def shown(tag):
    """Name of the volume in a view."""
    node = slicer.mrmlScene.GetNodeByID(layouts.composite(tag).GetBackgroundVolumeID() or "")
    return node.GetName() if node is not None else None


def sceneText():
    """All that the scene would save about its nodes."""
    slicer.mrmlScene.SetSaveToXMLString(1)
    slicer.mrmlScene.Commit()
    return slicer.mrmlScene.GetSceneXMLString()


def test_a_case_stands_beside_its_prior_and_says_no_more_than_its_role(begun):
    logic = begun(show="with_prior")
    assert shown(layouts.CASE) == "case"
    assert shown(layouts.CASE_PRIOR) == "prior"
    assert {n.GetName() for n in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")} == {"case", "prior"}
    case = logic.nodes["scan"]
    np.testing.assert_array_equal(volumes.voxels(case).T, reader_study.head_like(0))
    np.testing.assert_array_equal(volumes.voxels(logic.nodes["prior"]).T, reader_study.head_like(1))
    assert case.GetStorageNode() is None
    text = sceneText()
    assert 'name="case"' in text
    assert ".nii" not in text
    assert logic.session.current.case not in text
    assert all(layouts.composite(tag).GetLinkedControl() for tag in logic.tags)


def test_a_pair_is_not_linked(begun):
    logic = begun(show="pair", questions=(reader_study.SIDE,))
    assert (shown(layouts.CASE_LEFT), shown(layouts.CASE_RIGHT)) == ("left", "right")
    assert not any(layouts.composite(tag).GetLinkedControl() for tag in logic.tags)
    logic.sheet.press("2")
    assert logic.sheet.answers == {"side": "right"}


def test_each_case_begins_in_the_middle(begun):
    logic = begun()
    view = layouts.sliceNode(layouts.CASE)
    view.SetSliceOffset(view.GetSliceOffset() + 15)
    logic.sheet.press("3")
    assert logic.save() == ""
    logic.show()
    assert volumes.sliceIndexOfView(logic.nodes["scan"], view) == reader_study.SHAPE[2] // 2


def test_locked_grey_levels_stay_as_sealed(begun):
    logic = begun()
    display = logic.nodes["scan"].GetScalarVolumeDisplayNode()
    display.SetWindowLevel(100, 50)
    assert (display.GetWindow(), display.GetLevel()) == reader_study.WINDOW
    display.AutoWindowLevelOn()
    assert not display.GetAutoWindowLevel()
    assert (display.GetWindow(), display.GetLevel()) == reader_study.WINDOW
    logic.sheet.press("0")
    logic.save()
    saved = reader_study.answers(logic.study.folder)[0]
    assert saved["window"] == {"scan": list(reader_study.WINDOW)}
    assert "window" not in saved["tools"]


def test_free_grey_levels_are_recorded_and_the_prior_follows(begun):
    logic = begun(show="with_prior", policy="free")
    logic.nodes["scan"].GetScalarVolumeDisplayNode().SetWindowLevel(5000, 4000)
    logic.nodes["scan"].GetScalarVolumeDisplayNode().SetWindowLevel(6000, 4000)  # the same drag
    logic.now[0] += 2
    logic.nodes["prior"].GetScalarVolumeDisplayNode().SetWindowLevel(7000, 3000)
    logic.sheet.press("4")
    logic.save()
    saved = reader_study.answers(logic.study.folder)[0]
    assert saved["window"] == {"scan": [7000.0, 3000.0], "prior": [7000.0, 3000.0]}
    assert saved["tools"] == {"window": 2}


def test_tools_are_counted_the_programs_own_moves_are_not(begun):
    logic = begun(show="with_prior")
    case, prior = layouts.sliceNode(layouts.CASE), layouts.sliceNode(layouts.CASE_PRIOR)
    for _ in range(3):
        for node in (prior, case):  # linked: both move, it counts once
            node.SetSliceOffset(node.GetSliceOffset() + 5)
    prior.SetFieldOfView(90, 90, 1)
    prior.SetFieldOfView(80, 80, 1)
    logic.now[0] += 1
    prior.SetXYZOrigin(4, 2, 0)
    logic.tools.ours(lambda: prior.SetFieldOfView(200, 200, 1))
    assert logic.tools.counts == {"scroll": 3, "zoom": 1, "pan": 1}
    logic.sheet.press("1")
    logic.save()
    assert reader_study.answers(logic.study.folder)[0]["tools"] == {"scroll": 3, "zoom": 1, "pan": 1}
    logic.show()
    assert logic.tools.counts == {}


def test_a_place_is_marked_moved_and_taken_back(begun):
    logic = begun(questions=(reader_study.REALISM, reader_study.PLACE))
    told = []
    logic.onMarked = lambda: told.append(list(logic.sheet.points))
    logic.startMarking()
    pointer = slicer.util.getNodesByClass("vtkMRMLInteractionNode")[0]
    assert pointer.GetCurrentInteractionMode() == pointer.Place
    node = slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode")[0]
    assert node.GetName() == "mark"
    node.AddControlPoint(10.0, -4.0, 5.0)
    assert logic.sheet.points == [[10.0, -4.0, 5.0]]
    node.AddControlPoint(1.0, 2.0, 3.0)  # only one is asked for: the later one
    assert logic.sheet.points == [[1.0, 2.0, 3.0]]
    assert node.GetNumberOfControlPoints() == 1
    node.SetNthControlPointPosition(0, 1.5, 2.0, 3.0)
    assert logic.sheet.points == [[1.5, 2.0, 3.0]]
    logic.markNothing()
    assert logic.sheet.answers == {"place": []}
    assert pointer.GetCurrentInteractionMode() == pointer.ViewTransform
    assert told[-1] == []
    assert logic.save() == "Not answered yet: How real?"
    logic.sheet.press("2")
    logic.save()
    assert reader_study.answers(logic.study.folder)[0]["answers"] == {"realism": 2, "place": []}
    assert not slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode")


def test_a_missing_place_is_asked_for(begun):
    logic = begun(questions=(reader_study.REALISM, {**reader_study.PLACE, "required": True}))
    logic.sheet.press("2")
    assert logic.sheet.question["id"] == "place"
    assert logic.save() == "Not answered yet: Where?"
    assert reader_study.answers(logic.study.folder) == []


def test_after_a_crash_the_same_case_is_shown(begun, tmp_path):
    logic = begun(cases=3)
    logic.sheet.press("3")
    logic.save()
    logic.show()
    case = logic.session.current.case
    logic.sheet.press("1")  # answered, not saved: the program dies here
    logic.clear()
    other = BrainReaderStudyLogic()
    other.open(tmp_path / "STUDY")
    other.begin("R1", "test 1")
    other.show()
    assert other.session.current.case == case
    assert other.sheet.answers == {}
    assert [a["answers"]["realism"] for a in reader_study.answers(tmp_path / "STUDY")] == [3]
    other.close()


def test_a_scene_that_is_not_empty_is_refused(views, tmp_path):
    """Another scan, a segmentation or marks would be seen over the cases, or tell of them."""
    logic = BrainReaderStudyLogic()
    logic.open(reader_study.make_study(tmp_path / "STUDY"))
    seg = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "lesion of the answer key")
    seg.CreateDefaultDisplayNodes()
    with pytest.raises(Problem, match="not empty") as caught:
        logic.begin("R1", "test 1")
    assert "lesion of the answer key" in caught.value.cause
    assert logic.session is None
    slicer.mrmlScene.RemoveNode(seg)
    logic.begin("R1", "test 1")
    logic.close()


def test_something_loaded_over_a_case_is_told_once_and_the_next_case_waits_for_it(begun):
    logic = begun(cases=2)
    told = []
    logic.onForeign = lambda: told.append(1)
    model = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", "tumor")
    model.CreateDefaultDisplayNodes()
    assert told == [1]
    with pytest.raises(Problem, match="not empty"):
        logic.checkAlone()
    logic.sheet.press("3")
    logic.save()
    with pytest.raises(Problem, match="not empty"):
        logic.show()
    assert logic.nodes == {}
    slicer.mrmlScene.RemoveNode(model)
    logic.show()
    assert told == [1]  # the case's own scan is not foreign


def test_going_back_shows_what_was_said(begun):
    logic = begun(questions=(reader_study.REALISM, reader_study.PLACE), going_back=True)
    logic.sheet.press("3")
    logic.sheet.mark([[1.0, 2.0, 3.0]])
    logic.save()
    logic.show()
    logic.goBack()
    logic.show()
    assert logic.sheet.answers == {"realism": 3, "place": [[1.0, 2.0, 3.0]]}
    marks = slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode")[0]
    np.testing.assert_allclose(marks.GetNthControlPointPositionWorld(0), [1, 2, 3])


def test_there_is_no_going_back_where_the_protocol_forbids_it(begun):
    logic = begun()
    logic.sheet.press("3")
    logic.save()
    logic.show()
    with pytest.raises(Problem):
        logic.goBack()
    assert shown(layouts.CASE) == "case"


def test_a_changed_scan_is_not_shown(begun):
    logic = begun()
    path = next(p for p in (logic.study.folder / "cases").iterdir() if logic.session.current.case not in p.name)
    for other in (logic.study.folder / "cases").iterdir():
        if logic.session.current.case not in other.name:
            other.write_bytes(path.read_bytes() + b"x")
    logic.sheet.press("3")
    logic.save()
    with pytest.raises(Problem):
        logic.show()
    assert not slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    assert shown(layouts.CASE) is None


def test_the_case_leaves_nothing_behind(begun):
    logic = begun(show="with_prior", questions=(reader_study.PLACE,))
    counts = []
    for _ in range(3):
        logic.markNothing()
        logic.save()
        logic.show()
        counts.append(slicer.mrmlScene.GetNumberOfNodes())
    assert len(set(counts)) == 1
    logic.close()
    assert not slicer.util.getNodesByClass("vtkMRMLVolumeNode")
