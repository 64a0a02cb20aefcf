"""Slices that networks are trained and measured on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch


@dataclass
class GridData:
    """Slices on the model grid.

    Attributes:
        image: (N,H,W) float16 in [0,1].
        brain, lesion: (N,H,W) bool.
        patient, source: (N,) str.
        split: (N,) str.
        row: (N,) int, index of the slice in its pack.
        unsure: (N,H,W) bool, pixels whose lesion mask is not known; ``None`` where all are.
    """

    image: np.ndarray
    brain: np.ndarray
    lesion: np.ndarray
    patient: np.ndarray
    source: np.ndarray
    split: np.ndarray
    row: np.ndarray
    unsure: np.ndarray | None = None

    def arrays(self) -> dict[str, Any]:
        """What there is, by name."""
        return {k: v for k, v in vars(self).items() if v is not None}

    def select(self, keep: np.ndarray) -> GridData:
        """The slices where ``keep``."""
        return type(self)(**{k: v[keep] for k, v in self.arrays().items()})

    def tensors(self, kinds: list[str] | None = None) -> dict[str, torch.Tensor]:
        """What the tasks need: image, brain, lesion, unsure (where given) (N,1,H,W) float32, label and kind (N,) long.

        Args:
            kinds: sources in the order of their class index; without it every slice is of kind 0.
        """
        order = kinds or []
        planes = {k: v for k, v in self.arrays().items() if v.ndim == 3}
        return {
            "kind": torch.tensor([order.index(str(s)) if order else 0 for s in self.source], dtype=torch.long),
            **{k: torch.from_numpy(v.astype(np.float32))[:, None] for k, v in planes.items()},
            "label": torch.from_numpy(self.lesion.any((1, 2)).astype(np.int64)),
        }
