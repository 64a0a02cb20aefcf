"""MedEdit with fewer calls: which draws are made, what they are compared with, and how it reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from braindiffusion.bench import mededit
from braindiffusion.bench.report import markdown
from braindiffusion.evaluation.induction.evaluate import InductionReport, InductionSettings, KindResult

MODES = ("mededit", None), ("mededit", 25), ("mededit_paired", 15)
CALLS = {None: 3997, 25: 101, 15: 122}


class Lesions:
    """Six lesions of three patients."""

    patient = np.array(list("aabbcc"))

    def __len__(self) -> int:
        return 6


def dice_of(steps: int | None, draw: int) -> np.ndarray:
    return np.linspace(0.3, 0.8, 6) - (0.01 * steps if steps else 0) + 0.1 * draw


def fid_of(steps: int | None, draw: int) -> float:
    return 20.0 + (steps or 0) + 3 * draw


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[InductionSettings]:
    """What was evaluated; a stand-in for the evaluation, which has tests of its own."""
    seen: list[InductionSettings] = []

    def evaluate(data: list[Path], settings: InductionSettings, **options: Any) -> InductionReport:
        seen.append(settings)
        steps, draw = settings.steps, settings.draw
        row: dict[str, Any] = {
            "calls_per_slice": CALLS[steps], "seconds_per_slice": 1.0 + draw,
            "overlap": {"dice_of_slices": dice_of(steps, draw).tolist()},
            "distribution": {"classifier": {"fid_mean": fid_of(steps, draw)}},
        }  # fmt: skip
        unknown = row | {"overlap": None, "distribution": {}}
        kinds = [("tumour_flair", row), ("tumour_t1gd", unknown)]
        facts = [{"rows": {"real": {}, settings.methods[0]: of}, "segmenter": None} for _, of in kinds]
        found = [KindResult(kind, Lesions(), {}, f, None) for (kind, _), f in zip(kinds, facts, strict=True)]
        return InductionReport({}, found)

    monkeypatch.setattr(mededit, "evaluate_induction", evaluate)
    return seen


def rows(draws: tuple[int, int]) -> list[dict[str, Any]]:
    return mededit.fewer_calls(Path("pack"), limit=6, device="cpu", modes=MODES, draws=draws)


def test_the_draws_differ_and_their_pairs_do_not(asked: list[InductionSettings]) -> None:
    rows((2, 3))
    made = [(s.methods, s.steps, s.draw) for s in asked]
    assert made == [((method,), n, d) for method, n in MODES for d in range(3 if n else 2)]
    assert {(s.seed, s.limit) for s in asked} == {(0, 6)}


def test_a_row_is_the_mean_of_its_draws_beside_the_mean_of_the_first(asked: list[InductionSettings]) -> None:
    first, fewer, _ = [row for row in rows((2, 3)) if row["kind"] == "tumour_flair"]
    assert (first["draws"], fewer["draws"], fewer["lesions"]) == (2, 3, 6)
    assert fewer["times_fewer_calls"] == pytest.approx(3997 / 101)
    assert fewer["lesion_dice_of_draws"] == pytest.approx([0.3, 0.4, 0.5])
    assert fewer["lesion_dice"] == pytest.approx(0.4)
    assert first["lesion_dice_minus_first"]["mean"] == 0
    less = fewer["lesion_dice_minus_first"]
    assert less["mean"] == pytest.approx(0.4 - 0.6)
    assert less["patients"] == 3
    assert less["interval"] == pytest.approx([-0.2, -0.2])  # every lesion alike: nothing to doubt
    fids = [fid_of(25, d) for d in range(3)]
    assert (fewer["fid"], fewer["fid_standard_error"]) == pytest.approx((np.mean(fids), stats.sem(fids)))
    assert fewer["fid_minus_first"] == pytest.approx(np.mean(fids) - (20 + 23) / 2)


def test_a_kind_that_no_segmenter_knows_has_its_cost_alone(asked: list[InductionSettings]) -> None:
    _, fewer, _ = [row for row in rows((1, 1)) if row["kind"] == "tumour_t1gd"]
    assert fewer["calls_per_slice"] == 101
    assert {fewer[k] for k in ("lesion_dice", "lesion_dice_minus_first", "fid", "fid_minus_first")} == {None}


@pytest.mark.parametrize("draws", [(1, 1), (2, 4)])
def test_every_row_is_told(asked: list[InductionSettings], draws: tuple[int, int]) -> None:
    facts: dict[str, Any] = {"command": "braindiffusion bench", "mededit": rows(draws)}
    machine = {"processor": "any", "cores": 2, "threads": 1, "memory_bytes": 1 << 34, "system": "Linux"}
    more = {"python": "3", "torch": "2", "device": "cpu", "precision": "fp32"}
    text = markdown(facts | {"machine": machine | more})
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 6
    assert len({line.count("|") for line in lines}) == 1
    assert "| tumour_flair | mededit_paired | 15 | 6 |" in text
    assert "nan" not in text
