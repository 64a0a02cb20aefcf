"""The whole road on slicer-core: sample scan in, real worker and shipped weights, nodes out."""

import os
import signal
import struct
import subprocess
import time

import numpy as np
import pytest
import slicer
from logic_helpers import ROOT, SAMPLE, TRUTH, Heard, makeVolume, obliqueAffine

from BrainCounterfactualCommon.scene import volumes

pytestmark = pytest.mark.weights
SETTINGS = {"seed": 3, "steps": 5, "device": "cpu"}
WAIT = 240


@pytest.fixture
def real(core, workerClient):
    """A logic on the session's warm worker."""
    from BrainCounterfactualLib.logic import BrainCounterfactualLogic

    made = BrainCounterfactualLogic(workerClient)
    yield made
    made.cancel()
    workerClient.waitForIdle(WAIT)
    made._unobserveScene()  # not close(): the worker is the session's


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


@pytest.fixture
def sample(core):
    return slicer.util.loadVolume(str(SAMPLE))


@pytest.fixture(scope="session")
def byCommandLine(enginePython, tmp_path_factory):
    """``braindiffusion heal`` of the sample with its true mask: the reference for the way through Slicer."""
    out = tmp_path_factory.mktemp("engine") / "healed"
    command = [enginePython, "-m", "braindiffusion", "heal", str(SAMPLE), "--mask", str(TRUTH), "--out", str(out)]
    options = ["--seed", "3", "--steps", "5", "--device", "cpu", "--progress", "none"]
    subprocess.run([*command, *options], check=True, cwd=ROOT, capture_output=True)
    return out


def test_heal_through_slicer_agrees_with_the_engine_in_world_space(real, sample, byCommandLine):
    """The sample is left-handed (LAS), so Slicer stores it flipped: agreement holds in space, not by index."""
    seg = real.maskSegmentation(sample)
    assert real.maskFromFile(TRUTH, seg, sample) > 100
    result, heard = run(real, real.heal, sample, SETTINGS, maskNode=seg, viewSlice=volumes.sliceCount(sample) // 2)
    assert {"onProgress", "onPreview"} <= set(heard.names)
    for name, array in (
        ("counterfactual", slicer.util.arrayFromVolume(result.counterfactualNode)),
        ("lesion", real.maskArray(result.lesionNode, sample)),
        ("mask", real.maskArray(result.maskNode, sample)),
        ("anomaly", slicer.util.arrayFromVolume(result.anomalyNode)),
    ):
        source, affine = volumes.readVolumeFile(byCommandLine / f"{name}.nii.gz")
        expected = volumes.resampleNearest(source, affine, sample)
        if name == "counterfactual":  # the grain is drawn slice by slice from the seed: the same, to the last bit but
            off = np.abs(array.astype(float) - expected)  # for rounding where the flipped order of sums differs
            assert (off > 0.01 * expected.max()).mean() < 1e-4
        elif name == "anomaly":  # bfloat16 sums hang on the number of threads, which two processes need not share
            assert (np.abs(array - expected) > 0.05).mean() < 1e-3
        else:
            assert (array != expected).mean() < 1e-3
    edited = real.maskArray(result.maskNode, sample)
    original = slicer.util.arrayFromVolume(sample)
    counterfactual = slicer.util.arrayFromVolume(result.counterfactualNode)
    assert counterfactual.dtype == original.dtype
    assert result.provenance["check"]["outside_identical"]
    assert (counterfactual != original).sum() == result.provenance["check"]["changed_voxels"]
    assert original[edited].mean() > counterfactual[edited].mean()  # the bright lesion is gone
    assert result.summary["lesion_ml"] > 0
    assert max(row["lesion_mm2"] for row in result.slices) > 0


def test_saliency_then_heal_one_slice(real, sample):
    middle = volumes.stackIndex(sample, volumes.sliceCount(sample) // 2)
    few = dict(SETTINGS, slices=(middle - 2, middle + 3))
    saliency, _ = run(real, real.computeSaliency, sample, few)
    assert len(saliency.slices) == 5
    assert slicer.util.arrayFromVolume(saliency.saliencyNode).max() > 0.5
    worst = max(saliency.slices, key=lambda row: row["lesion_probability"])
    assert worst["lesion_probability"] > 0.6
    array = slicer.util.arrayFromVolume(saliency.saliencyNode)
    axis = 2 - volumes.axialAxis(volumes.ijkToRas(sample))[0]
    assert array.take(worst["index"], axis).max() > 0
    seg = real.maskSegmentation(sample)
    real.maskFromSaliency(saliency.saliencyNode, 0.5, seg, sample)
    result, _ = run(real, real.heal, sample, SETTINGS, maskNode=seg, sliceIndex=worst["index"])
    changed = slicer.util.arrayFromVolume(result.counterfactualNode) != slicer.util.arrayFromVolume(sample)
    others = np.delete(changed, worst["index"], axis)
    assert changed.any()
    assert not others.any()


def test_samples_give_uncertainty_and_the_scene_keeps_all(real, sample, tmp_path):
    middle = volumes.sliceCount(sample) // 2
    result, _ = run(real, real.heal, sample, dict(SETTINGS, samples=2, gate=0.0), sliceIndex=middle)
    assert result.deviationNode is not None
    counterfactual = slicer.util.arrayFromVolume(result.counterfactualNode).copy()
    seconds = result.summary["seconds"]
    slicer.util.saveScene(str(tmp_path / "healed.mrb"))
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "healed.mrb"))
    scan = next(n for n in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if real.results(n))
    back = real.results(scan)[0]
    assert (slicer.util.arrayFromVolume(back.counterfactualNode) == counterfactual).all()
    assert back.summary["seconds"] == seconds
    assert back.provenance["settings"]["samples"] == 2


def test_oblique_anisotropic_scan_is_healed_in_place(real, sample):
    """The sample turned in space: the result follows, on the same grid."""
    turn = obliqueAffine()
    turn[:3, :3] /= np.linalg.norm(turn[:3, :3], axis=0)
    sample.SetIJKToRASMatrix(volumes.vtkMatrix(turn @ volumes.ijkToRas(sample)))
    middle = volumes.sliceCount(sample) // 2
    result, _ = run(real, real.heal, sample, dict(SETTINGS, gate=0.0), sliceIndex=middle)
    assert np.allclose(volumes.ijkToWorld(result.counterfactualNode), volumes.ijkToWorld(sample))


def test_cancel_within_a_second(real, sample):
    seg = real.maskSegmentation(sample)
    real.maskFromFile(TRUTH, seg, sample)
    run(real, real.heal, sample, SETTINGS, maskNode=seg)  # warm
    heard = Heard()
    real.heal(sample, dict(SETTINGS, steps=None), heard, maskNode=seg)
    waitFor(real, lambda: any(said[:2] == ("onProgress", "heal") for said in heard.said))
    real.cancel()
    assert waitFor(real, lambda: not real.busy) < 1.5
    assert heard.names[-1] == "onCancelled"
    assert len(real.results(sample)) == 1


def test_worker_killed_while_healing_is_said_and_the_next_heal_works(real, sample, workerClient):
    heard = Heard()
    seg = real.maskSegmentation(sample)
    real.maskFromFile(TRUTH, seg, sample)
    real.heal(sample, dict(SETTINGS, steps=None), heard, maskNode=seg)
    waitFor(real, lambda: "onProgress" in heard.names)
    os.kill(workerClient.processId, getattr(signal, "SIGKILL", signal.SIGTERM))
    waitFor(real, lambda: not real.busy, 20)
    assert heard.last.className == "WorkerDiedError"
    run(real, real.heal, sample, SETTINGS, maskNode=seg)


def test_error_of_the_engine_comes_in_its_words(real, core):
    noise = np.random.default_rng(0).integers(0, 100, (12, 20, 20)).astype(np.int16)
    heard = Heard()
    real.heal(makeVolume(noise, np.eye(4), "noise FLAIR"), SETTINGS, heard)
    waitFor(real, lambda: not real.busy)
    assert heard.names[-1] == "onError"
    assert heard.last.className == "NotABrainError"
    assert heard.last.what
    assert heard.last.action


def test_estimate_and_devices(real, sample):
    told = []
    real.hello(told.append)
    real.estimate(sample, SETTINGS, told.append)
    waitFor(real, lambda: len(told) == 2)
    assert told[0]["devices"][0]["name"]
    assert told[1]["seconds"] > 0
    assert told[1]["device"] == "cpu"


def headOf(folder, *fields):
    """A head in NIfTI whose header fields (offset, format, values) are overwritten, as Slicer loads it."""
    path = folder / "head FLAIR.nii"
    slicer.util.saveNode(makeVolume(np.arange(480, dtype=np.int16).reshape(6, 8, 10), np.eye(4), "head"), str(path))
    raw = bytearray(path.read_bytes())
    for offset, form, *values in fields:
        struct.pack_into(form, raw, offset, *values)
    path.write_bytes(raw)
    return slicer.util.loadVolume(str(path))


TURNED = (280, "<12f", 1, 0, 0, 4, 0, 0.8, -0.6, 9, 0, 0.6, 0.8, -20)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ([], []),
        ([(252, "<2h", 0, 0)], ["LEFT AND RIGHT MAY BE SWAPPED"]),
        ([(252, "<2h", 1, 2), TURNED], ["the sform (code 2) is used"]),
        ([(352, "960x")], ["The engine would not read this file: ", "Every voxel is 0."]),
    ],
)
def test_what_had_to_be_assumed_to_read_a_scan_is_told(real, core, tmp_path, fields, said):
    """Slicer reads the file, and says nothing; the engine's reader does."""
    node, told = headOf(tmp_path, *fields), []
    real.readingNotes(node, told.extend)
    answered = []
    real.hello(answered.append)
    waitFor(real, lambda: answered and not real.client.busy)
    for text in said:
        assert any(text in note for note in told), told
    if not said:
        assert told == []


def test_a_scan_without_a_file_or_changed_since_is_not_asked_about(real, core, tmp_path):
    assert volumes.fileOf(makeVolume(np.ones((2, 3, 4)), np.eye(4), "made")) is None
    node = headOf(tmp_path)
    assert volumes.fileOf(node).endswith("head FLAIR.nii")
    node.SetOrigin(1, 2, 3)
    assert volumes.fileOf(node) is None


def test_how_far_two_places_are_apart(core):
    node = makeVolume(np.ones((4, 5, 6)), obliqueAffine(), "head")
    assert volumes.apart(node, volumes.ijkToRas(node)) == (0, 0)
    turned = volumes.ijkToRas(node) @ np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, 3], [0, 0, 0, 1]])
    assert np.allclose(volumes.apart(node, turned), 0, atol=1e-9)  # as Slicer turns what is left-handed
    moved = volumes.ijkToRas(node)
    moved[0, 3] += 7
    assert np.isclose(volumes.apart(node, moved)[0], 7)
    mirrored = np.diag([-1.0, 1, 1, 1]) @ volumes.ijkToRas(node)
    assert volumes.apart(node, mirrored)[1] > 0.5
