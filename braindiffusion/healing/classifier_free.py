"""Classifier-free guidance (Ho & Salimans 2022), for lesions Sanchez et al. (DGM4MICCAI 2022).

One denoiser learned slices with their label, healthy or lesion, and without (label dropped). It takes the slice to
level L without a label, and brings it back towards healthy.

Convention: ``eps' = eps_0 + s (eps_h - eps_0)``, so ``s = 1`` is the healthy class alone and ``s = 3`` is ``w = 2`` in
``(1 + w) eps_h - w eps_0`` of Ho & Salimans.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from braindiffusion.diffusion.schedule import Schedule
from braindiffusion.events import OnStep
from braindiffusion.healing.contract import Healed
from braindiffusion.healing.guided import GuidedSettings, there_and_back
from braindiffusion.networks.build import CLASSES

HEALTHY, UNLABELLED = CLASSES.index("healthy"), CLASSES.index("unlabelled")


class LabelledEpsModel(Protocol):
    """A noise predictor of ``CLASSES``: (N,C,H,W) state, level, label -> (N,C,H,W) noise, float32."""

    def __call__(self, x: Tensor, level: int, *, label: int) -> Tensor: ...


@dataclass(frozen=True)
class ClassifierFreeSettings(GuidedSettings):
    """Settings of classifier-free guidance.

    Attributes:
        noise_level: L; as for classifier guidance.
        guidance: s, 3 as in Dif-fuse's comparison.
    """

    guidance: float = 3.0

    def calls(self) -> int:
        """Network calls a batch costs: one a step up (and its refinements), two a step down."""
        return super().calls() + len(self.levels()) if self.noise_level else 0


def classifier_free(
    x0: Tensor,
    mask: Tensor,
    model: LabelledEpsModel,
    settings: ClassifierFreeSettings,
    generator: torch.Generator,
    schedule: Schedule | None = None,
    on_step: OnStep | None = None,
) -> Healed:
    """Invert without a label, then DDIM guided towards healthy; no mask is used and nothing is drawn.

    Arguments as :func:`~braindiffusion.healing.dif_fuse.dif_fuse`, ``model`` a predictor that takes a ``label``.
    """

    def without(x: Tensor, level: int) -> Tensor:
        return model(x, level, label=UNLABELLED)

    def towards(x: Tensor, level: int) -> Tensor:
        plain = without(x, level)
        return plain + settings.guidance * (model(x, level, label=HEALTHY) - plain)

    return there_and_back(x0, settings, schedule or Schedule(), on_step, without, towards, calls_down=2)
