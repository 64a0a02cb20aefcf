"""Painting by a model that is shown the surroundings: what it is told, what it may change, how draws differ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from model_files import make
from scipy import ndimage

from braindiffusion.errors import ModalityError, ModelFormatError, ModelNotFoundError, SettingsError
from braindiffusion.evaluation.induction.painting import Painter as PairPainter
from braindiffusion.evaluation.induction.painting import plan_for
from braindiffusion.evaluation.induction.pairs import Pairs
from braindiffusion.healing.surroundings import CHANNELS
from braindiffusion.lesions.in_context import LesionConditions, core_of, draw_look, smooth_field
from braindiffusion.lesions.mededit import paint_region
from braindiffusion.lesions.registry import STEPS
from braindiffusion.lesions.shapes import in_boxes
from braindiffusion.models.registry import release
from braindiffusion.pipeline.induce import InduceResult, induce_scan
from braindiffusion.pipeline.series import induce_series
from braindiffusion.settings import InduceSettings
from braindiffusion.volume.scan import Scan
from braindiffusion.volume.slices import same_slices, whole_slices

KINDS = ["stroke_flair", "tumour_flair", "haemorrhage_ct"]
LOOKS = {
    kind: {
        "area_mm2": [100.0 * (n + 1) for n in range(40)],
        "values": [[n / 10, k, 0, 0, 0, 9.0] for n in range(40)],
        "core_share": [0.3 if kind.endswith("ct") else 0.0] * 40,
    }
    for k, kind in enumerate(KINDS)
}
NETWORK = {
    "class": "PatchedUNet",
    "args": {
        "in_channels": 1 + len(CHANNELS) + 2 + len(KINDS) + 6 + 1, "out_channels": 1, "patch": 2, "channels": [8, 8],
        "attention_levels": [False, False], "num_res_blocks": 1, "num_head_channels": 8, "norm_num_groups": 4,
    },
}  # fmt: skip
CARD = {
    "name": "lesion-context", "task": "lesion_painter", "condition": "surroundings", "kinds": KINDS,
    "context": [*CHANNELS, "lesion", "core", "kind", "look", "look_known"], "modality": ["FLAIR", "CT"], "grid": 64,
    "range": [-2.25, 2.75], "prediction": "v", "network": NETWORK, "looks": LOOKS,
    "operating_points": {"stroke_flair": {"steps": 3, "spacing": "karras", "resamples": 1, "margin_mm": 4.0}},
}  # fmt: skip
SETTINGS = InduceSettings(model="lesion-context", device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("models")
    make(folder, CARD, NETWORK)
    yield folder
    release()


@pytest.fixture(autouse=True)
def installed(models: Path, no_user_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAINDIFFUSION_MODELS", str(models))


@pytest.fixture(scope="module")
def brain(head_phantom: Scan) -> np.ndarray:
    return ndimage.binary_opening(head_phantom.voxels > 200, iterations=2)


@pytest.fixture(scope="module")
def lesion(head_phantom: Scan) -> np.ndarray:
    out = np.zeros(head_phantom.voxels.shape, bool)
    out[38:46, 30:42, 8:13] = True
    return out


def induce(scan: Scan, lesion: np.ndarray, brain: np.ndarray, **changes: Any) -> InduceResult:
    return induce_scan(scan, lesion, replace(SETTINGS, **changes), brain=brain)


def test_only_the_lesion_and_its_margin_change(head_phantom: Scan, lesion, brain) -> None:
    result = induce(head_phantom, lesion, brain)
    changed = result.diseased != head_phantom.voxels
    assert changed[lesion & brain].mean() > 0.9
    assert not changed[~result.edited].any()
    assert result.provenance["method"]["options"]["kernel"] == 3
    assert result.provenance["network_calls"]["per_slice"] == 5 * 4
    assert result.stack.head is not None


def test_the_network_is_told_kind_look_and_core(head_phantom: Scan, lesion, brain) -> None:
    stack = whole_slices(head_phantom, brain, 64)
    told = stack.placement.down(stack.placement.to_axial(lesion)) > 0.5
    s = int(told.sum((1, 2)).argmax())
    window = (slice(None), slice(0, 64), slice(0, 64))
    for kind, number in (("stroke_flair", 0), ("haemorrhage_ct", 2)):
        seen = LesionConditions(stack, told, told, CARD, kind, (-2.25, 2.75), 0, 2)
        c = seen.of(s, window, np.repeat(stack.images[None], 2, 0)).numpy()
        assert c.shape == (2, NETWORK["args"]["in_channels"] - 1, 64, 64)
        masks, kinds, look, known = c[:, 6:8], c[:, 8:11], c[:, 11:17], c[:, 17]
        assert (masks[:, 0] == told[s]).all()
        assert (masks[:, 1] <= masks[:, 0]).all()
        assert masks[:, 1].any() == (kind == "haemorrhage_ct")
        assert (kinds == np.eye(3)[number][None, :, None, None]).all()
        assert (look[0, :, 0, 0] == np.float32(seen.looks[0].values)).all()
        assert look[:, 5].max() == 6.0  # what no training lesion had is cut off
        assert (known == 1).all()
        assert not c[:, 5].any()  # no neighbour has been painted


def test_a_painted_neighbour_is_shown_to_the_next_slice(head_phantom: Scan, lesion, brain) -> None:
    stack = whole_slices(head_phantom, brain, 64)
    told = stack.placement.down(stack.placement.to_axial(lesion)) > 0.5
    s = int(np.nonzero(told.any((1, 2)))[0][0])
    seen = LesionConditions(stack, told, told, CARD, "stroke_flair", (-2.25, 2.75), 0, 1)
    painted = stack.images[None].copy()
    painted[0, s][told[s]] = 0.9
    seen.surroundings.known[s] = True
    shown = seen.of(s + 1, (slice(None), slice(0, 64), slice(0, 64)), painted)[0, 5].numpy()
    assert shown[told[s]] == pytest.approx(0.9 * 5.0 - 2.25, abs=1e-5)


def test_looks_are_of_lesions_of_about_the_size_and_differ_from_draw_to_draw() -> None:
    drawn = [draw_look(CARD, "stroke_flair", 400.0, 0, n).values[0] for n in range(30)]
    assert len(set(drawn)) > 8
    assert max(drawn) <= 1.4  # the 15 nearest in size
    assert draw_look(CARD, "stroke_flair", 400.0, 3) == draw_look(CARD, "stroke_flair", 400.0, 3)


@pytest.mark.parametrize("looks", [None, {}, {"stroke_flair": {"area_mm2": [1], "values": [1]}},
                                   {"stroke_flair": {"area_mm2": [0], "values": [[1]]}}])  # fmt: skip
def test_a_card_without_looks_is_refused(looks: Any) -> None:
    with pytest.raises(ModelFormatError, match="looks"):
        draw_look({**CARD, "looks": looks}, "stroke_flair", 400.0, 0)


def test_a_core_lies_inside_and_has_its_share() -> None:
    lesion = np.zeros((9, 40, 40), bool)
    lesion[1:8, 8:32, 6:34] = True
    core = core_of(lesion, 0.3, 1.0, 4.0, 0)
    assert core.sum() == pytest.approx(0.3 * lesion.sum(), rel=0.02)
    assert not (core & ~lesion).any()
    depth = ndimage.distance_transform_edt(lesion, sampling=(4, 1, 1))
    assert depth[core].mean() > 1.5 * depth[lesion & ~core].mean()
    assert not core_of(lesion, 0.0, 1.0, 4.0, 0).any()


def test_samples_have_looks_of_their_own(head_phantom: Scan, lesion, brain) -> None:
    result = induce(head_phantom, lesion, brain, samples=2)
    a, b = (result.on_grid["samples"][n][result.on_grid["told"]] for n in range(2))
    assert np.abs(a - b).mean() > 0.01
    assert (result.on_grid["samples"][0] == induce(head_phantom, lesion, brain).on_grid["diseased"]).mean() > 0.99


def test_a_box_holds_a_rounded_lesion(head_phantom: Scan, lesion, brain) -> None:
    result = induce(head_phantom, lesion, brain, condition="box")
    assert 0.3 * lesion.sum() < result.lesion.sum() < 0.9 * (lesion & brain).sum()
    assert not (result.lesion & ~lesion).any()
    corners = result.lesion[[38, 38, 45, 45], [30, 41, 30, 41], 10]
    assert not corners.any()


def test_in_boxes_each_box_has_its_lesion() -> None:
    mask = np.zeros((30, 40, 20), bool)
    mask[2:14, 3:20, 2:12] = mask[18:28, 22:36, 5:18] = True
    out = in_boxes(mask, np.array([1.0, 1.0, 3.0]), np.random.default_rng(0))
    assert not (out & ~mask).any()
    for box in ndimage.find_objects(ndimage.label(mask)[0]):
        assert 0.25 < out[box].mean() < 0.8


def test_a_series_keeps_one_look(head_phantom: Scan, lesion, brain, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def drawn(card: Any, kind: str, area_mm2: float, seed: int, sample: int = 0) -> Any:
        seen.append(draw_look(card, kind, area_mm2, seed, sample))
        return seen[-1]

    monkeypatch.setattr("braindiffusion.lesions.in_context.draw_look", drawn)
    list(induce_series(head_phantom, lesion, SETTINGS, 3, brain=brain))
    assert len(seen) == 3
    assert len(set(seen)) == 1


def test_a_kind_that_the_contrast_lacks_is_refused(head_phantom: Scan, lesion, brain) -> None:
    with pytest.raises(ModalityError, match="haemorrhage"):
        induce(head_phantom, lesion, brain, kind="haemorrhage")


def test_guidance_is_refused_and_not_ignored(head_phantom: Scan, lesion, brain) -> None:
    with pytest.raises(SettingsError, match="guided"):
        induce(head_phantom, lesion, brain, guidance=2.0)


def test_a_late_start_keeps_the_anatomy_and_lifts_tissue_by_the_look(head_phantom: Scan, lesion, brain) -> None:
    stack = whole_slices(head_phantom, brain, 64)
    told = stack.placement.down(stack.placement.to_axial(lesion)) > 0.5
    s = int(told.sum((1, 2)).argmax())
    inner = ndimage.binary_erosion(told[s], iterations=3)
    row, column = np.argwhere(inner)[0]
    stack.head[s, row, column] = 0.02  # a vessel
    window = (slice(None), slice(0, 64), slice(0, 64))
    seen = LesionConditions(stack, told, told, CARD, "stroke_flair", (-2.25, 2.75), 0, 2)
    begun = seen.surroundings.grey(seen.begun(s, window, 0.0)).numpy()[:, 0]
    for n, look in enumerate(seen.looks):  # these looks have no spread of their own
        brighter = (begun[n] - stack.head[s])[inner & (stack.head[s] > 0.45)]
        assert brighter == pytest.approx(0.15 * look.values[0], abs=0.02)
        assert begun[n, row, column] < 0.02 + 0.15 * look.values[0] * 0.1
    far = ~ndimage.binary_dilation(told[s], iterations=8)
    assert begun[0][far] == pytest.approx(stack.head[s][far], abs=1e-3)
    smooth = seen.surroundings.grey(seen.begun(s, window, 0.0, 4.0)).numpy()[0, 0]
    assert smooth[row, column] > 0.3  # the vessel is gone
    more = seen.surroundings.grey(seen.begun(s, window, 0.5)).numpy()[0, 0]
    assert (more - begun[0])[inner & (stack.head[s] > 0.45)] == pytest.approx(0.1, abs=0.02)


def test_grain_is_brought_towards_that_of_the_tissue_around(
    head_phantom: Scan, lesion, brain, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nearly_smooth(*given: Any, **more: Any) -> Any:
        out, g = paint_region(*given, **more), torch.Generator().manual_seed(0)
        faint = 0.02 * torch.randn(out.samples.shape, generator=g)
        return replace(out, samples=torch.where(given[3][None], faint, out.samples))

    monkeypatch.setattr("braindiffusion.lesions.in_context.paint_region", nearly_smooth)
    made = []
    for match in (False, True):
        tuned = {"steps": 3, "spacing": "karras", "resamples": 1, "margin_mm": 4.0, "match_grain": match}
        monkeypatch.setattr("braindiffusion.lesions.models.operating_point", lambda *_, tuned=tuned: tuned)
        result = induce(head_phantom, lesion, brain)
        assert result.provenance["method"]["options"]["match_grain"] is match
        made.append(result.on_grid["diseased"])
    told = result.on_grid["told"]
    inner = ndimage.binary_erosion(told, np.ones((1, 3, 3)))
    grain = [(m - ndimage.gaussian_filter(m, (0, 0.6, 0.6)))[inner].std() for m in made]
    assert grain[1] > 1.5 * grain[0]  # the phantom's noise is stronger than what was painted
    assert (made[0][~told] == made[1][~told]).all()


def test_a_late_start_asks_less_of_the_network(head_phantom: Scan, lesion, brain) -> None:
    whole, late = (induce(head_phantom, lesion, brain, start=n, steps=12) for n in (None, 60))
    assert late.provenance["network_calls"]["per_slice"] <= whole.provenance["network_calls"]["per_slice"]
    default = induce(head_phantom, lesion, brain, start=60).provenance["method"]["options"]
    assert default["steps"] == STEPS  # the three of the card are for its own start
    changed = late.diseased != head_phantom.voxels
    assert changed[lesion & brain].mean() > 0.5
    assert not changed[~late.edited].any()


def test_what_is_uneven_is_the_same_on_every_grid_and_of_unit_spread() -> None:
    coarse, fine = np.zeros((6, 40, 40), bool), np.zeros((6, 80, 80), bool)
    coarse[1:5, 6:34, 6:34] = fine[1:5, 12:68, 12:68] = True
    a, b = smooth_field(coarse, 2.0, 4.0, 3), smooth_field(fine, 1.0, 4.0, 3)
    assert 0.6 < a[coarse].std() < 1.4
    assert np.abs(a[coarse] - b[:, ::2, ::2][coarse]).mean() < 0.3 * a[coarse].std()
    assert not a[~coarse].any()


def test_the_evaluation_enlarges_slices_to_the_models_grid_and_back() -> None:
    grid, rng = 64, np.random.default_rng(0)
    rows, columns = np.indices((grid, grid)) - grid / 2
    brain, lesion = np.hypot(rows / 26, columns / 22) < 1, np.hypot(rows - 4, columns - 8) < 6
    prior = np.where(brain, 0.45 + 0.03 * rng.standard_normal((grid, grid)), 0).astype(np.float32)
    one = {k: v[None] for k, v in (("prior", prior), ("brain", brain), ("lesion", lesion), ("told", lesion))}
    name = np.array(["a"])
    pairs = Pairs(
        **one, asked=one["told"], real=one["prior"], real_brain=one["brain"], drawn=one["lesion"],
        real_asked=one["told"], patient=name, prior_patient=name, stratum=name, row=np.array([0]),
        prior_row=np.array([1]), pitch_mm=3.75, facts={},
    )  # fmt: skip
    plan = plan_for("mededit:lesion-context", "stroke_flair", pairs.pitch_mm)
    made = PairPainter(torch.device("cpu"), 7, 8, None, lambda calls: None).paint(plan, pairs)
    assert made.calls == plan.settings.calls()
    generate = made.generate[0]
    assert (made.images[0][~generate] == prior[~generate]).all()
    assert generate[lesion & brain].mean() > 0.95
    assert generate.sum() < 2.5 * lesion.sum()
    assert np.abs(made.images[0] - prior)[lesion & brain].mean() > 0.01
    with pytest.raises(ModelNotFoundError):  # the control needs a model that can be told no lesion
        plan_for("redrawn:lesion-128", "haemorrhage_ct", pairs.pitch_mm)


def test_displaced_voxels_keep_their_surroundings(head_phantom: Scan, brain) -> None:
    stack = whole_slices(head_phantom, brain, 64)
    again = same_slices(stack, head_phantom, brain)
    np.testing.assert_allclose(again.head, stack.head, atol=1e-6)
    moved = replace(head_phantom, voxels=np.roll(head_phantom.voxels, 1, 0))
    assert np.abs(same_slices(stack, moved, brain).head - stack.head).max() > 0.1
