"""The whole road on slicer-core: sample scan in, real worker, lesion made, painted, healed, nodes out.

With a lesion model of random weights (what it paints is noise, the road is the same), and with the shipped one where
there is one.
"""

import os
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import slicer
from logic_helpers import ROOT, SAMPLE, Heard, makeVolume

from BrainCounterfactualCommon.scene import volumes

pytestmark = pytest.mark.weights
QUICK = {"kind": "stroke", "steps": 3, "resamples": 1, "seed": 2, "device": "cpu"}
SHIPPED = (ROOT / "Resources" / "Models" / "lesion-128.json").is_file()
WAIT = 280


@pytest.fixture(scope="module", params=["random", "shipped"])
def client(request, enginePython, tmp_path_factory):
    """A warm worker whose lesion model has random weights, or the shipped ones."""
    from BrainCounterfactualCommon.worker.client import WorkerClient

    folder = tmp_path_factory.mktemp("models")
    if request.param == "random":
        code = "import sys; from pathlib import Path; from lesion_models import add_lesion_model;"
        path = os.pathsep.join([str(ROOT), str(ROOT / "Testing")])
        subprocess.run(
            [enginePython, "-c", code + "add_lesion_model(Path(sys.argv[1]))", str(folder)],
            check=True, env=dict(os.environ, PYTHONPATH=path), capture_output=True,
        )  # fmt: skip
    elif not SHIPPED:
        pytest.skip("The lesion model is not shipped yet.")
    environment = dict(os.environ, BRAINDIFFUSION_MODELS=str(folder))
    made = WorkerClient(enginePython, extraPaths=[str(ROOT)], environment=environment)
    made.told = folder  # where its models are
    yield made
    made.stop()


@pytest.fixture
def sim(core, client, monkeypatch):
    from BrainLesionSimLib.logic import BrainLesionSimLogic

    monkeypatch.setenv("BRAINDIFFUSION_MODELS", str(client.told))
    made = BrainLesionSimLogic(client)
    yield made
    made.cancel()
    client.waitForIdle(WAIT)
    made._unobserveScene()  # not close(): the worker is the module's


@pytest.fixture
def sample(core):
    return slicer.util.loadVolume(str(SAMPLE))


def waitFor(logic, done, seconds=WAIT):
    """Poll as a host would, until ``done()``; seconds it took."""
    started = time.monotonic()
    while not done():
        logic.poll()
        time.sleep(0.01)
        if time.monotonic() - started > seconds:
            raise TimeoutError("the worker did not get there in time")
    return time.monotonic() - started


def run(logic, start, *arguments, **named):
    """Start a job and wait for its end; what it ended with."""
    heard = Heard()
    start(*arguments, callbacks=heard, **named)
    waitFor(logic, lambda: not logic.busy)
    assert heard.names[-1] == "onDone", heard.said[-1]
    return heard.last, heard


def disc(volumeNode, halfMm=9.0, slices=1):
    """(k,j,i) bool: a box of ``2 halfMm`` right of the middle of the scan, on a few slices."""
    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "disc")
    middle = volumes.sliceCount(volumeNode) // 2
    center = volumes.sliceCenter(volumeNode, middle) + np.array([28.0, 0.0, 0.0])
    pitch = np.linalg.norm(volumes.sliceCenter(volumeNode, middle + 1) - volumes.sliceCenter(volumeNode, middle))
    roi.SetCenter(*center)
    roi.SetSize(2 * halfMm, 2 * halfMm, pitch * (2 * slices - 1) * 0.99)
    mask = volumes.insideBox(roi, volumeNode)
    slicer.mrmlScene.RemoveNode(roi)
    return mask


def test_make_paint_and_heal_the_sample(sim, sample, tmp_path):
    """The sample is left-handed (LAS), so Slicer stores it flipped: everything must still lie where it was put."""
    facts, _ = run(sim, sim.makeLesion, sample, {"kind": "stroke", "ml": 6.0, "side": "L"}, QUICK)
    lesion = sim.lesionArray(sample)
    assert facts["side"] == "L"
    assert sim.lesionMl(sample) == pytest.approx(6.0, abs=0.5)
    k, j, i = np.argwhere(lesion).mean(0)
    middle = volumes.sliceCenter(sample, 0)[0]
    assert (volumes.ijkToWorld(sample) @ (i, j, k, 1))[0] < middle  # the patient's left
    view = int(np.argwhere(lesion)[:, 2 - volumes.axialAxis(volumes.ijkToRas(sample))[0]].mean())
    induction, heard = run(sim, sim.induceThenHeal, sample, QUICK, viewSlice=view, healSettings={"steps": 2})
    stages = [said[1] for said in heard.said if said[0] == "onProgress"]
    assert {"induce", "heal", "back"} <= set(stages)
    assert "onPreview" in heard.names
    original = slicer.util.arrayFromVolume(sample)
    diseased = slicer.util.arrayFromVolume(induction.diseasedNode)
    changed = diseased != original
    margin = induction.marked("Margin")
    assert diseased.dtype == original.dtype
    assert changed[lesion].mean() > 0.8
    assert not (changed & ~induction.marked("Edited")).any()
    assert (lesion & margin).sum() > 0.9 * lesion.sum()
    assert (changed & margin & ~lesion).any()  # the surroundings answer
    # the ring drawn beforehand is the engine's, to a pixel of the model, where the brain lets it
    sim.updateMargin(sample, QUICK)
    from BrainLesionSimLib import drawing

    from BrainCounterfactualCommon.scene import masks

    ring = masks.segmentArray(sim.marginSegmentation(sample), "Margin", sample)
    assert (margin & ~ring).sum() < 0.1 * margin.sum()
    assert not (margin & ~drawing.grown(ring, sample, 2 * 1.875)).any()
    assert sorted(np.unique(slicer.util.arrayFromVolume(induction.differenceNode)))[-1] in (1, 2)
    assert induction.effects["lesion_ml"] == pytest.approx(6.0, abs=0.5)
    assert induction.provenance["lesion"]["origin"] == "random"
    assert induction.provenance["task"] == "induce"
    found = induction.roundTrip
    assert found["induced"] > 0
    assert found["inside"] > 0
    assert found["outside"] <= 0.02 * found["induced"]  # the rim of a lesion at the margin's own edge
    slicer.util.saveScene(str(tmp_path / "sim.mrb"))
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "sim.mrb"))
    scan = next(n for n in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if sim.results(n))
    assert sim.results(scan)[0].roundTrip == found


def test_a_preview_is_a_plane_of_the_scan_and_the_slice_in_view(sim, sample):
    sim.setLesion(disc(sample, slices=3), sample)
    axis = 2 - volumes.axialAxis(volumes.ijkToRas(sample))[0]
    view = int(np.argwhere(sim.lesionArray(sample))[:, axis].min())
    original = np.array(slicer.util.arrayFromVolume(sample))
    seen = []

    def onPreview():
        changed = slicer.util.arrayFromVolume(sim.previewNode) != original
        seen.append(np.unique(np.argwhere(changed)[:, axis]).tolist())

    ended = []
    sim.induce(sample, dict(QUICK, steps=8), {"onPreview": onPreview, "onDone": ended.append}, viewSlice=view)
    waitFor(sim, lambda: not sim.busy)
    assert ended
    assert seen[0] == [view]


def test_another_seed_paints_another_lesion_of_the_same_shape(sim, sample):
    sim.setLesion(disc(sample), sample)
    one, two, again = (run(sim, sim.induce, sample, dict(QUICK, seed=seed))[0] for seed in (1, 2, 1))
    arrays = [slicer.util.arrayFromVolume(found.diseasedNode) for found in (one, two, again)]
    assert (arrays[0] != arrays[1]).any()
    assert (arrays[0] == arrays[2]).all()
    assert (one.marked("Lesion") == two.marked("Lesion")).all()


def test_cancel_within_a_second(sim, sample):
    sim.setLesion(disc(sample, slices=3), sample)
    heard = Heard()
    sim.induce(sample, dict(QUICK, steps=900), heard)
    waitFor(sim, lambda: any(said[:2] == ("onProgress", "induce") for said in heard.said))
    sim.cancel()
    assert waitFor(sim, lambda: not sim.busy) < 2.0
    assert heard.names[-1] == "onCancelled"
    assert not sim.results(sample)


def test_a_lesion_that_leaves_the_brain_is_clipped_with_a_count_and_one_outside_is_refused(sim, sample):
    shape = slicer.util.arrayFromVolume(sample).shape
    outside = np.zeros(shape, bool)
    outside[:, :2, :2] = True
    sim.setLesion(disc(sample) | outside, sample)
    induction, _ = run(sim, sim.induce, sample, QUICK)
    assert any(f"{int(outside.sum())} of" in warning for warning in induction.warnings)
    assert not (induction.marked("Lesion") & outside).any()
    sim.setLesion(outside, sample)
    heard = Heard()
    sim.induce(sample, QUICK, heard)
    waitFor(sim, lambda: not sim.busy)
    assert heard.names[-1] == "onError"
    assert heard.last.className == "EmptyMaskError"


def test_what_is_no_brain_is_refused_in_the_engines_words(sim, core):
    noise = np.random.default_rng(0).integers(0, 100, (12, 20, 20)).astype(np.int16)
    node = makeVolume(noise, np.eye(4), "noise FLAIR")
    heard = Heard()
    sim.makeLesion(node, {"kind": "stroke"}, QUICK, heard)
    waitFor(sim, lambda: not sim.busy)
    assert heard.names[-1] == "onError"
    assert heard.last.className == "NotABrainError"
    assert heard.last.action


@pytest.mark.skipif(not SHIPPED, reason="The lesion model is not shipped yet.")
def test_the_shipped_card_says_what_it_paints(core):
    from BrainLesionSimLib import kinds
    from BrainLesionSimLib.logic import BrainLesionSimLogic

    logic = BrainLesionSimLogic()
    assert {"stroke", "tumour"} <= set(kinds.offered(logic.models(), "FLAIR"))
    assert Path(ROOT / "Resources" / "Models" / "lesion-128.safetensors").is_file()
    logic.close()
