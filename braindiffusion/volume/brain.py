"""Where the brain is: given by the user, recognised in a stripped scan, by our network, or a classical estimate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from scipy import ndimage

from braindiffusion.errors import NotABrainError
from braindiffusion.volume.scan import Scan
from braindiffusion.volume.slices import background_level, map_to_scan, place

Origin = Literal["given", "stripped", "network", "classical"]
OnBatch = Callable[[int, int], None]
"""Told (done, total); may raise to cancel."""
Tick = Callable[[], None]
"""Called every now and then; may raise to cancel."""
NETWORK_BATCH = 4
BRAIN_LITRES = (0.3, 2.6)
"""Plausible volume of a whole brain; a scan of only some slices is judged by its area per slice instead."""


def largest_component(mask: np.ndarray) -> np.ndarray:
    """The largest connected component (face neighbours)."""
    labels, count = ndimage.label(mask)
    if count <= 1:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return labels == sizes.argmax()


def _nothing() -> None: ...


def _each(mask: np.ndarray, operation: Callable[[np.ndarray], np.ndarray], tick: Tick) -> np.ndarray:
    """(S,H,W): an operation on each slice."""
    done = []
    for m in mask:
        tick()
        done.append(operation(m))
    return np.stack(done)


def body_support(scan: Scan, tick: Tick = _nothing) -> np.ndarray | None:
    """The one filled body that stands out of a quiet background, or ``None`` where there is no such background."""
    zero = background_level(scan.voxels)
    top = float(np.percentile(scan.voxels, 99.5))
    p = place(scan)
    axial = p.to_axial(scan.voxels)
    support = np.abs(axial.astype(np.float32) - zero) > 0.02 * (top - zero)
    if not top > zero or float(support.mean()) > 0.8:
        return None
    opened = _each(support, lambda m: ndimage.binary_opening(m, np.ones((3, 3))), tick)
    body = largest_component(_each(opened, ndimage.binary_fill_holes, tick))
    return np.ascontiguousarray(p.from_axial(body)) if body.any() else None


def looks_stripped(scan: Scan, body: np.ndarray, brain: np.ndarray | None, tick: Tick = _nothing) -> bool:
    """Whether a body is a brain alone.

    With the network's ``brain`` at hand: they agree (Dice > 0.8; a whole head scores 0.7 or less). Without it: the
    layer 4-8 mm under the surface, which is dark bone in a head, is as bright as what lies deeper.
    """
    if brain is not None:
        return bool(2 * (body & brain).sum() > 0.8 * (int(body.sum()) + int(brain.sum())))
    p = place(scan)
    axial_body = p.to_axial(body)
    values = p.to_axial(scan.voxels).astype(np.float32) - background_level(scan.voxels)
    depth = _each(axial_body, lambda b: ndimage.distance_transform_edt(b, sampling=p.pitch), tick)
    shallow, deep = values[(depth > 4) & (depth <= 8)], values[(depth > 12) & (depth <= 40)]
    return bool(shallow.size and deep.size and np.median(shallow) > 0.7 * np.median(deep))


def classical_brain(scan: Scan) -> np.ndarray:
    """Whole head -> brain by thresholding, erosion to cut the bridges to the scalp, and regrowth, per volume.

    A last resort when the network is not installed: it leaves eyes and marrow in, and cuts cortex that touches bright
    scalp.
    """
    from skimage.filters import threshold_otsu

    p = place(scan)
    axial = p.to_axial(scan.voxels).astype(np.float32)
    sigma = [0.0, 1.5 / p.pitch[0], 1.5 / p.pitch[1]]
    smooth = ndimage.gaussian_filter(axial, sigma)
    top = float(np.percentile(smooth, 99))
    tissue = smooth > 0.6 * threshold_otsu(np.minimum(smooth, top))
    out = np.zeros(axial.shape, bool)
    pitch = float(np.mean(p.pitch))
    for s, t in enumerate(tissue):
        head = largest_component(ndimage.binary_fill_holes(t))
        if not head.any():
            continue
        depth = ndimage.distance_transform_edt(head) * pitch
        core = t & (depth > 9.0)
        core = ndimage.distance_transform_edt(core) * pitch > 4.0
        core = largest_component(core)
        if core.any():
            grown = ndimage.distance_transform_edt(~core) * pitch < 5.0
            out[s] = ndimage.binary_fill_holes(grown & t & (depth > 6.0))
    if out.any():
        out = largest_component(out)
    return np.ascontiguousarray(p.from_axial(out))


def network_brain(scan: Scan, device: str = "cpu", on_batch: OnBatch | None = None) -> np.ndarray | None:
    """Brain mask by the shipped contrast-agnostic U-Net; ``None`` when that model is not installed."""
    import torch

    from braindiffusion.cards import installed
    from braindiffusion.models.device import precision_for
    from braindiffusion.models.registry import load_model

    if "brain-mask" not in installed():
        return None
    model = load_model("brain-mask", device)
    axial_top = float(np.percentile(scan.voxels, 99))
    zero = background_level(scan.voxels)
    if not axial_top > zero:
        return None
    p = place(scan, _foreground(scan, zero, axial_top))
    if on_batch:
        on_batch(0, p.shape[0])
    image = np.clip((p.down(p.to_axial(scan.voxels).astype(np.float32) - zero)) / (axial_top - zero), 0, 1)
    precision = precision_for("auto", torch.device(device))
    network, bf16 = model.network_in(precision), precision == "bf16"
    with torch.no_grad(), torch.autocast(torch.device(device).type, torch.bfloat16, enabled=bf16):
        x = torch.from_numpy(image)[:, None].to(device)
        parts = []
        for start in range(0, len(x), NETWORK_BATCH):
            if on_batch:
                on_batch(start, len(x))
            parts.append(torch.sigmoid(network(x[start : start + NETWORK_BATCH]).float()).cpu())
        probability = torch.cat(parts)[:, 0].numpy()
    # thick slices are smoothed little, thin ones more: 3 mm along the slice axis
    probability = ndimage.gaussian_filter(probability, [min(1.5, 1.2 / p.thickness), 0.5, 0.5])
    mask = largest_component(ndimage.binary_opening(probability > 0.5, np.ones((1, 3, 3))))
    mask = _each(mask, ndimage.binary_fill_holes, _nothing)
    return (map_to_scan(mask.astype(np.float32), p) > 0.5) if mask.any() else np.zeros(scan.voxels.shape, bool)


def _foreground(scan: Scan, zero: float, top: float) -> np.ndarray:
    return scan.voxels > zero + 0.15 * (top - zero)


def find_brain(
    scan: Scan, given: np.ndarray | None = None, device: str = "cpu", on_batch: OnBatch | None = None
) -> tuple[np.ndarray, Origin]:
    """The brain mask of a scan, (I,J,K) bool, and where it came from.

    Order: the user's own; the support of a stripped scan; the network; the classical estimate.
    """
    if given is not None:
        return given.astype(bool), "given"
    last = (0, 1)

    def tell(done: int, total: int) -> None:
        nonlocal last
        last = (done, total)
        tick()

    def tick() -> None:
        if on_batch:
            on_batch(*last)

    by_network = network_brain(scan, device, tell)
    tick()
    body = body_support(scan, tick)
    if body is not None and looks_stripped(scan, body, by_network, tick):
        return body, "stripped"
    if by_network is not None:
        return by_network, "network"
    return classical_brain(scan), "classical"


def check_is_brain(scan: Scan, brain: np.ndarray, origin: Origin) -> None:
    """Refuse what cannot be a brain.

    Raises:
        NotABrainError: empty, or of a size no brain has.
    """
    voxel_ml = float(np.prod(scan.spacing)) / 1000.0
    litres = float(brain.sum()) * voxel_ml / 1000.0
    p = place(scan)
    area_cm2 = float(p.to_axial(brain).sum((1, 2)).max()) * p.pitch[0] * p.pitch[1] / 100.0
    whole = scan.voxels.shape[p.order[0]] * p.thickness >= 100.0
    if (whole and litres < BRAIN_LITRES[0]) or area_cm2 < 12.0 or area_cm2 > 350.0 or litres > BRAIN_LITRES[1]:
        raise NotABrainError(
            "No brain was found in the scan.",
            f"The best candidate ({origin}) has {litres:.2f} litres and at most {area_cm2:.0f} cm2 in a slice.",
            "Check that this is a scan of a head, or give a brain mask with --brain.",
        )
