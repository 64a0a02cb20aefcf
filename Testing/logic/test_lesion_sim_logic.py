"""The logic of BrainLesionSim on slicer-core, its worker a stand-in: lesion, margin, jobs, refusals, round trip."""

import json

import numpy as np
import pytest
import slicer
from lesion_sim_helpers import LESION_CARD, FakeLesionClient, block, induced
from logic_helpers import ROOT, Heard, makeVolume, obliqueAffine

from BrainCounterfactualCommon.host import Problem
from BrainCounterfactualCommon.scene import volumes


@pytest.fixture
def sim(core):
    from BrainLesionSimLib.logic import BrainLesionSimLogic

    made = BrainLesionSimLogic(FakeLesionClient())
    yield made
    made.close()


# --- what can be painted ---


@pytest.mark.parametrize(
    ("modality", "kinds"),
    [("FLAIR", ["stroke", "tumour"]), ("T1GD", ["tumour"]), ("T1", []), (None, ["stroke", "tumour"])],
)
def test_kinds_are_those_of_the_cards(sim, core, modality, kinds):
    node = makeVolume(np.ones((4, 5, 6), np.int16), np.eye(4), "scan")
    sim.setModality(node, modality)
    assert list(sim.kindsFor(node)) == kinds


def test_a_scan_without_a_lesion_model_is_refused_naming_those_there_are(sim, core):
    node = makeVolume(np.ones((6, 8, 10), np.int16), np.eye(4), "x T1w")
    sim.setLesion(block(), node)
    for start in (sim.induce, sim.makeLesion, sim.induceThenHeal):
        with pytest.raises(Problem, match="paints a stroke on a scan of T1") as caught:
            start(node, settings={"kind": "stroke"})
        assert caught.value.className == "ModalityError"
        assert "lesion-128: stroke on FLAIR, tumour on FLAIR, tumour on T1GD" in caught.value.cause
    assert not sim.client.jobs


def test_palette_needs_a_model_of_its_own(sim, head):
    sim.setLesion(block(), head)
    with pytest.raises(Problem, match="no model"):
        sim.induce(head, {"method": "palette"})
    sim.client.info["models"].append(dict(LESION_CARD, name="lesion-palette-128", condition="palette"))
    sim.induce(head, {"method": "palette"})
    assert sim.busy


def test_lesion_models_are_not_offered_for_healing(sim, head):
    assert [card["name"] for card in sim.modelsFor(head)] == ["flair-healthy-128"]


def test_user_models_are_known_before_the_worker_has_told(core, head, tmp_path, monkeypatch):
    from BrainCounterfactualCommon.worker import models

    shipped = json.loads((ROOT / "Resources" / "Models" / "lesion-128.json").read_text())
    (tmp_path / "mine.json").write_text(json.dumps(shipped | {"name": "mine"}))
    monkeypatch.setenv("BRAINDIFFUSION_MODELS", str(tmp_path))
    assert {"mine", "flair-healthy-128"} <= {card["name"] for card in models.installedCards()}


# --- the lesion ---


def test_size_in_ml_follows_what_is_drawn(sim, head):
    assert sim.lesionMl(head) == 0
    sim.setLesion(block(), head)
    assert (sim.lesionArray(head) == block()).all()
    assert sim.lesionMl(head) == pytest.approx(18 * 0.9 * 1.2 * 5.0 / 1000)
    sim.clearLesion(head)
    assert sim.lesionMl(head) == 0


def test_box_and_file(sim, head, tmp_path):
    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
    roi.SetCenter(*volumes.sliceCenter(head, 3))
    roi.SetSize(4, 4, 12)
    assert sim.addBox(roi, head) == sim.lesionArray(head).sum() > 1
    roi.SetCenter(900, 0, 0)
    with pytest.raises(Problem, match="holds nothing"):
        sim.addBox(roi, head)
    slicer.util.saveNode(makeVolume(block().astype(np.uint8), obliqueAffine(), "m"), str(tmp_path / "m.nrrd"))
    assert sim.lesionFromFile(tmp_path / "m.nrrd", head) == 18
    assert (sim.lesionArray(head) == block()).all()


def test_margin_reaches_as_far_as_told_within_the_slice_only(sim, core):
    """Held against the definition: within reach along both in-plane axes, on the same slice."""
    affine = np.diag([1.0, 2.0, 4.0, 1.0])
    node = makeVolume(np.ones((5, 30, 40), np.int16), affine, "thick FLAIR")
    mask = np.zeros((5, 30, 40), bool)
    mask[2, 15, 20] = mask[2, 18, 30] = True
    mask[3, 2, 1] = True
    sim.setLesion(mask, node)
    sim.updateMargin(node, {"margin_mm": 6.0})
    reach = 3 * 1.875  # whole pixels of the model
    expected = np.zeros_like(mask)
    for k, j, i in np.argwhere(mask):
        jj, ii = np.ogrid[:30, :40]
        expected[k] |= (abs(jj - j) <= round(reach / 2)) & (abs(ii - i) <= round(reach / 1))
    from BrainCounterfactualCommon.scene import masks

    found = masks.segmentArray(sim.marginSegmentation(node), "Margin", node)
    assert (found == expected).all()
    assert (sim.lesionArray(node) == mask).all()  # a node of its own: the lesion is untouched


def test_margin_is_the_users_the_cards_or_the_usual_one(sim, head):
    assert sim.marginMm(head) == 22.5
    assert sim.marginMm(head, {"condition": "box"}) == 18.75
    assert sim.marginMm(head, {"kind": "tumour"}) == 11.25  # the card's operating point
    assert sim.marginMm(head, {"kind": "tumour", "margin_mm": 3.75}) == 3.75
    assert sim.marginMm(head, {"method": "naive_repaint"}) is None


def test_made_lesion_fills_the_segment_and_its_making_is_recorded_unless_it_is_changed(sim, head):
    heard = Heard()
    sim.makeLesion(head, {"kind": "spots", "ml": 3.0, "side": "L"}, {"seed": 7}, heard)
    job = sim.client.last
    assert job.request == "shape"
    assert job.payload["shape"] == {"kind": "spots", "ml": 3.0, "side": "L", "lobe": None, "territory": None}
    assert job.payload["settings"]["seed"] == 7
    sim.client.finishShape(block())
    assert heard.last["side"] == "L"
    assert (sim.lesionArray(head) == block()).all()
    for changed in (False, True):
        if changed:
            sim.setLesion(block() & (np.arange(10) > 3), head)
        sim.induce(head, {}, heard)
        sim.client.finishInduction()
        lesion = heard.last.provenance["lesion"]
        assert lesion["origin"] == ("given" if changed else "random")
        assert lesion.get("seed") == (None if changed else 7)


# --- jobs ---


def test_what_is_sent_is_in_the_engines_order(sim, head):
    mask = np.zeros((6, 8, 10), bool)
    mask[4, 2, 3] = True
    sim.setLesion(mask, head)
    sim.induce(head, {"kind": "tumour", "seed": 3}, viewSlice=4)
    job = sim.client.last
    assert job.request == "induce"
    assert job.arrays["voxels"].shape == (10, 8, 6)
    assert np.argwhere(job.arrays["mask"]).tolist() == [[3, 2, 4]]
    assert np.allclose(job.payload["scan"]["affine"], obliqueAffine())
    assert (job.payload["settings"]["kind"], job.payload["settings"]["seed"], job.payload["view_slice"]) == (
        "tumour",
        3,
        4,
    )
    assert "head" not in json.dumps(job.payload)  # names may be patients' names


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"colour": 1}, "no setting 'colour'"),
        ({"method": "paint"}, "no method 'paint'"),
        ({"margin_mm": -1}, "margin_mm -1 is not possible"),
        ({"kind": "bleed"}, "no kind of lesion 'bleed'"),
    ],
)
def test_settings_are_checked_before_anything_is_sent(sim, head, settings, message):
    sim.setLesion(block(), head)
    with pytest.raises(Problem, match=message):
        sim.induce(head, settings)
    with pytest.raises(Problem, match="900 mL is not possible"):
        sim.makeLesion(head, {"ml": 900.0})
    assert not sim.client.jobs


def test_nothing_to_paint_or_too_much_is_said(sim, core, head):
    with pytest.raises(Problem, match="no scan"):
        sim.induce(None)
    with pytest.raises(Problem, match="no lesion to paint"):
        sim.induce(head)
    large = makeVolume(np.ones((6, 8, 10), np.int16), np.diag([30.0, 30.0, 30.0, 1.0]), "large FLAIR")
    sim.setLesion(block(), large)
    with pytest.raises(Problem, match="486 mL") as caught:
        sim.induce(large)
    assert caught.value.className == "LesionSizeError"
    sim.setLesion(block(), head)
    sim.induce(head)
    with pytest.raises(Problem, match="under way"):
        sim.makeLesion(head)


def test_progress_preview_cancel_and_removed_scan(sim, head):
    sim.setLesion(block(), head)
    heard = Heard()
    sim.induce(head, {}, heard)
    sim.client.progress("induce", 3, 10, 4.5)
    sim.client.preview(2, 2, np.full((10, 8), 77, np.int16))
    assert (slicer.util.arrayFromVolume(sim.previewNode)[2] == 77).all()
    sim.cancel()
    sim.poll()
    assert heard.names == ["onProgress", "onPreview", "onCancelled"]
    assert not sim.results(head)
    sim.induce(head, {}, heard)
    slicer.mrmlScene.RemoveNode(head)
    assert heard.last.className == "ScanRemovedError"


def test_reroll_takes_a_new_seed(sim, head):
    assert sim.nextSeed(head) == 0
    induced(sim, head, seed=4)
    assert sim.nextSeed(head) == 5


# --- the round trip ---


@pytest.mark.parametrize(("region", "segment", "marginMm"), [("lesion", "Lesion", None), ("margin", "Margin", 0.0)])
def test_induce_then_heal_measures_how_much_of_the_prior_comes_back(sim, head, region, segment, marginMm):
    sim.setLesion(block(), head)
    heard = Heard()
    sim.induceThenHeal(head, {"seed": 5}, heard, region=region)
    sim.client.finishInduction(brighter=60)
    assert sim.busy
    job = sim.client.last
    assert job.request == "heal"
    induction = sim.currentResult(head)
    assert (job.arrays["mask"].transpose() == induction.marked(segment)).all()
    settings = job.payload["settings"]
    assert (settings["margin_mm"], settings["seed"], settings["model"]) == (
        marginMm,
        5,
        "flair-healthy-128",
    )
    sim.client.finishHealing(left=2)
    assert heard.names == ["onDone"]
    assert heard.last == induction
    found = induction.roundTrip
    rim = 5 * 12 if region == "lesion" else 2 * 12  # what changed around the lesion stays, or is healed as well
    assert found["inside"] == pytest.approx((2 * 18 + rim) / 30)
    assert found["region"] == region
    assert (found["outside"], found["outside_changed"]) == (0.0, 0)
    assert found["induced"] == pytest.approx((18 * 60 + 12 * 5) / 30)
    assert "SYNTHETIC" in induction.healed.node.GetName()
    before = slicer.util.arrayFromVolume(head)[2, 3, 4]
    assert slicer.util.arrayFromVolume(induction.healed.node)[2, 3, 4] == before + 2


def test_round_trip_of_what_cannot_be_healed_is_refused_before_it_begins(sim, core):
    node = makeVolume(np.ones((6, 8, 10), np.int16), np.eye(4), "t1ce")
    sim.setLesion(block(), node)
    with pytest.raises(Problem, match="This is a T1GD scan"):
        sim.induceThenHeal(node, {"kind": "tumour"})
    assert not sim.client.jobs
    induction = induced(sim, node, kind="tumour")
    with pytest.raises(Problem, match="This is a T1GD scan"):
        sim.roundTrip(induction)


def test_round_trip_that_fails_or_is_cancelled_leaves_the_induction(sim, head):
    for end in ("fail", "cancel"):
        sim.setLesion(block(), head)
        heard = Heard()
        sim.induceThenHeal(head, {}, heard)
        sim.client.finishInduction()
        if end == "fail":
            sim.client.fail()
        else:
            sim.cancel()
            sim.poll()
        assert heard.names == ["onError" if end == "fail" else "onCancelled"]
        assert not sim.busy
        assert not sim.currentResult(head).roundTrip
    assert len(sim.results(head)) == 2


def test_errors_of_the_round_trip_outside_are_counted(core):
    from BrainLesionSimLib.roundtrip import errors

    prior = np.full((2, 3, 4), 10, np.uint8)  # unsigned: differences must not wrap
    edited = np.zeros(prior.shape, bool)
    edited[0] = True
    diseased, healed = prior.copy(), prior.copy()
    diseased[0], healed[0], healed[1, 0, 0] = 30, 7, 11
    found = errors(prior, diseased, healed, edited)
    assert found == {"inside": 3.0, "outside": 1 / 12, "outside_changed": 1, "induced": 20.0, "level": 10.0}
