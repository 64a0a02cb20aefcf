"""How the engine is built: arrows that never turn back, files of one idea, functions that fit a screen."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENGINE = ROOT / "braindiffusion"
MOST_LINES, MOST_PARAMETERS = 80, 10
REASON = "# long:"
"""What begins a comment above a function that says why it may be longer, or take more."""
ORDER = (
    "core", "diffusion", "networks", "models", "volume", "io", "finders", "healing", "lesions", "pipeline", "export",
    "training", "cohort", "studies", "evaluation", "bench", "worker", "cli",
)  # fmt: skip
"""Folders from the ground up: what a file imports lies below it, or beside it in its own folder."""
BACK = {
    ("models", "io"): "cards and weights are files: paths, and writing that is whole or not at all",
    ("pipeline", "export"): "a result writes and shows itself (save, show), when it is asked to",
}
"""Arrows against the order, and why."""


def module_of(path: Path) -> str:
    """Dotted name."""
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


def imports_of(tree: ast.AST, known: set[str]) -> set[str]:
    """Modules of the engine that a file imports when it runs, at its head or inside functions."""
    only_typing = {
        id(child)
        for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for child in ast.walk(node)
    }  # fmt: skip
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in only_typing:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in known else node.module)
    return (found & known) - {"braindiffusion"}


def graph() -> dict[str, set[str]]:
    """Module -> modules it imports."""
    files = {module_of(path): path for path in ENGINE.rglob("*.py")}
    known = set(files)
    return {
        name: imports_of(ast.parse(path.read_text(encoding="utf-8")), known) - {name} for name, path in files.items()
    }


def folder_of(module: str) -> str:
    """The folder a module lies in; ``core`` for the root."""
    parts = module.split(".")
    return parts[1] if len(parts) > 2 or (ENGINE / parts[-1]).is_dir() else "core"


def test_no_import_turns_back() -> None:
    try:
        TopologicalSorter(graph()).prepare()
    except CycleError as error:
        raise AssertionError(f"These files import each other in a circle: {' -> '.join(error.args[1])}") from error


def test_folders_stand_on_those_below() -> None:
    """Every arrow goes down the order, but for those that are named with their reason."""
    against = {
        (folder_of(module), folder_of(other))
        for module, others in graph().items() if module not in ("braindiffusion.__main__", "braindiffusion.models")
        for other in others
        if ORDER.index(folder_of(other)) > ORDER.index(folder_of(module))
    }  # fmt: skip
    assert against == set(BACK)


def test_every_folder_has_its_place() -> None:
    folders = {path.parent.name for path in ENGINE.glob("*/__init__.py")}
    assert folders == set(ORDER) - {"core"}


def too_much(path: Path) -> Iterator[str]:
    """Functions of a file that are longer, or take more, than a reader keeps in mind, without a word why."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
        given = node.args
        named = [a for a in (*given.posonlyargs, *given.args, *given.kwonlyargs) if a.arg not in ("self", "cls")]
        longest = (node.end_lineno or first) - node.lineno + 1 > MOST_LINES or len(named) > MOST_PARAMETERS
        if longest and not lines[first - 2].strip().startswith(REASON):
            yield f"{path.name}:{node.lineno} {node.name}"


def test_functions_fit_a_screen_or_say_why() -> None:
    assert not [found for path in sorted(ENGINE.rglob("*.py")) for found in too_much(path)]


@pytest.mark.parametrize(("above", "expected"), [("", 1), (f"{REASON} a table, line by line\n", 0)])
def test_a_function_that_is_too_long_is_seen(tmp_path: Path, above: str, expected: int) -> None:
    file = tmp_path / "long.py"
    file.write_text(above + "def f(a):\n" + "    a = 1\n" * MOST_LINES, encoding="utf-8")
    assert len(list(too_much(file))) == expected
