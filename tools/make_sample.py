"""Make the shipped sample scan: a FLAIR drawn from noise by our own healthy model, with a simulated lesion added.

    python tools/make_sample.py --out Resources/Samples

No patient's scan goes in. Several slices are sampled from pure noise; the one our classifier finds healthiest among
the large ones becomes the middle. Its neighbours are made by noising the last one part of the way and denoising it
again, all with the same draws, shrinking towards the vertex, so that anatomy drifts as it does from slice to slice.
The lesion is a deformed ellipsoid, bright as FLAIR lesions are, with a soft rim.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from braindiffusion import NOT_FOR_DIAGNOSIS
from braindiffusion.diffusion.network import EpsPredictor
from braindiffusion.diffusion.schedule import CLEAN, Schedule
from braindiffusion.diffusion.spacing import ascending_levels
from braindiffusion.diffusion.steps import SharedNoise, add_noise, ddpm_move, predict_clean
from braindiffusion.healing.run import heal_slices
from braindiffusion.masks import dilate, grown_mask, percentile_mask
from braindiffusion.models.registry import load_model
from braindiffusion.saliency.registry import lesion_probability
from braindiffusion.slices import BRAIN_LEVEL, FIELD_OF_VIEW_MM, Intensity, Placement, SliceStack
from braindiffusion.stages import HealSettings, find_saliency
from braindiffusion.writing import OutputFolder

THICKNESS_MM = 5.0
PLACEMENT = Placement((2, 1, 0), (False, False, False), (1, 128, 128), (1.875, 1.875), THICKNESS_MM, 128, (0.0, 0.0))


def denoise(model: EpsPredictor, x: torch.Tensor, levels: list[int], noise: SharedNoise) -> torch.Tensor:
    """Ancestral sampling from ``levels[0]`` to clean."""
    for level, target in pairwise([*levels, CLEAN]):
        clean, _ = predict_clean(x, model(x, level), level, model.schedule)
        x = ddpm_move(x, clean, noise.at(level, x)[0], level, target, model.schedule)
    return x.clamp(0, 1)


def scaled(image: np.ndarray, factor: float) -> np.ndarray:
    """Zoom about the centre, same size."""
    centre = (np.array(image.shape) - 1) / 2
    return ndimage.affine_transform(image, np.eye(2) / factor, centre - centre / factor, order=3).clip(0, 1)


def middle_slice(
    model: EpsPredictor, shape: tuple[int, int], candidates: int, generator: torch.Generator
) -> torch.Tensor:
    """(1,1,H,W): the healthiest-looking large slice among samples from pure noise."""
    top = model.schedule.levels - 1
    x = torch.randn((candidates, 1, *shape), generator=generator)
    for level, target in pairwise([*ascending_levels(top, 120, "uniform")[::-1], CLEAN]):
        clean, _ = predict_clean(x, model(x, level), level, model.schedule)
        noise = torch.randn(x.shape, generator=generator)
        x = ddpm_move(x, clean, noise, level, target, model.schedule)
    x = torch.stack([s * torch.from_numpy(_body(s[0].numpy())) for s in x.clamp(0, 1)])
    area = (x > 0.15).float().mean((1, 2, 3)).numpy()
    probability = lesion_probability(x, load_model("flair-acat-classifier").network)
    score = np.where(area > np.quantile(area, 0.6), -probability, -9.0)
    print("area", area.round(2), "p(lesion)", probability.round(2), "taken", int(score.argmax()))
    return x[int(score.argmax())][None]


def healthy_stack(seed: int, below: int, above: int, drift: int = 200, candidates: int = 24) -> np.ndarray:
    """(S,H,W) float32 in [0,1]: slices that follow from one another."""
    card_model = load_model("flair-healthy-128")
    rows, columns = card_model.card["crop"]
    model = EpsPredictor(card_model.network, Schedule(), prediction=card_model.card["prediction"])
    generator = torch.Generator().manual_seed(seed)
    middle = middle_slice(model, (rows, columns), candidates, generator)
    noise = SharedNoise(generator, (1, rows, columns))
    fixed = torch.randn((1, 1, rows, columns), generator=generator)
    levels = ascending_levels(drift, 30)[::-1]

    def walk(factors: np.ndarray) -> list[np.ndarray]:
        out = []
        for factor in factors:
            moved = torch.from_numpy(scaled(middle[0, 0].numpy(), float(factor))).float()[None, None]
            x = denoise(model, add_noise(moved, fixed, drift, model.schedule), levels, noise)
            out.append(x[0, 0].numpy())
        return out

    up = np.sqrt(1 - (np.arange(1, above + 1) * THICKNESS_MM / 75.0) ** 2)
    down = np.sqrt(1 - (np.arange(below, 0, -1) * THICKNESS_MM / 110.0) ** 2)
    stack = walk(np.concatenate([down, [1.0], up]))
    return np.stack([s * _body(s) for s in stack])


def without_distractors(images: np.ndarray, rounds: int = 2) -> np.ndarray:
    """Heal what our own classifier would take for a lesion, so that the sample has one lesion: the simulated one."""
    brain = images > 0.02
    model, device = load_model("flair-healthy-128"), torch.device("cpu")
    settings = HealSettings(gate=0.0, steps=20, seed=11)
    for _ in range(rounds):
        stack = SliceStack(images, brain, brain.astype(np.float32), PLACEMENT, Intensity(0.0, 1.0))
        saliency, _ = find_saliency(stack, settings, np.ones(len(images), bool), device)
        seeds = percentile_mask(saliency.maps, 95.0, brain=brain, sigma=5.0)
        region = dilate(grown_mask(seeds, images, brain, 0.52), 5.0, PLACEMENT.model_pitch) & brain
        images = heal_slices(stack, region, model, settings, device)[0][0]
        print("p(lesion)", saliency.probability.round(2))
    return images


def _body(image: np.ndarray) -> np.ndarray:
    mask = ndimage.binary_fill_holes(ndimage.binary_opening(image > 0.08, iterations=2))
    labels, _ = ndimage.label(mask)
    return labels == np.bincount(labels.ravel())[1:].argmax() + 1


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
    parser.add_argument("--seed", type=int, default=3)
    args = parser.parse_args()
    stack = without_distractors(healthy_stack(args.seed, below=5, above=8))
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
