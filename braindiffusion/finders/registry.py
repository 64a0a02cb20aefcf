"""Saliency methods by name, and the classifier gate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn

from braindiffusion.errors import SettingsError
from braindiffusion.finders.acat import STEPS, acat
from braindiffusion.finders.gradcam import grad_cam
from braindiffusion.finders.gradient import gradient
from braindiffusion.finders.integrated import STEPS as PATH_STEPS
from braindiffusion.finders.integrated import integrated_gradients
from braindiffusion.finders.latent_shift import IMAGES, latent_shift
from braindiffusion.finders.segmenter import SEGMENTERS
from braindiffusion.models.device import in_batches


@dataclass(frozen=True)
class SaliencyModels:
    """The networks a saliency method may use, in eval mode on one device."""

    autoencoder: nn.Module
    classifier: nn.Module


OnShare = Callable[[float], None]
"""Told the share of a batch that is done, often; may raise to cancel."""

Method = Callable[..., Tensor]


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


METHODS: dict[str, Method] = {
    "acat": _acat,
    "latent_shift": _latent_shift,
    "gradient": _gradient,
    "integrated": _integrated,
    "gradcam": _gradcam,
}
"""(N,1,H,W) slices in [0,1], models, on_share -> (N,1,H,W) saliency in [0,1]. One file and one line per method."""

SALIENCIES = (*METHODS, *SEGMENTERS)
"""All that a mask can come from, for menus: those that ask the classifier, and the segmenters."""


def lesion_probability(x: Tensor, classifier: nn.Module, batch: int = 32) -> np.ndarray:
    """(N,) probability that a slice shows a lesion."""
    with torch.no_grad():
        return torch.cat([classifier(part).float().softmax(1)[:, 1] for part in x.split(batch)]).cpu().numpy()


def judged_lesion(probability: np.ndarray, high: float, low: float) -> np.ndarray:
    """(S,) bool: slices judged to show a lesion.

    A slice passes at ``high``, and so does a run of neighbours at ``low`` that reaches one: a lesion tapers off over
    slices. NaN never passes.
    """
    p = np.nan_to_num(probability, nan=-1.0)
    runs, _ = ndimage.label(p >= min(low, high))
    return np.isin(runs, np.unique(runs[p >= high])) & (runs > 0)


def saliency_of(
    x: Tensor,
    method: str,
    models: SaliencyModels,
    wanted: np.ndarray,
    batch: int = 8,
    on_batch: Callable[[int, int], None] | None = None,
    on_share: OnShare | None = None,
) -> np.ndarray:
    """Saliency of the slices where ``wanted`` (N,), zero elsewhere.

    Args:
        on_batch: called with (slices done, slices wanted) before each batch and at the end; may raise to cancel.
        on_share: called within a batch, with the share of all wanted slices that is done; may raise to cancel.

    Returns:
        (N,H,W) float32 in [0,1].
    """
    if method not in METHODS:
        known = ", ".join(SALIENCIES)
        raise SettingsError(f"There is no saliency method '{method}'.", f"Known: {known}.", "Choose one of them.")
    out = np.zeros((len(x), *x.shape[2:]), np.float32)
    rows = np.nonzero(wanted)[0]

    def run(part: np.ndarray, finished: int) -> None:
        if on_batch:
            on_batch(finished, len(rows))

        def within(share: float) -> None:
            if on_share:
                on_share((finished + share * len(part)) / len(rows))

        out[part] = METHODS[method](x[part], models, within)[:, 0].float().cpu().numpy()

    in_batches(rows, batch, run)
    if on_batch and len(rows):
        on_batch(len(rows), len(rows))
    return out
