"""Paired MedEdit: what the lesion changes, and nothing that mere repainting changes. Ours, not in a paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from braindiffusion.diffusion.schedule import Schedule
from braindiffusion.events import OnStep, Step
from braindiffusion.lesions.common import Induced, LesionModel, check_range, check_shapes, generate_mask
from braindiffusion.lesions.mededit import MedEditSettings, paint_region


@dataclass(frozen=True)
class PairedSettings(MedEditSettings):
    """As :class:`~braindiffusion.lesions.mededit.MedEditSettings`, and how strongly the difference is added.

    Attributes:
        strength: 1 adds what the network drew; tuned on val until the lesions' contrast was that of real ones.
    """

    strength: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("strength", self.strength, 0.0, 10.0)


def _twins(generator: torch.Generator | Sequence[torch.Generator]) -> torch.Generator | list[torch.Generator]:
    """Generators for a batch and its copy, so that both receive the same noise."""
    if isinstance(generator, torch.Generator):
        return generator
    copies = [torch.Generator(g.device).set_state(g.get_state()) for g in generator]
    return [*generator, *copies]


def mededit_paired(
    x0: Tensor,
    lesion: Tensor,
    brain: Tensor,
    model: LesionModel,
    settings: PairedSettings,
    generator: torch.Generator,
    schedule: Schedule | None = None,
    on_step: OnStep | None = None,
    *,
    floor: Tensor | None = None,
) -> Induced:
    """Induce a lesion; arguments and errors as :func:`~braindiffusion.lesions.mededit.mededit`.

    MedEdit runs twice over the same margin from the same noise, told the lesion and told none, and
    ``x0 + strength (with - without)`` is the result: what both draw differently from the slice (sulci, grain) cancels,
    what the lesion brings, in it and around it, stays. Each network call sees every slice twice.
    """
    check_shapes(x0, lesion, brain)
    n, g = len(x0), generate_mask(lesion, brain, settings.kernel)

    def difference(clean: Tensor) -> Tensor:
        told, untold = clean.unflatten(-4, (2, n)).unbind(-5)
        return x0 + settings.strength * (told - untold)

    def tell(step: Step) -> None:
        if on_step:
            on_step(replace(step, clean=difference(step.clean)))

    twice = (2, 1, 1, 1)
    both = torch.cat([lesion, torch.zeros_like(lesion)])
    condition = torch.cat([both, brain.repeat(twice)], dim=1).to(x0.dtype)
    out = paint_region(
        x0.repeat(twice), both, condition, g.repeat(twice), model, settings, _twins(generator), schedule, tell,
        None if floor is None else floor.repeat(twice),
    )  # fmt: skip
    return Induced(difference(out.samples), g, out.calls)
