"""The same lesion from small to its full size: one volume after the other, each induced as it would be alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from scipy import ndimage

from braindiffusion.events import Event, OnEvent
from braindiffusion.lesions.in_context import largest_mm2
from braindiffusion.lesions.models import choose_card
from braindiffusion.lesions.placing import place_lesion
from braindiffusion.models.device import choose_device
from braindiffusion.pipeline.induce import InduceResult, induce_scan
from braindiffusion.pipeline.scan_cache import ScanCache, prepared_for
from braindiffusion.settings import InduceSettings, ShapeSettings
from braindiffusion.volume.scan import Scan

SMALLEST_ML = 1.0


def growth(lesion: np.ndarray, spacing: np.ndarray, count: int) -> list[np.ndarray]:
    """A lesion (I,J,K) bool at ``count`` sizes, each within the next, the last one as it is.

    Every component grows from its deepest point towards its border, all at the same pace; the radius of a ball of the
    whole volume grows evenly, from 1 mL (or from that share of it, where it is small).

    Args:
        spacing: (3,) mm of a voxel.
    """
    parts, number = ndimage.label(lesion, np.ones((3, 3, 3)))
    order = np.full(lesion.shape, np.inf)
    for label, found in enumerate(ndimage.find_objects(parts, number), start=1):
        part = np.pad(parts[found] == label, 1)
        depth = ndimage.distance_transform_edt(part, sampling=spacing)
        seed = np.unravel_index(depth.argmax(), depth.shape)
        at = np.indices(part.shape) - np.array(seed).reshape(3, 1, 1, 1)
        away = np.linalg.norm(at * np.asarray(spacing).reshape(3, 1, 1, 1), axis=0)
        share = (away / np.maximum(away + depth, 1e-6))[1:-1, 1:-1, 1:-1]
        order[found] = np.where(parts[found] == label, share, order[found])
    ranked = np.argsort(order, axis=None, kind="stable")
    total = int(lesion.sum())
    least = min(SMALLEST_ML * 1000.0 / float(np.prod(spacing)), total / count)
    radii = np.linspace((least / total) ** (1 / 3), 1.0, count) if count > 1 else np.ones(1)
    masks = []
    for radius in radii:
        mask = np.zeros(lesion.shape, bool)
        mask.flat[ranked[: max(1, round(radius**3 * total))]] = True
        masks.append(mask)
    return masks


def induce_series(
    scan: Scan,
    lesion: np.ndarray | ShapeSettings,
    settings: InduceSettings,
    count: int,
    *,
    brain: np.ndarray | None = None,
    on_event: OnEvent | None = None,
    prepared: ScanCache | None = None,
) -> Iterator[InduceResult]:
    """The lesion at ``count`` sizes (see :func:`growth`), one result after the other; arguments as ``induce_scan``.

    All have the seed of the settings: the same noise, so that they look like one lesion. The last one is what
    ``induce_scan`` gives for the whole lesion.

    Raises:
        As :func:`~braindiffusion.pipeline.induce.induce_scan`.
    """
    device, card = choose_device(settings.device), choose_card(settings)
    kept = prepared_for(scan, prepared)
    whole, _ = kept.brain(brain, device, on_event)
    stack, _ = kept.stack_for(card, brain, device, on_event)
    placed = place_lesion(scan, lesion, settings, whole, stack)
    spots = isinstance(lesion, ShapeSettings) and lesion.kind == "spots"
    if settings.mass_effect is None and spots:
        settings = replace(settings, mass_effect=0.0)
    alone = replace(settings, taper=False)  # it is tapered already
    if stack.head is not None:
        alone = replace(alone, condition="mask")  # its box has a lesion in it already
    area = largest_mm2(placed.told, stack)
    masks = growth(placed.native, scan.spacing, count)
    for number, mask in enumerate(masks):

        def listen(event: Event, number: int = number) -> None:
            if on_event:
                total = max(1, event.total)
                on_event(replace(event, done=number * total + event.done, total=count * total))

        yield induce_scan(scan, mask, alone, brain=brain, on_event=listen, prepared=kept, look_mm2=area)
