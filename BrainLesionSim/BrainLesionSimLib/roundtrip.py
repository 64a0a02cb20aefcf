"""Induce, then heal: how much of the prior comes back."""

import numpy as np

from BrainCounterfactualCommon.scene import volumes
from BrainLesionSimLib import inductions

LESION, MARGIN = "lesion", "margin"
REGIONS = {LESION: inductions.LESION, MARGIN: inductions.MARGIN}
"""What may be healed, and the mark it is."""


def errors(prior, diseased, healed, edited):
    """How far the healed scan is from the prior, in the scan's units; (k,j,i) arrays.

    Returns:
        ``inside`` and ``outside``: mean |prior - healed| in the region the induction edited, and elsewhere;
        ``outside_changed``: voxels there that differ; ``induced``: mean |prior - diseased| inside, to compare with;
        ``level``: mean of the prior inside.
    """
    prior, diseased, healed = (array.astype(np.float64) for array in (prior, diseased, healed))
    off = np.abs(prior - healed)

    def mean(values):
        return float(values.mean()) if values.size else 0.0

    return {
        "inside": mean(off[edited]),
        "outside": mean(off[~edited]),
        "outside_changed": int((off[~edited] > 0).sum()),
        "induced": mean(np.abs(prior - diseased)[edited]),
        "level": mean(np.abs(prior[edited])),
    }


def record(induction, healing, region):
    """Compute the errors of a healed induction and keep them, and the healing, with it."""
    found = errors(
        volumes.voxels(induction.volumeNode),
        volumes.voxels(induction.diseasedNode),
        volumes.voxels(healing.counterfactualNode),
        induction.marked(inductions.EDITED),
    )
    induction.tell("RoundTrip", dict(found, region=region))
    induction.node.SetNodeReferenceID("BrainLesionSim.healed", healing.node.GetID())


def healSettings(settings, card, region):
    """Settings of the healing that follows an induction with these settings.

    A lesion is healed with the rim that every drawn mask gets; the margin as it is, so that nothing beyond it changes.
    """
    out = {name: settings[name] for name in ("seed", "device", "precision", "batch") if name in settings}
    if card is not None:
        out["model"] = card["name"]
    if region == MARGIN:
        out["margin_mm"] = 0.0
    return out
