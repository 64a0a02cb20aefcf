"""The stages a scan goes through on its way to healing, each a function: brain, saliency, mask, healer.

:mod:`braindiffusion.pipeline.heal` strings the stages together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from braindiffusion.errors import ModalityError, SettingsError
from braindiffusion.events import Event, OnEvent
from braindiffusion.finders.contract import Found
from braindiffusion.finders.registry import METHODS as FINDERS
from braindiffusion.healing.models import readable_cards
from braindiffusion.healing.registry import method_named, operating_point
from braindiffusion.models.registry import LoadedModel
from braindiffusion.settings import HealSettings
from braindiffusion.volume.brain import Origin, check_is_brain, find_brain
from braindiffusion.volume.masks import KERNEL_SIGMA, dilate, grown_mask, percentile_mask
from braindiffusion.volume.scan import Scan
from braindiffusion.volume.slices import SliceStack, to_slices


def check_modality(scan: Scan, model: LoadedModel, force: bool, method: str | None = None) -> list[str]:
    """Warnings about the scan's contrast; refuses a known mismatch unless forced.

    Args:
        method: that heals by the model; ``None`` where it does not heal.

    Raises:
        ModalityError: the scan says it is of a modality the model was not trained for.
    """
    known = model.modality
    if "ANY" in known or scan.modality in known:
        return []
    if scan.modality is None:
        return [
            "Neither the header nor the file name says what this scan is; "
            f"the model was trained on {', '.join(known)} only."
        ]
    if not force:
        raise ModalityError(
            f"This is a {scan.modality} scan, and '{model.name}' was trained on {', '.join(known)}.",
            "A model shown a contrast it never saw paints that contrast away.",
            f"{_advice(scan.modality, model, method)} Or add --force to see what happens.",
        )
    return [
        f"This {scan.modality} scan was forced through a model trained on {', '.join(known)}: do not trust the result."
    ]


def _advice(modality: str, model: LoadedModel, method: str | None) -> str:
    """What to do about a contrast that a model does not know: the installed model that does, by name."""
    for name in () if method is None else (method, HealSettings.method):
        need = method_named(name).model
        known = [card for card in readable_cards() if need.fits(card) and card.fits(modality)]
        if known:
            card = min(known, key=lambda card: card.name != need.recipe)
            other = f"--method {name} --model" if name != method else "--model"
            contrast = "any contrast" if "ANY" in card.modality else modality
            return f"Use {other} {card.name}, which was trained on {contrast}."
    return f"No model for {modality} is installed: choose a scan of {' or '.join(model.modality)}."


def check_saliency_modality(scan: Scan, classifier: LoadedModel, force: bool) -> list[str]:
    """Warnings about the contrast a lesion is looked for in; refuses one the classifier never saw, unless forced.

    Raises:
        ModalityError: a known mismatch; a drawn mask needs no classifier.
    """
    known = classifier.modality
    if force or scan.modality is None or scan.modality in known:
        return check_modality(scan, classifier, force)
    raise ModalityError(
        f"The lesion of a {scan.modality} scan cannot be found.",
        f"The classifier was trained on {', '.join(known)} only.",
        "Say where it is: draw a mask (--mask) or a box (--box).",
    )


def brain_of(
    scan: Scan, brain: np.ndarray | None, device: str, check: bool = True, on_event: OnEvent | None = None
) -> tuple[np.ndarray, Origin]:
    """(I,J,K) bool, the brain of a scan, and where it is from.

    Args:
        check: refuse what cannot be a brain by its size (needs a real spacing, which a pack does not have).

    Raises:
        NotABrainError: there is none.
    """

    def tell(done: int, total: int) -> None:
        if on_event:
            on_event(Event("brain", done, total))

    tell(0, 1)
    found, origin = find_brain(scan, brain, device, tell)
    if check:
        check_is_brain(scan, found, origin)
    tell(1, 1)
    return found, origin


def prepare(
    scan: Scan, size: int, brain: np.ndarray | None, device: str, scaling: str | None = None, check: bool = True
) -> tuple[SliceStack, Origin]:
    """Brain, placement and scaling of a scan; see :func:`brain_of`."""
    found, origin = brain_of(scan, brain, device, check)
    return to_slices(scan, found, size, scaling or "brain_median"), origin


def find_saliency(
    stack: SliceStack,
    settings: HealSettings,
    wanted: np.ndarray,
    device: torch.device,
    on_event: OnEvent | None = None,
    only: int | None = None,
) -> Found:
    """Where the lesion is, by the finder that the settings name.

    Args:
        only: look at this one slice of those that pass the gate.

    Raises:
        SettingsError: there is no such finder.
    """
    return FINDERS.named(settings.saliency).find(stack, settings, wanted, device, on_event, only)


def mask_of_saliency(found: Found, stack: SliceStack, settings: HealSettings, card: dict[str, Any]) -> np.ndarray:
    """(S,H,W) bool: where the saliency passes its percentile, completed by ``mask_rule``, in the brain.

    Raises:
        SettingsError: ``grown`` with a model whose card has no grey level to grow at.
    """
    finder = FINDERS.named(settings.saliency)
    if finder.region is not None and settings.mask_rule is None:
        return finder.region(found, stack, settings)
    tuned = operating_point(card, settings.method)
    rule = settings.mask_rule or ("grown" if "grow_level" in tuned else "percentile")
    own = tuned if rule == "grown" else {}  # tuned values belong to the tuned rule
    mask = percentile_mask(
        found.maps,
        settings.percentile if settings.percentile is not None else float(own.get("percentile", 90.0)),
        order=settings.mask_order,
        over=settings.percentile_over,
        brain=stack.brain,
        sigma=float(own.get("mask_sigma_px", KERNEL_SIGMA)),
    )
    if rule == "grown":
        if "grow_level" not in tuned:
            raise SettingsError(
                "This model cannot grow a mask.", "Its card has no grow_level.", "Use --mask-rule percentile."
            )
        mask = grown_mask(mask, stack.images, stack.brain, float(tuned["grow_level"]))
    margin = settings.margin_mm if settings.margin_mm is not None else float(own.get("margin_mm", 0.0))
    return dilate(mask, margin, stack.placement.model_pitch) & stack.brain


@dataclass(frozen=True)
class LesionRule:
    """How a difference becomes a lesion: variant of the anomaly map, threshold in model units or Otsu's, least area."""

    variant: str
    threshold: float | str
    least_mm2: float


def lesion_rule(settings: HealSettings, card: dict[str, Any]) -> LesionRule:
    """The settings' own values, else the :func:`~braindiffusion.healing.registry.operating_point`."""
    tuned = operating_point(card, settings.method)
    return LesionRule(
        settings.anomaly or tuned.get("anomaly", "ours"),
        settings.threshold if settings.threshold is not None else tuned.get("threshold", 0.1),
        float(tuned.get("least_mm2", 0.0)),
    )
