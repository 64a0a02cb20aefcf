"""What is measured of painted slices: overlap by an independent segmenter, what changed where, tone."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from braindiffusion.errors import BrainDiffusionError
from braindiffusion.evaluation.induction.pairs import STRATA, Pairs
from braindiffusion.evaluation.metrics.distribution import distances
from braindiffusion.evaluation.metrics.features import Features
from braindiffusion.evaluation.metrics.overlap import count, interval_of, summary
from braindiffusion.evaluation.models.data import in_parts
from braindiffusion.lesions.disharmony import disharmony, ring_contrast
from braindiffusion.lesions.effects import change_by_distance, deep_fluid
from braindiffusion.models.registry import load_model
from braindiffusion.volume.masks import boxes

SEGMENTER = "lesion-segmenter-flair"


@dataclass(frozen=True)
class Segmenter:
    """The independent segmenter with the output for one kind of lesion.

    Attributes:
        channel: of its outputs.
    """

    name: str
    channel: int
    device: torch.device

    def find(self, images: np.ndarray, brain: np.ndarray) -> np.ndarray:
        """(N,H,W) bool: probability above one half, inside the brain."""
        network = load_model(self.name, str(self.device)).network
        x = torch.from_numpy(np.ascontiguousarray(images, np.float32))[:, None]
        return (in_parts(network, x, self.device)[:, self.channel].numpy() > 0) & brain


def segmenter_for(
    kind: str, modality: str, device: torch.device, name: str = SEGMENTER
) -> tuple[Segmenter | None, str]:
    """The segmenter for a kind, or ``None`` and why there is none."""
    try:
        card = load_model(name, str(device)).card
    except BrainDiffusionError as error:
        return None, f"{error.what} {error.why}".strip()
    if modality not in card.get("modality", []):
        return None, f"no segmenter for {modality} ships: {name} was trained on {', '.join(card.get('modality', []))}"
    outputs = [str(o) for o in card.get("outputs", [])]
    channel = [i for i, o in enumerate(outputs) if o.startswith(kind.partition("_")[0])]
    if not channel:
        return None, f"{name} has no output for {kind} (it has: {', '.join(outputs) or 'none'})"
    return Segmenter(name, channel[0], device), ""


def overlap(
    found: np.ndarray, asked: np.ndarray, patients: np.ndarray, stratum: np.ndarray, pitch_mm: float
) -> dict[str, Any]:
    """Dice and IoU of what was found with what was asked for, all and by stratum; (N,H,W) bool each."""
    counts = [count(f, a) for f, a in zip(found, asked, strict=True)]
    iou, dice = (np.array([getattr(c, k) for c in counts]) for k in ("iou", "dice"))
    return {
        **summary(counts, patients, pitch_mm**2),
        "lesion_iou_interval": interval_of(iou, patients)["interval"],
        "missed_share": float((dice == 0).mean()),
        "by_stratum": {s: interval_of(dice[stratum == s], patients[stratum == s]) for s in STRATA},
        "dice_of_slices": dice.tolist(),
    }


class Scorer:
    """Measures sets of images made from the same pairs.

    Args:
        real: (M,H,W) real lesion slices of the split; ``features`` networks to compare in.
        margin: (N,H,W) bool, the reference margin: where MedEdit may paint at its default reach.
    """

    def __init__(
        self, pairs: Pairs, real: np.ndarray, features: list[Features], segmenter: Segmenter | None, box: bool,
        margin: np.ndarray, seed: int,
    ) -> None:  # fmt: skip
        self.pairs, self.features, self.segmenter, self.box = pairs, features, segmenter, box
        self.margin, self.seed = margin, seed
        self._real = {f.name: f.of(real) for f in features}
        self._real_contrast = ring_contrast(pairs.real, pairs.drawn, pairs.real_brain, pairs.pitch_mm).values

    def _overlap(self, images: np.ndarray, brain: np.ndarray, asked: np.ndarray) -> dict[str, Any] | None:
        if self.segmenter is None:
            return None
        found = self.segmenter.find(images, brain)
        if self.box:
            found = boxes(found) & brain
        return overlap(found, asked, self.pairs.patient, self.pairs.stratum, self.pairs.pitch_mm)

    def distribution(self, images: np.ndarray, dice: float | None = None) -> dict[str, Any]:
        """FID and KID in each network's features, and (1 - Dice) FID; nothing for fewer than two images."""
        out: dict[str, Any] = {}
        for f in self.features if len(images) > 1 else []:
            if len(self._real[f.name]) < 2:
                continue
            found = asdict(distances(f.of(images), self._real[f.name], self.seed))
            found["combined"] = None if dice is None else (1.0 - dice) * found["fid_mean"]
            out[f.name] = found
        return out

    def real(self) -> dict[str, Any]:
        """The ceiling: the segmenter on the slices the lesions were drawn on."""
        return {"overlap": self._overlap(self.pairs.real, self.pairs.real_brain, self.pairs.real_asked)}

    def score(self, images: np.ndarray, margin: np.ndarray | None = None) -> dict[str, Any]:
        """Everything about (N,H,W) images made from the priors.

        Args:
            margin: instead of the reference margin (ablations of the reach).
        """
        found = self._overlap(images, self.pairs.brain, self.pairs.asked)
        return {
            "overlap": found,
            "distribution": self.distribution(images, found["lesion_dice"] if found else None),
            "effects": self.effects(images, self.margin if margin is None else margin),
            "contrast": self.contrast(images),
        }

    def effects(self, images: np.ndarray, margin: np.ndarray) -> dict[str, Any]:
        """What changed inside the lesion, in the ring around it within the margin, and beyond."""
        p = self.pairs
        change = np.abs(images - p.prior).astype(np.float64)
        per_slice = self._per_slice
        ring, beyond = margin & ~p.told, ~margin & ~p.told
        fluid = [
            deep_fluid(v, p.told, p.brain, p.pitch_mm).sum((1, 2)) * p.pitch_mm**2 for v in (p.prior, images)
        ]  # fmt: skip
        return {
            "inside": per_slice(p.asked, change),
            "ring": per_slice(ring, change),
            "ring_signed": per_slice(ring, (images - p.prior).astype(np.float64)),
            "beyond": per_slice(beyond & p.brain, change),
            "beyond_largest": float(change[beyond].max()) if beyond.any() else 0.0,
            "deep_fluid_mm2": interval_of((fluid[1] - fluid[0]).astype(float), p.patient),
            "by_distance": change_by_distance(p.prior, images, p.told, p.brain, p.pitch_mm),
        }

    def _per_slice(self, where: np.ndarray, of: np.ndarray) -> dict[str, Any]:
        """Mean of (N,H,W) ``of`` over ``where``, by slice, then over patients."""
        means = np.array([v[w].mean() if w.any() else np.nan for v, w in zip(of, where, strict=True)])
        return interval_of(means, self.pairs.patient)

    def lesion_effect(self, images: np.ndarray, control: np.ndarray) -> dict[str, Any]:
        """What the lesion did to its surroundings: the painted slices less those painted from the same noise without.

        Both repaint the margin; only what the network was told differs, so the cost of painting anew falls out.
        """
        p = self.pairs
        difference = (images - control).astype(np.float64)
        ring = self.margin & ~p.told
        excess = np.abs(images - p.prior) - np.abs(control - p.prior)
        return {
            "inside": self._per_slice(p.asked, np.abs(difference)),
            "ring": self._per_slice(ring, np.abs(difference)),
            "ring_signed": self._per_slice(ring, difference),
            "ring_excess": self._per_slice(ring, excess.astype(np.float64)),
            "by_distance": change_by_distance(control, images, p.told, p.brain, p.pitch_mm),
        }

    def contrast(self, images: np.ndarray) -> dict[str, Any] | None:
        """Ring contrast beside that of the same lesions where they were drawn; ``None`` for too few."""
        made = ring_contrast(images, self.pairs.lesion, self.pairs.brain, self.pairs.pitch_mm)
        try:
            facts = asdict(disharmony(self._real_contrast, made.values))
        except ValueError:
            return None
        paired = np.abs(made.values - self._real_contrast)
        facts["paired_error"] = float(np.nanmean(paired)) if np.isfinite(paired).any() else None
        return facts
