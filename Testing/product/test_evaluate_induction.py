"""``evaluate induction`` and ``evaluate nnunet`` on a pack of simulated slices, with models of random weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lesion_models import add_lesion_model
from product_run import names, picture_mark, refused, run, strict_json, strings, succeed, told

from braindiffusion.errors import SettingsError
from braindiffusion.evaluation.induction.painting import Painter, plan_for
from braindiffusion.evaluation.induction.pairs import LEAST_INSIDE, Pairs, pair
from braindiffusion.io.checks import quiet_sitk
from braindiffusion.lesions.common import square_dilate
from braindiffusion.models.export import export_model
from braindiffusion.models.registry import release
from braindiffusion.networks.build import build_network
from braindiffusion.training.grid_data import GridData

QUICK = ("--steps", 2, "--device", "cpu", "--threads", 1, "--progress", "none")
KIND = ("--kinds", "stroke_flair")
SPLITS = ("train", "train", "val", "val", "val")
SIDE, EACH = 128, 4


def write_pack(path: Path, modality: str = "flair", offset: int = 0) -> Path:
    """Oval brains of five patients, four slices each; every second slice has a bright lesion, of growing size."""
    rng = np.random.default_rng(offset)
    n = len(SPLITS) * EACH
    y, x = (np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2) / (SIDE / 2)
    radius = (x / 0.55) ** 2 + (y / 0.7) ** 2
    images, masks = np.zeros((n, SIDE, SIDE), np.uint8), np.zeros((n, SIDE, SIDE), bool)
    for i in range(n):
        images[i] = np.where(radius < 1, 110 + 30 * (radius > 0.8) + rng.normal(0, 5, radius.shape), 0)
        if i % 2:
            masks[i] = (x - 0.2) ** 2 + (y - 0.1) ** 2 < 0.004 + 0.001 * i
            images[i][masks[i]] = 220
    path.parent.mkdir(exist_ok=True, parents=True)
    np.savez_compressed(
        path, **{modality: images}, mask_bits=np.packbits(masks, axis=-1),
        patient=np.repeat(np.arange(len(SPLITS)), EACH), patients=np.array([f"P{i}" for i in range(len(SPLITS))]),
        split=np.array(SPLITS), slice=np.tile(np.arange(EACH), len(SPLITS)),
    )  # fmt: skip
    return path


def add_random(folder: Path, name: str, task: str, spec: dict[str, Any], **facts: Any) -> None:
    """A model of random weights under a shipped name."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = build_network(spec)
    card = {
        "name": name, "task": task, "modality": ["FLAIR"], "network": spec, "grid": 128, "crop": [112, 96],
        "range": [0.0, 1.0], "scaling": "brain_median", "licence": "none: random weights", **facts,
    }  # fmt: skip
    export_model(folder, card, network.state_dict())


@pytest.fixture(scope="module", autouse=True)
def random_models(tmp_path_factory: pytest.TempPathFactory, steady: None) -> Any:
    """A folder of models: a painter, a classifier, a segmenter; no Palette."""
    folder = tmp_path_factory.mktemp("random models")
    add_lesion_model(folder)
    add_random(
        folder, "flair-acat-classifier", "classifier",
        {"class": "Classifier", "args": {"widths": [4, 8], "dropout": 0.0}},
    )  # fmt: skip
    add_random(
        folder, "lesion-segmenter-flair", "lesion_segmenter",
        {"class": "BrainMaskUNet", "args": {"features": [8, 8, 8, 8, 8, 8], "out_channels": 2}},
        outputs=["tumour (of one annotator)", "stroke (of another)"],
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BRAINDIFFUSION_MODELS", str(folder))
        # a shipped palette-128 must not decide whether Palette is skipped
        patch.setattr("braindiffusion.cards.model_folders", lambda: [folder])
        release()
        yield folder
        release()


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pack(tmp_path_factory.mktemp("data") / "tiny.npz")


@pytest.fixture(scope="module")
def ran(pack: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one run with everything on."""
    out = tmp_path_factory.mktemp("ran") / "out"
    succeed(
        "evaluate", "induction", "--data", pack, *KIND, *QUICK, "--ablate", "margin,resamples", "--nnunet", "--out", out
    )
    return out


@pytest.fixture(scope="module")
def facts(ran: Path) -> dict[str, Any]:
    return strict_json((ran / "induction.json").read_text(encoding="utf-8"))


def test_the_files_of_a_run(ran: Path, pack: Path, facts: dict[str, Any]) -> None:
    assert names(ran) == {"induction.json", "induction.md", "pairs.csv", "stroke_flair.png", "nnunet"}
    assert picture_mark(ran / "stroke_flair.png").startswith("SYNTHETIC")
    text = (ran / "induction.md").read_text(encoding="utf-8")
    for said in ("split val", "told strict masks", "prior (floor)", "real (ceiling)", "Research use only", "bootstrap"):
        assert said in text
    lines = (ran / "pairs.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1 + facts["kinds"]["stroke_flair"]["pairs"]["paired"]
    for said in (*strings(facts), text):
        assert str(pack.parent) not in said
        assert str(ran.parent) not in said


def test_the_counts_and_floors(facts: dict[str, Any]) -> None:
    f = facts["kinds"]["stroke_flair"]
    p, rows = f["pairs"], f["rows"]
    assert (p["lesion_slices"], p["lesion_free_slices"], p["paired"], p["dropped"]) == (6, 6, 6, 0)
    assert sum(p["strata"].values()) == 6
    assert p["strata"]["small"] == p["strata"]["large"] == 2
    assert list(rows) == [
        "real (ceiling)", "prior (floor)", "real train (floor)", "mededit", "naive_repaint", "sdedit", "redrawn",
    ]  # fmt: skip
    assert "palette" in f["skipped"]
    assert "no model for palette" in f["skipped"]["palette"]
    assert set(rows["real (ceiling)"]) == {"overlap"}
    for name, row in rows.items():
        if "distribution" in row:
            d = row["distribution"]["classifier"]
            assert d["n_real"] == 6
            assert d["n"] == (4 if name == "real train (floor)" else 6)
            assert d["features"] == 16
        if row.get("overlap"):
            assert row["overlap"]["patients"] == 3
            assert len(row["overlap"]["dice_of_slices"]) == 6
    made = rows["mededit"]
    assert made["distribution"]["classifier"]["combined"] == pytest.approx(
        (1 - made["overlap"]["lesion_dice"]) * made["distribution"]["classifier"]["fid_mean"]
    )


def test_what_is_kept_is_kept(facts: dict[str, Any]) -> None:
    rows = facts["kinds"]["stroke_flair"]["rows"]
    effects = {n: r["effects"] for n, r in rows.items() if "effects" in r}
    for name in ("mededit", "naive_repaint", "redrawn", "prior (floor)"):
        assert effects[name]["beyond_largest"] == 0, name
        assert effects[name]["beyond"]["mean"] == 0
    assert effects["mededit"]["ring"]["mean"] > 0
    assert effects["naive_repaint"]["ring"]["mean"] == 0
    assert effects["naive_repaint"]["inside"]["mean"] > 0
    assert effects["sdedit"]["beyond"]["mean"] > 0
    assert effects["prior (floor)"]["inside"]["mean"] == 0


def test_the_effect_of_the_lesion_is_told_apart_from_repainting(facts: dict[str, Any], ran: Path) -> None:
    rows = facts["kinds"]["stroke_flair"]["rows"]
    effect, control = rows["mededit"]["lesion_effect"], rows["redrawn"]["effects"]
    assert effect["ring"]["mean"] > 0
    excess = rows["mededit"]["effects"]["ring"]["mean"] - control["ring"]["mean"]
    assert effect["ring_excess"]["mean"] == pytest.approx(excess, abs=1e-6)
    signed = rows["mededit"]["effects"]["ring_signed"]["mean"] - control["ring_signed"]["mean"]
    assert effect["ring_signed"]["mean"] == pytest.approx(signed, abs=1e-6)
    beyond = [r for r in effect["by_distance"] if r["from_mm"] is not None and r["from_mm"] >= 32]
    assert all(not r["mean_absolute"] for r in beyond)
    assert "Effect of the lesion (MedEdit less control)" in (ran / "induction.md").read_text(encoding="utf-8")


def test_calls_are_those_of_the_methods(facts: dict[str, Any]) -> None:
    rows = facts["kinds"]["stroke_flair"]["rows"]
    assert {n: r["calls_per_slice"] for n, r in rows.items() if "run" in r} == {
        "mededit": 9, "naive_repaint": 7, "sdedit": 3, "redrawn": 9,
    }  # fmt: skip
    assert all(r["seconds_per_slice"] > 0 for r in rows.values() if "run" in r)


def test_the_ablations_vary_one_setting(facts: dict[str, Any]) -> None:
    found = facts["kinds"]["stroke_flair"]["ablations"]
    assert [r["value"] for r in found["margin"]] == [10, 15, 20, 25]
    assert [r["run"]["settings"]["kernel"] for r in found["margin"]] == [10, 15, 20, 25]
    assert [r["run"]["settings"]["kernel"] for r in found["resamples"]] == [25] * 4
    assert [r["calls_per_slice"] for r in found["resamples"]] == [3, 5, 7, 9]
    assert all(r["effects"]["beyond_largest"] == 0 for v in found.values() for r in v)
    own = facts["kinds"]["stroke_flair"]["rows"]["mededit"]
    same = found["margin"][-1]
    assert same["overlap"] == own["overlap"]
    assert same["distribution"] == own["distribution"]


def test_a_run_can_be_repeated_and_goes_on_from_its_cache(pack: Path, tmp_path: Path, facts: dict[str, Any]) -> None:
    kept = ("--cache", tmp_path / "c")
    command = ("evaluate", "induction", "--data", pack, *KIND, *QUICK, "--methods", "mededit", *kept)

    def rows(*options: Any) -> dict[str, Any]:
        succeed(*command, *options, "--out", tmp_path / "out")
        return strict_json((tmp_path / "out" / "induction.json").read_text())["kinds"]["stroke_flair"]["rows"]

    first = rows()
    assert first["mededit"]["overlap"] == facts["kinds"]["stroke_flair"]["rows"]["mededit"]["overlap"]
    assert rows()["mededit"] == first["mededit"]  # seconds and all: it was not painted again
    assert len(list((tmp_path / "c").glob("painted-*.npz"))) == 1
    assert rows("--seed", 1)["mededit"]["distribution"] != first["mededit"]["distribution"]


def test_boxes_are_compared_with_boxes(pack: Path, tmp_path: Path, facts: dict[str, Any]) -> None:
    succeed(
        "evaluate", "induction", "--data", pack, *KIND, *QUICK, "--methods", "naive_repaint", "--condition", "box",
        "--limit", 3, "--out", tmp_path / "out",
    )  # fmt: skip
    boxed = strict_json((tmp_path / "out" / "induction.json").read_text())
    assert boxed["condition"] == "box"
    f = boxed["kinds"]["stroke_flair"]
    assert f["pairs"]["chosen"] == 3
    assert f["margin_kernel_px"] == 25  # no MedEdit in this run: the published reach
    assert f["rows"]["naive_repaint"]["effects"]["beyond_largest"] == 0
    assert "told boxes" in (tmp_path / "out" / "induction.md").read_text()


def test_a_folder_of_packs_and_a_sequence_without_segmenter(tmp_path: Path) -> None:
    write_pack(tmp_path / "data" / "soop_flair_axial_1mm.npz")
    write_pack(tmp_path / "data" / "lgg_flair_256.npz", offset=1)
    write_pack(tmp_path / "data" / "lgg_t1gd_128.npz", "t1gd", offset=2)
    out = succeed(
        "evaluate", "induction", "--data", tmp_path / "data", "--kinds", "tumour_flair,tumour_t1gd", *QUICK,
        "--methods", "naive_repaint", "--limit", 2, "--out", tmp_path / "out",
    ).out  # fmt: skip
    found = strict_json((tmp_path / "out" / "induction.json").read_text())["kinds"]
    assert list(found) == ["tumour_flair", "tumour_t1gd"]
    assert found["tumour_t1gd"]["segmenter"] is None
    assert "no segmenter for T1GD ships" in out
    assert found["tumour_t1gd"]["rows"]["naive_repaint"]["overlap"] is None
    assert found["tumour_t1gd"]["rows"]["naive_repaint"]["distribution"]["classifier"]["combined"] is None
    assert found["tumour_t1gd"]["features"]["classifier"]["foreign"]
    assert "read with care" in out


# --- pairing --------------------------------------------------------------------------------------------------


def grid_data(n: int = 24, patients: int = 6) -> GridData:
    """Brains that cover the left two thirds or all of the slice; lesions to the right in every second slice."""
    brain = np.zeros((n, 32, 32), bool)
    brain[:, 2:30, 2:30] = True
    brain[::4, :, 20:] = False  # lesions do not fit in these
    lesion = np.zeros_like(brain)
    for i in range(1, n, 2):
        lesion[i, 10 : 12 + i // 2, 18:26] = True
    return GridData(
        brain * np.float16(0.45), brain, lesion, np.array([f"p{i % patients // 2 * 2 + i % 2}" for i in range(n)]),
        np.full(n, "s"), np.full(n, "val"), np.arange(n),
    )  # fmt: skip


def test_pairing_follows_its_rule() -> None:
    data = grid_data()
    found = pair(data, 32, "mask", seed=3)
    assert (found.patient != found.prior_patient).all()
    assert not data.lesion[found.prior_row].any()
    assert (found.lesion == data.lesion[found.row] & data.brain[found.prior_row]).all()
    inside = found.lesion.sum((1, 2)) / data.lesion[found.row].sum((1, 2))
    assert inside.min() >= LEAST_INSIDE
    assert found.facts["rejected_draws"] > 0
    assert found.facts["paired"] + found.facts["dropped"] == found.facts["chosen"] == 12
    low, high = found.facts["strata_px"]
    area = data.lesion[found.row].sum((1, 2))
    assert (area[found.stratum == "small"] < low).all()
    assert (area[found.stratum == "large"] > high).all()
    again, other = pair(data, 32, "mask", seed=3), pair(data, 32, "mask", seed=4)
    assert (again.prior_row == found.prior_row).all()
    assert (other.prior_row != found.prior_row).any()


def test_a_lesion_that_fits_nowhere_is_dropped_and_counted() -> None:
    data = grid_data()
    data.brain[0::2, :, 20:] = False
    with pytest.raises(SettingsError, match="could be paired"):
        pair(data, 32, "mask")
    data.brain[2, 2:30, 2:30] = True
    found = pair(data, 32, "mask")
    assert set(found.prior_row.tolist()) == {2}
    assert found.facts["distinct_priors"] == 1


def test_told_boxes_are_filled_and_asked_inside_the_brain() -> None:
    found = pair(grid_data(), 32, "box")
    assert (found.told & ~found.lesion).sum() == 0  # these lesions are rectangles
    assert (found.asked == (found.told & found.brain)).all()


def painted(pairs: Pairs, batch: int, method: str = "mededit") -> np.ndarray:
    plan = plan_for(method, "stroke_flair", pairs.pitch_mm, steps=2)
    return Painter(torch.device("cpu"), 7, batch, None, lambda calls: None).paint(plan, pairs).images


def test_pairs_have_noise_of_their_own_whatever_the_batch() -> None:
    pairs = pair(grid_data(), 32, "mask", limit=3)
    together, alone = painted(pairs, 8), painted(pairs, 1)
    assert np.allclose(together, alone, atol=2e-2)  # bfloat16 where the CPU has it
    same = np.repeat(pairs.prior[:1], len(pairs), 0)
    first = {k: np.repeat(getattr(pairs, k)[:1], len(pairs), 0) for k in ("brain", "lesion", "told", "asked")}
    twins = Pairs(**(vars(pairs) | {"prior": same} | first))
    made = painted(twins, 8)
    assert np.abs(made[0] - made[1]).max() > 0.05  # two draws of the same slice differ


def test_the_control_is_told_no_lesion() -> None:
    pairs = pair(grid_data(), 32, "mask", limit=3)
    told_one, told_none = painted(pairs, 8), painted(pairs, 8, "redrawn")
    inside = square_dilate(torch.from_numpy(pairs.told)[:, None], 25)[:, 0].numpy() & pairs.brain
    assert (told_none[~inside] == pairs.prior[~inside]).all()
    assert np.abs(told_one - told_none)[inside].max() > 0


# --- nnU-Net --------------------------------------------------------------------------------------------------


@pytest.fixture
def dataset(ran: Path) -> Path:
    (only,) = (ran / "nnunet").iterdir()
    return only


def test_the_dataset_is_what_nnunet_reads(dataset: Path) -> None:
    sitk = quiet_sitk()
    assert dataset.name == "Dataset501_StrokeFlair"
    told = json.loads((dataset / "dataset.json").read_text())
    assert told["labels"] == {"background": 0, "lesion": 1}
    images, labels = sorted((dataset / "imagesTr").iterdir()), sorted((dataset / "labelsTr").iterdir())
    assert told["numTraining"] == len(images) == len(labels) == 4
    assert [p.name.replace("_0000.nii.gz", ".nii.gz") for p in images] == [p.name for p in labels]
    image, label = sitk.ReadImage(str(images[0])), sitk.ReadImage(str(labels[0]))
    assert image.GetDimension() == 2
    assert image.GetSize() == label.GetSize() == (96, 112)
    assert image.GetSpacing() == label.GetSpacing() == (1.875, 1.875)
    assert set(np.unique(sitk.GetArrayFromImage(label)).tolist()) == {0, 1}
    for name in ("real", "prior", "mededit", "naive_repaint", "sdedit", "redrawn"):
        assert len(list((dataset / f"imagesTs_{name}").iterdir())) == 6


def test_predictions_come_back(dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(dataset / "asked", tmp_path / "p" / "mededit")  # a perfect judge
    shutil.copytree(dataset / "drawn", tmp_path / "p" / "real")
    command = ("evaluate", "nnunet", "--dataset", dataset, "--predictions", tmp_path / "p")
    succeed(*command, "--out", tmp_path / "out")
    found = strict_json((tmp_path / "out" / "nnunet.json").read_text())
    assert {n: s["lesion_dice"] for n, s in found["sets"].items()} == {"real": 1.0, "mededit": 1.0}
    assert found["sets"]["mededit"]["lesion_iou_interval"] == [1.0, 1.0]
    assert "sdedit" in found["missing"]
    (tmp_path / "p" / "mededit" / "pair_0003.nii.gz").unlink()
    told(run(*command, "--out", tmp_path / "again"), 3, "PackError")
    told(run(*command[:4], "--predictions", tmp_path, "--out", tmp_path / "again"), 3, "PackError")
    told(run("evaluate", "nnunet", "--dataset", tmp_path, *command[4:], "--out", tmp_path / "again"), 3, "PackError")


# --- refusals -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [("--methods", "guess"), ("--ablate", "depth"), ("--methods", ","), ("--kinds", "no_such"),
     ("--methods", "sdedit", "--ablate", "margin")],  # nothing there to ablate
)  # fmt: skip
def test_unknown_names_are_2(pack: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    refused(tmp_path, 2, "SettingsError", "evaluate", "induction", "--data", pack, *KIND, *QUICK, *options)


def test_data_that_cannot_be_used_are_3(pack: Path, tmp_path: Path) -> None:
    refused(tmp_path, 3, "PackError", "evaluate", "induction", "--data", pack, *QUICK)  # what kind of lesion?
    refused(tmp_path, 3, "PackError", "evaluate", "induction", "--data", tmp_path / "none.npz", *KIND, *QUICK)
    refused(tmp_path, 3, "PackError", "evaluate", "induction", "--data", pack.parent, *QUICK)


def test_without_a_lesion_model_it_is_4(pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("braindiffusion.cards.model_folders", lambda: [tmp_path])
    refused(tmp_path, 4, "ModelNotFoundError", "evaluate", "induction", "--data", pack, *KIND, *QUICK)
