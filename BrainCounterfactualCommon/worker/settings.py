"""Settings, checked before anything is sent to the worker, by the engine's own declaration of them."""

from dataclasses import asdict

from BrainCounterfactualCommon.host import Problem
from BrainCounterfactualCommon.host import tr as _
from braindiffusion.errors import LesionSizeError, SettingsError
from braindiffusion.settings import HealSettings, defaults_of, settings_from


def checked(kind, given=None):
    """All settings of a class of :mod:`braindiffusion.settings` as plain data, the given ones over the defaults.

    Raises:
        Problem: a name that is unknown, a value that the setting cannot have.
    """
    try:
        out = asdict(settings_from(kind, dict(defaults_of(kind), **(given or {}))))
    except (SettingsError, LesionSizeError) as error:
        raise refused(error.what, error.why) from error
    return {name: list(value) if isinstance(value, tuple) else value for name, value in out.items()}


def refused(what, cause):
    """The error of a setting that cannot be."""
    return Problem("SettingsError", what, cause, _("Change the setting in Advanced."))


def checkedSettings(settings=None):
    """All settings of a healing, the given ones over the defaults.

    Raises:
        Problem: a name that is unknown, a value out of range.
    """
    out = checked(HealSettings, settings)
    if None not in (out["steps"], out["noise_level"]) and out["steps"] > out["noise_level"]:
        raise refused(
            _("{steps} steps do not fit into noise level {level}.").format(
                steps=out["steps"], level=out["noise_level"]
            ),
            _("There is at most one step for each level."),
        )
    return out
