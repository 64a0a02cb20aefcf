"""What is built for installing: the wheel and the source archive hold all that is needed, and work outside the tree."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

pytest.importorskip("hatchling", reason="hatchling builds the wheel; it comes with the test extra.")

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {
    "braindiffusion": "braindiffusion",
    "BrainCounterfactualCommon": "BrainCounterfactualCommon",
    "BrainCounterfactual/BrainCounterfactualLib": "BrainCounterfactualLib",
    "BrainLesionSim/BrainLesionSimLib": "BrainLesionSimLib",
    "BrainReaderStudy/BrainReaderStudyLib": "BrainReaderStudyLib",
    "BrainViewer/BrainViewerLib": "BrainViewerLib",
    "Resources/Models": "braindiffusion/_resources/Models",
    "Resources/Samples": "braindiffusion/_resources/Samples",
}
"""Folders of the tree, and where they lie once installed."""


def shipped() -> dict[str, str]:
    """Files of the tree that are installed, and where they lie then."""
    return {
        file.relative_to(ROOT).as_posix(): f"{target}/{file.relative_to(ROOT / source).as_posix()}"
        for source, target in PACKAGES.items()
        for file in (ROOT / source).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts and file.name != "CMakeLists.txt"
    }


def named(wheel: Path) -> set[str]:
    """Files in a wheel, without its metadata."""
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


@pytest.fixture(scope="module")
def wheel(given_away: Path) -> Path:
    return next(given_away.glob("*.whl"))


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, unpacked: what ``pip install`` puts into site-packages."""
    folder = tmp_path_factory.mktemp("site with a space")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def outside(site: Path, work: Path, *arguments: str) -> str:
    """Run Python on what is installed alone, from another folder; its output."""
    environment = {**os.environ, "PYTHONPATH": str(site), "BRAINDIFFUSION_MODELS": str(work / "none")}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=work, env=environment, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_every_file_of_its_folders_and_no_other(wheel: Path) -> None:
    assert named(wheel) == set(shipped().values())


def test_the_wheel_says_what_it_needs(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        folder = name.rpartition("/")[0]
        facts = Parser().parsestr(archive.read(name).decode())
        scripts = archive.read(f"{folder}/entry_points.txt").decode()
        held = set(archive.namelist())
    assert f"{folder}/licenses/LICENSE.txt" in held
    assert "braindiffusion = braindiffusion.__main__:main" in scripts
    assert facts["Requires-Python"] == "<3.14,>=3.10"
    assert facts["License-Expression"] == "Apache-2.0 AND CC-BY-NC-SA-4.0 AND CC-BY-SA-3.0"
    texts = ("THIRD_PARTY.md", *(f"Resources/Models/LICENSE-{n}.txt" for n in ("CC-BY-NC-SA-4.0", "CC-BY-SA-3.0")))
    assert {f"{folder}/licenses/{text}" for text in texts} <= held
    needs = [line.lower() for line in facts.get_all("Requires-Dist", [])]
    plain = {line.split(">")[0] for line in needs if "extra ==" not in line}
    assert {"torch", "monai", "simpleitk", "safetensors"} <= plain
    assert not {"pytest", "trame-slicer[standalone]", "distributed"} & plain  # they come with an extra


def test_the_source_archive_holds_what_the_wheel_is_made_of(given_away: Path) -> None:
    with tarfile.open(next(given_away.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert set(shipped()) <= names
    beside = {
        "pyproject.toml", "constraints.txt", "CMakeLists.txt", "BrainCounterfactual/CMakeLists.txt", "CITATION.cff",
        "docs/README.md", "Testing/conftest.py", "BrainCounterfactual.png", "README.md", "LICENSE.txt",
        "THIRD_PARTY.md", "requirements.lock",
    }  # fmt: skip
    assert beside <= names
    assert not [name for name in names if "__pycache__" in name or name.startswith((".venv", "runs", "demo"))]


def test_what_is_installed_finds_its_own_files(site: Path, tmp_path: Path) -> None:
    """No folder of the source tree is used: all paths are the installation's, and what is shipped is found there."""
    code = (
        "import json, braindiffusion, BrainViewerLib\n"
        "from BrainCounterfactualCommon.host import resourceFolder\n"
        "from BrainCounterfactualCommon.worker.models import readCards\n"
        "from braindiffusion.cards import installed, resource\n"
        "from braindiffusion.studies.protocol import shipped\n"
        "sample = resource('Samples', 'SYNTHETIC_FLAIR_lesion.nii.gz')\n"
        "paths = [braindiffusion.__file__, BrainViewerLib.__file__, sample, resourceFolder('Models'),\n"
        "    *installed().values()]\n"
        "print(json.dumps([[str(p) for p in paths], len(readCards()), len(shipped())]))"
    )
    paths, cards, protocols = json.loads(outside(site, tmp_path, "-c", code))
    assert not [path for path in paths if not Path(path).is_relative_to(site)]
    assert cards == len(paths) - 4 == len(list((ROOT / "Resources" / "Models").glob("*.json")))
    assert protocols == len(list((ROOT / "braindiffusion" / "studies" / "protocols").glob("*.json")))


@pytest.mark.weights
def test_the_installed_command_line_verifies_its_weights(site: Path, tmp_path: Path) -> None:
    assert "heal" in outside(site, tmp_path, "-m", "braindiffusion", "--help")
    said = outside(site, tmp_path, "-m", "braindiffusion", "models", "verify")
    for card in (ROOT / "Resources" / "Models").glob("*.json"):
        assert card.stem in said
    assert not list(tmp_path.iterdir())  # nothing is written where it is called
