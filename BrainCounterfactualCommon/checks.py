"""Settings, checked before anything is sent to the worker."""

from BrainCounterfactualCommon.host import Problem
from BrainCounterfactualCommon.host import tr as _


def checked(settings, defaults, choices, ranges):
    """All settings, the given ones over the defaults.

    Args:
        settings: a dict, or ``None``.
        defaults: name -> value of every setting there is.
        choices: name -> values allowed.
        ranges: name -> (least, most); ``None`` is always allowed.

    Raises:
        Problem: a name that is unknown, a value out of range.
    """
    settings = dict(settings or {})
    unknown = sorted(set(settings) - set(defaults))
    if unknown:
        raise refused(
            _("There is no setting '{name}'.").format(name=unknown[0]),
            _("Known settings: {names}.").format(names=", ".join(defaults)),
        )
    out = dict(defaults, **settings)
    for name, allowed in choices.items():
        if out[name] not in allowed:
            raise refused(
                _("'{value}' is not a choice for {name}.").format(value=out[name], name=name),
                _("Choices: {names}.").format(names=", ".join(str(choice) for choice in allowed)),
            )
    for name, (low, high) in ranges.items():
        value = out[name]
        if value is not None and not low <= value <= high:
            raise refused(
                _("{name} = {value} is out of range.").format(name=name, value=value),
                _("It lies between {low} and {high}.").format(low=low, high=high),
            )
    return out


def refused(what, cause):
    """The error of a setting that cannot be."""
    return Problem("SettingsError", what, cause, _("Change the setting in Advanced."))
