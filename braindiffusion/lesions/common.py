"""What the inducers share: result, settings that are checked alike, and the mask that may change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from braindiffusion.diffusion.schedule import Schedule
from braindiffusion.diffusion.steps import SharedNoise
from braindiffusion.errors import SettingsError
from braindiffusion.events import OnStep, Step
from braindiffusion.volume.masks import floor_under

LAST_LEVEL = 999
LesionModel = Callable[[Tensor, int, Tensor], Tensor]
"""A conditional noise predictor: (S*N,C,H,W) state, its level, (N,C',H,W) condition -> noise, float32."""


@dataclass(frozen=True)
class Induced:
    """Result of an inducer.

    Attributes:
        samples: (S,N,C,H,W) float32 counterfactuals.
        generate: (N,1,H,W) bool, where the method was free to paint.
        calls: network calls made for this batch.
    """

    samples: Tensor
    generate: Tensor
    calls: int


def square_dilate(mask: Tensor, kernel: int) -> Tensor:
    """Grow (N,1,H,W) bool by a square of ``kernel`` x ``kernel`` ones.

    An odd kernel reaches ``(kernel - 1) / 2`` pixels every way; an even one, as the published 20 for boxes, one pixel
    further towards the top and left.
    """
    after = (kernel - 1) // 2
    before = kernel - 1 - after
    padded = F.pad(mask.float(), (after, before, after, before))
    return F.max_pool2d(padded, kernel, stride=1) > 0.5


def generate_mask(lesion: Tensor, brain: Tensor, kernel: int) -> Tensor:
    """g: where MedEdit paints, the grown lesion inside the brain. (N,1,H,W) bool each."""
    return square_dilate(lesion, kernel) & brain


def floor_for(x0: Tensor, lesion: Tensor, brain: Tensor, settings: Any, pitch_mm: float) -> Tensor:
    """(N,1,H,W) what a method with a ``kernel`` is told of the brain's reach where it paints.

    See :func:`~braindiffusion.volume.masks.outline_floor`.
    """
    return floor_under(x0, brain, generate_mask(lesion, brain, settings.kernel), pitch_mm)


def kernel_of(margin_mm: float, pitch_mm: float) -> int:
    """Side in pixels of the square that reaches ``margin_mm``: odd, so that it reaches as far every way."""
    return 2 * round(margin_mm / pitch_mm) + 1


def check_range(name: str, value: float, least: float, most: float | None = None) -> None:
    """Raises SettingsError for a value outside its range."""
    if not (value >= least and (most is None or value <= most)):
        raise SettingsError(
            f"{name} {value:g} is not possible.",
            f"It is at least {least:g}" + (f" and at most {most:g}." if most is not None else "."),
            "Choose a value in that range.",
        )


def check_shapes(x0: Tensor, lesion: Tensor, brain: Tensor) -> None:
    """Raises ValueError unless both masks are (N,1,H,W) bool for the images (N,C,H,W)."""
    expected = (len(x0), 1, *x0.shape[2:])
    for name, mask in (("lesion", lesion), ("brain", brain)):
        if mask.dtype != torch.bool or tuple(mask.shape) != expected:
            raise ValueError(f"{name} is {mask.dtype} {tuple(mask.shape)}, not bool {expected}")


class OwnNoise(SharedNoise):
    """As :class:`SharedNoise`, but each slice has draws of its own: for a batch that is no volume."""

    def __init__(self, generators: Sequence[torch.Generator], shape: tuple[int, int, int], samples: int = 1) -> None:
        self._each = [SharedNoise(g, shape, samples) for g in generators]

    def at(self, level: int, like: Tensor) -> Tensor:
        """(samples,N,C,H,W), one draw for each slice."""
        return torch.cat([each.at(level, like) for each in self._each], dim=1)


class Run:
    """One batch of an inducer: tells the model its condition, draws the noise, and reports each network call.

    Attributes:
        condition: (N,C',H,W) what the model is told beside the state.

    Args:
        generator: the only source of randomness: one for a volume, whose slices share the draws, or one a slice.
    """

    def __init__(
        self, x0: Tensor, condition: Tensor, model: LesionModel, samples: int,
        generator: torch.Generator | Sequence[torch.Generator], schedule: Schedule | None, total: int,
        on_step: OnStep | None,
    ) -> None:  # fmt: skip
        self.x0, self.condition, self.samples = x0, condition, samples
        self.schedule = schedule or Schedule()
        self._model, self._generator, self._on_step, self._total = model, generator, on_step, total
        self._draws: dict[int, SharedNoise] = {}
        self.calls = 0

    def model(self, state: Tensor, level: int) -> Tensor:
        """The noise predictor that has been told the condition."""
        return self._model(state, level, self.condition)

    def draws(self, nth: int) -> SharedNoise:
        """The noise of the nth walk; of one generator, the same for all slices of a sample."""
        c, h, w = self.x0.shape[1:]
        while nth not in self._draws:
            one = isinstance(self._generator, torch.Generator)
            kind = SharedNoise if one else OwnNoise
            self._draws[len(self._draws)] = kind(self._generator, (c, h, w), self.samples)  # type: ignore[arg-type]
        return self._draws[nth]

    def first_noise(self, nth: int = 0) -> Tensor:
        """(S*N,C,H,W) standard normal, to begin the nth walk with."""
        drawn = self.draws(nth).at(-2, self.x0)
        return drawn.expand(-1, len(self.x0), *self.x0.shape[1:]).reshape(-1, *self.x0.shape[1:]).to(self.x0)

    def told(self, level: int, clean: Tensor) -> None:
        """Report a network call."""
        self.calls += 1
        if self._on_step:
            self._on_step(Step(self.calls, self._total, level, clean[: len(self.x0)]))

    def finished(self, clean: Tensor, generate: Tensor) -> Induced:
        """The result."""
        return Induced(clean.view(self.samples, *self.x0.shape), generate, self.calls)
