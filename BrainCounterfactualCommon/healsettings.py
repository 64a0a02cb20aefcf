"""The settings of a healing: the engine's own names and defaults, checked here before anything is sent.

A mirror of ``braindiffusion.pipeline.stages.HealSettings`` (a test holds the two together): the module never imports
the engine.
"""

from BrainCounterfactualCommon.checks import checked, refused
from BrainCounterfactualCommon.host import tr as _

DEFAULTS = {
    "method": "dif_fuse",
    "model": None,
    "saliency": "acat",
    "fusion": "cached",
    "noise_level": None,
    "guidance": None,
    "steps": 10,
    "index_mode": "ours",
    "keep_outline": True,
    "variance": "small",
    "percentile": None,
    "mask_rule": None,
    "mask_order": "paper",
    "percentile_over": "brain",
    "margin_mm": None,
    "gate": None,
    "threshold": None,
    "anomaly": None,
    "samples": 1,
    "slices": None,
    "seed": 0,
    "device": "auto",
    "precision": "auto",
    "batch": None,
    "force": False,
}

CHOICES = {
    "saliency": ("acat", "latent_shift", "gradient", "integrated", "gradcam"),
    "fusion": ("cached", "joint", "independent"),
    "mask_rule": (None, "percentile", "grown"),
}

RANGES = {
    "noise_level": (1, 999),
    "guidance": (0.0, 1000.0),
    "steps": (1, 1000),
    "percentile": (0.0, 100.0),
    "margin_mm": (-20.0, 50.0),
    "gate": (0.0, 1.0),
    "samples": (1, 64),
    "seed": (0, 2**31 - 1),
    "batch": (1, 1024),
}


def checkedSettings(settings=None):
    """All settings, the given ones over the defaults.

    Raises:
        Problem: a name that is unknown, a value out of range.
    """
    out = checked(settings, DEFAULTS, CHOICES, RANGES)
    if None not in (out["steps"], out["noise_level"]) and out["steps"] > out["noise_level"]:
        raise refused(
            _("{steps} steps do not fit into noise level {level}.").format(
                steps=out["steps"], level=out["noise_level"]
            ),
            _("There is at most one step for each level."),
        )
    if out["slices"] is not None:
        out["slices"] = list(out["slices"])
    return out
