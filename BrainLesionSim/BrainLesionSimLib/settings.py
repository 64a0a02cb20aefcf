"""The settings of an induction: the engine's own names and defaults, checked here before anything is sent.

A mirror of ``braindiffusion.pipeline.induce.InduceSettings`` and ``braindiffusion.lesions.shapes.ShapeSettings``
(a test holds them together): the module never imports the engine.
"""

from BrainCounterfactualCommon import checks

DEFAULTS = {
    "method": "mededit_paired",
    "kind": "stroke",
    "model": None,
    "condition": "mask",
    "steps": 15,
    "resamples": None,
    "jump": None,
    "margin_mm": None,
    "guidance": None,
    "start": None,
    "lift": None,
    "harmonise": None,
    "strength": None,
    "ratio": None,
    "keep_outline": True,
    "taper": None,
    "samples": 1,
    "slices": None,
    "seed": 0,
    "device": "auto",
    "precision": "auto",
    "batch": 8,
    "force": False,
}
SHAPE_DEFAULTS = {"kind": "stroke", "ml": None, "side": None, "lobe": None, "territory": None}

CHOICES = {
    "method": ("mededit", "mededit_paired", "naive_repaint", "sdedit", "palette"),
    "kind": ("stroke", "tumour"),
    "condition": ("mask", "box"),
}
SHAPE_CHOICES = {
    "kind": ("stroke", "tumour", "spots"),
    "side": (None, "L", "R"),
    "lobe": (None, "frontal", "parietal", "temporal", "occipital"),
}
MOST_ML = 400.0
"""The largest lesion the engine makes or accepts."""
RANGES = {
    "steps": (1, 999),
    "resamples": (1, 100),
    "margin_mm": (0.0, 100.0),
    "guidance": (0.0, 20.0),
    "samples": (1, 64),
    "seed": (0, 2**31 - 1),
    "batch": (1, 1024),
}
SHAPE_RANGES = {"ml": (0.001, MOST_ML)}
MARGIN_METHODS = ("mededit", "mededit_paired")
"""Methods that let a margin around the lesion change."""
MARGIN_MM = {"mask": 22.5, "box": 18.75}
"""Reach of the margin by condition, where neither the user nor the model's card says otherwise."""


def settingsOf(parameters):
    """Settings of an induction from the module's parameter node."""
    hasMargin = parameters.method in MARGIN_METHODS
    return {
        "method": parameters.method,
        "kind": parameters.kind,
        "condition": parameters.condition,
        "steps": parameters.steps,
        "resamples": parameters.resamples if hasMargin and parameters.resamples > 0 else None,
        "margin_mm": parameters.marginMm if hasMargin and parameters.marginMm >= 0 else None,
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
    out = checks.checked(settings, DEFAULTS, CHOICES, RANGES)
    if out["slices"] is not None:
        out["slices"] = list(out["slices"])
    return out


def checkedShape(shape=None):
    """All fields of a shape, the given ones over the defaults; raises Problem."""
    return checks.checked(shape, SHAPE_DEFAULTS, SHAPE_CHOICES, SHAPE_RANGES)
