"""ROC curves of confidence ratings, without a model: points, area, and the area with each case left out."""

from __future__ import annotations

import math

import numpy as np


def placements(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """(P,N) 1 where a positive case was rated higher than a negative one, 1/2 where equal, else 0."""
    difference = np.subtract.outer(np.asarray(positive, float), np.asarray(negative, float))
    return np.asarray((np.sign(difference) + 1) / 2)


def area(positive: np.ndarray, negative: np.ndarray) -> float:
    """Area under the empirical ROC curve (Bamber 1975): the mean of the placements; NaN where a side is empty."""
    return float(placements(positive, negative).mean()) if len(positive) and len(negative) else math.nan


def area_without(
    positive: np.ndarray, negative: np.ndarray, of_positive: np.ndarray, of_negative: np.ndarray, count: int
) -> np.ndarray:
    """(count,) the area with all cases of each subject left out in turn.

    Jackknifed within the positive and within the negative cases, one a subject, these give the covariances of DeLong,
    DeLong and Clarke-Pearson (1988), Biometrics 44:837-845.

    Args:
        of_positive, of_negative: subject of each case, 0 .. count - 1. No subject has all cases of a side.
    """
    placed = placements(positive, negative)
    lost = np.bincount(of_positive, placed.sum(1), count) + np.bincount(of_negative, placed.sum(0), count)
    same = of_positive[:, None] == of_negative[None, :]
    lost -= np.bincount(of_positive, (placed * same).sum(1), count)  # counted from either side
    left = (len(positive) - np.bincount(of_positive, minlength=count)) * (
        len(negative) - np.bincount(of_negative, minlength=count)
    )
    return np.asarray((placed.sum() - lost) / left)


def curve(positive: np.ndarray, negative: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive fractions, from (0,0) to (1,1), one point for each rating given."""
    cuts = np.unique(np.concatenate([positive, negative]))[::-1]
    false = [0.0, *(float((np.asarray(negative) >= c).mean()) for c in cuts)]
    true = [0.0, *(float((np.asarray(positive) >= c).mean()) for c in cuts)]
    return np.array(false), np.array(true)
