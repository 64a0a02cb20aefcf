"""Saliency methods by name, and the classifier gate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn

from braindiffusion.errors import SettingsError
from braindiffusion.saliency.acat import acat
from braindiffusion.saliency.gradient import gradient


@dataclass(frozen=True)
class SaliencyModels:
    """The networks a saliency method may use, in eval mode on one device."""

    autoencoder: nn.Module
    classifier: nn.Module


Method = Callable[[Tensor, SaliencyModels], Tensor]

METHODS: dict[str, Method] = {
    "acat": lambda x, models: acat(x, models.autoencoder, models.classifier),  # type: ignore[arg-type]
    "gradient": lambda x, models: gradient(x, models.classifier),
}
"""(N,1,H,W) slices in [0,1] -> (N,1,H,W) saliency in [0,1]. One file and one line here per method."""


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
) -> np.ndarray:
    """Saliency of the slices where ``wanted`` (N,), zero elsewhere.

    Args:
        on_batch: called with (slices done, slices wanted) before each batch and at the end; may raise to cancel.

    Returns:
        (N,H,W) float32 in [0,1].
    """
    if method not in METHODS:
        raise SettingsError(
            f"There is no saliency method '{method}'.", f"Known: {', '.join(METHODS)}.", "Choose one of them."
        )
    out = np.zeros((len(x), *x.shape[2:]), np.float32)
    rows = np.nonzero(wanted)[0]
    for start in range(0, len(rows), batch):
        if on_batch:
            on_batch(start, len(rows))
        part = rows[start : start + batch]
        out[part] = METHODS[method](x[part], models)[:, 0].float().cpu().numpy()
    if on_batch and len(rows):
        on_batch(len(rows), len(rows))
    return out
