"""How a part says that something happened without knowing who wants to hear of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Signal:
    """Call it, and everything connected is called with the same arguments, in the order of connecting."""

    def __init__(self) -> None:
        self._connected: list[Callable[..., Any]] = []

    def connect(self, function: Callable[..., Any]) -> None:
        """Call ``function`` whenever the signal is called."""
        self._connected.append(function)

    def __call__(self, *arguments: Any) -> None:
        for function in self._connected:
            function(*arguments)
