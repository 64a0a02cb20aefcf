"""One training loop for every recipe, on Lightning Fabric: 1..N devices, CPU or GPU, resumable bit for bit.

The data order and every augmentation are functions of (seed, iteration, rank), so a resumed run continues as if it
had never stopped. Checkpoints are safetensors (no pickle): weights, EMA and optimiser moments.
"""

from __future__ import annotations

import csv
import json
import math
import os
import time
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from braindiffusion import __version__
from braindiffusion.errors import DependencyMissingError, OutputError, PackError, RecipeError
from braindiffusion.io.guard import check_kept
from braindiffusion.io.locks import Lock
from braindiffusion.io.text_files import read_json
from braindiffusion.io.write import check_writable, complete
from braindiffusion.models.device import choose_device
from braindiffusion.models.export import export_model
from braindiffusion.networks.build import bf16_supported, build_network
from braindiffusion.training.datasets import load_data
from braindiffusion.training.figures import loss_curve, task_figure
from braindiffusion.training.grid_data import GridData
from braindiffusion.training.tasks import TASKS, Batch, Task

RECIPES = Path(__file__).parent / "recipes"
SAID_OF_SETTINGS = ("condition", "context", "noise", "autoencoder")
"""Settings of a recipe that its model's card repeats: what decides how the model is called."""


def load_recipe(name: str) -> dict[str, Any]:
    """A shipped recipe by name, or a JSON file by path.

    Raises:
        RecipeError: unknown or malformed.
    """
    path = Path(name) if name.endswith(".json") else RECIPES / f"{name}.json"
    try:
        recipe = read_json(path)
    except FileNotFoundError as error:
        known = ", ".join(sorted(p.stem for p in RECIPES.glob("*.json")))
        raise RecipeError(
            f"There is no recipe '{name}'.", f"Shipped recipes: {known}.", "Name one, or give a .json file."
        ) from error
    except (OSError, ValueError) as error:
        raise RecipeError(f"The recipe {path.name} cannot be read.", str(error), "Fix the JSON.") from error
    given = recipe if isinstance(recipe, dict) else {}
    missing = {"name", "task", "data", "network", "optimiser", "batch", "iterations"} - set(given)
    if missing or not isinstance(given["task"], str) or given["task"] not in TASKS:
        raise RecipeError(
            f"The recipe {path.name} is incomplete.",
            f"Missing {sorted(missing)} or unknown task.",
            "Start from a shipped recipe.",
        )
    return recipe


def batch_indices(n: int, batch: int, iteration: int, seed: int, rank: int, world: int) -> np.ndarray:
    """Indices of one batch: shuffled epochs laid end to end, a pure function of the iteration."""
    out: list[int] = []
    position = (iteration * world + rank) * batch
    while len(out) < batch:
        epoch, offset = divmod(position + len(out), n)
        order = np.random.default_rng([seed, epoch]).permutation(n)
        out.extend(order[offset : offset + batch - len(out)].tolist())
    return np.array(out)


def shared_indices(source: np.ndarray, share: dict[str, float], batch: int, draw: tuple[int, ...]) -> np.ndarray:
    """Indices of one batch, drawn so that each source has its share; a pure function of ``draw``."""
    weight = np.zeros(len(source))
    for name, part in share.items():
        weight[source == name] = part / max(1, int((source == name).sum()))
    return np.random.default_rng(draw).choice(len(source), batch, p=weight / weight.sum())


def learning_rate(iteration: int, spec: dict[str, Any], total: int) -> float:
    """Linear warm-up, then cosine to ``decay_to`` of the peak at ``total``."""
    warm = min(1.0, (iteration + 1) / max(1, spec.get("warmup", 1)))
    floor = spec.get("decay_to", 1.0)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, iteration / max(1, total))))
    return spec["lr"] * warm * (floor + (1 - floor) * cosine)


class Checkpoint:
    """Training state in one safetensors file, written atomically."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def save(self, network: nn.Module, ema: nn.Module, optimiser: torch.optim.Optimizer, facts: dict[str, Any]) -> None:
        """Write weights, EMA, optimiser moments and ``facts``."""
        from safetensors.torch import save_file

        state = {f"model.{k}": v for k, v in network.state_dict().items()}
        state |= {f"ema.{k}": v for k, v in ema.state_dict().items()}
        for index, moments in optimiser.state_dict()["state"].items():
            state |= {f"optim.{index}.{k}": torch.as_tensor(v) for k, v in moments.items()}
        tensors = {k: v.detach().contiguous().cpu().clone() for k, v in state.items()}
        with complete(self.path) as partial:
            save_file(tensors, str(partial), {"facts": json.dumps(facts)})

    def load(self, network: nn.Module, ema: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Any]:
        """Read them back into the three; returns ``facts``."""
        from safetensors import safe_open

        with safe_open(str(self.path), framework="pt") as handle:
            facts = json.loads(handle.metadata()["facts"])
            state = {k: handle.get_tensor(k) for k in handle.keys()}  # noqa: SIM118 - not a dict
        network.load_state_dict({k[6:]: v for k, v in state.items() if k.startswith("model.")})
        ema.load_state_dict({k[4:]: v for k, v in state.items() if k.startswith("ema.")})
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in state.items():
            if key.startswith("optim."):
                _, index, name = key.split(".")
                moments.setdefault(int(index), {})[name] = value
        whole = optimiser.state_dict()
        optimiser.load_state_dict({"state": moments, "param_groups": whole["param_groups"]})
        return facts


@torch.no_grad()
def warm_start(network: nn.Module, name: str) -> None:
    """Copy an installed model's weights into a network that has them and more.

    Tensors of the same name and shape are copied; a first convolution with further input channels takes the old ones
    and starts the new ones at zero, so the network begins as the model it comes from. The rest keeps its own start.

    Raises:
        ModelNotFoundError: the model is not installed.
    """
    from braindiffusion.models.registry import load_model

    known = load_model(name, "cpu").network.state_dict()
    for key, value in network.state_dict().items():
        old = known.get(key)
        if old is None or old.ndim != value.ndim:
            continue
        if old.shape == value.shape:
            value.copy_(old)
        elif old.ndim == 4 and old.shape[0] == value.shape[0] and old.shape[1] < value.shape[1]:
            value.zero_()
            value[:, : old.shape[1]].copy_(old)


@torch.no_grad()
def update_ema(ema: nn.Module, network: nn.Module, decay: float, iteration: int) -> None:
    """Exponential moving average with warm-up: early averages forget the initial weights quickly."""
    d = min(decay, (1 + iteration) / (10 + iteration))
    for a, b in zip(ema.parameters(), network.parameters(), strict=True):
        a.lerp_(b.detach().to(a), 1 - d)
    for kept, buffer in zip(ema.buffers(), network.buffers(), strict=True):
        kept.copy_(buffer)


@torch.no_grad()
def validation_numbers(
    task: Task, ema: nn.Module, val: Batch, settings: dict[str, Any], limit: int = 192
) -> dict[str, float]:
    """The task's loss without augmentation on a fixed subset with fixed noise, and its further numbers."""
    ema.eval()
    g = torch.Generator().manual_seed(1234)
    part = {k: v[:limit] for k, v in val.items()}
    losses = [
        float(task.loss(ema, {k: v[i : i + 32] for k, v in part.items()}, g, settings, training=False))
        for i in range(0, len(part["image"]), 32)
    ]
    numbers = {"loss": float(np.mean(losses))}
    if task.numbers:
        numbers |= task.numbers(ema, val)
    return numbers


def shuffled(batch: Batch, seed: int = 0) -> Batch:
    """The same tensors in a fixed random order, so that a subset is not one patient."""
    order = torch.randperm(len(batch["image"]), generator=torch.Generator().manual_seed(seed))
    return {k: v[order] for k, v in batch.items()}


# long: a training from data to card, read from top to bottom
def train(
    recipe: dict[str, Any],
    data: Path,
    out: Path,
    *,
    budget_s: float | None = None,
    resume: bool = False,
    iterations: int | None = None,
    device: str = "auto",
    devices: int | str | list[int] = "auto",
    report_every_s: float = 240.0,
    threads: int | None = None,
) -> Iterator[dict[str, Any]]:
    """Train a recipe; yields a record of numbers at every report and at the end.

    Args:
        recipe: see ``recipes/``.
        data: folder of packs and volumes. Only its ``train`` split is trained on, ``val`` chooses the weights.
        out: run folder: config, log, curves, samples, checkpoint, and the best EMA with its card.
        budget_s: stop cleanly after this many seconds.
        resume: continue from the run folder's checkpoint.
        iterations: override the recipe's.
        report_every_s: seconds between validation, figure and checkpoint.

    Raises:
        RecipeError, PackError, DependencyMissingError.
        OutputError: the run folder cannot be written, or another training uses it.
    """
    try:
        from lightning_fabric import Fabric
    except ImportError as error:
        raise DependencyMissingError(
            "Training needs Lightning Fabric.",
            "It is not installed.",
            'Install it with: pip install "slicer-brain-counterfactual[train]"',
        ) from error
    started = time.monotonic()
    chosen = choose_device(device)
    task = TASKS[recipe["task"]]
    check_writable(out)
    if threads:
        torch.set_num_threads(threads)
    on_cuda = chosen.type == "cuda"
    if chosen.index is not None and devices == "auto":
        devices = [chosen.index]
    half = bf16_supported(torch.device("cuda" if on_cuda else "cpu"))
    # started by torchrun: as many processes as it says, on the CPU too
    here, everywhere = (int(os.environ.get(k, 0)) for k in ("LOCAL_WORLD_SIZE", "WORLD_SIZE"))
    fabric = Fabric(
        accelerator="cuda" if on_cuda else "cpu",
        devices=here or (devices if on_cuda or devices != "auto" else 1),
        strategy="auto" if everywhere <= 1 else "ddp_find_unused_parameters_true" if task.alternating else "ddp",
        precision="bf16-mixed" if half else "32-true",
        num_nodes=everywhere // here if here else 1,
    )
    fabric.launch()
    rank, world = fabric.global_rank, fabric.world_size
    grid = load_data(recipe["data"], data, out.parent / "cache" if recipe["data"]["kind"] == "packs" else None)
    train_data, val_data = grid.select(grid.split == "train"), grid.select(grid.split == "val")
    if not len(train_data.image):
        raise PackError(
            "There is nothing to train on.", "No slice of the train split fits the recipe.", "Check the pack's split."
        )
    out.mkdir(parents=True, exist_ok=True)
    lock = Lock(out / ".training.lock")
    if rank == 0 and not lock.take():
        raise OutputError(f"Another training writes to {out}.", "Both would spoil it.", "Choose another --out.")
    if not len(val_data.image):
        val_data = train_data
    kinds = recipe.get("settings", {}).get("kinds")
    tensors, val = train_data.tensors(kinds), shuffled(val_data.tensors(kinds))
    val = {k: v[:600].to(fabric.device) for k, v in val.items()}
    settings, total, seed = recipe.get("settings", {}), iterations or recipe["iterations"], recipe.get("seed", 0)

    if task.prepare:
        settings = task.prepare(settings, tensors)
    of_data = task.card(settings, tensors) if task.card else {}
    described = {**recipe, "card": {**recipe.get("card", {}), **of_data}}

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # initial weights: layers can only draw from global state
        network = build_network(recipe["network"])
    for name in ("config.json", f"{recipe['name']}.json", f"{recipe['name']}.safetensors"):
        check_kept(out / name)  # the recipe itself, say: not after minutes of training
    if "start" in recipe:
        warm_start(network, recipe["start"])
    ema = deepcopy(network).to(fabric.device).requires_grad_(False)
    spec = recipe["optimiser"]
    optimiser = torch.optim.AdamW(
        network.parameters(), spec["lr"], tuple(spec.get("betas", (0.9, 0.999))),
        weight_decay=spec.get("weight_decay", 0.01),
    )  # fmt: skip
    checkpoint = Checkpoint(out / "checkpoint.safetensors")
    facts: dict[str, Any] = {"iteration": 0, "seconds": 0.0, "best": None}
    wrapped, optimiser = fabric.setup(network, optimiser)
    if resume and checkpoint.path.is_file():  # after the weights went to their device: the moments follow them
        facts = checkpoint.load(network, ema, optimiser)
    spent_before = facts["seconds"]
    if rank == 0:
        _write(out / "config.json", recipe)
    log_path = out / "log.csv"
    running: list[float] = []

    def report(iteration: int, final: bool) -> dict[str, Any]:
        numbers = validation_numbers(task, ema, val, settings)
        score = task.select(numbers)
        facts.update(iteration=iteration, seconds=spent_before + time.monotonic() - started)
        best = facts["best"] is None or not math.isfinite(facts["best"]) or score <= facts["best"]
        if best:
            facts["best"] = score
        record = {
            "iteration": iteration, "seconds": round(facts["seconds"], 1),
            "train_loss": float(np.mean(running)) if running else float("nan"),
            **{f"val_{k}": v for k, v in numbers.items()},
        }  # fmt: skip
        running.clear()
        if rank == 0:
            if best:  # before the checkpoint: a run killed in between, and resumed, comes here again
                export_model(
                    out,
                    make_card(described, facts, numbers, train_data, world, str(fabric.device), half),
                    ema.state_dict(),
                )
            checkpoint.save(network, ema, optimiser, facts)
            append_row(log_path, record)
            loss_curve(log_path, out / "curve.png")
            task_figure(recipe["task"], ema, val, settings, out / f"figure-{iteration:06d}.png")
            if final:
                _write(out / "done.json", {**record, **facts})
        return record

    last_report = time.monotonic()
    iteration = facts["iteration"]
    while iteration < total:
        if "share" in recipe:
            draw = (seed, iteration, rank)
            rows = shared_indices(train_data.source, recipe["share"], recipe["batch"], draw)
        else:
            rows = batch_indices(len(tensors["image"]), recipe["batch"], iteration, seed, rank, world)
        batch = {k: v[rows] for k, v in tensors.items()}
        g = torch.Generator().manual_seed(seed * 7_919 + iteration * world + rank)
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(iteration, spec, total)
        wrapped.train()
        with torch.random.fork_rng(devices=[fabric.device] if on_cuda else []):
            torch.manual_seed(seed * 7_919 + iteration * world + rank)  # dropout, likewise
            loss = task.loss(_OnDevice(wrapped, fabric.device), batch, g, settings)
        fabric.backward(loss)
        fabric.clip_gradients(wrapped, optimiser, max_norm=recipe.get("clip", 1.0))
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        update_ema(ema, network, recipe.get("ema", 0.999), iteration)
        iteration += 1
        running.append(float(loss.detach()))
        over = budget_s is not None and time.monotonic() - started > budget_s
        due = time.monotonic() - last_report > report_every_s
        if world > 1:  # every process must leave the loop, and report, at the same iteration: one clock speaks for all
            votes = torch.tensor([over and rank == 0, due and rank == 0], dtype=torch.float32, device=fabric.device)
            fabric.all_reduce(votes, reduce_op="sum")
            over, due = (bool(v) for v in votes.tolist())
        if over:
            break
        if due:
            yield report(iteration, final=False)
            last_report = time.monotonic()
    yield report(iteration, final=True)
    lock.release()


class _OnDevice(nn.Module):
    """Moves inputs to the device at the call, and what comes out to where they were.

    Augmentation and loss are then computed on the CPU whatever the device.
    """

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        super().__init__()
        self.network, self.device = network, device

    def forward(self, *inputs: Tensor) -> Tensor:
        out = self.network(*(x.to(self.device, non_blocking=True) for x in inputs))
        return out.float().to(inputs[0].device)


def append_row(path: Path, record: dict[str, Any]) -> None:
    """Add a row to a CSV, which is written anew; rows of later iterations, of a run killed since, are left out."""
    rows: list[dict[str, Any]] = []
    if path.exists():
        with path.open(newline="", encoding="utf-8") as handle:
            told = [row for row in csv.DictReader(handle) if (row.get("iteration") or "").isdigit()]
        rows = [row for row in told if int(row["iteration"]) <= record["iteration"]]
    with complete(path) as partial, partial.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(record), extrasaction="ignore")
        writer.writeheader()
        writer.writerows([*rows, record])


def _write(path: Path, data: dict[str, Any]) -> None:
    with complete(path) as partial:
        partial.write_text(json.dumps(data, indent=2), encoding="utf-8")


def make_card(
    recipe: dict[str, Any],
    facts: dict[str, Any],
    numbers: dict[str, float],
    data: GridData,
    world: int,
    device: str,
    half: bool,
) -> dict[str, Any]:
    """The facts of a run as a model card; licence and use are completed from the recipe's ``card``."""
    slices = len(set(zip(data.source.tolist(), data.patient.tolist(), data.row.tolist(), strict=True)))
    return {
        "name": recipe["name"],
        "task": recipe["task"],
        "modality": recipe.get("modality", ["ANY"]),
        "network": recipe["network"],
        "prediction": recipe.get("settings", {}).get("prediction", "eps"),
        **{k: v for k, v in recipe.get("settings", {}).items() if k in SAID_OF_SETTINGS},
        "grid": recipe["data"]["grid"],
        "crop": recipe["data"].get("crop"),
        "range": [0.0, 1.0],
        "scaling": "brain_median",
        **recipe.get("card", {}),
        "training": {
            "iterations": facts["iteration"], "batch": recipe["batch"] * world, "seconds": round(facts["seconds"]),
            "device": device, "precision": "bf16" if half else "fp32", "ema": recipe.get("ema", 0.999),
            "start": recipe.get("start"), "slices": slices,
            "patients": len(set(data.patient.tolist())), "seed": recipe.get("seed", 0),
            "version": __version__,
        },
        "validation": {k: round(v, 5) for k, v in numbers.items()},
    }  # fmt: skip
