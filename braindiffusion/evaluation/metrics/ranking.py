"""How well a map ranks lesion pixels before healthy ones, whatever the threshold: AUPRC and the best possible Dice."""

from __future__ import annotations

import numpy as np

LEVELS = 4096
"""Values are sorted into so many steps of [0,1]; those outside it into the first and last."""


class Ranking:
    """Pixels of many slices, counted by value and class.

    All pixels of a slice count, also those where nothing can be found (value 0). Equal values are told apart by
    nothing, as in scikit-learn.
    """

    def __init__(self) -> None:
        self.lesion = np.zeros(LEVELS, np.int64)
        self.healthy = np.zeros(LEVELS, np.int64)

    def add(self, values: np.ndarray, drawn: np.ndarray) -> None:
        """Count pixels: ``values`` of any shape, ``drawn`` bool of the same."""
        step = np.clip(np.rint(values * (LEVELS - 1)), 0, LEVELS - 1).astype(np.int64)
        self.lesion += np.bincount(step[drawn], minlength=LEVELS)
        self.healthy += np.bincount(step[~drawn], minlength=LEVELS)

    def _above(self) -> tuple[np.ndarray, np.ndarray]:
        """True and false positives at each threshold, the highest first; thresholds without a pixel are left out."""
        used = (self.lesion + self.healthy)[::-1] > 0
        return np.cumsum(self.lesion[::-1])[used], np.cumsum(self.healthy[::-1])[used]

    @property
    def average_precision(self) -> float:
        """Area under the precision-recall curve: precisions times the steps of recall, summed; NaN if undefined."""
        tp, fp = self._above()
        if not len(tp) or not tp[-1]:
            return float("nan")
        return float((np.diff(tp, prepend=0) / tp[-1] * tp / (tp + fp)).sum())

    @property
    def best_dice(self) -> float:
        """Pooled Dice at the threshold that suits these very pixels best: a bound, no result; NaN if undefined."""
        tp, fp = self._above()
        if not len(tp) or not tp[-1]:
            return float("nan")
        return float((2 * tp / (tp + fp + tp[-1])).max())
