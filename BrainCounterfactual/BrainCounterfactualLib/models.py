"""Model cards, and which scan a model is for. Cards are read from disk: no engine, no torch."""

import json
import os
import re
from pathlib import Path

from BrainCounterfactualCommon.host import logger, resourceFolder

MODALITIES = ("FLAIR", "T1", "T1GD", "T2", "DWI", "CT")
MODALITY_ATTRIBUTE = "BrainCounterfactual.Modality"

# The first line that matches wins. T1-FLAIR is a T1; T2* and SWI are none of ours.
_TELLTALES = (
    ("T1", re.compile(r"\bt1w? ?flair")),
    ("FLAIR", re.compile(r"flair|\bt2f\b|dark ?fluid")),
    (None, re.compile(r"\b(adc|swi)\b|\bt2w? ?(\*|star\b)")),
    ("DWI", re.compile(r"\b(dwi|diff|diffusion)\b")),
    ("T1GD", re.compile(r"\bt1(c|ce|gd)\b|\bt1w?\b.*\b(ce|km|gd|gado\w*|contrast|post)\b")),
    ("T1", re.compile(r"\bt1(w|wi|n)?\b|mprage|spgr|bravo")),
    ("T2", re.compile(r"\bt2(w|wi)?\b")),
    ("CT", re.compile(r"\b(ct|ncct)\b")),
)


def readCards(folder=None):
    """All model cards of a folder (default: the shipped ones), sorted by name. Damaged cards are left out, logged."""
    cards = []
    for path in sorted((folder or resourceFolder("Models")).glob("*.json")):
        try:
            card = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            logger.warning("Model card %s cannot be read: %s", path.name, error)
            continue
        cards.append(card)
    return cards


def installedCards():
    """The shipped cards and those of the user's own models, which come first in the engine too."""
    own = Path(os.environ.get("BRAINDIFFUSION_MODELS") or Path.home() / ".braindiffusion" / "models")
    found = {card.get("name"): card for folder in (resourceFolder("Models"), own) for card in readCards(folder)}
    return [found[name] for name in sorted(found, key=str)]


def modalityOfText(text):
    """The modality a name or series description tells: one of ``MODALITIES`` or ``None``."""
    words = re.sub(r"[^a-z0-9*+]+", " ", text.lower())
    return next((modality for modality, pattern in _TELLTALES if pattern.search(words)), None)


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
    return "ANY" in card.get("modality", []) or modality in card.get("modality", [])
