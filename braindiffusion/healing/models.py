"""Which installed models a healing method works with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from braindiffusion.cards import ModelCard, installed, read_card
from braindiffusion.diffusion.schedule import Schedule
from braindiffusion.errors import BrainDiffusionError, ModelNotFoundError, PluginError, SettingsError
from braindiffusion.healing.registry import METHODS, Method, Need, method_named, operating_point
from braindiffusion.healing.surroundings import CHANNELS
from braindiffusion.models.registry import LoadedModel, load_model
from braindiffusion.networks.build import EpsPredictor, SlicePredictor

if TYPE_CHECKING:
    from braindiffusion.settings import HealSettings

Card = Mapping[str, Any]
DENOISERS = ("denoiser", "context", "latent_denoiser")


def is_conditioned(card: Card) -> bool:
    """Whether a model is shown the surroundings of what it draws (:mod:`braindiffusion.healing.surroundings`)."""
    return list(card.get("context") or ())[: len(CHANNELS)] == list(CHANNELS)


@dataclass
class RunStats:
    """What a healing cost and was made with.

    Attributes:
        options: the method's own settings.
        calls, slice_calls: calls of the main network, a batch counting as one, and times slices. Guidance by a
            classifier, encoding and decoding come on top.
        bf16: whether the main network computed in bfloat16.
        cards: of all networks used, the main one first.
        score: (samples,S,H,W) float32 in [0,1] by which the method multiplies its anomaly map, or ``None``.
    """

    options: Any
    calls: int
    slice_calls: int
    bf16: bool
    cards: Sequence[Card]
    score: np.ndarray | None = None


def readable_cards(*needs: Need) -> list[ModelCard]:
    """Cards of the installed models; one that cannot be read is none.

    Raises:
        ModelFormatError: it is the card of a model that ``needs`` are met by.
    """
    own, cards = {need.recipe for need in needs}, []
    for name in sorted(installed()):
        try:
            cards.append(read_card(name))
        except BrainDiffusionError:
            if name in own:
                raise
    return cards


def fitting(need: Need, cards: Iterable[Card], main: Card | None = None) -> list[Card]:
    """The cards that meet a need, the one used by default first.

    Args:
        main: of the main model; a further one must share a modality with it, and be the one it names if it names one.
    """

    def suits(card: Card) -> bool:
        if main is None:
            return True
        named = main.get(need.named) if need.named else None
        shared = set(card.get("modality", ["ANY"])) & set(main.get("modality", ["ANY"]))
        return card["name"] == named if named else bool(shared)

    found = [card for card in cards if need.fits(card) and suits(card)]
    return sorted(found, key=lambda card: card["name"] != need.recipe)


def missing(method: Method, need: Need, main: Card | None = None) -> ModelNotFoundError:
    """The error of a need that no installed model meets."""
    name = (main or {}).get(need.named or "") or need.recipe
    beside = f" beside '{main['name']}'" if main else ""
    return ModelNotFoundError(
        f"{method.label} needs the model '{name}'{beside}, and it is not installed.",
        f"It is trained by the recipe {need.recipe}.",
        f"Train it (braindiffusion train {need.recipe} --data DATA --out RUN) and install it "
        f"(braindiffusion models add RUN/{need.recipe}.json), or choose another method.",
    )


def main_card(settings: HealSettings) -> dict[str, Any]:
    """The card of the model asked for, or of the method's own.

    Raises:
        ModelNotFoundError: it is not installed, or one of those it works with; ModelFormatError: a damaged card.
        SettingsError: it is for something else, or the method refuses the settings.
    """
    method = method_named(settings.method)
    cards = readable_cards(*method.auxiliary_models.values(), *([method.model] if settings.model is None else []))
    if settings.model is not None:
        card: Card = read_card(settings.model)
        if not method.model.fits(card):
            raise SettingsError(
                f"'{settings.model}' cannot heal by {method.label}.",
                f"It is for {card.get('purpose', card.get('task'))}; the method's own is '{method.model.recipe}'.",
                "Choose another model or method; see: braindiffusion models list.",
            )
    else:
        found = fitting(method.model, cards)
        if not found:
            raise missing(method, method.model)
        card = found[0]
    for need in method.auxiliary_models.values():
        if not fitting(need, cards, card):
            raise missing(method, need, card)
    method.options(settings, operating_point(card, settings.method))  # refuses what it cannot do
    return dict(card)


def main_model(settings: HealSettings, device: str) -> LoadedModel:
    """The main model, verified and loaded; raises as :func:`main_card`, and ModelCorruptError."""
    return load_model(str(main_card(settings)["name"]), device)


def auxiliary_models_of(settings: HealSettings, main: LoadedModel) -> dict[str, LoadedModel]:
    """The further models of a method beside its main one, on its device, by the keyword the method takes them under.

    Raises:
        ModelNotFoundError: one is not installed; ModelCorruptError.
    """
    method = method_named(settings.method)
    if not method.auxiliary_models:
        return {}
    cards, found = readable_cards(*method.auxiliary_models.values()), {}
    for keyword, need in method.auxiliary_models.items():
        chosen = fitting(need, cards, main.card)
        if not chosen:
            raise missing(method, need, main.card)
        found[keyword] = load_model(str(chosen[0]["name"]), main.device)
    return found


def predictor_of(main: LoadedModel, precision: str) -> EpsPredictor | SlicePredictor:
    """The main model as what its method calls."""
    network = main.network_in(precision)
    if main.card.get("task", "denoiser") not in DENOISERS:
        return SlicePredictor(network, precision)
    kind = main.card.get("prediction", "eps")
    return EpsPredictor(network, Schedule(), prediction=kind, precision=precision)


def describe_methods() -> list[dict[str, Any]]:
    """The methods for a menu: ``name``, ``label``, ``about``, ``masked`` (heals inside a mask), ``needs`` (the main one
    first: ``role``, ``recipe``, and ``models`` installed, the default first), ``available``, and else ``why`` not."""
    cards = readable_cards()
    told = []
    for name in METHODS.names():
        try:
            method = METHODS[name]
        except PluginError as error:
            facts = {"name": name, "label": name, "about": "", "masked": True, "needs": []}
            told.append({**facts, "available": False, "why": error.why})
            continue
        needs = [("model", method.model), *method.auxiliary_models.items()]
        have = {role: [str(card["name"]) for card in fitting(need, cards)] for role, need in needs}
        lacks = [need for role, need in needs if not have[role]]
        told.append(
            {
                "name": name,
                "label": method.label,
                "about": method.about,
                "masked": method.masked,
                "needs": [{"role": role, "recipe": need.recipe, "models": have[role]} for role, need in needs],
                "available": not lacks,
                "why": "; ".join(f"the model of recipe {need.recipe} is not installed" for need in lacks),
            }
        )
    return told
