"""The bench: what is measured is what was asked for, and the tables say what was measured."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from braindiffusion.bench import run as bench_module
from braindiffusion.bench import sweeps
from braindiffusion.bench.items import Item, fewer, mean_dice
from braindiffusion.bench.ladder import REFERENCE, Rung, climb, ladder, model_for, run_rung, steps_ladder
from braindiffusion.bench.machine import cheapest, flops_of, machine, matmul_rate, measured
from braindiffusion.bench.monai_loop import heal_with_monai
from braindiffusion.bench.reading import KINDS
from braindiffusion.bench.report import machine_line, markdown
from braindiffusion.bench.run import BenchSettings, run_bench
from braindiffusion.bench.sweeps import MONAI, Sizes, enlarged, linearity, sweep, volume_of
from braindiffusion.diffusion.schedule import Schedule
from braindiffusion.errors import SettingsError
from braindiffusion.evaluation.metrics.overlap import count
from braindiffusion.healing.dif_fuse import DifFuseSettings
from braindiffusion.healing.models import main_model
from braindiffusion.healing.run import heal_slices
from braindiffusion.models.registry import LoadedModel
from braindiffusion.settings import HealSettings
from braindiffusion.volume.scan import Scan
from braindiffusion.volume.slices import SliceStack, to_slices

pytestmark = pytest.mark.usefixtures("small_network")
CPU = torch.device("cpu")
BASE = HealSettings(model="flair-healthy-128", steps=10, device="cpu", force=True)


@pytest.fixture
def model(small_network: None) -> LoadedModel:
    return main_model(BASE, "cpu")


@pytest.fixture(scope="module")
def stack(head_phantom: Scan) -> SliceStack:
    return to_slices(head_phantom, head_phantom.voxels > 200, 64)


@pytest.fixture(scope="module")
def items(stack: SliceStack) -> list[Item]:
    """Two patients: slices 8, 9, 10 of one and 11 of the other; the drawn lesion is the mask."""

    def item(name: str, rows: list[int]) -> Item:
        mask = np.zeros_like(stack.brain)
        mask[rows, 24:36, 24:36] = True
        mask &= stack.brain
        return Item(name, stack, rows, mask, lambda lesion, rows: [count(lesion[s], mask[s]).dice for s in rows])

    return [item("anna", [8, 9, 10]), item("bela", [11])]


# what is healed


@pytest.mark.parametrize("most", [1, 2, 3, 4, 9])
def test_fewer_slices_are_some_of_the_slices_with_their_masks(items: list[Item], most: int) -> None:
    some = fewer(items, most)
    assert sum(len(item.rows) for item in some) == min(most, 4)
    for item in some:
        whole = next(i for i in items if i.name == item.name)
        assert set(item.rows) <= set(whole.rows)
        assert np.nonzero(item.mask.any((1, 2)))[0].tolist() == item.rows
        assert np.array_equal(item.mask[item.rows], whole.mask[item.rows])


def test_dice_is_the_mean_over_patients_of_the_chosen_slices() -> None:
    scores = {("a", 0): 1.0, ("a", 1): 0.0, ("b", 5): 0.2}
    assert mean_dice(scores) == pytest.approx(0.35)
    assert mean_dice(scores, {("a", 1), ("b", 5)}) == pytest.approx(0.1)
    assert mean_dice(scores, {("c", 1)}) is None


# what it costs


def test_a_block_is_measured() -> None:
    with measured(CPU) as cost:
        kept = np.ones(8_000_000)  # 64 MB
        time.sleep(0.05)
    assert kept.sum() == 8_000_000
    assert cost.wall >= 0.05
    assert cost.cpu >= 0
    assert cost.peak_bytes is None or cost.peak_bytes > 40e6


def test_the_cheapest_of_several_runs_counts() -> None:
    waits = iter([0.08, 0.0, 0.05])
    cost, answer = cheapest(lambda: time.sleep(next(waits)) or "done", CPU, 3)
    assert cost.wall < 0.05
    assert answer == "done"


def test_flops_of_a_convolution_are_counted() -> None:
    class One(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(1, 3, 3, padding=1)

        def forward(self, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
            return self.conv(x)

    assert flops_of(One(), 8, 10, CPU) == 2 * 9 * 3 * 80


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_matrix_rate_is_a_rate(precision: str) -> None:
    assert 1e8 < matmul_rate(CPU, precision, side=256, repeats=2) < 1e14


def test_the_machine_is_named() -> None:
    facts = machine(CPU)
    assert facts["device"] == "cpu"
    line = machine_line(facts)
    for part in (facts["processor"], facts["torch"], f"{facts['cores']} cores"):
        assert part in line


# the ladder


def test_the_ladder_starts_at_the_published_mode_and_keeps_what_it_gained() -> None:
    first, *rungs = ladder()
    assert first.settings == REFERENCE == {"fusion": "independent", "steps": None, "precision": "fp32", "batch": 1}
    assert (first.crop, first.cast, first.remembered) == (False, False, False)
    assert DifFuseSettings(fusion="independent", steps=None).calls() == 1501
    done = [rung for rung in rungs if not rung.monai]
    for before, after in pairwise(done):
        changed = {k for k in after.settings if after.settings[k] != before.settings.get(k)}
        flags = sum(getattr(after, f) != getattr(before, f) for f in ("crop", "cast", "remembered", "compiled"))
        assert len(changed) + flags == 1, after.name
    last = replace(BASE, **done[-1].settings)
    assert last == replace(BASE, fusion="cached")  # the ladder ends at the defaults


def test_a_row_says_what_was_run(items: list[Item], model: LoadedModel) -> None:
    rung = Rung("few", {"steps": 3, "fusion": "cached"})
    row, made = run_rung(rung, items, model_for(rung, model), BASE, 2)
    assert (row["slices"], row["calls_per_slice"], row["outside"]) == (4, 7, 0.0)
    assert made.calls == 28
    assert set(made.scores) == {("anna", 8), ("anna", 9), ("anna", 10), ("bela", 11)}
    assert row["seconds_per_slice"] > 0
    assert row["lesion_dice"] == mean_dice(made.scores)


def test_a_remembered_inversion_is_not_paid_for_and_changes_nothing(items: list[Item], model: LoadedModel) -> None:
    plain, again = Rung("few", {"steps": 3}), Rung("again", {"steps": 3}, remembered=True)
    (first, made), (second, remade) = (run_rung(r, items, model_for(r, model), BASE, 1) for r in (plain, again))
    assert (first["calls_per_slice"], second["calls_per_slice"]) == (7, 3)
    assert made.scores == pytest.approx(remade.scores)


def test_the_published_mode_drifts_outside_the_mask_and_the_row_says_so(items: list[Item], model: LoadedModel) -> None:
    rung = Rung("reference", {**REFERENCE, "steps": 4}, crop=False)
    row, _ = run_rung(rung, fewer(items, 1), model_for(rung, model), BASE, 1)
    assert row["outside"] > 0
    assert row["calls_per_slice"] == DifFuseSettings(fusion="independent", steps=4).calls()


def test_the_same_weights_serve_every_rung(model: LoadedModel) -> None:
    for rung in ladder(compiled=True):
        assert model_for(rung, model).network is model.network
    whole = model_for(Rung("x", crop=False), model)
    assert whole.card["crop"] is None
    assert model.card["crop"] is not None


def test_rows_are_compared_on_the_slices_they_share(
    items: list[Item], model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("braindiffusion.bench.ladder.MANY_CALLS", 8)
    rungs = [Rung("many", {"steps": 5}), Rung("few", {"steps": 2})]
    many, few = climb(rungs, items, BASE, reference_slices=2, repeats=1)
    assert (many["slices"], few["slices"]) == (2, 4)
    assert (many["shared_slices"], few["shared_slices"]) == (2, 2)
    assert many["dice_minus_first"] == 0
    assert many["times_faster"] == 1
    assert few["times_faster"] == pytest.approx(many["seconds_per_slice"] / few["seconds_per_slice"])


def test_steps_are_swept_from_the_first_named() -> None:
    assert [r.settings["steps"] for r in steps_ladder((None, 2, 10))] == [None, 2, 10]
    assert [r.name for r in steps_ladder((None, 2))] == ["every step", "2 steps"]


# MONAI's loop


def test_monais_loop_keeps_what_is_outside_and_costs_a_call_a_level(
    items: list[Item], stack: SliceStack, model: LoadedModel
) -> None:
    item = items[0]
    healed, calls = heal_with_monai(stack, item.mask, model, replace(BASE, steps=4), CPU)
    levels = 4  # of 8 that MONAI spreads over 1000, those up to 500
    assert calls == 3 * ((levels - 1) + levels)
    assert np.array_equal(healed[~item.mask], stack.images[~item.mask])
    assert (healed != stack.images)[item.rows].any()


def test_monais_loop_takes_the_noise_of_a_network_as_ours_does(stack: SliceStack, items: list[Item]) -> None:
    """A network that answers v of an image it knows leads both loops to that image, at any level."""
    known = 0.3

    class Knows(torch.nn.Module):
        def forward(self, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
            a = Schedule().signal(int(level[0]))
            eps = (x - a**0.5 * known) / (1 - a) ** 0.5
            return a**0.5 * eps - (1 - a) ** 0.5 * known

    card = {"prediction": "v", "sha256": "", "name": "knows"}
    model = LoadedModel("knows", card, Knows(), "cpu")
    settings, mask = replace(BASE, steps=4, keep_outline=False), items[0].mask
    ours = heal_slices(stack, mask, model, settings, CPU)[0][0]
    theirs, _ = heal_with_monai(stack, mask, model, settings, CPU)
    for healed in (ours, theirs):
        np.testing.assert_allclose(healed[mask], known, atol=0.02)


# cost against work


def test_a_volume_has_the_slices_asked_for(items: list[Item]) -> None:
    stack, mask = volume_of(items[0], 5)
    assert len(stack) == 5
    assert stack.images.shape == mask.shape
    assert mask.any((1, 2)).all()


def test_a_larger_grid_shows_the_same(items: list[Item]) -> None:
    stack, mask = enlarged(*volume_of(items[0], 2), 2)
    assert stack.images.shape == mask.shape == (2, 128, 128)
    assert stack.placement.size == 128
    assert stack.images[0, ::2, ::2].tolist() == volume_of(items[0], 2)[0].images[0].tolist()


def test_every_sweep_does_the_work_it_says(items: list[Item], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeps, "matmul_rate", lambda device, precision: 1e12)
    sizes = Sizes((2, 4), (0.5, 1.0), 4, (1, 2), 1, (64, 128), 1)
    rows = sweep(items[0], replace(BASE, steps=2), sizes, repeats=1)
    work = [(r["sweep"], r["value"], r["masked_slices"], r["calls"]) for r in rows]
    assert work == [
        ("volume", 2, 2, 10), ("volume", 4, 4, 20), ("masked share", 0.5, 2, 10), ("masked share", 1.0, 4, 20),
        ("samples", 1, 1, 5), ("samples", 2, 1, 3 + 2 * 2),
        ("grid", 64, 1, 5), (MONAI, 64, 1, 3), ("grid", 128, 1, 5), (MONAI, 128, 1, 3),
    ]  # fmt: skip
    assert rows[-1]["pixels"] == 4 * rows[-3]["pixels"]
    assert all(row["seconds"] > 0 and row["share_of_matmul_rate"] > 0 for row in rows)


def test_a_straight_line_has_no_deviation_and_a_parabola_has() -> None:
    def rows(cost: Any) -> list[dict[str, Any]]:
        return [{"sweep": "volume", "calls": n, "seconds": cost(n)} for n in (8, 16, 64, 256)]

    assert linearity(rows(lambda n: 0.3 + 0.02 * n))["volume"] == pytest.approx(0, abs=1e-9)
    assert linearity(rows(lambda n: n * n))["volume"] > 0.3


# all of it


@pytest.mark.parametrize("settings", [{"parts": ("ladders",)}, {"parts": ("mededit",)}])
def test_what_cannot_be_measured_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        run_bench(BenchSettings(**settings), None)


def test_the_report_has_every_row_and_the_notice(items: list[Item], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_module, "sample_items", lambda settings, limit: items)
    monkeypatch.setattr(bench_module, "QUICK_REFERENCE", 3)
    monkeypatch.setattr(bench_module, "QUICK_STEPS", (3, 2))
    monkeypatch.setattr(bench_module.sweeps, "matmul_rate", lambda device, precision: 1e12)
    monkeypatch.setattr(bench_module.sweeps, "QUICK", Sizes((2, 3, 4), (), 2, (1,), 1, (64,), 1))
    monkeypatch.setattr(
        bench_module, "latency", lambda settings: [{"what": "waiting", "seconds": None, "note": "for long"}]
    )
    settings = BenchSettings(
        parts=("ladder", "steps", "sweeps", "latency"), quick=True, reference_slices=1, device="cpu"
    )
    facts = {**run_bench(settings, None), "command": "braindiffusion bench --quick"}
    text = markdown(facts)
    for row in (*facts["ladder"], *facts["steps"]):
        assert f"| {row['name']} |" in text
    assert facts["ladder"][0]["name"] == "reference, 3 steps"
    assert text.count("| volume |") == 3
    assert "| waiting | - | for long |" in text
    assert "4 slices of the shipped synthetic scan" in text
    assert "Research use only" in text
    widths = {line.count("|") for line in text.split("## ")[2].splitlines() if line.startswith("|")}
    assert len(widths) == 1  # head, rule and rows have the same columns


def test_reading_holds_the_voxels_once_and_is_no_slower_than_its_checks() -> None:
    """Peak memory of every kind of file within 1.5 times the voxels that are kept; seconds beside the library's own."""
    rows = bench_module.reading(2)
    text = markdown({"machine": machine(CPU), "command": "braindiffusion bench", "reading": rows})
    assert [row["what"] for row in rows] == list(KINDS)
    compared_with_less = ("NIfTI, NaN around", "DICOM, one file, compressed")  # no search for NaN; another decoder
    for row in rows:
        assert row["memory"] is None or 0.9 < row["memory"] < 1.5, row
        if row["what"] not in compared_with_less:  # 0.5 to 3.5 times; another pass over the file shows
            assert row["seconds"] < 6 * row["library_seconds"], row
        assert f"| {row['what']} |" in text
    assert sys.platform != "linux" or rows[0]["memory"] is not None


def test_the_defaults_are_what_the_ladder_ends_with(items: list[Item], stack: SliceStack, model: LoadedModel) -> None:
    rung = next(r for r in ladder() if r.name == "weights cast once")
    row, made = run_rung(rung, items[:1], model_for(rung, model), BASE, 1)
    healed, reconstruction, ran = heal_slices(stack, items[0].mask, model, BASE, CPU)
    assert ran.slice_calls == made.calls
    assert items[0].scores(healed[0], reconstruction, BASE, model.card) == made.scores
    assert row["steps"] == BASE.steps
