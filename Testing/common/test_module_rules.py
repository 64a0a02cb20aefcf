"""What holds for all module code: it stays clear of torch and of Qt, and knows the engine's torch-free core alone."""

import ast
import sys
from graphlib import TopologicalSorter
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
    in_plugin = path.stem.endswith("SubjectHierarchyPlugin")  # loaded by desktop Slicer itself
    assert in_widget or in_plugin or not names & {"qt", "ctk"}


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


# --- arrows ---

SHARED = ("scene", "worker", "panels")
VIEWER = ("server", "views", "controllers", "page", "kiosk")
"""Folders from the ground up: what a file imports from another folder lies below it."""
PACKAGES = {ROOT / "BrainCounterfactualCommon": SHARED, ROOT / "BrainViewer" / "BrainViewerLib": VIEWER}


def arrows(package: Path) -> dict[str, set[str]]:
    """Module -> modules of the same package that it imports, for typing too."""
    files = {".".join(p.relative_to(package.parent).with_suffix("").parts): p for p in package.rglob("*.py")}
    found: dict[str, set[str]] = {}
    for name, path in files.items():
        nodes = [n for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.ImportFrom)]
        names = {f"{n.module}.{a.name}" for n in nodes for a in n.names} | {str(n.module) for n in nodes}
        found[name] = (names & set(files)) - {name}
    return found


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_no_import_turns_back(package: Path) -> None:
    TopologicalSorter(arrows(package)).prepare()


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_folders_stand_on_those_below(package: Path) -> None:
    order = PACKAGES[package]
    assert {p.parent.name for p in package.glob("*/__init__.py")} == set(order)
    for module, others in arrows(package).items():
        for folder in {m.split(".")[1] for m in others if len(m.split(".")) > 2} & set(order):
            mine = module.split(".")[1]
            assert mine not in order or order.index(folder) <= order.index(mine), f"{module} imports from {folder}"


def test_no_part_of_the_viewer_takes_the_whole_viewer() -> None:
    """State, scan, messages and views are handed in; only who starts the viewer knows its class."""
    graph = arrows(ROOT / "BrainViewer" / "BrainViewerLib")
    wholes = {"BrainViewerLib.app", "BrainViewerLib.kiosk.app"}
    assert {module for module, others in graph.items() if others & wholes} == {"BrainViewerLib.launch"}
    for path in (ROOT / "BrainViewer" / "BrainViewerLib").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                taken = [
                    a for f in node.body if isinstance(f, ast.FunctionDef) for a in (*f.args.args, *f.args.kwonlyargs)
                ]
                kinds = {ast.unparse(a.annotation) for a in taken if a.annotation is not None}
                assert not kinds & {"BrainViewer", "Kiosk", "Controllers"}, f"{path.name}: {node.name}"
