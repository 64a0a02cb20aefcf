"""Models measured by their task: definitions that can be checked by hand, and every task on tiny random models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_training import TINY_UNET, write_pack

from braindiffusion.cards import read_card
from braindiffusion.errors import ModelNotFoundError, PackError
from braindiffusion.evaluation.metrics import nearest
from braindiffusion.evaluation.models import brain_masks, denoisers, figures
from braindiffusion.evaluation.models.classifiers import auroc_interval, classifier_numbers, reliability
from braindiffusion.evaluation.models.data import recipe_of, rounded, spread
from braindiffusion.evaluation.models.evaluate import (
    EVALUATORS,
    ModelReport,
    evaluate_models,
    write_to_cards,
)
from braindiffusion.evaluation.models.segmenters import bright_level
from braindiffusion.models.export import export_model
from braindiffusion.models.registry import release
from braindiffusion.networks.build import build_network
from braindiffusion.training.grid_data import GridData
from braindiffusion.training.tasks import TASKS
from braindiffusion.volume.scan import Scan

# distances to the nearest


def pictures(n: int, seed: int = 0) -> torch.Tensor:
    """(n,1,48,40) smooth random images."""
    coarse = torch.rand((n, 1, 6, 5), generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, size=(48, 40), mode="bilinear")


def test_a_copy_has_distance_0_and_so_has_its_mirror_image() -> None:
    x = pictures(5)
    known = nearest.descriptors(x)
    d = nearest.distances(nearest.descriptors(x.flip(3)), known)
    assert np.diag(d).max() < 1e-7
    assert d[~np.eye(5, dtype=bool)].min() > 1e-3


def test_the_distance_is_the_root_mean_square_difference() -> None:
    a, b = np.full((1, 32, 32), 0.5), np.full((1, 32, 32), 0.2)
    assert nearest.distances(a, b)[0, 0] == pytest.approx(0.3)


def test_copies_are_told_from_new_slices() -> None:
    train, patient = pictures(40), np.array([f"P{i // 2}" for i in range(40)])
    real, noise = pictures(10, seed=1), 0.001 * pictures(10, seed=2)
    copies = nearest.neighbours(train[:10] + noise, real, np.array(["Q"] * 10), train, patient).numbers()
    fresh = nearest.neighbours(pictures(10, seed=3), real, np.array(["Q"] * 10), train, patient).numbers()
    assert copies["samples_nearer_than_1_percent_of_train"] == 1
    assert fresh["samples_nearer_than_1_percent_of_train"] < 0.5
    assert copies["samples"]["q50"] < 0.1 * copies["train"]["q50"]
    assert copies["n"] == {"samples": 10, "real": 10, "train": 40}


def test_a_training_slice_is_compared_with_other_patients_only() -> None:
    twice = torch.cat([pictures(6), pictures(6)])  # each patient has the same slice twice
    patient = np.array([f"P{i}" for i in range(6)] * 2)
    found = nearest.neighbours(pictures(2, seed=1), pictures(2, seed=2), np.array(["a", "b"]), twice, patient)
    assert found.train.min() > 1e-3


# classifiers


def test_calibration_error_by_hand() -> None:
    p, label = np.array([0.05, 0.05, 0.95, 0.95]), np.array([0, 1, 1, 1])
    error, told, seen = reliability(p, label)
    assert error == pytest.approx(0.5 * 0.45 + 0.5 * 0.05)
    np.testing.assert_allclose(told, [0.05, 0.95])
    np.testing.assert_allclose(seen, [0.5, 1.0])


def test_the_interval_draws_patients_not_slices() -> None:
    """Ten copies of each slice of a patient tell nothing new."""
    rng = np.random.default_rng(0)
    label = np.tile([0, 1], 15)
    score = label + rng.normal(0, 1, 30)
    once = auroc_interval(score, label, np.arange(30), draws=300)
    often = auroc_interval(np.repeat(score, 10), np.repeat(label, 10), np.repeat(np.arange(30), 10), draws=300)
    assert often == pytest.approx(once, abs=1e-9)
    assert once[1] - once[0] > 0.1


def test_a_perfect_classifier_and_one_class() -> None:
    label = np.array([0, 1] * 5)
    numbers = classifier_numbers(label * 0.98 + 0.01, label, np.arange(10))
    assert numbers["auroc"] == 1
    assert numbers["cross_entropy"] == pytest.approx(-np.log(0.99), abs=1e-6)
    assert numbers["base_rate_cross_entropy"] == pytest.approx(np.log(2))
    alone = classifier_numbers(np.full(4, 0.3), np.zeros(4, int), np.arange(4))
    assert np.isnan(alone["auroc"])


# segmenters and masks


def test_the_bright_floor_finds_the_level_between_brain_and_lesion() -> None:
    image = np.full((4, 32, 32), 0.45, np.float16)
    lesion = np.zeros(image.shape, bool)
    lesion[:, 10:22, 10:22] = True
    image[lesion] = 0.9
    names = np.array(["a"] * 4)
    data = GridData(image, np.ones_like(lesion), lesion, names, names, names, np.arange(4))
    assert 0.55 < bright_level(data) < 0.85


def test_errors_are_taken_over_the_brain() -> None:
    x, brain = torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)
    brain[..., :4] = 1
    estimate = torch.full_like(x, 0.1)
    estimate[..., 4:] = 0.9
    l1, psnr = denoisers.errors_over(estimate, x, brain)
    assert l1[0] == pytest.approx(0.1)
    assert psnr[0] == pytest.approx(20.0, abs=1e-4)


def test_a_head_is_made_around_a_brain(head_phantom: Scan) -> None:
    at = head_phantom.affine[:3, :3] @ np.indices(head_phantom.voxels.shape).reshape(3, -1)
    x, y, z = at + head_phantom.affine[:3, 3:]
    brain = ((x / 66) ** 2 + (y / 84) ** 2 + (z / 50) ** 2 < 1).reshape(head_phantom.voxels.shape)
    stripped = Scan(np.where(brain, head_phantom.voxels, 0), head_phantom.affine, "FLAIR", {})
    np.testing.assert_array_equal(brain_masks.support(stripped), brain)
    head = brain_masks.with_head(stripped, brain)
    pad = [(a - b) // 2 for a, b in zip(head.voxels.shape, brain.shape, strict=True)]
    inner = tuple(slice(n, n + s) for n, s in zip(pad, brain.shape, strict=True))
    assert np.abs(head.voxels[inner][brain] - stripped.voxels[brain]).mean() < 20  # noise only
    outside = head.affine[:3, :3] @ np.array(pad) + head.affine[:3, 3]
    np.testing.assert_allclose(outside, head_phantom.affine[:3, 3], atol=1e-9)  # in its place
    wide = np.pad(brain, [(n, n) for n in pad])
    scalp = (head.voxels > 300) & ~wide
    assert scalp.sum() > 0.1 * brain.sum()
    assert (head.voxels[0] < 100).all()


def test_a_mask_is_carried_to_the_raw_scan_of_the_same_head(head_phantom: Scan) -> None:
    """The raw scan lies 8 mm and 4 degrees away, on another grid."""
    from scipy import ndimage

    from braindiffusion.evaluation.models.aligned import carried

    fine = np.eye(4)
    fine[:3, :3], fine[:3, 3] = np.diag([3.0, 3.0, 3.0]), [-99, -111, -90]
    shape = (67, 75, 61)

    def on_grid(values: np.ndarray, move: np.ndarray, order: int) -> np.ndarray:
        to_phantom = np.linalg.inv(head_phantom.affine) @ move @ fine
        return ndimage.affine_transform(values, to_phantom[:3, :3], to_phantom[:3, 3], shape, order=order)

    at = head_phantom.affine[:3, :3] @ np.indices(head_phantom.voxels.shape).reshape(3, -1)
    x, y, z = at + head_phantom.affine[:3, 3:]
    brain = ((x / 66) ** 2 + (y / 84) ** 2 + (z / 68) ** 2 < 1).reshape(head_phantom.voxels.shape)
    angle = np.deg2rad(4.0)
    move = np.eye(4)
    move[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    move[:3, 3] = [5, -6, 2]
    voxels = head_phantom.voxels.astype(np.float32)
    known = on_grid(brain.astype(np.float32), np.eye(4), 1) > 0.5
    stripped = Scan(np.where(known, on_grid(voxels, np.eye(4), 1), 0), fine, "FLAIR", {})
    raw = Scan(on_grid(voxels, move, 1), fine, "FLAIR", {})
    mask, correlation = carried(stripped, known, raw)
    assert correlation > 0.9
    assert brain_masks.dice(mask, on_grid(brain.astype(np.float32), move, 1) > 0.5) > 0.97


# small things


@pytest.mark.parametrize(
    ("n", "limit", "rows"), [(5, None, [0, 1, 2, 3, 4]), (5, 9, [0, 1, 2, 3, 4]), (9, 3, [0, 4, 8])]
)
def test_a_limit_spreads(n: int, limit: int | None, rows: list[int]) -> None:
    assert spread(n, limit).tolist() == rows


def test_numbers_are_rounded_wherever_they_are() -> None:
    value = {"a": [0.123456, {"b": np.float32(0.25)}], "n": np.int64(3), "s": "x"}
    assert rounded(value) == {"a": [0.1235, {"b": 0.25}], "n": 3, "s": "x"}


def test_every_task_that_can_be_trained_can_be_measured() -> None:
    assert set(EVALUATORS) == set(TASKS)


# every task, tiny

LATENT = {**TINY_UNET["args"], "patch": 1, "in_channels": 4, "out_channels": 4}
NETWORKS: dict[str, dict[str, Any]] = {
    "denoiser": TINY_UNET,
    "latent_denoiser": {"class": "PatchedUNet", "args": LATENT},
    "autoencoder": {"class": "Autoencoder", "args": {"widths": [4, 8], "latent": 4}},
    "vqvae": {"class": "SliceVQVAE", "args": {"channels": [4, 8], "codes": 8, "latent": 4}},
    "denoising_ae": {"class": "BrainMaskUNet", "args": {"features": [4, 4, 4, 4, 4, 4]}},
    "classifier": {"class": "Classifier", "args": {"widths": [4, 8]}},
    "noised_classifier": {"class": "NoisedClassifier", "args": {"widths": [4, 8]}},
    "lesion_segmenter": {"class": "BrainMaskUNet", "args": {"features": [4, 4, 4, 4, 4, 4], "out_channels": 2}},
    "brain_mask": {"class": "BrainMaskUNet", "args": {"features": [4, 4, 4, 4, 4, 4]}},
    "gan": {"class": "AnoGAN", "args": {"latent": 8, "size": [32, 32], "widths": [8, 8]}},
    "gan_encoder": {"class": "EncodedGAN", "args": {"latent": 8, "size": [32, 32], "widths": [8, 8]}},
}  # fmt: skip


def install(folder: Path, name: str, task: str, **changes: Any) -> None:
    """A model with random weights in the user's folder."""
    torch.manual_seed(0)
    network = changes.pop("network", None) or NETWORKS[task]
    card = {
        "name": name, "task": task, "modality": ["FLAIR"], "network": network, "grid": 32, "prediction": "v",
        "licence": "none", **changes,
    }  # fmt: skip
    export_model(folder, card, build_network(network).state_dict())


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Few steps and levels; only the models of the test; slices that show their brain without a network."""
    monkeypatch.setattr(denoisers, "LEVELS", (100, 500, 999))
    monkeypatch.setattr(denoisers, "STEPS", 2)
    for module in (denoisers, figures):
        monkeypatch.setattr(module, "SHOWN", (100, 500))
    monkeypatch.setattr("braindiffusion.volume.brain.network_brain", lambda *_, **__: None)
    monkeypatch.setattr("braindiffusion.cards.model_folders", lambda: [tmp_path / "user-models"])
    release()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with the pack ``tiny.npz``."""
    (tmp_path / "data").mkdir()
    write_pack(tmp_path / "data" / "tiny.npz")
    return tmp_path / "data"


def measured(data: Path, out: Path, names: list[str] | None = None, **options: Any) -> ModelReport:
    """The report; the figures lie in ``out``."""
    out.mkdir(exist_ok=True)
    return evaluate_models(data, names, "val", lambda name: out / name, device="cpu", **options)


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("denoiser", {"reconstruct_by_t", "mean_image", "nearest"}),
        ("latent_denoiser", {"reconstruct_by_t", "nearest"}),
        ("autoencoder", {"mse", "psnr"}),
        ("vqvae", {"mse", "psnr"}),
        ("denoising_ae", {"mse", "mse_of_noise", "mse_denoised"}),
        ("classifier", {"tiny"}),
        ("noised_classifier", {"tiny", "auroc_by_t"}),
        ("lesion_segmenter", {"tiny"}),
        ("gan", {"nearest", "variety", "wasserstein"}),
        ("gan_encoder", {"mse", "psnr"}),
    ],
)
def test_a_model_of_each_task_is_measured(
    data: Path, tmp_path: Path, no_user_models: Path, task: str, expected: set[str]
) -> None:
    changes: dict[str, Any] = {}
    if task == "latent_denoiser":
        install(no_user_models, "coder", "vqvae")
        changes = {"autoencoder": "coder"}
    install(no_user_models, "mine", task, **changes)
    report = measured(data, tmp_path / "out", ["mine"])
    found = report.models["mine"]
    assert expected <= set(found["numbers"])
    assert found["numbers"]["cpu_seconds_per_slice"] > 0
    assert found["numbers"]["threads"] == 1
    assert found["parameters"] == sum(p.numel() for p in build_network(read_card("mine")["network"]).parameters())
    assert found["definitions"]
    assert (tmp_path / "out" / "mine.png").stat().st_size > 1000
    json.dumps(report.facts(), allow_nan=False)
    assert "`mine`" in report.markdown()


def test_a_conditional_denoiser_is_measured_by_what_it_paints(data: Path, tmp_path: Path, no_user_models: Path) -> None:
    network = {
        "class": "PatchedUNet",
        "args": {**TINY_UNET["args"], "in_channels": 3, "out_channels": 1, "num_class_embeds": 1},
    }
    install(no_user_models, "mine", "denoiser", network=network, kinds=["tumour_flair"], condition="lesion")
    report = measured(data, tmp_path / "out", ["mine"])
    row = report.models["mine"]["numbers"]["tumour_flair"]
    assert row["slices"] == 3
    assert set(row["contrast"]) == {"real", "drawn", "boxes", "empty"}
    assert row["contrast"]["real"] > 0.2  # the phantom's lesion is bright
    assert (tmp_path / "out" / "mine.png").is_file()


def test_a_simplex_denoiser_is_asked_for_no_samples(data: Path, tmp_path: Path, no_user_models: Path) -> None:
    """It never starts from pure noise."""
    install(no_user_models, "mine", "denoiser", noise="simplex")
    numbers = measured(data, tmp_path / "out", ["mine"]).models["mine"]["numbers"]
    assert "reconstruct_by_t" in numbers
    assert "nearest" not in numbers


def test_what_learned_from_masks_nobody_drew_is_measured_by_drawn_ones(tmp_path: Path, no_user_models: Path) -> None:
    """The folder holds the drawn pack only; the recipe says which it is."""
    write_pack(tmp_path / "lgg_flair_256.npz")
    install(no_user_models, "weak-segmenter-flair", "lesion_segmenter")
    found = measured(tmp_path, tmp_path / "out", ["weak-segmenter-flair"]).models["weak-segmenter-flair"]
    assert found["numbers"]["lgg_flair_256"]["network"]["lesion_slices"] == 3


def test_a_lesion_segmenter_stands_beside_its_floors(data: Path, tmp_path: Path, no_user_models: Path) -> None:
    install(no_user_models, "mine", "lesion_segmenter")
    row = measured(data, tmp_path / "out", ["mine"]).models["mine"]["numbers"]["tiny"]
    assert row["nothing"]["lesion_dice"] == 0
    assert row["bright"]["lesion_dice"] > 0.6
    assert row["network"]["lesion_slices"] == 3


def test_the_same_twice_is_the_same(data: Path, tmp_path: Path, no_user_models: Path) -> None:
    install(no_user_models, "mine", "denoiser")
    first, again = (measured(data, tmp_path / "out", ["mine"]).models["mine"]["numbers"] for _ in range(2))
    assert first["reconstruct_by_t"] == again["reconstruct_by_t"]
    assert first["nearest"] == again["nearest"]


def test_what_cannot_be_measured_is_left_out_with_the_reason(data: Path, tmp_path: Path, no_user_models: Path) -> None:
    install(no_user_models, "elsewhere", "denoiser", modality=["T2"])
    install(no_user_models, "odd", "dreaming", network=TINY_UNET)
    report = measured(data, tmp_path / "out")
    assert report.models == {}
    assert "no pack there is of T2" in report.skipped["elsewhere"]
    assert "dreaming" in report.skipped["odd"]
    with pytest.raises(PackError):
        measured(data, tmp_path / "out", ["elsewhere"])
    with pytest.raises(ModelNotFoundError):
        measured(data, tmp_path / "out", ["none"])


def test_the_numbers_go_into_the_card_beside_those_of_other_splits(
    data: Path, tmp_path: Path, no_user_models: Path
) -> None:
    install(no_user_models, "mine", "autoencoder", evaluation={"test": {"numbers": {"mse": 1}}})
    report = measured(data, tmp_path / "out", ["mine"], limit=4)
    write_to_cards(report)
    card = read_card("mine")
    assert card["evaluation"]["test"] == {"numbers": {"mse": 1}}
    assert card["evaluation"]["val"]["limit"] == 4
    assert card["evaluation"]["val"]["numbers"]["slices"] == report.models["mine"]["numbers"]["slices"]
    assert card["evaluation"]["val"]["definitions"]["mse"]
    assert card["parameters"] > 0


def test_a_shipped_recipe_says_what_a_model_is_measured_on(tmp_path: Path) -> None:
    assert recipe_of({"name": "flair-healthy-128"}, tmp_path)["data"]["select"] == "lesion_free"


def test_brain_masks_of_whole_subjects(
    tmp_path: Path, no_user_models: Path, head_phantom: Scan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shipped mask is measured on scans, whole and stripped; another one on its grid alone."""
    from braindiffusion.io.write import OutputFolder

    at = head_phantom.affine[:3, :3] @ np.indices(head_phantom.voxels.shape).reshape(3, -1)
    x, y, z = at + head_phantom.affine[:3, 3:]
    brain = ((x / 66) ** 2 + (y / 84) ** 2 + (z / 68) ** 2 < 1).reshape(head_phantom.voxels.shape)
    folder = tmp_path / "data" / "ixi_t1_2mm"
    with OutputFolder(folder) as out:
        for name in ("a", "b"):
            out.volume(f"{name}_T1", head_phantom.voxels, head_phantom)
            out.volume(f"{name}_brain", brain, head_phantom)
        out.file("subjects.csv").write_text("subject,split\na,train\nb,val\n")
    monkeypatch.setattr(brain_masks, "network_brain", lambda *_: brain)
    monkeypatch.setattr(brain_masks, "find_brain", lambda *_, **__: (brain, "network"))
    install(no_user_models, "brain-mask", "brain_mask", modality=["ANY"])
    install(no_user_models, "mine", "brain_mask", modality=["ANY"])
    report = measured(tmp_path / "data", tmp_path / "out")
    shipped = report.models["brain-mask"]["numbers"]
    for how in ("whole_head", "stripped"):
        for kind in ("network", "in_use"):
            assert shipped[how][kind]["dice"] == 1
            assert shipped[how][kind]["subjects"] == 1
    assert "whole_head" not in report.models["mine"]["numbers"]
    assert 0 <= report.models["mine"]["numbers"]["slices_pooled"] <= 1
