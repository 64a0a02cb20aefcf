"""From original and counterfactual to an anomaly map and a binary lesion map.

Arrays are numpy (N,H,W) in model units (0 air, 0.45 median brain, 1 white). An anomaly map is never divided by its
own maximum before it is thresholded: a healthy slice would then always show a lesion.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from braindiffusion.errors import SettingsError
from braindiffusion.volume.masks import drop_small, fill

VARIANTS = ("ours", "bright", "paper", "median", "reference")
TUNED_MM = 1.875
"""Pixel of the grid on which kernels and thresholds were tuned. On a finer grid kernels grow accordingly, and the
signed difference is averaged over such a pixel first, so that grain, which no counterfactual shares, cancels."""
SMOOTHING_MM = 0.6 * TUNED_MM
KERNEL_PX = 5
OTSU = "otsu"
"""In place of a threshold: each slice its own (Otsu 1979). A healthy slice shows a lesion then, too."""


def grey_open_close(values: np.ndarray, size: int = 5) -> np.ndarray:
    """Greyscale opening, then closing, with a square of ``size`` pixels within each slice (Dif-fuse, Algorithm 1)."""
    shape = (1, size, size)
    return ndimage.grey_closing(ndimage.grey_opening(values, size=shape), size=shape)


def anomaly_map(
    original: np.ndarray,
    healed: np.ndarray,
    variant: str = "ours",
    *,
    reconstruction: np.ndarray | None = None,
    pitch_mm: float = TUNED_MM,
) -> np.ndarray:
    """(N,H,W) >= 0.

    * ``ours``: ``|x - xhat|``, lightly smoothed. Nothing thin is removed.
    * ``bright``: ``max(x - xhat, 0)``, lightly smoothed: what is brighter than the healthy estimate (FLAIR lesions).
    * ``paper``: ``|x - xhat|``, opening and closing 5 x 5.
    * ``median``: ``|x - xhat|``, median of 5 x 5 (Kascenas et al. 2022).
    * ``reference``: as published in code, ``|xhat - DDIM reconstruction|`` over its own maximum in 8 bit, one more
      erosion, opening and closing. For reproduction only: its scale is relative to each slice.

    Args:
        original, healed: (N,H,W) float32.
        reconstruction: (N,H,W) DDIM reconstruction for ``reference``; the original when not given.
        pitch_mm: spacing of the grid.

    Raises:
        SettingsError: unknown variant.
    """
    if variant not in VARIANTS:
        raise SettingsError(f"There is no anomaly map '{variant}'.", f"Known: {', '.join(VARIANTS)}.", "Choose one.")
    size = max(3, 2 * round(KERNEL_PX * TUNED_MM / pitch_mm / 2 - 0.5) + 1)
    if variant == "reference":
        base = original if reconstruction is None else reconstruction
        d = np.abs(healed.astype(np.float32) - base.astype(np.float32))
        top = d.max(axis=(1, 2), keepdims=True)
        grey = np.floor(np.divide(d, top, out=np.zeros_like(d), where=top > 0) * 255)
        return grey_open_close(ndimage.grey_erosion(grey, size=(1, size, size)), size) / 255.0
    d = original.astype(np.float32) - healed.astype(np.float32)
    if pitch_mm < TUNED_MM:
        spread = float(np.sqrt((TUNED_MM**2 - pitch_mm**2) / 12.0)) / pitch_mm
        d = ndimage.gaussian_filter(d, (0, spread, spread))
    d = np.maximum(d, 0.0) if variant == "bright" else np.abs(d)
    if variant == "paper":
        return grey_open_close(d, size)
    if variant == "median":
        return ndimage.median_filter(d, (1, size, size))
    return ndimage.gaussian_filter(d, (0, SMOOTHING_MM / pitch_mm, SMOOTHING_MM / pitch_mm))


def otsu_levels(anomaly: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(N,1,1) threshold of each slice that parts the values inside the mask best into two; infinite where it cannot."""
    from skimage.filters import threshold_otsu

    inside = (a[m] for a, m in zip(anomaly, mask, strict=True))
    levels = [threshold_otsu(v) if len(v) and v.min() < v.max() else np.inf for v in inside]
    return np.array(levels).reshape(-1, 1, 1)


def lesion_map(
    anomaly: np.ndarray,
    mask: np.ndarray,
    threshold: float | str,
    pitch_mm: float,
    *,
    opening_mm: float = 0.0,
    least_mm2: float = 0.0,
) -> np.ndarray:
    """(N,H,W) bool: anomaly above an absolute threshold inside the mask, holes filled, without specks.

    Args:
        anomaly: (N,H,W), see :func:`anomaly_map`.
        mask: (N,H,W) bool; nothing outside it can be a lesion, for nothing was changed there.
        threshold: in model units, tuned on validation data and kept in the model's card; or :data:`OTSU`.
        opening_mm: radius of a binary opening and closing.
        least_mm2: smallest component kept.
    """
    level = otsu_levels(anomaly, mask) if isinstance(threshold, str) else threshold
    out = fill((anomaly > level) & mask) & mask
    if opening_mm >= pitch_mm:
        radius = int(opening_mm // pitch_mm)
        y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
        disc = (x * x + y * y <= radius * radius)[None]
        out = ndimage.binary_closing(ndimage.binary_opening(out, disc), disc) & mask
    return drop_small(out, least_mm2, pitch_mm) if least_mm2 > 0 else out
