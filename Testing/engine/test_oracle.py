"""Dif-fuse against an exact noise predictor: the numbers of METHODS.md, which need no trained network."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from gaussian_oracle import INSIDE, SmoothPrior, pixel_eps
from torch import Tensor

from braindiffusion.diffusion.inversion import invert
from braindiffusion.diffusion.schedule import Schedule
from braindiffusion.diffusion.spacing import ascending_levels
from braindiffusion.diffusion.steps import ddim_move, predict_clean
from braindiffusion.healing.dif_fuse import DifFuseSettings, dif_fuse

SCHEDULE = Schedule()


@pytest.fixture(scope="module")
def prior() -> SmoothPrior:
    return SmoothPrior.make()


def heal(prior: SmoothPrior, x: Tensor, mask: Tensor, seed: int = 0, **settings) -> Tensor:
    """(S,64) healed signals."""
    options = DifFuseSettings(**{"noise_level": 500, "steps": None} | settings)
    return dif_fuse(x, mask, prior.eps, options, torch.Generator().manual_seed(seed)).samples.flatten(1)


@pytest.mark.parametrize(
    ("spacing", "steps", "printed"),
    [
        ("uniform", 20, 0.016), ("uniform", 50, 0.0073), ("uniform", 100, 0.0042),
        ("quadratic", 20, 0.0099), ("quadratic", 50, 0.0045), ("quadratic", 100, 0.0028),
    ],
)  # fmt: skip
def test_round_trip_error_of_a_spaced_run(prior: SmoothPrior, spacing: str, steps: int, printed: float) -> None:
    nothing = torch.zeros_like(prior.mask)
    back = heal(prior, prior.healthy, nothing, fusion="joint", steps=steps, spacing=spacing)
    assert float((back - prior.healthy.flatten()).abs().mean()) == pytest.approx(printed, rel=0.05)


def round_trip_to_level_0(prior: SmoothPrior, levels: list[int], fixed_point: int) -> Tensor:
    """Invert and walk down to level 0, which stands for the clean image at both ends."""
    z = invert(prior.healthy, prior.eps, levels, SCHEDULE, fixed_point=fixed_point)[-1]
    for level, target in pairwise(reversed(levels)):
        z = ddim_move(*predict_clean(z, prior.eps(z, level), level, SCHEDULE), target, SCHEDULE)
    return (z - prior.healthy).abs()


@pytest.mark.parametrize("steps", [20, 50, 100])
def test_fixed_point_inversion_is_exact(prior: SmoothPrior, steps: int) -> None:
    error = round_trip_to_level_0(prior, ascending_levels(500, steps), fixed_point=5)
    assert float(error.mean()) < 1e-5


def test_more_fixed_point_iterations_err_less(prior: SmoothPrior) -> None:
    levels = ascending_levels(500, 20)
    errors = [float(round_trip_to_level_0(prior, levels, n).mean()) for n in (0, 1, 3, 5)]
    assert errors == sorted(errors, reverse=True)


def test_the_inversion_starts_from_the_image_itself(prior: SmoothPrior) -> None:
    states = invert(prior.healthy, prior.eps, [0, 250, 500], SCHEDULE)
    assert len(states) == 3
    assert states[0] is prior.healthy


def changed_outside(prior: SmoothPrior, fusion: str) -> float:
    healed = heal(prior, prior.lesion, prior.mask, fusion=fusion, samples=60)
    change = (healed - prior.lesion.flatten()).abs()
    return float(change[:, ~prior.mask.flatten()].mean())


def test_joint_fusion_lets_the_outside_drift(prior: SmoothPrior) -> None:
    assert changed_outside(prior, "joint") == pytest.approx(0.072, rel=0.1)


def test_independent_fusion_errs_outside_by_the_round_trip_only(prior: SmoothPrior) -> None:
    assert changed_outside(prior, "independent") == pytest.approx(0.007, rel=0.1)


def test_cached_fusion_leaves_the_outside_as_it_was(prior: SmoothPrior) -> None:
    assert changed_outside(prior, "cached") == 0.0


def seam(prior: SmoothPrior, fusion: str) -> float:
    """Mean over draws of the larger jump at the two edges of the mask, against the healthy signal's own step."""
    healed = heal(prior, prior.lesion, prior.mask, fusion=fusion, samples=60)
    wrong = (healed - prior.healthy.flatten()).diff(dim=1).abs()
    return float(torch.maximum(wrong[:, INSIDE.start - 1], wrong[:, INSIDE.stop - 1]).mean())


def test_joint_fusion_has_the_smaller_seam(prior: SmoothPrior) -> None:
    assert seam(prior, "joint") < 0.5 * seam(prior, "independent")


def test_the_lesion_is_removed(prior: SmoothPrior) -> None:
    healed = heal(prior, prior.lesion, prior.mask, fusion="cached", samples=60)
    before = (prior.lesion - prior.healthy).flatten()[28:38].mean()
    after = (healed.mean(0) - prior.healthy.flatten())[28:38].mean()
    assert abs(float(after)) < 0.5 * float(before)


@pytest.mark.parametrize(
    ("noise_level", "printed"), [(50, 0.785), (100, 0.639), (250, 0.492), (500, 0.425), (750, 0.404)]
)
def test_an_outlier_shrinks_towards_the_prior(noise_level: int, printed: float) -> None:
    x = torch.ones(1, 1, 64, 64, dtype=torch.float64)
    settings = DifFuseSettings(noise_level=noise_level, steps=None, fusion="joint")
    healed = dif_fuse(x, torch.ones_like(x, dtype=torch.bool), pixel_eps, settings, torch.Generator().manual_seed(0))
    assert float(healed.samples.mean()) == pytest.approx(printed, abs=0.006)


def test_what_is_drawn_inside_has_the_priors_spread() -> None:
    x = torch.ones(1, 1, 64, 64, dtype=torch.float64)
    settings = DifFuseSettings(noise_level=750, steps=None, fusion="joint")
    healed = dif_fuse(x, torch.ones_like(x, dtype=torch.bool), pixel_eps, settings, torch.Generator().manual_seed(0))
    assert float(healed.samples.std()) == pytest.approx(0.15, rel=0.05)
