"""What the panels of more than one module say, as plain functions."""

from html import escape

from BrainCounterfactualCommon.host import tr as _
from braindiffusion.modality import CONTRASTS


def modalityChoices():
    return [("", _("unknown")), *((name, name) for name in CONTRASTS)]


def deviceChoices(devices):
    """From the worker's list; before it has told, only automatic choice and CPU."""
    known = [(device["name"], device.get("label", device["name"])) for device in devices or []]
    return [("auto", _("Automatic")), *(known or [("cpu", "CPU")])]


def licence(card):
    """Licence, data and failures of a model, as rich text."""
    if card is None:
        return ""
    lines = [_("<b>Licence of the weights:</b> {licence}").format(licence=escape(card.get("licence", "")))]
    data = ", ".join(entry["name"] for entry in card.get("data", []))
    if data:
        lines.append(_("<b>Trained on:</b> {data}").format(data=escape(data)))
    lines.append(escape(card.get("intended_use", "")))
    return "<br>".join(line for line in lines if line)


def licenceLink(card):
    """The licence of a model's weights in a line, with a link to the rest."""
    return _('Weights: {licence} (<a href="#licence">data, use, known failures</a>)').format(
        licence=escape(card.get("licence", ""))
    )


def checked(facts):
    """Lines of a summary: whether the rest of the scan was found to be unchanged; none where it was not."""
    if facts.get("check", {}).get("outside_identical"):
        return [_("Checked: every voxel outside the edited region is the original's.")]
    return []


def withoutScan(volumeNode):
    """Why nothing can be done with what is chosen; empty where it is a scan."""
    if volumeNode is None:
        return _("Choose a scan first.")
    if volumeNode.GetImageData() is None:
        return _("The scan holds no image.")
    return ""


def progress(stage, secondsLeft):
    """One line under the progress bar."""
    names = {
        "load": _("Handing over the scan"),
        "brain": _("Finding the brain"),
        "saliency": _("Looking where the classifier looks"),
        "heal": _("Healing"),
        "induce": _("Painting the lesion"),
        "back": _("Carrying the result back"),
    }
    line = names.get(stage, stage)
    if secondsLeft is None:
        return line
    if secondsLeft < 90:
        return _("{line}, {n} s left").format(line=line, n=round(secondsLeft))
    return _("{line}, {n} min left").format(line=line, n=round(secondsLeft / 60))


def dependencies(rows, foreign=None):
    """State of the Python packages, as rich text; ``foreign``: the Python they are in, where it is not Slicer's."""
    lines = [_("In {python}, not in Slicer:").format(python=escape(foreign))] if foreign else []
    for row in rows:
        state = row["installed"] or _("missing")
        mark = "&#10003;" if row["satisfied"] else "&#10007;"
        lines.append("{} {} {} ({} {})".format(mark, escape(row["name"]), state, _("needs"), row["minimum"]))
    return "<br>".join(lines)
