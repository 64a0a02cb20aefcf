"""What is shown: the scan, the open tab, and the run of each tab."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass
class Run:
    """The work of one tab. Of both tabs together, one runs at a time.

    Attributes:
        mode: the tab, ``heal`` or ``induce``.
        logic: the module's logic that the tab works with.
        volume: the scan that is worked on.
        healing: whether what was induced is being healed again.
    """

    mode: str
    logic: Any
    volume: Any = None
    healing: bool = False


class Shown:
    """The scan shown and the two tabs.

    Args:
        state: the page's; ``mode`` names the open tab.
        heal: logic of the Heal tab.
        induce: logic of the Induce tab.
    """

    def __init__(self, state: Any, heal: Any, induce: Any) -> None:
        self._state = state
        self.volume: Any = None
        self.heal, self.induce = Run("heal", heal), Run("induce", induce)

    @property
    def run(self) -> Run:
        """Of the open tab."""
        return self.induce if self._state.mode == "induce" else self.heal

    @property
    def logic(self) -> Any:
        """Of the open tab."""
        return self.run.logic

    @property
    def busy(self) -> bool:
        """Whether a job of either tab is under way."""
        return bool(self.heal.logic.busy or self.induce.logic.busy)

    def preview(self, run: Run) -> Any:
        """The volume that shows a run about the scan shown, or ``None``."""
        return run.logic.previewNode if run.volume is self.volume else None
