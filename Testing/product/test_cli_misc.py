"""Help, models, evaluate and train, as commands."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from product_run import (
    MARK,
    Head,
    names,
    picture_mark,
    refused,
    run,
    sha256,
    snapshot,
    strict_json,
    succeed,
    told,
)

from braindiffusion import __version__
from braindiffusion.cards import read_card

pytest.importorskip("lightning_fabric", reason="Training needs the extra: pip install .[train]")

HEAVY = ("torch", "monai", "SimpleITK", "matplotlib", "scipy", "skimage", "pydicom", "lightning_fabric")
MODELS = {path.stem for path in (Path(__file__).resolve().parents[2] / "Resources" / "Models").glob("*.json")}


# --- help -----------------------------------------------------------------------------------------------------


def test_help_comes_at_once() -> None:
    """``python -m braindiffusion --help`` imports nothing heavy."""
    command = [sys.executable, "-X", "importtime", "-m", "braindiffusion", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert "braindiffusion.cli.app" in imported
    assert not imported & set(HEAVY)
    for command_name in ("demo", "heal", "saliency", "models", "train", "evaluate"):
        assert command_name in done.stdout
    assert "Research use only" in " ".join(done.stdout.split())


def test_no_command_is_heavy_before_it_runs() -> None:
    """Every command's help, the version, and a usage error, in a process that must stay light."""
    script = f"""
import sys
from braindiffusion.cli.app import app
commands = ["--version"], ["heal", "--help"], ["demo", "--help"], ["saliency", "--help"], ["train", "--help"]
for arguments in [*commands, ["evaluate", "healing", "--help"], ["models", "add", "--help"], ["heal", "x"]]:
    try:
        app(arguments)
    except SystemExit as end:
        assert end.code == (2 if arguments == ["heal", "x"] else 0), (arguments, end.code)
print("heavy:", [m for m in {HEAVY} if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "heavy: []"


def test_the_version() -> None:
    assert succeed("--version").out == f"braindiffusion {__version__}\n"


def test_the_console_script_is_the_command_line() -> None:
    (script,) = [e for e in entry_points(group="console_scripts") if e.name == "braindiffusion"]
    assert script.value == "braindiffusion.__main__:main"


@pytest.mark.parametrize("command", [(), ("models",), ("evaluate",)])
def test_a_command_alone_shows_its_help(command: tuple[str, ...]) -> None:
    result = run(*command)
    assert "Usage:" in result.out + result.err


# --- models ---------------------------------------------------------------------------------------------------


@pytest.fixture
def shipped_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No models of the user's own; returns where they would be."""
    folder = tmp_path / "no-models"
    monkeypatch.setenv("BRAINDIFFUSION_MODELS", str(folder))
    return folder


@pytest.mark.weights
def test_models_list_names_what_is_shipped(shipped_only: Path) -> None:
    out = succeed("models", "list").out
    for name in MODELS:
        (row,) = [line for line in out.splitlines() if line.startswith(f"│ {name} ")]
        assert any(modality in row for modality in read_card(name)["modality"])
        assert "?" not in row  # a licence is told
    assert "Research use only" in out


@pytest.mark.weights
@pytest.mark.parametrize("name", sorted(MODELS))
def test_models_info_is_the_card(shipped_only: Path, name: str) -> None:
    card = strict_json(succeed("models", "info", name).out)
    assert card["name"] == name
    assert {"modality", "licence", "sha256", "weights", "grid"} <= set(card)


@pytest.mark.parametrize("command", ["info", "verify"])
def test_an_unknown_model_is_4(command: str) -> None:
    told(run("models", command, "no-such-model"), 4, "ModelNotFoundError")


@pytest.mark.weights
def test_models_verify_checks_each() -> None:
    assert succeed("models", "verify").out.splitlines() == [f"{name}: ok" for name in sorted(MODELS)]
    assert succeed("models", "verify", "brain-mask").out == "brain-mask: ok\n"


@pytest.mark.weights
def test_models_verify_notices_damage(own_models: Path) -> None:
    weights = own_models / "brain-mask.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0\0")
    result = run("models", "verify", "brain-mask")
    told(result, 4, "ModelCorruptError")
    assert run("models", "verify").code == 4


@pytest.fixture
def offered(tmp_path: Path, frozen_models: Path) -> Path:
    """The card of a model that is not installed, its weights beside it."""
    folder = tmp_path / "offered"
    folder.mkdir()
    card = json.loads((frozen_models / "brain-mask.json").read_text())
    (folder / "mine.safetensors").write_bytes((frozen_models / card["weights"]).read_bytes())
    path = folder / "mine.json"
    path.write_text(json.dumps({**card, "name": "mine", "weights": "mine.safetensors"}))
    return path


@pytest.mark.weights
def test_models_add_installs_for_this_user(offered: Path, shipped_only: Path) -> None:
    assert "mine" in succeed("models", "add", offered).out
    assert names(shipped_only) == {"mine.json", "mine.safetensors"}
    assert succeed("models", "verify", "mine").out == "mine: ok\n"
    assert " mine " in succeed("models", "list").out


@pytest.mark.weights
@pytest.mark.parametrize("what", ["pickle", "missing", "damaged", "text"])
def test_models_add_refuses(offered: Path, shipped_only: Path, what: str) -> None:
    weights = offered.with_suffix(".safetensors")
    file, name = offered, "ModelFormatError"
    if what == "pickle":
        file = offered.with_suffix(".pt")
        file.write_bytes(b"\x80\x04K\x01.")
    elif what == "missing":
        file, name = offered.with_name("none.json"), "ModelNotFoundError"
    elif what == "damaged":
        weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
        name = "ModelCorruptError"
    else:
        offered.write_text("not a card")
    told(run("models", "add", file), 4, name)
    assert not shipped_only.exists()


# --- evaluate -------------------------------------------------------------------------------------------------

Maker = Callable[..., Path]


def write_pack(path: Path, head: Head, **changes: Any) -> Path:
    """A pack of the head as three patients, each with two slices with a lesion and one without.

    A key given as ``None`` is left out.
    """
    rng = np.random.default_rng(0)
    kept = [10, 11, 17]
    volume = np.clip(head.voxels[:, ::-1] / 4, 0, 255).transpose(2, 1, 0)
    drawn = head.lesion[:, ::-1].transpose(2, 1, 0)
    images = np.concatenate([volume[kept] + rng.normal(0, 2, (3, 72, 64)) for _ in range(3)])
    masks = np.concatenate([drawn[kept]] * 3)
    assert masks.any((1, 2)).tolist() == [True, True, False] * 3
    arrays: dict[str, Any] = {
        "flair": np.clip(images, 0, 255).astype(np.uint8),
        "mask_bits": np.packbits(masks, axis=-1),
        "width": 64,
        "patient": np.repeat(np.arange(3), 3),
        "patients": np.array(["anna", "bela", "carl"]),
        "split": np.array(["train", "val", "test"]),
        "slice": np.tile(kept, 3),
        "pitch_mm": 3.1,
    }
    path.parent.mkdir(exist_ok=True)
    np.savez(path, **{k: v for k, v in (arrays | changes).items() if v is not None})
    return path


@pytest.fixture
def make_pack(head: Head, tmp_path: Path) -> Maker:
    """:func:`write_pack` into a folder of its own."""
    return lambda **changes: write_pack(tmp_path / "packs" / "tiny.npz", head, **changes)


def healing(pack: Path, split: str, *options: Any) -> tuple[Any, ...]:
    quick = ("--steps", 2, "--saliency", "gradient", "--progress", "none")
    return ("evaluate", "healing", "--data", pack, "--split", split, *quick, *options)


@pytest.fixture(scope="module")
def evaluated(head: Head, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """What evaluating the test patient printed, and its folder."""
    folder = tmp_path_factory.mktemp("evaluated")
    command = healing(write_pack(folder / "tiny.npz", head), "test", "--saliency", "acat")
    return succeed(*command, "--out", folder / "out").out, folder / "out"


@pytest.mark.weights
def test_evaluate_healing_writes_a_table(evaluated: tuple[str, Path]) -> None:
    printed, out = evaluated
    pictures = {"gallery.png", "lesions.png", "healthy.png", "quality.png", "two_class.png"}
    assert names(out) == {"report.json", "table.md", "rows.csv", "slices.csv", "tuned.json", "runs", *pictures}
    table = (out / "table.md").read_text(encoding="utf-8")
    assert printed.strip() == table.strip()
    assert "2 lesion slices of 1 patients, 1 lesion-free slices" in table
    for name in ("nothing", "bright", "dif_fuse", "saliency_acat"):
        assert f"| {name} |" in table


@pytest.mark.weights
def test_evaluate_healing_reports_beside_the_floors(evaluated: tuple[str, Path]) -> None:
    report = strict_json((evaluated[1] / "report.json").read_text(encoding="utf-8"))
    assert set(report["rows"]) == {"nothing", "bright", "bright_gated", "dif_fuse", "saliency_acat"}
    for name, numbers in report["rows"].items():
        for key in ("lesion_dice", "lesion_iou", "two_class_dice", "pooled_dice"):
            assert 0 <= numbers[key] <= 1, (name, key)
        assert numbers["false_alarm_mm2"] >= 0
    nothing = report["rows"]["nothing"]
    assert nothing["lesion_dice"] == nothing["lesion_iou"] == nothing["false_alarm_mm2"] == 0
    assert nothing["two_class_dice"] > 0.4  # the background half
    assert report["rows"]["bright"]["lesion_dice"] > 0.3  # the phantom's lesion is bright
    assert report["rows"]["dif_fuse"]["largest_change_outside_region"] == 0
    assert report["data"]["slices_measured"] == 3
    assert report["definitions"]


@pytest.mark.weights
def test_evaluate_healing_tells_each_slice(evaluated: tuple[str, Path]) -> None:
    with (evaluated[1] / "slices.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [row["patient"] for row in rows] == ["carl"] * 3
    assert [int(row["nothing_tp"]) for row in rows] == [0, 0, 0]
    assert sorted(int(row["row"]) for row in rows) == [6, 7, 8]  # in the pack, so that they can be looked up


@pytest.mark.weights
def test_an_evaluations_picture_carries_the_synthetic_mark(evaluated: tuple[str, Path]) -> None:
    for name in ("gallery", "healthy", "lesions"):
        assert picture_mark(evaluated[1] / f"{name}.png") == MARK


@pytest.mark.weights
def test_evaluate_healing_without_splits(make_pack: Maker, tmp_path: Path) -> None:
    pack = make_pack(split=None, patient=None, patients=None, subject=np.repeat(["a", "b", "c"], 3), pitch_mm=None)
    refused(tmp_path, 3, "PackError", *healing(pack, "val"))
    succeed(*healing(pack, "all", "--limit", 3, "--methods", "saliency"), "--out", tmp_path / "out")
    report = strict_json((tmp_path / "out" / "report.json").read_text())
    assert set(report["rows"]) == {"nothing", "bright", "bright_gated", "saliency_gradient"}
    assert report["data"]["slices_measured"] == 3


@pytest.mark.weights
def test_evaluate_healing_of_the_floors_alone(make_pack: Maker, tmp_path: Path) -> None:
    succeed(*healing(make_pack(), "all", "--methods", ""), "--out", tmp_path / "out")
    assert set(strict_json((tmp_path / "out" / "report.json").read_text())["rows"]) == {"nothing", "bright"}


@pytest.mark.weights
def test_evaluate_healing_of_a_single_slice(make_pack: Maker, tmp_path: Path) -> None:
    succeed(*healing(make_pack(), "all", "--limit", 1), "--out", tmp_path / "out")
    assert strict_json((tmp_path / "out" / "report.json").read_text())["data"]["slices_measured"] == 1


@pytest.mark.weights
def test_evaluate_healing_with_a_val_split_that_has_no_lesion(make_pack: Maker, tmp_path: Path) -> None:
    split = np.array(["test", "test", "val"] * 3)
    succeed(*healing(make_pack(split=split), "test", "--limit", 2), "--out", tmp_path / "out")
    report = strict_json((tmp_path / "out" / "report.json").read_text())
    assert report["rows"]["bright"]["point"]["threshold"] > 0.5  # the card's: 0.45 is the median brain


@pytest.mark.weights
def test_evaluate_healing_tunes_alone_and_keeps_what_it_found(make_pack: Maker, tmp_path: Path) -> None:
    printed = succeed(*healing(make_pack(), "test", "--tune"), "--out", tmp_path / "out").out
    kept = strict_json((tmp_path / "out" / "tuned.json").read_text())
    assert kept["split"] == "val"
    assert set(kept["rows"]) == {"bright", "bright_gated", "dif_fuse", "saliency_gradient"}
    assert all(f"{name}: " in printed for name in kept["rows"])
    assert names(tmp_path / "out") == {"tuned.json", "runs"}


BAD_PACKS: dict[str, dict[str, Any]] = {
    "no masks": {"mask_bits": None},
    "two images": {"t1": np.zeros((9, 72, 64), np.uint8)},
    "no image": {"flair": None},
    "16-bit image": {"flair": np.zeros((9, 72, 64), np.uint16)},
    "masks of another size": {"mask_bits": np.zeros((9, 72, 4), np.uint8)},
}


@pytest.mark.parametrize("case", BAD_PACKS)
def test_a_bad_pack_is_3(make_pack: Maker, tmp_path: Path, case: str) -> None:
    refused(tmp_path, 3, "PackError", *healing(make_pack(**BAD_PACKS[case]), "all"))


@pytest.mark.parametrize("case", ["missing", "cut short", "text"])
def test_a_pack_that_cannot_be_read_is_3(make_pack: Maker, tmp_path: Path, case: str) -> None:
    pack = make_pack()
    if case == "missing":
        pack = pack.with_name("none.npz")
    else:
        pack.write_bytes(pack.read_bytes()[:2000] if case == "cut short" else b"text" * 100)
    refused(tmp_path, 3, "PackError", *healing(pack, "all"))


def test_an_unknown_method_to_evaluate_is_2(make_pack: Maker, tmp_path: Path) -> None:
    refused(tmp_path, 2, "SettingsError", *healing(make_pack(), "all", "--methods", "dif_fuse,magic"))
    assert run(*healing(make_pack(), "someday"), "--out", tmp_path / "out").code == 2


def tune(pack: Path, *options: Any) -> tuple[Any, ...]:
    return ("evaluate", "tune", "--data", pack, "--steps", 2, "--saliency", "gradient", "--progress", "none", *options)


@pytest.mark.weights
def test_evaluate_tune(make_pack: Maker, own_models: Path, tmp_path: Path) -> None:
    before = sha256(own_models / "flair-healthy-128.safetensors")
    result = succeed(*tune(make_pack(), "--limit", 1, "--write"), "--out", tmp_path / "out")
    assert names(tmp_path / "out") == {"operating_point.json", "sweep.csv", "runs"}
    point = strict_json((tmp_path / "out" / "operating_point.json").read_text())
    assert strict_json(result.out) == point
    assert point["tuned_on"] == {"split": "val", "lesion_slices": 1}
    with (tmp_path / "out" / "sweep.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    best = max(float(row["lesion_dice"]) for row in rows)
    assert point["val_lesion_dice"] == pytest.approx(best, abs=1e-4)
    assert strict_json((own_models / "flair-healthy-128.json").read_text())["operating_points"]["dif_fuse"] == point
    assert sha256(own_models / "flair-healthy-128.safetensors") == before
    assert succeed("models", "verify", "flair-healthy-128").code == 0


@pytest.mark.weights
@pytest.mark.parametrize("case", ["no masks", "no val", "no lesion in val"])
def test_a_pack_that_cannot_be_tuned_on_is_3(make_pack: Maker, tmp_path: Path, case: str) -> None:
    changes: dict[str, dict[str, Any]] = {
        "no masks": {"mask_bits": None},
        "no val": {"split": np.array(["train", "train", "test"])},
        "no lesion in val": {"split": np.array(["train", "train", "val"] * 3)},
    }
    refused(tmp_path, 3, "PackError", *tune(make_pack(**changes[case])))


# --- train ----------------------------------------------------------------------------------------------------

RECIPE = {
    "name": "mine", "task": "classifier", "modality": ["FLAIR"],
    "data": {"kind": "packs", "packs": ["tiny.npz"], "grid": 32, "select": "all"},
    "network": {"class": "Classifier", "args": {"widths": [4, 8]}},
    "optimiser": {"lr": 0.001}, "batch": 2, "iterations": 4,
}  # fmt: skip


def train(recipe: Any, data: Path, *options: Any) -> tuple[Any, ...]:
    return ("train", recipe, "--data", data, "--device", "cpu", *options)


def test_an_unknown_recipe_is_2(tmp_path: Path) -> None:
    refused(tmp_path, 2, "RecipeError", *train("no-such-recipe", tmp_path))


def test_a_malformed_recipe_is_2(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text("{")
    refused(tmp_path, 2, "RecipeError", *train(tmp_path / "mine.json", tmp_path))


def test_an_impossible_budget_is_2(tmp_path: Path) -> None:
    refused(tmp_path, 2, "SettingsError", *train("flair-healthy-128", tmp_path, "--budget", "soon"))


@pytest.mark.parametrize("recipe", ["flair-healthy-128", "brain-mask"])
def test_missing_data_is_3(tmp_path: Path, recipe: str) -> None:
    refused(tmp_path, 3, r"\w+Error", *train(recipe, tmp_path))


def test_a_broken_pack_is_3(make_pack: Maker, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text(json.dumps(RECIPE))
    pack = make_pack()
    pack.write_bytes(pack.read_bytes()[:3000])
    refused(tmp_path, 3, "PackError", *train(tmp_path / "mine.json", pack.parent))


def test_a_device_that_is_not_there_is_4(make_pack: Maker, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text(json.dumps(RECIPE))
    command = train(tmp_path / "mine.json", make_pack().parent, "--device", "cuda:99")
    told(run(*command, "--out", tmp_path / "out"), 4, "DeviceError")


def test_a_file_where_the_run_should_go_is_4(make_pack: Maker, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text(json.dumps(RECIPE))
    (tmp_path / "out").write_text("in the way")
    before = snapshot(tmp_path)
    told(run(*train(tmp_path / "mine.json", make_pack().parent), "--out", tmp_path / "out"), 4, "OutputError")
    assert before.items() <= snapshot(tmp_path).items()


@pytest.mark.weights
def test_train_and_resume_and_install(make_pack: Maker, shipped_only: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text(json.dumps(RECIPE))
    command = (*train(tmp_path / "mine.json", make_pack().parent, "--budget", "2m"), "--out", tmp_path / "run")
    records = [strict_json(line) for line in succeed(*command, "--iterations", 2).out.splitlines()]
    assert records[-1]["iteration"] == 2
    records = [strict_json(line) for line in succeed(*command, "--resume").out.splitlines()]
    assert records[-1]["iteration"] == 4
    assert {"mine.json", "mine.safetensors", "checkpoint.safetensors", "log.csv"} <= names(tmp_path / "run")
    succeed("models", "add", tmp_path / "run" / "mine.json")
    assert succeed("models", "verify", "mine").out == "mine: ok\n"
