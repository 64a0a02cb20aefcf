"""The end of the road that healing and induction share: edited slices back on the patient's grid, told and recorded."""

from __future__ import annotations

from typing import Any

import numpy as np

from braindiffusion.events import Event, OnEvent
from braindiffusion.volume.paste_back import carry_back
from braindiffusion.volume.scan import Scan
from braindiffusion.volume.slices import SliceStack, map_to_scan


class Carried:
    """Edited slices as a scan of the patient's own grid.

    Args:
        after: (S,H,W) the edited slices; ``region``: (S,H,W) bool, where they were free to change.
        tell: hears a step a slice, and two more until :meth:`finished`.
        within: (S,rows,cols) bool on the scan's grid, where anything may change; ``None`` lets the seam decide.

    Attributes:
        voxels: (I,J,K) in the scan's dtype, bit-identical to it outside ``edited``; ``edited``: (I,J,K) bool.
        slices: how many were edited.
    """

    def __init__(
        self, scan: Scan, stack: SliceStack, after: np.ndarray, region: np.ndarray, seed: int, tell: OnEvent,
        within: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        self._scan, self._stack, self._tell, self._within = scan, stack, tell, within
        self.slices = int(region.any((1, 2)).sum())
        back = carry_back(scan, stack, after, region, seed, within=within, on_slice=lambda done, _: self._told(done))
        self.voxels, self.edited, self._changed = back.voxels, back.edited, back.changed

    def _told(self, done: int) -> None:
        self._tell(Event("back", done, self.slices + 1))

    def native(self, values: np.ndarray) -> np.ndarray:
        """(S,H,W) on the model grid -> (I,J,K) float32 on the scan's, zero outside ``edited``."""
        self._told(self.slices)
        return map_to_scan(values.astype(np.float32), self._stack.placement) * self.edited

    def region(self, region: np.ndarray) -> np.ndarray:
        """(I,J,K) bool, the region that was free to change, on the scan's grid."""
        native = self.native(region) > 0.5
        return native if self._within is None else native & self._stack.placement.from_axial(self._within)

    def finished(self) -> None:
        """Tell that the last map lies on the scan's grid."""
        self._told(self.slices + 1)

    def facts(self, region: np.ndarray, drawn: np.ndarray | None = None) -> dict[str, Any]:
        """What the provenance says of the grid, and of the check that nothing else changed.

        Args:
            region: (I,J,K) bool, what was free to change; ``drawn``: (I,J,K) bool, what the user drew.
        """
        placement, changed = self._stack.placement, self.voxels != self._scan.voxels
        return {
            "grid": {
                "size": placement.size, "pitch_mm": placement.model_pitch, "intensity": self._stack.intensity,
                "placement": placement,
            },
            "check": {
                "outside_identical": True, "edited_voxels": int(self.edited.sum()), "changed_voxels": self._changed,
                "changed_outside_mask": int((changed & ~region).sum()),
                "changed_outside_drawn": None if drawn is None else int((changed & ~drawn).sum()),
            },
        }  # fmt: skip
