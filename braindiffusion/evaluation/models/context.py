"""The context-conditioned denoiser measured: its estimate inside holes, by noise level and by source."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from braindiffusion.diffusion.schedule import Schedule
from braindiffusion.diffusion.steps import add_noise, predict_clean
from braindiffusion.errors import PackError
from braindiffusion.evaluation.models.data import Bench, Finding, cpu_seconds, spread
from braindiffusion.models.registry import load_model
from braindiffusion.networks.build import EpsPredictor
from braindiffusion.training.figures import task_figure
from braindiffusion.training.native_slices import NativeSlices
from braindiffusion.training.tasks import TASKS
from braindiffusion.training.tasks.context import SPAN, shapes_of

LEVELS = (17, 165, 500, 999)
SLICES = 32
DEFINITIONS = {
    "psnr_by_t": "the clean estimate of one network call inside random holes, against the truth, at level t (one "
    "seeded draw each), in dB of grey values in [0,1]; mean over slices",
    "psnr_by_source": "the same at level 165, by source",
    "cpu_seconds_per_slice": "one network call on crops of 112 pixels, batch of 8, fastest of 5",
}


def evaluate_context(bench: Bench, picture: Path) -> Finding:
    """The estimate inside holes of the split's slices.

    Raises:
        PackError: the data have no mirrored hemisphere and neighbours (a pack of slices on the model grid).
    """
    if not isinstance(bench.part, NativeSlices):
        raise PackError(
            f"'{bench.model.name}' cannot be measured on these data.",
            "It is shown the mirrored hemisphere and a neighbour, which they lack.",
            "Use the hole test: braindiffusion evaluate tissue.",
        )
    rows = spread(len(bench.part.image), min(SLICES, bench.limit or SLICES))
    part = bench.part.select(rows)
    batch = part.tensors(bench.settings.get("kinds"))
    settings = bench.settings | {"shapes": shapes_of(batch["lesion"])}
    g, schedule = torch.Generator().manual_seed(0), Schedule()
    examples = TASKS[bench.model.card["task"]].examples
    assert examples is not None  # this evaluator is of tasks that have them
    x0, condition, _ = examples(batch, g, settings, training=False)
    noise = torch.randn(x0.shape, generator=g)
    hole, scale = condition[:, 1:2] > 0.5, SPAN[1] - SPAN[0]
    model = EpsPredictor(bench.model.network, schedule, prediction="v", precision=bench.precision)
    by_level: dict[int, np.ndarray] = {}
    for level in LEVELS:
        parts = []
        for i in range(0, len(x0), 8):
            x = add_noise(x0[i : i + 8], noise[i : i + 8], level, schedule).to(bench.device)
            eps = model(x, level, condition[i : i + 8].to(bench.device))
            clean = predict_clean(x, eps, level, schedule, SPAN)[0].cpu()
            error = ((clean - x0[i : i + 8]) / scale) ** 2 * hole[i : i + 8]
            parts.append(error.sum((1, 2, 3)) / hole[i : i + 8].sum((1, 2, 3)).clamp(min=1))
        by_level[level] = -10 * np.log10(np.maximum(torch.cat(parts).numpy(), 1e-10))
    curve = {str(t): round(float(v.mean()), 2) for t, v in by_level.items()}
    sources = {
        str(s): round(float(by_level[165][part.source == s].mean()), 2) for s in sorted(set(part.source.tolist()))
    }
    numbers: dict[str, Any] = {"slices": len(x0), "psnr_by_t": curve, "psnr_by_source": sources, **_timing(bench)}
    task_figure("context", bench.model.network, {k: v[:8] for k, v in batch.items()}, settings, picture)
    return Finding(numbers, DEFINITIONS, f"PSNR in the hole at t = 165: {curve['165']:.1f} dB")


def _timing(bench: Bench) -> dict[str, Any]:
    network = load_model(bench.model.name, "cpu").network
    channels = int(bench.card["network"].get("args", {}).get("in_channels", 7))
    side = 8 * math.ceil(112 / 8)
    x, levels = torch.zeros(8, channels, side, side), torch.full((8,), 500)
    return cpu_seconds(lambda: network(x, levels), 8)
