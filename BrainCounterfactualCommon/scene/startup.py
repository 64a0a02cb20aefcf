"""What holds from the start of Slicer on, whether or not a module of ours is ever opened.

Each module's class calls :func:`begin` at ``startupCompleted``: whichever modules the user has switched off, the others
see to it. Qt comes from the module's own file.
"""

import slicer

from BrainCounterfactualCommon.scene import layouts
from BrainCounterfactualCommon.scene.annotations import (
    Captions,
    PatientSides,
    SyntheticWarnings,
    desktopRender,
    desktopRenderer,
)
from BrainCounterfactualCommon.scene.results import SYNTHETIC

_begun = {}


def begin(qt):
    """Know our layouts, which saved scenes name, and warn in all views that show a synthetic volume; done once."""
    if not _begun:
        _begun["layouts"] = layouts.KnownLayouts()
        views = (desktopRenderer, desktopRender, laterBy(qt))
        _begun["warnings"] = SyntheticWarnings(SYNTHETIC, *views)
        _begun["captions"] = Captions(*views)
        _begun["sides"] = PatientSides(*views)
        for watcher in _begun.values():
            watcher.start()


def markedViews():
    """Layout names of the slice views over which the warning stands."""
    return _begun["warnings"].views if _begun else []


def end():
    """Let go of the scene: Slicer quits."""
    for watcher in _begun.values():
        watcher.stop()
    _begun.clear()


def atStartup(qt, *more):
    """Call :func:`begin`, and what else a module does then, once Slicer is there; nothing where it has no window."""
    if slicer.app.commandOptions().noMainWindow:
        return
    for function in (lambda: begin(qt), *more):
        slicer.app.connect("startupCompleted()", function)
    slicer.app.connect("aboutToQuit()", end)


def laterBy(qt):
    """``(function)``: call it when the event loop is back, as after a layout change the views have no size before."""
    return lambda function: qt.QTimer.singleShot(0, function)
