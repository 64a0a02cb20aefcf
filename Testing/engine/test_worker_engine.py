"""What the worker asks of the engine: nothing computed twice, the slice in view first, previews, a plan."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from braindiffusion.cards import installed
from braindiffusion.errors import Cancelled
from braindiffusion.events import Event
from braindiffusion.models.device import devices
from braindiffusion.pipeline import estimate as estimate_module
from braindiffusion.pipeline import scan_cache as prepared_module
from braindiffusion.pipeline.estimate import estimate
from braindiffusion.pipeline.heal import HealResult, heal_scan, prepare_scan
from braindiffusion.pipeline.preview import native_plane, stored_index
from braindiffusion.pipeline.saliency import saliency_scan
from braindiffusion.pipeline.scan_cache import ScanCache
from braindiffusion.settings import HealSettings
from braindiffusion.volume.paste_back import carry_back
from braindiffusion.volume.scan import Scan
from braindiffusion.volume.slices import SliceStack, place, to_slices

pytestmark = [
    pytest.mark.weights,
    pytest.mark.skipif("flair-healthy-128" not in installed(), reason="the denoiser is not shipped"),
]
ARRAYS = ("counterfactual", "anomaly", "lesion", "mask", "edited", "saliency")
QUICK = HealSettings(model="flair-healthy-128", steps=1, precision="fp32", force=True)


@pytest.fixture(scope="module")
def scan(head_phantom: Scan) -> Scan:
    return head_phantom


@pytest.fixture(scope="module")
def drawn(scan: Scan) -> np.ndarray:
    """(I,J,K): a block over the phantom's lesion, on three slices."""
    mask = np.zeros(scan.voxels.shape, bool)
    mask[18:26, 40:48, 10:13] = True
    return mask


@pytest.fixture(scope="module")
def prepared(scan: Scan) -> ScanCache:
    return ScanCache(scan)


@pytest.fixture(scope="module")
def healed(scan: Scan, drawn: np.ndarray, prepared: ScanCache) -> HealResult:
    return heal_scan(scan, QUICK, mask=drawn, prepared=prepared)


def same(a: HealResult, b: HealResult) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ARRAYS)


# what was computed serves again


def test_a_second_heal_is_the_first_one(
    scan: Scan, drawn: np.ndarray, prepared: ScanCache, healed: HealResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = heal_scan(scan, QUICK, mask=drawn)
    monkeypatch.setattr(prepared_module, "brain_of", lambda *_, **__: pytest.fail("prepared again"))
    again = heal_scan(scan, QUICK, mask=drawn, prepared=prepared)
    assert same(healed, fresh)
    assert same(healed, again)


def test_a_prepared_scan_needs_no_brain_to_be_found(
    scan: Scan, drawn: np.ndarray, healed: HealResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, stages = ScanCache(scan), []
    prepare_scan(scan, QUICK, kept, on_event=lambda event: stages.append(event.stage))
    assert set(stages) == {"brain"}
    monkeypatch.setattr(prepared_module, "brain_of", lambda *_, **__: pytest.fail("looked for the brain again"))
    assert same(heal_scan(scan, QUICK, mask=drawn, prepared=kept), healed)


def test_saliency_serves_the_heal_that_follows(scan: Scan, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = replace(QUICK, saliency="gradient", gate=0.0, slices=(10, 12))
    fresh, kept = heal_scan(scan, settings), ScanCache(scan)
    found = saliency_scan(scan, settings, prepared=kept)
    monkeypatch.setattr(prepared_module, "find_saliency", lambda *_: pytest.fail("looked again"))
    healed = heal_scan(scan, settings, prepared=kept)
    assert same(healed, fresh)
    np.testing.assert_array_equal(healed.saliency, found.saliency)
    assert healed.provenance["models"] == fresh.provenance["models"]


def test_other_settings_are_looked_at_anew(scan: Scan, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, real, looked = ScanCache(scan), prepared_module.find_saliency, []
    monkeypatch.setattr(prepared_module, "find_saliency", lambda *a: looked.append(1) or real(*a))
    base = replace(QUICK, saliency="gradient", slices=(10, 11))
    for settings in (base, replace(base, seed=3), replace(base, gate=0.2), replace(base, slices=(11, 12))):
        saliency_scan(scan, settings, prepared=kept)
    assert len(looked) == 3


def test_a_given_brain_is_prepared_anew(scan: Scan, drawn: np.ndarray) -> None:
    kept = ScanCache(scan)
    found, _ = kept.stack(128, None, torch.device("cpu"))
    brain = scan.voxels > 200
    given, origin = kept.stack(128, brain, torch.device("cpu"))
    assert origin == "given"
    assert given is not found
    assert kept.stack(128, brain.copy(), torch.device("cpu"))[0] is given


def test_another_scan_is_refused(scan: Scan, drawn: np.ndarray) -> None:
    with pytest.raises(ValueError, match="another scan"):
        heal_scan(scan, QUICK, mask=drawn, prepared=ScanCache(replace(scan)))


# the slice in view


Viewed = tuple[HealResult, list[Event]]


@pytest.fixture(scope="module")
def viewed(scan: Scan, drawn: np.ndarray, prepared: ScanCache) -> Viewed:
    """The same heal with slice 12 in view, and its events."""
    events: list[Event] = []
    settings = replace(QUICK, batch=2)
    return heal_scan(scan, settings, mask=drawn, prepared=prepared, on_event=events.append, view_slice=12), events


def test_the_slice_in_view_comes_first_and_its_neighbours_follow(viewed: Viewed) -> None:
    result, events = viewed
    shown = [e.slice_index for e in events if e.preview is not None]
    assert [stored_index(s, result.stack.placement) for s in shown] == [12, 11]
    done = [e.done for e in events if e.stage == "heal"]
    assert done == sorted(done)


def test_the_result_depends_neither_on_the_slice_in_view_nor_on_the_batches(viewed: Viewed, healed: HealResult) -> None:
    """Up to the rounding of float32."""
    np.testing.assert_allclose(viewed[0].on_grid["healed"], healed.on_grid["healed"], atol=2e-4)
    np.testing.assert_array_equal(viewed[0].edited, healed.edited)


def test_progress_ends_complete(viewed: Viewed) -> None:
    last = {e.stage: (e.done, e.total) for e in viewed[1]}
    assert {"heal", "back"} <= set(last)
    assert all(done == total for done, total in last.values())


@pytest.mark.parametrize("stage", ["brain", "saliency", "heal", "back"])
def test_every_stage_can_be_cancelled(scan: Scan, stage: str) -> None:
    seen: list[str] = []

    def stop(event: Event) -> None:
        seen.append(event.stage)
        if event.stage == stage:
            raise Cancelled

    with pytest.raises(Cancelled):
        heal_scan(scan, replace(QUICK, saliency="gradient", gate=0.0, slices=(10, 12)), on_event=stop)
    assert seen[-1] == stage


def test_acat_tells_of_each_step(scan: Scan) -> None:
    events: list[Event] = []
    settings = replace(QUICK, gate=0.0, slices=(10, 11))
    saliency_scan(scan, settings, on_event=events.append)
    assert len({e.done for e in events if e.stage == "saliency"}) >= 40


# previews


def test_without_a_mask_the_slice_in_view_is_glimpsed_before_all_saliency(scan: Scan) -> None:
    settings = replace(QUICK, saliency="gradient", gate=0.0, slices=(9, 13))
    events: list[Event] = []
    glimpsed = heal_scan(scan, settings, view_slice=11, on_event=events.append)
    first = next(i for i, e in enumerate(events) if e.plane is not None)
    assert (events[first].stage, events[first].plane().index) == ("saliency", 11)
    assert not any(e.stage == "saliency" and e.done for e in events[:first])
    assert np.array_equal(glimpsed.saliency, heal_scan(scan, settings).saliency)


def test_a_preview_is_a_plane_of_the_scan(scan: Scan, viewed: Viewed) -> None:
    planes = [e.plane() for e in viewed[1] if e.plane is not None]
    assert planes
    for plane in planes:
        before = scan.voxels.take(plane.index, plane.axis)
        assert (plane.values.shape, plane.values.dtype) == (before.shape, before.dtype)
        assert (plane.values != before).any()


def stack_of(scan: Scan, axes: tuple[int, int, int], flips: tuple[int, ...]) -> tuple[Scan, SliceStack]:
    """The scan stored with its axes exchanged and reversed, and its slices."""
    voxels = np.flip(scan.voxels.transpose(axes), flips)
    affine = np.eye(4)
    affine[:3, :3] = scan.affine[:3, :3][:, list(axes)] * [-1 if i in flips else 1 for i in range(3)]
    turned = Scan(np.ascontiguousarray(voxels), affine, "FLAIR")
    return turned, to_slices(turned, turned.voxels > 200)


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("flips", [(), (0,), (1, 2), (0, 1, 2)])
def test_a_preview_changes_what_the_result_changes(scan: Scan, axes: tuple[int, int, int], flips: tuple) -> None:
    turned, stack = stack_of(scan, axes, flips)
    s, mask = 11, np.zeros(stack.images.shape, bool)
    mask[s, 50:70, 55:75] = stack.brain[s, 50:70, 55:75]
    estimate_ = stack.images + 0.2
    plane = native_plane(turned, stack, s, estimate_[s], mask[s])
    back = carry_back(turned, stack, np.where(mask, estimate_, stack.images), mask)
    edited = back.edited.take(plane.index, plane.axis)
    assert edited.any()
    assert not np.delete(back.edited, plane.index, plane.axis).any()
    before = turned.voxels.take(plane.index, plane.axis)
    np.testing.assert_array_equal(plane.values[~edited], before[~edited])
    after = back.voxels.take(plane.index, plane.axis)
    assert np.corrcoef((plane.values - before)[edited], (after - before)[edited])[0, 1] > 0.9  # it lacks the grain


def test_the_index_of_a_slice_is_its_own_inverse(scan: Scan) -> None:
    for affine in (scan.affine, scan.affine @ np.diag([1.0, 1.0, -1.0, 1.0])):
        p = place(replace(scan, affine=affine))
        assert [stored_index(stored_index(s, p), p) for s in range(20)] == list(range(20))


# the plan


def test_devices_are_told_with_their_memory() -> None:
    cpu = devices()[0]
    assert cpu["name"] == "cpu"
    assert 0 < cpu["memory_free"] <= cpu["memory_total"]


def test_a_larger_run_takes_longer_and_a_larger_batch_more_memory() -> None:
    small, large = estimate(HealSettings(device="cpu"), 4), estimate(HealSettings(device="cpu", batch=32), 40)
    assert small.seconds < large.seconds
    assert small.memory_bytes < large.memory_bytes
    assert (small.batch, small.device, small.warning) == (8, "cpu", None)


def fake_gpu(monkeypatch: pytest.MonkeyPatch, free: float) -> None:
    monkeypatch.setattr(estimate_module, "choose_device", lambda name: torch.device("cuda"))
    monkeypatch.setattr(
        estimate_module, "memory_of", lambda device: (80_000_000_000, int(free) if device.type == "cuda" else 10**10)
    )


def test_too_little_gpu_memory_makes_the_batch_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_gpu(monkeypatch, 8e10)
    roomy = estimate(HealSettings(batch=64), 64)
    assert (roomy.device, roomy.batch, roomy.warning) == ("cuda", 64, None)
    fake_gpu(monkeypatch, roomy.memory_bytes * 0.8)
    tight = estimate(HealSettings(batch=64), 64)
    assert (tight.device, tight.warning) == ("cuda", None)
    assert 1 <= tight.batch < 64


def test_far_too_little_gpu_memory_falls_back_to_the_cpu_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_gpu(monkeypatch, 1e8)
    plan = estimate(HealSettings(), 20)
    assert (plan.device, plan.batch) == ("cpu", 8)
    assert plan.warning is not None
    assert "CPU" in plan.warning
    assert plan.seconds > 5


@pytest.mark.weights
def test_a_model_with_surroundings_shows_the_slice_in_view_first_and_its_result_does_not_depend_on_it(
    scan: Scan, drawn: np.ndarray, prepared: ScanCache
) -> None:
    events: list[Event] = []
    settings = HealSettings(model="tissue-256", steps=6, force=True)
    seen = heal_scan(scan, settings, mask=drawn, prepared=prepared, on_event=events.append, view_slice=12)
    unseen = heal_scan(scan, settings, mask=drawn, prepared=prepared)
    first = next(e for e in events if e.preview is not None)
    assert stored_index(first.slice_index, seen.stack.placement) == 12
    assert first.coarse
    np.testing.assert_array_equal(seen.counterfactual, unseen.counterfactual)
    assert (seen.counterfactual[~seen.edited] == scan.voxels[~seen.edited]).all()
    last = {e.stage: (e.done, e.total) for e in events}
    assert all(done == total for done, total in last.values())
