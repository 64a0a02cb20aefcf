"""Models: which are installed, their cards, loading and checking them. Loaded when first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from braindiffusion.cards import installed, read_card, resource
    from braindiffusion.models.registry import load_model, verify

__all__ = ["installed", "load_model", "read_card", "resource", "verify"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'braindiffusion.models' has no attribute '{name}'")
    home = "braindiffusion.models.registry" if name in ("load_model", "verify") else "braindiffusion.cards"
    return getattr(import_module(home), name)
