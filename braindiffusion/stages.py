"""The stages a scan goes through on its way to healing, each a function: brain, saliency, mask, healer.

Settings and progress events are defined here; :mod:`braindiffusion.heal` strings the stages together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from braindiffusion.brain import Origin, check_is_brain, find_brain
from braindiffusion.device import in_batches, precision_for
from braindiffusion.diffusion.network import EpsPredictor
from braindiffusion.diffusion.schedule import Schedule
from braindiffusion.errors import ModalityError, SettingsError, SliceRangeError
from braindiffusion.healing.dif_fuse import Step
from braindiffusion.healing.registry import METHODS
from braindiffusion.masks import KERNEL_SIGMA, Order, Over, dilate, grown_mask, percentile_mask
from braindiffusion.models.registry import LoadedModel, load_model
from braindiffusion.saliency.registry import SaliencyModels, judged_lesion, lesion_probability, saliency_of
from braindiffusion.scan import Scan
from braindiffusion.slices import SliceStack, centred, to_slices


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
    steps: int | None = 10
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
    scan: Scan, size: int, brain: np.ndarray | None, device: str, scaling: str | None = None, check: bool = True
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
    return to_slices(scan, found, size, scaling or "brain_median"), origin


def find_saliency(
    stack: SliceStack, settings: HealSettings, wanted: np.ndarray, device: torch.device, on_event: OnEvent | None = None
) -> tuple[Saliency, list[dict[str, Any]]]:
    """Classifier gate, then saliency of the slices that pass it; with the cards of the networks used."""
    classifier = load_model("flair-acat-classifier", str(device))
    autoencoder = load_model("flair-acat-autoencoder", str(device))
    gate = classifier.card.get("gate", {"high": 0.5, "low": 0.5})
    high, low = (settings.gate, settings.gate) if settings.gate is not None else (gate["high"], gate["low"])
    window = window_of(stack.brain, classifier.card.get("crop"))
    x = torch.from_numpy(stack.images[window])[:, None].to(device)
    probability = np.full(len(stack), np.nan)
    if wanted.any():
        probability[wanted] = lesion_probability(x[wanted], classifier.network)
    judged = judged_lesion(probability, high, low)

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


@dataclass(frozen=True)
class LesionRule:
    """How a difference becomes a lesion: variant of the anomaly map, threshold in model units, least area."""

    variant: str
    threshold: float
    least_mm2: float


def lesion_rule(settings: HealSettings, card: dict[str, Any]) -> LesionRule:
    """The settings' own values, else those tuned on validation data and kept in the model's card."""
    tuned = card.get("operating_point", {})
    return LesionRule(
        settings.anomaly or tuned.get("anomaly", "ours"),
        settings.threshold if settings.threshold is not None else float(tuned.get("threshold", 0.1)),
        float(tuned.get("least_mm2", 0.0)),
    )


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
