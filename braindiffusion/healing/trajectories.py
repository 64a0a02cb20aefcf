"""Inversions kept between runs: the way up depends on neither mask nor seed, and costs half of a healing."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

MOST_BYTES = 512 * 2**20
"""About 1,000 slices of 112 x 96 pixels at ten steps."""


@dataclass(frozen=True)
class Inversion:
    """The way up of a batch of slices, and the first call of the way down, which no mask has touched yet.

    Attributes:
        states: one (N,C,H,W) a level, ascending; the first is the slices themselves.
        answer: (N,C,H,W), the network's, to the last state at the first level of the way down.
    """

    states: list[Tensor]
    answer: Tensor


class Trajectories:
    """A memory of inversions by slice, in the computer's memory; the least recently used are dropped first.

    Args:
        most_bytes: that it may hold.

    Attributes:
        bytes: that it holds.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._kept: OrderedDict[Hashable, Tensor] = OrderedDict()
        self._most, self.bytes = most_bytes, 0

    def __contains__(self, key: Hashable) -> bool:
        return key in self._kept

    def __len__(self) -> int:
        return len(self._kept)

    def recall(self, keys: Sequence[Hashable], device: torch.device) -> Inversion | None:
        """The inversion of all these slices as one batch; ``None`` where one of them is not known."""
        if not all(key in self._kept for key in keys):
            return None
        for key in keys:
            self._kept.move_to_end(key)
        *states, answer = torch.stack([self._kept[key] for key in keys], dim=1).to(device).unbind(0)
        return Inversion(states, answer)

    def keep(self, keys: Sequence[Hashable], inversion: Inversion) -> None:
        """Remember a batch's inversion, slice by slice."""
        together = torch.stack([*inversion.states, inversion.answer]).cpu()
        for n, key in enumerate(keys):
            self.forget(key)
            one = together[:, n].clone()  # a part of the batch would hold on to all of it
            size = one.nbytes
            if size > self._most:
                continue
            while self.bytes + size > self._most:
                self.forget(next(iter(self._kept)))
            self._kept[key] = one
            self.bytes += size

    def forget(self, key: Hashable) -> None:
        """Drop one slice, where it is known."""
        dropped = self._kept.pop(key, None)
        if dropped is not None:
            self.bytes -= dropped.nbytes

    def clear(self) -> None:
        """Drop all."""
        self._kept.clear()
        self.bytes = 0


@dataclass(frozen=True)
class BatchMemory:
    """The memory as a healer sees it: of its batch alone.

    Attributes:
        keys: one a slice of the batch; they say all that decides an inversion.
    """

    memory: Trajectories
    keys: Sequence[Hashable]

    def recall(self, device: torch.device) -> Inversion | None:
        """See :meth:`Trajectories.recall`."""
        return self.memory.recall(self.keys, device)

    def keep(self, inversion: Inversion) -> None:
        """See :meth:`Trajectories.keep`."""
        self.memory.keep(self.keys, inversion)


@dataclass(frozen=True)
class StackMemory:
    """The memory for the slices of one stack, inverted one way.

    Attributes:
        facts: all that decides an inversion but the slice: the stack, the network, how it computes, levels.
    """

    memory: Trajectories
    facts: tuple[Hashable, ...]

    def knows(self, s: int) -> bool:
        """Whether the inversion of a slice is at hand."""
        return (*self.facts, int(s)) in self.memory

    def of(self, part: Iterable[int]) -> BatchMemory:
        """The memory of these slices as one batch."""
        return BatchMemory(self.memory, [(*self.facts, int(s)) for s in part])
