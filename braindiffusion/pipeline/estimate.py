"""What a run will need before it begins: memory, batch, device, seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from braindiffusion.cards import installed, read_card
from braindiffusion.diffusion.schedule import Schedule
from braindiffusion.finders.acat import STEPS, move_latent
from braindiffusion.healing.models import main_card
from braindiffusion.healing.registry import HEALTHY, method_named, operating_point
from braindiffusion.models.device import (
    FIXED_BYTES,
    HEAL_BYTES,
    SHARE,
    batch_for,
    choose_device,
    memory_of,
    precision_for,
)
from braindiffusion.models.registry import load_model
from braindiffusion.networks.build import EpsPredictor
from braindiffusion.settings import HealSettings

SALIENCY_BYTES = 3_600
"""As :data:`~braindiffusion.models.device.HEAL_BYTES`, for saliency: twice 1760."""
CALL_SECONDS = {"cpu": 0.03, "cuda": 0.002}
"""Of one call of the healthy denoiser on one slice, where it was not measured."""
BESIDE_HEALTHY = {"latent_denoiser": 0.35, "denoising_ae": 0.7, "context": 2.2}
"""A call's cost by the network's task, in calls of the healthy denoiser (the recipes' networks on one CPU thread)."""
SALIENCY_CALLS = {"acat": 2 * STEPS * 1.6, "gradient": 2.0}
"""Cost of a slice's saliency in denoiser calls, where it was not measured."""
OVERHEAD_SECONDS = 0.3

_measured: dict[tuple[str, str], float] = {}
"""(model or saliency method, kind of device) -> seconds of a denoiser call, or of a whole saliency, a slice."""


@dataclass(frozen=True)
class Estimate:
    """What a run will need.

    Attributes:
        memory_bytes: on the device, beyond what the program has loaded.
        device: where it will run.
        batch: for :class:`~braindiffusion.settings.HealSettings`.
        seconds: expected; with saliency at most, for only slices that the classifier flags are looked at.
        warning: a sentence for the user, or ``None``.
    """

    memory_bytes: int
    device: str
    batch: int
    seconds: float
    warning: str | None


def call_seconds(model: str, device: torch.device) -> float:
    """Seconds of one network call on one slice: measured, else the card's, else typical."""
    if (model, device.type) in _measured:
        return _measured[model, device.type]
    card = read_card(model)
    if device.type == "cpu" and "seconds_a_slice_cpu" in card:
        return float(card["seconds_a_slice_cpu"]) / method_named("dif_fuse").options(HealSettings()).calls()
    healthy = _measured.get((HEALTHY.recipe, device.type), CALL_SECONDS[device.type])
    return healthy * BESIDE_HEALTHY.get(str(card.get("task")), 1.0)


def calibrate(device: torch.device, model: str = HEALTHY.recipe) -> None:
    """Time a denoiser call and a step of saliency (about half a second on a CPU; it also warms the networks up)."""
    if model in installed():
        loaded = load_model(model, str(device))
        kind, precision = loaded.card.get("prediction", "eps"), precision_for("auto", device)
        predictor = EpsPredictor(loaded.network, Schedule(), prediction=kind, precision=precision)
        x = torch.zeros((2, 1, *_window(loaded.card)), device=device)
        _measured[model, device.type] = _timed(lambda: predictor(x, 100), device) / len(x)
    pair = ("flair-acat-autoencoder", "flair-acat-classifier")
    if all(name in installed() for name in pair):
        autoencoder, classifier = (load_model(name, str(device)).network for name in pair)
        with torch.no_grad():
            z = autoencoder.encode(torch.zeros((1, 1, *_window(read_card(pair[1]))), device=device))
        step = _timed(lambda: move_latent(z, autoencoder, classifier, 1, steps=1), device)
        _measured["acat", device.type] = step * (2 * STEPS + 6)  # decoding in float64 costs as much as some six steps


def _window(card: dict[str, Any]) -> tuple[int, int]:
    height, width = card.get("crop") or (card["grid"], card["grid"])
    return int(height), int(width)


def _timed(run: Callable[[], Any], device: torch.device) -> float:
    seconds = 0.0
    for _ in range(2):  # the first one plans and allocates
        started = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds = time.perf_counter() - started
    return seconds


def estimate(settings: HealSettings, slices: int, *, with_saliency: bool = False) -> Estimate:
    """What healing ``slices`` slices will need, and how it fits: a smaller batch first, then the CPU.

    Raises:
        DeviceError, SettingsError, ModelNotFoundError, ModelFormatError.
    """
    device, card = choose_device(settings.device), main_card(settings)
    with_saliency = with_saliency and method_named(settings.method).masked
    height, width = _window(card)

    def memory(batch: int) -> int:
        rows = max(settings.samples, min(batch, slices * settings.samples))
        looked_at = min(8, batch, slices) * SALIENCY_BYTES if with_saliency else 0
        return FIXED_BYTES + height * width * max(rows * HEAL_BYTES, looked_at)

    free = memory_of(device)[1]
    batch = batch_for(settings.batch, device, height * width, free)
    warning = None
    if device.type != "cpu" and free is not None:
        while batch > 1 and memory(batch) > SHARE * free:
            batch //= 2
        if memory(batch) > SHARE * free:
            device = torch.device("cpu")
            batch = batch_for(settings.batch, device, height * width, free)
            spoken = _spoken(_seconds(settings, card, slices, device, with_saliency))
            warning = (
                f"The GPU has {free / 1e9:.1f} GB free and at least {memory(1) / 1e9:.1f} GB are needed, "
                f"so the CPU does the work: about {spoken}."
            )
    seconds = _seconds(settings, card, slices, device, with_saliency)
    return Estimate(memory(batch), str(device), batch, seconds, warning)


def _seconds(
    settings: HealSettings, card: dict[str, Any], slices: int, device: torch.device, with_saliency: bool
) -> float:
    options = method_named(settings.method).options(settings, operating_point(card, settings.method))
    call = call_seconds(str(card["name"]), device)
    rows = (1 + settings.samples) / 2  # the way up is shared by all samples
    look = _measured.get((settings.saliency, device.type), SALIENCY_CALLS.get(settings.saliency, 1.0) * call)
    return round(OVERHEAD_SECONDS + slices * (options.calls() * rows * call + (look if with_saliency else 0.0)), 1)


def _spoken(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 90 else f"{seconds / 60:.0f} minutes"
