"""A scan: voxels as stored, where they lie in the patient, and where they came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class NiftiForms:
    """The two ways in which a NIfTI file says where its voxels lie, kept so that results say it in the same way.

    Attributes:
        qform_code, sform_code: 0 not given, 1 scanner, 2 aligned, 3 Talairach, 4 MNI, 5 another template.
        qform, sform: (4,4) voxel indices -> RAS mm, or ``None`` where the file has none that is sound.
        quaternion: the qform as stored: its handedness, three spacings, three parts of the quaternion, three offsets;
            in float32 a rotation does not come back from a matrix as exactly.
    """

    qform_code: int = 0
    sform_code: int = 0
    qform: np.ndarray | None = None
    sform: np.ndarray | None = None
    quaternion: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Scan:
    """One 3-D volume.

    Attributes:
        voxels: (I,J,K), as stored (dtype and values untouched).
        affine: (4,4) float64, voxel indices -> RAS mm.
        modality: ``FLAIR``, ``T1``, ``T1GD``, ``T2`` ... or ``None`` when neither the header nor the name says.
        source: path, format and header facts, for provenance.
        forms: of a NIfTI, Analyze or MGH file; ``None`` for other formats.
        notes: sentences for the user about what was assumed while reading.
        files: of a DICOM series, those it was read from.
    """

    voxels: np.ndarray
    affine: np.ndarray
    modality: str | None = None
    source: dict[str, Any] = field(default_factory=dict)
    forms: NiftiForms | None = None
    notes: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()

    @property
    def spacing(self) -> np.ndarray:
        """(3,) mm along the voxel axes."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    @property
    def path(self) -> Path | None:
        """Where the scan was read from."""
        return Path(self.source["path"]) if "path" in self.source else None

    @property
    def orientation_known(self) -> bool:
        """Whether the file says which side is left; if not, the affine is a guess."""
        return self.forms is None or self.forms.qform_code > 0 or self.forms.sform_code > 0
