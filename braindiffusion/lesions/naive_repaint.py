"""Naive RePaint: MedEdit without a margin. Only the lesion itself is painted (g = p), each level three times."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from braindiffusion.diffusion.schedule import Schedule
from braindiffusion.events import OnStep
from braindiffusion.lesions.common import Induced, LesionModel
from braindiffusion.lesions.mededit import MedEditSettings, mededit


@dataclass(frozen=True)
class NaiveRePaintSettings(MedEditSettings):
    """As :class:`~braindiffusion.lesions.mededit.MedEditSettings`, with the published g = p and U = 3."""

    kernel: int = 1
    resamples: int = 3


def naive_repaint(
    x0: Tensor,
    lesion: Tensor,
    brain: Tensor,
    model: LesionModel,
    settings: NaiveRePaintSettings,
    generator: torch.Generator,
    schedule: Schedule | None = None,
    on_step: OnStep | None = None,
    *,
    floor: Tensor | None = None,
) -> Induced:
    """Induce a lesion inside its own outline; arguments and errors as :func:`~braindiffusion.lesions.mededit.mededit`.

    The surroundings cannot answer: no atrophy, no mass effect, and whatever tone the model gives the lesion stops at
    its edge.
    """
    return mededit(x0, lesion, brain, model, settings, generator, schedule, on_step, floor=floor)
