"""Inversions kept between runs: what they save, that they change nothing, and that they stay within their bytes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from gaussian_oracle import Counting, pixel_eps
from torch import Tensor

from braindiffusion.diffusion.inversion import invert
from braindiffusion.diffusion.schedule import Schedule
from braindiffusion.events import Event
from braindiffusion.healing.contract import Healed
from braindiffusion.healing.dif_fuse import DifFuseSettings, dif_fuse
from braindiffusion.healing.trajectories import BatchMemory, Inversion, StackMemory, Trajectories
from braindiffusion.pipeline.heal import HealResult, heal_scan
from braindiffusion.pipeline.scan_cache import MOST_STACKS, ScanCache
from braindiffusion.settings import HealSettings
from braindiffusion.volume.scan import Scan

pytestmark = pytest.mark.usefixtures("small_network")
FUSIONS = ["joint", "independent", "cached"]
CPU = torch.device("cpu")


def slices(n: int) -> Tensor:
    return torch.rand((n, 1, 4, 4), generator=torch.Generator().manual_seed(3))


def masks(n: int, seed: int) -> Tensor:
    return torch.rand((n, 1, 4, 4), generator=torch.Generator().manual_seed(seed)) > 0.5


def run(
    x: Tensor, mask: Tensor, memory: BatchMemory | None = None, model=pixel_eps, seed: int = 0, **settings
) -> Healed:
    options = DifFuseSettings(**{"steps": 5} | settings)
    return dif_fuse(x, mask, model, options, torch.Generator().manual_seed(seed), memory=memory)


# what it saves, and that it changes nothing


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("settings", [{}, {"fixed_point": 2}, {"samples": 3}, {"steps": None, "noise_level": 9}])
def test_a_second_heal_costs_the_way_down_and_is_the_same(fusion: str, settings: dict) -> None:
    x, memory, model = slices(2), BatchMemory(Trajectories(), ["a", "b"]), Counting()
    options = DifFuseSettings(**{"steps": 5, "fusion": fusion} | settings)
    run(x, masks(2, 1), memory, fusion=fusion, **settings)
    again = run(x, masks(2, 2), memory, model, fusion=fusion, seed=7, **settings)
    assert len(model.levels) == again.calls == options.calls(inverted=True)
    up = (len(options.levels()[0]) - 1) * (1 + options.fixed_point)
    assert options.calls(inverted=True) == options.calls() - up - 1
    fresh = run(x, masks(2, 2), fusion=fusion, seed=7, **settings)
    assert torch.equal(again.samples, fresh.samples)
    assert torch.equal(again.reconstruction, fresh.reconstruction)


def test_ten_steps_cost_21_calls_and_the_second_time_10() -> None:
    assert (DifFuseSettings().calls(), DifFuseSettings().calls(inverted=True)) == (21, 10)
    assert DifFuseSettings(noise_level=0).calls(inverted=True) == 0


def test_it_does_not_matter_in_which_batch_a_slice_was_inverted() -> None:
    x, memory = slices(4), Trajectories()
    run(x[:3], masks(3, 1), BatchMemory(memory, [0, 1, 2]))
    run(x[3:], masks(1, 1), BatchMemory(memory, [3]))
    model = Counting()
    mixed = run(x[[3, 1]], masks(2, 2), BatchMemory(memory, [3, 1]), model)
    assert len(model.levels) == 5
    assert torch.equal(mixed.samples, run(x[[3, 1]], masks(2, 2)).samples)


def test_progress_counts_the_calls_that_are_made() -> None:
    x, memory, steps = slices(1), BatchMemory(Trajectories(), [0]), []
    for _ in range(2):
        steps.clear()
        dif_fuse(
            x, masks(1, 1), pixel_eps, DifFuseSettings(steps=5), torch.Generator().manual_seed(0), on_step=steps.append,
            memory=memory,
        )  # fmt: skip
    assert [(s.done, s.total) for s in steps] == [(i, 5) for i in range(1, 6)]


@pytest.mark.parametrize(
    "other",
    [{"noise_level": 400}, {"steps": 4}, {"spacing": "uniform"}, {"fixed_point": 1}, {"clip": None},
     {"steps": None, "fusion": "independent", "index_mode": "reference"}],
)  # fmt: skip
def test_what_decides_the_way_up_is_in_the_key(other: dict) -> None:
    base = DifFuseSettings(steps=5)
    assert replace(base, **other).inversion_key() != base.inversion_key()


@pytest.mark.parametrize("other", [{"fusion": "joint"}, {"variance": "large"}, {"samples": 4}])
def test_what_does_not_decide_it_is_not(other: dict) -> None:
    base = DifFuseSettings(steps=5)
    assert replace(base, **other).inversion_key() == base.inversion_key()


# its bounds


def inversion(n: int = 1, levels: int = 3, fill: float = 0.0) -> Inversion:
    return Inversion([torch.full((n, 1, 4, 4), fill + i) for i in range(levels)], torch.full((n, 1, 4, 4), fill - 1))


BYTES = 4 * 4 * 4 * 4  # of one slice of `inversion()`: three states and an answer


def test_what_is_kept_comes_back() -> None:
    memory = Trajectories()
    states = invert(slices(2), pixel_eps, [0, 10, 20], Schedule())
    memory.keep(["a", "b"], Inversion(states, states[-1] + 1))
    back = memory.recall(["b", "a"], CPU)
    for there, here in zip(states, back.states, strict=True):
        assert torch.equal(there[[1, 0]], here)
    assert torch.equal(back.answer, states[-1][[1, 0]] + 1)
    assert memory.recall(["a", "c"], CPU) is None


def test_the_least_recently_used_is_dropped_when_the_bytes_are_full() -> None:
    memory = Trajectories(most_bytes=2 * BYTES + 1)
    for name in "ab":
        memory.keep([name], inversion())
    memory.recall(["a"], CPU)
    memory.keep(["c"], inversion())
    assert ("a" in memory, "b" in memory, "c" in memory) == (True, False, True)
    assert memory.bytes == len(memory) * BYTES == 2 * BYTES


def test_keeping_again_replaces_and_counts_once() -> None:
    memory = Trajectories()
    memory.keep(["a"], inversion(fill=1.0))
    memory.keep(["a"], inversion(fill=5.0))
    assert memory.bytes == BYTES
    assert memory.recall(["a"], CPU).states[0].unique().tolist() == [5.0]


def test_what_does_not_fit_at_all_is_not_kept_and_drops_nothing() -> None:
    memory = Trajectories(most_bytes=BYTES)
    memory.keep(["a"], inversion())
    memory.keep(["b"], inversion(levels=9))
    assert "a" in memory
    assert "b" not in memory


def test_a_slice_does_not_hold_on_to_its_batch() -> None:
    memory = Trajectories()
    memory.keep(list("abcdefgh"), inversion(8))
    held = {memory.recall([name], CPU).states[0].untyped_storage().nbytes() for name in "abcdefgh"}
    assert max(held) <= BYTES
    memory.clear()
    assert (len(memory), memory.bytes) == (0, 0)


def test_keys_of_a_stack_tell_its_slices_apart() -> None:
    memory = Trajectories()
    one, other = StackMemory(memory, ("one",)), StackMemory(memory, ("other",))
    one.of([3, 4]).keep(inversion(2))
    assert [one.knows(s) for s in (2, 3, 4)] == [False, True, True]
    assert not other.knows(3)
    assert one.of([np.int64(4)]).recall(CPU) is not None


# healing a scan, with a small random network


QUICK = HealSettings(model="flair-healthy-128", steps=6, precision="fp32", force=True)


def drawn(scan: Scan, *slices: int, wide: int = 8) -> np.ndarray:
    mask = np.zeros(scan.voxels.shape, bool)
    mask[18 : 18 + wide, 40:48, list(slices)] = True
    return mask


def heal(
    prepared: ScanCache | None, scan: Scan, mask: np.ndarray, settings: HealSettings = QUICK, **more
) -> HealResult:
    return heal_scan(scan, settings, mask=mask, brain=scan.voxels > 200, prepared=prepared, **more)


def calls(result: HealResult) -> int:
    return result.provenance["network_calls"]["per_slice"]


@pytest.fixture
def prepared(small_network: None, head_phantom: Scan) -> ScanCache:
    """With the inversions of slices 10 and 11."""
    kept = ScanCache(head_phantom)
    heal(kept, head_phantom, drawn(head_phantom, 10, 11))
    return kept


def test_a_changed_mask_is_healed_as_if_nothing_were_remembered(head_phantom: Scan, prepared: ScanCache) -> None:
    mask = drawn(head_phantom, 9, 10, 11, wide=12)
    events: list[Event] = []
    again = heal(prepared, head_phantom, mask, on_event=events.append)
    fresh = heal(None, head_phantom, mask)
    np.testing.assert_allclose(again.on_grid["healed"], fresh.on_grid["healed"], atol=1e-5)
    np.testing.assert_array_equal(again.edited, fresh.edited)
    assert (calls(fresh), calls(again)) == (3 * 13, 2 * 6 + 13)
    done = [(e.done, e.total) for e in events if e.stage == "heal"]
    assert done == sorted(done)
    assert done[-1] == (calls(again), calls(again))


def test_other_settings_and_seeds_are_told_apart(head_phantom: Scan, prepared: ScanCache) -> None:
    def asked(**changes: object) -> int:
        return calls(heal(prepared, head_phantom, drawn(head_phantom, 10), replace(QUICK, **changes)))

    assert asked(seed=5) == 6
    assert asked(samples=2) == 12
    assert asked(steps=1) == 3
    assert asked(precision="bf16") == 13


def test_another_brain_is_another_stack(head_phantom: Scan) -> None:
    kept, mask = ScanCache(head_phantom), drawn(head_phantom, 10)
    for smaller in (200, 390):
        result = heal_scan(head_phantom, QUICK, mask=mask, brain=head_phantom.voxels > smaller, prepared=kept)
        assert calls(result) == 13
    for smaller in (250, 300):  # more stacks than are kept: what belongs to the dropped ones goes too
        heal_scan(head_phantom, QUICK, mask=mask, brain=head_phantom.voxels > smaller, prepared=kept)
    assert len(kept.trajectories) <= MOST_STACKS


def test_without_prepared_nothing_is_kept(head_phantom: Scan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trajectories, "keep", lambda *_: pytest.fail("kept"))
    heal(None, head_phantom, drawn(head_phantom, 10))
