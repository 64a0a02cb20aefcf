"""Counterfactual brain scans: remove a lesion and show what changed.

Research use only, never diagnosis. Importing this package does no work and does not import torch: the names below are
loaded when they are first used. See docs/python.md.

    import braindiffusion as bd

    scan = bd.read_scan("scan.nii.gz")
    result = bd.heal(scan, bd.HealSettings(steps=10))
    result.save("healed")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from braindiffusion import models
    from braindiffusion.io.read import read_mask, read_scan
    from braindiffusion.pipeline.heal import HealResult
    from braindiffusion.pipeline.heal import heal_scan as heal
    from braindiffusion.pipeline.induce import InduceResult
    from braindiffusion.pipeline.induce import induce_scan as induce
    from braindiffusion.pipeline.saliency import SaliencyResult
    from braindiffusion.pipeline.saliency import saliency_scan as find_lesion
    from braindiffusion.settings import HealSettings, InduceSettings, ShapeSettings
    from braindiffusion.volume.scan import Scan

__version__ = "0.1.0"

NOT_FOR_DIAGNOSIS = "SYNTHETIC - NOT FOR DIAGNOSIS"
RESEARCH_USE_ONLY = "Research use only. Not a medical device; never use for diagnosis or treatment."

__all__ = [
    "NOT_FOR_DIAGNOSIS", "RESEARCH_USE_ONLY", "HealResult", "HealSettings", "InduceResult", "InduceSettings",
    "SaliencyResult", "Scan", "ShapeSettings", "find_lesion", "heal", "induce", "models", "read_mask", "read_scan",
]  # fmt: skip

_LAZY = {
    "read_scan": "io.read", "read_mask": "io.read", "heal": "pipeline.heal:heal_scan",
    "find_lesion": "pipeline.saliency:saliency_scan", "induce": "pipeline.induce:induce_scan",
    "HealResult": "pipeline.heal", "SaliencyResult": "pipeline.saliency", "InduceResult": "pipeline.induce",
    "HealSettings": "settings", "InduceSettings": "settings", "ShapeSettings": "settings", "Scan": "volume.scan",
}  # fmt: skip
"""Public name -> the module that has it, and its name there where that is another."""


def __getattr__(name: str) -> Any:
    if name == "models":
        return import_module("braindiffusion.models")
    if name not in _LAZY:
        raise AttributeError(f"module 'braindiffusion' has no attribute '{name}'")
    module, _, other = _LAZY[name].partition(":")
    return getattr(import_module(f"braindiffusion.{module}"), other or name)


def __dir__() -> list[str]:
    return sorted(__all__)
