"""The classifier gate: which slices show a lesion."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn

from braindiffusion.models.registry import load_model
from braindiffusion.settings import HealSettings
from braindiffusion.volume.slices import SliceStack, window_of

CLASSIFIER = "flair-acat-classifier"
"""The classifier behind saliency and gate."""


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


def judge_slices(
    stack: SliceStack, settings: HealSettings, wanted: np.ndarray, device: torch.device
) -> tuple[np.ndarray, np.ndarray]:
    """The classifier gate: (S,) probability of a lesion, NaN where not ``wanted``, and (S,) bool, who passes."""
    classifier = load_model(CLASSIFIER, str(device))
    gate = classifier.card.get("gate", {"high": 0.5, "low": 0.5})
    high, low = (settings.gate, settings.gate) if settings.gate is not None else (gate["high"], gate["low"])
    probability = np.full(len(stack), np.nan)
    if wanted.any():
        window = window_of(stack.brain, classifier.card.get("crop"))
        x = torch.from_numpy(stack.images[window][wanted])[:, None].to(device)
        probability[wanted] = lesion_probability(x, classifier.network)
    return probability, judged_lesion(probability, high, low)
