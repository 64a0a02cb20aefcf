"""DDIM inversion: from the clean image up to level K, deterministically."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import Tensor

from braindiffusion.diffusion.schedule import Schedule
from braindiffusion.diffusion.steps import Clip, ddim_move, predict_clean

EpsModel = Callable[[Tensor, int], Tensor]
"""A noise predictor: (N,C,H,W) state and its level -> (N,C,H,W) noise, float32."""


def invert(
    x0: Tensor,
    model: EpsModel,
    levels: Sequence[int],
    schedule: Schedule,
    *,
    clip: Clip = (-1.0, 1.0),
    fixed_point: int = 0,
    on_level: Callable[[int, Tensor], None] | None = None,
) -> list[Tensor]:
    """Walk ``levels`` upwards from the clean image.

    The clean image takes the place of the state at ``levels[0]`` (level 0, abar = 0.9999), as in the papers.

    Args:
        x0: (N,C,H,W) clean images in [0, 1].
        model: noise predictor, one call per interval plus ``fixed_point`` more.
        levels: ascending, e.g. from :func:`~braindiffusion.diffusion.spacing.ascending_levels`.
        fixed_point: refinements per step that solve for the state whose own downward DDIM step returns here
            (about 5 make a 20-step round trip exact to 1e-5).
        on_level: called after each call of the network with (level reached, clean estimate); may raise to cancel.

    Returns:
        One state per level, the first being ``x0`` itself.
    """
    trajectory = [x0]
    for level, target in pairwise(levels):
        x = trajectory[-1]
        clean, eps = predict_clean(x, model(x, level), level, schedule, clip)
        z = ddim_move(clean, eps, target, schedule)
        if on_level:
            on_level(target, clean)
        a, b = schedule.signal(level), schedule.signal(target)
        for _ in range(fixed_point):
            clean, eps = predict_clean(z, model(z, target), target, schedule, clip)
            z = math.sqrt(b) * (x - math.sqrt(1.0 - a) * eps) / math.sqrt(a) + math.sqrt(1.0 - b) * eps
            if on_level:
                on_level(target, clean)
        trajectory.append(z)
    return trajectory
