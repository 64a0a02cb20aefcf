"""Induction methods by name. One file and one line per method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from braindiffusion.lesions.common import Induced
from braindiffusion.lesions.mededit import MedEditSettings, mededit
from braindiffusion.lesions.mededit_paired import PairedSettings, mededit_paired
from braindiffusion.lesions.naive_repaint import NaiveRePaintSettings, naive_repaint
from braindiffusion.lesions.palette import PaletteSettings, palette
from braindiffusion.lesions.sdedit import SDEditSettings, sdedit

Condition = Literal["lesion", "palette"]


@dataclass(frozen=True)
class Method:
    """An inducer ``(x0, lesion, brain, model, settings, generator, schedule, on_step) -> Induced``.

    Attributes:
        settings: its settings' type.
        margin: whether it lets a margin around the lesion change.
        takes_floor: whether it can be told how far the brain reaches (``floor``).
        condition: what its model must have been trained to see: ``lesion`` [p, b], or ``palette`` [torn image].
    """

    run: Callable[..., Induced]
    settings: type[Any]
    condition: Condition = "lesion"
    margin: bool = False
    takes_floor: bool = False


METHODS: dict[str, Method] = {
    "mededit": Method(mededit, MedEditSettings, margin=True, takes_floor=True),
    "mededit_paired": Method(mededit_paired, PairedSettings, margin=True, takes_floor=True),
    "naive_repaint": Method(naive_repaint, NaiveRePaintSettings, takes_floor=True),
    "sdedit": Method(sdedit, SDEditSettings),
    "palette": Method(palette, PaletteSettings, "palette"),
}
