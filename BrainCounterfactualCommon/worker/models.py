"""Model cards, which scan a model is for, and which method it serves. No engine, no torch: cards are read from disk,
and the worker tells the methods."""

import os
import re
from pathlib import Path

from BrainCounterfactualCommon.host import Problem, logger, resourceFolder
from BrainCounterfactualCommon.host import tr as _
from braindiffusion.cards import ModelCard, parse_card
from braindiffusion.errors import ModelFormatError
from braindiffusion.modality import modality_of as modalityOfText

MODALITY_ATTRIBUTE = "BrainCounterfactual.Modality"
DIF_FUSE = {
    "name": "dif_fuse",
    "label": "Dif-fuse",
    "about": "",
    "masked": True,
    "needs": [],
    "available": True,
    "why": "",
}
"""What is known of the methods before the worker has told."""
DEFAULT_MODEL = "tissue-256"
"""The model that heals unless another is chosen."""


def readCards(folder=None):
    """All model cards of a folder (default: the shipped ones), sorted by name. Damaged cards are left out, logged."""
    cards = []
    for path in sorted((folder or resourceFolder("Models")).glob("*.json")):
        try:
            cards.append(parse_card(path))
        except ModelFormatError as error:
            logger.warning("Model card %s is left out: %s", path.name, error)
    return cards


def installedCards():
    """The shipped cards and those of the user's own models, which come first in the engine too."""
    own = Path(os.path.expanduser(os.environ.get("BRAINDIFFUSION_MODELS") or "~/.braindiffusion/models"))
    found = {card.get("name"): card for folder in (resourceFolder("Models"), own) for card in readCards(folder)}
    return [found[name] for name in sorted(found, key=str)]


def modalityOf(volumeNode):
    """The modality of a volume: what the user said, else what its name or its file's name tells, else ``None``."""
    said = volumeNode.GetAttribute(MODALITY_ATTRIBUTE)
    if said:
        return said
    storage = volumeNode.GetStorageNode()
    texts = [volumeNode.GetAttribute("DICOM.SeriesDescription"), volumeNode.GetName()]
    texts.append(re.split(r"[\\/]", storage.GetFileName() or "")[-1] if storage else None)
    return next((found for found in map(modalityOfText, filter(None, texts)) if found), None)


def setModality(volumeNode, name):
    """Say what a volume is; ``None`` or an empty name goes back to guessing."""
    if name:
        volumeNode.SetAttribute(MODALITY_ATTRIBUTE, name)
    else:
        volumeNode.RemoveAttribute(MODALITY_ATTRIBUTE)


def fits(card, modality):
    """Whether a model is for a modality; an unknown modality fits none but those for any."""
    return ModelCard(card).fits(modality)


def methodsOf(info):
    """The healing methods as the worker told them (``hello`` in docs/worker.md); Dif-fuse alone until it has."""
    return (info or {}).get("methods") or [DIF_FUSE]


def methodNamed(methods, name):
    """One of the methods, or ``None``."""
    return next((method for method in methods if method["name"] == name), None)


def serving(cards, method):
    """Those of the cards whose models can be a method's main one, its own first; none for an unknown method."""
    if method is None:
        return []
    if not method["needs"]:  # the worker has not told: a healthy denoiser is told nothing but the surroundings
        told, tasks = ("kinds", "condition", "noise", "classes"), ("context", "denoiser")
        found = [card for card in cards if card.get("task") in tasks and not any(card.get(key) for key in told)]
        return sorted(found, key=lambda card: card.get("name") != DEFAULT_MODEL)
    byName = {card.get("name"): card for card in cards}
    return [byName[name] for name in method["needs"][0]["models"] if name in byName]


def mainModel(cards, methods, settings):
    """The name of the model a healing will use; ``None`` where that is not known yet.

    Raises:
        Problem: a model that the method needs is not installed.
    """
    method = methodNamed(methods, settings["method"])
    if method is not None and not method["available"]:
        raise Problem(
            "ModelNotFoundError",
            _("{method} cannot heal.").format(method=method["label"]),
            method["why"][:1].upper() + method["why"][1:] + ".",
            _("Choose another method in Advanced, or install the model."),
        )
    found = serving(cards, method)
    return settings["model"] or (found[0]["name"] if found else None)
