"""Make the shipped sample scan: a FLAIR drawn from noise by our own healthy model, with a simulated lesion added.

    python tools/make_sample.py --out Resources/Samples

No patient's scan goes in. Simple shapes give the anatomy (:mod:`sample_anatomy`); noised part of the way and denoised
by the healthy model they become tissue. What our own classifier would take for a lesion is healed. The one lesion is a
deformed ellipsoid, bright as FLAIR lesions are, with a soft rim.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from sample_anatomy import anatomy
from scipy import ndimage

from braindiffusion import NOT_FOR_DIAGNOSIS
from braindiffusion.diffusion.schedule import CLEAN, Schedule
from braindiffusion.diffusion.spacing import ascending_levels
from braindiffusion.diffusion.steps import add_noise, ddpm_move, predict_clean
from braindiffusion.healing.run import heal_slices
from braindiffusion.io.write import OutputFolder
from braindiffusion.models.registry import load_model
from braindiffusion.networks.build import EpsPredictor
from braindiffusion.pipeline.stages import find_saliency
from braindiffusion.settings import HealSettings
from braindiffusion.volume.masks import dilate, grown_mask, percentile_mask
from braindiffusion.volume.slices import BRAIN_LEVEL, FIELD_OF_VIEW_MM, Intensity, Placement, SliceStack

THICKNESS_MM = 5.0
PLACEMENT = Placement((2, 1, 0), (False, False, False), (1, 128, 128), (1.875, 1.875), THICKNESS_MM, 128, (0.0, 0.0))


def drawn_over(anatomy: np.ndarray, generator: torch.Generator, level: int, likeness: float) -> np.ndarray:
    """(S,H,W) in [0,1]: noised up to ``level`` and denoised by the healthy model, which brings tissue to the shapes.

    Args:
        likeness: correlation of the noise of neighbouring slices, so that texture drifts from slice to slice.
    """
    loaded = load_model("flair-healthy-128")
    model = EpsPredictor(loaded.network, Schedule(), prediction=loaded.card["prediction"])

    def noise() -> torch.Tensor:
        drawn = torch.randn((len(anatomy), 1, *anatomy.shape[1:]), generator=generator)
        for s in range(1, len(drawn)):
            drawn[s] = likeness * drawn[s - 1] + (1 - likeness**2) ** 0.5 * drawn[s]
        return drawn

    x = add_noise(torch.from_numpy(anatomy)[:, None], noise(), level, model.schedule)
    with torch.no_grad():
        for at, target in pairwise([*ascending_levels(level, 40)[::-1], CLEAN]):
            clean, _ = predict_clean(x, model(x, at), at, model.schedule)
            x = ddpm_move(x, clean, noise(), at, target, model.schedule)
    return x.clamp(0, 1)[:, 0].numpy()


def healthy_stack(seed: int, heights_mm: np.ndarray, level: int = 300, likeness: float = 0.85) -> np.ndarray:
    """(S,H,W) float32 in [0,1]: a healthy brain, every slice's median at BRAIN_LEVEL."""
    shape = tuple(load_model("flair-healthy-128").card["crop"])
    shapes, brain = anatomy(heights_mm, shape, PLACEMENT.model_pitch, np.random.default_rng(seed))
    stack = drawn_over(shapes, torch.Generator().manual_seed(seed), level, likeness)
    stack = stack * ndimage.gaussian_filter(brain.astype(np.float32), (0, 0.7, 0.7))
    medians = np.array([np.median(image[inside]) for image, inside in zip(stack, brain, strict=True)])
    return (stack * (BRAIN_LEVEL / medians)[:, None, None]).clip(0, 1).astype(np.float32)


def without_distractors(images: np.ndarray, rounds: int = 2) -> np.ndarray:
    """Heal what our own classifier would take for a lesion, so that the sample has one lesion: the simulated one."""
    brain = images > 0.02
    model, device = load_model("flair-healthy-128"), torch.device("cpu")
    settings = HealSettings(gate=0.0, steps=20, seed=11)
    for _ in range(rounds):
        stack = SliceStack(images, brain, brain.astype(np.float32), PLACEMENT, Intensity(0.0, 1.0))
        saliency = find_saliency(stack, settings, np.ones(len(images), bool), device)
        seeds = percentile_mask(saliency.maps, 95.0, brain=brain, sigma=5.0)
        region = dilate(grown_mask(seeds, images, brain, 0.52), 5.0, PLACEMENT.model_pitch) & brain
        images = heal_slices(stack, region, model, settings, device)[0][0]
        print("p(lesion)", saliency.probability.round(2))
    return images


def lesion_weight(
    shape: tuple[int, ...], centre: tuple[float, ...], radii_mm: tuple[float, ...], pitch: float, seed: int
) -> np.ndarray:
    """(S,H,W) in [0,1]: a deformed ellipsoid with a soft rim."""
    rng = np.random.default_rng(seed)
    at = np.indices(shape).astype(float)
    spacing = (THICKNESS_MM, pitch, pitch)
    radius = np.sqrt(sum(((at[i] - centre[i]) * spacing[i] / radii_mm[i]) ** 2 for i in range(3)))
    bumps = ndimage.gaussian_filter(rng.standard_normal(shape), (0.8, 3.5, 3.5))
    return 1 / (1 + np.exp(-(1.0 - radius + 0.22 * bumps / bumps.std()) * 9))


def main() -> None:
    """Write ``SYNTHETIC_FLAIR_lesion.nii.gz`` and the truth beside it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=2)
    args = parser.parse_args()
    stack = without_distractors(healthy_stack(args.seed, np.arange(14) * THICKNESS_MM - 8))
    pitch = FIELD_OF_VIEW_MM / 128
    s, h, w = stack.shape
    weight = lesion_weight(stack.shape, (s * 0.5, h * 0.42, w * 0.32), (20.0, 19.0, 15.0), pitch, args.seed)
    texture = ndimage.gaussian_filter(
        np.random.default_rng(args.seed + 1).standard_normal(stack.shape), (0.5, 1.2, 1.2)
    )
    bright = 0.80 + 0.05 * texture / texture.std()
    sick = stack * (1 - weight) + bright * weight * (stack > 0.05) + stack * weight * (stack <= 0.05)
    # native grid: twice as fine in plane, with a scanner's grain
    fine = np.stack([ndimage.zoom(x, 2, order=3) for x in sick])
    rng = np.random.default_rng(args.seed + 2)
    grain = ndimage.gaussian_filter(rng.standard_normal(fine.shape), (0, 0.6, 0.6))
    noisy = np.where(fine > 0.03, fine + 0.014 * grain / grain.std(), 0.0)
    voxels = np.clip(np.rint(noisy * 400 / BRAIN_LEVEL), 0, None).astype(np.int16).transpose(2, 1, 0)
    truth = np.stack([ndimage.zoom(x, 2, order=1) for x in weight]).transpose(2, 1, 0) > 0.5
    affine = np.diag([-pitch / 2, -pitch / 2, THICKNESS_MM, 1.0])
    affine[:3, 3] = [w * pitch / 2, h * pitch / 2, -s * THICKNESS_MM / 2]
    with OutputFolder(args.out) as out:
        note = f"{NOT_FOR_DIAGNOSIS}: model-drawn FLAIR"
        out.volume("SYNTHETIC_FLAIR_lesion", voxels, affine, description=note)
        out.volume("SYNTHETIC_FLAIR_lesion_truth", (truth & (voxels > 0)).astype(np.uint8), affine, description=note)


if __name__ == "__main__":
    main()
