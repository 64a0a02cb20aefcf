"""A scan: voxels as stored, where they lie in the patient, and where they came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Scan:
    """One 3-D volume.

    Attributes:
        voxels: (I,J,K), as stored (dtype and values untouched).
        affine: (4,4) float64, voxel indices -> RAS mm.
        modality: ``FLAIR``, ``T1``, ``T1GD``, ``T2`` ... or ``None`` when neither the header nor the name says.
        source: path, format and header facts, for provenance.
    """

    voxels: np.ndarray
    affine: np.ndarray
    modality: str | None = None
    source: dict[str, Any] = field(default_factory=dict)

    @property
    def spacing(self) -> np.ndarray:
        """(3,) mm along the voxel axes."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    @property
    def path(self) -> Path | None:
        """Where the scan was read from."""
        return Path(self.source["path"]) if "path" in self.source else None
