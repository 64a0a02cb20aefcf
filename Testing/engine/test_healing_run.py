"""Healing a stack with a small random network: batches, memory that runs out, a first look at the slice in view."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from braindiffusion.errors import Cancelled, MemoryExhaustedError
from braindiffusion.events import Event
from braindiffusion.healing import run as run_module
from braindiffusion.healing.dif_fuse import DifFuseSettings
from braindiffusion.healing.models import main_model
from braindiffusion.healing.run import COARSE_STEPS, coarse_settings, heal_slices
from braindiffusion.healing.trajectories import Trajectories
from braindiffusion.models.device import out_of_memory
from braindiffusion.models.registry import LoadedModel
from braindiffusion.networks.build import EpsPredictor
from braindiffusion.settings import HealSettings
from braindiffusion.volume.scan import Scan
from braindiffusion.volume.slices import SliceStack, to_slices

pytestmark = pytest.mark.usefixtures("small_network")
CPU = torch.device("cpu")
SETTINGS = HealSettings(model="flair-healthy-128", steps=6, precision="fp32", device="cpu", force=True)


@pytest.fixture
def model(small_network: None) -> LoadedModel:
    return main_model(SETTINGS, "cpu")


@pytest.fixture(scope="module")
def stack(head_phantom: Scan) -> SliceStack:
    return to_slices(head_phantom, head_phantom.voxels > 200, 64)


@pytest.fixture(scope="module")
def mask(stack: SliceStack) -> np.ndarray:
    """A block on slices 6 to 11."""
    out = np.zeros_like(stack.brain)
    out[6:12, 20:36, 24:40] = True
    return out & stack.brain


def heal(stack: SliceStack, mask: np.ndarray, model: LoadedModel, **changes: Any) -> np.ndarray:
    return heal_slices(stack, mask, model, replace(SETTINGS, **changes), CPU)[0]


# batches


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("bf16", 0.02)])
@pytest.mark.parametrize("fusion", ["cached", "joint", "independent"])
def test_no_result_depends_on_its_batch(
    stack: SliceStack, mask: np.ndarray, model: LoadedModel, precision: str, tolerance: float, fusion: str
) -> None:
    results = [heal(stack, mask, model, batch=b, precision=precision, fusion=fusion, samples=2) for b in (16, 6, 1)]
    assert np.abs(results[0] - stack.images).max() > 10 * tolerance
    for other in results[1:]:
        np.testing.assert_allclose(other, results[0], atol=tolerance)


@pytest.mark.parametrize("remembered", [False, True])
def test_running_out_of_memory_halves_the_batch_and_changes_nothing(
    stack: SliceStack, mask: np.ndarray, model: LoadedModel, monkeypatch: pytest.MonkeyPatch, remembered: bool
) -> None:
    expected, real, sizes = heal(stack, mask, model), EpsPredictor._ask, []

    def cramped(self: EpsPredictor, x: torch.Tensor, *more: Any) -> torch.Tensor:
        if len(x) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        sizes.append(len(x))
        return real(self, x, *more)

    monkeypatch.setattr(EpsPredictor, "_ask", cramped)
    memory = Trajectories() if remembered else None
    healed, _, ran = heal_slices(stack, mask, model, replace(SETTINGS, batch=6), CPU, memory=memory)
    np.testing.assert_allclose(healed, expected, atol=1e-5)
    assert ran.slice_calls == sum(sizes) == 6 * DifFuseSettings(steps=6).calls()
    if memory is not None:
        again, _, ran = heal_slices(stack, mask, model, replace(SETTINGS, batch=6), CPU, memory=memory)
        np.testing.assert_allclose(again, expected, atol=1e-5)
        assert ran.slice_calls == 6 * DifFuseSettings(steps=6).calls(inverted=True)


def test_memory_for_not_even_one_slice_is_a_typed_error(
    stack: SliceStack, mask: np.ndarray, model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(EpsPredictor, "_ask", full)
    with pytest.raises(MemoryExhaustedError) as caught:
        heal(stack, mask, model)
    assert not out_of_memory(caught.value)


def test_the_batch_is_the_devices_unless_asked_for(
    stack: SliceStack, mask: np.ndarray, model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int | None, int]] = []
    monkeypatch.setattr(run_module, "batch_for", lambda batch, device, pixels, free: asked.append((batch, pixels)) or 4)
    _, _, ran = heal_slices(stack, mask, model, SETTINGS, CPU)
    assert ran.calls == 2 * DifFuseSettings(steps=6).calls()  # six slices by four
    height, width = model.card["crop"]
    assert asked == [(None, height * width)]


def test_slices_that_are_known_come_before_the_others_but_after_the_one_in_view(
    stack: SliceStack, mask: np.ndarray, model: LoadedModel
) -> None:
    memory, events = Trajectories(), []
    known = mask.copy()
    known[[6, 7, 8]] = False
    heal_slices(stack, known, model, SETTINGS, CPU, memory=memory)
    settings = replace(SETTINGS, batch=1)
    healed, _, _ = heal_slices(stack, mask, model, settings, CPU, events.append, 7, memory)
    order = list(dict.fromkeys(e.slice_index for e in events if e.preview is not None))
    assert order == [7, 9, 10, 11, 6, 8]
    np.testing.assert_allclose(healed, heal(stack, mask, model), atol=1e-5)


# a first look


def looks(stack: SliceStack, mask: np.ndarray, model: LoadedModel, settings: HealSettings, memory=None) -> list[Event]:
    """The previews of a healing with slice 8 in view."""
    events: list[Event] = []
    heal_slices(stack, mask, model, settings, CPU, events.append, 8, Trajectories() if memory is None else memory)
    return [e for e in events if e.preview is not None]


def test_the_slice_in_view_is_first_healed_in_few_steps(
    stack: SliceStack, mask: np.ndarray, model: LoadedModel
) -> None:
    shown = looks(stack, mask, model, SETTINGS)
    assert [e.coarse for e in shown] == [True] + [False] * (len(shown) - 1)
    first = shown[0]
    assert (first.slice_index, first.done) == (8, 0)
    np.testing.assert_allclose(first.preview, heal(stack, mask, model, steps=COARSE_STEPS)[0, 8], atol=1e-5)
    # then it is shown when it is done, not while its lesion still shows
    assert [e.slice_index for e in shown].count(8) == 2
    assert shown[1].slice_index == 8


def test_the_look_is_no_part_of_the_cost_or_the_result(stack: SliceStack, mask: np.ndarray, model: LoadedModel) -> None:
    healed, _, ran = heal_slices(stack, mask, model, SETTINGS, CPU, lambda e: None, 8, Trajectories())
    assert ran.slice_calls == 6 * DifFuseSettings(steps=6).calls()
    np.testing.assert_allclose(healed, heal(stack, mask, model), atol=1e-5)


@pytest.mark.parametrize("changes", [{"steps": COARSE_STEPS}, {"steps": 1}, {"method": "ddim_ddpm"}])
def test_where_there_is_nothing_to_gain_there_is_no_look(
    stack: SliceStack, mask: np.ndarray, model: LoadedModel, changes: dict[str, Any]
) -> None:
    assert not any(e.coarse for e in looks(stack, mask, model, replace(SETTINGS, **changes)))


def test_a_slice_that_is_known_needs_no_look(stack: SliceStack, mask: np.ndarray, model: LoadedModel) -> None:
    memory = Trajectories()
    looks(stack, mask, model, SETTINGS, memory)
    assert not any(e.coarse for e in looks(stack, mask, model, SETTINGS, memory))


def test_the_look_can_be_cancelled(stack: SliceStack, mask: np.ndarray, model: LoadedModel) -> None:
    told: list[Event] = []

    def stop(event: Event) -> None:
        told.append(event)
        raise Cancelled

    with pytest.raises(Cancelled):
        heal_slices(stack, mask, model, SETTINGS, CPU, stop, 8, Trajectories())
    assert len(told) == 1


def test_settings_of_a_look() -> None:
    assert coarse_settings(DifFuseSettings(samples=4)) == DifFuseSettings(steps=COARSE_STEPS)
    assert coarse_settings(DifFuseSettings(steps=None)).steps == COARSE_STEPS
    reference = DifFuseSettings(steps=None, fusion="independent", index_mode="reference")
    assert coarse_settings(reference) is None


# weights in the precision of the calls


def test_casting_the_weights_once_is_what_autocast_does_at_every_call(model: LoadedModel) -> None:
    x = torch.rand((2, 1, *model.card["crop"]), generator=torch.Generator().manual_seed(0))
    every, once = (
        EpsPredictor(network, run_module.Schedule(), prediction="v", precision="bf16")(x, 300)
        for network in (model.network, model.network_in("bf16"))
    )
    exact = EpsPredictor(model.network, run_module.Schedule(), prediction="v")(x, 300)
    error = (every - exact).abs().mean()
    assert error > 0
    assert (once - exact).abs().mean() < 1.5 * error


def test_the_cast_weights_are_kept_and_the_others_untouched(model: LoadedModel) -> None:
    before = {k: v.clone() for k, v in model.network.state_dict().items()}
    assert model.network_in("bf16") is model.network_in("bf16")
    assert model.network_in("fp32") is model.network
    assert all(torch.equal(v, before[k]) for k, v in model.network.state_dict().items())
    kinds = {type(m).__name__: m.weight.dtype for m in model.network_in("bf16").modules() if hasattr(m, "weight")}
    assert kinds["Conv2d"] == torch.bfloat16
    assert kinds["GroupNorm"] == torch.float32
