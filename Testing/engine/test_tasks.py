"""What recipes train: losses that a perfect network brings to zero, and augmentation that keeps pairs together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from braindiffusion.diffusion.schedule import Schedule
from braindiffusion.lesions.in_context import draw_look
from braindiffusion.networks.build import Autoencoder, Classifier, NoisedClassifier, SliceVQVAE
from braindiffusion.networks.gan import AnoGAN, EncodedGAN
from braindiffusion.training import augment as aug
from braindiffusion.training.figures import task_figure
from braindiffusion.training.looks import looks_of, visible
from braindiffusion.training.tasks import TASKS
from braindiffusion.training.tasks.autoencoder import autoencoder_loss, coarse_noise, denoising_ae_loss, vqvae_loss
from braindiffusion.training.tasks.classifier import auroc, classifier_loss
from braindiffusion.training.tasks.denoiser import (
    condition_of,
    denoiser_loss,
    draw_levels,
    labels_dropped,
    some_boxed,
)
from braindiffusion.training.tasks.painter import PAINTER, painter_examples
from braindiffusion.training.tasks.segmenter import brain_mask_loss, lesion_loss, lesion_numbers

SCHEDULE = Schedule()


def g(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(n: int = 6, side: int = 32) -> dict[str, Tensor]:
    y, x = torch.meshgrid(*(torch.linspace(-1, 1, side),) * 2, indexing="ij")
    brain = ((x / 0.6) ** 2 + (y / 0.8) ** 2 < 1).float().expand(n, 1, side, side)
    image = brain * (0.3 + 0.3 * torch.rand((n, 1, side, side), generator=g(9)))
    lesion = ((x - 0.2) ** 2 + y**2 < 0.04).float().expand(n, 1, side, side).clone()
    lesion[::2] = 0
    label = torch.arange(n) % 2
    beside = {"mirror": image.flip(-1), "neighbour": image, "beside": label > 0, "line": torch.zeros(n, 2)}
    core = lesion * (x < 0.2)
    return {"image": image, "brain": brain, "lesion": lesion, "core": core, "label": label,
            "kind": torch.zeros_like(label), **beside}  # fmt: skip


class Answers(nn.Module):
    """A network that is a function."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(*inputs)


def signal(level: Tensor) -> Tensor:
    return torch.from_numpy(SCHEDULE.abar[level.numpy()]).float().view(-1, 1, 1, 1)


# the denoiser


@pytest.mark.parametrize(
    ("prediction", "perfect"),
    [
        ("eps", lambda x, level: x / (1 - signal(level)).sqrt()),
        ("v", lambda x, level: x * (signal(level) / (1 - signal(level))).sqrt()),
    ],
)
def test_a_perfect_denoiser_has_no_loss(prediction: str, perfect) -> None:
    """Of black images the noisy state is the noise itself, up to its scale."""
    black = {**batch(), "image": torch.zeros(6, 1, 32, 32)}
    assert float(denoiser_loss(Answers(perfect), black, g(), {"prediction": prediction})) < 1e-6


def test_a_denoiser_that_predicts_nothing_has_the_loss_of_the_noise() -> None:
    blind = Answers(lambda x, level: torch.zeros_like(x))
    assert float(denoiser_loss(blind, batch(32), g(), {})) == pytest.approx(1.0, abs=0.03)


def test_the_velocity_is_that_of_salimans_and_ho() -> None:
    """From x and v both noise and image come back; a network that answers 0 leaves v itself as the loss."""
    white = {**batch(64), "image": torch.ones(64, 1, 32, 32)}
    seen: dict[str, Tensor] = {}

    def listen(x: Tensor, level: Tensor) -> Tensor:
        seen.update(x=x, level=level)
        return torch.zeros_like(x)

    loss = denoiser_loss(Answers(listen), white, g(), {"prediction": "v"}, training=False)
    a = signal(seen["level"])
    noise = (seen["x"] - a.sqrt()) / (1 - a).sqrt()
    assert float(loss) == pytest.approx(float((a.sqrt() * noise - (1 - a).sqrt()).square().mean()), rel=1e-3)


def test_low_levels_can_be_drawn_more_often() -> None:
    levels = draw_levels(20000, g(), SCHEDULE, low_share=0.7, low_below=560)
    assert float((levels < 560).float().mean()) == pytest.approx(0.7 + 0.3 * 0.56, abs=0.01)


def test_every_level_can_be_drawn() -> None:
    levels = draw_levels(20000, g(), SCHEDULE, low_share=0.0, low_below=600)
    assert (int(levels.min()), int(levels.max())) == (0, 999)


# the others


def test_a_perfect_autoencoder_has_no_loss() -> None:
    assert float(autoencoder_loss(Answers(lambda x: x), batch(), g(), {})) == 0.0


def test_classes_can_be_weighted() -> None:
    """A network without an opinion pays log 2 however classes are weighted; one that is sure pays for its errors."""
    settings = {"class_weight": [0.9, 0.1]}
    blind = Answers(lambda x: torch.zeros(len(x), 2))
    assert float(classifier_loss(blind, batch(), g(), settings)) == pytest.approx(np.log(2), abs=1e-6)
    healthy, sick = (
        float(classifier_loss(Answers(lambda x, t=t: torch.tensor(t).expand(len(x), 2)), batch(), g(), settings))
        for t in ([5.0, 0.0], [0.0, 5.0])
    )
    assert healthy < 0.2 * sick


def test_labels_are_smoothed_in_training_only() -> None:
    sure = Answers(lambda x: torch.stack([-9.0 * (2 * b - 1), 9.0 * (2 * b - 1)], 1))
    b = (batch()["label"]).float()
    settings = {"label_smoothing": 0.1}
    assert float(classifier_loss(sure, batch(), g(), settings, training=False)) < 1e-6
    assert float(classifier_loss(sure, batch(), g(), settings)) > 0.1


def test_a_perfect_brain_mask_has_almost_no_loss() -> None:
    data = batch()
    perfect = Answers(lambda x: 50.0 * (2 * data["brain"] - 1))
    assert float(brain_mask_loss(perfect, data, g(), {}, training=False)) < 1e-5


def test_an_inverted_brain_mask_has_a_large_loss() -> None:
    data = batch()
    wrong = Answers(lambda x: -50.0 * (2 * data["brain"] - 1))
    assert float(brain_mask_loss(wrong, data, g(), {}, training=False)) > 1.5


def test_a_lesion_condition_is_the_mask_and_the_brain() -> None:
    data = batch()
    seen = []

    def listen(x: Tensor, level: Tensor, kind: Tensor) -> Tensor:
        seen.append((x, kind))
        return x[:, :1]

    settings = {"condition": "lesion", "kinds": ["a"]}
    denoiser_loss(Answers(listen), data, g(), settings, training=False)
    assert torch.equal(seen[0][0][:, 1:2], data["lesion"])
    assert torch.equal(seen[0][0][:, 2:], data["brain"])
    assert torch.equal(seen[0][1], data["kind"])


def test_labels_are_told_and_dropped_for_a_share() -> None:
    """Healthy 0, lesion 1, unlabelled 2: one network learns both what a class looks like and what any slice does."""
    label = torch.arange(4000) % 2
    dropped = labels_dropped(label, 0.15, g())
    assert float((dropped == 2).float().mean()) == pytest.approx(0.15, abs=0.02)
    assert torch.equal(dropped[dropped != 2], label[dropped != 2])
    assert torch.equal(labels_dropped(label, 0.0, g()), label)
    told: list[Tensor] = []

    def listen(x: Tensor, level: Tensor, label: Tensor) -> Tensor:
        told.append(label)
        return x

    denoiser_loss(Answers(listen), batch(), g(), {"label_drop": 0.0})
    denoiser_loss(Answers(listen), batch(), g(), {"label_drop": 1.0})
    assert torch.equal(told[0], batch()["label"])
    assert told[1].tolist() == [2] * 6


def test_the_picture_of_a_labelled_denoiser_asks_for_both_classes(tmp_path: Path) -> None:
    told: list[Tensor] = []
    network = Answers(lambda x, level, label: told.append(label) or 0.1 * x)
    task_figure("denoiser", network, batch(8), {"label_drop": 0.15}, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 1000
    assert {tuple(label.tolist()) for label in told} == {(0, 0, 0, 0, 1, 1, 1, 1)}


def test_masks_stay_masks_when_slices_are_turned() -> None:
    seen = []
    listen = Answers(lambda x, level: seen.append(x) or x[:, :1])
    denoiser_loss(listen, batch(), g(), {"condition": "lesion", "boxes": 0.5})
    assert set(seen[0][:, 1:].unique().tolist()) <= {0.0, 1.0}


def test_some_masks_become_boxes() -> None:
    lesion = batch(40)["lesion"]
    boxed = some_boxed(lesion, 0.5, g())
    changed = (boxed != lesion).any((1, 2, 3))[1::2]
    assert 4 <= int(changed.sum()) <= 16
    sick = boxed[1::2][changed][0, 0]
    rows, columns = sick.any(1).nonzero(), sick.any(0).nonzero()
    assert sick.sum() == (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)
    assert torch.equal(some_boxed(lesion, 0.0, g()), lesion)


def test_palettes_picture_is_torn_inside_the_lesion_only() -> None:
    data = batch()
    torn = condition_of(data["image"], data["lesion"], data["brain"], g(), {"condition": "palette"})
    outside = data["lesion"] == 0
    assert torch.equal(torn[outside], data["image"][outside])
    assert float(torn[~outside].std()) > 0.7


def test_a_perfect_lesion_mask_has_almost_no_loss() -> None:
    """Each slice is judged by the output of its own data set only."""
    data = batch()
    data["kind"] = torch.tensor([0, 0, 0, 1, 1, 1])
    right = 60.0 * (2 * data["lesion"] - 1)
    here = data["kind"].view(-1, 1, 1, 1)
    both = Answers(
        lambda x: torch.cat([torch.where(here == 0, right, -right), torch.where(here == 1, right, -right)], 1)
    )
    assert float(lesion_loss(both, data, g(), {}, training=False)) < 1e-5
    assert lesion_numbers(both, data) == {"dice": 1.0, "dice_0": 1.0, "dice_1": 1.0}


def test_pixels_that_are_not_known_do_not_count() -> None:
    data = batch()
    unsure = torch.zeros_like(data["lesion"])
    unsure[..., :16] = 1
    wrong_there = Answers(lambda x: torch.where(unsure > 0, -60.0, 60.0) * (2 * data["lesion"] - 1))
    assert float(lesion_loss(wrong_there, {**data, "unsure": unsure}, g(), {}, training=False)) < 1e-5
    assert float(lesion_loss(wrong_there, data, g(), {}, training=False)) > 1.0
    assert lesion_numbers(wrong_there, {**data, "unsure": unsure})["dice"] == 1.0
    assert lesion_numbers(wrong_there, data)["dice"] < 1.0


def test_a_slice_of_which_nothing_is_known_teaches_nothing() -> None:
    data = batch(1)
    data["unsure"] = torch.ones_like(data["lesion"])
    logit = torch.zeros(1, 1, 32, 32, requires_grad=True)
    lesion_loss(Answers(lambda x: logit), data, g(), {}, training=False).backward()
    assert not logit.grad.any()


def test_grain_is_changed_in_training_only_where_it_is_asked_for() -> None:
    seen: list[Tensor] = []

    def listen(x: Tensor) -> Tensor:
        seen.append(x)
        return torch.zeros(len(x), 2)

    still = {
        "geometry": {"rotate": 0.0, "scale": 0.0, "shift": 0.0, "flip": False},
        "intensity": {"gain": 0.0, "gamma": 0.0},
    }
    for settings in (still, {**still, "grain": 1.0}):
        classifier_loss(Answers(listen), batch(), g(), settings)
    torch.testing.assert_close(seen[0], batch()["image"], atol=1e-5, rtol=0)
    brain = batch()["brain"] > 0
    assert float((seen[1] - seen[0])[brain].abs().mean()) > 0.01


def test_a_perfect_vqvae_has_no_loss_and_pays_for_quantisation() -> None:
    exact = Answers(lambda x: torch.cat([x, torch.full_like(x, 0.3)], 1))
    assert float(vqvae_loss(exact, batch(), g(), {}, training=False)) == 0.0
    assert float(vqvae_loss(exact, batch(), g(), {})) == pytest.approx(0.3, abs=1e-6)


def test_coarse_noise_is_smooth_and_of_the_given_spread() -> None:
    noise = coarse_noise((64, 1, 64, 64), g(), spread=0.2)
    assert float(noise.diff(dim=3).abs().mean()) < 0.5 * float(noise.abs().mean())
    assert 0.1 < float(noise.std()) < 0.2  # interpolation lowers it


def test_the_denoising_autoencoder_is_judged_inside_the_brain() -> None:
    data = batch()
    outside_wrong = Answers(lambda x: data["image"] + 5 * (1 - data["brain"]))
    assert float(denoising_ae_loss(outside_wrong, data, g(), {}, training=False)) == 0.0


# the lesion painter


def test_looks_are_measured_against_the_ring() -> None:
    y, x = torch.meshgrid(*(torch.arange(64.0) - 32,) * 2, indexing="ij")
    r = torch.hypot(y, x)[None, None]
    brain, lesion, core = r < 30, r < 10, r < 5
    image = 0.4 * brain + 0.15 * lesion + 0.3 * core
    look = looks_of(image, lesion, core, brain)[0]
    share = float(core.sum() / lesion.sum())
    assert look[0] == pytest.approx(1 + 2 * share, abs=1e-4)
    assert look[1] == pytest.approx(2 * (share * (1 - share)) ** 0.5, abs=1e-3)
    assert look[5] == pytest.approx(2.0, abs=1e-4)
    assert look[4] < -0.3  # the rim has no core in it
    nowhere = torch.zeros_like(lesion)
    assert looks_of(image, nowhere, nowhere, brain).isnan().all()
    assert visible(looks_of(image, lesion, core, brain), torch.tensor([1]), [9.0, 0.1]).all()


def test_a_painter_is_told_the_lesion_and_nothing_of_the_region() -> None:
    data = batch()
    data["lesion"][:] = data["lesion"][1]
    data["kind"][:] = torch.arange(6) % 2
    x0, told, weight = painter_examples(data, g(), {**SETTINGS, "shapes": []}, training=False)
    region, lesion, core = told[:, 1:2] > 0.5, told[:, 6:7] > 0.5, told[:, 7:8] > 0.5
    assert (lesion <= region).all()
    assert (core <= lesion).all()
    assert not told[:, :1][region].any()
    assert (told[:, :1][~region] == x0[~region]).all()
    assert (told[:, 8:10, 0, 0].argmax(1) == data["kind"]).all()
    assert (told[:, 16] == 1).all()  # the look is known
    assert (weight[region] == 1).all()
    assert (weight[~region] < 0.2).all()
    hidden = torch.cat([painter_examples(data, g(n), {**SETTINGS, "shapes": []})[1][:, 10:17, 0, 0] for n in range(12)])
    withheld = hidden[:, 6] == 0
    assert 0 < withheld.float().mean() < 0.4
    assert not hidden[withheld].any()


def test_a_card_keeps_the_looks_of_lesions_that_show() -> None:
    data = batch()
    data["image"] = data["brain"] * 0.4 + 0.2 * data["lesion"]
    said = PAINTER.card({**SETTINGS, "least_contrast": [0.1, 0.1]}, data)
    assert len(said["looks"]["stroke_flair"]["values"]) == 3  # every second slice
    assert said["looks"]["tumour_flair"]["values"] == []
    assert draw_look(said, "stroke_flair", 100.0, 0).values[0] == pytest.approx(0.2 / 0.15, abs=0.1)
    assert not PAINTER.card({**SETTINGS, "least_contrast": [0.5, 0.1]}, data)["looks"]["stroke_flair"]["values"]


NETWORKS = {
    "denoiser": lambda: Answers(lambda x, level: 0.1 * x),
    "context": lambda: Answers(lambda x, level: 0.1 * x[:, :1]),
    "lesion_painter": lambda: Answers(lambda x, level: 0.1 * x[:, :1]),
    "autoencoder": lambda: Autoencoder(widths=(4, 8), latent=4),
    "classifier": lambda: Classifier(widths=(4, 8)).eval(),
    "brain_mask": lambda: Answers(lambda x: 4 * x - 1),
    "lesion_segmenter": lambda: Answers(lambda x: 4 * x - 1),
    "noised_classifier": lambda: NoisedClassifier(widths=(4, 8)).eval(),
    "vqvae": lambda: SliceVQVAE((4, 8), codes=8, latent=4).eval(),
    "denoising_ae": lambda: Answers(lambda x: 0.9 * x),
    "latent_denoiser": lambda: Answers(lambda z, level: 0.1 * z),
    "gan": lambda: AnoGAN(128, (32, 32), (8, 8, 8), 2),
    "gan_encoder": lambda: EncodedGAN(8, (32, 32), (8, 8, 8), 2),
}


SETTINGS = {"kinds": ["stroke_flair", "tumour_flair"]}


def settings_of(task: str) -> dict[str, Any]:
    return SETTINGS if task == "lesion_painter" else {"autoencoder": "-"}


@pytest.fixture(autouse=True)
def small_coder(monkeypatch: pytest.MonkeyPatch) -> None:
    """The latent denoiser's frozen VQ-VAE, without weights on disk."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        coder = SliceVQVAE((4, 8), codes=8, latent=4).eval()
    monkeypatch.setattr("braindiffusion.training.tasks.autoencoder.frozen", lambda name, device: coder)


def test_every_task_is_tested_here() -> None:
    assert set(NETWORKS) == set(TASKS)


@pytest.mark.parametrize("name", list(TASKS))
@pytest.mark.parametrize("training", [True, False])
def test_a_loss_is_a_function_of_its_generator(name: str, training: bool) -> None:
    network = NETWORKS[name]()
    before = torch.get_rng_state()
    first, again = (
        TASKS[name].loss(network, batch(), g(4), settings_of(name), training=training).detach() for _ in range(2)
    )
    assert first == again
    assert first.isfinite()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", list(TASKS))
def test_training_augments_and_validation_does_not(name: str) -> None:
    """Without augmentation the images reach the network as they are (where the task adds no noise)."""
    seen: list[Tensor] = []

    def listen(x: Tensor, *_: Tensor) -> Tensor:
        seen.append(x)
        return torch.zeros(len(x), 2) if "classifier" in name else torch.zeros_like(x)

    for training in (False, True):
        TASKS[name].loss(Answers(listen), batch(), g(), settings_of(name), training=training)
    assert not torch.equal(seen[0], seen[1])
    if name not in {"denoiser", "context", "lesion_painter", "latent_denoiser", "denoising_ae", "noised_classifier"}:
        assert torch.equal(seen[0], batch()["image"])


# numbers


def test_auroc_of_a_perfect_and_of_a_reversed_score() -> None:
    label = np.array([0, 0, 1, 1])
    assert auroc(np.array([1.0, 2, 3, 4]), label) == 1.0
    assert auroc(np.array([4.0, 3, 2, 1]), label) == 0.0


def test_auroc_counts_pairs() -> None:
    assert auroc(np.array([1.0, 3, 2, 4]), np.array([0, 0, 1, 1])) == 0.75


def test_auroc_halves_ties() -> None:
    assert auroc(np.array([1.0, 1.0]), np.array([0, 1])) == 0.5


@pytest.mark.parametrize("label", [[0, 0], [1, 1]])
def test_auroc_needs_both_classes(label: list[int]) -> None:
    assert np.isnan(auroc(np.array([1.0, 2.0]), np.array(label)))


# augmentation


def test_geometry_moves_pairs_together() -> None:
    x = batch()["image"]
    a, b = aug.geometry([x, 2 * x], g(), rotate=20.0, scale=0.2, shift=0.1)
    torch.testing.assert_close(2 * a, b)
    assert not torch.equal(a, x)


def test_geometry_of_nothing_is_the_identity() -> None:
    x = batch()["image"]
    (same,) = aug.geometry([x], g(), rotate=0.0, scale=0.0, shift=0.0, flip=False)
    torch.testing.assert_close(same, x, atol=1e-5, rtol=0)


def test_geometry_flips_left_and_right_only() -> None:
    x = torch.rand((32, 1, 16, 16), generator=g(1))
    (flipped,) = aug.geometry([x], g(), rotate=0.0, scale=0.0, shift=0.0)
    same = (flipped - x).abs().amax((1, 2, 3)) < 1e-4
    mirrored = (flipped - x.flip(-1)).abs().amax((1, 2, 3)) < 1e-4
    assert (same | mirrored).all()
    assert 0 < int(mirrored.sum()) < 32


def test_a_shift_moves_by_its_fraction_of_the_side_at_most() -> None:
    x = torch.zeros(64, 1, 33, 33)
    x[..., 16, 16] = 1.0
    (moved,) = aug.geometry([x], g(), rotate=0.0, scale=0.0, shift=0.1, flip=False)
    at = torch.stack([moved.sum((1, 2)) @ torch.arange(33.0), moved.sum((1, 3)) @ torch.arange(33.0)]) / moved.sum()
    assert 1.0 < float((at * 64 - 16).abs().max()) < 0.1 * 33 + 0.5


@pytest.mark.parametrize("change", [aug.mild_intensity, aug.random_contrast])
def test_grey_values_stay_in_range(change) -> None:
    x = change(batch()["image"], g())
    assert 0.0 <= float(x.min()) <= float(x.max()) <= 1.0


def test_air_stays_black_under_mild_changes() -> None:
    data = batch()
    assert not aug.mild_intensity(data["image"], g())[data["brain"] == 0].any()


def test_contrast_is_a_function_of_the_grey_value() -> None:
    x = torch.tensor([0.2, 0.7, 0.2, 0.7]).view(1, 1, 2, 2)
    y = aug.random_contrast(x, g()).flatten()
    assert (y[0], y[1]) == (y[2], y[3])


def half_of_other_grain(x: Tensor, generator: torch.Generator) -> Tensor:
    return aug.other_grain(x, generator, 0.5)


@pytest.mark.parametrize(
    "change", [aug.mild_intensity, aug.random_contrast, aug.bias_field, aug.rough_resolution, half_of_other_grain]
)
def test_augmentation_keeps_shapes_and_draws_from_its_generator(change) -> None:
    x = batch()["image"]
    before = torch.get_rng_state()
    first = change(x, g(2))
    assert first.shape == x.shape
    assert torch.equal(first, change(x, g(2)))
    assert not torch.equal(first, change(x, g(3)))
    assert torch.equal(torch.get_rng_state(), before)


def test_blobs_lie_in_the_brain() -> None:
    data = batch()
    spots = aug.blobs(data["brain"], g())
    assert 0.0 <= float(spots.min()) <= float(spots.max()) <= 1.0
    assert not spots[data["brain"] == 0].any()
