"""Healing of what a lesion displaced: back to where it was, then healed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from braindiffusion.errors import SettingsError
from braindiffusion.events import Event, OnEvent
from braindiffusion.finders.gate import CLASSIFIER
from braindiffusion.healing.models import is_conditioned, main_model
from braindiffusion.healing.registry import method_named
from braindiffusion.lesions.mass_effect import undo
from braindiffusion.models.device import choose_device
from braindiffusion.models.registry import load_model
from braindiffusion.pipeline.provenance import plain as provenance_of
from braindiffusion.pipeline.provenance import scan_facts
from braindiffusion.pipeline.scan_cache import ScanCache, prepared_for
from braindiffusion.pipeline.stages import check_saliency_modality, mask_of_saliency
from braindiffusion.settings import HealSettings
from braindiffusion.volume.paste_back import check_outside
from braindiffusion.volume.scan import Scan
from braindiffusion.volume.slices import brain_intensity, chosen_slices, map_to_scan

if TYPE_CHECKING:
    from braindiffusion.pipeline.heal import HealResult

Heal = Callable[..., "HealResult"]


def _lesion_found(
    kept: ScanCache, settings: HealSettings, brain: np.ndarray | None, device: torch.device, tell: OnEvent
) -> np.ndarray:
    """(I,J,K) bool, what the saliency marks as the lesion.

    Raises:
        SettingsError: the method heals without a mask, so that nothing says what displaced the rest.
    """
    method, model = method_named(settings.method), main_model(settings, str(device))
    if not method.masked:
        raise SettingsError(
            f"{method.label} uses no mask.", "What a lesion displaced is taken back from where the lesion is.",
            "Draw a mask (--mask), choose another method, or leave the mass effect as it is.",
        )  # fmt: skip
    check_saliency_modality(kept.scan, load_model(CLASSIFIER, str(device)), settings.force)
    stack = kept.classifier_stack(brain, device)
    if not is_conditioned(model.card):
        stack, _ = kept.stack_for(model.card, brain, device, tell)
    wanted = chosen_slices(settings.slices, len(stack), stack.brain)
    found = kept.saliency(stack, settings, wanted, device, tell)
    marked = mask_of_saliency(found, stack, settings, model.card) & wanted[:, None, None]
    return map_to_scan(marked.astype(np.float32), stack.placement) > 0.5


def heal_undone(
    heal: Heal, scan: Scan, settings: HealSettings, mask: np.ndarray | None, brain: np.ndarray | None,
    on_event: OnEvent | None, view_slice: int | None, prepared: ScanCache | None,
) -> HealResult:  # fmt: skip
    """Take back what the lesion displaced, then heal what is left of it.

    The counterfactual shows the anatomy where it was; mask, maps and lesion are carried back to where the scan has
    them, so that they fit over the scan.

    Args:
        heal: as :func:`~braindiffusion.pipeline.heal.heal_scan`, whose other arguments follow.
    """
    tell = on_event or (lambda event: None)
    started = time.perf_counter()
    device = choose_device(settings.device)
    kept = prepared_for(scan, prepared)
    whole, origin = kept.brain(brain, device, tell)
    lesion = mask if mask is not None else _lesion_found(kept, settings, brain, device, tell)
    plain = replace(settings, undo_mass_effect=0.0)
    if not (lesion & whole).any():
        return heal(scan, plain, mask=mask, brain=brain, on_event=on_event, view_slice=view_slice, prepared=prepared)

    def on_step(done: float) -> None:
        tell(Event("displace", int(99 * done), 100))

    tell(Event("displace", 0, 100))
    percent = settings.undo_mass_effect
    tone = brain_intensity(scan.voxels, whole)
    effect = undo(scan, whole, tone, lesion & whole, None if percent is None else percent / 100, on_step)
    tell(Event("displace", 100, 100))
    moved = replace(scan, voxels=effect.voxels)
    left, _ = effect.displacement.apply(lesion & whole, effect.within, smooth=False)
    if mask is None:  # the saliency's region has its margin already
        plain = replace(plain, margin_mm=0.0, seam=plain.seam or "outside")
    healed = heal(moved, plain, mask=left, brain=whole, on_event=on_event, view_slice=view_slice)

    def back(values: np.ndarray | None) -> Any:
        return None if values is None else effect.displacement.apply(values, effect.within, False, smooth=False)[0]

    edited = healed.edited | effect.moved
    changed = check_outside(scan.voxels, healed.counterfactual, edited)
    warnings = list(dict.fromkeys([*effect.warnings, *healed.warnings]))
    if not effect.moved.any():
        warnings.insert(0, "No mass effect was found that could be undone: nothing was moved.")
    facts = healed.provenance | {
        "settings": provenance_of(replace(settings, model=healed.provenance["settings"]["model"])),
        "scan": scan_facts(scan),
        "mask": {
            "origin": "drawn" if mask is not None else settings.saliency,
            "voxels": None if mask is None else int(mask.sum()),
        },
        "brain": healed.provenance["brain"] | {"origin": origin},
        "check": healed.provenance["check"] | {
            "edited_voxels": int(edited.sum()), "changed_voxels": changed, "moved_voxels": int(effect.moved.sum()),
        },
        "mass_effect": provenance_of(effect.figures), "warnings": warnings,
        "seconds": round(time.perf_counter() - started, 2),
    }  # fmt: skip
    maps = ("anomaly", "lesion", "mask", "deviation", "agreement")
    return replace(
        healed, **{name: back(getattr(healed, name)) for name in maps}, edited=edited, provenance=facts, scan=scan,
        warnings=warnings, mass_effect=effect,
    )  # fmt: skip
