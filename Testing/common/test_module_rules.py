"""What holds for all module code: it stays clear of torch and of Qt, and knows the engine's torch-free core alone."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "BrainCounterfactual"))
MODULES = [path.parent for path in ROOT.glob("Brain*/CMakeLists.txt")]
FILES = sorted(path for folder in MODULES for path in folder.rglob("*.py"))
MOST_LINES = 400
CORE = {
    f"braindiffusion.{name}"
    for name in ("cards", "errors", "events", "modality", "registries", "settings", "volume.mask_values")
} | {"braindiffusion"}
"""The engine's torch-free core (see Testing/engine/test_core.py)."""


def imported(path: Path) -> set[str]:
    """Top-level names of everything a file imports, inside functions too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def engine_imports(path: Path) -> set[str]:
    """Modules of the engine that a file imports."""
    nodes = [n for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.ImportFrom)]
    return {str(n.module) for n in nodes if str(n.module).split(".")[0] == "braindiffusion"}


def test_files_are_found() -> None:
    assert {"logic.py", "volumes.py", "client.py", "BrainCounterfactual.py"} <= {path.name for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_module_code_is_python_3_10_and_stays_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    ast.parse(text, feature_version=(3, 10))
    assert len(text.splitlines()) <= MOST_LINES


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_module_code_imports_neither_torch_nor_qt_and_of_the_engine_its_core(path: Path) -> None:
    names = imported(path)
    assert not names & {"torch", "monai", "SimpleITK", "PySide6", "trame_slicer"}
    assert engine_imports(path) <= CORE
    in_widget = path.parent.name == path.stem  # <Module>/<Module>.py
    assert in_widget or not names & {"qt", "ctk"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_modules_stand_on_the_shared_package_and_not_on_each_other(path: Path) -> None:
    """``BrainLesionSimLib`` may be imported from ``BrainLesionSim/`` only; the shared package imports no module."""
    folder = path.relative_to(ROOT).parts[0]
    own = {folder, folder + "Lib", "BrainCounterfactualCommon"}
    assert {name for name in imported(path) if name.startswith("Brain")} <= own


def test_saliency_menu_offers_the_engines_finders() -> None:
    from BrainCounterfactualLib.texts import saliencyChoices

    from braindiffusion.settings import HealSettings, declared

    assert [value for value, _text in saliencyChoices()] == list(declared(HealSettings)["saliency"].choices)


def test_strings_for_translation_are_no_f_strings() -> None:
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_" and node.args:
                assert not isinstance(node.args[0], ast.JoinedStr), f"{path.name}:{node.lineno}"


def test_no_path_of_this_machine() -> None:
    for path in FILES:
        assert not {f"/{name}/" for name in ("root", "work", "home")} & set(path.read_text(encoding="utf-8").split('"'))
        assert f"/{'root'}/" not in path.read_text(encoding="utf-8")
