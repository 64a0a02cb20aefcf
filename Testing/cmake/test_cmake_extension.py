"""The extension against a STUB of Slicer's CMake package: every listed file exists, all that is needed is installed."""

import importlib.util
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STUB = Path(__file__).parent / "stub"
MODULES = sorted(path.parent for path in ROOT.glob("Brain*/CMakeLists.txt"))


def listed(folder: Path) -> set[str]:
    """Python scripts and resources named in a module's CMakeLists.txt."""
    text = (folder / "CMakeLists.txt").read_text(encoding="utf-8")
    found: set[str] = set()
    for block in re.findall(r"set\(\w*PYTHON_(?:SCRIPTS|RESOURCES)(.*?)\)", text, re.S):
        found |= {name.replace("${MODULE_NAME}", folder.name) for name in block.split()}
    return found


@pytest.mark.parametrize("folder", MODULES, ids=lambda folder: folder.name)
def test_lists_and_files_on_disk_agree(folder: Path) -> None:
    files = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.name != "CMakeLists.txt"
    }
    assert listed(folder) == files


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The build and the installed modules' folder."""
    cmake = shutil.which("cmake")
    if cmake is None:
        pytest.skip("cmake is not installed.")
    build, prefix = tmp_path_factory.mktemp("build"), tmp_path_factory.mktemp("installed")
    for command in (
        [cmake, "-S", ROOT, "-B", build, f"-DSlicer_DIR={STUB}", "-DBUILD_TESTING=ON"],
        [cmake, "--build", build],
        [cmake, "--install", build, "--prefix", prefix],
    ):
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return build, prefix / "lib" / "Slicer-0.0" / "qt-scripted-modules"


def test_metadata_is_complete(installed: tuple[Path, Path]) -> None:
    facts = dict(line.split("=", 1) for line in (installed[0] / "metadata.txt").read_text().splitlines())
    assert facts["NAME"] == "BrainCounterfactual"
    assert not facts["NAME"].startswith("Slicer")
    assert facts["DEPENDS"] == "PyTorch"
    assert all(facts.values())
    for name in ("ICONURL", "SCREENSHOTURLS"):
        assert facts[name].startswith("https://")
        assert "?" not in facts[name]
        assert (ROOT / facts[name].split("/main/")[1]).is_file()


@pytest.mark.parametrize("tree", ["build", "installed"])
def test_everything_the_module_needs_lies_beside_it(installed: tuple[Path, Path], tree: str) -> None:
    folder = installed[1] if tree == "installed" else installed[0] / "lib" / "Slicer-0.0" / "qt-scripted-modules"
    for module in MODULES:
        beside = folder / module.name if module.name == "BrainCounterfactualCommon" else folder
        assert not [name for name in listed(module) if not (beside / name).is_file()], module.name
    for name in ("braindiffusion/worker/__main__.py", "Resources/Samples/SYNTHETIC_FLAIR_lesion.nii.gz"):
        assert (folder / name).is_file(), name
    shipped = {path.name for path in (ROOT / "Resources" / "Models").iterdir()}
    assert {path.name for path in (folder / "Resources" / "Models").iterdir()} == shipped
    assert not list(folder.rglob("__pycache__"))


def test_installed_packages_find_each_other_and_their_resources(installed: tuple[Path, Path]) -> None:
    """From the installed folder alone, as in Slicer, where only that folder is on the path; nothing is added to it."""
    code = (
        "from BrainCounterfactualCommon.host import packageRoot, resourceFolder;"
        "from BrainCounterfactualCommon.worker.models import readCards;"
        "import braindiffusion.cards as r;"
        "print(packageRoot(), resourceFolder('Samples'), len(readCards()), r.resource('Models', 'brain-mask.json'))"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", f"import sys; sys.path.insert(0, {str(installed[1])!r}); {code}"],
        capture_output=True,
        text=True,
        check=False,
        cwd=installed[1],
    )
    assert done.returncode == 0, done.stderr
    root, samples, count, card = done.stdout.split()
    assert Path(root) == installed[1]
    assert Path(samples).parent == Path(card).parent.parent == installed[1] / "Resources"
    assert int(count) >= 4


def test_the_archive_of_the_tool_is_what_cmake_installs(installed: tuple[Path, Path], tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("make_slicer_zip", ROOT / "tools" / "make_slicer_zip.py")
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    tool.make(tmp_path / "extension.zip", "0.0")
    with zipfile.ZipFile(tmp_path / "extension.zip") as archive:
        names = archive.namelist()
    inside = {name.partition("/qt-scripted-modules/")[2] for name in names if "/lib/Slicer-0.0/" in name}
    assert inside == {path.relative_to(installed[1]).as_posix() for path in installed[1].rglob("*") if path.is_file()}
