"""Widget tests: the panel on stand-ins for Qt, ctk, qMRML and Slicer's module classes, over slicer-core's scene."""

import importlib
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
for folder in (
    ROOT,
    ROOT / "BrainCounterfactual",
    ROOT / "BrainLesionSim",
    ROOT / "BrainReaderStudy",
    ROOT / "Testing",
    ROOT / "Testing" / "logic",
    Path(__file__).parent,
):
    sys.path.insert(0, str(folder))

if importlib.util.find_spec("slicer") is None or importlib.util.find_spec("PySide6") is None:
    collect_ignore_glob = ["test_*.py"]

OURS = (
    "BrainCounterfactual",
    "BrainCounterfactualLib",
    "BrainCounterfactualCommon",
    "BrainLesionSim",
    "BrainLesionSimLib",
    "BrainReaderStudy",
    "BrainReaderStudyLib",
)


@pytest.fixture(scope="session")
def _application():
    from core_application import CoreApplication

    return CoreApplication()


@pytest.fixture
def standins(_application, monkeypatch):
    """Slicer with stand-ins for all that slicer-core lacks; ``standins.dialogs`` keeps what was shown.

    Our own packages are imported afresh on the stand-ins, and put back afterwards.
    """
    import slicer
    import standin_qt
    import standin_slicer

    _application.install()
    _application.clear()
    qt, dialogs = standin_qt.moduleQt(), standin_slicer.Dialogs()
    named, util = standin_slicer.modules(qt, dialogs)
    for name in [n for n in sys.modules if n.split(".")[0] in OURS]:
        monkeypatch.delitem(sys.modules, name)
    for name, module in named.items():
        monkeypatch.setitem(sys.modules, name, module)
        if "." in name:
            monkeypatch.setattr(slicer, name.split(".")[1], module, raising=False)
    for name, function in util.items():
        monkeypatch.setattr(slicer.util, name, function)
    monkeypatch.setattr(slicer, "qMRMLSegmentEditorWidget", standin_qt.qMRMLSegmentEditorWidget, raising=False)
    yield type("Standins", (), {"dialogs": dialogs, "qt": qt, "eventLoop": standin_qt.Timer.eventLoop})
    standin_qt.Timer.later.clear()
    if "BrainCounterfactualCommon.scene.startup" in sys.modules:
        sys.modules["BrainCounterfactualCommon.scene.startup"].end()
    for name in [n for n in sys.modules if n.split(".")[0] in OURS]:
        del sys.modules[name]
    _application.clear()
    _application.uninstall()


@pytest.fixture
def module(request, standins):
    """The module that the test's parameter names, else ``MODULE`` of its file, imported on the stand-ins."""
    return importlib.import_module(getattr(request, "param", None) or request.module.MODULE)


@pytest.fixture
def widget(module, monkeypatch):
    """The panel, set up; its worker answers when the test says so (see panels.py)."""
    import panels

    from BrainCounterfactualCommon.worker import dependencies

    monkeypatch.setattr(dependencies, "satisfied", lambda: True)
    made = panels.makeWidget(module)
    made.setup()
    yield made
    made.cleanup()


@pytest.fixture
def scan(widget):
    """An oblique FLAIR of (k,j,i) = (6,8,10), chosen in the panel."""
    from logic_helpers import makeVolume, obliqueAffine

    node = makeVolume(np.arange(480, dtype=np.int16).reshape(6, 8, 10), obliqueAffine(), "head FLAIR")
    widget.ui.inputSelector.setCurrentNode(node)
    return node


@pytest.fixture
def views(standins):
    """The layout node, and the views of all compare layouts and the usual Red; returns the module ``layouts``."""
    from logic_helpers import makeLayoutNode, makeViews

    from BrainCounterfactualCommon.scene import layouts

    makeLayoutNode()
    makeViews(*layouts.COMPARE_TAGS, layouts.UNCERTAINTY, *layouts.LESION_TAGS, "Red")
    return layouts
