"""Models for the healing methods with small networks and random weights, made by their recipes' classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from braindiffusion.healing.registry import HEALTHY, METHODS, TISSUE, Method, Need
from braindiffusion.models.export import export_model
from braindiffusion.networks.build import build_network
from braindiffusion.training.loop import load_recipe

SMALL: dict[str, dict[str, Any]] = {
    "PatchedUNet": {
        "channels": [8, 8], "attention_levels": [False, False], "num_head_channels": 8, "norm_num_groups": 4,
    },
    "SliceVQVAE": {"channels": [4, 8], "codes": 8},
    "BrainMaskUNet": {"features": [4, 4, 4, 4, 4, 4]},
    "NoisedClassifier": {"widths": [4, 8]},
    "Classifier": {"widths": [4, 8]},
    "Autoencoder": {"widths": [4, 8], "latent": 4},
    "EncodedGAN": {"latent": 8, "size": [56, 48], "widths": [8, 8, 8]},
}  # fmt: skip
TOLD = ("prediction", "condition", "noise", "autoencoder")


def recipe_of(need: Need) -> str:
    """The recipe of the model that meets a need here: on the model grid, where two models serve."""
    return HEALTHY.recipe if need is TISSUE else need.recipe


def recipes_of(method: Method) -> list[str]:
    """The recipes of the models that a method uses here, the main one first."""
    return [recipe_of(need) for need in (method.model, *method.auxiliary_models.values())]


def recipes_needed() -> list[str]:
    """Recipes that train what the registered methods work with."""
    needs = [need for method in METHODS.values() for need in (method.model, *method.auxiliary_models.values())]
    return sorted({recipe_of(need) for need in needs})


def add_model(folder: Path, name: str, /, grid: int = 64, **changes: Any) -> Path:
    """Export a small model of a recipe into a folder of models; returns its card.

    Args:
        grid: side of the model grid; the training crop is as much smaller as the recipe's.
        changes: to the card.
    """
    recipe = load_recipe(name)
    spec = {
        "class": recipe["network"]["class"],
        "args": recipe["network"]["args"] | SMALL.get(recipe["network"]["class"], {}),
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_network(spec)
        for p in network.parameters():  # last layers may start at zero
            torch.nn.init.normal_(p, std=0.1)
    card = {
        "name": name, "task": recipe["task"], "modality": recipe["modality"], "network": spec, "grid": grid,
        "crop": [grid * side // recipe["data"]["grid"] for side in recipe["data"]["crop"]], "scaling": "brain_median",
        "range": [0.0, 1.0], **{k: v for k, v in recipe["settings"].items() if k in TOLD}, **recipe["card"],
    }  # fmt: skip
    return export_model(folder, card | changes, network.state_dict())


def add_all(folder: Path, grid: int = 64) -> None:
    """A small model of every recipe the methods need."""
    for name in recipes_needed():
        add_model(folder, name, grid)
