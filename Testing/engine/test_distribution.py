"""FID and KID against what is known of them, and the networks in whose features they are taken."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.linalg import sqrtm

from braindiffusion.errors import (
    DependencyMissingError,
    ModelCorruptError,
    ModelFormatError,
    ModelNotFoundError,
)
from braindiffusion.evaluation.metrics.distribution import distances, frechet_distance, kernel_distance
from braindiffusion.evaluation.metrics.features import (
    RADIMAGENET_MEAN,
    ResNet50,
    classifier_features,
    inception_features,
    radimagenet_features,
)

CPU = torch.device("cpu")


def drawn(n: int, d: int, seed: int, shift: float = 0.0, scale: float = 1.0) -> np.ndarray:
    return shift + scale * np.random.default_rng(seed).normal(size=(n, d))


def textbook(a: np.ndarray, b: np.ndarray) -> float:
    """The formula as it is printed, by a matrix square root."""
    sa, sb = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = sqrtm(sa @ sb)
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(sa + sb - 2 * np.real(root)))


def test_frechet_of_a_set_with_itself_is_zero() -> None:
    for n, d in ((50, 4), (20, 64)):  # more images than features, and fewer
        x = drawn(n, d, 0)
        assert frechet_distance(x, x) == pytest.approx(0.0, abs=1e-9)
        assert frechet_distance(x, x[::-1]) == pytest.approx(0.0, abs=1e-9)


def test_frechet_is_the_printed_formula() -> None:
    mix = drawn(6, 6, 9)
    a, b = drawn(80, 6, 1) @ mix, drawn(60, 6, 2, shift=0.7, scale=1.5)
    assert frechet_distance(a, b) == pytest.approx(textbook(a, b), rel=1e-9)
    assert frechet_distance(b, a) == pytest.approx(frechet_distance(a, b), rel=1e-9)


def test_frechet_of_known_gaussians() -> None:
    """Two isotropic Gaussians: d (shift^2 + (1 - scale)^2), approached from above as n grows."""
    d, shift, scale = 5, 0.6, 1.4
    truth = d * (shift**2 + (1 - scale) ** 2)
    few, many = (
        np.mean([frechet_distance(drawn(n, d, 2 * s), drawn(n, d, 2 * s + 1, shift, scale)) for s in range(10)])
        for n in (12, 3000)
    )
    assert many == pytest.approx(truth, rel=0.02)
    assert few > many  # the bias that makes only same-n numbers comparable


def test_frechet_with_fewer_images_than_features() -> None:
    """Exact on singular covariances: rotating the features, or adding dead ones, changes nothing."""
    a, b = drawn(10, 5, 3), drawn(12, 5, 4, shift=0.5)
    turn = np.linalg.qr(drawn(40, 40, 5))[0]
    wide = [np.pad(x, ((0, 0), (0, 35))) @ turn for x in (a, b)]
    assert frechet_distance(*wide) == pytest.approx(frechet_distance(a, b), rel=1e-9)


def test_kernel_distance_is_unbiased() -> None:
    """Its mean over many draws of the same source is 0 at any n; with the diagonals left in it would not be."""
    values = np.array([kernel_distance(drawn(8, 3, 2 * s), drawn(12, 3, 2 * s + 1)) for s in range(1500)])
    error = values.std() / np.sqrt(len(values))
    assert abs(values.mean()) < 4 * error
    assert (values < 0).any()
    kernel = [(x @ x.T / 3 + 1) ** 3 for x in (drawn(8, 3, s) for s in range(300))]
    bias = np.mean([k.mean() - (k.sum() - np.trace(k)) / (8 * 7) for k in kernel])
    assert bias > 20 * error


def test_kernel_distance_of_two_halves_and_of_two_sources() -> None:
    x = drawn(2000, 16, 7)
    assert abs(kernel_distance(x[:1000], x[1000:])) < 0.01
    assert kernel_distance(x, drawn(500, 16, 8, shift=0.5)) > 0.1


@pytest.mark.parametrize("measure", [frechet_distance, kernel_distance])
def test_what_cannot_be_compared_is_refused(measure) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=r"no .* distance"):
        measure(drawn(1, 3, 0), drawn(9, 3, 1))
    with pytest.raises(ValueError, match=r"no .* distance"):
        measure(drawn(9, 3, 0), drawn(9, 4, 1))


def test_spreads_are_repeatable_and_methods_share_the_bootstraps() -> None:
    made, real = drawn(30, 8, 1, shift=0.3), drawn(40, 8, 2)
    first, again = distances(made, real, seed=5), distances(made, real, seed=5)
    assert first == again
    assert first.n == 30
    assert first.n_real == 40
    assert first.features == 8
    assert first.fid_sd > 0
    assert first.kid_sd > 0
    # the same lists: a shift of the set moves every bootstrap alike, so the spread stays the same order
    moved = distances(made + 3.0, real, seed=5)
    assert moved.fid_mean > first.fid_mean + 8 * 2.5**2
    assert distances(made, real, seed=6).fid_mean != first.fid_mean


@pytest.mark.weights
def test_the_classifiers_features_are_what_its_last_layer_sees() -> None:
    features = classifier_features(CPU)
    x = torch.rand(3, 1, 112, 96)
    from braindiffusion.models.registry import load_model

    network = load_model("flair-acat-classifier", "cpu").network
    found = features.of(x[:, 0].numpy())
    assert found.dtype == np.float64
    with torch.no_grad():
        assert torch.allclose(network.head(torch.from_numpy(found).float()), network(x), atol=1e-5)


@pytest.mark.parametrize("keras", [True, False])
def test_radimagenet_from_a_file(tmp_path: Path, keras: bool) -> None:
    network = ResNet50(keras).eval()
    for p in network.parameters():
        if p.ndim == 4:
            torch.nn.init.normal_(p, std=(2 / p[0].numel()) ** 0.5)
    state = {k: v for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}
    state |= {"fc.weight": torch.zeros(3, 2048)}  # the head is not used
    save_file(state, str(tmp_path / "r.safetensors"))
    features = radimagenet_features(tmp_path / "r.safetensors", CPU)
    image = np.random.default_rng(0).random((1, 64, 64)).astype(np.float32)
    found = features.of(image)
    assert found.shape == (1, 2048)
    given = torch.from_numpy(image)[:, None].repeat(1, 3, 1, 1)
    with torch.no_grad():
        wanted = network(torch.stack([given[:, c] - m for c, m in enumerate(RADIMAGENET_MEAN)], 1))
    assert np.allclose(found, wanted.numpy(), atol=1e-4)
    assert np.array_equal(features.of(image), found)  # nothing is subtracted in place


def test_radimagenet_has_the_known_size() -> None:
    for keras, size in ((True, 23_587_712 - 2 * 26_560), (False, 23_508_032)):
        network = ResNet50(keras)
        strides = network.layer2[0].conv1.stride, network.layer2[0].conv2.stride
        assert strides == (((2, 2), (1, 1)) if keras else ((1, 1), (2, 2)))
        assert sum(p.numel() for p in network.parameters()) == size


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError):
        radimagenet_features(tmp_path / "none.safetensors", CPU)
    (tmp_path / "w.pt").write_bytes(b"PK\x03\x04 and more of it")
    with pytest.raises(ModelFormatError):
        radimagenet_features(tmp_path / "w.pt", CPU)
    save_file({"conv1.weight": torch.zeros(2, 2)}, str(tmp_path / "w.safetensors"))
    with pytest.raises(ModelCorruptError):
        radimagenet_features(tmp_path / "w.safetensors", CPU)


def test_inception_without_torchvision_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_file({"a": torch.zeros(1)}, str(tmp_path / "i.safetensors"))
    monkeypatch.setitem(sys.modules, "torchvision.models", None)
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(DependencyMissingError) as error:
        inception_features(tmp_path / "i.safetensors", CPU)
    assert error.value.action == "pip install torchvision"
