"""The road of a scan through healing: scan -> slices -> saliency -> mask -> healer -> difference -> scan."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from braindiffusion.errors import SettingsError
from braindiffusion.events import Event, OnEvent
from braindiffusion.finders.contract import Found
from braindiffusion.finders.gate import CLASSIFIER
from braindiffusion.finders.given import drawn, mostly_brain, whole_brain, within_drawn
from braindiffusion.healing.models import RunStats, is_conditioned, main_model
from braindiffusion.healing.registry import Method, method_named
from braindiffusion.healing.run import heal_slices
from braindiffusion.healing.trajectories import Trajectories
from braindiffusion.lesions.mass_effect import MassEffect, undo
from braindiffusion.models.device import choose_device
from braindiffusion.models.registry import LoadedModel, load_model
from braindiffusion.pipeline.carry import Carried
from braindiffusion.pipeline.out_of_distribution import check_distribution
from braindiffusion.pipeline.preview import stored_index, with_planes
from braindiffusion.pipeline.provenance import model_facts, record, scan_facts
from braindiffusion.pipeline.provenance import plain as provenance_of
from braindiffusion.pipeline.scan_cache import ScanCache, prepared_for
from braindiffusion.pipeline.stages import (
    check_modality,
    check_saliency_modality,
    find_saliency,
    lesion_rule,
    mask_of_saliency,
)
from braindiffusion.settings import HealSettings
from braindiffusion.volume.anomaly import anomaly_map, lesion_map
from braindiffusion.volume.paste_back import check_outside
from braindiffusion.volume.scan import Scan
from braindiffusion.volume.slices import SliceStack, brain_intensity, chosen_slices, map_to_scan, mask_to_slices

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
        mass_effect: what was taken back before healing: the counterfactual then differs from the scan wherever
            something moved; mask and maps lie on the scan as it is.
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
    mass_effect: MassEffect | None = None

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


def _finder_stack(kept: ScanCache, brain: np.ndarray | None, device: torch.device) -> SliceStack:
    """The slices that the finder's classifier works on."""
    return kept.stack_for(load_model(CLASSIFIER, str(device)).card, brain, device)[0]


def _onto(region: np.ndarray, source: SliceStack, target: SliceStack) -> np.ndarray:
    """(S,H,W) bool, a region of one stack of the scan on the grid of another."""
    if source is target:
        return region
    native = map_to_scan(region.astype(np.float32), source.placement) > 0.5
    return mask_to_slices(native, target.placement, 0.5) & target.brain


@dataclass(frozen=True)
class _Road:
    """What a healing works with once its scan is in slices.

    Attributes:
        stack: the slices that are healed; ``finder_stack``: those that the finder's classifier works on.
        wanted: (S,) bool, the chosen slices; ``viewed``: the one in view.
        memory: of inversions, where somebody will ask again.
    """

    scan: Scan
    settings: HealSettings
    device: torch.device
    model: LoadedModel
    method: Method
    kept: ScanCache
    stack: SliceStack
    finder_stack: SliceStack
    wanted: np.ndarray
    viewed: int | None
    memory: Trajectories | None
    tell: OnEvent

    def saliency(self) -> Found:
        """The finder's answer, its region on the grid of ``stack``; the slice in view is shown healed before it."""
        finder, settings, wanted = self.finder_stack, self.settings, self.wanted
        if self.viewed is not None and not self.kept.has_saliency(finder, settings, wanted, self.device):
            self.preview_first(self.viewed)
        found = self.kept.saliency(finder, settings, wanted, self.device, self.tell)
        return replace(found, region=self._region(found))

    def _region(self, found: Found) -> np.ndarray:
        marked = mask_of_saliency(found, self.finder_stack, self.settings, self.model.card)
        return _onto(marked, self.finder_stack, self.stack)

    def preview_first(self, viewed: int) -> None:
        """Heal the slice in view for its previews alone, before the saliency of all the others, which takes a while.

        Its mask comes from the plain gradient, which costs a fortieth of ACAT: what is shown is a first guess.
        """

        def aside(event: Event) -> None:
            self.tell(replace(event, stage="saliency", done=0, total=1))

        quick = replace(self.settings, saliency="gradient")
        region = self._region(find_saliency(self.finder_stack, quick, self.wanted, self.device, aside, viewed))
        shown = with_planes(self.scan, self.stack, region, aside)
        one = replace(self.settings, samples=1)
        heal_slices(self.stack, region, self.model, one, self.device, shown, memory=self.memory)

    def find(self, mask: np.ndarray | None, whole: np.ndarray) -> tuple[Found, np.ndarray, list[str]]:
        """Where the lesion is, (S,H,W) bool what is healed, and sentences for the user.

        Args:
            mask: (I,J,K) bool, the user's; ``whole``: (I,J,K) bool, the brain.
        """
        if mask is not None:
            found = drawn(mask, self.stack, self.wanted, self.settings.margin_mm)
            warnings = mostly_brain(mask, whole)
        elif self.method.masked:
            found = self.saliency()
            warnings = list(found.warnings)
        else:
            found, warnings = whole_brain(self.stack, self.wanted, self.settings, self.device), []
        assert found.region is not None
        region = found.region & self.wanted[:, None, None]
        if not self.method.masked:
            region = self.stack.brain & region.any((1, 2))[:, None, None]
            warnings.append(f"{self.method.label} uses no mask: it may change the whole brain of each chosen slice.")
        if not self.wanted.any():
            warnings.append("None of the chosen slices holds enough brain, so nothing was changed.")
        elif not region.any():
            warnings.append(
                "Every slice was judged healthy, so nothing was changed. "
                "Draw a mask (--mask, --box), or lower the gate (--gate 0.1), to heal anyway."
            )
        return found, region, warnings

    def within(self, mask: np.ndarray | None) -> np.ndarray | None:
        """(S,rows,cols) bool on the scan's grid, what may change there; ``None`` lets the seam decide."""
        placement = self.stack.placement
        if mask is not None and self.method.masked and self.settings.seam != "outside":
            return within_drawn(mask, placement, self.settings.margin_mm)
        if self.settings.seam == "inside":
            return np.ones((len(self.stack), *placement.shape[1:]), bool)
        return None


@dataclass(frozen=True)
class _Maps:
    """What healing changed, on the model grid: (S,H,W) anomaly and lesion of the mean, agreement of the samples."""

    anomaly: np.ndarray
    lesion: np.ndarray
    agreement: np.ndarray


def _maps(road: _Road, region: np.ndarray, healed: np.ndarray, reconstruction: np.ndarray, ran: RunStats) -> _Maps:
    """A mean of samples is smoother than any of them: what is shown is the first draw; the mean serves the maps."""
    rule, pitch = lesion_rule(road.settings, road.model.card), road.stack.placement.model_pitch
    weight = region if ran.score is None else region * ran.score.mean(0)

    def anomaly_of(sample: np.ndarray) -> np.ndarray:
        return (
            anomaly_map(road.stack.images, sample, rule.variant, reconstruction=reconstruction, pitch_mm=pitch) * weight
        )

    def lesion_of(sample: np.ndarray) -> np.ndarray:
        return lesion_map(anomaly_of(sample), region, rule.threshold, pitch, least_mm2=rule.least_mm2)

    mean = healed.mean(0)
    several = [lesion_of(sample) for sample in healed] if len(healed) > 1 else []
    return _Maps(anomaly_of(mean), lesion_of(mean), np.mean(several, axis=0) if several else np.zeros(0))


def heal_scan(
    scan: Scan,
    settings: HealSettings | None = None,
    *,
    mask: np.ndarray | None = None,
    brain: np.ndarray | None = None,
    on_event: OnEvent | None = None,
    view_slice: int | None = None,
    prepared: ScanCache | None = None,
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
    settings, tell = settings or HealSettings(), on_event or (lambda event: None)
    if settings.undo_mass_effect != 0:
        return _heal_undone(scan, settings, mask, brain, on_event, view_slice, prepared)
    started = time.perf_counter()
    device, method = choose_device(settings.device), method_named(settings.method)
    model = main_model(settings, str(device))
    warnings = [*scan.notes, *check_modality(scan, model, settings.force, settings.method)]
    if mask is None and (method.masked or settings.gate is not None):
        warnings += check_saliency_modality(scan, load_model(CLASSIFIER, str(device)), settings.force)
    warnings = list(dict.fromkeys(warnings))  # both models may say the same
    lesion_rule(settings, model.card)  # refuses before anything is computed

    kept = prepared_for(scan, prepared)
    memory = kept.trajectories if prepared or view_slice is not None else None  # else nobody will ask again
    stack, brain_origin = kept.stack_for(model.card, brain, device, tell)
    finder_stack = stack if not is_conditioned(model.card) else _finder_stack(kept, brain, device)
    wanted = chosen_slices(settings.slices, len(stack), stack.brain)
    viewed = None if view_slice is None else stored_index(view_slice, stack.placement)
    road = _Road(
        scan, settings, device, model, method, kept, stack, finder_stack, wanted, viewed, memory, tell
    )  # fmt: skip
    whole, _ = kept.brain(brain, device)
    found, region, said = road.find(mask, whole)
    seen, unlike = check_distribution(stack, whole, model.card, scan.modality, found.probability)
    warnings += [*said, *unlike]
    within = road.within(mask)
    shown = with_planes(scan, stack, region, tell, within)
    healed, reconstruction, ran = heal_slices(stack, region, model, settings, device, shown, viewed, memory)
    maps = _maps(road, region, healed, reconstruction, ran)
    carried = Carried(scan, stack, healed[0], region, settings.seed, tell, within)
    result = _result(road, found, region, healed, maps, carried)
    given = {"brain": brain_origin, "mask": mask, "seen": seen, "warnings": warnings, "started": started}
    _record(road, result, found, maps, ran, carried, given)
    carried.finished()
    return result


def _result(
    road: _Road, found: Found, region: np.ndarray, healed: np.ndarray, maps: _Maps, carried: Carried
) -> HealResult:
    """All maps on the scan's grid."""
    stack, several = road.stack, len(healed) > 1
    given = found.origin == "drawn" or not road.method.masked
    saliency = map_to_scan(found.maps, (stack if given else road.finder_stack).placement)
    on_grid = found.maps
    if on_grid.shape != stack.images.shape:
        on_grid = stack.placement.down(stack.placement.to_axial(saliency))
    return HealResult(
        counterfactual=carried.voxels,
        anomaly=carried.native(maps.anomaly),
        lesion=carried.native(maps.lesion) > 0.5,
        mask=carried.region(region),
        edited=carried.edited,
        saliency=saliency,
        deviation=carried.native(healed.std(0)) if several else None,
        agreement=carried.native(maps.agreement) if several else None,
        stack=stack,
        on_grid={
            "healed": healed[0], "anomaly": maps.anomaly, "lesion": maps.lesion, "mask": region, "saliency": on_grid,
        },
        slices=_slice_table(road.wanted, found, region, maps.lesion, stack.placement.model_pitch**2),
        provenance={},
        scan=road.scan,
    )  # fmt: skip


def _record(
    road: _Road, result: HealResult, found: Found, maps: _Maps, ran: RunStats, carried: Carried, facts: dict[str, Any]
) -> None:
    """The provenance of a result, and its warnings, written into it."""
    stack, settings, mask = road.stack, road.settings, facts["mask"]
    rule = lesion_rule(settings, road.model.card)
    pixel_ml = stack.placement.model_pitch**2 * stack.placement.thickness / 1000
    result.warnings = facts["warnings"]
    result.provenance = record(
        road.scan,
        task="heal",
        settings=replace(settings, model=road.model.name),
        method={"name": settings.method, "settings": ran.options},
        mask={"origin": found.origin, "voxels": None if mask is None else int(mask.sum())},
        brain={"origin": facts["brain"], "volume_ml": round(float(stack.brain.sum() * pixel_ml), 1)},
        distribution=facts["seen"],
        models=[model_facts(card) for card in (*ran.cards, *found.cards)],
        device=str(road.device),
        precision="bf16" if ran.bf16 else "fp32",
        network_calls={"batched": ran.calls, "per_slice": ran.slice_calls, "slices_healed": carried.slices},
        **carried.facts(result.mask, mask),
        anomaly={"variant": rule.variant, "threshold": rule.threshold},
        lesion_ml=round(float(maps.lesion.sum() * pixel_ml), 3),
        seconds=round(time.perf_counter() - facts["started"], 2),
        warnings=result.warnings,
        slices=result.slices,
    )


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
    stack = _finder_stack(kept, brain, device)
    if not is_conditioned(model.card):
        stack, _ = kept.stack_for(model.card, brain, device, tell)
    wanted = chosen_slices(settings.slices, len(stack), stack.brain)
    found = kept.saliency(stack, settings, wanted, device, tell)
    marked = mask_of_saliency(found, stack, settings, model.card) & wanted[:, None, None]
    return map_to_scan(marked.astype(np.float32), stack.placement) > 0.5


def _heal_undone(
    scan: Scan, settings: HealSettings, mask: np.ndarray | None, brain: np.ndarray | None, on_event: OnEvent | None,
    view_slice: int | None, prepared: ScanCache | None,
) -> HealResult:  # fmt: skip
    """Take back what the lesion displaced, then heal what is left of it.

    The counterfactual shows the anatomy where it was; mask, maps and lesion are carried back to where the scan has
    them, so that they fit over the scan.
    """
    tell = on_event or (lambda event: None)
    started = time.perf_counter()
    device = choose_device(settings.device)
    kept = prepared_for(scan, prepared)
    whole, origin = kept.brain(brain, device, tell)
    lesion = mask if mask is not None else _lesion_found(kept, settings, brain, device, tell)
    plain = replace(settings, undo_mass_effect=0.0)
    if not (lesion & whole).any():
        return heal_scan(
            scan, plain, mask=mask, brain=brain, on_event=on_event, view_slice=view_slice, prepared=prepared
        )

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
    healed = heal_scan(moved, plain, mask=left, brain=whole, on_event=on_event, view_slice=view_slice)

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


def prepare_scan(
    scan: Scan,
    settings: HealSettings,
    prepared: ScanCache,
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
    prepared: ScanCache | None = None,
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
