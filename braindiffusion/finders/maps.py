"""Saliency maps that ask the classifier, and the finder that each of them is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from braindiffusion.errors import SettingsError
from braindiffusion.events import Event, OnEvent
from braindiffusion.finders.acat import STEPS, acat
from braindiffusion.finders.contract import Found
from braindiffusion.finders.gate import CLASSIFIER, judge_slices
from braindiffusion.finders.gradcam import grad_cam
from braindiffusion.finders.gradient import gradient
from braindiffusion.finders.integrated import STEPS as PATH_STEPS
from braindiffusion.finders.integrated import integrated_gradients
from braindiffusion.finders.latent_shift import IMAGES, latent_shift
from braindiffusion.models.device import in_batches
from braindiffusion.models.registry import load_model
from braindiffusion.settings import HealSettings
from braindiffusion.volume.slices import SliceStack, window_of

AUTOENCODER = "flair-acat-autoencoder"
LOOK_BATCH = 8
"""Slices whose saliency is sought together."""


@dataclass(frozen=True)
class SaliencyModels:
    """The networks a saliency method may use, in eval mode on one device."""

    autoencoder: nn.Module
    classifier: nn.Module


OnShare = Callable[[float], None]
"""Told the share of a batch that is done, often; may raise to cancel."""

Map = Callable[..., Tensor]
"""``(x, models, on_share) -> saliency``: (N,1,H,W) slices in [0,1] -> (N,1,H,W) in [0,1]."""


def _acat(x: Tensor, models: SaliencyModels, on_share: OnShare | None = None) -> Tensor:
    tell = None if on_share is None else lambda step: on_share(step / (2 * STEPS))
    return acat(x, models.autoencoder, models.classifier, on_step=tell)  # type: ignore[arg-type]


def _gradient(x: Tensor, models: SaliencyModels, on_share: OnShare | None = None) -> Tensor:
    return gradient(x, models.classifier)


def _latent_shift(x: Tensor, models: SaliencyModels, on_share: OnShare | None = None) -> Tensor:
    tell = None if on_share is None else lambda step: on_share(step / IMAGES)
    return latent_shift(x, models.autoencoder, models.classifier, tell)  # type: ignore[arg-type]


def _integrated(x: Tensor, models: SaliencyModels, on_share: OnShare | None = None) -> Tensor:
    tell = None if on_share is None else lambda step: on_share(step / PATH_STEPS)
    return integrated_gradients(x, models.classifier, on_step=tell)


def _gradcam(x: Tensor, models: SaliencyModels, on_share: OnShare | None = None) -> Tensor:
    return grad_cam(x, models.classifier)  # type: ignore[arg-type]


MAPS: dict[str, Map] = {
    "acat": _acat,
    "latent_shift": _latent_shift,
    "gradient": _gradient,
    "integrated": _integrated,
    "gradcam": _gradcam,
}
"""One file and one line per map; :func:`braindiffusion.finders.registry.finder` adds others."""


def saliency_of(
    x: Tensor,
    method: str,
    models: SaliencyModels,
    wanted: np.ndarray,
    batch: int = 8,
    on_share: OnShare | None = None,
) -> np.ndarray:
    """Saliency of the slices where ``wanted`` (N,), zero elsewhere.

    Args:
        on_share: called within and after each batch with the share of all wanted slices that is done; may raise to
            cancel.

    Returns:
        (N,H,W) float32 in [0,1].
    """
    if method not in MAPS:
        raise SettingsError(f"There is no saliency method '{method}'.", f"Known: {', '.join(MAPS)}.", "Choose one.")
    out = np.zeros((len(x), *x.shape[2:]), np.float32)
    rows = np.nonzero(wanted)[0]

    def run(part: np.ndarray, finished: int) -> None:
        def within(share: float) -> None:
            if on_share:
                on_share((finished + share * len(part)) / len(rows))

        out[part] = MAPS[method](x[part], models, within)[:, 0].float().cpu().numpy()
        within(1.0)

    in_batches(rows, batch, run)
    return out


def find_by_map(
    stack: SliceStack,
    settings: HealSettings,
    wanted: np.ndarray,
    device: torch.device,
    on_event: OnEvent | None = None,
    only: int | None = None,
) -> Found:
    """Classifier gate, then saliency of what passes; see :class:`~braindiffusion.finders.contract.Finder`."""
    classifier = load_model(CLASSIFIER, str(device))
    autoencoder = load_model(AUTOENCODER, str(device))
    window = window_of(stack.brain, classifier.card.get("crop"))
    x = torch.from_numpy(stack.images[window])[:, None].to(device)
    probability, judged = judge_slices(stack, settings, wanted, device)
    if only is not None:
        judged = judged & (np.arange(len(stack)) == only)
    work = 100 * int(judged.sum())  # in hundredths of a slice

    def on_share(share: float) -> None:
        if on_event:
            on_event(Event("saliency", round(share * work), work))

    on_share(0.0)
    maps = np.zeros_like(stack.images)
    models = SaliencyModels(autoencoder.network, classifier.network)
    batch = min(settings.batch or LOOK_BATCH, LOOK_BATCH)
    maps[window] = saliency_of(x, settings.saliency, models, judged, batch, on_share=on_share)
    on_share(1.0)
    cards = [classifier.card, autoencoder.card]
    return Found(maps * stack.brain, probability, judged, cards=cards, origin=settings.saliency)
