"""Model cards: what a model is, what it was trained on, what it is given. No torch: modules read them too.

A card is the JSON beside a model's weights. It is checked when it is read, so that what the program goes by is there
and of the right kind.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from braindiffusion.errors import ModelFormatError, ModelNotFoundError

MAX_CARD_BYTES = 4_000_000


class ModelCard(dict[str, Any]):
    """A checked card: its fields by name, and those that the program goes by as attributes."""

    @property
    def name(self) -> str:
        """Of the model."""
        return str(self["name"])

    @property
    def task(self) -> str:
        """What it does: ``denoiser``, ``latent_denoiser``, ``classifier``, ``lesion_segmenter`` ..."""
        return str(self.get("task", "denoiser"))

    @property
    def modality(self) -> list[str]:
        """Contrasts it was trained on; ``ANY`` for all."""
        return list(self.get("modality", ["ANY"]))

    @property
    def condition(self) -> str | None:
        """What a model that paints lesions is given beside the state; ``None``: it paints none.

        ``lesion``: the masks of lesion and brain (where a card says nothing); ``palette``: the image with the lesion
        replaced by noise; ``surroundings``: what :mod:`braindiffusion.lesions.in_context` says.
        """
        return str(self.get("condition", "lesion")) if self.get("kinds") else None

    @property
    def context(self) -> list[str]:
        """What a model is shown besides the noisy slice, channel by channel; empty where it is shown nothing."""
        return list(self.get("context", []))

    @property
    def kinds(self) -> list[str]:
        """Its classes of lesions, such as ``stroke_flair``."""
        return list(self.get("kinds", []))

    @property
    def crop(self) -> list[int] | None:
        """(rows, columns) of the model grid that it was trained on; ``None`` for all."""
        return self.get("crop")

    def fits(self, modality: str | None) -> bool:
        """Whether it is for a contrast; an unknown one fits none but those for any."""
        return "ANY" in self.modality or modality in self.modality


def resource(*parts: str) -> Path:
    """A shipped file under ``Resources`` (source tree) or inside the installed package.

    Raises:
        ModelNotFoundError: the installation lacks it.
    """
    here = Path(__file__).resolve().parent
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
    here = Path(__file__).resolve().parent
    candidates = [here.parent / "Resources" / "Models", here / "_resources" / "Models"]
    return [user_folder(), *[c for c in candidates if c.is_dir()]]


def user_folder() -> Path:
    """The user's own models: ``BRAINDIFFUSION_MODELS`` or ``~/.braindiffusion/models``."""
    return Path(os.path.expanduser(os.environ.get("BRAINDIFFUSION_MODELS") or "~/.braindiffusion/models"))


def installed() -> dict[str, Path]:
    """Names of installed models and their cards."""
    found: dict[str, Path] = {}
    for folder in model_folders():
        if os.path.isdir(folder):  # False, where a home may not be looked into
            for card in sorted(folder.glob("*.json")):
                if card.is_file():  # a pipe would be waited for
                    found.setdefault(card.stem, card)
    return found


def read_card(name: str) -> ModelCard:
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


def parse_card(path: Path) -> ModelCard:
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
    if "operating_point" in card:
        raise ModelFormatError(
            f"The model card {path.name} is of an earlier form.", "Its 'operating_point' is not read any more.",
            "Put what it holds under 'operating_points', by use: dif_fuse, segment, or the kinds of lesions.",
        )  # fmt: skip
    if wrong:
        raise ModelFormatError(
            f"The model card {path.name} is malformed.", f"Its '{wrong[0]}' cannot be.", "Install the model again."
        )
    return ModelCard(card)


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
            "operating_points",
            "evaluation",
            "training",
            "validation",
            "test",
            "contrast",
            "kind_modality",
            "looks",
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
        for name in ("kinds", "classes", "outputs", "known_failures", "context")
    },
    "data": lambda v: isinstance(v, list) and all(isinstance(d, dict) and isinstance(d.get("name"), str) for d in v),
    **{name: lambda v: type(v) is int and v >= 0 for name in ("bytes", "parameters")},
    "gate": lambda v: isinstance(v, dict) and all(isinstance(v.get(k), int | float) for k in ("high", "low")),
}
"""What the program goes by, and whether a value fits."""
