"""Are samples copies of training slices? Distances to the nearest one, beside those of real slices.

The measure: each image is averaged to 32 x 32, blurred (Gaussian, one pixel), and compared by the root mean square
difference, the smaller of the two for the image and its mirror image. Values are in model units (median brain 0.45).
Position and size of the head are not aligned. A set of copies would lie far left of real slices of unseen people.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

SIDE = 32
QUANTILES = (0, 1, 5, 25, 50, 75, 95, 100)


@dataclass(frozen=True)
class Neighbours:
    """Distances, nearest first of their kind.

    Attributes:
        samples, real, train: distance of each sample, of each real slice of the split, and of training slices, to the
            nearest training slice (of another patient).
        nearest: (samples,) which training slice is nearest to each sample.
    """

    samples: np.ndarray
    real: np.ndarray
    train: np.ndarray
    nearest: np.ndarray

    def numbers(self) -> dict[str, Any]:
        """Quantiles of each distribution, and the share of samples nearer than nearly all training slices are."""
        rows = {"samples": self.samples, "real": self.real, "train": self.train}
        quantiles = {
            name: {f"q{q}": float(v) for q, v in zip(QUANTILES, np.percentile(d, QUANTILES), strict=True)}
            for name, d in rows.items()
        }
        close = float(np.percentile(self.train, 1))
        return {
            **quantiles,
            "n": {name: len(d) for name, d in rows.items()},
            "samples_nearer_than_1_percent_of_train": float((self.samples < close).mean()),
            "real_nearer_than_1_percent_of_train": float((self.real < close).mean()),
        }


def descriptors(images: Tensor) -> np.ndarray:
    """(N,1,H,W) -> (N,32,32) float64: averaged and blurred."""
    small = F.adaptive_avg_pool2d(images.float(), (SIDE, SIDE))[:, 0].double().numpy()
    return ndimage.gaussian_filter(small, [0, 1, 1])


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N,32,32), (M,32,32) -> (N,M): root mean square difference, mirror images allowed."""

    def squared(x: np.ndarray) -> np.ndarray:
        flat, other = x.reshape(len(x), -1), b.reshape(len(b), -1)
        return (flat**2).sum(1)[:, None] + (other**2).sum(1)[None] - 2 * flat @ other.T

    best = np.minimum(squared(a), squared(a[:, :, ::-1]))
    return np.sqrt(np.clip(best, 0, None) / (SIDE * SIDE))


def neighbours(
    samples: Tensor, real: Tensor, real_patient: np.ndarray, train: Tensor, patient: np.ndarray, most: int = 512
) -> Neighbours:
    """Compare samples (N,1,H,W) with the train slices (M,1,H,W) of ``patient`` (M,).

    Args:
        real, real_patient: slices of the split that is measured; a patient of both is not compared with himself.
        most: at most this many training slices are themselves looked up, evenly spread.
    """
    known = descriptors(train)
    of_samples = distances(descriptors(samples), known)
    rows = np.unique(np.linspace(0, len(known) - 1, min(most, len(known))).round().astype(int))

    def to_others(d: np.ndarray, names: np.ndarray) -> np.ndarray:
        least = np.where(names[:, None] == patient[None], np.inf, d).min(1)
        return least[np.isfinite(least)]

    return Neighbours(
        of_samples.min(1),
        to_others(distances(descriptors(real), known), real_patient),
        to_others(distances(known[rows], known), patient[rows]),
        of_samples.argmin(1),
    )
