"""Inpainting by resampling (RePaint, Lugmayr et al. 2022): the loop that MedEdit, naive RePaint and RePaint share.

At every step down, the region to generate comes from the model and the rest from the image itself, noised to the same
level. Going back up and down again lets the two agree with one another.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from braindiffusion.diffusion.inversion import EpsModel
from braindiffusion.diffusion.schedule import CLEAN, Schedule
from braindiffusion.diffusion.steps import Clip, SharedNoise, above, add_noise, ddpm_move, predict_clean
from braindiffusion.errors import SettingsError
from braindiffusion.settings import Variance

Known = Literal["after", "before"]


def resampling_walk(levels: Sequence[int], resamples: int = 1, jump: int = 1) -> list[int]:
    """The states a resampling sampler visits, from the noisiest to the clean image.

    Whenever the walk has come down ``jump`` levels it goes back up by as many, ``resamples - 1`` times; not from the
    clean image, whose only step down is done once. MedEdit is ``jump = 1``; RePaint walks 250 levels with
    ``jump = 10`` and ``resamples = 10``.

    Args:
        levels: ascending noise levels, e.g. from :func:`~braindiffusion.diffusion.spacing.ascending_levels`.
        resamples: U, how often each stretch is walked down.
        jump: levels of a stretch.

    Returns:
        Levels, the last of them ``CLEAN``. Each step down costs a network call, a step up none.

    Raises:
        SettingsError: ``resamples`` or ``jump`` below 1.
    """
    for name, value in (("resamples", resamples), ("jump", jump)):
        if value < 1:
            raise SettingsError(f"{name} {value} is not possible.", "It counts from 1.", f"Give {name} 1 or more.")
    left = dict.fromkeys(range(0, len(levels) - jump, jump), resamples - 1)
    at, walk = len(levels) - 1, [levels[-1]]
    while at >= 0:
        at -= 1
        walk.append(levels[at] if at >= 0 else CLEAN)
        if left.get(at, 0) > 0:
            left[at] -= 1
            walk += [levels[at + k] for k in range(1, jump + 1)]
            at += jump
    return walk


def network_calls(walk: Sequence[int]) -> int:
    """Steps down in a walk: what it costs."""
    return sum(target < level for level, target in pairwise(walk))


def renoise(x: Tensor, noise: Tensor, level: int, target: int, schedule: Schedule) -> Tensor:
    """Back up, ``level -> target``: ``sqrt(alpha) x + sqrt(1 - alpha) noise``, ``alpha = abar_target / abar_level``.

    For neighbouring levels ``1 - alpha`` is beta of the level arrived at (printed algorithms take the one left).
    """
    alpha = schedule.signal(target) / schedule.signal(level)
    return math.sqrt(alpha) * x + math.sqrt(1.0 - alpha) * noise


# long: what RePaint, naive RePaint and MedEdit differ in, each a parameter
def resample(
    state: Tensor,
    x0: Tensor,
    generate: Tensor | None,
    model: EpsModel,
    walk: Sequence[int],
    schedule: Schedule,
    noise: SharedNoise,
    *,
    known: Known = "after",
    variance: Variance = "small",
    clip: Clip = (-1.0, 1.0),
    floor: Tensor | None = None,
    on_call: Callable[[int, Tensor], None] | None = None,
) -> Tensor:
    """Walk from ``walk[0]`` to the clean image, keeping what is not to be generated.

    Args:
        state: (S*N,C,H,W) at level ``walk[0]``, samples one after the other.
        x0: (N,C,H,W) the image whose rest is kept.
        generate: (N,1 or C,H,W) bool, True where the model paints; ``None`` paints everywhere.
        model: noise predictor.
        noise: draws, shared by all slices of a sample.
        known: ``after`` puts the known part into the state a step arrives at (MedEdit): at the clean image that is
            ``x0`` itself, so what is kept is bit-identical. ``before`` puts it in before each call but the first, and
            leaves the last step as it came (RePaint as published).
        floor: (N,C,H,W) least value of the clean estimate, see :func:`~braindiffusion.diffusion.steps.above`.
        on_call: called after each network call with its level and clean estimate (S*N,C,H,W); may raise to cancel.

    Returns:
        (S*N,C,H,W) clean images, float32.
    """
    n = len(x0)
    s = len(state) // n
    keep = None if generate is None else ~generate.expand_as(x0).repeat(s, 1, 1, 1)
    image = x0.repeat(s, 1, 1, 1)
    least = None if floor is None else floor.to(x0).repeat(s, 1, 1, 1)

    def draw(step: int, use: int) -> Tensor:
        drawn = noise.at(2 * step + use, state)
        return drawn.expand(-1, n, *x0.shape[1:]).reshape_as(state)

    def with_known(x: Tensor, level: int, step: int) -> Tensor:
        if keep is None:
            return x
        return torch.where(keep, image if level == CLEAN else add_noise(image, draw(step, 1), level, schedule), x)

    for step, (level, target) in enumerate(pairwise(walk)):
        if target > level:
            state = renoise(state, draw(step, 0), level, target, schedule)
            continue
        if known == "before" and step:
            state = with_known(state, level, step)
        clean, _ = predict_clean(state, model(state, level), level, schedule, clip)
        if on_call:
            on_call(level, clean)
        state = ddpm_move(state, above(clean, least, level), draw(step, 0), level, target, schedule, variance)
        if known == "after":
            state = with_known(state, target, step)
    return state
