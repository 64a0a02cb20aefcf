"""The page's fields as settings of the engine, and as the parameters of the module."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from BrainLesionSimLib.roundtrip import LESION
from BrainLesionSimLib.settings import settingsOf

from BrainCounterfactualCommon.host import Problem
from braindiffusion.errors import SettingsError
from braindiffusion.settings import InduceSettings
from BrainViewerLib.controllers.words import steps_of, typed

HEAL: dict[str, Any] = {
    "set_steps": "", "set_samples": "1", "set_noise": "", "set_margin": "", "set_percentile": "", "set_gate": "",
    "set_seed": "0", "set_fusion": "cached", "set_rule": "", "set_seam": "", "set_device": "auto", "set_force": False,
}  # fmt: skip
"""Fields of the Heal tab and their defaults."""
HEAL_SENT = ("method", "model", "saliency_method", "heal_mask", *HEAL)
"""What a click on Find or Heal takes along."""
NUMBERS = {
    "set_samples": ("samples", int), "set_noise": ("noise_level", int), "set_margin": ("margin_mm", float),
    "set_percentile": ("percentile", float), "set_gate": ("gate", float), "set_seed": ("seed", int),
}  # fmt: skip
"""Field -> the setting and its type."""

_USUAL = InduceSettings()
INDUCE: dict[str, Any] = {
    "paint_method": _USUAL.method,
    "paint_condition": _USUAL.condition,
    "paint_steps": str(_USUAL.steps),
    "paint_resamples": "",
    "paint_margin": "",
    "paint_samples": "1",
    "paint_seed": "0",
    "heal_region": LESION,
}
"""Fields of the Induce tab and their defaults."""
INDUCE_SENT = ("paint_kind", "set_device", *INDUCE)
SHAPE_SENT = ("shape_kind", "shape_ml", "shape_side", "shape_lobe", "shape_seed", "set_device")
"""What a click on Induce, and on Make, takes along."""
INDUCE_WATCHED = ("paint_kind", "lesion_ml", *INDUCE)
"""What decides whether a lesion can be induced, and how far its margin reaches."""


def heal_settings(state: Any) -> dict[str, Any]:
    """The Heal tab as the engine's settings.

    Raises:
        SettingsError: a field does not hold a number.
    """
    out: dict[str, Any] = {
        "method": state.method, "model": state.model, "saliency": state.saliency_method, "fusion": state.set_fusion,
        "mask_rule": state.set_rule or None, "seam": state.set_seam or None, "device": state.set_device,
        "force": bool(state.set_force),
    }  # fmt: skip
    for field, (name, kind) in NUMBERS.items():
        text = str(state[field]).strip()
        if text:
            out[name] = typed(text, kind, name)
    out["steps"] = steps_of(str(state.set_steps), "0")
    return out


def induce_parameters(state: Any) -> SimpleNamespace:
    """The Induce tab as the module's parameter node has it.

    Raises:
        SettingsError: a field does not hold a number.
    """

    def of(field: str, kind: type, empty: Any) -> Any:
        text = str(state[field]).strip()
        return typed(text, kind, field.partition("_")[2]) if text else empty

    return SimpleNamespace(
        method=state.paint_method, kind=state.paint_kind, condition=state.paint_condition,
        steps=steps_of(str(state.paint_steps), INDUCE["paint_steps"]),
        resamples=of("paint_resamples", int, 0), marginMm=of("paint_margin", float, -1.0), massEffect=0.0,
        samples=of("paint_samples", int, 1), seed=of("paint_seed", int, 0), device=state.set_device,
        shapeKind=state.shape_kind, shapeMl=of("shape_ml", float, 0.0), shapeSide=state.shape_side,
        shapeLobe=state.shape_lobe, shapeSeed=of("shape_seed", int, 0),
    )  # fmt: skip


def margin_reach(state: Any, logic: Any, volume: Any) -> float | None:
    """How far the margin reaches, mm; ``None`` where the method has none, or a field cannot be read."""
    try:
        reach: float | None = logic.marginMm(volume, settingsOf(induce_parameters(state)))
    except (SettingsError, Problem):
        return None
    return reach
