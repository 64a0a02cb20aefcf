"""Which lesions can be painted on which scan: what the cards of the lesion models offer."""

from BrainCounterfactualCommon.host import Problem
from BrainCounterfactualCommon.host import tr as _
from braindiffusion.cards import ModelCard

FIELD_OF_VIEW_MM = 240.0
"""Side of the model grid in every card."""


def condition(method):
    """What the model of a method has to be told."""
    return "palette" if method == "palette" else "lesion"


def offered(cards, modality, method="mededit"):
    """Kind -> card of the model that paints it on this modality (``None``: on any), in the cards' order."""
    found = {}
    for card in cards:
        if ModelCard(card).condition != condition(method):
            continue
        for name in card["kinds"]:
            kind, _separator, on = name.partition("_")
            if modality is None or on.upper() == modality:
                found.setdefault(kind, card)
    return found


def whatThereIs(cards):
    """All lesion models in words."""
    lines = []
    for card in cards:
        if ModelCard(card).condition:
            pairs = (name.partition("_") for name in card["kinds"])
            said = ", ".join(_("{kind} on {modality}").format(kind=k, modality=m.upper()) for k, _sep, m in pairs)
            lines.append("{}: {}".format(card["name"], said))
    return "; ".join(lines) or _("none")


def cardFor(cards, kind, modality, method="mededit"):
    """The card of the model that paints a kind of lesion on a scan.

    Raises:
        Problem: there is none; the models there are are named.
    """
    card = offered(cards, modality, method).get(kind)
    if card is None:
        raise Problem(
            "ModalityError",
            _("There is no model that paints a {kind} on a scan of {modality}.").format(
                kind=kind, modality=modality or _("unknown modality")
            ),
            _("Lesion models there are: {names}.").format(names=whatThereIs(cards)),
            _("Choose another scan or kind, or correct the modality."),
        )
    return card


def tuned(card, kind, modality, condition):
    """The operating point of a kind of lesion, told by its mask or by a box, in a model's card."""
    points = (card or {}).get("operating_points") or {}
    name = "{}_{}".format(kind, (modality or "").lower())
    return points.get(name + "_box" if condition == "box" else name, {})


def reachMm(card, kind, modality, condition, marginMm, usual):
    """How far the margin reaches: as given, else as tuned, else as usual; in whole pixels of the model, as painted."""
    wanted = marginMm if marginMm is not None else tuned(card, kind, modality, condition).get("margin_mm", usual)
    pitch = FIELD_OF_VIEW_MM / float((card or {}).get("grid", 128))
    return round(wanted / pitch) * pitch
