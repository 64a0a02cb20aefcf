"""The settings of an induction: from the panel's parameters, and checked before anything is sent."""

from BrainCounterfactualCommon.worker.settings import checked
from braindiffusion.settings import MARGIN_INDUCERS, InduceSettings, ShapeSettings

LEAST_PERCENT = -50.0
"""Of a mass effect; the spin box shows what is less as automatic."""


def settingsOf(parameters):
    """Settings of an induction from the module's parameter node."""
    hasMargin = parameters.method in MARGIN_INDUCERS
    return {
        "method": parameters.method,
        "kind": parameters.kind,
        "condition": parameters.condition,
        "steps": parameters.steps,
        "resamples": parameters.resamples if hasMargin and parameters.resamples > 0 else None,
        "margin_mm": parameters.marginMm if hasMargin and parameters.marginMm >= 0 else None,
        "mass_effect": parameters.massEffect if parameters.massEffect >= LEAST_PERCENT else None,
        "samples": parameters.samples,
        "seed": parameters.seed,
        "device": parameters.device,
    }


def shapeOf(parameters):
    """What the random generator is asked for, from the module's parameter node."""
    return {
        "kind": parameters.shapeKind,
        "ml": parameters.shapeMl if parameters.shapeMl > 0 else None,
        "side": parameters.shapeSide or None,
        "lobe": parameters.shapeLobe or None,
    }


def checkedSettings(settings=None):
    """All settings of an induction, the given ones over the defaults; raises Problem."""
    return checked(InduceSettings, settings)


def checkedShape(shape=None):
    """All fields of a shape, the given ones over the defaults; raises Problem."""
    return checked(ShapeSettings, shape)
