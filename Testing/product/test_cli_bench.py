"""``bench``: JSON and a table, with the machine named."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from healing_models import add_model
from product_run import names, run, strict_json, succeed, told

from braindiffusion.bench import run as bench_module
from braindiffusion.bench import sweeps
from braindiffusion.bench.ladder import ladder

pytestmark = pytest.mark.weights


def test_the_bench_leaves_json_and_a_table(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = tmp_path_factory.mktemp("models")
    add_model(models, "flair-healthy-128", 64)  # small and random, in place of the shipped one
    monkeypatch.setenv("BRAINDIFFUSION_MODELS", str(models))
    monkeypatch.setattr(bench_module, "QUICK_REFERENCE", 2)
    monkeypatch.setattr(bench_module, "ladder", partial(ladder, steps=2))
    monkeypatch.setattr(sweeps, "QUICK", sweeps.Sizes((1, 2), (), 1, (1,), 1, (64,), 1))
    monkeypatch.setattr(sweeps, "matmul_rate", lambda device, precision: 1e12)
    parts = ("--parts", "ladder,sweeps", "--slices", 1, "--reference-slices", 1)
    result = succeed(
        "bench", "--out", tmp_path / "b", "--quick", *parts, "--threads", 1, "--device", "cpu", "--progress", "none"
    )
    assert names(tmp_path / "b") == {"bench.json", "bench.md"}
    facts = strict_json((tmp_path / "b" / "bench.json").read_text())
    assert facts["machine"]["threads"] == 1
    assert facts["command"] == ("braindiffusion bench --parts ladder,sweeps --slices 1 --reference-slices 1 --quick")
    rows = {row["name"]: row for row in facts["ladder"]}
    assert rows["reference, 2 steps"]["times_faster"] == 1
    assert rows["again, with another mask"]["calls_per_slice"] == 2
    assert rows["outside from the stored inversion"]["outside"] == 0
    table = (tmp_path / "b" / "bench.md").read_text()
    assert facts["machine"]["processor"] in table
    assert "Research use only" in table
    assert table.strip() in result.out


def test_what_cannot_be_measured_is_refused(tmp_path: Path) -> None:
    for code, name, options in (
        (2, "SettingsError", ("--parts", "speed")),
        (2, "SettingsError", ("--parts", "mededit")),
        (4, "DeviceError", ("--device", "cuda:99")),
        (3, "PackError", ("--data", tmp_path / "nothing.npz")),
    ):
        told(run("bench", "--out", tmp_path / "b", "--progress", "none", *options), code, name)
    assert names(tmp_path) == set()
