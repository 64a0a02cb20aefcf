"""What holds for all module code: old Pythons read it, and it stays clear of torch, of the engine and of Qt."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "BrainCounterfactual"))
MODULES = [path.parent for path in ROOT.glob("Brain*/CMakeLists.txt")]
FILES = sorted(path for folder in MODULES for path in folder.rglob("*.py"))
MOST_LINES = 400


def imported(path: Path) -> set[str]:
    """Top-level names of everything a file imports, inside functions too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def test_files_are_found() -> None:
    assert {"logic.py", "scene.py", "workerclient.py", "BrainCounterfactual.py"} <= {path.name for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_module_code_is_python_3_9_and_stays_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    ast.parse(text, feature_version=(3, 9))
    assert "strict=" not in text  # zip(strict=) is 3.10
    assert len(text.splitlines()) <= MOST_LINES


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_module_code_imports_neither_torch_nor_engine_nor_qt(path: Path) -> None:
    names = imported(path)
    assert not names & {"torch", "monai", "braindiffusion", "SimpleITK", "PySide6", "trame_slicer"}
    in_widget = path.parent.name == path.stem  # <Module>/<Module>.py
    assert in_widget or not names & {"qt", "ctk"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_modules_stand_on_the_shared_package_and_not_on_each_other(path: Path) -> None:
    """``BrainLesionSimLib`` may be imported from ``BrainLesionSim/`` only; the shared package imports no module."""
    folder = path.relative_to(ROOT).parts[0]
    own = {folder, folder + "Lib", "BrainCounterfactualCommon"}
    assert {name for name in imported(path) if name.startswith("Brain")} <= own


def test_settings_mirror_the_engines() -> None:
    """Names and defaults, read from the engine's source: it needs torch, this test does not."""
    tree = ast.parse((ROOT / "braindiffusion" / "pipeline" / "stages.py").read_text(encoding="utf-8"))
    cls = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "HealSettings")
    engine = {n.target.id: ast.literal_eval(n.value) for n in cls.body if isinstance(n, ast.AnnAssign)}
    path = ROOT / "BrainCounterfactualCommon" / "healsettings.py"
    assigned = next(
        n for n in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(n, ast.Assign) and n.targets[0].id == "DEFAULTS"
    )  # fmt: skip
    assert ast.literal_eval(assigned.value) == engine


def test_saliency_menu_offers_the_engines_methods() -> None:
    """Keys of the engine's registry, in its settings and in the menu."""
    tree = ast.parse((ROOT / "braindiffusion" / "finders" / "registry.py").read_text(encoding="utf-8"))
    registry = next(n for n in tree.body if isinstance(n, ast.AnnAssign) and n.target.id == "METHODS")
    names = [key.value for key in registry.value.keys]
    from BrainCounterfactualLib.texts import saliencyChoices

    from BrainCounterfactualCommon.healsettings import CHOICES

    assert list(CHOICES["saliency"]) == names
    assert [value for value, _text in saliencyChoices()] == names


def test_strings_for_translation_are_no_f_strings() -> None:
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_" and node.args:
                assert not isinstance(node.args[0], ast.JoinedStr), f"{path.name}:{node.lineno}"


def test_no_path_of_this_machine() -> None:
    for path in FILES:
        assert not {f"/{name}/" for name in ("root", "work", "home")} & set(path.read_text(encoding="utf-8").split('"'))
        assert f"/{'root'}/" not in path.read_text(encoding="utf-8")
