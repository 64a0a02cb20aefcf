"""The settings of a healing, checked before anything is sent."""

from BrainCounterfactualCommon.checks import checked, refused
from BrainCounterfactualCommon.host import tr as _
from braindiffusion.settings import HealSettings


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
