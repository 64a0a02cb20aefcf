"""What the panel says, as plain functions."""

from html import escape

from BrainCounterfactualCommon.host import tr as _
from BrainCounterfactualCommon.texts import checked, withoutScan


def saliencyChoices():
    return [
        ("acat", _("ACAT (counterfactual attribution)")),
        ("latent_shift", _("Latent shift")),
        ("gradient", _("Gradient")),
        ("integrated", _("Integrated gradients")),
        ("gradcam", _("Grad-CAM")),
        ("segmenter", _("Segmenter (learned from pseudo-labels)")),
        ("supervised", _("Segmenter (learned from drawn masks)")),
    ]


def methodChoices(methods, chosen):
    """The healing methods; one that was chosen elsewhere and is not known here is kept."""
    known = [(method["name"], method["label"]) for method in methods]
    return known if chosen in dict(known) else [*known, (chosen, chosen)]


def methodTips(methods):
    """What each method does, and why it cannot be chosen."""
    return {
        method["name"]: method["about"]
        if method["available"]
        else _("{about}\nNot available: {why}.").format(about=method["about"], why=method["why"])
        for method in methods
    }


def fusionChoices():
    return [
        ("cached", _("Cached (outside exact)")),
        ("joint", _("Joint (the paper)")),
        ("independent", _("Independent (the published code)")),
    ]


def maskRuleChoices():
    return [
        ("", _("as the model was tuned")),
        ("grown", _("Grown to the bright lesion")),
        ("percentile", _("Percentile (the paper)")),
    ]


def modelChoices(cards):
    """Models that heal; those that do not fit the scan say so."""
    return [
        (
            card["name"],
            card["name"] if card.get("fits") else _("{name} (not for this modality)").format(name=card["name"]),
        )
        for card in cards
    ]


def knownFailures(card):
    """For a tooltip."""
    return "\n".join(card.get("known_failures", [])) if card else ""


def estimate(told):
    """What a healing will need; empty where it was not told."""
    if not told:
        return ""
    line = _("About {seconds} s on {device}").format(seconds=max(1, round(told["seconds"])), device=told["device"])
    return "{}. {}".format(line, told["warning"]) if told.get("warning") else line + "."


def uncertainty():
    """What the uncertainty map is."""
    return _(
        "Uncertainty: how far the samples differ (standard deviation). High: the model could as well have painted "
        "something else. Low is no proof that it is right."
    )


def summary(result):
    """Of the result in view."""
    if result is None:
        return _("The scan as it is.")
    facts = result.summary
    lines = []
    if facts.get("lesion_ml") is not None:
        lines.append(_("<b>Lesion volume: {ml:.1f} mL</b>").format(ml=facts["lesion_ml"]))
    if facts.get("slices_healed") is not None:
        lines.append(
            _("{n} slices healed in {s:.0f} s on {device}").format(
                n=facts["slices_healed"], s=facts.get("seconds") or 0, device=facts.get("device") or "?"
            )
        )
    lines += checked(facts)
    if result.deviationNode is not None:
        lines.append(uncertainty())
    lines += [escape(warning) for warning in facts.get("warnings", [])]
    return "<br>".join(lines)


def resultChoices(found):
    """History: the scan as it is, then every result."""
    entries = [(0, _("Original"))]
    for result in found:
        ml = result.summary.get("lesion_ml")
        text = "#{}".format(result.order) if ml is None else "#{} - {:.1f} mL".format(result.order, ml)
        entries.append((result.order, text))
    return entries


def tableColumns():
    return [_("Slice"), _("mm"), _("Lesion probability"), _("Edited mm2"), _("Lesion mm2")]


def tableRow(row):
    """Texts of one slice's row."""

    def number(name, pattern):
        return "" if row.get(name) is None else pattern.format(row[name])

    return [
        str(row["index"]),
        number("position_mm", "{:.1f}"),
        number("lesion_probability", "{:.2f}"),
        number("mask_mm2", "{:.0f}"),
        number("lesion_mm2", "{:.0f}"),
    ]


def missing(volumeNode, busy, wantsMask, maskIsEmpty):
    """Why healing is not possible now; empty where it is."""
    why = "" if busy else withoutScan(volumeNode)
    if busy or why:
        return why
    if wantsMask and maskIsEmpty:
        return _("Mark what is to be healed: paint, add a box, take the saliency; or untick 'Heal what is marked'.")
    return ""
