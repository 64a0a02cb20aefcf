"""Masks on the model grid: from a saliency map, grown by millimetres, or as boxes.

Arrays are numpy, (N,H,W) unless said otherwise; a mask is bool. Distances are millimetres.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage

from braindiffusion.errors import SettingsError
from braindiffusion.settings import Order, Over

KERNEL_PX = 5
KERNEL_SIGMA = 1.1
"""Gaussian of the published code: 5 x 5 pixels, sigma 1.1 (torchvision's default for that kernel)."""


def gaussian_kernel(size: int = KERNEL_PX, sigma: float = KERNEL_SIGMA) -> np.ndarray:
    """(size,) normalised 1-D Gaussian, to be applied along both axes."""
    at = np.arange(size) - (size - 1) / 2
    kernel = np.exp(-0.5 * (at / sigma) ** 2)
    return kernel / kernel.sum()


def smooth(values: np.ndarray, size: int = KERNEL_PX, sigma: float = KERNEL_SIGMA) -> np.ndarray:
    """Truncated Gaussian smoothing of (N,H,W) within each slice (reflected at the border, as torchvision does)."""
    kernel = gaussian_kernel(size, sigma)
    rows = ndimage.correlate1d(values.astype(np.float64), kernel, axis=-2, mode="mirror")
    return ndimage.correlate1d(rows, kernel, axis=-1, mode="mirror")


def percentile_mask(
    saliency: np.ndarray,
    percentile: float = 90.0,
    *,
    order: Order = "paper",
    over: Over = "brain",
    brain: np.ndarray | None = None,
    sigma: float = KERNEL_SIGMA,
) -> np.ndarray:
    """Binarise a saliency map at a percentile, slice by slice (Dif-fuse, section on masks).

    The text smooths and then keeps what lies above the percentile: exactly the top share. The published code keeps
    the top share first, smooths it, and then takes all that is not zero: the same set grown by 2 pixels.

    Args:
        saliency: (N,H,W) >= 0.
        percentile: 0..100.
        order: ``paper`` or ``reference``.
        over: which pixels the percentile is taken over; ``field_of_view`` is the published choice.
        brain: (N,H,W) bool, needed for ``brain``; the result is restricted to it when given.

    Returns:
        (N,H,W) bool. Slices without any positive saliency get an empty mask. With ties at the threshold only what is
        strictly above it is kept.

    Raises:
        SettingsError: percentile outside 0..100.
    """
    if not 0.0 <= percentile <= 100.0:
        raise SettingsError(
            f"Percentile {percentile:g} is not possible.", "It lies between 0 and 100.", "Give --percentile 90, say."
        )
    size = 2 * int(np.ceil(2 * sigma - 1e-9)) + 1 if sigma != KERNEL_SIGMA else KERNEL_PX
    values = smooth(saliency, size, sigma) if order == "paper" else saliency
    out = np.zeros(saliency.shape, bool)
    for n, v in enumerate(values):
        pool = v[brain[n]] if over == "brain" and brain is not None else v.ravel()
        if not pool.size or not v.any():
            continue
        kept = v > np.percentile(pool, percentile)
        if order == "reference":
            kept = smooth(np.where(kept, v, 0.0)[None], size, sigma)[0] > 0
        out[n] = kept
    return out & brain if brain is not None else out


def touching(mask: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """The connected components of (N,H,W), within each slice, that hold a pixel of ``seeds``."""
    out = np.zeros_like(mask)
    for n, (m, seed) in enumerate(zip(mask, seeds, strict=True)):
        labels, count = ndimage.label(m, np.ones((3, 3)))
        if count:
            kept = np.zeros(count + 1, bool)
            kept[labels[seed & m]] = True
            out[n] = kept[labels]
    return out


def fill(mask: np.ndarray) -> np.ndarray:
    """Fill the holes of (N,H,W) within each slice."""
    return np.stack([ndimage.binary_fill_holes(m) for m in mask]) if len(mask) else mask.copy()


MOST_OF_SLICE = 0.15
HIGHEST_RISE = 0.12


def grown_mask(seeds: np.ndarray, images: np.ndarray, brain: np.ndarray, level: float) -> np.ndarray:
    """Seeds grown to the whole of the bright lesions they touch (FLAIR): ours, not the paper's.

    A percentile selects the same share of every slice, so it cuts large lesions and overflows small ones. Here the
    saliency says where, and the image says how far: connected tissue brighter than ``level``, holes filled. Where that
    takes more than 15 % of a slice's brain, the growth may have leaked into bright white matter: the level is then
    raised in steps, by at most ``HIGHEST_RISE``.

    Args:
        seeds: (N,H,W) bool, from :func:`percentile_mask`.
        images: (N,H,W) in model units (0.45 is the median brain).
        brain: (N,H,W) bool.
        level: grey level of the growth; tuned on validation data and kept in the model's card.
    """
    bright, out = smooth(images), seeds & brain
    open_slices = np.nonzero(seeds.any((1, 2)))[0]
    for rise in np.arange(0.0, HIGHEST_RISE + 1e-9, 0.03):
        part = (bright[open_slices] > level + rise) & brain[open_slices]
        out[open_slices] = fill(touching(part, seeds[open_slices]) | seeds[open_slices]) & brain[open_slices]
        leaked = out[open_slices].sum((1, 2)) > MOST_OF_SLICE * brain[open_slices].sum((1, 2))
        open_slices = open_slices[leaked]
        if not len(open_slices):
            break
    return out


def dilate(mask: np.ndarray, margin_mm: float, pitch_mm: float) -> np.ndarray:
    """Grow (N,H,W) by a disc of ``margin_mm`` within each slice; a negative margin shrinks."""
    if margin_mm == 0 or not mask.any():
        return mask.copy()
    if margin_mm < 0:
        return ~dilate(~mask, -margin_mm, pitch_mm)
    reach = margin_mm / pitch_mm + 1e-6
    return np.stack([ndimage.distance_transform_edt(~m) <= reach if m.any() else m for m in mask])


def boxes(mask: np.ndarray, per_component: bool = True) -> np.ndarray:
    """Filled bounding boxes of (N,H,W): one for each connected component of a slice, or one for the slice."""
    out = np.zeros_like(mask)
    for n, m in enumerate(mask):
        labels = ndimage.label(m)[0] if per_component else m.astype(int)
        for found in ndimage.find_objects(labels):
            out[n][found] = True
    return out


def drop_small(mask: np.ndarray, least_mm2: float, pitch_mm: float) -> np.ndarray:
    """Remove connected components of (N,H,W) whose area in their slice is below ``least_mm2``."""
    out = np.zeros_like(mask)
    for n, m in enumerate(mask):
        labels, count = ndimage.label(m, np.ones((3, 3)))
        if count:
            area = np.bincount(labels.ravel()) * pitch_mm**2
            keep = area >= least_mm2
            keep[0] = False
            out[n] = keep[labels]
    return out


OUTLINE_MM, OUTLINE_TISSUE, OUTLINE_LEVEL = 8.0, 0.3, 0.38


def outline_floor(images: np.ndarray, brain: np.ndarray, mask: np.ndarray, pitch_mm: float) -> np.ndarray:
    """Least values that keep the brain's outline while it is healed.

    Inside the mask, within ``OUTLINE_MM`` of the brain's border, what is tissue in the scan (above ``OUTLINE_TISSUE``
    of white) stays tissue: at least ``OUTLINE_LEVEL``, a little less than the median brain. Elsewhere 0. It says how
    far the brain reaches, not what is there.

    Args:
        images: (N,H,W) in [0,1]; brain, mask: (N,H,W) bool.

    Returns:
        (N,H,W) float32.
    """
    out = np.zeros(images.shape, np.float32)
    for n in np.nonzero(mask.any((1, 2)))[0]:
        whole = ndimage.binary_fill_holes(brain[n])
        rim = whole & (ndimage.distance_transform_edt(whole) * pitch_mm < OUTLINE_MM)
        tissue = ndimage.gaussian_filter(images[n], 0.7) > OUTLINE_TISSUE
        out[n][rim & tissue & mask[n]] = OUTLINE_LEVEL
    return out


def floor_under(images: torch.Tensor, brain: torch.Tensor, mask: torch.Tensor, pitch_mm: float) -> torch.Tensor:
    """:func:`outline_floor` of a batch: (N,1,H,W) each, on the device of the images."""
    x, b, m = (v[:, 0].cpu().numpy() for v in (images, brain, mask))
    return torch.from_numpy(outline_floor(x, b, m, pitch_mm))[:, None].to(images.device)
