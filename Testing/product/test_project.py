"""The project as a whole: what is tracked, what ships, and what it says of itself."""

from __future__ import annotations

import ast
import json
import re
import subprocess
from importlib.metadata import metadata, version
from pathlib import Path
from typing import Any

import pytest
from product_run import sha256

from braindiffusion import __version__

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "Resources" / "Models"
CARDS = sorted(MODELS.glob("*.json"))
PICKLES = {".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".bin"}
IMAGE_DATA = (
    ".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".dcm", ".ima", ".img", ".hdr", ".mgz", ".mgh", ".npz",
    ".npy", ".h5", ".hdf5", ".tif", ".tiff", ".tar.xz", ".zip",
)  # fmt: skip


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    """Files under version control."""
    try:
        done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    files = [ROOT / name for name in done.stdout.decode().split("\0") if name]
    return [file for file in files if file.is_file()]


def relative(files: list[Path]) -> list[str]:
    return [file.relative_to(ROOT).as_posix() for file in files]


def test_no_tracked_file_is_over_16_mb(tracked: list[Path]) -> None:
    assert not relative([file for file in tracked if file.stat().st_size > 16 * 2**20])


def test_nothing_tracked_is_a_pickle(tracked: list[Path]) -> None:
    assert not relative([file for file in tracked if file.suffix in PICKLES])
    pickled = [file for file in tracked if file.read_bytes()[:1] == b"\x80"]
    assert not relative([file for file in pickled if file.suffix != ".safetensors"])


def test_image_data_lies_in_resources_and_testing_only(tracked: list[Path]) -> None:
    """Volumes and arrays; the pictures of the documentation are none."""
    images = relative([file for file in tracked if file.name.lower().endswith(IMAGE_DATA)])
    assert not [name for name in images if not name.startswith(("Resources/", "Testing/"))]


def test_every_shipped_scan_is_called_synthetic() -> None:
    scans = [file.name for file in (ROOT / "Resources").rglob("*") if file.name.lower().endswith(IMAGE_DATA)]
    assert scans
    assert not [name for name in scans if not name.startswith("SYNTHETIC")]


# --- models ---------------------------------------------------------------------------------------------------


def test_there_are_models_and_every_weights_file_has_its_card() -> None:
    assert CARDS
    named = {json.loads(card.read_text())["weights"] for card in CARDS}
    weights = {file.name for file in MODELS.glob("*") if file.suffix not in (".json", ".txt")}
    assert named == weights - {".gitkeep"}


@pytest.fixture(params=CARDS, ids=[card.stem for card in CARDS])
def card(request: pytest.FixtureRequest) -> dict[str, Any]:
    """A shipped model's card."""
    return json.loads(request.param.read_text(encoding="utf-8"))


@pytest.mark.weights
@pytest.mark.parametrize("key", ["licence", "intended_use", "known_failures", "modality", "training", "validation"])
def test_a_card_says(card: dict[str, Any], key: str) -> None:
    assert card.get(key), f"{card['name']} says nothing of its {key}"


@pytest.mark.weights
def test_a_card_names_its_model_and_modalities(card: dict[str, Any]) -> None:
    assert (MODELS / f"{card['name']}.json").is_file()
    assert isinstance(card["modality"], list)
    assert set(card["modality"]) <= {"ANY", "FLAIR", "T1", "T1GD", "T2", "DWI", "CT"}
    assert "research" in json.dumps(card).lower()


@pytest.mark.weights
def test_weights_trained_on_noncommercial_masks_say_so(card: dict[str, Any]) -> None:
    """The LGG pack's masks are CC BY-NC-SA (see the data's README)."""
    recipe = ROOT / "braindiffusion" / "training" / "recipes" / f"{card['name']}.json"
    if recipe.is_file() and "lgg" in recipe.read_text():
        assert "NC" in card["licence"]


@pytest.mark.weights
def test_weights_are_those_of_the_card(card: dict[str, Any]) -> None:
    weights = MODELS / card["weights"]
    assert sha256(weights) == card["sha256"]
    assert weights.stat().st_size == card["bytes"]
    assert weights.suffix == ".safetensors"


@pytest.mark.weights
def test_weights_are_half_precision(card: dict[str, Any]) -> None:
    data = (MODELS / card["weights"]).read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    header.pop("__metadata__", None)
    kinds = {tensor["dtype"] for tensor in header.values()}
    assert "F16" in kinds
    assert kinds <= {"F16", "I64", "I32", "BOOL"}  # counters are whole numbers


# --- what is said ---------------------------------------------------------------------------------------------


def test_the_readme_says_research_use_only() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.search(r"research use only", text, re.I)
    assert re.search(r"not? .{0,40}diagnos|never .{0,40}diagnos", text, re.I)


def test_the_readme_shows_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "pip install" in text
    assert "braindiffusion demo" in text
    assert "<!-- tests -->" in text  # .ci/run takes the test command from there
    assert "<!-- end -->" in text


def test_the_readme_leads_nowhere_that_is_not_there() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#\s]+)", text) + re.findall(r'src="([^"]+)"', text)
    local = [target for target in targets if not re.match(r"[a-z]+:", target)]
    assert not [target for target in local if not (ROOT / target).exists()]


def test_the_licence_is_apache_2() -> None:
    text = (ROOT / "LICENSE.txt").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "Version 2.0" in text


def test_one_version_everywhere() -> None:
    written = re.search(r'^version = "([^"]+)"$', (ROOT / "pyproject.toml").read_text(), re.M)
    assert written
    assert written[1] == __version__ == version("slicer-brain-counterfactual")
    assert "Research use only" in (metadata("slicer-brain-counterfactual")["Summary"] or "")


# --- code -----------------------------------------------------------------------------------------------------


def undocumented(path: Path) -> list[str]:
    """Public functions and methods without a docstring; ``forward`` is explained by torch."""
    found = []

    def look(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if getattr(node, "name", "_").startswith("_"):
                continue
            if isinstance(node, ast.ClassDef):
                look(node.body, f"{node.name}.")
            elif isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is None and node.name != "forward":
                found.append(f"{path.relative_to(ROOT)}:{node.lineno} {prefix}{node.name}")

    look(ast.parse(path.read_text(encoding="utf-8")).body, "")
    return found


def test_every_public_function_is_documented() -> None:
    files = sorted((ROOT / "braindiffusion").rglob("*.py"))
    assert files
    assert not [line for file in files for line in undocumented(file)]


def test_no_path_of_a_developer_is_left_in_the_code() -> None:
    files = [*(ROOT / "braindiffusion").rglob("*.py"), *(ROOT / "braindiffusion").rglob("*.json"), *CARDS]
    pattern = re.compile(r"(/home/|/ro[o]t/|/wor[k]/|/Users/|[A-Z]:\\\\)\w")
    assert not [str(file) for file in files if pattern.search(file.read_text(encoding="utf-8"))]


def test_the_engine_knows_no_slicer() -> None:
    pattern = re.compile(r"^\s*(import|from) (slicer|qt|vtk|ctk|PythonQt)\b", re.M)
    files = (ROOT / "braindiffusion").rglob("*.py")
    assert not [str(file) for file in files if pattern.search(file.read_text(encoding="utf-8"))]
