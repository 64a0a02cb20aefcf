"""A run while it is under way, as a plane of the patient's own scan."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from braindiffusion.events import Event, OnEvent, Plane
from braindiffusion.volume.paste_back import edit_slice
from braindiffusion.volume.scan import Scan
from braindiffusion.volume.slices import Placement, SliceStack


def stored_index(s: int, placement: Placement) -> int:
    """Slice ``s``, counted from below, as an index along the scan's slice axis; its own inverse."""
    return placement.shape[0] - 1 - s if placement.flip[0] else s


def native_plane(
    scan: Scan, stack: SliceStack, s: int, estimate: np.ndarray, mask: np.ndarray, within: np.ndarray | None = None
) -> Plane:
    """The stored plane of slice ``s`` with ``estimate`` inside ``mask``, and all else as it was.

    Its grain is not restored: a preview shows what the model thinks, and has to be quick.

    Args:
        s: slice of the stack.
        estimate: (H,W), current clean estimate on the model grid.
        mask: (H,W) bool.
        within: (rows,cols) bool, as for :func:`~braindiffusion.volume.paste_back.edit_slice`.
    """
    p = stack.placement
    source = p.to_axial(scan.voxels)[s]
    healed = np.where(mask, np.clip(estimate, 0.0, 1.0), stack.images[s])
    new = edit_slice(source, stack, s, healed, mask, within=within)
    plane = p.from_axial((source if new is None else new[0])[None])
    return Plane(p.order[0], stored_index(s, p), np.ascontiguousarray(plane.take(0, p.order[0])))


def with_planes(
    scan: Scan, stack: SliceStack, region: np.ndarray, tell: OnEvent, within: np.ndarray | None = None
) -> OnEvent:
    """A listener that can show previews as planes of the scan.

    Args:
        region: (S,H,W) bool, what the run may change.
        within: (S,rows,cols) bool, the same on the scan's grid, where it is known there.
    """

    def listen(event: Event) -> None:
        if event.preview is not None and event.slice_index is not None:
            s = event.slice_index
            limit = None if within is None else within[s]
            event = replace(event, plane=partial(native_plane, scan, stack, s, event.preview, region[s], limit))
        tell(event)

    return listen
