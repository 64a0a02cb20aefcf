"""Results saved as DICOM and as teaching files through the real worker, and loaded again by slicer-core."""

import json
import re
from pathlib import Path

import numpy as np
import pydicom
import pytest
import slicer
from dicom_series import DAY, FIRST, ID, NAME, everything, leaked, write_series
from logic_helpers import Heard, healed, makeVolume, obliqueAffine

from BrainCounterfactualCommon.host import Problem
from BrainCounterfactualCommon.scene import volumes

ROOT = Path(__file__).resolve().parents[2]
TEXTS = {
    "title": "A case",
    "history": "Weak left arm.",
    "question": "Where?",
    "choices": ["Left", "Right"],
    "answer": 2,
}


@pytest.fixture
def head(core):
    """A ball in air, oblique, (k,j,i) = (8,64,60), int16, named as the patient."""
    k, j, i = np.indices((8, 64, 60))
    ball = ((i - 30) / 24) ** 2 + ((j - 32) / 26) ** 2 + ((k - 4) / 5) ** 2 < 1
    noise = np.random.default_rng(0).integers(0, 40, ball.shape)
    node = makeVolume((400 * ball + noise).astype(np.int16), obliqueAffine(), "Xaveria FLAIR")
    return node


@pytest.fixture
def real(core, logic, workerClient):
    """``real(logic)`` gives the logic the session's worker, once a result has been made with the stand-in."""

    def use(made):
        made._client = workerClient
        return made

    yield use
    workerClient.waitForIdle(60)


def finished(logic, start, *arguments, **named):
    """What a job ended with."""
    heard = Heard()
    start(*arguments, callbacks=heard, **named)
    logic.client.waitForIdle(120)
    return heard.said[-1]


def test_dicom_loads_where_the_scan_lies(logic, real, head, tmp_path):
    result = healed(logic, head)
    expected = slicer.util.arrayFromVolume(result.counterfactualNode).copy()
    name, paths = finished(real(logic), logic.saveDicom, result, tmp_path / "out")
    assert name == "onDone", paths
    logic._client = None
    assert all(Path(path).is_file() for path in paths)
    series = [path for path in paths if "counterfactual" in path]
    assert len(series) == 8
    node = volumes.loadDicomSeries(series, "again")
    loaded = volumes.resampleNearest(slicer.util.arrayFromVolume(node), volumes.ijkToRas(node), head)
    assert (loaded == expected).all()
    corners = np.array([[*c, 1] for c in np.ndindex(2, 2, 2)]).T * [[59], [63], [7], [1]]
    there = np.linalg.inv(volumes.ijkToRas(head)) @ volumes.ijkToRas(node) @ corners
    assert np.abs(there[:3] - np.rint(there[:3])).max() * 5.0 < 1e-4
    record = json.loads((tmp_path / "out" / "provenance.json").read_text(encoding="utf-8"))
    assert record["scan"]["file"] is None


def test_a_teaching_file(logic, real, head, tmp_path):
    result = healed(logic, head)
    name, paths = finished(real(logic), logic.saveTeachingFile, result, tmp_path / "case", TEXTS, face="keep")
    assert name == "onDone", paths
    names = {Path(path).relative_to(tmp_path / "case").as_posix() for path in paths}
    assert {"index.html", "case.json", "volumes/original.nii.gz", "volumes/SYNTHETIC_counterfactual.nii.gz"} <= names
    assert "Xaveria" not in (tmp_path / "case" / "index.html").read_text(encoding="utf-8")
    logic._client = None


def test_the_patient_is_in_no_file_and_no_line_of_the_worker(logic, head, enginePython, tmp_path, caplog):
    """Planted in the scan's name, its files, the scene's hierarchy and the record of the result."""
    from BrainCounterfactualCommon.scene.results import PROVENANCE
    from BrainCounterfactualCommon.worker.client import WorkerClient

    caplog.set_level("DEBUG")
    voxels = slicer.util.arrayFromVolume(head).T
    source = write_series(tmp_path / f"{NAME} {ID}" / DAY, voxels, volumes.ijkToRas(head))
    head.SetName(f"{NAME} {FIRST}")
    head.SetAttribute("BrainViewer.Path", str(source))
    sh = volumes.hierarchy()
    patient = sh.CreateSubjectItem(sh.GetSceneItemID(), f"{NAME}, {FIRST}")
    sh.SetItemAttribute(patient, "DICOM.PatientName", f"{NAME}^{FIRST}")
    sh.SetItemAttribute(patient, "DICOM.PatientID", ID)
    sh.SetItemParent(volumes.itemOf(head), patient)
    result = healed(logic, head)
    record = dict(result.provenance, scan={"file": str(source), "voxels_sha256": "0"})
    result.node.SetAttribute(PROVENANCE, json.dumps(record))
    lines = []
    (tmp_path / "arrays").mkdir()
    client = WorkerClient(enginePython, extraPaths=[str(ROOT)], onLog=lines.append, tempRoot=str(tmp_path / "arrays"))
    try:
        logic._client = client
        for save, more in ((logic.saveDicom, ()), (logic.saveTeachingFile, (TEXTS,))):
            name, told = finished(logic, save, result, tmp_path / "out" / save.__name__, *more)
            assert name == "onDone", told
        left = everything(tmp_path / "arrays")
    finally:
        client.stop()
        logic._client = None
    out = everything(tmp_path / "out")
    images = [pydicom.dcmread(path, stop_before_pixels=True) for path in source.iterdir()]
    for uid in {str(ds.SOPInstanceUID) for ds in images} | {str(images[0].FrameOfReferenceUID)}:
        assert uid in out, "the source is referred to"
        out = out.replace(uid, "")
    assert leaked(re.sub(r"2\.25\.\d+|\b[0-9a-f]{64}\b", "", out)) == []  # drawn: may hold a short number
    assert leaked("\n".join(lines) + caplog.text + left) == []


def test_a_name_of_the_scene_in_a_text_is_a_doubt(logic, real, head, tmp_path):
    """The volume is called as the patient is; so is nobody in the teaching file. Only the advice tells the word."""
    result = healed(logic, head)
    texts = dict(TEXTS, history="xaveria was well before")
    name, error = finished(real(logic), logic.saveTeachingFile, result, tmp_path / "case", texts, face="keep")
    assert (name, error.className) == ("onError", "QuarantineError")
    assert "averia" not in error.what + error.cause
    assert "The word is 'xaveria'" in error.action
    assert not (tmp_path / "case").exists()
    logic._client = None


def test_what_is_sent(logic, head, tmp_path):
    """Arrays by the engine's names, the scene's names to be looked for, no name in the scan."""
    sh = volumes.hierarchy()
    patient = sh.CreateSubjectItem(sh.GetSceneItemID(), "ward 7")
    sh.SetItemAttribute(patient, "DICOM.PatientName", "Doe^Jane")
    sh.SetItemParent(volumes.itemOf(head), patient)
    head.SetAttribute("BrainViewer.Path", str(tmp_path / "Doe"))
    result = healed(logic, head)
    logic.saveTeachingFile(result, tmp_path / "case", TEXTS)
    sent = logic.client.last
    assert sent.request == "teach"
    assert set(sent.arrays) == {"counterfactual", "lesion", "voxels"}
    assert sent.payload["names"] == ["Doe^Jane"]
    assert {"Xaveria FLAIR", "ward 7"} <= set(sent.payload["paths"])
    assert sent.payload["source"] == [str(tmp_path / "Doe")]
    assert sent.payload["scan"]["name"] is None
    assert sent.payload["scan"]["synthetic"] is False
    logic.cancel()
    logic.poll()
    logic.saveDicom(result, tmp_path / "out", burnIn=True)
    sent = logic.client.last
    assert (sent.request, sent.payload["burn_in"], sent.payload["task"]) == ("export", True, "heal")
    assert {"counterfactual", "anomaly", "lesion", "mask"} <= set(sent.arrays)
    assert "difference" not in sent.arrays


def test_what_is_refused_at_once(logic, head, tmp_path):
    result = healed(logic, head)
    with pytest.raises(Problem, match="no title"):
        logic.saveTeachingFile(result, tmp_path, {"title": " "})
    logic.saveDicom(result, tmp_path / "out")
    with pytest.raises(Problem, match="under way"):
        logic.saveDicom(result, tmp_path / "out")


def test_an_induction(core, workerClient, tmp_path):
    from BrainLesionSimLib.logic import BrainLesionSimLogic
    from lesion_sim_helpers import FakeLesionClient, induced

    sim = BrainLesionSimLogic(FakeLesionClient())
    values = np.random.default_rng(1).integers(0, 900, (6, 8, 10)).astype(np.int16)
    scan = makeVolume(values, obliqueAffine(), "head FLAIR")
    induction = induced(sim, scan)
    expected = slicer.util.arrayFromVolume(induction.diseasedNode).copy()
    sim._client = workerClient
    name, paths = finished(sim, sim.saveDicom, induction, tmp_path / "out")
    sim._client = None
    sim.close()
    assert name == "onDone", paths
    node = volumes.loadDicomSeries([path for path in paths if "diseased" in path], "again")
    loaded = volumes.resampleNearest(slicer.util.arrayFromVolume(node), volumes.ijkToRas(node), scan)
    assert (loaded == expected).all()
