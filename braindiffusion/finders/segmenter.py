"""Find the lesion: a small segmenter's probability in place of a saliency map, and a word on slices it is not sure of.

``segmenter`` learned from masks that nobody drew (see :mod:`braindiffusion.training.pseudo_labels`); ``supervised``
learned from drawn ones and is the ceiling that weak labels are measured against.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from braindiffusion.volume.masks import drop_small

SEGMENTERS = {"segmenter": "weak-segmenter-flair", "supervised": "lesion-segmenter-flair"}
"""Kinds of saliency that are a segmenter's, and its model."""
THRESHOLD, LEAST_MM2 = 0.5, 50.0
"""Where the model's card has no operating point."""


@torch.no_grad()
def lesion_probabilities(x: Tensor, network: nn.Module, batch: int = 16) -> Tensor:
    """(N,1,H,W) in [0,1] -> (N,C,H,W) probability of a lesion by each output: mean over a slice and its mirror image.

    Left and right are the last axis. Two looks cost two network calls; on val the mean is worth 0.01 lesion Dice.
    """

    def look(part: Tensor) -> Tensor:
        return torch.sigmoid(network(part).float())

    return torch.cat([(look(part) + look(part.flip(-1)).flip(-1)) / 2 for part in x.split(batch)])


def lesion_probability_map(x: Tensor, network: nn.Module, batch: int = 16) -> Tensor:
    """(N,1,H,W) in [0,1] -> (N,1,H,W) probability of a lesion: the greatest over the outputs (kinds of lesion)."""
    return lesion_probabilities(x, network, batch).amax(1, keepdim=True)


def segmented(probability: np.ndarray, brain: np.ndarray, card: Mapping[str, Any], pitch_mm: float) -> np.ndarray:
    """(S,H,W) bool: probability above the card's threshold, inside the brain, without specks."""
    tuned = card.get("operating_point", {})
    found = (probability > float(tuned.get("threshold", THRESHOLD))) & brain
    return drop_small(found, float(tuned.get("least_mm2", LEAST_MM2)), pitch_mm)


def in_doubt(found: np.ndarray, judged_lesion: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """(S,) bool: slices on which segmenter and classifier contradict each other.

    Args:
        found: (S,H,W) bool, by the segmenter; judged_lesion: (S,) bool, by the classifier; wanted: (S,) bool.
    """
    return wanted & (found.any((1, 2)) != judged_lesion)


def told_in_doubt(doubt: np.ndarray) -> list[str]:
    """A sentence for the user on the slices in doubt; none where there are none."""
    rows = np.nonzero(doubt)[0]
    if not len(rows):
        return []
    runs = np.split(rows, np.nonzero(np.diff(rows) > 1)[0] + 1)
    names = ", ".join(str(r[0]) if len(r) == 1 else f"{r[0]}-{r[-1]}" for r in runs)
    return [
        f"Segmenter and classifier contradict each other on {len(rows)} slices ({names}): nothing was marked there. "
        "Look at them, and draw a mask where there is a lesion."
    ]
