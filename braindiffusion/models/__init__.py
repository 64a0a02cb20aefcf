"""Models: which are installed, their cards, loading and checking them. Loaded when first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from braindiffusion.models.registry import installed, load_model, read_card, resource, verify

__all__ = ["installed", "load_model", "read_card", "resource", "verify"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'braindiffusion.models' has no attribute '{name}'")
    return getattr(import_module("braindiffusion.models.registry"), name)
