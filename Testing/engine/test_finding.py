"""Find the lesion by a segmenter: its probability is the map, its mask the region, and contradictions are told."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from healing_models import add_model
from tiny_training import write_pack
from torch import nn

from braindiffusion.errors import ModelNotFoundError
from braindiffusion.evaluation import tuning
from braindiffusion.finders import segmenter as segmenter_module
from braindiffusion.finders.contract import Found
from braindiffusion.finders.registry import METHODS
from braindiffusion.finders.segmenter import (
    SEGMENTERS,
    contradictions,
    find_by_segmenter,
    in_doubt,
    lesion_probabilities,
    lesion_probability_map,
    lesion_probability_of,
    region_of_segmenter,
    segmented,
)
from braindiffusion.models.registry import release
from braindiffusion.pipeline.stages import find_saliency, mask_of_saliency
from braindiffusion.settings import SALIENCIES, HealSettings
from braindiffusion.training.packs import load_pack
from braindiffusion.volume.scan import Scan
from braindiffusion.volume.slices import SliceStack, place

CPU = torch.device("cpu")
SIDE, SLICES = 64, 5


@pytest.fixture
def stack() -> SliceStack:
    """Five grey slices; a bright square in slices 1 to 3."""
    brain = np.zeros((SLICES, SIDE, SIDE), bool)
    brain[:, 8:56, 12:52] = True
    images = 0.4 * brain.astype(np.float32)
    images[1:4, 20:26, 20:26] = 0.9
    placement = place(Scan(np.zeros((SIDE, SIDE, SLICES)), np.diag([-3.75, -3.75, 5, 1]), "FLAIR", {}), None, SIDE)
    return SliceStack(images, brain, brain.astype(np.float32), placement, [])


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """What the classifier says of each slice: 2 and 3 show a lesion, and 4 (where there is none)."""
    says = np.array([False, False, True, True, True])
    monkeypatch.setattr(segmenter_module, "judge_slices", lambda *_: (says * 0.9, says.copy()))
    return says


@pytest.fixture
def bright_is_lesion(monkeypatch: pytest.MonkeyPatch) -> dict:
    """A segmenter of two outputs, for all names: bright pixels by its second one."""

    class Bright(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([torch.full_like(x, -9.0), 40 * (x - 0.6)], 1)

    card = {
        "name": "any",
        "grid": SIDE,
        "crop": None,
        "operating_points": {"segment": {"threshold": 0.5, "least_mm2": 0.0}},
    }
    model = SimpleNamespace(name="any", card=card, network=Bright())
    for module in (segmenter_module, tuning):
        monkeypatch.setattr(module, "load_model", lambda name, device: model)
    monkeypatch.setattr(segmenter_module, "read_card", lambda name: card)
    return card


ALL = np.ones(SLICES, bool)


def test_the_probability_is_the_greatest_over_the_outputs() -> None:
    class Two(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([x, -x], 1)

    x = torch.linspace(-3, 3, 5).view(5, 1, 1, 1)
    torch.testing.assert_close(lesion_probability_map(x, Two(), batch=2), torch.sigmoid(x.abs()))


def test_a_slice_and_its_mirror_image_are_averaged_in_place() -> None:
    class Left(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            weight = torch.linspace(4, -4, x.shape[-1])
            return torch.cat([x * weight, x.flip(-1)], 1)  # an opinion that depends on the side; one that crosses over

    x = torch.rand((3, 1, 4, 6), generator=torch.Generator().manual_seed(0))
    weight = torch.linspace(4, -4, 6)
    p = lesion_probabilities(x, Left(), batch=2)
    assert p.shape == (3, 2, 4, 6)
    torch.testing.assert_close(p[:, :1], (torch.sigmoid(x * weight) + torch.sigmoid(x * weight.flip(-1))) / 2)
    torch.testing.assert_close(p[:, 1:], torch.sigmoid(x.flip(-1)))
    torch.testing.assert_close(lesion_probabilities(x.flip(-1), Left()), p.flip(-1))


def test_only_wanted_slices_are_looked_at(stack: SliceStack, bright_is_lesion: dict) -> None:
    p = lesion_probability_of(stack, np.arange(SLICES) == 2, "any", CPU)
    assert p[2, 22, 22] > 0.99
    assert not p[[0, 1, 3, 4]].any()
    assert not p[~stack.brain].any()
    assert not lesion_probability_of(stack, ~ALL, "any", CPU).any()


def test_specks_and_what_lies_outside_the_brain_are_no_lesion() -> None:
    p = np.zeros((1, 12, 12))
    p[0, 1, 1] = p[0, 5:8, 5:8] = p[0, 10:, 10:] = 0.8
    brain = np.ones((1, 12, 12), bool)
    brain[0, 10:] = False
    found = segmented(p, brain, {"operating_points": {"segment": {"threshold": 0.5, "least_mm2": 20.0}}}, 2.0)
    assert found.sum() == 9
    assert not segmented(p, brain, {"operating_points": {"segment": {"threshold": 0.85}}}, 2.0).any()


def test_a_contradiction_is_a_doubt_whoever_says_lesion() -> None:
    found = np.zeros((4, 2, 2), bool)
    found[1:3] = True
    says = np.array([False, False, True, True])
    assert in_doubt(found, says, np.ones(4, bool)).tolist() == [False, True, False, True]
    assert not in_doubt(found, says, np.zeros(4, bool)).any()


def test_slices_in_doubt_are_named_in_runs() -> None:
    (told,) = contradictions(np.array([0, 1, 1, 1, 0, 0, 1], bool))
    assert "4 slices (1-3, 6)" in told
    assert contradictions(np.zeros(3, bool)) == []


@pytest.mark.usefixtures("judged", "bright_is_lesion")
def test_nothing_is_marked_where_segmenter_and_classifier_contradict_each_other(stack: SliceStack) -> None:
    """Slice 1 is found by the segmenter only, slice 4 by the classifier only."""
    found = find_saliency(stack, HealSettings(saliency="segmenter"), ALL, CPU)
    assert np.nonzero(found.maps.any((1, 2)))[0].tolist() == [2, 3]
    assert found.judged_lesion.tolist() == [False, False, True, True, False]
    assert len(found.warnings) == 1
    assert "2 slices (1, 4)" in found.warnings[0]
    assert len(found.cards) == 2


@pytest.mark.usefixtures("judged", "bright_is_lesion")
def test_a_gate_that_was_given_decides_alone(stack: SliceStack) -> None:
    found = find_by_segmenter(stack, HealSettings(saliency="supervised", gate=0.5), ALL, CPU)
    assert found.warnings == []
    assert found.judged_lesion.tolist() == [False, False, True, True, True]


@pytest.mark.usefixtures("judged", "bright_is_lesion")
def test_one_slice_may_be_asked_for(stack: SliceStack) -> None:
    found = find_by_segmenter(stack, HealSettings(saliency="segmenter"), ALL, CPU, only=3)
    assert np.nonzero(found.maps.any((1, 2)))[0].tolist() == [3]


@pytest.mark.parametrize(("margin", "side"), [(0.0, 6), (None, 6), (3.75, 8)])
def test_the_region_is_what_was_found_with_a_margin(
    stack: SliceStack, bright_is_lesion: dict, margin: float | None, side: int
) -> None:
    """A pixel is 3.75 mm wide: the usual 2 mm add nothing, 3.75 mm a pixel on each of the four sides."""
    maps = lesion_probability_of(stack, ALL, "any", CPU)
    saliency = Found(maps, np.ones(SLICES), ALL)
    settings = HealSettings(saliency="segmenter", margin_mm=margin)
    region = mask_of_saliency(saliency, stack, settings, {})
    assert np.array_equal(region, region_of_segmenter(saliency, stack, settings))
    assert region[2].sum() == (36 if side == 6 else 36 + 4 * 6)
    assert not region[0].any()


def test_a_mask_rule_that_was_given_is_followed(stack: SliceStack, bright_is_lesion: dict) -> None:
    maps = lesion_probability_of(stack, ALL, "any", CPU)
    settings = HealSettings(saliency="segmenter", mask_rule="percentile", percentile=99.0)
    region = mask_of_saliency(Found(maps, np.ones(SLICES), ALL), stack, settings, {})
    assert region[2].sum() == pytest.approx(0.01 * stack.brain[2].sum(), abs=5)


def test_kinds_are_told_apart_from_those_that_ask_the_classifier() -> None:
    assert set(METHODS) == {*SALIENCIES, *SEGMENTERS}


def test_a_segmenter_of_the_zoo_serves_and_one_that_lacks_is_named(
    stack: SliceStack, no_user_models: Path, judged: np.ndarray
) -> None:
    add_model(no_user_models, "weak-segmenter-flair", SIDE)
    release()
    found = find_by_segmenter(stack, HealSettings(saliency="segmenter"), ALL, CPU)
    assert found.cards[1]["name"] == "weak-segmenter-flair"
    assert 0.0 <= found.maps.min() <= found.maps.max() <= 1.0
    (no_user_models / "weak-segmenter-flair.json").unlink()
    release()
    if "weak-segmenter-flair" not in finding_models():
        with pytest.raises(ModelNotFoundError, match="weak-segmenter-flair"):
            find_by_segmenter(stack, HealSettings(saliency="segmenter"), ALL, CPU)


def finding_models() -> set[str]:
    from braindiffusion.cards import installed

    return set(installed())


def test_the_operating_point_is_the_best_of_the_sweep_on_val_only(
    tmp_path: Path, bright_is_lesion: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("braindiffusion.volume.brain.network_brain", lambda *_, **__: None)
    bright_is_lesion["grid"] = 128
    pack = load_pack(write_pack(tmp_path / "tiny.npz"))
    point, rows = tuning.tune_segmenter(pack, HealSettings(model="any", device="cpu"))
    best = max(row["lesion_dice"] for row in rows)
    assert point["val_lesion_dice"] == round(best, 4) > 0.9
    assert point["tuned_on"] == {"split": "val", "lesion_slices": 3}
    assert len(rows) == len(tuning.THRESHOLDS) * len(tuning.LEAST_MM2)
