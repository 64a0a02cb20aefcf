"""Installed models: cards beside weights, checked at load."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from braindiffusion.cards import ModelCard, installed, parse_card, read_card, user_folder
from braindiffusion.errors import ModelCorruptError, ModelFormatError, ModelNotFoundError

_NO_NAME = re.compile(r"[\x00-\x1f\\/:]")
MAX_HEADER_BYTES = 8_000_000


def sha256_of(path: Path) -> str:
    """Hex digest of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def check_weights_file(path: Path) -> None:
    """Refuse anything that is not a safetensors file, before any of it is decoded.

    Raises:
        ModelFormatError: a pickle, a zip (PyTorch checkpoint), or another format.
        ModelCorruptError: a safetensors file with an impossible header.
    """
    with path.open("rb") as handle:
        head = handle.read(16)
    size = int.from_bytes(head[:8], "little") if len(head) >= 9 else 0
    sound = 2 <= size <= min(MAX_HEADER_BYTES, path.stat().st_size) and head[8:9] == b"{"
    # a header's length may begin with the bytes of a pickle; a pickle's eighth byte is never the start of a header
    looks_pickled = not sound and (head[:2] == b"PK" or head[:1] == b"\x80")
    if looks_pickled or path.suffix in {".pt", ".pth", ".ckpt", ".pkl", ".pickle"}:
        raise ModelFormatError(
            f"{path.name} is a pickle and was refused.",
            "A pickle can run any program when it is opened.",
            "Convert it to safetensors where you trust it, then add that file.",
        )
    if not sound:
        raise ModelCorruptError(
            f"{path.name} is not a readable safetensors file.", "Its header is damaged.", "Install the model again."
        )


def verify(name: str) -> ModelCard:
    """Check the weights of a model against its card; returns the card.

    Raises:
        ModelCorruptError: missing file or another checksum.
    """
    card = read_card(name)
    weights = installed()[name].parent / str(card["weights"])
    if weights.parent != installed()[name].parent or not weights.is_file():
        raise ModelCorruptError(
            f"The weights of '{name}' are missing.", f"No file {weights.name}.", "Install the model again."
        )
    check_weights_file(weights)
    if sha256_of(weights) != card["sha256"]:
        raise ModelCorruptError(
            f"The weights of '{name}' are corrupted.",
            "Their SHA-256 differs from the card's.",
            "Install the model again.",
        )
    return card


@dataclass
class LoadedModel:
    """A network in eval mode on its device, with its card."""

    name: str
    card: ModelCard
    network: Any
    device: str
    _bf16: Any = field(default=None, init=False, repr=False, compare=False)

    def network_in(self, precision: str) -> Any:
        """The network for ``fp32``, or for autocast to ``bf16``: its convolutions and linear layers are cast once, not
        at every call (autocast keeps no copy of weights that need no gradient)."""
        if precision != "bf16":
            return self.network
        if self._bf16 is None:
            import copy

            import torch

            self._bf16 = copy.deepcopy(self.network)
            for layer in self._bf16.modules():
                if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
                    layer.to(torch.bfloat16)
        return self._bf16

    @property
    def modality(self) -> list[str]:
        """Modalities the model was trained for (``ANY`` for all)."""
        return self.card.modality


def build_from_card(card: dict[str, Any], weights: Path) -> Any:
    """Network with weights, float32, eval mode.

    Raises:
        ModelCorruptError: names or shapes do not fit the card's network.
    """
    import torch
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_file

    from braindiffusion.networks.build import build_network

    try:
        with torch.device("meta"):  # names, shapes and kinds alone: a card may ask for more than there is memory
            network = build_network(card["network"])
        due = network.state_dict()
        with safe_open(str(weights), framework="pt") as file:
            odd = set(file.keys()) ^ set(due)
        state = {} if odd else load_file(str(weights))
        odd |= {k for k, v in state.items() if v.shape != due[k].shape}
        if odd:
            raise ValueError(f"{min(odd)} is missing, unknown or of another shape.")
        spoilt = next((k for k, v in state.items() if not _sound(v, due[k].dtype)), None)
        if spoilt:
            raise ValueError(f"{spoilt} holds what is not a finite number, or numbers of another kind.")
        # copies: the file's own tensors lie in it, and change with it
        network.load_state_dict({k: v.to(due[k].dtype, copy=True) for k, v in state.items()}, assign=True)
    except (
        SafetensorError, RuntimeError, KeyError, TypeError, ValueError, AttributeError, IndexError, ArithmeticError,
    ) as error:  # fmt: skip
        raise ModelCorruptError(
            f"The weights {weights.name} do not fit their card.",
            (str(error).splitlines() or [""])[0],
            "Install the model again.",
        ) from error
    return network.eval().requires_grad_(False)


def _sound(values: Any, due: Any) -> bool:
    """Whether stored weights are numbers of the kind that is due, and all finite."""
    import torch

    if due.is_floating_point:
        return bool(values.is_floating_point() and torch.isfinite(values).all())
    return bool(values.dtype == due)


@lru_cache(maxsize=16)
def _load(name: str, device: str, card_path: str, stamp: float) -> LoadedModel:
    card = verify(name)
    network = build_from_card(card, Path(card_path).parent / card["weights"])
    return LoadedModel(name, card, network.to(device), device)


def load_model(name: str, device: str = "cpu") -> LoadedModel:
    """A model ready to run, verified; kept in memory until :func:`release`."""
    read_card(name)
    path = installed()[name]
    return _load(name, str(device), str(path), path.stat().st_mtime)


def release() -> None:
    """Forget all loaded models."""
    _load.cache_clear()


def add(card_file: Path) -> str:
    """Install a user's own model: a card (.json) with its safetensors beside it. Returns its name.

    Both are checked (format, checksum, names and shapes) before anything is copied.

    Raises:
        ModelFormatError, ModelCorruptError, OutputError.
    """
    if card_file.suffix != ".json":
        if card_file.is_file():
            check_weights_file(card_file)
        raise ModelFormatError(
            f"{card_file.name} is not a model card.",
            "A model is added by its .json card.",
            "Give the card; its weights lie beside it.",
        )
    if not card_file.is_file():
        raise ModelNotFoundError(f"There is no file {card_file}.", "It does not exist.", "Check the path.")
    card = parse_card(card_file)
    name, stored = str(card["name"]), str(card["weights"])
    if not name.strip(".") or _NO_NAME.search(name) or Path(name).name != name or Path(stored).name != stored:
        raise ModelFormatError(
            f"The model card {card_file.name} is not usable.",
            "The name of a model, and of its weights, is a plain file name.",
            "Fix the card.",
        )
    weights = card_file.parent / stored
    if not weights.is_file():
        raise ModelCorruptError("The weights are missing.", f"No file {weights.name} beside the card.", "Put it there.")
    check_weights_file(weights)
    if sha256_of(weights) != card["sha256"]:
        raise ModelCorruptError(
            f"{weights.name} is corrupted.", "Its SHA-256 differs from the card's.", "Copy it again."
        )
    build_from_card(card, weights)
    from braindiffusion.io.write import OutputFolder

    with OutputFolder(user_folder()) as out:
        out.file(f"{name}.safetensors").write_bytes(weights.read_bytes())
        text = json.dumps({**card, "weights": f"{name}.safetensors"}, indent=2) + "\n"
        out.file(f"{name}.json").write_text(text, encoding="utf-8")
    return name


def update_card(name: str, facts: dict[str, Any]) -> None:
    """Merge facts into an installed model's card (the weights stay as they are)."""
    from braindiffusion.io.write import complete

    read_card(name)
    path = installed()[name]
    text = json.dumps({**parse_card(path), **facts}, indent=2) + "\n"
    with complete(path) as partial:
        partial.write_text(text, encoding="utf-8")
