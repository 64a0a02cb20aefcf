"""Finding the brain: given, stripped, by the network, by thresholds; and refusing what is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from braindiffusion.cards import installed
from braindiffusion.errors import NotABrainError
from braindiffusion.volume import brain as brain_module
from braindiffusion.volume.brain import (
    body_support,
    check_is_brain,
    classical_brain,
    find_brain,
    largest_component,
    looks_stripped,
    network_brain,
)
from braindiffusion.volume.scan import Scan

needs_network = pytest.mark.skipif("brain-mask" not in installed(), reason="the model brain-mask is not shipped")


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


@pytest.fixture(scope="module")
def truth(head_phantom: Scan) -> np.ndarray:
    """The phantom's brain by its formula: all inside the grey matter's surface."""
    ijk = np.stack(np.indices(head_phantom.voxels.shape)).reshape(3, -1)
    mm = head_phantom.affine[:3, :3] @ ijk + head_phantom.affine[:3, 3:]
    inside = ((mm / np.array([[66.0], [84.0], [68.0]])) ** 2).sum(0) < 1
    return inside.reshape(head_phantom.voxels.shape)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brain_module, "network_brain", lambda *_: None)


@pytest.fixture(scope="module")
def stripped(head_phantom: Scan, truth: np.ndarray) -> Scan:
    return Scan(np.where(truth, head_phantom.voxels, 0).astype(np.int16), head_phantom.affine, "FLAIR")


def in_wide_air(scan: Scan, by: int = 20) -> Scan:
    """The same head in a larger field of view."""
    wide = np.pad(scan.voxels, ((by, by), (by, by), (0, 0)))
    affine = scan.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ [by, by, 0]
    return Scan(wide, affine, scan.modality)


def noise_box(shape: tuple[int, int, int], mm: float, seed: int = 0) -> Scan:
    voxels = np.random.default_rng(seed).integers(0, 1000, shape).astype(np.int16)
    return Scan(voxels, np.diag([mm, mm, mm, 1.0]), "FLAIR")


def test_the_largest_component_is_kept() -> None:
    mask = np.zeros((8, 8), bool)
    mask[0, :2] = mask[4:, 4:] = True
    assert largest_component(mask).sum() == 16


def test_components_are_joined_by_faces_not_corners() -> None:
    assert largest_component(np.eye(4, dtype=bool)).sum() == 1


def test_an_empty_mask_has_an_empty_largest_component() -> None:
    assert not largest_component(np.zeros((3, 3), bool)).any()


# the user's own


def test_a_given_mask_is_taken_as_it_is(head_phantom: Scan) -> None:
    given = np.zeros(head_phantom.voxels.shape, np.uint8)
    given[20:40, 20:40] = 1
    found, origin = find_brain(head_phantom, given)
    assert (origin, found.dtype) == ("given", bool)
    np.testing.assert_array_equal(found, given > 0)


def test_a_given_mask_spares_the_network(head_phantom: Scan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brain_module, "network_brain", lambda *_: pytest.fail("asked the network"))
    find_brain(head_phantom, np.ones(head_phantom.voxels.shape, bool))


# a stripped scan


def test_a_stripped_brain_is_recognised_without_a_network(stripped: Scan, truth: np.ndarray, no_network: None) -> None:
    found, origin = find_brain(stripped)
    assert origin == "stripped"
    assert dice(found, truth) > 0.99


@needs_network
def test_a_stripped_brain_is_recognised_with_the_network(stripped: Scan, truth: np.ndarray) -> None:
    found, origin = find_brain(stripped)
    assert origin == "stripped"
    assert dice(found, truth) > 0.99


def test_a_stripped_brain_on_a_background_below_zero_is_recognised(
    stripped: Scan, truth: np.ndarray, no_network: None
) -> None:
    shifted = Scan((stripped.voxels - 1000).astype(np.int16), stripped.affine)
    found, origin = find_brain(shifted)
    assert origin == "stripped"
    assert dice(found, truth) > 0.99


def test_holes_in_a_stripped_brain_are_filled(stripped: Scan, truth: np.ndarray, no_network: None) -> None:
    voxels = stripped.voxels.copy()
    voxels[28:34, 30:40, 10] = 0  # black fluid
    assert find_brain(Scan(voxels, stripped.affine))[0][31, 35, 10]


def test_a_whole_head_is_not_taken_for_stripped(head_phantom: Scan, truth: np.ndarray) -> None:
    scan = in_wide_air(head_phantom)
    body = body_support(scan)
    assert body is not None
    assert not looks_stripped(scan, body, None)
    assert not looks_stripped(scan, body, np.pad(truth, ((20, 20), (20, 20), (0, 0))))


# a whole head


def test_the_classical_estimate_is_roughly_right(head_phantom: Scan, truth: np.ndarray) -> None:
    assert dice(classical_brain(head_phantom), truth) > 0.9


def test_without_network_a_whole_head_gets_the_classical_estimate(head_phantom: Scan, no_network: None) -> None:
    found, origin = find_brain(head_phantom)
    assert origin == "classical"
    np.testing.assert_array_equal(found, classical_brain(head_phantom))


@needs_network
def test_the_network_finds_the_brain_of_a_phantom(head_phantom: Scan, truth: np.ndarray) -> None:
    found, origin = find_brain(head_phantom)
    assert origin == "network"
    assert dice(found, truth) > 0.85


@needs_network
def test_the_network_does_not_mind_the_axes(head_phantom: Scan) -> None:
    turned = head_phantom.affine[:, [2, 0, 1, 3]].copy()
    turned[:3, 3] += turned[:3, 0] * (head_phantom.voxels.shape[2] - 1)
    turned[:3, 0] *= -1
    other = Scan(head_phantom.voxels.transpose(2, 0, 1)[::-1].copy(), turned, "FLAIR")
    np.testing.assert_array_equal(network_brain(other)[::-1].transpose(1, 2, 0), network_brain(head_phantom))


@needs_network
def test_the_network_does_not_mind_the_unit_of_grey(head_phantom: Scan) -> None:
    louder = Scan(head_phantom.voxels.astype(np.float32) * 37.5, head_phantom.affine, "FLAIR")
    assert dice(network_brain(louder), network_brain(head_phantom)) > 0.999


@needs_network
def test_the_network_draws_nothing_from_global_state(head_phantom: Scan) -> None:
    network_brain(head_phantom)  # loaded
    before = torch.get_rng_state()
    network_brain(head_phantom)
    assert torch.equal(torch.get_rng_state(), before)


def test_without_the_model_the_network_has_no_answer(head_phantom: Scan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("braindiffusion.cards.installed", dict)
    assert network_brain(head_phantom) is None


@pytest.mark.scans
@needs_network
def test_the_network_finds_a_real_brain(data_dir: Path) -> None:
    from braindiffusion.io.read import read_scan

    folder = data_dir / "ixi_t1_2mm"
    scan = read_scan(folder / "IXI015_T1.nii.gz")
    drawn = read_scan(folder / "IXI015_brain.nii.gz").voxels > 0
    found, origin = find_brain(scan)
    assert origin == "network"
    assert dice(found, drawn) > 0.93


# what cannot be a brain


def test_a_brain_of_usual_size_passes(head_phantom: Scan, truth: np.ndarray) -> None:
    check_is_brain(head_phantom, truth, "given")


def test_no_brain_is_refused(head_phantom: Scan) -> None:
    with pytest.raises(NotABrainError):
        check_is_brain(head_phantom, np.zeros(head_phantom.voxels.shape, bool), "network")


def test_a_brain_of_many_litres_is_refused() -> None:
    scan = noise_box((60, 60, 60), 3.0)
    with pytest.raises(NotABrainError, match="litres"):
        check_is_brain(scan, np.ones(scan.voxels.shape, bool), "given")


def test_a_brain_of_a_few_millimetres_is_refused() -> None:
    scan = noise_box((60, 60, 60), 0.5)
    with pytest.raises(NotABrainError):
        check_is_brain(scan, np.ones(scan.voxels.shape, bool), "given")


def test_one_slice_of_a_brain_passes(head_phantom: Scan, truth: np.ndarray) -> None:
    middle = Scan(head_phantom.voxels[:, :, 10:11], head_phantom.affine)
    check_is_brain(middle, truth[:, :, 10:11], "given")


@pytest.mark.parametrize("shape", [(80, 80, 40), (64, 64, 64)])
def test_a_box_of_noise_is_refused_without_a_network(shape: tuple[int, int, int], no_network: None) -> None:
    scan = noise_box(shape, 3.0)
    found, origin = find_brain(scan)
    with pytest.raises(NotABrainError):
        check_is_brain(scan, found, origin)


@needs_network
@pytest.mark.parametrize(("shape", "mm"), [((80, 80, 20), 3.0), ((48, 48, 24), 3.0)])
def test_a_box_of_noise_is_refused_by_the_network(shape: tuple[int, int, int], mm: float) -> None:
    scan = noise_box(shape, mm)
    found, origin = find_brain(scan)
    with pytest.raises(NotABrainError):
        check_is_brain(scan, found, origin)
