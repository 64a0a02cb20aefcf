"""Registries of healers, finders and inducers: those of this package, and those of others. No torch.

Another package adds an entry by a decorator (:func:`braindiffusion.healing.registry.healer`,
:func:`braindiffusion.finders.registry.finder`, :func:`braindiffusion.lesions.registry.inducer`) and names its module as
an entry point of the group, so that it is found without being imported first. See docs/adding_a_method.md.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from braindiffusion.errors import PluginError, SettingsError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

T = TypeVar("T")


@cache
def _entry_points(group: str) -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points  # 20 ms that most commands do not need

    return {point.name: point for point in entry_points(group=group)}


class Registry(dict[str, T], Generic[T]):
    """Entries by name. One that another package promises by an entry point is loaded when it is first asked for.

    Args:
        title: what an entry is called in messages, such as ``method``.
        group: name of the entry points.
    """

    def __init__(self, title: str, group: str) -> None:
        super().__init__()
        self.title, self.group = title, group

    def add(self, name: str, entry: T) -> None:
        """Register an entry.

        Raises:
            PluginError: the name is taken.
        """
        if dict.__contains__(self, name):
            raise PluginError(
                f"There are two of {self.title} '{name}'.", "A name can be registered once.", "Give it another name."
            )
        self[name] = entry

    def __missing__(self, name: str) -> T:
        point = _entry_points(self.group).get(name)
        if point is None:
            raise KeyError(name)
        try:
            loaded = point.load()
        except Exception as error:  # whatever another package does when it is imported
            raise PluginError(
                f"The {self.title} '{name}' cannot be loaded.",
                f"{point.value}: {type(error).__name__}: {error}",
                "Repair or uninstall the package that brings it.",
            ) from error
        if not dict.__contains__(self, name):  # the module of a decorated function has registered it already
            self[name] = loaded
        return self[name]

    def __contains__(self, name: object) -> bool:
        return dict.__contains__(self, name) or name in _entry_points(self.group)

    def names(self) -> list[str]:
        """All names: of this package, registered since, and promised by installed packages."""
        return list(dict.fromkeys([*self, *_entry_points(self.group)]))

    def named(self, name: str) -> T:
        """An entry by name.

        Raises:
            SettingsError: there is none.
        """
        if name not in self:
            known = ", ".join(self.names())
            raise SettingsError(f"There is no {self.title} '{name}'.", f"Known: {known}.", "Choose one of them.")
        return self[name]


HEALERS: Registry[Any] = Registry("method", "braindiffusion.healers")
FINDERS: Registry[Any] = Registry("saliency method", "braindiffusion.finders")
INDUCERS: Registry[Any] = Registry("method", "braindiffusion.inducers")
"""Filled by :mod:`braindiffusion.healing.registry`, :mod:`braindiffusion.finders.registry` and
:mod:`braindiffusion.lesions.registry`."""
