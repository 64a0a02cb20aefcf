"""Healing methods by name. One file and one line per method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

from braindiffusion.errors import SettingsError
from braindiffusion.healing.ablations import AblationSettings, without_mask
from braindiffusion.healing.autoddpm import AutoDDPMSettings, autoddpm
from braindiffusion.healing.dif_fuse import DifFuseSettings, Healed, dif_fuse
from braindiffusion.healing.repaint import RePaintSettings, repaint


@dataclass(frozen=True)
class Method:
    """A healer ``(x0, mask, model, settings, generator, schedule, on_step) -> Healed``.

    Attributes:
        settings: its settings' type.
        masked: whether it heals inside a mask; one that does not is given the whole brain.
        takes_floor: whether it can be told how far the brain reaches (``floor``).
        fixed: settings that make it what it is, or that it does not share with the others (its own defaults).
    """

    run: Callable[..., Healed]
    settings: type[Any]
    masked: bool = True
    takes_floor: bool = False
    fixed: dict[str, Any] = field(default_factory=dict)

    def options(self, common: Any) -> Any:
        """Its settings: its own, and what it shares with ``common`` (a HealSettings) by name."""
        shared = {f.name for f in fields(self.settings)} - set(self.fixed)
        return self.settings(**self.fixed, **{k: getattr(common, k) for k in shared if hasattr(common, k)})


METHODS: dict[str, Method] = {
    "dif_fuse": Method(dif_fuse, DifFuseSettings, takes_floor=True),
    "repaint": Method(repaint, RePaintSettings),
    "autoddpm": Method(autoddpm, AutoDDPMSettings, masked=False, fixed={"noise_level": 200, "threshold": 0.13}),
    "mask_at_end": Method(without_mask, AblationSettings, fixed={"mask_at_end": True}),
    "ddpm": Method(without_mask, AblationSettings, masked=False, fixed={"up": "noise", "down": "ddpm"}),
    "ddim_ddpm": Method(without_mask, AblationSettings, masked=False, fixed={"up": "invert", "down": "ddpm"}),
    "ddpm_ddim": Method(without_mask, AblationSettings, masked=False, fixed={"up": "noise", "down": "ddim"}),
    "ddim": Method(without_mask, AblationSettings, masked=False, fixed={"up": "invert", "down": "ddim"}),
}
"""Those that need nothing but the healthy denoiser."""


def method_named(name: str) -> Method:
    """A method by name.

    Raises:
        SettingsError: there is none.
    """
    if name not in METHODS:
        raise SettingsError(f"There is no method '{name}'.", f"Known: {', '.join(METHODS)}.", "Choose one of them.")
    return METHODS[name]
