"""What the panel says, as plain functions."""

from html import escape

from BrainCounterfactualCommon.host import tr as _
from BrainCounterfactualCommon.panels.texts import checked, withoutScan


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


def seamChoices():
    return [
        ("", _("Inside what is drawn, else outside")),
        ("inside", _("Inside the mask: nothing else changes")),
        ("outside", _("Outside the mask: all of it is healed")),
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


def estimate(volume, oneSlice=None):
    """What healing all slices, and the one in view, will need; empty where it was not told."""
    parts = []
    for told, text in ((oneSlice, _("This slice: about {s} s")), (volume, _("volume: about {s} s"))):
        if told:
            parts.append(text.format(s=max(1, round(told["seconds"]))))
    if not volume:
        return ""
    line = _("{times} on {device}.").format(times=", ".join(parts), device=volume["device"])
    line = line[0].upper() + line[1:]
    return "{} {}".format(line, volume["warning"]) if volume.get("warning") else line


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
        n = facts["slices_healed"]
        text = (
            _("1 slice healed in {s:.0f} s on {device}") if n == 1 else _("{n} slices healed in {s:.0f} s on {device}")
        )
        lines.append(text.format(n=n, s=facts.get("seconds") or 0, device=facts.get("device") or "?"))
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
    return [_("Slice"), _("Lesion\nprob."), _("Lesion\nmm\u00b2"), _("Edited\nmm\u00b2")]


def inOrder(rows):
    """Slices that were edited first, the largest lesion on top; then by probability."""

    def weight(row):
        return bool(row.get("mask_mm2")), row.get("lesion_mm2") or 0.0, row.get("lesion_probability") or 0.0

    return sorted(rows, key=weight, reverse=True)


def tableRow(row):
    """One slice's row: numbers, so that a column is sorted by size; an empty text where there is none."""

    def number(name, digits):
        value = row.get(name)
        return "" if value is None else round(value, digits) if digits else round(value)

    return [row["index"], number("lesion_probability", 2), number("lesion_mm2", 0), number("mask_mm2", 0)]


def areas(rows):
    """What the plot beside the table shows; empty where there is no area to show."""
    largest = max(rows, key=lambda row: row.get("lesion_mm2") or 0.0, default={})
    edited = max((row.get("mask_mm2") or 0.0 for row in rows), default=0.0)
    if not edited and not largest.get("lesion_mm2"):
        return ""
    return _(
        "Areas by slice, the lowest slice below: lesion (red, at most {lesion:.0f} mm\u00b2 in slice {slice}), "
        "edited region (brown, at most {edited:.0f} mm\u00b2)."
    ).format(lesion=largest.get("lesion_mm2") or 0.0, slice=largest["index"], edited=edited)


def missing(volumeNode, busy, wantsMask, maskIsEmpty):
    """Why healing is not possible now; empty where it is."""
    why = "" if busy else withoutScan(volumeNode)
    if busy or why:
        return why
    if wantsMask and maskIsEmpty:
        return _("Mark what is to be healed: paint, add a box, take the saliency; or untick 'Heal what is marked'.")
    return ""
