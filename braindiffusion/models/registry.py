"""Installed models: cards beside weights, checked at load."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from braindiffusion.errors import ModelCorruptError, ModelFormatError, ModelNotFoundError
from braindiffusion.io.paths import at_home

_NO_NAME = re.compile(r"[\x00-\x1f\\/:]")
MAX_HEADER_BYTES, MAX_CARD_BYTES = 8_000_000, 4_000_000


def resource(*parts: str) -> Path:
    """A shipped file under ``Resources`` (source tree) or inside the installed package.

    Raises:
        ModelNotFoundError: the installation lacks it.
    """
    here = Path(__file__).resolve().parent.parent
    for base in (here.parent / "Resources", here / "_resources"):
        if (base.joinpath(*parts)).exists():
            return base.joinpath(*parts)
    raise ModelNotFoundError(
        f"The shipped file {'/'.join(parts)} is missing.",
        "The installation is incomplete.",
        "Install the package again.",
    )


def model_folders() -> list[Path]:
    """Where models are looked for: the user's own folder first, then the shipped ones."""
    here = Path(__file__).resolve().parent.parent
    candidates = [here.parent / "Resources" / "Models", here / "_resources" / "Models"]
    return [user_folder(), *[c for c in candidates if c.is_dir()]]


def user_folder() -> Path:
    """The user's own models: ``BRAINDIFFUSION_MODELS`` or ``~/.braindiffusion/models``."""
    return at_home(os.environ.get("BRAINDIFFUSION_MODELS", "~/.braindiffusion/models"))


def installed() -> dict[str, Path]:
    """Names of installed models and their cards."""
    found: dict[str, Path] = {}
    for folder in model_folders():
        if folder.is_dir():
            for card in sorted(folder.glob("*.json")):
                found.setdefault(card.stem, card)
    return found


def read_card(name: str) -> dict[str, Any]:
    """The card of a model.

    Raises:
        ModelNotFoundError: not installed.
        ModelFormatError: the card cannot be read.
    """
    cards = installed()
    if name not in cards:
        raise ModelNotFoundError(
            f"There is no model '{name}'.",
            f"Installed: {', '.join(sorted(cards)) or 'none'}.",
            "Choose one of them, or install one with: braindiffusion models add FILE",
        )
    return parse_card(cards[name])


def parse_card(path: Path) -> dict[str, Any]:
    """Read and check one card file.

    Raises:
        ModelFormatError: it cannot be read, or a field that the program goes by is missing or of another kind.
    """
    try:
        with path.open("rb") as handle:
            content = handle.read(MAX_CARD_BYTES + 1)
        if len(content) > MAX_CARD_BYTES:
            raise ValueError(f"It is larger than {MAX_CARD_BYTES} bytes.")
        card = json.loads(content.decode("utf-8"), parse_constant=_no_number, parse_float=_finite)
        missing = {"name", "network", "sha256", "weights"} - set(card)
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise ModelFormatError(
            f"The model card {path.name} cannot be read.", str(error), "Install the model again."
        ) from error
    if missing:
        raise ModelFormatError(
            f"The model card {path.name} is incomplete.", f"It lacks {sorted(missing)}.", "Install the model again."
        )
    wrong = [name for name, fits in _FIELDS.items() if name in card and not fits(card[name])]
    if wrong:
        raise ModelFormatError(
            f"The model card {path.name} is malformed.", f"Its '{wrong[0]}' cannot be.", "Install the model again."
        )
    return card


def _no_number(constant: str) -> Any:
    raise ValueError(f"{constant} is not a number.")


def _finite(text: str) -> float:
    """A number of a card; 1e999 is none."""
    value = float(text)
    return value if math.isfinite(value) else _no_number(text)


def _network(value: Any) -> bool:
    """Whether a card's network is a class and arguments that build something within reason."""
    args = value.get("args", {}) if isinstance(value, dict) else None
    if not isinstance(args, dict) or not isinstance(value.get("class", ""), str):
        return False
    lists = [v if isinstance(v, list) else [v] for v in args.values()]
    return all(len(v) <= 64 and all(not isinstance(n, int) or 0 <= n <= 8192 for n in v) for v in lists)


def _whole(value: Any) -> bool:
    return type(value) is int and 1 <= value <= 4096


_FIELDS: dict[str, Callable[[Any], bool]] = {
    **{name: lambda v: isinstance(v, str) and len(v) <= 200 for name in ("name", "weights", "sha256")},
    "network": _network,
    "modality": lambda v: isinstance(v, list) and all(isinstance(m, str) for m in v),
    "grid": _whole,
    "crop": lambda v: v is None or (isinstance(v, list) and len(v) == 2 and all(_whole(n) for n in v)),
    **{
        name: lambda v: isinstance(v, dict)
        for name in (
            "operating_point",
            "operating_points",
            "evaluation",
            "training",
            "validation",
            "test",
            "contrast",
            "kind_modality",
        )
    },
    **{
        name: lambda v: isinstance(v, str)
        for name in (
            "licence",
            "purpose",
            "intended_use",
            "task",
            "prediction",
            "scaling",
            "noise",
            "autoencoder",
            "condition",
        )
    },
    **{
        name: lambda v: isinstance(v, list) and all(isinstance(each, str) for each in v)
        for name in ("kinds", "classes", "outputs", "known_failures")
    },
    "data": lambda v: isinstance(v, list) and all(isinstance(d, dict) and isinstance(d.get("name"), str) for d in v),
    **{name: lambda v: type(v) is int and v >= 0 for name in ("bytes", "parameters")},
    "gate": lambda v: isinstance(v, dict) and all(isinstance(v.get(k), int | float) for k in ("high", "low")),
}
"""What the program goes by, and whether a value fits."""


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


def verify(name: str) -> dict[str, Any]:
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
    card: dict[str, Any]
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
        return list(self.card.get("modality", ["ANY"]))


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
            "Mend the card.",
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
