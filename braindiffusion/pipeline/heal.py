"""The road of a scan through healing: scan -> slices -> saliency -> mask -> healer -> difference -> scan."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from braindiffusion.events import Event, OnEvent
from braindiffusion.finders.contract import Found
from braindiffusion.finders.gate import CLASSIFIER
from braindiffusion.finders.given import drawn, mostly_brain, whole_brain, within_drawn
from braindiffusion.healing.models import is_conditioned, main_model
from braindiffusion.healing.registry import method_named
from braindiffusion.healing.run import heal_slices
from braindiffusion.healing.trajectories import Trajectories
from braindiffusion.models.device import choose_device
from braindiffusion.models.registry import LoadedModel, load_model
from braindiffusion.pipeline.out_of_distribution import check_distribution
from braindiffusion.pipeline.preview import stored_index, with_planes
from braindiffusion.pipeline.provenance import model_facts, record
from braindiffusion.pipeline.scan_cache import Prepared, prepared_for
from braindiffusion.pipeline.stages import (
    check_modality,
    check_saliency_modality,
    find_saliency,
    lesion_rule,
    mask_of_saliency,
)
from braindiffusion.settings import HealSettings
from braindiffusion.volume.anomaly import anomaly_map, lesion_map
from braindiffusion.volume.paste_back import carry_back
from braindiffusion.volume.scan import Scan
from braindiffusion.volume.slices import SliceStack, chosen_slices, map_to_scan, mask_to_slices

if TYPE_CHECKING:
    from PIL.Image import Image

Rows = list[dict[str, Any]]


@dataclass
class HealResult:
    """A healed scan. Arrays on the scan's grid are (I,J,K); on the model grid (S,H,W).

    Attributes:
        counterfactual: the scan's dtype; bit-identical to the scan outside ``edited``.
        anomaly: float32, model units (0.45 is the median brain).
        lesion, mask, edited: bool; ``mask`` is what was to be healed, ``edited`` holds all that may have changed.
        saliency: float32 in [0,1]; all zero when the mask was given.
        deviation: float32, standard deviation over samples, or ``None`` for one sample.
        agreement: float32 in [0,1], share of samples that call the voxel lesion, or ``None``.
        stack: the slices that went in; ``on_grid``: arrays on the model grid, for pictures.
        slices: one row per slice of the stack.
        provenance: how all this was made.
        scan: that was healed.
        warnings: sentences for the user.
    """

    counterfactual: np.ndarray
    anomaly: np.ndarray
    lesion: np.ndarray
    mask: np.ndarray
    edited: np.ndarray
    saliency: np.ndarray
    deviation: np.ndarray | None
    agreement: np.ndarray | None
    stack: SliceStack
    on_grid: dict[str, np.ndarray]
    slices: list[dict[str, Any]]
    provenance: dict[str, Any]
    scan: Scan
    warnings: list[str] = field(default_factory=list)

    def save(self, folder: str | Path, file_format: str = "nifti", burn_in: bool = False) -> Path:
        """Write volumes, a picture and the provenance into a folder, all or nothing; returns the folder.

        Args:
            file_format: ``nifti``, ``nrrd`` or ``dicom``.
            burn_in: DICOM: draw the synthetic mark into the images.

        Raises:
            OutputError: the folder cannot be written.
        """
        from braindiffusion.export.results import write_result

        write_result(Path(folder), self.scan, self, file_format, burn_in)
        return Path(folder)

    def show(self) -> Image:
        """A picture of the slices that matter, with the synthetic mark. A notebook shows it where it ends a cell."""
        from braindiffusion.export.pictures import overview, picture_of

        return picture_of(overview, self.scan, self)


def _slice_table(wanted: np.ndarray, found: Found, region: np.ndarray, lesion: np.ndarray, area: float) -> Rows:
    """One row per slice worked on; areas in mm2."""
    return [
        {
            "slice": int(s),
            "lesion_probability": None if np.isnan(p) else round(float(p), 4),
            "mask_mm2": round(float(region[s].sum() * area), 1),
            "lesion_mm2": round(float(lesion[s].sum() * area), 1),
        }
        for s, p in ((s, found.probability[s]) for s in np.nonzero(wanted)[0])
    ]


def _finder_stack(kept: Prepared, brain: np.ndarray | None, device: torch.device) -> SliceStack:
    """The slices that the finder's classifier works on."""
    return kept.stack_for(load_model(CLASSIFIER, str(device)).card, brain, device)[0]


def _onto(region: np.ndarray, source: SliceStack, target: SliceStack) -> np.ndarray:
    """(S,H,W) bool, a region of one stack of the scan on the grid of another."""
    if source is target:
        return region
    native = map_to_scan(region.astype(np.float32), source.placement) > 0.5
    return mask_to_slices(native, target.placement, 0.5) & target.brain


def _glimpse(
    scan: Scan,
    stack: SliceStack,
    seen_by_finder: SliceStack,
    wanted: np.ndarray,
    viewed: int,
    model: LoadedModel,
    settings: HealSettings,
    device: torch.device,
    tell: OnEvent,
    memory: Trajectories | None,
) -> None:
    """Heal the slice in view for its previews alone, before the saliency of all the others, which takes a while.

    Its mask comes from the plain gradient, which costs a fortieth of ACAT: what is shown is a first guess.
    """

    def aside(event: Event) -> None:
        tell(replace(event, stage="saliency", done=0, total=1))

    quick = replace(settings, saliency="gradient")
    guess = find_saliency(seen_by_finder, quick, wanted, device, aside, viewed)
    region = _onto(mask_of_saliency(guess, seen_by_finder, settings, model.card), seen_by_finder, stack)
    shown = with_planes(scan, stack, region, aside)
    heal_slices(stack, region, model, replace(settings, samples=1), device, shown, memory=memory)


def heal_scan(
    scan: Scan,
    settings: HealSettings | None = None,
    *,
    mask: np.ndarray | None = None,
    brain: np.ndarray | None = None,
    on_event: OnEvent | None = None,
    view_slice: int | None = None,
    prepared: Prepared | None = None,
) -> HealResult:
    """Heal a scan.

    Args:
        mask: (I,J,K) bool, drawn by the user; without it the mask comes from saliency.
        brain: (I,J,K) bool, the user's own brain mask.
        on_event: progress and previews; raising :class:`~braindiffusion.errors.Cancelled` from it stops the run.
        view_slice: index, along the scan's slice axis, of the slice to heal first.
        prepared: what earlier runs computed of this very ``scan``; it is added to.

    Raises:
        NotABrainError, ModalityError, EmptyMaskError, SliceRangeError, SettingsError, ModelNotFoundError,
        ModelCorruptError, DeviceError, MemoryExhaustedError, OutsideChangedError.
    """
    settings = settings or HealSettings()
    tell = on_event or (lambda event: None)
    started = time.perf_counter()
    device = choose_device(settings.device)
    method = method_named(settings.method)
    model = main_model(settings, str(device))
    warnings = [*scan.notes, *check_modality(scan, model, settings.force)]
    if mask is None and (method.masked or settings.gate is not None):
        check_saliency_modality(scan, load_model(CLASSIFIER, str(device)), settings.force)
    rule = lesion_rule(settings, model.card)

    kept = prepared_for(scan, prepared)
    memory = kept.trajectories if prepared or view_slice is not None else None  # else nobody will ask again
    stack, brain_origin = kept.stack_for(model.card, brain, device, tell)
    seen_by_finder = stack if not is_conditioned(model.card) else _finder_stack(kept, brain, device)
    wanted = chosen_slices(settings.slices, len(stack), stack.brain)
    viewed = None if view_slice is None else stored_index(view_slice, stack.placement)
    if mask is not None:
        found = drawn(mask, stack, wanted, settings.margin_mm)
        warnings += mostly_brain(mask, kept.brain(brain, device)[0])
    elif not method.masked:
        found = whole_brain(stack, wanted, settings, device)
    else:
        if viewed is not None and not kept.has_saliency(seen_by_finder, settings, wanted, device):
            _glimpse(scan, stack, seen_by_finder, wanted, viewed, model, settings, device, tell, memory)
        found = kept.saliency(seen_by_finder, settings, wanted, device, tell)
        warnings += found.warnings
        marked = mask_of_saliency(found, seen_by_finder, settings, model.card)
        found = replace(found, region=_onto(marked, seen_by_finder, stack))
    assert found.region is not None
    region = found.region & wanted[:, None, None]
    if not method.masked:
        region = stack.brain & region.any((1, 2))[:, None, None]
        warnings.append(f"{method.label} uses no mask: it may change the whole brain of each chosen slice.")
    if not wanted.any():
        warnings.append("None of the chosen slices holds enough brain, so nothing was changed.")
    elif not region.any():
        warnings.append(
            "Every slice was judged healthy, so nothing was changed. "
            "Draw a mask (--mask, --box), or lower the gate (--gate 0.1), to heal anyway."
        )
    whole, _ = kept.brain(brain, device)
    seen, unlike = check_distribution(stack, whole, model.card, scan.modality, found.probability)
    warnings += unlike
    placement, pitch = stack.placement, stack.placement.model_pitch
    within = None
    if mask is not None and method.masked and settings.seam != "outside":
        within = within_drawn(mask, placement, settings.margin_mm)
    elif settings.seam == "inside":
        within = np.ones((len(stack), *placement.shape[1:]), bool)
    shown = with_planes(scan, stack, region, tell, within)
    healed, reconstruction, ran = heal_slices(stack, region, model, settings, device, shown, viewed, memory)
    weight = region if ran.score is None else region * ran.score.mean(0)

    def anomaly_of(sample: np.ndarray) -> np.ndarray:
        return anomaly_map(stack.images, sample, rule.variant, reconstruction=reconstruction, pitch_mm=pitch) * weight

    def lesion_of(sample: np.ndarray) -> np.ndarray:
        return lesion_map(anomaly_of(sample), region, rule.threshold, pitch, least_mm2=rule.least_mm2)

    # A mean of samples is smoother than any of them: what is shown is the first draw; the mean serves the maps.
    slices_back = int(region.any((1, 2)).sum())
    back = carry_back(
        scan,
        stack,
        healed[0],
        region,
        settings.seed,
        within=within,
        on_slice=lambda done, _: tell(Event("back", done, slices_back + 1)),
    )

    def native(values: np.ndarray) -> np.ndarray:
        tell(Event("back", slices_back, slices_back + 1))
        return map_to_scan(values.astype(np.float32), placement) * back.edited

    native_mask = native(region) > 0.5
    if within is not None:
        native_mask &= placement.from_axial(within)
    changed = back.voxels != scan.voxels
    anomaly, lesion = anomaly_of(healed.mean(0)), lesion_of(healed.mean(0))
    tell(Event("back", slices_back, slices_back + 1))
    several = settings.samples > 1
    table = _slice_table(wanted, found, region, lesion, pitch**2)
    pixel_ml = pitch**2 * placement.thickness / 1000
    facts = record(
        scan,
        task="heal",
        settings=replace(settings, model=model.name),
        method={"name": settings.method, "settings": ran.options},
        mask={"origin": found.origin, "voxels": None if mask is None else int(mask.sum())},
        brain={"origin": brain_origin, "volume_ml": round(float(stack.brain.sum() * pixel_ml), 1)},
        distribution=seen,
        models=[model_facts(card) for card in (*ran.cards, *found.cards)],
        device=str(device),
        precision="bf16" if ran.bf16 else "fp32",
        grid={"size": placement.size, "pitch_mm": pitch, "intensity": stack.intensity, "placement": placement},
        network_calls={
            "batched": ran.calls,
            "per_slice": ran.slice_calls,
            "slices_healed": slices_back,
        },
        check={
            "outside_identical": True,
            "edited_voxels": int(back.edited.sum()),
            "changed_voxels": back.changed,
            "changed_outside_mask": int((changed & ~native_mask).sum()),
            "changed_outside_drawn": None if mask is None else int((changed & ~mask).sum()),
        },
        anomaly={"variant": rule.variant, "threshold": rule.threshold},
        lesion_ml=round(float(lesion.sum() * pixel_ml), 3),
        seconds=round(time.perf_counter() - started, 2),
        warnings=warnings,
        slices=table,
    )
    saliency_map = map_to_scan(found.maps, (stack if mask is not None else seen_by_finder).placement)
    saliency_on_grid = found.maps
    if saliency_on_grid.shape != stack.images.shape:
        saliency_on_grid = placement.down(placement.to_axial(saliency_map))
    result = HealResult(
        counterfactual=back.voxels,
        anomaly=native(anomaly),
        lesion=native(lesion) > 0.5,
        mask=native_mask,
        edited=back.edited,
        saliency=saliency_map,
        deviation=native(healed.std(0)) if several else None,
        agreement=native(np.mean([lesion_of(h) for h in healed], axis=0)) if several else None,
        stack=stack,
        on_grid={
            "healed": healed[0],
            "anomaly": anomaly,
            "lesion": lesion,
            "mask": region,
            "saliency": saliency_on_grid,
        },
        slices=table,
        provenance=facts,
        scan=scan,
        warnings=warnings,
    )
    tell(Event("back", slices_back + 1, slices_back + 1))
    return result


def prepare_scan(
    scan: Scan,
    settings: HealSettings,
    prepared: Prepared,
    *,
    brain: np.ndarray | None = None,
    on_event: OnEvent | None = None,
) -> None:
    """Find the brain and make the slices that a heal with these settings will need; raises as :func:`heal_scan`."""
    device = choose_device(settings.device)
    card = main_model(settings, str(device)).card
    kept = prepared_for(scan, prepared)
    kept.stack_for(card, brain, device, on_event)


@dataclass
class SaliencyResult:
    """Saliency of a scan on its own grid, with the slice table and provenance."""

    saliency: np.ndarray
    stack: SliceStack
    slices: list[dict[str, Any]]
    provenance: dict[str, Any]
    warnings: list[str]
    scan: Scan

    def save(self, folder: str | Path, file_format: str = "nifti") -> Path:
        """Write the map, a picture and the provenance into a folder, all or nothing; returns the folder.

        Args:
            file_format: ``nifti``, ``nrrd``.

        Raises:
            OutputError: the folder cannot be written.
        """
        from braindiffusion.export.results import write_saliency

        write_saliency(Path(folder), self.scan, self, file_format)
        return Path(folder)

    def show(self) -> Image:
        """A picture of the slices that matter, with the synthetic mark. A notebook shows it where it ends a cell."""
        from braindiffusion.export.pictures import picture_of, saliency_picture

        return picture_of(saliency_picture, self.scan, self)


def saliency_scan(
    scan: Scan,
    settings: HealSettings | None = None,
    *,
    brain: np.ndarray | None = None,
    on_event: OnEvent | None = None,
    prepared: Prepared | None = None,
) -> SaliencyResult:
    """Saliency map (I,J,K) float32 in [0,1] and the lesion probability of each slice; raises as :func:`heal_scan`."""
    settings = settings or HealSettings()
    device = choose_device(settings.device)
    classifier = load_model(CLASSIFIER, str(device))
    warnings = [*scan.notes, *check_modality(scan, classifier, settings.force)]
    kept = prepared_for(scan, prepared)
    stack, origin = kept.stack(int(classifier.card["grid"]), brain, device, on_event=on_event)
    wanted = chosen_slices(settings.slices, len(stack), stack.brain)
    found = kept.saliency(stack, settings, wanted, device, on_event)
    whole, _ = kept.brain(brain, device)
    seen, unlike = check_distribution(stack, whole, classifier.card, scan.modality, found.probability)
    warnings += [*found.warnings, *unlike]
    table = [
        {
            "slice": int(s),
            "lesion_probability": round(float(found.probability[s]), 4),
            "judged_lesion": bool(found.judged_lesion[s]),
        }
        for s in np.nonzero(wanted)[0]
    ]
    facts = record(
        scan, task="saliency", settings=settings, brain={"origin": origin}, distribution=seen,
        models=[model_facts(c) for c in found.cards], device=str(device), warnings=warnings, slices=table,
    )  # fmt: skip
    return SaliencyResult(map_to_scan(found.maps, stack.placement), stack, table, facts, warnings, scan)
