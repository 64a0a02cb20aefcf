"""What the controls of the page act on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from BrainViewerLib.controllers.history import History
from BrainViewerLib.controllers.inducing import Inducing
from BrainViewerLib.controllers.inductiondesk import InductionDesk
from BrainViewerLib.controllers.jobs import Jobs
from BrainViewerLib.controllers.keeping import Keeping
from BrainViewerLib.controllers.maskdesk import MaskDesk
from BrainViewerLib.controllers.resultdesk import ResultDesk
from BrainViewerLib.controllers.saving import Saving
from BrainViewerLib.controllers.scans import Scans
from BrainViewerLib.server.messages import Messages
from BrainViewerLib.views.display import Display
from BrainViewerLib.views.pointer import Pointer


@dataclass(frozen=True)
class Controllers:
    """One of each, for the functions that make the page.

    Attributes:
        state: the page's.
        cancel: stops the job under way.
    """

    state: Any
    messages: Messages
    display: Display
    pointer: Pointer
    masks: MaskDesk
    history: History
    results: ResultDesk
    inductions: InductionDesk
    jobs: Jobs
    inducing: Inducing
    saving: Saving
    scans: Scans
    keeping: Keeping
    cancel: Callable[[], None]
