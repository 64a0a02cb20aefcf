"""Generators measured: are their slices new, do they vary as real ones do, and what does the critic make of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from braindiffusion.evaluation.metrics.nearest import descriptors, distances, neighbours
from braindiffusion.evaluation.models.data import Bench, Finding, cpu_seconds, images_of, rounded, spread
from braindiffusion.evaluation.models.figures import rows_figure
from braindiffusion.models.registry import load_model

SAMPLES = 128
DEFINITIONS = {
    "nearest": "RMS difference of 32 x 32 averages, blurred by one pixel, mirror images allowed, to the nearest train "
    "slice (of another patient): of samples, of this split's slices, of training slices",
    "variety": "median of the same difference between two samples, and between two of this split's slices; a generator "
    "that draws few kinds of slices has less",
    "wasserstein": "mean score of real slices less that of samples, by the averaged critic",
    "cpu_seconds_per_slice": "one call of the generator, batch of 8, fastest of 5, float32",
}


def _variety(found: np.ndarray) -> float:
    apart = distances(found, found)
    return float(np.median(apart[~np.eye(len(apart), dtype=bool)]))


@torch.no_grad()
def evaluate_gan(bench: Bench, picture: Path) -> Finding:
    """A generator with its critic."""
    rows = spread(len(bench.part.image), min(SAMPLES, bench.limit or SAMPLES))
    x, network = images_of(bench.part, rows), bench.model.network
    z = torch.randn((len(x), network.latent), generator=torch.Generator().manual_seed(0))
    drawn = torch.cat([network.generator(part.to(bench.device)).float().cpu() for part in z.split(32)])
    mix = torch.zeros(len(x), 1, 1, 1)
    numbers: dict[str, Any] = {
        "slices": len(x),
        "nearest": neighbours(
            drawn, x, bench.part.patient[rows], images_of(bench.train), bench.train.patient
        ).numbers(),
        "variety": {"samples": _variety(descriptors(drawn)), "real": _variety(descriptors(x))},
        "wasserstein": float(network(*(v.to(bench.device) for v in (x, z, mix)))),
    }
    rows_figure(picture, bench, [("real", x[:8, 0].numpy()), ("SAMPLES", drawn[:8, 0].numpy())])
    generator = load_model(bench.model.name, "cpu").network.generator
    timing = cpu_seconds(lambda: generator(z[:8]), len(z[:8]))
    variety = numbers["variety"]
    headline = f"variety {variety['samples']:.3f} (real {variety['real']:.3f})"
    return Finding(rounded({**numbers, **timing}), DEFINITIONS, headline)
