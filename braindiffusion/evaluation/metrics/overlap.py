"""Overlap of a predicted with a drawn lesion: definitions stated, the empty case never counted as a success.

A lesion slice is one with at least one drawn pixel. Lesion-only numbers are taken over lesion slices; a prediction of
nothing scores 0 there. On lesion-free slices overlap is undefined and false alarms are measured instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Counts:
    """Pixels of one slice: true and false positives, false negatives, true negatives."""

    tp: int
    fp: int
    fn: int
    tn: int

    @property
    def has_lesion(self) -> bool:
        """Whether anything was drawn."""
        return self.tp + self.fn > 0

    @property
    def dice(self) -> float:
        """Lesion Dice; NaN when both are empty."""
        both = 2 * self.tp + self.fp + self.fn
        return 2 * self.tp / both if both else float("nan")

    @property
    def iou(self) -> float:
        """Lesion intersection over union; NaN when both are empty."""
        union = self.tp + self.fp + self.fn
        return self.tp / union if union else float("nan")

    @property
    def two_class_dice(self) -> float:
        """Mean of lesion and background Dice (the reading under which the published table makes sense)."""
        both = 2 * self.tn + self.fp + self.fn
        return self._over_classes(self.dice, 2 * self.tn / both if both else float("nan"))

    @property
    def two_class_iou(self) -> float:
        """Mean of lesion and background intersection over union."""
        union = self.tn + self.fp + self.fn
        return self._over_classes(self.iou, self.tn / union if union else float("nan"))

    def _over_classes(self, lesion: float, background: float) -> float:
        return float(np.nanmean([lesion, background])) if self.tp + self.fp + self.fn else float("nan")


def count(predicted: np.ndarray, drawn: np.ndarray) -> Counts:
    """Counts of one slice, both (H,W) bool.

    Raises:
        ValueError: shapes differ.
    """
    if predicted.shape != drawn.shape:
        raise ValueError(f"shapes differ: {predicted.shape} and {drawn.shape}")
    tp = int((predicted & drawn).sum())
    fp, fn = int(predicted.sum()) - tp, int(drawn.sum()) - tp
    return Counts(tp, fp, fn, predicted.size - tp - fp - fn)


def pooled_dice(counts: list[Counts]) -> float:
    """Dice of all pixels of all slices together."""
    tp, fp, fn = (sum(getattr(c, k) for c in counts) for k in ("tp", "fp", "fn"))
    return 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else float("nan")


def patient_means(values: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """Mean per patient, then one number per patient; NaN slices are left out."""
    means = [
        np.nanmean(values[patients == p])
        for p in dict.fromkeys(patients.tolist())
        if np.isfinite(values[patients == p]).any()
    ]
    return np.array(means)


def bootstrap_interval(
    per_patient: np.ndarray, draws: int = 5000, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean over patients (slices of a patient are correlated)."""
    if len(per_patient) < 2:
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    means = per_patient[rng.integers(0, len(per_patient), (draws, len(per_patient)))].mean(1)
    low, high = np.percentile(means, [50 * (1 - level), 50 * (1 + level)])
    return float(low), float(high)


def interval_of(values: np.ndarray, patients: np.ndarray) -> dict[str, Any]:
    """Mean over patients of their means, with its 95 % bootstrap interval; NaN slices are left out."""
    means = patient_means(values, patients)
    return {
        "mean": float(means.mean()) if len(means) else float("nan"),
        "interval": list(bootstrap_interval(means)),
        "slices": int(np.isfinite(values).sum()), "patients": len(means),
    }  # fmt: skip


def standard_error(values: list[float]) -> float:
    """Of the mean of independent runs: sd (ddof 1) over the root of their number; NaN for one."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


def summary(counts: list[Counts], patients: np.ndarray, pixel_mm2: float) -> dict[str, float | list[float]]:
    """All overlap numbers of one method, each under its own name."""
    lesion = np.array([c.has_lesion for c in counts])
    of = [c for c in counts if c.has_lesion]
    free = [c for c in counts if not c.has_lesion]
    dice, iou = np.array([c.dice for c in of]), np.array([c.iou for c in of])
    per_patient = patient_means(dice, patients[lesion]) if of else np.array([])
    alarms = np.array([c.fp for c in free]) * pixel_mm2
    return {
        "lesion_slices": len(of),
        "lesion_free_slices": len(free),
        "patients": len(per_patient),
        "lesion_dice": float(per_patient.mean()) if of else float("nan"),
        "lesion_dice_interval": list(bootstrap_interval(per_patient)),
        "lesion_iou": float(patient_means(iou, patients[lesion]).mean()) if of else float("nan"),
        "lesion_dice_slice_mean": float(dice.mean()) if of else float("nan"),
        "lesion_iou_slice_mean": float(iou.mean()) if of else float("nan"),
        "two_class_dice": float(np.mean([c.two_class_dice for c in of])) if of else float("nan"),
        "two_class_iou": float(np.mean([c.two_class_iou for c in of])) if of else float("nan"),
        "pooled_dice": pooled_dice(of),
        "pooled_dice_all_slices": pooled_dice(counts),
        "false_alarm_mm2": float(alarms.mean()) if free else float("nan"),
        "false_alarm_share": float((alarms > 0).mean()) if free else float("nan"),
    }
