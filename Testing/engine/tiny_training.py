"""A pack of simulated slices and recipes that train in a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

SIDE = 128
SLICES_EACH = 6
SPLITS = ("train", "train", "val", "test")

TINY_UNET = {
    "class": "PatchedUNet",
    "args": {
        "patch": 2, "channels": [8, 8], "attention_levels": [False, False], "num_res_blocks": 1,
        "num_head_channels": 8, "norm_num_groups": 4,
    },
}  # fmt: skip


def simulated_slices(seed: int = 0) -> dict[str, np.ndarray]:
    """Four stripped oval brains of six slices; every second slice has a round bright lesion on the patient's left."""
    rng = np.random.default_rng(seed)
    n = len(SPLITS) * SLICES_EACH
    y, x = (np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2) / (SIDE / 2)
    radius = (x / 0.55) ** 2 + (y / 0.7) ** 2
    images = np.zeros((n, SIDE, SIDE), np.uint8)
    masks = np.zeros((n, SIDE, SIDE), bool)
    for i in range(n):
        images[i] = np.where(radius < 1, 110 + 30 * (radius > 0.8) + rng.normal(0, 5, radius.shape), 0)
        if i % 2:
            masks[i] = (x - 0.2) ** 2 + (y - 0.1) ** 2 < 0.02
            images[i][masks[i]] = 220
    return {
        "flair": images,
        "mask_bits": np.packbits(masks, axis=-1),
        "patient": np.repeat(np.arange(len(SPLITS)), SLICES_EACH),
        "patients": np.array([f"P{i}" for i in range(len(SPLITS))]),
        "split": np.array(SPLITS),
        "slice": np.tile(np.arange(SLICES_EACH), len(SPLITS)),
    }


def write_pack(path: Path, **changes: Any) -> Path:
    """The simulated slices as a pack; a key set to ``None`` is left out."""
    arrays = simulated_slices() | changes
    np.savez_compressed(path, **{k: v for k, v in arrays.items() if v is not None})
    return path


def recipe(task: str = "denoiser", **changes: Any) -> dict[str, Any]:
    """A recipe on the pack ``tiny.npz``."""
    networks = {
        "denoiser": TINY_UNET,
        "classifier": {"class": "Classifier", "args": {"widths": [4, 8], "dropout": 0.5}},
        "autoencoder": {"class": "Autoencoder", "args": {"widths": [4, 8], "latent": 4}},
        "gan": {"class": "AnoGAN", "args": {"latent": 8, "size": [32, 32], "widths": [8, 8], "critic_turns": 1}},
    }
    return {
        "name": "tiny", "task": task, "modality": ["FLAIR"],
        "data": {
            "kind": "packs", "packs": ["tiny.npz"], "grid": 32,
            "select": "all" if task == "classifier" else "lesion_free",
        },
        "network": networks[task], "settings": {"latent": 8} if task == "gan" else {},
        "optimiser": {"lr": 0.001, "weight_decay": 0.01, "warmup": 2, "decay_to": 0.1},
        "batch": 4, "iterations": 6, "ema": 0.99, "seed": 3,
    } | changes  # fmt: skip
