"""What is told of a scan unlike those the models learned from, and that an ordinary one is left in peace."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from braindiffusion.pipeline.out_of_distribution import (
    LEAST_SLICES,
    MOST_DISTANCE,
    MOST_ENTROPY,
    PROFILES,
    QUANTILES,
    check_distribution,
    cut_share,
    entropy_bits,
    intensity_distance,
)
from braindiffusion.volume.scan import Scan
from braindiffusion.volume.slices import to_slices

CARD = {"modality": ["FLAIR"], "crop": [112, 96]}


def like_training(modality: str = "FLAIR", shape: tuple[int, int, int] = (80, 96, 24)) -> tuple[Scan, np.ndarray]:
    """A ball whose grey values have the distribution of a profile, and its brain."""
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    brain = sum((a / 0.9) ** 2 for a in axes) < 1
    depth = np.where(brain, sum(a**2 for a in axes), np.inf)  # smooth: the model grid blurs noise away
    ranks = 100.0 * depth.ravel().argsort().argsort().reshape(shape) / brain.sum()
    grey = 1000 * np.interp(ranks, QUANTILES, PROFILES[modality][0])
    voxels = np.where(brain, grey, 0).astype(np.float32)
    return Scan(voxels, np.diag([-1.9, 1.9, 6.0, 1.0]), modality, {"path": "x", "format": "x"}), brain


def checked(scan: Scan, brain: np.ndarray, *probability: float, card: dict = CARD) -> tuple[dict, list[str]]:
    return check_distribution(to_slices(scan, brain), brain, card, scan.modality, probability)


@pytest.mark.parametrize("modality", sorted(PROFILES))
def test_a_scan_like_the_training_is_left_in_peace(modality: str) -> None:
    scan, brain = like_training(modality)
    facts, warnings = checked(scan, brain, *[0.02] * 10, card={**CARD, "modality": [modality]})
    assert warnings == []
    assert facts["warnings"] == 0
    assert facts["intensity"]["distance"] < 0.04  # a profile ends at its 5 % and 95 %
    assert facts["field_of_view"] == {"brain_mm": 120.0, "cut_slices": 0.0, "beyond_crop": False}


def test_the_distance_is_the_mean_difference_of_quantiles() -> None:
    scan, brain = like_training()
    stack = to_slices(scan, brain)
    off = [intensity_distance(replace(stack, images=stack.images + d), "FLAIR") for d in (0.0, 0.1, 0.2)]
    assert off[0] < 0.04 < off[1] < off[2]
    assert off[2] - off[1] == pytest.approx(0.1, abs=0.01)
    assert intensity_distance(stack, "PET") is None
    assert intensity_distance(replace(stack, intensity=[stack.intensity] * len(stack)), "FLAIR") is None


@pytest.mark.parametrize("spoil", ["windowed", "cubed"])
def test_other_grey_values_are_told(spoil: str) -> None:
    scan, brain = like_training()
    v = scan.voxels
    changed = {"windowed": np.clip((v - 400) * 8, 1, 900), "cubed": v**3 / 1e4}[spoil]
    facts, warnings = checked(replace(scan, voxels=np.where(brain, changed, 0).astype(np.float32)), brain)
    assert facts["intensity"]["distance"] > MOST_DISTANCE
    assert len(warnings) == 1
    assert "grey values" in warnings[0]


def test_a_slab_a_cut_head_and_a_large_one_are_told() -> None:
    scan, brain = like_training()
    slab = replace(scan, voxels=scan.voxels[..., 8:16])
    assert "shows 48 mm" in " ".join(checked(slab, brain[..., 8:16])[1])
    cut = replace(scan, voxels=scan.voxels[20:])
    facts, warnings = checked(cut, brain[20:])
    assert facts["field_of_view"]["cut_slices"] > 0.5
    assert any("cuts the brain" in w for w in warnings)
    large = replace(scan, affine=np.diag([-2.9, 2.9, 6.0, 1.0]))
    assert any("larger than the field of view" in w for w in checked(large, brain)[1])


def test_cut_share_counts_slices_at_any_edge() -> None:
    brain = np.zeros((5, 8, 8), bool)
    brain[:4, 3:5, 3:5] = True
    assert cut_share(brain) == 0.0
    brain[0, 0, 3] = brain[1, 4, 7] = True
    assert cut_share(brain) == 0.5
    assert cut_share(np.zeros((5, 8, 8), bool)) == 0.0


def test_an_unsure_classifier_is_told_once_it_saw_enough() -> None:
    scan, brain = like_training()
    assert entropy_bits(np.array([0.5, 0.5])) == pytest.approx(1.0)
    assert entropy_bits(np.array([0.0, 1.0])) < 1e-4
    assert entropy_bits(np.array([0.25])) == pytest.approx(0.8113, abs=1e-4)
    unsure = [0.4] * LEAST_SLICES
    facts, warnings = checked(scan, brain, *unsure, float("nan"))
    assert facts["classifier"] == {"entropy_bits": 0.971, "limit": MOST_ENTROPY, "slices": LEAST_SLICES}
    assert any("unsure" in w for w in warnings)
    assert checked(scan, brain, *unsure[1:])[1] == []
    assert checked(scan, brain, *[0.01] * 20)[1] == []
