"""Every registered method with small random networks: what no noise, no mask and a whole mask do, and what it costs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from healing_models import add_all, recipes_needed, recipes_of

from braindiffusion.healing.models import main_model
from braindiffusion.healing.registry import METHODS, method_named
from braindiffusion.healing.run import heal_slices
from braindiffusion.models.registry import release
from braindiffusion.pipeline.heal import heal_scan
from braindiffusion.pipeline.stages import lesion_rule
from braindiffusion.settings import HealSettings
from braindiffusion.volume.anomaly import OTSU
from braindiffusion.volume.scan import Scan
from braindiffusion.volume.slices import SliceStack, to_slices

CPU = torch.device("cpu")
SHORT = {"repaint": {"levels": 12, "jump": 4, "resamples": 2}, "autoddpm": {"stitch_level": 4, "resamples": 2}}
DRAWS_NOTHING = {"guided", "cfg", "denoising_ae", "ddim", "f_anogan"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("models")
    add_all(made)
    return made


@pytest.fixture(autouse=True)
def small(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Small models in place of the shipped ones, and short schedules where a setting cannot make them so."""
    monkeypatch.setenv("BRAINDIFFUSION_MODELS", str(folder))
    for name, fixed in SHORT.items():
        monkeypatch.setitem(METHODS, name, replace(METHODS[name], fixed=fixed))
    yield
    release()


@pytest.fixture(scope="module")
def stack(head_phantom: Scan) -> SliceStack:
    return to_slices(head_phantom, head_phantom.voxels > 200, 64)


def quick(name: str, **changes: object) -> HealSettings:
    level = {"noise_level": 20} if hasattr(METHODS[name].settings(), "noise_level") else {}
    own = {"model": "flair-healthy-128"} if name == "dif_fuse" else {}  # the one on the grid of these slices
    return HealSettings(**{"method": name, **own, "steps": 2, "precision": "fp32", "batch": 3} | level | changes)


def middle(stack: SliceStack, slices: int = 2) -> np.ndarray:
    """(S,H,W) bool: the brain of some slices in the middle."""
    mask = np.zeros_like(stack.brain)
    mask[10 : 10 + slices] = stack.brain[10 : 10 + slices]
    return mask


@pytest.mark.parametrize("name", list(METHODS))
def test_an_empty_mask_leaves_everything_as_it_is(name: str, stack: SliceStack) -> None:
    settings = quick(name)
    healed, reconstruction, ran = heal_slices(
        stack, np.zeros_like(stack.brain), main_model(settings, "cpu"), settings, CPU
    )
    assert np.array_equal(healed[0], stack.images)
    assert np.array_equal(reconstruction, stack.images)
    assert ran.calls == 0


@pytest.mark.parametrize("name", list(METHODS))
def test_a_whole_mask_changes_its_slices_and_no_others_and_nothing_outside_the_brain(
    name: str, stack: SliceStack
) -> None:
    settings = quick(name)
    mask = middle(stack)
    healed, _, ran = heal_slices(stack, mask, main_model(settings, "cpu"), settings, CPU)
    assert healed.shape == (1, *stack.images.shape)
    assert np.isfinite(healed).all()
    assert healed.min() >= 0
    assert healed.max() <= 1
    assert np.array_equal(healed[0][~mask], stack.images[~mask])
    changed = (healed[0] != stack.images).any((1, 2))
    assert changed[10:12].all()
    assert ran.calls == ran.options.calls()  # one batch
    assert ran.slice_calls == 2 * ran.calls


@pytest.mark.parametrize("name", [n for n in METHODS if hasattr(METHODS[n].settings(), "noise_level")])
def test_without_noise_nothing_changes_at_no_call(name: str, stack: SliceStack) -> None:
    settings = quick(name, noise_level=0)
    healed, _, ran = heal_slices(stack, middle(stack), main_model(settings, "cpu"), settings, CPU)
    assert np.array_equal(healed[0], stack.images)
    assert ran.calls == ran.options.calls() == 0


@pytest.mark.parametrize("name", list(METHODS))
def test_the_seed_decides_where_anything_is_drawn(name: str, stack: SliceStack) -> None:
    settings = quick(name)
    model = main_model(settings, "cpu")
    first, again, other = (
        heal_slices(stack, middle(stack, 1), model, replace(settings, seed=seed), CPU)[0] for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert np.array_equal(first, other) == (name in DRAWS_NOTHING)


@pytest.mark.parametrize("name", [n for n in METHODS if n not in {"repaint", "autoddpm"}])
def test_slices_do_not_depend_on_their_batch(name: str, stack: SliceStack) -> None:
    settings = quick(name)
    model = main_model(settings, "cpu")
    together, alone = (heal_slices(stack, middle(stack), model, replace(settings, batch=b), CPU)[0] for b in (8, 1))
    np.testing.assert_allclose(together, alone, atol=2e-4)


@pytest.mark.parametrize("name", list(METHODS))
def test_every_network_used_is_told(name: str, stack: SliceStack) -> None:
    settings = quick(name)
    _, _, ran = heal_slices(stack, np.zeros_like(stack.brain), main_model(settings, "cpu"), settings, CPU)
    method = METHODS[name]
    assert [card["name"] for card in ran.cards] == recipes_of(method)


def test_small_models_stand_for_all_recipes_needed() -> None:
    assert {"flair-healthy-128", "flair-simplex-128", "flair-guided-128", "flair-vqvae"} <= set(recipes_needed())


# the road of a scan


@pytest.mark.parametrize("name", [n for n in METHODS if not METHODS[n].masked])
def test_a_method_that_finds_its_region_needs_no_saliency(
    name: str, head_phantom: Scan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "braindiffusion.pipeline.scan_cache.find_saliency", lambda *_, **__: pytest.fail("saliency was asked for")
    )
    monkeypatch.setattr("braindiffusion.finders.given.judge_slices", lambda *_, **__: pytest.fail("the gate was asked"))
    result = heal_scan(head_phantom, quick(name, slices=(10, 12)), brain=head_phantom.voxels > 200)
    facts = result.provenance
    assert facts["mask"]["origin"] == "whole brain"
    assert facts["network_calls"]["slices_healed"] == 2
    assert {row["lesion_probability"] for row in result.slices} == {None}
    method = method_named(name)
    assert [m["name"] for m in facts["models"]] == recipes_of(method)
    assert all(len(m["sha256"]) == 64 for m in facts["models"])
    assert facts["method"]["name"] == name
    assert facts["settings"]["model"] == method.model.recipe
    assert "uses no mask" in result.warnings[0]
    assert result.lesion.dtype == bool


def test_a_gate_can_be_set_before_a_method_that_finds_its_region(
    head_phantom: Scan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def judge(stack: SliceStack, settings: HealSettings, wanted: np.ndarray, device: torch.device):
        probability = np.where(wanted, 0.2, np.nan)
        probability[11] = 0.9
        return probability, probability >= settings.gate

    monkeypatch.setattr("braindiffusion.finders.given.judge_slices", judge)
    result = heal_scan(head_phantom, quick("denoising_ae", gate=0.5), brain=head_phantom.voxels > 200)
    assert result.provenance["network_calls"]["slices_healed"] == 1
    assert [m["name"] for m in result.provenance["models"]] == ["flair-denoising-ae", "flair-acat-classifier"]
    assert {row["lesion_probability"] for row in result.slices} == {0.2, 0.9}


def test_a_methods_own_score_weighs_its_anomaly_map(head_phantom: Scan, monkeypatch: pytest.MonkeyPatch) -> None:
    """AutoDDPM's map is the difference times its misfit: nowhere more than the difference."""
    brain, settings = head_phantom.voxels > 200, quick("autoddpm", slices=(10, 11), anomaly="paper")
    weighed = heal_scan(head_phantom, settings, brain=brain).on_grid["anomaly"]
    run = METHODS["autoddpm"].run
    monkeypatch.setitem(
        METHODS, "autoddpm", replace(METHODS["autoddpm"], run=lambda *a, **k: replace(run(*a, **k), score=None))
    )
    plain = heal_scan(head_phantom, settings, brain=brain).on_grid["anomaly"]
    assert plain.max() > 0
    assert (weighed <= plain + 1e-6).all()
    assert weighed.sum() < plain.sum()


def test_the_published_threshold_holds_until_one_was_tuned(folder: Path) -> None:
    assert lesion_rule(HealSettings(method="guided"), {}).threshold == OTSU
    tuned = {"operating_points": {"guided": {"threshold": 0.2, "least_mm2": 30.0}, "dif_fuse": {"threshold": 9}}}
    rule = lesion_rule(HealSettings(method="guided"), tuned)
    assert (rule.threshold, rule.least_mm2, rule.variant) == (0.2, 30.0, "ours")
    assert lesion_rule(HealSettings(method="guided", threshold=0.3), tuned).threshold == 0.3
    assert lesion_rule(HealSettings(method="repaint"), tuned).threshold == 9  # tuned for masks, serves all with a mask
    assert lesion_rule(HealSettings(method="anoddpm"), tuned).threshold == 0.354
