"""Widget tests: the panel on stand-ins for Qt, ctk, qMRML and Slicer's module classes, over slicer-core's scene."""

import importlib.util
import sys
from pathlib import Path

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
    monkeypatch.setattr(
        standin_slicer.ScriptedLoadableModuleWidget, "folder", ROOT / "BrainCounterfactual", raising=False
    )
    yield type("Standins", (), {"dialogs": dialogs, "qt": qt})
    for name in [n for n in sys.modules if n.split(".")[0] in OURS]:
        del sys.modules[name]
    _application.clear()
    _application.uninstall()
