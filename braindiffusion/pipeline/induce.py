"""The road of a scan through induction: scan -> slices -> lesion and brain masks -> inducer -> difference -> scan."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from braindiffusion.diffusion.schedule import Schedule
from braindiffusion.diffusion.transfer import send
from braindiffusion.events import Event, OnEvent, step_teller
from braindiffusion.healing.models import is_conditioned
from braindiffusion.lesions.common import floor_for, generate_mask
from braindiffusion.lesions.disharmony import ring_contrast
from braindiffusion.lesions.effects import INSIDE, MOVED, OUTSIDE, VISIBLE, measure, two_colours
from braindiffusion.lesions.in_context import paint_in_context
from braindiffusion.lesions.mass_effect import AUTO_PERCENT, MassEffect, displace
from braindiffusion.lesions.models import Painter, choose_card, painter_for
from braindiffusion.lesions.placing import PlacedLesion, make_lesion, place_lesion, voxel_ml
from braindiffusion.lesions.registry import METHODS, options_of
from braindiffusion.lesions.shapes import Shape
from braindiffusion.models.device import choose_device, in_batches, precision_for
from braindiffusion.networks.build import EpsPredictor
from braindiffusion.pipeline.carry import Carried
from braindiffusion.pipeline.out_of_distribution import check_distribution
from braindiffusion.pipeline.preview import stored_index, with_planes
from braindiffusion.pipeline.provenance import model_facts, record
from braindiffusion.pipeline.result import Exports, Result
from braindiffusion.pipeline.scan_cache import ScanCache, prepared_for
from braindiffusion.settings import InduceSettings, ShapeSettings
from braindiffusion.volume.paste_back import check_outside
from braindiffusion.volume.scan import Scan
from braindiffusion.volume.slices import SliceStack, brain_intensity, same_slices, window_of

if TYPE_CHECKING:
    pass


@dataclass
class InduceResult(Result):
    """A scan with a lesion. Arrays on the scan's grid are (I,J,K); on the model grid (S,H,W).

    Attributes:
        diseased: the scan's dtype; bit-identical to the scan outside ``edited``.
        lesion: bool, the lesion inside the brain.
        generate_mask: bool, where the method was free to paint.
        difference: uint8, 1 visible change painted inside the lesion, 2 outside it, 3 moved by the mass effect.
        deviation: float32, model units, standard deviation over samples, or ``None`` for one sample.
        edited: bool; with a mass effect, also where something moved.
        effects: figures, see :mod:`braindiffusion.lesions.effects`.
        stack: the slices that went in; ``on_grid``: arrays on the model grid; ``samples`` there is (N,S,H,W).
        slices: one row per slice with lesion.
        provenance: how all this was made.
        scan: that the lesion was painted into.
        mass_effect: the scan as displaced before painting, and what moved; ``None`` where it is off.
        warnings: sentences for the user.
    """

    diseased: np.ndarray
    lesion: np.ndarray
    generate_mask: np.ndarray
    difference: np.ndarray
    deviation: np.ndarray | None
    edited: np.ndarray
    effects: dict[str, Any]
    stack: SliceStack
    on_grid: dict[str, np.ndarray]
    slices: list[dict[str, Any]]
    provenance: dict[str, Any]
    scan: Scan
    warnings: list[str] = field(default_factory=list)
    mass_effect: MassEffect | None = None

    def _exports(self) -> Exports:
        from braindiffusion.export.lesion_pictures import induction_overview
        from braindiffusion.export.results import write_induction

        return write_induction, induction_overview


def induce_slices(
    stack: SliceStack,
    told: np.ndarray,
    painter: Painter,
    options: Any,
    settings: InduceSettings,
    device: torch.device,
    on_event: OnEvent | None = None,
    view_slice: int | None = None,
    look_mm2: float | None = None,
) -> tuple[np.ndarray, np.ndarray, EpsPredictor]:
    """Paint the slices whose lesion is not empty.

    Args:
        told: (S,H,W) bool, the lesion as the network is told it.
        options: the method's own settings.
        view_slice: painted first and shown, its neighbours next. The result does not depend on it.
        look_mm2: see :class:`~braindiffusion.lesions.in_context.LesionConditions`.

    Returns:
        (samples,S,H,W) float32 in [0,1], (S,H,W) bool the generate mask, and the predictor with its counts.
    """
    if is_conditioned(painter.model.card):
        return paint_in_context(stack, told, painter, options, settings, device, on_event, look_mm2)
    card, precision = painter.model.card, precision_for(settings.precision, device)
    predictor = EpsPredictor(
        painter.model.network_in(precision), Schedule(), prediction=card.get("prediction", "eps"), precision=precision,
        label=painter.label, guidance=painter.guidance,
    )  # fmt: skip
    window = window_of(stack.brain, card.get("crop"))
    rows = np.nonzero(told.any((1, 2)))[0]
    if view_slice is not None:
        rows = rows[np.argsort(np.abs(rows - view_slice), kind="stable")]
    painted = np.repeat(stack.images[None], settings.samples, axis=0)
    generate = np.zeros(stack.brain.shape, bool)
    calls_each = options.calls()
    holds = settings.keep_outline and METHODS[settings.method].takes_floor

    def run(part: np.ndarray, finished: int) -> None:
        shown = 0 if view_slice is not None else len(part) // 2
        work = (finished * calls_each, len(rows) * calls_each)
        on_step = step_teller("induce", stack, window, part, shown, work, on_event)
        # a fresh generator of the same seed for every batch: slices share their noise whatever the batching
        generator = torch.Generator().manual_seed(settings.seed)
        x0, p, b = (send(v[part][window][:, None], device) for v in (stack.images, told, stack.brain))
        floor = {"floor": floor_for(x0, p, b, options, stack.placement.model_pitch)} if holds else {}
        out = METHODS[settings.method].run(x0, p, b, predictor, options, generator, None, on_step, **floor)
        new = torch.where(out.generate[None], out.samples.clamp(0, 1), x0[None])
        painted[:, part, window[1], window[2]] = new[:, :, 0].float().cpu().numpy()
        generate[part, window[1], window[2]] = out.generate[:, 0].cpu().numpy()

    in_batches(rows, max(1, settings.batch // settings.samples), run)
    return painted, generate, predictor


def _shown(stack: SliceStack, told: np.ndarray, options: Any) -> np.ndarray:
    """(S,H,W) bool, what previews show: the margin where the method has one, else the lesion."""
    lesion, brain = (torch.from_numpy(v)[:, None] for v in (told, stack.brain))
    return generate_mask(lesion, brain, getattr(options, "kernel", 1))[:, 0].numpy()


def _slice_table(stack: SliceStack, after: np.ndarray, lesion: np.ndarray, generate: np.ndarray) -> list[Any]:
    """One row per slice with lesion; areas in mm2."""
    pitch = stack.placement.model_pitch
    rows = np.nonzero(lesion.any((1, 2)))[0]
    contrast = ring_contrast(after[rows], lesion[rows], stack.brain[rows], pitch).values
    return [
        {
            "slice": int(s),
            "lesion_mm2": round(float(lesion[s].sum() * pitch**2), 1),
            "generate_mm2": round(float(generate[s].sum() * pitch**2), 1),
            "contrast": round(float(c), 4) if np.isfinite(c) else None,
        }
        for s, c in zip(rows, contrast, strict=True)
    ]


def _effects(
    scan: Scan, painter: Painter, placed: PlacedLesion, stack: SliceStack, after: np.ndarray, generate: np.ndarray,
    back: Carried,
) -> tuple[np.ndarray, dict[str, Any]]:  # fmt: skip
    """The two-colour difference (I,J,K) on the scan's grid, and figures of what changed in and around the lesion."""
    placement, ml = stack.placement, voxel_ml(scan)
    visible = back.native(two_colours(stack.images, after, placed.inside) > 0) > 0.5
    difference = np.where(visible, np.where(placed.native, INSIDE, OUTSIDE), 0).astype(np.uint8)
    figures = measure(
        stack.images, after, placed.inside, generate, stack.brain, placement.model_pitch, placement.thickness,
        scan.modality,
    )  # fmt: skip
    return difference, {
        "lesion_ml": round(float(placed.native.sum()) * ml, 3),
        **figures,
        # on the scan's grid, as the lesion: on the model's, the change inside could be larger than the lesion
        "changed_inside_ml": round(float((difference == INSIDE).sum()) * ml, 3),
        "changed_outside_ml": round(float((difference == OUTSIDE).sum()) * ml, 3),
        "real_contrast": (painter.model.card.get("contrast") or {}).get(painter.kind),
    }


def _with_moved(
    scan: Scan, brain: np.ndarray, back: Carried, effect: MassEffect | None, difference: np.ndarray,
    check: dict[str, Any],
) -> np.ndarray:  # fmt: skip
    """(I,J,K) bool, what was painted or moved; ``difference`` and ``check`` are told what moved.

    Raises:
        OutsideChangedError: something else changed.
    """
    edited = back.edited
    if effect is not None:
        edited = back.edited | effect.moved
        shift = np.abs(effect.voxels.astype(np.float32) - scan.voxels) * brain_intensity(scan.voxels, brain).gain
        difference[(difference == 0) & (shift >= VISIBLE)] = MOVED
    check |= {
        "edited_voxels": int(edited.sum()), "changed_voxels": check_outside(scan.voxels, back.voxels, edited),
        "moved_voxels": 0 if effect is None else int(effect.moved.sum()),
    }  # fmt: skip
    return edited


def induce_scan(
    scan: Scan,
    lesion: np.ndarray | ShapeSettings,
    settings: InduceSettings | None = None,
    *,
    brain: np.ndarray | None = None,
    on_event: OnEvent | None = None,
    view_slice: int | None = None,
    prepared: ScanCache | None = None,
    look_mm2: float | None = None,
) -> InduceResult:
    """Paint a lesion into a scan.

    Args:
        lesion: (I,J,K) bool, drawn by the user; or what to make.
        brain: (I,J,K) bool, the user's own brain mask.
        on_event: progress and previews; raising :class:`~braindiffusion.errors.Cancelled` from it stops the run.
        view_slice: index, along the scan's slice axis, of the slice to paint first.
        prepared: what earlier runs computed of this very ``scan``; it is added to.
        look_mm2: in a series, the area of the lesion's largest slice at full size: all shall look alike.

    Raises:
        NotABrainError, ModalityError, EmptyMaskError, LesionSizeError, SliceRangeError, SettingsError,
        ModelNotFoundError, ModelCorruptError, DeviceError, MemoryExhaustedError, OutsideChangedError.
    """
    settings = settings or InduceSettings()
    tell = on_event or (lambda event: None)
    started = time.perf_counter()
    device = choose_device(settings.device)
    painter, warnings = painter_for(scan, settings, str(device))
    card = painter.model.card

    kept = prepared_for(scan, prepared)
    whole, brain_origin = kept.brain(brain, device, tell)
    stack, _ = kept.stack_for(card, brain, device, tell)
    options = options_of(settings, stack.placement.model_pitch, painter.tuned)
    placed = place_lesion(scan, lesion, settings, whole, stack)
    seen, unlike = check_distribution(stack, whole, card, scan.modality)
    effect = _mass_effect(scan, whole, placed.native, lesion, settings, tell)
    target = scan if effect is None else replace(scan, voxels=effect.voxels)
    before = stack if effect is None else same_slices(stack, target, whole)
    warnings = [*scan.notes, *warnings, *placed.warnings, *unlike, *(effect.warnings if effect else ())]
    shown = with_planes(target, before, _shown(before, placed.told, options), tell)
    viewed = None if view_slice is None else stored_index(view_slice, stack.placement)
    painted, generate, predictor = induce_slices(
        before, placed.told, painter, options, settings, device, shown, viewed, look_mm2
    )

    after = painted[0]
    back = Carried(target, before, after, generate, settings.seed, tell)
    difference, effects = _effects(target, painter, placed, before, after, generate, back)
    effects["mass_effect"] = None if effect is None else effect.figures
    table, free = _slice_table(before, after, placed.inside, generate), back.region(generate)
    end = back.facts(free)
    edited = _with_moved(scan, whole, back, effect, difference, end["check"])
    facts = record(
        scan, task="induce", settings=settings,
        method={"name": settings.method, "kind": painter.kind, "guidance": painter.guidance, "options": options},
        lesion=placed.facts,
        brain={"origin": brain_origin, "volume_ml": round(float(whole.sum()) * voxel_ml(scan), 1)},
        distribution=seen,
        models=[model_facts(card)], device=str(device), precision="bf16" if predictor.bf16 else "fp32",
        network_calls={
            "batched": predictor.calls, "per_slice": predictor.slice_calls, "slices_painted": len(table),
        },
        **end, mass_effect=effects["mass_effect"], lesion_ml=effects["lesion_ml"],
        seconds=round(time.perf_counter() - started, 2), warnings=warnings, slices=table,
    )  # fmt: skip
    result = InduceResult(
        diseased=back.voxels, lesion=placed.native, generate_mask=free, difference=difference,
        deviation=back.native(painted.std(0)) if settings.samples > 1 else None,
        edited=edited, effects=effects, stack=stack,
        on_grid={
            "diseased": after, "samples": painted, "lesion": placed.inside, "told": placed.told, "mask": generate,
        },
        slices=table, provenance=facts, scan=scan, warnings=warnings, mass_effect=effect,
    )  # fmt: skip
    back.finished()
    return result


def _mass_effect(
    scan: Scan, brain: np.ndarray, native: np.ndarray, lesion: np.ndarray | ShapeSettings, settings: InduceSettings,
    tell: OnEvent,
) -> MassEffect | None:  # fmt: skip
    """What the lesion displaces before it is painted; ``None`` where the mass effect is off."""
    percent = settings.mass_effect
    if percent is None:
        percent = AUTO_PERCENT[lesion.kind if isinstance(lesion, ShapeSettings) else settings.kind]
    if percent == 0:
        return None
    tell(Event("displace", 0, 100))
    tone = brain_intensity(scan.voxels, brain)
    found = displace(
        scan, brain, tone, native, percent / 100, lambda done: tell(Event("displace", int(99 * done), 100))
    )
    tell(Event("displace", 100, 100))
    return found


def displace_scan(
    scan: Scan,
    lesion: np.ndarray | ShapeSettings,
    settings: InduceSettings,
    *,
    brain: np.ndarray | None = None,
    on_event: OnEvent | None = None,
    prepared: ScanCache | None = None,
) -> MassEffect | None:
    """What :func:`induce_scan` would displace before it paints: a preview without painting. ``None`` where it is off.

    Raises:
        NotABrainError, ModalityError, EmptyMaskError, LesionSizeError, SliceRangeError, ModelNotFoundError,
        DeviceError.
    """
    tell = on_event or (lambda event: None)
    device, card = choose_device(settings.device), choose_card(settings)
    kept = prepared_for(scan, prepared)
    whole, _ = kept.brain(brain, device, tell)
    stack, _ = kept.stack_for(card, brain, device, tell)
    placed = place_lesion(scan, lesion, settings, whole, stack)
    return _mass_effect(scan, whole, placed.native, lesion, settings, tell)


def shape_scan(
    scan: Scan,
    shape: ShapeSettings,
    settings: InduceSettings | None = None,
    *,
    brain: np.ndarray | None = None,
    on_event: OnEvent | None = None,
    prepared: ScanCache | None = None,
) -> Shape:
    """The lesion that :func:`induce_scan` would make of a shape and the settings' seed, before it is painted.

    Raises:
        NotABrainError, LesionSizeError, ModelNotFoundError, DeviceError.
    """
    settings = settings or InduceSettings()
    device = choose_device(settings.device)
    card = choose_card(settings)
    kept = prepared_for(scan, prepared)
    whole, _ = kept.brain(brain, device, on_event)
    stack, _ = kept.stack_for(card, brain, device, on_event)
    return make_lesion(scan, shape, settings.seed, whole, stack)
