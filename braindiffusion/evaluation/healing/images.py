"""What healing does to images: outside the lesion, to healthy slices, from slice to slice, to a second judge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from braindiffusion.cards import installed, read_card
from braindiffusion.evaluation.healing.data import Measured
from braindiffusion.evaluation.healing.runs import MethodOutput
from braindiffusion.evaluation.metrics.distribution import distances
from braindiffusion.evaluation.metrics.features import Features, classifier_features
from braindiffusion.evaluation.metrics.overlap import interval_of
from braindiffusion.finders.gate import lesion_probability
from braindiffusion.healing.autoddpm import structural_similarity
from braindiffusion.models.registry import LoadedModel, load_model
from braindiffusion.volume.masks import dilate
from braindiffusion.volume.slices import centred

OUTSIDE_MM = 5.0
"""What lies nearer to the drawn lesion does not count as outside: its rim blurs, and tissue is pushed aside."""
LEAST_MSE = 1e-10
"""An unchanged slice has a PSNR of 100 dB."""
LEAST_REAL_BRAIN = 0.03


def judge_card() -> dict[str, Any] | None:
    """The card of a classifier that neither saliency nor gate uses, if one is installed."""
    for name in sorted(installed()):
        card = read_card(name)
        if card.get("task") == "classifier" and str(card.get("purpose", "")).startswith("judge"):
            return card
    return None


def outside_lesion(
    before: np.ndarray, after: np.ndarray, brain: np.ndarray, drawn: np.ndarray, pitch_mm: float
) -> dict[str, np.ndarray]:
    """Per slice (n,) L1, PSNR (dB) and SSIM over the brain farther than ``OUTSIDE_MM`` from the lesion; NaN where none.

    Args:
        before, after: (n,H,W) in [0,1]; brain, drawn: (n,H,W) bool.
    """
    where = brain & ~dilate(drawn, OUTSIDE_MM, pitch_mm)
    x, y = (torch.from_numpy(np.ascontiguousarray(v, np.float32))[:, None] for v in (before, after))
    similar = structural_similarity(x, y)[:, 0].numpy()
    error = after.astype(np.float64) - before

    def mean(values: np.ndarray) -> np.ndarray:
        return np.array([v[w].mean() if w.any() else np.nan for v, w in zip(values, where, strict=True)])

    mse = mean(error**2)
    return {"l1": mean(np.abs(error)), "psnr": -10 * np.log10(np.maximum(mse, LEAST_MSE)), "ssim": mean(similar)}


def over_brain(values: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """(n,) mean of (n,H,W) over the brain; NaN where there is none."""
    return np.array([v[b].mean() if b.any() else np.nan for v, b in zip(values, brain, strict=True)])


def neighbours(data: Measured, healed: np.ndarray) -> np.ndarray:
    """(P,2) indices of slices that lie next to each other in one scan and were both healed."""
    order = np.lexsort((data.position, data.placed))
    first, second = order[:-1], order[1:]
    beside = (data.placed[first] == data.placed[second]) & (data.position[second] - data.position[first] == 1)
    both = beside & healed[first] & healed[second]
    return np.stack([first[both], second[both]], axis=1)


def flicker(change: np.ndarray, brain: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """(P,) how much of the change is not shared by the neighbour: ``mean |d_a - d_b| / mean (|d_a| + |d_b|)``.

    0: both slices were changed alike; 1: nothing in common (or the change of one alone). Over the brain of both; NaN
    where nothing was changed.

    Args:
        change: (N,H,W) healed less original.
    """
    out = np.full(len(pairs), np.nan)
    for n, (a, b) in enumerate(pairs):
        inside = brain[a] & brain[b]
        first, second = (change[i][inside].astype(np.float64) for i in (a, b))
        total = (np.abs(first) + np.abs(second)).sum()
        if total > 0:
            out[n] = np.abs(first - second).sum() / total
    return out


def seam(before: np.ndarray, after: np.ndarray, region: np.ndarray) -> np.ndarray:
    """(n,) jump across the border of the region, beyond what was there: mean over pairs of neighbouring pixels, one
    inside and one outside, of ``|h_i - h_j| - |x_i - x_j|``; NaN without a border."""
    total, count = np.zeros(len(before)), np.zeros(len(before))
    for axis in (1, 2):
        cross = np.diff(region.astype(np.int8), axis=axis) != 0
        excess = np.abs(np.diff(after, axis=axis)) - np.abs(np.diff(before, axis=axis))
        total += (excess * cross).sum((1, 2))
        count += cross.sum((1, 2))
    return np.divide(total, count, out=np.full(len(before), np.nan), where=count > 0)


@dataclass
class Judges:
    """The networks that look at healed images: features of the gate's classifier, and a second classifier.

    Attributes:
        judge: none of saliency, gate and guidance used it; ``None`` and ``why`` where there is none.
        real: (M,D) features of the split's lesion-free slices.
    """

    features: Features
    judge: LoadedModel | None
    why: str
    real: np.ndarray
    crop: tuple[slice, slice]

    def probability(self, images: np.ndarray) -> np.ndarray:
        """(n,) probability of a lesion by the second classifier."""
        assert self.judge is not None
        x = torch.from_numpy(np.ascontiguousarray(images[:, self.crop[0], self.crop[1]], np.float32))[:, None]
        return lesion_probability(x.to(self.judge.device), self.judge.network)

    def of(self, images: np.ndarray) -> np.ndarray:
        """(n,D) features."""
        return self.features.of(images[:, self.crop[0], self.crop[1]])


def judges_for(data: Measured, device: torch.device) -> Judges:
    """The judges of a split.

    Raises:
        ModelNotFoundError: there is no classifier.
    """
    features, card = classifier_features(device), judge_card()
    why = "" if card else "no classifier of purpose 'judge' is installed (recipe flair-judge-classifier)"
    rows, columns = read_card("flair-acat-classifier").get("crop") or data.images.shape[1:]
    crop = (centred(data.images.shape[1], rows), centred(data.images.shape[2], columns))
    judges = Judges(features, load_model(str(card["name"]), str(device)) if card else None, why, np.empty((0, 1)), crop)
    free = ~data.lesion & (data.brain.mean((1, 2)) >= LEAST_REAL_BRAIN)
    if free.any():
        judges.real = judges.of(data.images[free])
    return judges


def lesion_slices_healed(data: Measured, made: MethodOutput, judges: Judges) -> dict[str, Any]:
    """Numbers of the healed lesion slices, the gate held open: per slice (n,), and their distance to real ones."""
    at = np.nonzero(data.lesion & made.measured)[0]
    before, after = data.images[at], np.clip(data.images[at] + made.values[at], 0, 1)
    out: dict[str, Any] = {"at": at} | outside_lesion(before, after, data.brain[at], data.on_grid[at], data.pitch_mm)
    if judges.judge is not None and len(at):
        p0, p1 = judges.probability(before), judges.probability(after)
        out["flip"] = np.where(p0 >= 0.5, (p1 < 0.5).astype(float), np.nan)
        out["judged_before"], out["judged_after"] = p0, p1
    if len(at) > 1 and len(judges.real) > 1:
        out["distance"] = distances(judges.of(after), judges.real)
    pairs = neighbours(data, data.lesion & made.measured)
    out["flicker"] = flicker(made.values, data.brain, pairs)
    out["flicker_patient"] = data.patient[pairs[:, 0]]
    masked = (made.region[at] != data.brain[at]).any((1, 2))  # where the whole brain is healed there is no seam
    out["seam"] = seam(before, after, made.region[at] & masked[:, None, None])
    return out


def healthy_slices_healed(data: Measured, runs: list[MethodOutput], gated: bool) -> dict[str, Any]:
    """Mean change of lesion-free slices over the brain: as in use, and of those probed with the gate held open.

    Args:
        runs: one for each seed; of each slice the mean counts.
    """
    free = np.nonzero(~data.lesion & runs[0].measured)[0]
    each = [over_brain(np.abs(made.values[free].astype(np.float32)), data.brain[free]) for made in runs]
    change = np.mean(each, axis=0)
    used = np.where(data.judged[free], change, 0.0) if gated else change
    probed = data.probe[free]
    return {
        "identity": interval_of(used, data.patient[free]),
        "identity_gate_open": interval_of(change[probed], data.patient[free][probed]),
    }
