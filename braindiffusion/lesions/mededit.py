"""MedEdit: paint a lesion of a given shape, and let a margin around it answer (Ben Alaya et al., MICCAI SASHIMI 2024).

The corrected algorithm. As printed, the mask's sense is inverted (the lesion would be kept and the brain painted), the
known part lacks a square root and is a level too noisy, and the way back up uses the beta of the level it leaves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor

from braindiffusion.diffusion.resample import network_calls, resample, resampling_walk
from braindiffusion.diffusion.schedule import Schedule
from braindiffusion.diffusion.spacing import Spacing, ascending_levels
from braindiffusion.diffusion.steps import Clip, add_noise
from braindiffusion.errors import SettingsError
from braindiffusion.events import OnStep
from braindiffusion.lesions.common import (
    LAST_LEVEL,
    Induced,
    LesionModel,
    Run,
    check_range,
    check_shapes,
    generate_mask,
)
from braindiffusion.settings import Variance


@dataclass(frozen=True)
class MedEditSettings:
    """Settings of MedEdit.

    Attributes:
        kernel: k, side in pixels of the square the lesion is grown by (25 at 1.875 mm: it reaches 22.5 mm).
        steps: intervals from the first level down; ``None`` visits every level.
        resamples: U, how often each step is taken.
        jump: levels walked down before going back up.
        start: the first level. 999 begins from pure noise; a lower one from the noised image (late start).
        lift: with a late start, what the lesion is first brightened by (model units), its anatomy shining through.
        smooth_mm: with a late start beside the surroundings, what is finer is smoothed away inside the lesion first.
        match_grain: beside the surroundings, bring the grain of what was painted to that of the tissue around it.
        harmonise: passes over the finished image: noised to ``harmonise_level`` inside g, and down again.
        samples: independent draws.
    """

    kernel: int = 25
    steps: int | None = 25
    resamples: int = 4
    jump: int = 1
    start: int = LAST_LEVEL
    lift: float = 0.0
    smooth_mm: float = 0.0
    match_grain: bool = False
    harmonise: int = 0
    harmonise_level: int = 250
    spacing: Spacing = "quadratic"
    variance: Variance = "small"
    samples: int = 1
    clip: Clip = (-1.0, 1.0)

    def __post_init__(self) -> None:
        for name, least, most in (
            ("kernel", 1, 255), ("resamples", 1, 100), ("jump", 1, None), ("start", 0, LAST_LEVEL),
            ("harmonise", 0, 100), ("harmonise_level", 0, LAST_LEVEL), ("samples", 1, None),
        ):  # fmt: skip
            check_range(name, getattr(self, name), least, most)
        for name, known in (("spacing", get_args(Spacing)), ("variance", get_args(Variance))):
            if getattr(self, name) not in known:
                raise SettingsError(
                    f"There is no {name} '{getattr(self, name)}'.", f"Known: {', '.join(known)}.", "Choose one of them."
                )

    def walk(self) -> list[int]:
        """Levels visited, ending clean."""
        return resampling_walk(ascending_levels(self.start, self.steps, self.spacing), self.resamples, self.jump)

    def second_walk(self) -> list[int]:
        """Levels of one harmonising pass: those of the walk below its level, resampled alike."""
        levels = [v for v in ascending_levels(self.start, self.steps, self.spacing) if v < self.harmonise_level]
        return resampling_walk([*levels, self.harmonise_level], self.resamples, self.jump)

    def calls(self) -> int:
        """Network calls a batch costs: (levels - 1) U + 1 without a jump; 3,997 as published."""
        again = self.harmonise * network_calls(self.second_walk()) if self.harmonise else 0
        return network_calls(self.walk()) + again


def mededit(
    x0: Tensor,
    lesion: Tensor,
    brain: Tensor,
    model: LesionModel,
    settings: MedEditSettings,
    generator: torch.Generator,
    schedule: Schedule | None = None,
    on_step: OnStep | None = None,
    *,
    floor: Tensor | None = None,
) -> Induced:
    """Induce a lesion in a batch of slices.

    With ``g = dilate(p, k) AND b``, at every level
    ``x_{t-1} = g * DDPM(x_t; p, b) + (1 - g) * q(x0, t-1)``, then back to ``t`` for the next of U times; at the last
    level the kept part is ``x0`` itself, to the bit.

    Args:
        x0: (N,1,H,W) float32 in [0,1], the lesion-free slices.
        lesion: p, (N,1,H,W) bool, the lesion's shape or its filled boxes.
        brain: b, (N,1,H,W) bool.
        model: noise predictor conditioned on ``[p, b]``.
        generator: the only source of randomness; all slices share the draws.
        on_step: called after each network call; raising from it cancels.
        floor: (N,1,H,W) least value of the clean estimate, see :func:`~braindiffusion.diffusion.steps.above`.

    Raises:
        ValueError: a mask of another shape or type than the images ask for.
    """
    check_shapes(x0, lesion, brain)
    g = generate_mask(lesion, brain, settings.kernel)
    told = torch.cat([lesion, brain], dim=1).to(x0.dtype)
    return paint_region(x0, lesion, told, g, model, settings, generator, schedule, on_step, floor)


# long: what the three models that paint differ in, each a parameter
def paint_region(
    x0: Tensor, lesion: Tensor, condition: Tensor, region: Tensor, model: LesionModel, settings: MedEditSettings,
    generator: torch.Generator | Sequence[torch.Generator], schedule: Schedule | None, on_step: OnStep | None,
    floor: Tensor | None = None, begun: Tensor | None = None,
) -> Induced:  # fmt: skip
    """MedEdit's loop over a ``region`` g, (N,1,H,W) bool, with a model that is told ``condition``, (N,C',H,W).

    ``begun``, (samples*N,1,H,W): what a late start is noised from; the image with its lesion lifted where not given.
    """
    run = Run(x0, condition, model, settings.samples, generator, schedule, settings.calls(), on_step)
    state = run.first_noise()
    if settings.start < LAST_LEVEL:
        if begun is None:
            begun = (x0 + settings.lift * lesion).repeat(settings.samples, 1, 1, 1)
        state = add_noise(begun, state, settings.start, run.schedule)

    def paint(state: Tensor, walk: list[int], nth: int) -> Tensor:
        return resample(
            state, x0, region, run.model, walk, run.schedule, run.draws(nth), variance=settings.variance,
            clip=settings.clip, floor=floor, on_call=run.told,
        )  # fmt: skip

    out = paint(state, settings.walk(), 0)
    for nth in range(settings.harmonise):
        state = add_noise(out, run.first_noise(nth + 1), settings.harmonise_level, run.schedule)
        out = paint(state, settings.second_walk(), nth + 1)
    return run.finished(out, region)
