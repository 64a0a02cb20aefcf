"""Healing methods by name. One file and one line per method."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from braindiffusion.healing.dif_fuse import DifFuseSettings, Healed, dif_fuse

METHODS: dict[str, tuple[Callable[..., Healed], type[Any]]] = {
    "dif_fuse": (dif_fuse, DifFuseSettings),
}
"""Name -> (healer, settings). A healer is ``(x0, mask, model, settings, generator, schedule, on_step) -> Healed``."""
