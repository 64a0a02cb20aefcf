"""Make the shipped sample scan: a simulated FLAIR, given its texture by our own healthy model, with a lesion added.

    python tools/make_sample.py --out Resources/Samples

No patient's scan goes in. A head is simulated from formulas (ellipsoid, ventricles, sulci, cortical ribbon), noised
half-way and denoised by the model, all slices with the same draws. The lesion is a deformed ellipsoid, bright as
FLAIR lesions are, with a soft rim.
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
from braindiffusion.models.registry import load_model
from braindiffusion.slices import BRAIN_LEVEL, FIELD_OF_VIEW_MM
from braindiffusion.writing import OutputFolder

THICKNESS_MM = 5.0


def denoise(model: EpsPredictor, x: torch.Tensor, levels: list[int], noise: SharedNoise) -> torch.Tensor:
    """Ancestral sampling from ``levels[0]`` to clean."""
    for level, target in pairwise([*levels, CLEAN]):
        clean, _ = predict_clean(x, model(x, level), level, model.schedule)
        x = ddpm_move(x, clean, noise.at(level, x)[0], level, target, model.schedule)
    return x.clamp(0, 1)


def simulated_head(slices: int, shape: tuple[int, int], pitch: float, seed: int) -> np.ndarray:
    """(S,H,W) in model units: CSF 0.08, white matter 0.42, grey matter 0.5; from the thalami towards the vertex."""
    rng = np.random.default_rng(seed)
    z, y, x = np.indices((slices, *shape)).astype(float)
    y, x = (y - (shape[0] - 1) / 2) * pitch, (x - (shape[1] - 1) / 2) * pitch
    z = (z - slices * 0.3) * THICKNESS_MM
    size = np.sqrt(np.clip(1 - (z / 82.0) ** 2, 0.05, 1))
    narrow = 1 - 0.14 * np.clip(y / -80.0, 0, 1)
    radius = np.sqrt((y / (82.0 * size)) ** 2 + (x / (66.0 * size * narrow)) ** 2)
    depth = (1 - radius) * 66.0 * size  # mm under the surface, about

    def field(sigma_mm: float, stretch: float = 1.0) -> np.ndarray:
        noise = rng.standard_normal(z.shape)
        out = ndimage.gaussian_filter(noise, (stretch * sigma_mm / THICKNESS_MM, sigma_mm / pitch, sigma_mm / pitch))
        return out / out.std()

    folds = np.abs(field(4.5, 1.6))
    reach = np.clip((20.0 - depth) / 20.0, 0, 1) ** 0.7
    sulci = (folds < 0.34 * reach) & (depth < 20)
    ribbon = (depth < 4.0) | (ndimage.gaussian_filter(sulci.astype(float), (0, 1.5, 1.5)) > 0.08)
    head = np.where(ribbon, 0.51, 0.41)
    fissure = (np.abs(x) < 1.3) & ((y < -28) | (y > 38) | (z > 38)) & (depth > 0)
    up = np.clip(1 - np.abs(z - 8) / 34.0, 0, 1)
    horn = ((np.abs(x) - 8 - 0.004 * y**2) / (7.0 * up + 0.01)) ** 2 + ((y - 2) / (36 * up + 0.01)) ** 2
    deep_grey = ((np.abs(x) - 22) / 9) ** 2 + ((y + 4) / 17) ** 2 + (z / 22) ** 2 < 1
    head = np.where(deep_grey, 0.49, head)
    head = np.where(sulci | fissure | (horn < 1), 0.08, head) * (depth > 0)
    return ndimage.gaussian_filter(head, (0, 0.6, 0.6)) * (depth > 0)


def healthy_stack(seed: int, slices: int, level: int = 230) -> np.ndarray:
    """(S,H,W) float32 in [0,1]: the simulated head, noised to ``level`` and denoised by the healthy model."""
    model = load_model("flair-healthy-128")
    rows, columns = model.card["crop"]
    head = simulated_head(slices, (rows, columns), FIELD_OF_VIEW_MM / 128, seed)
    predictor = EpsPredictor(model.network, Schedule(), prediction=model.card["prediction"])
    generator = torch.Generator().manual_seed(seed)
    noise = SharedNoise(generator, (1, rows, columns))
    fixed = torch.randn((1, 1, rows, columns), generator=generator)
    levels = ascending_levels(level, 60)[::-1]
    out = []
    for plane in head:
        x0 = torch.from_numpy(plane).float()[None, None]
        out.append(denoise(predictor, add_noise(x0, fixed, level, predictor.schedule), levels, noise)[0, 0].numpy())
    return np.stack([s * _body(s) for s in out])


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
    stack = healthy_stack(args.seed, slices=14)
    pitch = FIELD_OF_VIEW_MM / 128
    s, h, w = stack.shape
    weight = lesion_weight(stack.shape, (s * 0.5, h * 0.42, w * 0.32), (17.0, 15.0, 12.0), pitch, args.seed)
    texture = ndimage.gaussian_filter(
        np.random.default_rng(args.seed + 1).standard_normal(stack.shape), (0.5, 1.2, 1.2)
    )
    bright = 0.74 + 0.05 * texture / texture.std()
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
