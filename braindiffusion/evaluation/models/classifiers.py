"""Classifiers measured: AUROC with an interval over patients, cross-entropy, calibration; autoencoders likewise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from braindiffusion.diffusion.schedule import Schedule
from braindiffusion.diffusion.steps import add_noise
from braindiffusion.evaluation.models.data import (
    Bench,
    Finding,
    cpu_seconds,
    images_of,
    in_parts,
    masks_of,
    rounded,
    spread,
)
from braindiffusion.evaluation.models.figures import classifier_figure, rows_figure
from braindiffusion.models.registry import load_model
from braindiffusion.training.tasks import auroc

BINS, DRAWS = 10, 2000
NOISE_LEVELS = (0, 50, 100, 200, 300, 400, 500, 600)
DEFINITIONS = {
    "auroc": "slices of the source, lesion drawn or not; interval: 95 % percentile bootstrap over patients, "
    f"{DRAWS} draws",
    "cross_entropy": "mean of -log p of the true class, no class weights, no smoothing",
    "ece": f"expected calibration error of p(lesion), {BINS} bins of equal width",
    "base_rate_cross_entropy": "of a guess that always tells the source's share of lesion slices: the floor",
    "cpu_seconds_per_slice": "one network call, batch of 8, fastest of 5, float32",
}


def auroc_interval(
    score: np.ndarray, label: np.ndarray, patient: np.ndarray, draws: int = DRAWS, seed: int = 0
) -> tuple[float, float]:
    """95 % percentile bootstrap of the AUROC: patients are drawn, each with all of his slices. NaN if undefined."""
    rng = np.random.default_rng(seed)
    names, which = np.unique(patient, return_inverse=True)
    rows = [np.nonzero(which == i)[0] for i in range(len(names))]
    values = []
    for _ in range(draws):
        chosen = np.concatenate([rows[i] for i in rng.integers(0, len(rows), len(rows))])
        value = auroc(score[chosen], label[chosen])
        if np.isfinite(value):
            values.append(value)
    if len(names) < 2 or not values:
        return float("nan"), float("nan")
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def reliability(p: np.ndarray, label: np.ndarray, bins: int = BINS) -> tuple[float, np.ndarray, np.ndarray]:
    """Expected calibration error, and per used bin the mean probability told and the share of lesions."""
    which = np.minimum((p * bins).astype(int), bins - 1)
    used = [b for b in range(bins) if (which == b).any()]
    told = np.array([p[which == b].mean() for b in used])
    seen = np.array([label[which == b].mean() for b in used])
    share = np.array([(which == b).mean() for b in used])
    return float((share * np.abs(told - seen)).sum()), told, seen


def _cross_entropy(p: np.ndarray, label: np.ndarray) -> float:
    return float(-np.log(np.clip(np.where(label == 1, p, 1 - p), 1e-7, 1)).mean())


def classifier_numbers(p: np.ndarray, label: np.ndarray, patient: np.ndarray) -> dict[str, Any]:
    """All numbers of one source: ``p`` (N,) probability of a lesion, ``label`` (N,) 0 or 1, ``patient`` (N,)."""
    return {
        "slices": len(p),
        "lesion_slices": int(label.sum()),
        "patients": len(set(patient.tolist())),
        "auroc": auroc(p, label),
        "auroc_interval": list(auroc_interval(p, label, patient)),
        "cross_entropy": _cross_entropy(p, label),
        "base_rate_cross_entropy": _cross_entropy(np.full(len(p), label.mean()), label),
        "ece": reliability(p, label)[0],
    }


def _probability(bench: Bench, x: torch.Tensor, level: int | None) -> np.ndarray:
    more: tuple[torch.Tensor, ...] = ()
    if level is not None:
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(1_000 + level))
        x, more = add_noise(x, noise, level, Schedule()), (torch.full((len(x),), level),)
    return in_parts(bench.model.network, x, bench.device, *more).softmax(1)[:, 1].numpy()


def evaluate_classifier(bench: Bench, picture: Path) -> Finding:
    """A slice classifier; a noised one is measured at level 0, and by AUROC at further levels."""
    noised = bench.card["task"] == "noised_classifier"
    part = bench.part.select(spread(len(bench.part.image), bench.limit))
    x, label = images_of(part), part.lesion.any((1, 2)).astype(int)
    p = _probability(bench, x, 0 if noised else None)
    numbers: dict[str, Any] = {}
    curves: dict[str, dict[str, np.ndarray]] = {}
    sources = list(dict.fromkeys(part.source.tolist()))
    for source in sources:
        of = part.source == source
        numbers[source] = classifier_numbers(p[of], label[of], part.patient[of])
        order = np.argsort(-p[of], kind="stable")
        hit = label[of][order]
        _, told, seen = reliability(p[of], label[of])
        curves[source] = {
            "hits": np.cumsum(hit) / max(1, hit.sum()), "false_alarms": np.cumsum(1 - hit) / max(1, (1 - hit).sum()),
            "told": told, "seen": seen,
        }  # fmt: skip
    by_level: list[dict[str, Any]] = []
    for level in NOISE_LEVELS if noised else ():
        seen_through = _probability(bench, x, level)
        for source in sources:
            of = part.source == source
            by_level.append({"source": source, "t": level, "auroc": auroc(seen_through[of], label[of])})
    classifier_figure(picture, bench, curves, by_level)
    network, few = load_model(bench.model.name, "cpu").network, x[:8]
    levels = (torch.zeros(len(few), dtype=torch.long),) if noised else ()
    timing = cpu_seconds(lambda: network(few, *levels), len(few))
    headline = "AUROC " + ", ".join(
        f"{s} {n['auroc']:.3f} ({n['auroc_interval'][0]:.3f}-{n['auroc_interval'][1]:.3f})" for s, n in numbers.items()
    )
    if by_level:
        numbers["auroc_by_t"] = by_level
    tables = {"by_t": by_level} if by_level else {}
    return Finding(rounded({**numbers, **timing}), DEFINITIONS, headline, tables)


def evaluate_autoencoder(bench: Bench, picture: Path) -> Finding:
    """ACAT's autoencoder, the VQ-VAE, the denoising autoencoder, f-AnoGAN: how well a slice comes back."""
    part = bench.part.select(spread(len(bench.part.image), bench.limit))
    x, brain = images_of(part), masks_of(part.brain)
    y = in_parts(bench.model.network, x, bench.device)[:, :1]
    area = brain.sum((1, 2, 3)).clamp(min=1)
    mse = (((y - x) * brain) ** 2).sum((1, 2, 3)) / area
    numbers: dict[str, Any] = {
        "slices": len(x), "patients": len(set(part.patient.tolist())), "mse": float(mse.mean()),
        "mse_all_pixels": float(((y - x) ** 2).mean()),
        "psnr": float((-10 * torch.log10(mse.clamp(min=1e-10))).mean()),
    }  # fmt: skip
    pick = spread(len(x), 8)
    rows = [("real", x[pick, 0].numpy()), ("RECONSTRUCTIONS", y[pick, 0].numpy())]
    if bench.card["task"] == "denoising_ae":
        from braindiffusion.training.tasks.autoencoder import coarse_noise

        noise = coarse_noise(tuple(x.shape), torch.Generator().manual_seed(0), bench.settings.get("spread", 0.2))
        noisy = x + noise * brain
        z = in_parts(bench.model.network, noisy, bench.device)
        before = (((noisy - x) * brain) ** 2).sum((1, 2, 3)) / area
        after = (((z - x) * brain) ** 2).sum((1, 2, 3)) / area
        numbers |= {"mse_of_noise": float(before.mean()), "mse_denoised": float(after.mean())}
        rows += [("with coarse noise", noisy[pick, 0].numpy()), ("DENOISED", z[pick, 0].numpy())]
    rows.append(("4 x |difference| of real and reconstruction", 4 * (x - y)[pick, 0].abs().numpy()))
    rows_figure(picture, bench, rows)
    network = load_model(bench.model.name, "cpu").network
    timing = cpu_seconds(lambda: network(x[:8]), len(x[:8]))
    definitions = {
        "mse": "mean squared error over the brain's pixels, mean over slices; grey values in [0,1], median brain 0.45",
        "psnr": "of the same, peak 1, mean over slices",
        "mse_all_pixels": "over the whole crop, air included (what training minimises)",
        "cpu_seconds_per_slice": DEFINITIONS["cpu_seconds_per_slice"],
    }
    headline = f"PSNR over the brain {numbers['psnr']:.1f} dB"
    return Finding(rounded({**numbers, **timing}, 6), definitions, headline)
