"""Denoisers measured: estimates of the clean slice by level, samples, and whether samples are copies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from braindiffusion.diffusion.schedule import Schedule
from braindiffusion.diffusion.steps import Clip, add_noise, predict_clean
from braindiffusion.evaluation.metrics.nearest import neighbours
from braindiffusion.evaluation.models.data import Bench, Finding, cpu_seconds, images_of, masks_of, rounded, spread
from braindiffusion.evaluation.models.figures import SHOWN, denoiser_figure, lesion_figure
from braindiffusion.models.registry import load_model
from braindiffusion.networks.build import CLASSES, EpsPredictor
from braindiffusion.training.figures import sample
from braindiffusion.training.grid_data import GridData

LEVELS = (10, 50, 100, 150, 200, 300, 400, 500, 600, 750, 900, 999)
SAMPLES, STEPS, SLICES = 64, 40, 64
DEFINITIONS = {
    "reconstruct_by_t": "slices are noised to level t (one seeded draw each) and the clean image is estimated in one "
    "network call: L1 and PSNR (peak 1) over the brain's pixels, mean over slices; median brain 0.45",
    "mean_image": "the same for the pixelwise mean of the training slices, a floor that knows nothing of the slice",
    "samples": f"{STEPS} DDIM steps from pure noise, seed 0",
    "nearest": "RMS difference of 32 x 32 averages, blurred by one pixel, mirror images allowed, to the nearest "
    "training slice (of another patient): samples, real slices of this split, training slices themselves",
    "cpu_seconds_per_slice": "one network call, batch of 8, fastest of 5",
}


@dataclass(frozen=True)
class Space:
    """Where a denoiser works: on pixels, or on the latents of an autoencoder."""

    encode: Callable[[Tensor], Tensor]
    decode: Callable[[Tensor], Tensor]
    clip: Clip


def space_of(bench: Bench) -> Space:
    """Pixels, or the latent space of the autoencoder that the card names."""
    name = bench.card.get("autoencoder") or bench.settings.get("autoencoder")
    if not name:
        return Space(lambda x: x, lambda x: x, (-1.0, 1.0))
    coder = load_model(name, str(bench.device)).network
    return Space(coder.encode, coder.decode, None)


def predictor(bench: Bench, condition: Tensor | None = None, label: int | None = None) -> EpsPredictor:
    """The network as the noise predictor samplers call, in the precision of use."""
    return EpsPredictor(
        bench.model.network, Schedule(), prediction=bench.card.get("prediction", "eps"), precision=bench.precision,
        condition=None if condition is None else condition.to(bench.device), label=label,
    )  # fmt: skip


def noise_like(x: Tensor, level: int, bench: Bench) -> Tensor:
    """The noise the model was trained on, a function of the level alone; on the device of ``x``."""
    g = torch.Generator().manual_seed(1_000 + level)
    if (bench.card.get("noise") or bench.settings.get("noise")) == "simplex":
        from braindiffusion.diffusion.simplex import fractal_noise

        return fractal_noise(tuple(x.shape), torch.full((len(x),), level), g).to(x)
    return torch.randn(x.shape, generator=g).to(x)


def errors_over(estimate: Tensor, x: Tensor, brain: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """(N,) L1 and PSNR (peak 1) over the brain's pixels; all (N,1,H,W)."""
    area = brain.sum((1, 2, 3)).clamp(min=1)
    d = (estimate - x) * brain
    mse = (d**2).sum((1, 2, 3)) / area
    return (d.abs().sum((1, 2, 3)) / area).numpy(), (-10 * torch.log10(mse.clamp(min=1e-10))).numpy()


Ask = Callable[[Tensor, int, slice], Tensor]
"""(state, level, which slices) -> noise: binds what a conditional network is told."""


@torch.no_grad()
def clean_estimate(x: Tensor, level: int, space: Space, ask: Ask, bench: Bench, batch: int = 16) -> Tensor:
    """(N,1,H,W): the clean image as the network sees it through the noise of one level, in [0,1], on the CPU."""
    out, schedule = [], Schedule()
    noise: Tensor | None = None
    for start in range(0, len(x), batch):
        rows = slice(start, min(len(x), start + batch))
        z = space.encode(x[rows].to(bench.device)).float()
        if noise is None:
            noise = noise_like(z.new_zeros((len(x), *z.shape[1:])), level, bench)
        noisy = add_noise(z, noise[rows], level, schedule)
        clean, _ = predict_clean(noisy, ask(noisy, level, rows), level, schedule, space.clip)
        out.append(space.decode(clean).float().clamp(0, 1).cpu())
    return torch.cat(out)


def by_level(x: Tensor, brain: Tensor, space: Space, ask: Ask, bench: Bench) -> dict[str, list[float]]:
    """L1 and PSNR of the clean estimate at each of ``LEVELS``."""
    rows = [errors_over(clean_estimate(x, level, space, ask, bench), x, brain) for level in LEVELS]
    return {
        "t": list(LEVELS),
        "l1": [float(l1.mean()) for l1, _ in rows],
        "psnr": [float(psnr.mean()) for _, psnr in rows],
    }


def _timing(bench: Bench, shape: tuple[int, ...]) -> dict[str, Any]:
    network = load_model(bench.model.name, "cpu").network
    args = bench.card["network"].get("args", {})
    x = torch.zeros(8, args.get("in_channels", 1), *shape[-2:])
    label = [torch.zeros(8, dtype=torch.long)] if args.get("num_class_embeds") else []
    levels = torch.full((8,), 500)
    from braindiffusion.models.device import precision_for

    bf16 = precision_for("auto", torch.device("cpu")) == "bf16"

    def call() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            network(x, levels, *label)

    return {**cpu_seconds(call, 8), "cpu_precision": "bf16" if bf16 else "fp32"}


def _floor(bench: Bench, x: Tensor, brain: Tensor) -> dict[str, float]:
    mean = torch.from_numpy(bench.train.image.mean(0, dtype=np.float32))[None, None].expand_as(x)
    l1, psnr = errors_over(mean * brain, x, brain)
    return {"l1": float(l1.mean()), "psnr": float(psnr.mean())}


@torch.no_grad()
def drawn(bench: Bench, space: Space, model: EpsPredictor, n: int, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """(n,1,H,W) samples from pure noise in [0,1], on the CPU; batches of 16 with a seed each."""
    out = []
    for start in range(0, n, 16):
        count = min(16, n - start)
        z = sample(model, (count, *shape), Schedule(), STEPS, seed + start, bench.device, space.clip)
        out.append(space.decode(z).float().clamp(0, 1).cpu())
    return torch.cat(out)


def evaluate_denoiser(bench: Bench, picture: Path) -> Finding:
    """Any denoiser; one that is told a lesion goes its own way."""
    if bench.settings.get("condition") or bench.card.get("condition"):
        return evaluate_conditional(bench, picture)
    label = CLASSES.index("unlabelled") if bench.card.get("classes") else None
    space, model = space_of(bench), predictor(bench, label=label)
    rows = spread(len(bench.part.image), min(SLICES, bench.limit or SLICES))
    x, brain = images_of(bench.part, rows), masks_of(bench.part.brain[rows])

    def ask(state: Tensor, level: int, _: slice) -> Tensor:
        return model(state, level)

    curve = by_level(x, brain, space, ask, bench)
    with torch.no_grad():
        shape = tuple(space.encode(x[:1].to(bench.device)).shape[1:])
    numbers: dict[str, Any] = {"slices": len(x), "reconstruct_by_t": curve, "mean_image": _floor(bench, x, brain)}
    few = rows[np.linspace(0, len(rows) - 1, min(4, len(rows))).round().astype(int)]
    estimates = [clean_estimate(images_of(bench.part, few), t, space, ask, bench) for t in SHOWN]
    samples, found = None, None
    if (bench.card.get("noise") or bench.settings.get("noise")) != "simplex":  # that one never starts from pure noise
        samples = drawn(bench, space, model, min(SAMPLES, bench.limit or SAMPLES), shape)
        train = images_of(bench.train)
        found = neighbours(samples, x, bench.part.patient[rows], train, bench.train.patient)
        numbers["nearest"] = found.numbers()
    denoiser_figure(
        picture, bench, x, estimates, images_of(bench.part, few), curve, numbers["mean_image"], samples, found
    )
    numbers |= _timing(bench, shape)
    at = dict(zip(curve["t"], curve["psnr"], strict=True))
    headline = f"PSNR of the estimate at t = 100 / 500: {at[100]:.1f} / {at[500]:.1f} dB"
    if found is not None:
        headline += (
            f"; samples' median nearest distance {np.median(found.samples):.3f} (train {np.median(found.train):.3f})"
        )
    return Finding(rounded(numbers), DEFINITIONS, headline, {"by_t": _rows_of(curve)})


def _rows_of(curve: dict[str, list[float]]) -> list[dict[str, Any]]:
    names = list(curve)
    return [dict(zip(names, row, strict=True)) for row in zip(*curve.values(), strict=True)]


def lesion_contrast(image: np.ndarray, lesion: np.ndarray, brain: np.ndarray) -> float:
    """Mean in the lesion minus mean of the brain outside it; NaN without a lesion. All (H,W)."""
    rest = brain & ~lesion
    return float(image[lesion].mean() - image[rest].mean()) if lesion.any() and rest.any() else float("nan")


def _told(bench: Bench, part: GridData, how: str, g: torch.Generator) -> Tensor:
    """(N,C,H,W) condition: as drawn, ``boxes``, or ``empty``."""
    from braindiffusion.training.tasks.denoiser import condition_of

    lesion, brain, x = masks_of(part.lesion), masks_of(part.brain), images_of(part)
    settings = {"condition": bench.card.get("condition"), **bench.settings, "boxes": 1.0 if how == "boxes" else 0.0}
    given = condition_of(x, torch.zeros_like(lesion) if how == "empty" else lesion, brain, g, settings)
    assert given is not None
    return given


def evaluate_conditional(bench: Bench, picture: Path) -> Finding:
    """A denoiser given a lesion mask (or an image with the lesion replaced by noise) and, with ``kinds``, its kind.

    For each kind, on slices with a lesion of at least 50 mm2: estimates by level, samples from pure noise given the
    drawn mask, its boxes, and no mask, and how much brighter than the rest of the brain they are inside the mask.
    """
    g, space = torch.Generator().manual_seed(0), space_of(bench)
    sources = bench.kinds or sorted(set(bench.part.source.tolist()))
    names = list(bench.card.get("kinds") or sources)
    least = 50.0 / (240.0 / float(bench.card["grid"])) ** 2
    numbers: dict[str, Any] = {}
    shown: list[tuple[str, GridData, dict[str, np.ndarray]]] = []
    for index, source in enumerate(sources):
        rows = np.nonzero((bench.part.source == source) & (bench.part.lesion.sum((1, 2)) >= least))[0]
        if not len(rows):
            numbers[names[index]] = {"slices": 0}
            continue
        part = bench.part.select(rows[spread(len(rows), min(SLICES // 2, bench.limit or SLICES))])
        label = index if bench.card["network"].get("args", {}).get("num_class_embeds") else None
        x, brain = images_of(part), masks_of(part.brain)
        told = _told(bench, part, "drawn", g).to(bench.device)
        model = predictor(bench, label=label)

        def ask(state: Tensor, level: int, which: slice, told: Tensor = told, model: EpsPredictor = model) -> Tensor:
            return model(state, level, told[which])

        row: dict[str, Any] = {"slices": len(x), "reconstruct_by_t": by_level(x, brain, space, ask, bench)}
        row["contrast"] = {"real": _mean_contrast(x, part)}
        images: dict[str, np.ndarray] = {}
        few = part.select(spread(len(x), 16))
        for how in ("drawn", "boxes", "empty"):
            conditioned = predictor(bench, _told(bench, few, how, g), label)
            made = sample(conditioned, (len(few.image), *x.shape[1:]), Schedule(), STEPS, 0, bench.device)
            clean = made.float().clamp(0, 1).cpu()
            images[how] = clean[:, 0].numpy()
            row["contrast"][how] = _mean_contrast(clean, few)
        numbers[names[index]] = row
        shown.append((names[index], few, images))
    lesion_figure(picture, bench, shown)
    shape = bench.part.image.shape[1:]
    definitions = {
        **{k: DEFINITIONS[k] for k in ("reconstruct_by_t", "samples", "cpu_seconds_per_slice")},
        "contrast": "mean inside the drawn mask minus mean of the other brain pixels, mean over slices: real slices, "
        "samples told the drawn mask, its filled boxes, no mask (which should come near the brain's own 0)",
    }
    best = [
        f"{k} {v['contrast']['drawn']:.2f} (real {v['contrast']['real']:.2f})"
        for k, v in numbers.items()
        if v["slices"]
    ]
    return Finding(
        rounded({**numbers, **_timing(bench, shape)}), definitions, "lesion contrast of samples: " + ", ".join(best)
    )


def _mean_contrast(images: Tensor, part: GridData) -> float:
    values = [lesion_contrast(*each) for each in zip(images[:, 0].numpy(), part.lesion, part.brain, strict=True)]
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
