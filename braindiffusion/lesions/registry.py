"""Induction methods by name. One file and one line per method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeVar

from braindiffusion.errors import SettingsError
from braindiffusion.lesions.common import Induced, kernel_of
from braindiffusion.lesions.mededit import MedEditSettings, mededit
from braindiffusion.lesions.mededit_paired import PairedSettings, mededit_paired
from braindiffusion.lesions.naive_repaint import NaiveRePaintSettings, naive_repaint
from braindiffusion.lesions.palette import PaletteSettings, palette
from braindiffusion.lesions.sdedit import RATIOS, SDEditSettings, sdedit
from braindiffusion.registries import INDUCERS as METHODS
from braindiffusion.settings import MARGIN_MM, OWN_STEPS, InduceSettings

STEPS = 15
"""Where neither the user nor the card says how many."""

T = TypeVar("T")
Condition = Literal["lesion", "palette"]


@dataclass(frozen=True)
class Method:
    """An inducer ``(x0, lesion, brain, model, settings, generator, schedule, on_step) -> Induced``.

    Attributes:
        settings: its settings' type.
        margin: whether it lets a margin around the lesion change.
        takes_floor: whether it can be told how far the brain reaches (``floor``).
        condition: what its model is given: ``lesion`` [p, b], or ``palette`` [image with the lesion replaced by noise].
        in_context: whether it serves a model that is shown the surroundings, too.
    """

    run: Callable[..., Induced]
    settings: type[Any]
    condition: Condition = "lesion"
    margin: bool = False
    takes_floor: bool = False
    in_context: bool = False

    def takes(self, condition: str | None) -> bool:
        """Whether it works with a model that is given ``condition``."""
        return condition == self.condition or (self.in_context and condition == "surroundings")


def inducer(name: str, settings: type[Any], **facts: Any) -> Callable[[T], T]:
    """Register an inducer; see docs/adding_a_method.md.

    Args:
        facts: further fields of :class:`Method`, such as ``margin``.

    Raises:
        PluginError: the name is taken.
    """

    def register(function: T) -> T:
        METHODS.add(name, Method(function, settings, **facts))  # type: ignore[arg-type]
        return function

    return register


METHODS.update(
    {
        "mededit": Method(mededit, MedEditSettings, margin=True, takes_floor=True, in_context=True),
        "mededit_paired": Method(mededit_paired, PairedSettings, margin=True, takes_floor=True),
        "naive_repaint": Method(naive_repaint, NaiveRePaintSettings, takes_floor=True, in_context=True),
        "sdedit": Method(sdedit, SDEditSettings),
        "palette": Method(palette, PaletteSettings, "palette"),
    }
)


def options_of(asked: InduceSettings, pitch_mm: float, tuned: dict[str, Any] | None = None) -> Any:
    """A method's own settings.

    Args:
        pitch_mm: of the model grid.
        tuned: the card's operating point; what the user gave comes before it.

    Raises:
        SettingsError: an option was given that the method does not have.
    """
    method = METHODS[asked.method]
    known = {f.name for f in fields(method.settings)}
    own = ("resamples", "jump", "start", "lift", "harmonise", "strength", "ratio", "margin_mm")
    given: dict[str, Any] = {k: getattr(asked, k) for k in own if getattr(asked, k) is not None}
    foreign = sorted(k for k in given if k not in known and not (k == "margin_mm" and method.margin))
    if foreign:
        raise SettingsError(
            f"{asked.method} has no {' and no '.join(foreign)}.", "That belongs to another method.", "Leave it out."
        )
    kept = {k: v for k, v in (tuned or {}).items() if k in known or k == "margin_mm"}
    if not method.margin:
        kept = {k: kept[k] for k in ("steps", "spacing") if k in kept and "start" not in kept}
    if given.get("start", kept.get("start")) != kept.get("start"):
        kept.pop("steps", None)  # they were chosen for another start
    own_steps = kept.pop("steps", STEPS)
    steps = own_steps if asked.steps == OWN_STEPS else asked.steps
    options = kept | given
    reach = options.pop("margin_mm", MARGIN_MM[asked.condition])
    if method.margin:
        options["kernel"] = kernel_of(reach, pitch_mm)
    if "ratio" in known:
        options.setdefault("ratio", RATIOS.get(asked.kind, RATIOS["tumour"]))
    return method.settings(steps=steps, samples=asked.samples, **options)
