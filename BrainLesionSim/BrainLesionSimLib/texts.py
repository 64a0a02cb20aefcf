"""What the panel says, as plain functions."""

from html import escape

from BrainCounterfactualCommon.host import tr as _
from BrainCounterfactualCommon.panels.texts import checked, withoutScan
from BrainLesionSimLib import inductions


def kindNames():
    return {"stroke": _("Stroke"), "tumour": _("Tumour"), "spots": _("White-matter spots")}


def kindChoices(offered):
    """Kinds of lesions that can be painted on the scan."""
    return [(kind, kindNames().get(kind, kind)) for kind in offered]


def shapeKindChoices():
    return [(kind, kindNames()[kind]) for kind in ("stroke", "tumour", "spots")]


def sideChoices():
    return [("", _("either side")), ("L", _("left")), ("R", _("right"))]


def lobeChoices():
    return [
        ("", _("any lobe")),
        ("frontal", _("frontal")),
        ("parietal", _("parietal")),
        ("temporal", _("temporal")),
        ("occipital", _("occipital")),
    ]


def methodChoices(withPalette):
    choices = [
        ("mededit_paired", _("Paired MedEdit (keeps the anatomy)")),
        ("mededit", _("MedEdit (paints the margin anew)")),
        ("naive_repaint", _("RePaint (inside the outline only)")),
        ("sdedit", _("SDEdit (the whole slice drifts)")),
    ]
    return [*choices, ("palette", _("Palette (no noise level)"))] if withPalette else choices


def conditionChoices():
    return [("mask", _("The lesion's outline")), ("box", _("Its filled box"))]


def regionChoices():
    return [("lesion", _("the lesion, as painted")), ("margin", _("all that was free to change"))]


def offer(offered, modality, lesionModels):
    """That nothing can be painted on the scan, and what there is; empty where something can."""
    if offered:
        return ""
    return _("<b>Nothing can be painted on a scan of {modality}.</b> Lesion models there are: {names}.").format(
        modality=escape(modality or _("unknown modality")), names=escape(lesionModels)
    )


def size(ml, reachMm):
    """Under the editor: how large the lesion is."""
    if not ml:
        return _("No lesion is drawn.")
    if reachMm is None:
        return _("<b>Lesion: {ml:.1f} mL</b>").format(ml=ml)
    return _("<b>Lesion: {ml:.1f} mL</b>; a margin of {mm:.1f} mm around it may change.").format(ml=ml, mm=reachMm)


def stripLabel(induction):
    """Under a thumbnail."""
    label = "#{} - {}".format(induction.order, _("seed {n}").format(n=induction.seed))
    return "\u2605 " + label if induction.kept else label


def summary(induction):
    """Of the induction in view."""
    if induction is None:
        return _("The scan as it is.")
    facts, lines = induction.summary, []
    if facts.get("lesion_ml") is not None:
        lines.append(_("<b>Lesion: {ml:.1f} mL</b>").format(ml=facts["lesion_ml"]))
    if facts.get("seconds") is not None:
        lines.append(
            _("Painted in {s:.0f} s on {device}").format(s=facts["seconds"], device=facts.get("device") or "?")
        )
    lines += checked(facts)
    lines += [escape(warning) for warning in facts.get("warnings", [])]
    return "<br>".join(lines)


def roundTrip(found):
    """How much of the change was left; empty where there was no round trip."""
    if not found:
        return ""
    healed = dict(regionChoices()).get(found.get("region"), "")
    text = _(
        "<b>Induced, then healed ({healed}): {share:.0f} % of the change remains.</b> Mean |original - healed| in the "
        "edited region: {inside:.4g}; the lesion had changed it by {induced:.4g}."
    ).format(healed=healed, share=remaining(found), inside=found["inside"], induced=found["induced"])
    n = found["outside_changed"]
    if n:
        voxels = _("1 voxel") if n == 1 else _("{n} voxels").format(n=n)
        text += " " + _("The healing's rim changed {voxels} outside the region that the induction edited.").format(
            voxels=voxels
        )
    return text


def remaining(found):
    """Per cent of the induced change that a healing left; 100 is nothing healed, more is worse than before."""
    return 100.0 * found["inside"] / found["induced"] if found.get("induced") else 0.0


def effectRows(induction):
    """``[name, value with unit]`` of each effect that is known."""
    rows = []
    for name, value, unit in inductions.figures(induction.effects) if induction is not None else []:
        if value is not None:
            signed = unit in ("mL", "mm")
            text = "{:.2f} {}".format(value, unit) if signed else "{:.3f}".format(value)
            rows.append([name, text])
    return rows


def effectColumns():
    return [_("Effect (of the picture, not of a disease)"), _("Value")]


def missing(volumeNode, busy, offered, ml):
    """Why nothing can be painted now; empty where it can."""
    why = "" if busy else withoutScan(volumeNode)
    if busy or why:
        return why
    if not offered:
        return _("No lesion model is for this modality; see above for those there are.")
    if not ml:
        return _("Say where: paint, add a box, load a file, or let a lesion be made.")
    return ""
