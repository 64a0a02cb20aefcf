"""What a model is measured on: the slices its recipe names, of one split, and the train split to compare with."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from braindiffusion.errors import PackError
from braindiffusion.models.device import precision_for
from braindiffusion.models.registry import LoadedModel
from braindiffusion.training.datasets import load_data
from braindiffusion.training.grid_data import GridData
from braindiffusion.training.packs import load_pack

TASK_SELECT = dict.fromkeys(("denoiser", "autoencoder", "gan", "gan_encoder"), "lesion_free")


@dataclass
class Finding:
    """What was measured of one model.

    Attributes:
        numbers: plain data; ``definitions``: what each of them means.
        headline: the one number for the overview, in words.
        tables: further CSV files, name -> rows.
    """

    numbers: dict[str, Any]
    definitions: dict[str, str]
    headline: str
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Bench:
    """All that an evaluator gets.

    Attributes:
        part, train: slices of the split that is measured, and of the train split, each once.
        settings: of the recipe (``kinds``, ``condition`` ...).
        folder: of packs and volumes; ``limit``: at most this many slices, spread over patients.
    """

    model: LoadedModel
    part: GridData
    train: GridData
    settings: dict[str, Any]
    folder: Path
    split: str
    limit: int | None
    device: torch.device

    @property
    def card(self) -> dict[str, Any]:
        """The model's card."""
        return self.model.card

    @property
    def kinds(self) -> list[str] | None:
        """Sources in the order of the network's classes or outputs."""
        return self.settings.get("kinds")

    @property
    def precision(self) -> str:
        """What the sampler computes in: as in use."""
        return precision_for("auto", self.device)


def recipe_of(card: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Data and settings of a model: its shipped recipe's, else all packs of its modality in the folder.

    Raises:
        PackError: nothing is known of its data.
    """
    from braindiffusion.training.loop import RECIPES

    path = RECIPES / f"{card['name']}.json"
    if path.is_file():
        return json.loads(path.read_text(encoding="utf-8"))
    if card.get("task") == "brain_mask":
        found = sorted(f.parent.name for f in folder.glob("*/subjects.csv"))
        if found:
            return {"data": {"kind": "brain_volumes", "folder": found[0], "grid": card["grid"]}}
    packs = [f.name for f in sorted(folder.glob("*.npz")) if set(card.get("modality", [])) & {_modality(f), "ANY"}]
    if not packs:
        raise PackError(
            f"There is no data for '{card['name']}' in {folder}.",
            f"It has no recipe, and no pack there is of {', '.join(card.get('modality', []))}.",
            "Point --data at the folder that holds its packs.",
        )
    select = TASK_SELECT.get(str(card.get("task")), "all")
    if card.get("kinds"):
        select = "all"
    data = {"kind": "packs", "packs": packs, "select": select, "grid": card["grid"]}
    if card.get("crop"):
        data["crop"] = card["crop"]
    return {"data": data, "settings": {k: card[k] for k in ("condition", "noise", "autoencoder") if k in card}}


def _modality(path: Path) -> str:
    try:
        return load_pack(path).modality
    except PackError:
        return ""


def grid_for(card: dict[str, Any], folder: Path, cache: Path | None) -> tuple[GridData, dict[str, Any]]:
    """The slices of all splits and the recipe's settings; slices that training repeats are there once.

    A recipe that learns from other masks than it is measured by names the data for the latter in ``measured_on``.
    """
    recipe = recipe_of(card, folder)
    data = recipe["data"] | recipe.get("measured_on", {})
    spec = {k: v for k, v in data.items() if k != "lesion_weight"}
    return load_data(spec, folder, cache), recipe.get("settings", {})


def bench_for(
    model: LoadedModel, folder: Path, split: str, limit: int | None, device: torch.device, cache: Path | None
) -> Bench:
    """Everything to measure one model on a split.

    Raises:
        PackError: no data, or no slice of that split.
    """
    grid, settings = grid_for(model.card, folder, cache)
    keep = grid.split == split
    if not keep.any():
        raise PackError(
            f"There is no '{split}' slice for '{model.name}'.",
            f"Its data has: {', '.join(sorted(set(grid.split.tolist())))}.",
            "Choose another split.",
        )
    return Bench(model, grid.select(keep), grid.select(grid.split == "train"), settings, folder, split, limit, device)


def spread(n: int, limit: int | None) -> np.ndarray:
    """Indices of at most ``limit`` of ``n``, evenly spaced."""
    return np.arange(n) if limit is None or limit >= n else np.linspace(0, n - 1, limit).round().astype(int)


def images_of(data: GridData, rows: np.ndarray | None = None) -> Tensor:
    """(N,1,H,W) float32."""
    image = data.image if rows is None else data.image[rows]
    return torch.from_numpy(image.astype(np.float32))[:, None]


def masks_of(mask: np.ndarray) -> Tensor:
    """(N,H,W) bool -> (N,1,H,W) float32."""
    return torch.from_numpy(mask.astype(np.float32))[:, None]


@torch.no_grad()
def in_parts(network: Any, x: Tensor, device: torch.device, *more: Tensor, batch: int = 32) -> Tensor:
    """The network on all of ``x`` (N,...) in batches, float32 on the CPU."""
    parts = [x, *more]
    return torch.cat(
        [network(*(p[i : i + batch].to(device) for p in parts)).float().cpu() for i in range(0, len(x), batch)]
    )


@torch.no_grad()
def cpu_seconds(call: Any, slices: int, repeats: int = 5) -> dict[str, Any]:
    """Seconds a slice of the fastest of some calls on the CPU, after one to warm up, and on how many threads."""
    call()
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return {"cpu_seconds_per_slice": round(min(taken) / slices, 5), "threads": torch.get_num_threads()}


def rounded(value: Any, digits: int = 4) -> Any:
    """Nested numbers, rounded, as plain data."""
    if isinstance(value, dict):
        return {str(k): rounded(v, digits) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(v, digits) for v in value]
    if isinstance(value, float | np.floating):
        return round(float(value), digits)
    return value.item() if isinstance(value, np.generic) else value
