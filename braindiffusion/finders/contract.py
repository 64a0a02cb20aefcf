"""The contract of a finder: where in the slices is the lesion, as one :class:`Found`, whoever says so."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from braindiffusion.settings import HealSettings
from braindiffusion.volume.slices import SliceStack


@dataclass
class Found:
    """Where the lesion is, on the model grid.

    Attributes:
        maps: (S,H,W) float32 in [0,1]; zero where the gate closed, and where the region was given.
        probability: (S,) lesion probability of each slice (NaN where nobody was asked).
        judged_lesion: (S,) bool, slices that passed the gate.
        warnings: sentences for the user.
        cards: of the networks used.
        region: (S,H,W) bool, where the finder knows it itself; else it follows from ``maps`` by the mask rule.
        origin: for the provenance: the finder's name, ``drawn``, ``whole brain``.
    """

    maps: np.ndarray
    probability: np.ndarray
    judged_lesion: np.ndarray
    warnings: list[str] = field(default_factory=list)
    cards: Sequence[Mapping[str, Any]] = ()
    region: np.ndarray | None = None
    origin: str = ""


@dataclass(frozen=True)
class Finder:
    """A finder of the registry.

    Attributes:
        find: ``(stack, settings, wanted, device, on_event=None, only=None) -> Found``. ``wanted`` (S,) bool are the
            slices to look at; of those that pass the gate ``only`` one is asked for, where it is given.
        label: its name, for menus.
        region: ``(found, stack, settings) -> (S,H,W) bool`` where the finder knows what is lesion (a segmenter);
            ``None`` leaves it to the mask rule.
    """

    find: Callable[..., Found]
    label: str
    region: Callable[[Found, SliceStack, HealSettings], np.ndarray] | None = None
