"""Regions that need no finding: drawn or boxed by the user, or the whole brain."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage

from braindiffusion.errors import EmptyMaskError
from braindiffusion.finders.contract import Found
from braindiffusion.finders.gate import CLASSIFIER, judge_slices
from braindiffusion.models.registry import load_model
from braindiffusion.settings import HealSettings
from braindiffusion.volume.masks import dilate
from braindiffusion.volume.slices import Placement, SliceStack, mask_to_slices

DRAWN_MARGIN_MM = 2.0
"""A drawn mask is grown by this much: the rim of a lesion blurs into its surroundings."""
MOST_OF_BRAIN = 0.5


def drawn(mask: np.ndarray, stack: SliceStack, wanted: np.ndarray, margin_mm: float | None) -> Found:
    """The user's own (I,J,K) bool, drawn or boxed.

    Raises:
        EmptyMaskError: nothing of it lies in the brain of the chosen slices.
    """
    on_grid = mask_to_slices(mask, stack.placement)
    if not (on_grid & stack.brain)[wanted].any():
        raise EmptyMaskError(
            "The mask selects nothing that could be healed.",
            "It lies outside the brain, or outside the chosen slices.",
            "Draw it inside the brain, or give a brain mask with --brain.",
        )
    margin = DRAWN_MARGIN_MM if margin_mm is None else margin_mm
    region = dilate(on_grid, margin, stack.placement.model_pitch) & stack.brain
    nothing = np.zeros_like(stack.images)
    return Found(nothing, np.full(len(stack), np.nan), wanted, region=region, origin="drawn")


def within_drawn(mask: np.ndarray, placement: Placement, margin_mm: float | None) -> np.ndarray:
    """(S,rows,cols) bool: a drawn mask (I,J,K) with its margin, on the scan's grid."""
    margin = DRAWN_MARGIN_MM if margin_mm is None else margin_mm
    axial = placement.to_axial(mask)
    out = axial.copy()
    for s in np.nonzero(axial.any((1, 2)))[0]:
        if margin > 0:
            out[s] = ndimage.distance_transform_edt(~axial[s], sampling=placement.pitch) <= margin
        elif margin < 0:
            out[s] = ndimage.distance_transform_edt(axial[s], sampling=placement.pitch) > -margin
    return out


def mostly_brain(mask: np.ndarray, brain: np.ndarray) -> list[str]:
    """A warning where a drawn mask takes more than half of the brain: few lesions do, masks of something else do."""
    share = float((mask & brain).sum()) / max(int(brain.sum()), 1)
    if share <= MOST_OF_BRAIN:
        return []
    return [f"The mask takes {share:.0%} of the brain. Is it a mask of the lesion?"]


def whole_brain(stack: SliceStack, wanted: np.ndarray, settings: HealSettings, device: torch.device) -> Found:
    """For methods that find their region themselves: all of the brain; with a gate, on slices that pass it."""
    nothing = np.zeros_like(stack.images)
    if settings.gate is None:
        unasked = np.full(len(stack), np.nan)
        return Found(nothing, unasked, wanted, region=stack.brain, origin="whole brain")
    probability, judged = judge_slices(stack, settings, wanted, device)
    region, cards = stack.brain & judged[:, None, None], [load_model(CLASSIFIER, str(device)).card]
    return Found(nothing, probability, judged, cards=cards, region=region, origin="whole brain, gated")
