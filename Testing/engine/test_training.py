"""The training loop: resumable bit for bit, stoppable, and exporting what the engine can load."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_training import recipe, write_pack
from torch import Tensor, nn

from braindiffusion.errors import DeviceError, PackError
from braindiffusion.models.registry import load_model, release
from braindiffusion.networks.build import build_network
from braindiffusion.training.datasets import packs_on_grid
from braindiffusion.training.loop import Checkpoint, train
from braindiffusion.training.tasks import TASKS

needs_fabric = pytest.mark.skipif(find_spec("lightning_fabric") is None, reason="lightning-fabric is not installed")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the pack ``tiny.npz``."""
    folder = tmp_path_factory.mktemp("data")
    write_pack(folder / "tiny.npz")
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for runs, which share the cache of the pack."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures take longer than these networks take to train."""
    monkeypatch.setattr("braindiffusion.training.loop.task_figure", lambda *_: None)
    monkeypatch.setattr("braindiffusion.training.loop.loss_curve", lambda *_: None)


def run(what: dict[str, Any], data: Path, out: Path, **options: Any) -> list[dict[str, Any]]:
    return list(train(what, data, out, device="cpu", **options))


def state(out: Path) -> dict[str, Tensor]:
    """Weights, averaged weights and optimiser moments of a run."""
    return load_file(str(out / "checkpoint.safetensors"))


def assert_same(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    different = [k for k in a if not torch.equal(a[k], b[k])]
    assert different == []


# checkpoints


def test_a_checkpoint_brings_back_everything(tmp_path: Path) -> None:
    def fresh(seed: int) -> tuple[nn.Module, nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(seed)
        network = nn.Linear(3, 2)
        return network, nn.Linear(3, 2), torch.optim.AdamW(network.parameters())

    with torch.random.fork_rng(devices=[]):
        network, ema, optimiser = fresh(0)
        network(torch.rand(4, 3)).sum().backward()
        optimiser.step()
        Checkpoint(tmp_path / "c.safetensors").save(network, ema, optimiser, {"iteration": 7, "best": None})
        other, other_ema, other_optimiser = fresh(1)
    assert Checkpoint(tmp_path / "c.safetensors").load(other, other_ema, other_optimiser) == {
        "iteration": 7,
        "best": None,
    }
    assert_same(other.state_dict(), network.state_dict())
    assert_same(other_ema.state_dict(), ema.state_dict())
    for index, moments in optimiser.state_dict()["state"].items():
        assert_same(other_optimiser.state_dict()["state"][index], moments)


def test_saving_leaves_one_file(tmp_path: Path) -> None:
    network = nn.Linear(2, 2)
    checkpoint = Checkpoint(tmp_path / "c.safetensors")
    for _ in range(2):
        checkpoint.save(network, network, torch.optim.AdamW(network.parameters()), {})
    assert [p.name for p in tmp_path.iterdir()] == ["c.safetensors"]


# running


@needs_fabric
@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("task", ["denoiser", "classifier", "gan"])
def test_an_interrupted_run_continues_bit_for_bit(task: str, data: Path, runs: Path) -> None:
    """The classifier has dropout, the denoiser its noise, the GAN its turns; the learning rate falls all the way."""
    what = recipe(task)
    torch.manual_seed(1)  # the state of the world must not matter
    run(what, data, runs / f"{task}-straight")
    torch.manual_seed(2)
    interrupted = train(what, data, runs / f"{task}-resumed", device="cpu", report_every_s=0.0)
    assert [r["iteration"] for r in islice(interrupted, 3)] == [1, 2, 3]
    interrupted.close()
    run(what, data, runs / f"{task}-resumed", resume=True)
    assert_same(state(runs / f"{task}-straight"), state(runs / f"{task}-resumed"))


@needs_fabric
@pytest.mark.usefixtures("no_pictures")
def test_3_iterations_and_3_more_are_6(data: Path, runs: Path) -> None:
    what = recipe("autoencoder", optimiser={"lr": 0.001})
    run(what, data, runs / "six")
    run(what, data, runs / "three", iterations=3)
    assert run(what, data, runs / "three", resume=True)[-1]["iteration"] == 6
    assert_same(state(runs / "six"), state(runs / "three"))


@needs_fabric
@pytest.mark.usefixtures("no_pictures")
def test_a_run_that_is_complete_is_not_trained_further(data: Path, runs: Path) -> None:
    run(recipe("autoencoder"), data, runs / "complete")
    before = state(runs / "complete")
    run(recipe("autoencoder"), data, runs / "complete", resume=True)
    assert_same(state(runs / "complete"), before)


@needs_fabric
@pytest.mark.usefixtures("no_pictures")
def test_reporting_does_not_change_the_training(data: Path, runs: Path) -> None:
    run(recipe("autoencoder"), data, runs / "quiet")
    run(recipe("autoencoder"), data, runs / "chatty", report_every_s=0.0)
    assert_same(state(runs / "quiet"), state(runs / "chatty"))


@needs_fabric
@pytest.mark.usefixtures("no_pictures")
def test_training_changes_the_weights(data: Path, runs: Path) -> None:
    run(recipe("autoencoder"), data, runs / "one", iterations=1)
    run(recipe("autoencoder"), data, runs / "two", iterations=2)
    a, b = state(runs / "one"), state(runs / "two")
    assert any(not torch.equal(a[k], b[k]) for k in a if k.startswith("model."))


@needs_fabric
@pytest.mark.usefixtures("no_pictures")
def test_another_seed_gives_another_run(data: Path, runs: Path) -> None:
    for seed in (1, 2):
        run(recipe("autoencoder", seed=seed), data, runs / f"seed{seed}", iterations=1)
    a, b = state(runs / "seed1"), state(runs / "seed2")
    assert any(not torch.equal(a[k], b[k]) for k in a)


@needs_fabric
@pytest.mark.usefixtures("no_pictures")
def test_training_leaves_global_random_state_alone(data: Path, runs: Path) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    run(recipe(), data, runs / "polite")
    assert torch.equal(torch.get_rng_state(), before)


@needs_fabric
def test_a_budget_ends_the_run_cleanly(data: Path, runs: Path) -> None:
    out = runs / "budget"
    records = run(recipe("autoencoder", iterations=300), data, out, budget_s=0.001)
    assert records[-1]["iteration"] == 1
    left = {p.name for p in out.iterdir()}
    assert left >= {"checkpoint.safetensors", "config.json", "curve.png", "done.json", "log.csv", "tiny.json",
                    "tiny.safetensors"}  # fmt: skip
    assert not [name for name in left if "partial" in name]


@needs_fabric
@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("task", ["denoiser", "autoencoder", "classifier", "gan"])
def test_what_a_run_exports_can_be_loaded(task: str, data: Path, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = runs / f"export-{task}"
    run(recipe(task), data, out, iterations=2)
    monkeypatch.setenv("BRAINDIFFUSION_MODELS", str(out))
    release()
    model = load_model("tiny")
    release()
    assert (model.card["task"], model.card["grid"], model.modality) == (task, 32, ["FLAIR"])


@needs_fabric
@pytest.mark.usefixtures("no_pictures")
def test_the_export_is_the_averaged_weights_in_half_precision(data: Path, runs: Path) -> None:
    out = runs / "average"
    run(recipe(), data, out)
    exported = load_file(str(out / "tiny.safetensors"))
    averaged = {k[4:]: v.half() for k, v in state(out).items() if k.startswith("ema.")}
    assert_same(exported, averaged)


@needs_fabric
@pytest.mark.usefixtures("no_pictures")
def test_the_export_is_the_best_of_the_run(data: Path, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([0.5, 0.2, 0.9, 0.3, 0.8, 0.7, 0.6])
    monkeypatch.setattr("braindiffusion.training.loop.validation_numbers", lambda *_: {"loss": next(losses)})
    out = runs / "best"
    run(recipe("autoencoder"), data, out, report_every_s=0.0)
    card = json.loads((out / "tiny.json").read_text())
    assert (card["training"]["iterations"], card["validation"]) == (2, {"loss": 0.2})


@needs_fabric
@pytest.mark.usefixtures("no_pictures")
def test_an_undefined_number_does_not_freeze_the_export(
    data: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([float("nan"), *[0.5] * 6])
    monkeypatch.setattr("braindiffusion.training.loop.validation_numbers", lambda *_: {"loss": next(losses)})
    out = runs / "nan"
    run(recipe("autoencoder"), data, out, report_every_s=0.0)
    assert json.loads((out / "tiny.json").read_text())["training"]["iterations"] > 1


@needs_fabric
@pytest.mark.parametrize("task", ["denoiser", "autoencoder", "gan"])
def test_a_report_shows_what_the_network_makes_of_slices(task: str, data: Path, runs: Path) -> None:
    run(recipe(task), data, runs / f"pictures-{task}", iterations=1)
    for name in ("figure-000001.png", "curve.png"):
        assert (runs / f"pictures-{task}" / name).read_bytes().startswith(b"\x89PNG")


@needs_fabric
@pytest.mark.usefixtures("no_pictures")
def test_only_the_train_split_is_trained_on(data: Path, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pack holds two training patients with three lesion-free slices each."""
    seen: list[Tensor] = []
    task = TASKS["autoencoder"]

    def spy(network, batch, g, settings, training=True):
        if training:
            seen.append(batch["image"])
        return task.loss(network, batch, g, settings, training)

    monkeypatch.setitem(TASKS, "autoencoder", type(task)(spy))
    run(recipe("autoencoder"), data, runs / "spied")
    assert len(torch.unique(torch.cat(seen).flatten(1), dim=0)) == 6
    card = json.loads((runs / "spied" / "tiny.json").read_text())
    assert (card["training"]["slices"], card["training"]["patients"]) == (6, 2)


@needs_fabric
@pytest.mark.usefixtures("no_pictures")
def test_the_log_has_a_row_for_each_report(data: Path, runs: Path) -> None:
    run(recipe("autoencoder"), data, runs / "logged", report_every_s=0.0, iterations=2)
    with (runs / "logged" / "log.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert [int(r["iteration"]) for r in rows] == [1, 2, 2]
    assert all(float(r["val_loss"]) > 0 for r in rows)


@needs_fabric
@pytest.mark.usefixtures("no_pictures")
def test_the_recipe_is_kept_beside_the_run(data: Path, runs: Path) -> None:
    run(recipe(), data, runs / "kept", iterations=1)
    assert json.loads((runs / "kept" / "config.json").read_text()) == recipe()


@needs_fabric
def test_a_pack_without_a_train_split_is_refused(tmp_path: Path) -> None:
    write_pack(tmp_path / "tiny.npz", split=None)
    with pytest.raises(PackError, match="train"):
        run(recipe(), tmp_path, tmp_path / "out")


@needs_fabric
@pytest.mark.usefixtures("no_pictures")
def test_without_a_val_split_training_slices_choose_the_weights(tmp_path: Path) -> None:
    write_pack(tmp_path / "tiny.npz", split=np.array(["train"] * 4))
    assert run(recipe("autoencoder"), tmp_path, tmp_path / "out", iterations=1)[-1]["iteration"] == 1


@needs_fabric
@pytest.mark.parametrize("device", ["cuda", "cuda:1", "abacus"])
def test_a_device_that_is_not_there_is_refused(
    device: str, data: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError):
        next(train(recipe("autoencoder"), data, runs / "nowhere", device=device, iterations=1))


@needs_fabric
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_run_continues_on_a_gpu(data: Path, runs: Path) -> None:
    """The optimiser's moments must follow the weights to the device."""
    list(train(recipe(), data, runs / "gpu", device="cuda", devices=1, iterations=3))
    records = list(train(recipe(), data, runs / "gpu", device="cuda", devices=1, resume=True))
    assert records[-1]["iteration"] == 6


# several processes


@pytest.fixture(scope="module")
def two_processes(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, str, Path]:
    """Two iterations by two processes on the CPU, from the command line: exit code, what was said, run folder."""
    folder = tmp_path_factory.mktemp("two")
    packs_on_grid(data, ["tiny.npz"], 32, folder / "cache")
    (folder / "recipe.json").write_text(json.dumps(recipe("autoencoder")))
    out = folder / "out"
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(
        [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
            "-m", "braindiffusion", "train", str(folder / "recipe.json"), "--data", str(data), "--out", str(out),
            "--iterations", "2", "--device", "cpu", "--threads", "1",
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)},
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        said, _ = process.communicate(timeout=240)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # the launcher and its two workers
        said = process.communicate()[0] + "\nstopped after 240 s"
    return process.returncode, said, out


@needs_fabric
def test_two_processes_end_well(two_processes: tuple[int, str, Path]) -> None:
    code, said, out = two_processes
    assert code == 0, said[-2000:]
    card = json.loads((out / "tiny.json").read_text())
    assert card["training"]["iterations"] == 2
    build_network(card["network"]).load_state_dict(load_file(str(out / "tiny.safetensors")))


@needs_fabric
def test_two_processes_train_one_model_together(two_processes: tuple[int, str, Path]) -> None:
    out = two_processes[2]
    card = json.loads((out / "tiny.json").read_text())
    assert card["training"]["batch"] == 2 * recipe()["batch"]
    assert len((out / "log.csv").read_text().splitlines()) == 2
