"""Dif-fuse: stochastic denoising inside the mask, deterministic outside (Fontanella et al., TMI 2024, Algorithm 1)."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, get_args

import torch
from torch import Tensor

from braindiffusion.diffusion.inversion import EpsModel, invert
from braindiffusion.diffusion.schedule import CLEAN, Schedule
from braindiffusion.diffusion.spacing import Spacing, ascending_levels, level_of_ratio
from braindiffusion.diffusion.steps import Clip, SharedNoise, above, add_noise, ddim_move, ddpm_move, predict_clean
from braindiffusion.errors import SettingsError
from braindiffusion.events import OnStep, Step
from braindiffusion.healing.contract import Healed, unchanged
from braindiffusion.healing.trajectories import BatchMemory, Inversion
from braindiffusion.settings import Fusion, IndexMode, Variance

InversionMode = Literal["ddim", "known"]


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
        inversion: ``ddim`` (the paper), or ``known`` for a model that is shown the clean surroundings
            (:func:`inpaint`).
        clip: range of the clean estimate.
        start_ratio: with ``known``, the noise-to-signal ratio from which the inside starts where there is a hint of
            what belongs there (the mirrored hemisphere), as SDEdit does; ``None`` starts from noise alone.
    """

    noise_level: int = 500
    steps: int | None = 10
    fusion: Fusion = "cached"
    index_mode: IndexMode = "ours"
    variance: Variance = "small"
    spacing: Spacing = "quadratic"
    fixed_point: int = 0
    samples: int = 1
    inversion: InversionMode = "ddim"
    clip: Clip = (-1.0, 1.0)
    start_ratio: float | None = None

    def __post_init__(self) -> None:
        for name, known in (
            ("fusion", get_args(Fusion)), ("index_mode", get_args(IndexMode)), ("variance", get_args(Variance)),
            ("spacing", get_args(Spacing)), ("inversion", get_args(InversionMode)),
        ):  # fmt: skip
            if getattr(self, name) not in known:
                raise SettingsError(
                    f"There is no {name} '{getattr(self, name)}'.", f"Known: {', '.join(known)}.", "Choose one of them."
                )
        if self.inversion == "known" and self.fusion != "cached":
            raise SettingsError(
                f"This model cannot heal by {self.fusion} fusion.",
                "It is shown the surroundings, which stay as they are: that is cached fusion.",
                "Choose cached fusion (--fusion), or a model that is shown none, such as flair-healthy-128 (--model).",
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

    def from_hint(self) -> DifFuseSettings:
        """The settings of a walk that starts from a noised hint."""
        if self.start_ratio is None:
            return self
        return replace(self, noise_level=min(self.noise_level, level_of_ratio(self.start_ratio)))

    def calls(self, inverted: bool = False) -> int:
        """Network calls a batch of slices costs (each on the batch, or on its samples).

        Args:
            inverted: the batch's inversion is remembered.
        """
        if self.noise_level == 0:
            return 0
        up, down = self.levels()
        if self.inversion == "known":
            return len(down) - 1
        way_up, way_down = (len(up) - 1) * (1 + self.fixed_point), len(down) - 1
        way_down = 2 * way_down - 1 if self.fusion == "independent" else way_down
        return way_down - 1 if inverted else way_up + way_down

    def inversion_key(self) -> tuple[Hashable, ...]:
        """All settings that decide the inversion of a slice, and the call that follows it."""
        up, down = self.levels()
        return (*up, down[0], self.fixed_point, self.clip)


class _Denoiser:
    """The network's estimate of the clean image and of the noise; counts the calls and tells each."""

    def __init__(
        self, model: EpsModel, schedule: Schedule, settings: DifFuseSettings, slices: int, total: int,
        on_step: OnStep | None,
    ) -> None:  # fmt: skip
        self._model, self._schedule, self._clip = model, schedule, settings.clip
        self._slices, self._total, self._on_step = slices, total, on_step
        self.calls = 0

    def __call__(self, x: Tensor, level: int) -> tuple[Tensor, Tensor]:
        clean, eps = self.split(x, self._model(x, level), level)
        self.called(level, clean)
        return clean, eps

    def split(self, x: Tensor, answer: Tensor, level: int) -> tuple[Tensor, Tensor]:
        """An answer of the network -> estimates of the clean image and of the noise."""
        return predict_clean(x, answer, level, self._schedule, self._clip)

    def called(self, level: int, clean: Tensor) -> None:
        """Tell a network call."""
        self.calls += 1
        if self._on_step:
            self._on_step(Step(self.calls, self._total, level, clean[: self._slices]))


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
    hint: Tensor | None = None,
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
        hint: (N,C,H,W) what may belong inside, see :func:`inpaint`.
    """
    schedule = schedule or Schedule()
    n, s = len(x0), settings.samples
    if settings.noise_level == 0:
        return unchanged(x0, s)
    if settings.inversion == "known":
        return inpaint(x0, mask, model, settings, generator, schedule, on_step, hint)
    up, down = settings.levels()
    inversion = memory.recall(x0.device) if memory else None
    denoise = _Denoiser(model, schedule, settings, n, settings.calls(inverted=inversion is not None), on_step)
    if inversion is None:
        states = invert(
            x0, model, up, schedule, clip=settings.clip, fixed_point=settings.fixed_point, on_level=denoise.called
        )
        inversion = Inversion(states, model(states[-1], down[0]))
        denoise.called(down[0], denoise.split(states[-1], inversion.answer, down[0])[0])
        if memory:
            memory.keep(inversion)

    def each(x: Tensor) -> Tensor:
        """One state for all samples -> one a sample."""
        return x.repeat(s, 1, 1, 1)

    noise = SharedNoise(generator, tuple(x0.shape[1:]), s)  # type: ignore[arg-type]
    m = each(mask.expand_as(x0))
    least = None if floor is None else each(floor.to(x0))
    stored = dict(zip(up, inversion.states, strict=True)) | {CLEAN: x0}
    x, alone = each(inversion.states[-1]), inversion.states[-1]  # fused state; the outside as a chain of its own
    for level, target in pairwise(down):
        if level == down[0]:  # no mask has touched the state yet: its one call was made with the inversion
            clean_alone, eps_alone = denoise.split(alone, inversion.answer, level)
            clean, eps = each(clean_alone), each(eps_alone)
        else:
            clean, eps = denoise(x, level)
        draw = noise.at(level, x).expand(s, n, *x0.shape[1:]).reshape_as(x)
        inside = ddpm_move(x, above(clean, least, level), draw, level, target, schedule, settings.variance)
        if settings.fusion == "joint":
            outside = ddim_move(clean, eps, target, schedule)
        elif settings.fusion == "independent":
            if level != down[0]:
                clean_alone, eps_alone = denoise(alone, level)
            alone = ddim_move(clean_alone, eps_alone, target, schedule)
            outside = each(alone)
        else:
            outside = each(stored[target])
        x = torch.where(m, inside, outside)
    return Healed(x.view(s, *x0.shape), alone if settings.fusion == "independent" else x0, denoise.calls)


def inpaint(
    x0: Tensor,
    mask: Tensor,
    model: EpsModel,
    settings: DifFuseSettings,
    generator: torch.Generator,
    schedule: Schedule,
    on_step: OnStep | None = None,
    hint: Tensor | None = None,
) -> Healed:
    """Dif-fuse with a model that is shown the clean surroundings; arguments as of :func:`dif_fuse`.

    Outside the mask the noise is no riddle to such a model: what it predicts is the noise itself, so the path of the
    inversion is ``x_t = sqrt(abar) x0 + sqrt(1 - abar) e`` and costs no call. Inside, x0 is hidden from it, and the
    walk starts from noise alone, or from a noised ``hint`` (N,C,H,W): nothing of the lesion leaks. Both are fused at
    every level, as in Algorithm 1.
    """
    n, s = len(x0), settings.samples
    if hint is not None:
        settings = settings.from_hint()
    _, down = settings.levels()
    denoise = _Denoiser(model, schedule, settings, n, settings.calls(), on_step)
    noise = SharedNoise(generator, tuple(x0.shape[1:]), s)  # type: ignore[arg-type]
    clean_x0, m = x0.repeat(s, 1, 1, 1), mask.expand_as(x0).repeat(s, 1, 1, 1)

    def drawn(level: int) -> Tensor:
        return noise.at(level, x0).expand(s, n, *x0.shape[1:]).reshape_as(clean_x0)

    everywhere = drawn(schedule.levels)

    def outside(level: int) -> Tensor:
        return clean_x0 if level == CLEAN else add_noise(clean_x0, everywhere, level, schedule)

    start = drawn(schedule.levels + 1)
    if hint is not None and settings.start_ratio is not None:
        start = add_noise(hint.repeat(s, 1, 1, 1), start, down[0], schedule)
    x = torch.where(m, start, outside(down[0]))
    for level, target in pairwise(down):
        clean, _ = denoise(x, level)
        inside = ddpm_move(x, clean, drawn(level), level, target, schedule, settings.variance)
        x = torch.where(m, inside, outside(target))
    return Healed(x.view(s, *x0.shape), x0, denoise.calls)
