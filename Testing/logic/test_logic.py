"""The module's logic on slicer-core, its worker a stand-in (logic_fake_client.py)."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import slicer
from logic_helpers import Heard, healed, makeVolume, obliqueAffine

from BrainCounterfactualCommon.host import Problem
from BrainCounterfactualCommon.scene import volumes

# --- models ---


def test_models_of_the_scan_come_first_with_their_licence(logic, head):
    cards = logic.modelsFor(head)
    assert cards[0]["name"] == "tissue-256"
    assert cards[0]["fits"]
    assert all(card["licence"] for card in cards)
    assert {card["task"] for card in logic.models()} >= {"denoiser", "classifier"}


@pytest.mark.parametrize(
    ("name", "modality"),
    [
        ("fg6692_FLAIR_raw", "FLAIR"),
        ("ax T2 FLAIR", "FLAIR"),
        ("T1 FLAIR", "T1"),
        ("t1ce", "T1GD"),
        ("T1w post contrast", "T1GD"),
        ("sub-01_T1w", "T1"),
        ("ADC", "ADC"),
        ("scan", None),
    ],
)
def test_modality_is_guessed_and_can_be_said(logic, core, name, modality):
    node = makeVolume(np.zeros((2, 2, 2), np.int16), np.eye(4), name)
    assert logic.modality(node) == modality
    logic.setModality(node, "DWI")
    assert logic.modality(node) == "DWI"
    logic.setModality(node, None)
    assert logic.modality(node) == modality


def test_wrong_modality_is_refused_unless_forced(logic, core):
    node = makeVolume(np.ones((4, 5, 6), np.int16), np.eye(4), "T1w")
    with pytest.raises(Problem, match="This is a T1 scan") as caught:
        logic.heal(node, {"model": "flair-healthy-128"})
    assert caught.value.className == "ModalityError"
    assert not logic.busy
    logic.heal(node, {"model": "flair-healthy-128", "force": True})
    assert logic.busy


# --- mask ---


def test_mask_is_made_once_and_kept_by_reference(logic, head):
    seg = logic.maskSegmentation(head)
    assert logic.maskSegmentation(head) is seg
    assert not logic.maskArray(seg, head).any()
    mask = np.random.default_rng(0).random((6, 8, 10)) > 0.7
    logic.setMaskArray(mask, seg, head)
    assert (logic.maskArray(seg, head) == mask).all()
    logic.clearMask(seg, head)
    assert not logic.maskArray(seg, head).any()
    slicer.mrmlScene.RemoveNode(seg)
    assert logic.maskSegmentation(head) is not None


def test_mask_under_a_transform(logic, head):
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
    matrix = np.eye(4)
    matrix[:3, 3] = (100, 20, -30)
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    head.SetAndObserveTransformNodeID(transform.GetID())
    seg = logic.maskSegmentation(head)
    mask = np.zeros((6, 8, 10), bool)
    mask[2:4, 3:5, 1:9] = True
    logic.setMaskArray(mask, seg, head)
    assert (logic.maskArray(seg, head) == mask).all()
    result = healed(logic, head)
    assert result.counterfactualNode.GetTransformNodeID() == transform.GetID()
    assert np.allclose(volumes.ijkToWorld(result.counterfactualNode), volumes.ijkToWorld(head))
    assert logic.maskArray(result.lesionNode, head).sum() == 18


def test_box_adds_to_the_mask(logic, head):
    seg = logic.maskSegmentation(head)
    start = np.zeros((6, 8, 10), bool)
    start[0, 0, 0] = True
    logic.setMaskArray(start, seg, head)
    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
    roi.SetCenter(*volumes.sliceCenter(head, 3))
    roi.SetSize(4, 4, 12)
    added = logic.addBoxToMask(roi, seg, head)
    assert added > 1
    assert logic.maskArray(seg, head).sum() == added + 1
    roi.SetCenter(900, 0, 0)
    with pytest.raises(Problem, match="holds nothing"):
        logic.addBoxToMask(roi, seg, head)


def test_mask_from_file_is_carried_over_in_world_space(logic, head, tmp_path):
    seg = logic.maskSegmentation(head)
    expected = np.zeros((6, 8, 10), bool)
    expected[1:4, 2:6, 3:8] = True
    turn = np.array([[-1.0, 0, 0, 9], [0, 1, 0, 0], [0, 0, -1, 5], [0, 0, 0, 1]])  # stored the other way round
    other = makeVolume(expected[::-1, :, ::-1].astype(np.uint8), obliqueAffine() @ turn, "drawn")
    slicer.util.saveNode(other, str(tmp_path / "mask.nrrd"))
    before = slicer.mrmlScene.GetNumberOfNodes()
    assert logic.maskFromFile(tmp_path / "mask.nrrd", seg, head) == expected.sum()
    assert (logic.maskArray(seg, head) == expected).all()
    assert slicer.mrmlScene.GetNumberOfNodes() == before
    slicer.util.saveNode(seg, str(tmp_path / "mask.seg.nrrd"))
    logic.clearMask(seg, head)
    assert logic.maskFromFile(tmp_path / "mask.seg.nrrd", seg, head) == expected.sum()


def test_mask_files_that_do_not_serve_are_refused(logic, head, tmp_path):
    seg = logic.maskSegmentation(head)
    (tmp_path / "damaged.nii").write_bytes(b"not an image")
    with pytest.raises(Problem, match=r"damaged\.nii cannot be read"):
        logic.maskFromFile(tmp_path / "damaged.nii", seg, head)
    with pytest.raises(Problem, match="cannot be read"):
        logic.maskFromFile(tmp_path / "missing.nii", seg, head)
    far = np.eye(4)
    far[:3, 3] = 5000
    slicer.util.saveNode(makeVolume(np.ones((3, 3, 3), np.uint8), far, "far"), str(tmp_path / "far.nrrd"))
    with pytest.raises(Problem, match="nothing inside"):
        logic.maskFromFile(tmp_path / "far.nrrd", seg, head)
    slicer.util.saveNode(makeVolume(np.zeros((3, 3, 3), np.uint8), far, "empty"), str(tmp_path / "empty.nrrd"))
    with pytest.raises(Problem, match="selects nothing"):
        logic.maskFromFile(tmp_path / "empty.nrrd", seg, head)
    background = np.full((6, 8, 10), -1, np.int16)
    background[1:4, 2:6, 3:8] = 1
    slicer.util.saveNode(makeVolume(background, obliqueAffine(), "minus"), str(tmp_path / "minus.nrrd"))
    with pytest.raises(Problem, match="does not say what of it is mask"):
        logic.maskFromFile(tmp_path / "minus.nrrd", seg, head)


def test_mask_from_saliency(logic, head):
    heard = Heard()
    logic.computeSaliency(head, {}, heard)
    logic.client.finish()
    saliency = heard.last
    seg = logic.maskSegmentation(head)
    assert logic.maskFromSaliency(saliency.saliencyNode, 0.5, seg, head) == 18
    with pytest.raises(Problem, match="selects nothing"):
        logic.maskFromSaliency(saliency.saliencyNode, 1.5, seg, head)


# --- jobs ---


def test_what_is_sent_is_in_the_engines_order(logic, head):
    seg = logic.maskSegmentation(head)
    mask = np.zeros((6, 8, 10), bool)
    mask[1, 2, 3] = mask[4, 2, 3] = True
    logic.setMaskArray(mask, seg, head)
    logic.heal(head, {"samples": 2}, None, seg, sliceIndex=4, viewSlice=4)
    job = logic.client.last
    assert job.request == "heal"
    assert job.arrays["voxels"].shape == (10, 8, 6)
    assert (job.arrays["voxels"] == slicer.util.arrayFromVolume(head).transpose()).all()
    assert np.argwhere(job.arrays["mask"]).tolist() == [[3, 2, 4]]
    assert np.allclose(job.payload["scan"]["affine"], obliqueAffine())
    assert job.payload["scan"]["modality"] == "FLAIR"
    assert job.payload["settings"]["slices"] == [4, 5]
    assert job.payload["settings"]["samples"] == 2
    assert job.payload["view_slice"] == 4
    assert "head" not in json.dumps(job.payload)  # names may be patients' names


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"colour": 1}, "no setting 'colour'"),
        ({"fusion": "mixed"}, "no fusion 'mixed'"),
        ({"percentile": 101}, "percentile 101 is not possible"),
        ({"steps": 200, "noise_level": 100}, "do not fit"),
    ],
)
def test_settings_are_checked_before_anything_is_sent(logic, head, settings, message):
    with pytest.raises(Problem, match=message):
        logic.heal(head, settings)
    assert not logic.client.jobs


def test_nothing_to_heal_is_said(logic, head):
    with pytest.raises(Problem, match="no scan"):
        logic.heal(None)
    seg = logic.maskSegmentation(head)
    with pytest.raises(Problem, match="The mask is empty"):
        logic.heal(head, {}, None, seg)
    mask = np.zeros((6, 8, 10), bool)
    mask[1] = True
    logic.setMaskArray(mask, seg, head)
    with pytest.raises(Problem, match="empty on this slice"):
        logic.heal(head, {}, None, seg, sliceIndex=3)


def test_progress_preview_result(logic, head):
    heard = Heard()
    logic.heal(head, {}, heard, viewSlice=2)
    with pytest.raises(Problem, match="under way"):
        logic.computeSaliency(head)
    logic.client.progress("heal", 3, 10, 4.5)
    logic.client.preview(2, 2, np.full((10, 8), 77, np.int16))
    preview = logic.previewNode
    array = slicer.util.arrayFromVolume(preview)
    assert (array[2] == 77).all()
    assert (array[3] == slicer.util.arrayFromVolume(head)[3]).all()
    assert not preview.GetSaveWithScene()
    logic.client.finish()
    assert heard.names == ["onProgress", "onPreview", "onDone"]
    assert heard.said[0][1:] == ("heal", 3, 10, 4.5)
    assert not logic.busy
    assert logic.previewNode is None
    assert not slicer.mrmlScene.IsNodePresent(preview)


def test_cancel_and_error_leave_no_result(logic, head):
    heard = Heard()
    logic.heal(head, {}, heard)
    logic.client.preview(2, 2, np.zeros((10, 8), np.int16))
    before = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")
    logic.cancel()
    logic.poll()
    assert heard.names == ["onPreview", "onCancelled"]
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == before - 1
    logic.heal(head, {}, heard)
    logic.client.fail(what="The worker ended unexpectedly.")
    assert heard.last.className == "WorkerDiedError"
    assert "ended unexpectedly" in str(heard.last)
    assert not logic.results(head)
    assert not logic.busy


def test_scan_removed_while_it_is_healed(logic, head):
    heard = Heard()
    logic.heal(head, {}, heard)
    logic.client.preview(2, 2, np.zeros((10, 8), np.int16))
    slicer.mrmlScene.RemoveNode(head)
    assert heard.names[-1] == "onError"
    assert heard.last.className == "ScanRemovedError"
    assert not logic.busy
    logic.poll()
    logic.client.finish()  # too late: nobody is told, nothing is made
    assert len(heard.names) == 2
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0


def test_scene_closed_while_healing_and_used_again(logic, head):
    heard = Heard()
    logic.heal(head, {}, heard)
    slicer.mrmlScene.Clear(0)
    assert [name for name in heard.names if name == "onError"] == ["onError"]
    assert heard.last.className == "SceneClosedError"
    logic.poll()
    second = makeVolume(np.ones((6, 8, 10), np.int16), np.eye(4), "second FLAIR")
    assert healed(logic, second).volumeNode is second


def test_scan_changed_while_it_is_healed(logic, head):
    heard = Heard()
    logic.heal(head, {}, heard)
    slicer.util.updateVolumeFromArray(head, np.ones((3, 3, 3), np.int16))
    logic.client.finish()
    assert heard.last.className == "ScanChangedError"
    assert not logic.results(head)


def test_a_callback_that_fails_does_not_stop_the_bookkeeping(logic, head):
    def fails(*_arguments):
        raise RuntimeError("view is gone")

    logic.heal(head, {}, {"onDone": fails, "onProgress": fails})
    logic.client.progress("heal", 1, 2, None)
    logic.client.finish()
    assert not logic.busy
    assert len(logic.results(head)) == 1


# --- results ---


def test_result_lies_in_the_scans_study_and_says_what_it_is(logic, head):
    sh = volumes.hierarchy()
    subject = sh.CreateSubjectItem(sh.GetSceneItemID(), "P")
    study = sh.CreateStudyItem(subject, "S")
    sh.SetItemParent(volumes.itemOf(head), study)
    result = healed(logic, head, samples=4)
    for node in result.nodes():
        assert node.GetName().endswith(" 1 (SYNTHETIC)"), node.GetName()
        item = sh.GetItemByDataNode(node)
        assert sh.GetItemAncestorAtLevel(item, "Study") == study
        assert json.loads(node.GetAttribute("BrainCounterfactual.Provenance"))["synthetic"]
    assert result.anomalyNode.GetHideFromEditors()  # no choice for a scan
    assert not result.counterfactualNode.GetHideFromEditors()
    original = slicer.util.arrayFromVolume(head)
    counterfactual = slicer.util.arrayFromVolume(result.counterfactualNode)
    difference = slicer.util.arrayFromVolume(result.differenceNode)
    assert counterfactual.dtype == original.dtype
    assert difference.dtype == np.float32
    assert (difference == counterfactual.astype(np.float32) - original).all()
    assert np.allclose(volumes.ijkToRas(result.counterfactualNode), obliqueAffine())
    assert logic.maskArray(result.maskNode, head).sum() == 18
    assert result.deviationNode is not None
    assert result.summary["lesion_ml"] == 1.5
    assert result.warnings == ["careful"]
    assert result.slices[0]["index"] == 1
    assert result.slices[0]["position_mm"] == pytest.approx(float(volumes.sliceCenter(head, 1)[2]), abs=0.01)
    table = result.tableNode
    assert table.GetNumberOfRows() == 1
    assert "lesion_mm2" in [table.GetColumnName(n) for n in range(table.GetNumberOfColumns())]


def test_undo_redo_and_back_to_any_result(logic, head):
    assert not logic.canUndo(head)
    first, second = healed(logic, head), healed(logic, head)
    assert logic.results(head) == [first, second]
    assert logic.currentResult(head) == second
    assert not logic.canRedo(head)
    assert logic.undo(head) == first
    assert logic.undo(head) is None
    assert not logic.canUndo(head)
    assert logic.redo(head) == first
    third = healed(logic, head)  # a new result after an undo loses none
    assert logic.results(head) == [first, second, third]
    assert logic.currentResult(head) == third
    logic.restoreResult(second)
    assert logic.currentResult(head) == second
    logic.removeResult(second)
    assert logic.currentResult(head) == first
    assert logic.results(head) == [first, third]


def test_removing_results_leaves_nothing(logic, head):
    logic.maskSegmentation(head)
    sh = volumes.hierarchy()

    def count():
        own = [n for n in slicer.util.getNodesByClass("vtkMRMLNode") if not n.IsA("vtkMRMLColorNode")]
        return len(own) - len(slicer.util.getNodesByClass("vtkMRMLStorageNode")), sh.GetNumberOfItems()

    before = count()
    for _ in range(3):
        logic.removeResult(healed(logic, head, samples=2))
    assert count() == before


def test_saliency_is_replaced_by_the_next(logic, head):
    for _ in range(2):
        logic.computeSaliency(head)
        logic.client.finish()
    assert logic.saliency(head).slices[0]["lesion_probability"] == 0.25
    assert len([n for n in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if n is not head]) == 1


def test_two_scans_have_results_of_their_own(logic, head):
    other = makeVolume(np.ones((6, 8, 10), np.int16), np.eye(4), "other FLAIR")
    mine, its = healed(logic, head), healed(logic, other)
    assert logic.results(head) == [mine]
    assert logic.results(other) == [its]


def test_scene_file_keeps_results_mask_and_history(logic, head, tmp_path):
    seg = logic.maskSegmentation(head)
    mask = np.zeros((6, 8, 10), bool)
    mask[2:4, 3:5, 1:9] = True
    logic.setMaskArray(mask, seg, head)
    logic.setModality(head, "FLAIR")
    logic.computeSaliency(head)
    logic.client.finish()
    healed(logic, head)
    result = healed(logic, head, samples=3)
    logic.undo(head)
    counterfactual = slicer.util.arrayFromVolume(result.counterfactualNode).copy()
    assert slicer.util.saveScene(str(tmp_path / "work.mrb"))
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "work.mrb"))
    head = slicer.util.getNode("head FLAIR")
    assert logic.modality(head) == "FLAIR"
    assert (logic.maskArray(logic.maskSegmentation(head), head) == mask).all()
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 5
    first, second = logic.results(head)
    assert logic.currentResult(head) == first
    assert logic.redo(head) == second
    assert (slicer.util.arrayFromVolume(second.counterfactualNode) == counterfactual).all()
    assert logic.maskArray(second.lesionNode, head).sum() == mask.sum() or second.lesionNode is not None
    assert second.provenance["note"] == 'a: "b"; c|d\n'
    assert second.slices[0]["lesion_mm2"] == 7.5
    assert second.deviationNode is not None
    assert second.tableNode.GetNumberOfRows() == 1
    assert logic.saliency(head).saliencyNode is not None


# --- saving ---


@pytest.mark.parametrize("fileFormat", ["nifti", "nrrd"])
def test_saved_files_say_synthetic_and_hold_the_voxels(logic, head, tmp_path, fileFormat):
    result = healed(logic, head, samples=2)
    paths = logic.saveResult(result, tmp_path / "out", fileFormat)
    names = [path.rsplit("/", 1)[-1].rsplit("\\", 1)[-1] for path in paths]
    assert all(name.startswith("SYNTHETIC_head_FLAIR_1") for name in names)
    assert not list((tmp_path / "out").glob(".*"))
    path = next(path for path in paths if "counterfactual" in path)
    array, affine = volumes.readVolumeFile(path)
    expected = slicer.util.arrayFromVolume(result.counterfactualNode)
    assert (volumes.resampleNearest(array, affine, head) == expected).all()
    with (gzip.open if fileFormat == "nifti" else open)(path, "rb") as stream:
        raw = stream.read(2000)
    assert b"SYNTHETIC - NOT FOR DIAGNOSIS" in raw
    facts = next(path for path in paths if path.endswith("provenance.json"))
    assert json.loads(Path(facts).read_text(encoding="utf-8"))["synthetic"]


def test_saving_where_it_cannot_be_done_is_said(logic, head, tmp_path):
    result = healed(logic, head)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Problem, match="cannot be written") as caught:
        logic.saveResult(result, tmp_path / "file" / "out")
    assert caught.value.action
    with pytest.raises(Problem, match="no format"):
        logic.saveResult(result, tmp_path, "dicom")
