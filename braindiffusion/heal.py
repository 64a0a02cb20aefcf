"""The road of a scan through healing: scan -> slices -> saliency -> mask -> healer -> difference -> scan."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from braindiffusion.anomaly import anomaly_map, lesion_map
from braindiffusion.brain import Origin, check_is_brain, find_brain
from braindiffusion.device import in_batches, precision_for
from braindiffusion.diffusion.network import EpsPredictor
from braindiffusion.diffusion.schedule import Schedule
from braindiffusion.errors import EmptyMaskError, ModalityError, SettingsError, SliceRangeError
from braindiffusion.healing.dif_fuse import Step
from braindiffusion.healing.registry import METHODS
from braindiffusion.masks import KERNEL_SIGMA, Order, Over, dilate, grown_mask, percentile_mask
from braindiffusion.models.registry import LoadedModel, load_model
from braindiffusion.provenance import model_facts, record
from braindiffusion.saliency.registry import SaliencyModels, lesion_probability, saliency_of
from braindiffusion.scan import Scan
from braindiffusion.slices import SliceStack, carry_back, centred, map_to_scan, mask_to_slices, to_slices


@dataclass(frozen=True)
class Event:
    """Progress of a run: stage, work done and total (in the stage's own unit), a preview where there is one.

    Attributes:
        stage: ``brain`` | ``saliency`` | ``heal`` | ``back``.
        slice_index: index, along the slice axis, of the previewed slice.
        preview: (H,W) current estimate of the clean slice, or ``None``.
    """

    stage: str
    done: int
    total: int
    slice_index: int | None = None
    preview: np.ndarray | None = None


DRAWN_MARGIN_MM = 2.0
"""A drawn mask is grown by this much: the rim of a lesion blurs into its surroundings."""

OnEvent = Callable[[Event], None]


@dataclass(frozen=True)
class HealSettings:
    """Everything that decides a healing, besides scan and mask.

    ``None`` takes the value tuned on validation data and kept in the model's card. ``mask_rule`` is ``percentile``
    (the paper) or ``grown`` (see :func:`~braindiffusion.masks.grown_mask`; the default where the card has a level).
    """

    method: str = "dif_fuse"
    model: str = "flair-healthy-128"
    saliency: str = "acat"
    fusion: str = "cached"
    noise_level: int = 500
    steps: int | None = 25
    index_mode: str = "ours"
    variance: str = "small"
    percentile: float | None = None
    mask_rule: str | None = None
    mask_order: Order = "paper"
    percentile_over: Over = "brain"
    margin_mm: float | None = None
    gate: float | None = None
    threshold: float | None = None
    anomaly: str | None = None
    samples: int = 1
    slices: tuple[int | None, int | None] | None = None
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    batch: int = 8
    force: bool = False


@dataclass
class Saliency:
    """Saliency of a scan on the model grid.

    Attributes:
        maps: (S,H,W) float32 in [0,1]; zero where the gate closed.
        probability: (S,) lesion probability of each slice (NaN outside the chosen slices).
        judged_lesion: (S,) bool, slices that passed the gate.
    """

    maps: np.ndarray
    probability: np.ndarray
    judged_lesion: np.ndarray


@dataclass
class HealResult:
    """A healed scan. Arrays on the scan's grid are (I,J,K); on the model grid (S,H,W).

    Attributes:
        counterfactual: the scan's dtype; bit-identical to the scan outside ``edited``.
        anomaly: float32, model units (0.45 is the median brain).
        lesion, mask, edited: bool.
        saliency: float32 in [0,1]; all zero when the mask was given.
        deviation: float32, standard deviation over samples, or ``None`` for one sample.
        agreement: float32 in [0,1], share of samples that call the voxel lesion, or ``None``.
        stack: the slices that went in; ``on_grid``: arrays on the model grid, for pictures.
        slices: one row per slice of the stack.
        provenance: how all this was made.
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
    warnings: list[str] = field(default_factory=list)


def check_modality(scan: Scan, model: LoadedModel, force: bool) -> list[str]:
    """Warnings about the scan's contrast; refuses a known mismatch unless forced.

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
            "Choose a scan or model of the same modality, or add --force to see what happens.",
        )
    return [
        f"This {scan.modality} scan was forced through a model trained on {', '.join(known)}: do not trust the result."
    ]


def chosen_slices(settings: HealSettings, count: int, brain: np.ndarray) -> np.ndarray:
    """(S,) bool: slices to work on, those of the range that hold enough brain (``a:b`` counts as stored from below).

    Raises:
        SliceRangeError: the range selects nothing.
    """
    wanted = np.zeros(count, bool)
    a, b = settings.slices or (None, None)
    wanted[slice(a, b)] = True
    if not wanted.any():
        raise SliceRangeError(
            f"Slices {a}:{b} select nothing.",
            f"The scan has {count} slices, 0 to {count - 1}.",
            "Give --slices a:b inside that range.",
        )
    return wanted & (brain.mean((1, 2)) >= 0.01)


def prepare(
    scan: Scan, size: int, brain: np.ndarray | None, device: str, scaling: str = "brain_median", check: bool = True
) -> tuple[SliceStack, Origin]:
    """Brain, placement and scaling of a scan.

    Args:
        check: refuse what cannot be a brain by its size (needs a real spacing, which a pack does not have).

    Raises:
        NotABrainError: there is none.
    """
    found, origin = find_brain(scan, brain, device)
    if check:
        check_is_brain(scan, found, origin)
    return to_slices(scan, found, size, scaling), origin


def find_saliency(
    stack: SliceStack, settings: HealSettings, wanted: np.ndarray, device: torch.device, on_event: OnEvent | None = None
) -> tuple[Saliency, list[dict[str, Any]]]:
    """Classifier gate, then saliency of the slices that pass it; with the cards of the networks used."""
    classifier = load_model("flair-acat-classifier", str(device))
    autoencoder = load_model("flair-acat-autoencoder", str(device))
    gate = settings.gate if settings.gate is not None else float(classifier.card.get("gate", 0.5))
    window = window_of(stack.brain, classifier.card.get("crop"))
    x = torch.from_numpy(stack.images[window])[:, None].to(device)
    probability = np.full(len(stack), np.nan)
    if wanted.any():
        probability[wanted] = lesion_probability(x[wanted], classifier.network)
    judged = np.nan_to_num(probability) >= gate

    def on_batch(done: int, total: int) -> None:
        if on_event:
            on_event(Event("saliency", done, total))

    maps = np.zeros_like(stack.images)
    maps[window] = saliency_of(
        x, settings.saliency, SaliencyModels(autoencoder.network, classifier.network), judged, on_batch=on_batch
    )
    return Saliency(maps * stack.brain, probability, judged), [classifier.card, autoencoder.card]


def window_of(brain: np.ndarray, crop: list[int] | None) -> tuple[slice, slice, slice]:
    """The part of the model grid a network works on: its training crop, or the whole grid when a brain does not fit."""
    whole = (slice(None), slice(None), slice(None))
    if not crop:
        return whole
    window = (slice(None), centred(brain.shape[1], crop[0]), centred(brain.shape[2], crop[1]))
    return window if brain[window].sum() == brain.sum() else whole


def mask_of_saliency(saliency: Saliency, stack: SliceStack, settings: HealSettings, card: dict[str, Any]) -> np.ndarray:
    """(S,H,W) bool: where the saliency passes its percentile, completed by ``mask_rule``, in the brain.

    Raises:
        SettingsError: ``grown`` with a model whose card has no grey level to grow at.
    """
    tuned = card.get("operating_point", {})
    rule = settings.mask_rule or ("grown" if "grow_level" in tuned else "percentile")
    own = tuned if rule == "grown" else {}  # tuned values belong to the tuned rule
    mask = percentile_mask(
        saliency.maps,
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


def heal_slices(
    stack: SliceStack,
    mask: np.ndarray,
    model: LoadedModel,
    settings: HealSettings,
    device: torch.device,
    on_event: OnEvent | None = None,
) -> tuple[np.ndarray, np.ndarray, EpsPredictor]:
    """Heal the slices whose mask is not empty.

    Args:
        mask: (S,H,W) bool.

    Returns:
        (samples,S,H,W) float32 counterfactuals in [0,1], (S,H,W) reconstruction, and the predictor with its counts.
    """
    if settings.method not in METHODS:
        raise SettingsError(
            f"There is no method '{settings.method}'.", f"Known: {', '.join(METHODS)}.", "Choose one of them."
        )
    healer, settings_type = METHODS[settings.method]
    options = settings_type(
        noise_level=settings.noise_level, steps=settings.steps, fusion=settings.fusion, samples=settings.samples,
        index_mode=settings.index_mode, variance=settings.variance,
    )  # fmt: skip
    schedule = Schedule()
    predictor = EpsPredictor(
        model.network,
        schedule,
        prediction=model.card.get("prediction", "eps"),
        precision=precision_for(settings.precision, device),
    )
    window = window_of(stack.brain, model.card.get("crop"))
    rows = np.nonzero(mask.any((1, 2)))[0]
    healed = np.repeat(stack.images[None], settings.samples, axis=0)
    reconstruction = stack.images.copy()
    calls_each = options.calls()

    def run(part: np.ndarray, finished: int) -> None:
        def on_step(step: Step) -> None:
            if on_event:
                done = finished * calls_each + step.done * len(part)
                preview = step.clean[len(part) // 2, 0].float().cpu().numpy() if step.done % 5 == 0 else None
                on_event(Event("heal", done, len(rows) * calls_each, int(part[len(part) // 2]), preview))

        # a fresh generator of the same seed for every batch: slices share their noise whatever the batching
        generator = torch.Generator().manual_seed(settings.seed)
        x0 = torch.from_numpy(stack.images[part][window])[:, None].to(device)
        m = torch.from_numpy(mask[part][window])[:, None].to(device)
        out = healer(x0, m, predictor, options, generator, schedule, on_step)
        inside = (
            torch.where(m[None], out.samples.clamp(0, 1), x0[None])
            if settings.fusion == "cached"
            else out.samples.clamp(0, 1)
        )
        brain = torch.from_numpy(stack.brain[part][window])[:, None].to(device)
        healed[:, part, window[1], window[2]] = (inside * brain)[:, :, 0].float().cpu().numpy()
        reconstruction[part, window[1], window[2]] = out.reconstruction[:, 0].float().cpu().numpy()

    in_batches(rows, max(1, settings.batch // settings.samples), run)
    return healed, reconstruction, predictor


def heal_scan(
    scan: Scan,
    settings: HealSettings | None = None,
    *,
    mask: np.ndarray | None = None,
    brain: np.ndarray | None = None,
    on_event: OnEvent | None = None,
) -> HealResult:
    """Heal a scan.

    Args:
        mask: (I,J,K) bool, drawn by the user; without it the mask comes from saliency.
        brain: (I,J,K) bool, the user's own brain mask.
        on_event: progress and previews; raising :class:`~braindiffusion.errors.Cancelled` from it stops the run.

    Raises:
        NotABrainError, ModalityError, EmptyMaskError, SliceRangeError, ModelNotFoundError, ModelCorruptError,
        DeviceError, MemoryExhaustedError, OutsideChangedError.
    """
    from braindiffusion.device import choose_device

    settings = settings or HealSettings()
    started = time.perf_counter()
    device = choose_device(settings.device)
    model = load_model(settings.model, str(device))
    warnings = check_modality(scan, model, settings.force)
    tuned = model.card.get("operating_point", {})
    if on_event:
        on_event(Event("brain", 0, 1))
    stack, brain_origin = prepare(
        scan, int(model.card["grid"]), brain, str(device), model.card.get("scaling", "brain_median")
    )
    wanted = chosen_slices(settings, len(stack), stack.brain)
    cards = [model.card]
    if mask is not None:
        drawn = mask_to_slices(mask, stack.placement)
        on_brain = (
            dilate(
                drawn,
                DRAWN_MARGIN_MM if settings.margin_mm is None else settings.margin_mm,
                stack.placement.model_pitch,
            )
            & stack.brain
        )
        saliency = Saliency(np.zeros_like(stack.images), np.full(len(stack), np.nan), wanted)
        if not (drawn & stack.brain)[wanted].any():
            raise EmptyMaskError(
                "The mask selects nothing that could be healed.",
                "It lies outside the brain, or outside the chosen slices.",
                "Draw it inside the brain, or give a brain mask with --brain.",
            )
        mask_origin = "drawn"
    else:
        saliency, used = find_saliency(stack, settings, wanted, device, on_event)
        cards += used
        on_brain = mask_of_saliency(saliency, stack, settings, model.card)
        mask_origin = settings.saliency
    on_brain &= wanted[:, None, None]
    healed, reconstruction, predictor = heal_slices(stack, on_brain, model, settings, device, on_event)
    if on_event:
        on_event(Event("back", 0, 1))

    mean = healed.mean(0)
    threshold = settings.threshold if settings.threshold is not None else float(tuned.get("threshold", 0.1))
    pitch = stack.placement.model_pitch

    variant = settings.anomaly or tuned.get("anomaly", "ours")

    def lesion_of(sample: np.ndarray) -> np.ndarray:
        a = anomaly_map(stack.images, sample, variant, reconstruction=reconstruction)
        return lesion_map(a, on_brain, threshold, pitch, least_mm2=float(tuned.get("least_mm2", 0.0)))

    anomaly = anomaly_map(stack.images, mean, variant, reconstruction=reconstruction) * on_brain
    lesion = lesion_of(mean)
    agreement = np.mean([lesion_of(h) for h in healed], axis=0).astype(np.float32) if settings.samples > 1 else None
    deviation = healed.std(0) if settings.samples > 1 else None
    # A mean of samples is smoother than any of them: what is shown is the first draw; the mean serves the maps.
    back = carry_back(scan, stack, healed[0], on_brain, settings.seed)
    p = stack.placement
    area = pitch**2
    table = [
        {
            "slice": int(s),
            "lesion_probability": None
            if np.isnan(saliency.probability[s])
            else round(float(saliency.probability[s]), 4),
            "mask_mm2": round(float(on_brain[s].sum() * area), 1),
            "lesion_mm2": round(float(lesion[s].sum() * area), 1),
        }
        for s in np.nonzero(wanted)[0]
    ]
    if not on_brain.any():
        warnings.append(
            "Every slice was judged healthy, so nothing was changed. Draw a mask, or lower the gate, to heal anyway."
        )
    # nearest, not linear: a mask's border on the native grid is where the model's pixel ends
    lesion_native = (map_to_scan(lesion.astype(np.float32), p) > 0.5) & back.edited
    facts = record(
        scan,
        task="heal",
        settings=settings,
        mask={"origin": mask_origin, "voxels": int(mask.sum()) if mask is not None else None},
        brain={"origin": brain_origin, "volume_ml": round(float(stack.brain.sum() * area * p.thickness / 1000), 1)},
        models=[model_facts(c) for c in cards],
        device=str(device),
        precision="bf16" if predictor.bf16 else "fp32",
        grid={"size": p.size, "pitch_mm": p.model_pitch, "intensity": stack.intensity, "placement": p},
        network_calls={
            "batched": predictor.calls,
            "per_slice": predictor.slice_calls,
            "slices_healed": int(on_brain.any((1, 2)).sum()),
        },
        check={"outside_identical": True, "edited_voxels": int(back.edited.sum()), "changed_voxels": back.changed},
        threshold=threshold,
        lesion_ml=round(float(lesion.sum() * area * p.thickness / 1000), 3),
        seconds=round(time.perf_counter() - started, 2),
        warnings=warnings,
        slices=table,
    )
    return HealResult(
        counterfactual=back.voxels,
        anomaly=map_to_scan(anomaly, p) * back.edited,
        lesion=lesion_native,
        mask=(map_to_scan(on_brain.astype(np.float32), p) > 0.5) & back.edited,
        edited=back.edited,
        saliency=map_to_scan(saliency.maps, p),
        deviation=None if deviation is None else map_to_scan(deviation, p) * back.edited,
        agreement=None if agreement is None else map_to_scan(agreement, p) * back.edited,
        stack=stack,
        on_grid={
            "healed": healed[0],
            "anomaly": anomaly,
            "lesion": lesion,
            "mask": on_brain,
            "saliency": saliency.maps,
        },
        slices=table,
        provenance=facts,
        warnings=warnings,
    )


@dataclass
class SaliencyResult:
    """Saliency of a scan on its own grid, with the slice table and provenance."""

    saliency: np.ndarray
    stack: SliceStack
    slices: list[dict[str, Any]]
    provenance: dict[str, Any]
    warnings: list[str]


def saliency_scan(
    scan: Scan, settings: HealSettings, *, brain: np.ndarray | None = None, on_event: OnEvent | None = None
) -> SaliencyResult:
    """Saliency map (I,J,K) float32 in [0,1] and the lesion probability of each slice; raises as :func:`heal_scan`."""
    from braindiffusion.device import choose_device

    device = choose_device(settings.device)
    classifier = load_model("flair-acat-classifier", str(device))
    warnings = check_modality(scan, classifier, settings.force)
    if on_event:
        on_event(Event("brain", 0, 1))
    stack, origin = prepare(scan, int(classifier.card["grid"]), brain, str(device))
    wanted = chosen_slices(settings, len(stack), stack.brain)
    found, cards = find_saliency(stack, settings, wanted, device, on_event)
    table = [
        {
            "slice": int(s),
            "lesion_probability": round(float(found.probability[s]), 4),
            "judged_lesion": bool(found.judged_lesion[s]),
        }
        for s in np.nonzero(wanted)[0]
    ]
    facts = record(
        scan, task="saliency", settings=settings, brain={"origin": origin}, models=[model_facts(c) for c in cards],
        device=str(device), warnings=warnings, slices=table,
    )  # fmt: skip
    return SaliencyResult(map_to_scan(found.maps, stack.placement), stack, table, facts, warnings)
