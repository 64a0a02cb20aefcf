"""Pictures of a training run: the loss curve, and for each task what the network makes of validation slices."""

from __future__ import annotations

import csv
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from braindiffusion.diffusion.schedule import CLEAN, Schedule
from braindiffusion.diffusion.spacing import ascending_levels
from braindiffusion.diffusion.steps import Clip, add_noise, ddim_move, predict_clean
from braindiffusion.io.write import complete
from braindiffusion.networks.build import EpsPredictor


def save_grid(rows: list[np.ndarray], path: Path) -> None:
    """Rows of (N,H,W) images in [0,1] as one PNG."""
    from PIL import Image

    canvas = np.concatenate([np.concatenate(list(np.clip(row, 0, 1)), axis=1) for row in rows], axis=0)
    with complete(path) as partial:
        Image.fromarray((canvas * 255).astype(np.uint8)).save(partial, "PNG")


def loss_curve(log: Path, path: Path) -> None:
    """Train and validation loss against iterations."""
    from matplotlib.figure import Figure

    with log.open(encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    for key in [k for k in rows[0] if k.endswith("loss")]:
        axes.plot([float(r["iteration"]) for r in rows], [float(r[key]) for r in rows], label=key)
    axes.set(xlabel="iteration", yscale="log")
    axes.legend()
    with complete(path) as partial:
        figure.savefig(partial, dpi=90, format="png")


@torch.no_grad()
def _context_rows(
    network: nn.Module, val: dict[str, torch.Tensor], settings: dict[str, Any], array: Any, examples: Any
) -> list[Any]:
    """True slices, with holes, and the holes filled in 16 steps."""
    from braindiffusion.healing.dif_fuse import DifFuseSettings, inpaint
    from braindiffusion.training.tasks.context import SPAN

    g, schedule = torch.Generator().manual_seed(0), Schedule()
    x0, condition, _ = examples(val, g, settings, training=False)
    predictor = EpsPredictor(network, schedule, prediction="v", condition=condition)
    options = DifFuseSettings(noise_level=999, steps=16, spacing="karras", inversion="known", clip=SPAN)
    hole = condition[:, 1:2] > 0.5
    filled = inpaint(x0, hole, predictor, options, g, schedule).samples[0]
    low, high = SPAN
    grey = [(v - low) / (high - low) for v in (x0, torch.where(hole, low, x0), filled)]
    return [array(v) for v in grey]


@torch.no_grad()
def sample(
    model: EpsPredictor,
    shape: tuple[int, ...],
    schedule: Schedule,
    steps: int,
    seed: int,
    device: torch.device,
    clip: Clip = (-1.0, 1.0),
) -> torch.Tensor:
    """Unconditional DDIM samples from level 999, quadratic spacing would starve the top: uniform."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(device)
    levels = [*reversed(ascending_levels(schedule.levels - 1, steps, "uniform")), CLEAN]
    for level, target in pairwise(levels):
        clean, eps = predict_clean(x, model(x, level), level, schedule, clip)
        x = ddim_move(clean, eps, target, schedule)
    return x


@torch.no_grad()
def task_figure(
    task: str, network: nn.Module, val: dict[str, torch.Tensor], settings: dict[str, Any], path: Path
) -> None:
    """One PNG per report, to look at."""
    from braindiffusion.training.tasks import TASKS

    network.eval()
    x = val["image"][:8]

    def array(t: torch.Tensor) -> np.ndarray:
        return t[:, 0].float().cpu().numpy()

    if task == "denoiser":
        save_grid(_denoiser_rows(network, val, settings, array), path)
    elif (examples := TASKS[task].examples) is not None:
        part = {k: v[:8] for k, v in val.items()}
        save_grid(_context_rows(network, part, settings, array, examples), path)
    elif task == "latent_denoiser":
        from braindiffusion.training.tasks.autoencoder import frozen

        coder = frozen(settings["autoencoder"], str(x.device))
        schedule = Schedule()
        model = EpsPredictor(network, schedule, prediction=settings.get("prediction", "eps"))
        z = sample(model, tuple(coder.encode(x).shape), schedule, 40, 0, x.device, clip=None)  # type: ignore[operator]
        save_grid([array(coder.decode(z)), array(coder(x)), array(x)], path)  # type: ignore[operator]
    elif task == "gan":
        z = torch.randn((2 * len(x), network.latent), generator=torch.Generator().manual_seed(0))  # type: ignore[arg-type]
        drawn = array(network.generator(z.to(x.device)))  # type: ignore[operator]
        save_grid([drawn[: len(x)], drawn[len(x) :], array(x)], path)
    elif task in {"autoencoder", "vqvae", "denoising_ae", "gan_encoder"}:
        y = network(x)[:, :1]
        save_grid([array(x), array(y), array((x - y).abs() * 4)], path)
    elif task == "brain_mask":
        save_grid([array(x), array(torch.sigmoid(network(x))), array(val["brain"][:8])], path)
    elif task == "lesion_segmenter":
        chosen = torch.nonzero(val["label"])[:10, 0]
        x, kind = val["image"][chosen], val["kind"][chosen]
        p = torch.sigmoid(network(x).float())[torch.arange(len(x)), kind][:, None]
        save_grid([array(x), array(p), array(val["lesion"][chosen])], path)


def _denoiser_rows(
    network: nn.Module, val: dict[str, torch.Tensor], settings: dict[str, Any], array: Callable[..., np.ndarray]
) -> list[np.ndarray]:
    """Samples from pure noise, the slices (and their lesion masks), and their estimates from four levels."""
    from braindiffusion.training.tasks.denoiser import condition_of

    chosen = torch.nonzero(val["label"])[:8, 0] if "condition" in settings else torch.arange(8)[: len(val["image"])]
    part = {k: v[chosen] for k, v in val.items()}
    x, schedule = part["image"], Schedule()
    g = torch.Generator().manual_seed(1)
    condition = condition_of(x, part["lesion"], part["brain"], g, {**settings, "boxes": 0.0})
    label: torch.Tensor | None = part["kind"] if settings.get("kinds") else None
    if "label_drop" in settings:  # the upper half of the samples healthy, the other with lesions
        label = (torch.arange(len(x)) >= len(x) // 2).long()
    model = EpsPredictor(
        network, schedule, prediction=settings.get("prediction", "eps"), condition=condition, label=label
    )
    rows = [array(sample(model, tuple(x.shape), schedule, 40, 0, x.device)), array(x)]
    if condition is not None:
        rows.append(array(part["lesion"]))
    noise = torch.randn(x.shape, generator=g).to(x)
    for level in (100, 250, 500, 750):
        noisy = add_noise(x, noise, level, schedule)
        rows.append(array(predict_clean(noisy, model(noisy, level), level, schedule)[0]))
    return rows
