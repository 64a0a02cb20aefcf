"""Which installed model paints which lesion on which scan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from braindiffusion.cards import ModelCard, installed, read_card
from braindiffusion.errors import BrainDiffusionError, ModalityError, ModelNotFoundError, SettingsError
from braindiffusion.lesions.registry import METHODS
from braindiffusion.models.registry import LoadedModel, load_model
from braindiffusion.settings import Condition
from braindiffusion.volume.scan import Scan

if TYPE_CHECKING:
    from braindiffusion.settings import InduceSettings

PREFERRED = ("lesion-256", "lesion-128")
"""Which model is taken where nobody says, if it serves the method."""


@dataclass(frozen=True)
class Painter:
    """A lesion model, and what it is asked to paint.

    Attributes:
        kind: its class' name, such as ``stroke_flair``.
        label: the class' number; ``None`` for a network without classes.
        guidance: classifier-free guidance.
        tuned: the operating point of the kind in the model's card.
    """

    model: LoadedModel
    kind: str
    label: int | None
    guidance: float
    tuned: dict[str, Any]


def lesion_models() -> dict[str, ModelCard]:
    """Cards of the installed models that paint lesions; a card that cannot be read is none."""
    found: dict[str, ModelCard] = {}
    for name in installed():
        try:
            card = read_card(name)
        except BrainDiffusionError:
            continue
        if card.condition:
            found[name] = card
    return found


def _said(kind: str) -> str:
    lesion, _, modality = kind.partition("_")
    return f"{lesion} on {modality.upper()}"


def what_there_is(cards: Mapping[str, ModelCard]) -> str:
    """The lesion models in words."""
    return "; ".join(f"{name}: {', '.join(_said(k) for k in card['kinds'])}" for name, card in cards.items()) or "none"


def choose_card(settings: InduceSettings) -> ModelCard:
    """The card of the model asked for, or of the one that fits the method.

    Raises:
        ModelNotFoundError: there is none; SettingsError: the one asked for cannot do this.
    """
    method, cards = METHODS[settings.method], lesion_models()
    if settings.model is not None:
        card = read_card(settings.model)
        if not method.takes(card.condition):
            raise SettingsError(
                f"'{settings.model}' cannot paint lesions by {settings.method}.",
                f"Lesion models there are: {what_there_is(cards)}.",
                "Choose another model or method.",
            )
        return card
    fitting = {name: card for name, card in cards.items() if method.takes(card.condition)}
    if not fitting:
        raise ModelNotFoundError(
            f"There is no model for {settings.method}.",
            f"Lesion models installed: {what_there_is(cards)}.",
            "Choose another --method, or install a model with: braindiffusion models add FILE",
        )
    return next((fitting[name] for name in PREFERRED if name in fitting), next(iter(fitting.values())))


def kind_for(scan: Scan, card: dict[str, Any], kind: str, force: bool) -> tuple[str, list[str]]:
    """The model's class for a kind of lesion on a scan's modality, and warnings.

    Raises:
        ModalityError: the model has no such class; unless forced, if it knows the kind on another modality.
    """
    kinds: list[str] = list(card["kinds"])
    similar = [k for k in kinds if k.partition("_")[0] == kind]
    wanted = f"{kind}_{scan.modality.lower()}" if scan.modality else None
    if wanted in kinds:
        return str(wanted), []
    if similar and scan.modality is None:
        return similar[0], [
            "Neither the header nor the file name says what this scan is; it was taken for "
            f"{_said(similar[0]).rpartition(' ')[2]}."
        ]
    if similar and force:
        return similar[0], [
            f"This {scan.modality} scan was forced through a model of {_said(similar[0])}: do not trust the result."
        ]
    raise ModalityError(
        f"There is no model that paints a {kind} on a scan of {scan.modality or 'unknown modality'}.",
        f"Lesion models there are: {what_there_is(lesion_models())}.",
        "Choose a scan or a --kind of these" + (", or add --force to see what happens." if similar else "."),
    )


def operating_point(card: dict[str, Any], kind: str, condition: Condition) -> dict[str, Any]:
    """What was tuned on val for a kind told by its mask (``stroke_flair``) or by a box (``stroke_flair_box``)."""
    points: dict[str, dict[str, Any]] = card.get("operating_points", {})
    return points.get(f"{kind}_box" if condition == "box" else kind, {})


def painter_for(scan: Scan, settings: InduceSettings, device: str) -> tuple[Painter, list[str]]:
    """The model loaded and told what to paint; warnings for the user."""
    card = choose_card(settings)
    kind, warnings = kind_for(scan, card, settings.kind, settings.force)
    model = load_model(str(card["name"]), device)
    classes = card["network"].get("args", {}).get("num_class_embeds")
    tuned = operating_point(card, kind, settings.condition)
    guidance = settings.guidance if settings.guidance is not None else float(tuned.get("guidance", 1.0))
    if guidance != 1.0 and card.condition != "lesion":
        raise SettingsError(
            f"{card['name']} cannot be guided.", "It was never trained without being told the lesion.",
            "Leave guidance out, or choose lesion-128 (--model).",
        )  # fmt: skip
    return Painter(model, kind, card["kinds"].index(kind) if classes else None, guidance, tuned), warnings
