"""Models of random weights as files, and what a forger does to them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from braindiffusion.models.export import export_model
from braindiffusion.models.registry import sha256_of
from braindiffusion.networks.build import build_network

NETWORK = {"class": "Classifier", "args": {"widths": [4, 8]}}
CARD = {"name": "tiny", "network": NETWORK, "modality": ["FLAIR"], "grid": 16}


def make(folder: Path, card: dict[str, Any] = CARD, network: dict[str, Any] = NETWORK, seed: int = 0) -> Path:
    """A model of random weights: its card's path."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return export_model(folder, card, build_network(network).state_dict())


def edit(card: Path, **facts: Any) -> Path:
    card.write_text(json.dumps({**json.loads(card.read_text()), **facts}))
    return card


def weights_of(card: Path) -> Path:
    return card.with_suffix(".safetensors")


def with_its_checksum(card: Path) -> Path:
    """A forger's card: the checksum is that of the file as it is now."""
    return edit(card, sha256=sha256_of(weights_of(card)))
