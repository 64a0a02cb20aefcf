"""Lesion models with random weights, for the road that must hold whatever the weights are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from braindiffusion.models.export import export_model
from braindiffusion.networks.build import build_network

KINDS = ["stroke_flair", "tumour_flair", "tumour_t1gd"]
TINY = {
    "patch": 2, "channels": [8, 8], "attention_levels": [False, False], "num_res_blocks": 1,
    "num_head_channels": 8, "norm_num_groups": 4,
}  # fmt: skip


def add_lesion_model(folder: Path, name: str = "lesion-256", **changes: Any) -> Path:
    """Export a tiny lesion model into a folder of models; returns its card.

    Args:
        changes: to the card; ``condition="palette"`` also gives it Palette's two input channels.
    """
    palette = changes.get("condition") == "palette"
    spec = {
        "class": "PatchedUNet",
        "args": {"in_channels": 2 if palette else 3, "out_channels": 1, **TINY, "num_class_embeds": len(KINDS)},
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_network(spec)
        for p in network.parameters():  # the last layer starts at zero
            torch.nn.init.normal_(p, std=0.1)
    card = {
        "name": name, "task": "denoiser", "modality": ["FLAIR", "T1GD"], "kinds": KINDS, "network": spec,
        "prediction": "v", "grid": 128, "crop": [112, 96], "range": [0.0, 1.0], "scaling": "brain_median",
        "licence": "none: random weights",
    }  # fmt: skip
    return export_model(folder, card | changes, network.state_dict())
