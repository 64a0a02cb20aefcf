"""The road of a scan through healing: scan -> slices -> saliency -> mask -> healer -> difference -> scan."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from braindiffusion.events import Event, OnEvent
from braindiffusion.finders.contract import Found
from braindiffusion.finders.gate import CLASSIFIER
from braindiffusion.finders.given import drawn, mostly_brain, whole_brain, within_drawn
from braindiffusion.healing.models import RunStats, is_conditioned, main_model
from braindiffusion.healing.registry import Method, method_named
from braindiffusion.healing.run import heal_slices
from braindiffusion.healing.trajectories import Trajectories
from braindiffusion.lesions.mass_effect import MassEffect
from braindiffusion.models.device import choose_device
from braindiffusion.models.registry import LoadedModel, load_model
from braindiffusion.pipeline.carry import Carried
from braindiffusion.pipeline.mass_effect import heal_undone
from braindiffusion.pipeline.out_of_distribution import check_distribution
from braindiffusion.pipeline.preview import stored_index, with_planes
from braindiffusion.pipeline.provenance import model_facts, record
from braindiffusion.pipeline.result import Exports, Result
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
from braindiffusion.volume.scan import Scan
from braindiffusion.volume.slices import SliceStack, chosen_slices, map_to_scan, mask_to_slices

if TYPE_CHECKING:
    pass

Rows = list[dict[str, Any]]


@dataclass
class HealResult(Result):
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

    def _exports(self) -> Exports:
        from braindiffusion.export.pictures import overview
        from braindiffusion.export.results import write_result

        return write_result, overview


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
        return heal_undone(heal_scan, scan, settings, mask, brain, on_event, view_slice, prepared)
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
    finder_stack = stack if not is_conditioned(model.card) else kept.classifier_stack(brain, device)
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
