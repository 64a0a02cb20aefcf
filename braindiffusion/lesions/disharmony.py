"""Disharmony: a lesion painted in the wrong tone. Measured by its contrast to the ring around it, beside real lesions.

Images are (N,H,W) in model units (0.45 is the median brain), masks bool.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

GAP_MM, WIDTH_MM = 2.0, 8.0
LEAST_PIXELS = 6


@dataclass(frozen=True)
class Contrast:
    """Ring contrast of slices.

    Attributes:
        inside, ring, seam: (N,) mean inside the lesion, mean of the ring, and the jump at the lesion's edge (mean of
            the pixels just inside less that of those just outside); NaN where there are too few pixels.
        pixels: (N,) pixels of the lesion.
    """

    inside: np.ndarray
    ring: np.ndarray
    seam: np.ndarray
    pixels: np.ndarray

    @property
    def values(self) -> np.ndarray:
        """(N,) inside less ring."""
        return self.inside - self.ring

    def weighted_mean(self) -> float | None:
        """Contrast averaged by lesion area; ``None`` where no slice has one."""
        known = np.isfinite(self.values)
        return float(np.average(self.values[known], weights=self.pixels[known])) if known.any() else None


def _mean(values: np.ndarray, where: np.ndarray) -> float:
    return float(values[where].mean()) if where.sum() >= LEAST_PIXELS else float("nan")


def ring_contrast(
    images: np.ndarray,
    lesion: np.ndarray,
    brain: np.ndarray,
    pitch_mm: float,
    gap_mm: float = GAP_MM,
    width_mm: float = WIDTH_MM,
) -> Contrast:
    """Mean inside the lesion, and mean of the ring from ``gap_mm`` to ``gap_mm + width_mm`` around it, per slice.

    The gap leaves out the rim, where a drawn outline and the tissue never quite agree.
    """
    rows = []
    for image, p, b in zip(images, lesion, brain, strict=True):
        inside = p & b
        if not inside.any():
            rows.append((np.nan, np.nan, np.nan, 0))
            continue
        out = ndimage.distance_transform_edt(~p) * pitch_mm
        within = ndimage.distance_transform_edt(p) * pitch_mm
        ring = b & (out > gap_mm) & (out <= gap_mm + width_mm)
        edge = 1.5 * pitch_mm
        seam = _mean(image, inside & (within <= edge)) - _mean(image, b & ~p & (out <= edge))
        rows.append((_mean(image, inside), _mean(image, ring), seam, int(inside.sum())))
    table = np.array(rows, dtype=float).reshape(-1, 4)
    return Contrast(table[:, 0], table[:, 1], table[:, 2], table[:, 3].astype(int))


@dataclass(frozen=True)
class Disharmony:
    """Contrast of made lesions beside that of real ones.

    Attributes:
        real, made: mean contrast; real_spread, made_spread: standard deviation (ddof 1) over slices.
        difference: made less real, in standard deviations of the real: 0 is harmony.
        distance: Kolmogorov-Smirnov distance of the two distributions, 0 to 1.
        slices: how many of (real, made) could be measured.
    """

    real: float
    made: float
    real_spread: float
    made_spread: float
    difference: float
    distance: float
    slices: tuple[int, int]


def disharmony(real: np.ndarray, made: np.ndarray) -> Disharmony:
    """Compare (N,) contrasts of real lesions with (M,) of made ones; NaN are left out.

    Raises:
        ValueError: fewer than two real, or no made contrast.
    """
    from scipy.stats import ks_2samp

    real, made = real[np.isfinite(real)], made[np.isfinite(made)]
    if len(real) < 2 or not len(made):
        raise ValueError(f"{len(real)} real and {len(made)} made contrasts are too few")
    spread = float(real.std(ddof=1))
    return Disharmony(
        float(real.mean()), float(made.mean()), spread, float(made.std(ddof=1)) if len(made) > 1 else float("nan"),
        float((made.mean() - real.mean()) / spread) if spread > 0 else float("nan"),
        float(ks_2samp(real, made).statistic), (len(real), len(made)),
    )  # fmt: skip
