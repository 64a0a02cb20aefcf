"""Dif-fuse: stochastic denoising inside the mask, deterministic outside (Fontanella et al., TMI 2024, Algorithm 1)."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

import torch
from torch import Tensor

from braindiffusion.diffusion.inversion import EpsModel, invert
from braindiffusion.diffusion.schedule import CLEAN, Schedule
from braindiffusion.diffusion.spacing import Spacing, ascending_levels
from braindiffusion.diffusion.steps import Clip, SharedNoise, Variance, above, ddim_move, ddpm_move, predict_clean
from braindiffusion.errors import SettingsError
from braindiffusion.healing.trajectories import BatchMemory, Inversion

Fusion = Literal["joint", "independent", "cached"]
IndexMode = Literal["ours", "reference"]


@dataclass(frozen=True)
class Step:
    """What a sampler tells after each network call.

    Attributes:
        done, total: network calls of this batch.
        level: noise level of the state that was just denoised or reached.
        clean: (N,C,H,W) current estimate of the clean image (of the first sample).
    """

    done: int
    total: int
    level: int
    clean: Tensor


OnStep = Callable[[Step], None]


@dataclass(frozen=True)
class DifFuseSettings:
    """Settings of Dif-fuse.

    Attributes:
        noise_level: K.
        steps: intervals on the way up (and down); ``None`` visits every level.
        fusion: ``joint``, the paper: one network call on the fused state serves both branches, and the outside drifts.
            ``independent``, the published code: the outside is a second, pure DDIM chain. ``cached``: the outside is
            the stored inversion trajectory, which is exact.
        index_mode: ``ours`` inverts 0..K-1 and denoises K..0; ``reference`` reproduces the published code, which
            inverts 1..K-1 and denoises K-2..0, two levels out of step.
        variance: ``small`` (paper, eq. 7) or ``large`` (published code).
        fixed_point: refinements per inversion step.
        samples: independent draws of the inside.
    """

    noise_level: int = 500
    steps: int | None = 10
    fusion: Fusion = "cached"
    index_mode: IndexMode = "ours"
    variance: Variance = "small"
    spacing: Spacing = "quadratic"
    fixed_point: int = 0
    samples: int = 1
    clip: Clip = (-1.0, 1.0)

    def __post_init__(self) -> None:
        for name, known in (
            ("fusion", get_args(Fusion)), ("index_mode", get_args(IndexMode)), ("variance", get_args(Variance)),
            ("spacing", get_args(Spacing)),
        ):  # fmt: skip
            if getattr(self, name) not in known:
                raise SettingsError(
                    f"There is no {name} '{getattr(self, name)}'.", f"Known: {', '.join(known)}.", "Choose one of them."
                )
        for name, least, most in (("noise_level", 0, 999), ("samples", 1, None), ("fixed_point", 0, None)):
            value = getattr(self, name)
            if value < least or (most is not None and value > most):
                raise SettingsError(
                    f"{name} {value} is not possible.",
                    f"It is at least {least}" + (f" and at most {most}." if most else "."),
                    "Choose a value in that range.",
                )

    def levels(self) -> tuple[list[int], list[int]]:
        """Levels upwards (states of the inversion) and downwards (states denoised, then clean)."""
        if self.index_mode == "reference":
            if self.steps is not None or self.noise_level < 3:
                raise SettingsError(
                    "Reference indexing needs every step.",
                    "It reproduces the published loop.",
                    "Use --steps full and K >= 3.",
                )
            if self.fusion == "cached":
                raise SettingsError(
                    "Reference indexing and cached fusion exclude each other.",
                    "The published loop denoises two levels out of step with its inversion.",
                    "Use --fusion independent, which is what was published.",
                )
            return list(range(1, self.noise_level + 1)), [*range(self.noise_level - 2, -1, -1), CLEAN]
        up = ascending_levels(self.noise_level, self.steps, self.spacing)
        return up, [*reversed(up), CLEAN]

    def calls(self, inverted: bool = False) -> int:
        """Network calls a batch of slices costs (each on the batch, or on its samples).

        Args:
            inverted: the batch's inversion is remembered.
        """
        if self.noise_level == 0:
            return 0
        up, down = self.levels()
        way_up, way_down = (len(up) - 1) * (1 + self.fixed_point), len(down) - 1
        way_down = 2 * way_down - 1 if self.fusion == "independent" else way_down
        return way_down - 1 if inverted else way_up + way_down

    def inversion_key(self) -> tuple[Hashable, ...]:
        """All settings that decide the inversion of a slice, and the call that follows it."""
        up, down = self.levels()
        return (*up, down[0], self.fixed_point, self.clip)


@dataclass(frozen=True)
class Healed:
    """Result of a healer.

    Attributes:
        samples: (S,N,C,H,W) float32 counterfactuals.
        reconstruction: (N,C,H,W) what the outside branch gives everywhere (DDIM reconstruction, or the input).
        calls: network calls made.
        score: (S,N,1,H,W) in [0,1], what a method's anomaly map is multiplied by, where it has found its region itself.
    """

    samples: Tensor
    reconstruction: Tensor
    calls: int
    score: Tensor | None = None


def unchanged(x0: Tensor, samples: int) -> Healed:
    """What noise level 0 gives: the slices themselves, at no call."""
    return Healed(x0[None].expand(samples, *x0.shape).clone(), x0, 0)


def dif_fuse(
    x0: Tensor,
    mask: Tensor,
    model: EpsModel,
    settings: DifFuseSettings,
    generator: torch.Generator,
    schedule: Schedule | None = None,
    on_step: OnStep | None = None,
    *,
    floor: Tensor | None = None,
    memory: BatchMemory | None = None,
) -> Healed:
    """Heal a batch of slices inside their masks.

    ``x_K`` by DDIM inversion of the whole image; then, at every level,
    ``x_{t-1} = m * DDPM(x_t) + (1 - m) * outside_{t-1}``.

    Args:
        x0: (N,C,H,W) float32 in [0,1].
        mask: (N,C,H,W) or (N,1,H,W) bool; respected per channel.
        model: noise predictor.
        generator: the only source of randomness; all slices share the draws.
        on_step: called after each network call; raising from it cancels.
        floor: (N,C,H,W) least value of the clean estimate, see :func:`~braindiffusion.diffusion.steps.above`.
        memory: of these slices' inversion, which is used where it is known, and else added.
    """
    schedule = schedule or Schedule()
    n, s = len(x0), settings.samples
    least = None if floor is None else floor.to(x0).repeat(s, 1, 1, 1)
    if settings.noise_level == 0:
        return unchanged(x0, s)
    up, down = settings.levels()
    inversion = memory.recall(x0.device) if memory else None
    total, done = settings.calls(inverted=inversion is not None), 0

    def tell(level: int, clean: Tensor) -> None:
        nonlocal done
        done += 1
        if on_step:
            on_step(Step(done, total, level, clean[:n]))

    def look(x: Tensor, level: int, answer: Tensor) -> tuple[Tensor, Tensor]:
        return predict_clean(x, answer, level, schedule, settings.clip)

    def denoise(x: Tensor, level: int) -> tuple[Tensor, Tensor]:
        clean, eps = look(x, level, model(x, level))
        tell(level, clean)
        return clean, eps

    if inversion is None:
        states = invert(x0, model, up, schedule, clip=settings.clip, fixed_point=settings.fixed_point, on_level=tell)
        inversion = Inversion(states, model(states[-1], down[0]))
        tell(down[0], look(states[-1], down[0], inversion.answer)[0])
        if memory:
            memory.keep(inversion)
    trajectory = inversion.states
    noise = SharedNoise(generator, tuple(x0.shape[1:]), s)  # type: ignore[arg-type]
    m = mask.expand_as(x0).repeat(s, 1, 1, 1)
    fused = trajectory[-1].repeat(s, 1, 1, 1)
    rec = trajectory[-1]
    stored = dict(zip(up, trajectory, strict=True)) | {CLEAN: x0}
    shared_input = True  # until the first fusion, both branches hold the same state
    for level, target in pairwise(down):
        if shared_input:
            clean_n, eps_n = look(rec, level, inversion.answer)
            clean, eps = clean_n.repeat(s, 1, 1, 1), eps_n.repeat(s, 1, 1, 1)
        else:
            clean, eps = denoise(fused, level)
        draw = noise.at(level, fused).expand(s, n, *x0.shape[1:]).reshape_as(fused)
        inside = ddpm_move(fused, above(clean, least, level), draw, level, target, schedule, settings.variance)
        if settings.fusion == "joint":
            outside = ddim_move(clean, eps, target, schedule)
        elif settings.fusion == "independent":
            if not shared_input:
                clean_n, eps_n = denoise(rec, level)
            rec = ddim_move(clean_n, eps_n, target, schedule)
            outside = rec.repeat(s, 1, 1, 1)
        else:
            outside = stored[target].repeat(s, 1, 1, 1)
        fused = torch.where(m, inside, outside)
        shared_input = False
    if settings.fusion != "independent":
        rec = x0
    return Healed(fused.view(s, *x0.shape), rec, done)
