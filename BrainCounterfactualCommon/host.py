"""What desktop Slicer gives and slicer-core does not: translation, the base class of logics, resource folders."""

import logging
from pathlib import Path

from BrainCounterfactualCommon.worker.client import WorkerError

logger = logging.getLogger("BrainCounterfactual")

try:
    from slicer.i18n import tr
except ImportError:

    def tr(text):
        """Without Slicer's translator, a text is its own translation."""
        return text


try:
    from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic as LogicBase
except ImportError:

    class LogicBase:  # type: ignore[no-redef]
        """Base of logic classes where there is no ScriptedLoadableModule (slicer-core)."""

        def __init__(self, parent=None):
            self.parent = parent


NOT_FOR_DIAGNOSIS = "SYNTHETIC - NOT FOR DIAGNOSIS"
RESEARCH_USE_ONLY = "Research use only. Not a medical device. Never use it for diagnosis or treatment."


def packageRoot():
    """The folder that holds this package and, beside it, the engine: put it on the worker's path."""
    return Path(__file__).resolve().parent.parent


def resourceFolder(name):
    """The folder ``Resources/<name>`` (``Models``, ``Samples``): beside this package, or inside an installed engine.

    Raises:
        FileNotFoundError: it is nowhere to be found.
    """
    root = packageRoot()
    tried = [root / "Resources" / name, root / "braindiffusion" / "_resources" / name]
    for folder in tried:
        if folder.is_dir():
            return folder
    raise FileNotFoundError("{} is in none of: {}".format(name, ", ".join(str(folder) for folder in tried)))


class Problem(WorkerError):
    """An error that the module itself finds, in the same words as the worker's: what, cause, action."""
