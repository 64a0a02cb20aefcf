"""Disharmony and cost of induction: the same validation lesions painted into lesion-free slices, variant by variant.

    python bench/induction_remedies.py --data FOLDER --out docs/results [--limit 24] [--cache FOLDER] [--groups ...]

FOLDER holds the packs. Each lesion of the val split is moved to a random lesion-free slice of the same source (fixed
seed; where less than 80 % of it lies in that brain another slice is tried, and lesions that find none are counted).
Writes ``induction_remedies.json`` and ``.md``: ring contrast beside that of the same lesions where they were drawn,
the jump at the margin's edge, the change in the margin, network calls and seconds.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage

from braindiffusion.device import choose_device, precision_for
from braindiffusion.diffusion.network import EpsPredictor
from braindiffusion.diffusion.schedule import Schedule
from braindiffusion.evaluation.disharmony import disharmony, ring_contrast
from braindiffusion.induce import InduceSettings
from braindiffusion.lesions.common import floor_for
from braindiffusion.lesions.models import choose_card, operating_point
from braindiffusion.lesions.registry import METHODS
from braindiffusion.masks import boxes
from braindiffusion.models.registry import load_model
from braindiffusion.provenance import plain
from braindiffusion.slices import FIELD_OF_VIEW_MM, centred
from braindiffusion.training.datasets import MIN_BRAIN_FRACTION, GridData, packs_on_grid

SOURCES = {
    "stroke_flair": "soop_flair_axial_1mm", "tumour_flair": "lgg_flair_256", "tumour_t1gd": "lgg_t1gd_128",
}  # fmt: skip
BASE = InduceSettings()
GROUPS: dict[str, list[tuple[str, InduceSettings]]] = {
    "methods": [(name, replace(BASE, method=name)) for name in METHODS],
    "steps": [
        (f"{steps} steps, U {u}", replace(BASE, steps=steps, resamples=u))
        for steps in (8, 15, 30, 60) for u in (1, 2, 4)
    ],
    "guidance": [(f"guidance {g:g}", replace(BASE, guidance=g)) for g in (1.0, 1.5, 2.0, 3.0)],
    "harmonise": [(f"harmonise {n}", replace(BASE, harmonise=n)) for n in (0, 1, 2)],
    "late start": [(f"start {s}", replace(BASE, start=s)) for s in (999, 800, 600)],
    "box": [(f"box, guidance {g:g}", replace(BASE, condition="box", guidance=g)) for g in (1.0, 2.0, 3.0)],
}  # fmt: skip


@dataclass(frozen=True)
class Pairs:
    """Lesions and the slices they are moved to: (N,H,W); ``real`` is the slice each lesion was drawn on."""

    image: np.ndarray
    brain: np.ndarray
    lesion: np.ndarray
    real: np.ndarray
    real_brain: np.ndarray
    rejected: int


def pair(data: GridData, limit: int, seed: int = 0, least: float = 0.8) -> Pairs:
    """Lesions of at least 30 pixels with random lesion-free slices of other patients."""
    rng = np.random.default_rng(seed)
    has = data.lesion.sum((1, 2))
    free = rng.permutation(np.nonzero((has == 0) & (data.brain.mean((1, 2)) > MIN_BRAIN_FRACTION))[0])
    wanted = rng.permutation(np.nonzero(has >= 30)[0])[:limit]
    rows, rejected = [], 0
    for i in wanted:
        fits = (
            j for j in rng.permutation(free)[:40]
            if data.patient[j] != data.patient[i]
            and (data.lesion[i] & data.brain[j]).sum() >= least * has[i]
        )  # fmt: skip
        j = next(fits, None)
        rejected += j is None
        if j is not None:
            rows.append((i, j))
    i, j = np.array(rows).T
    return Pairs(
        data.image[j].astype(np.float32), data.brain[j], data.lesion[i] & data.brain[j],
        data.image[i].astype(np.float32), data.brain[i], rejected,
    )  # fmt: skip


def jump_at_edge(image: np.ndarray, region: np.ndarray, brain: np.ndarray) -> float:
    """Mean size of the step from a pixel just inside the region to its neighbour just outside, within the brain."""
    steps = []
    for axis in (1, 2):
        first, second = (
            [np.take(v, np.arange(k, v.shape[axis] - 1 + k), axis) for v in (image, region, brain)] for k in (0, 1)
        )
        across = (first[1] != second[1]) & first[2] & second[2]
        steps.append(np.abs(first[0] - second[0])[across])
    every = np.concatenate(steps)
    return float(every.mean()) if every.size else float("nan")


def paint(
    pairs: Pairs, kind: str, settings: InduceSettings, device: torch.device
) -> tuple[np.ndarray, np.ndarray, Any]:
    """(N,H,W) painted slices, their generate masks, and (calls a slice, seconds a slice)."""
    card = choose_card(settings)
    model = load_model(card["name"], str(device))
    pitch = FIELD_OF_VIEW_MM / int(card["grid"])
    options = settings.of_method(pitch, operating_point(card, kind, settings.condition))
    predictor = EpsPredictor(
        model.network, Schedule(), prediction=card.get("prediction", "eps"), precision=precision_for("auto", device),
        label=card["kinds"].index(kind), guidance=settings.guidance or 1.0,
    )  # fmt: skip
    told = boxes(pairs.lesion) if settings.condition == "box" else pairs.lesion
    out, generate = pairs.image.copy(), np.zeros(told.shape, bool)
    rows, columns = (centred(out.shape[1], card["crop"][0]), centred(out.shape[2], card["crop"][1]))
    started = time.perf_counter()
    for part in np.array_split(np.arange(len(out)), -(-len(out) // 8)):
        x, p, b = (
            torch.from_numpy(np.ascontiguousarray(v[part][:, rows, columns]))[:, None].to(device)
            for v in (pairs.image, told, pairs.brain)
        )
        generator = torch.Generator().manual_seed(int(part[0]))  # pairs are no volume: they share noise by batch only
        floor = {"floor": floor_for(x, p, b, options, pitch)} if METHODS[settings.method].takes_floor else {}
        made = METHODS[settings.method].run(x, p, b, predictor, options, generator, **floor)
        new = torch.where(made.generate, made.samples[0].clamp(0, 1), x)
        out[part[:, None, None], np.arange(128)[rows][:, None], np.arange(128)[columns]] = new[:, 0].cpu().numpy()
        generate[part[:, None, None], np.arange(128)[rows][:, None], np.arange(128)[columns]] = (
            made.generate[:, 0].cpu().numpy()
        )
    seconds = (time.perf_counter() - started) / len(out)
    return out, generate, (predictor.slice_calls / len(out), seconds)


def measured(pairs: Pairs, kind: str, name: str, settings: InduceSettings, device: torch.device) -> dict[str, Any]:
    """One row of the table."""
    made, generate, (calls, seconds) = paint(pairs, kind, settings, device)
    pitch = FIELD_OF_VIEW_MM / made.shape[1]
    real = ring_contrast(pairs.real, pairs.lesion, pairs.real_brain, pitch).values
    now = ring_contrast(made, pairs.lesion, pairs.brain, pitch).values
    found = disharmony(real, now)
    away = np.stack([ndimage.distance_transform_edt(~p) * pitch for p in pairs.lesion])
    margin = pairs.brain & (away > 2) & (away <= 22.5)
    return {
        "kind": kind, "variant": name, "real": found.real, "made": found.made, "difference_sd": found.difference,
        "ks": found.distance, "paired_error": float(np.nanmean(np.abs(now - real))),
        "edge_jump": jump_at_edge(made, generate, pairs.brain),
        "edge_jump_before": jump_at_edge(pairs.image, generate, pairs.brain),
        "change_in_margin": float(np.abs(made - pairs.image)[margin].mean()),
        "calls": calls, "seconds": seconds, "pairs": len(made), "rejected": pairs.rejected,
    }  # fmt: skip


def main() -> None:
    """Run the variants."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--limit", type=int, default=24)
    parser.add_argument("--groups", default="guidance,harmonise,steps,late start,box")
    parser.add_argument("--kinds", default=",".join(SOURCES))
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    device = choose_device(args.device)
    names = [f"{source}.npz" for source in SOURCES.values()]
    data = packs_on_grid(args.data, names, 128, args.cache, {"lgg_t1gd_128.npz": "lgg_flair_256.npz"})
    rows = []
    for kind in args.kinds.split(","):
        pairs = pair(data.select((data.split == "val") & (data.source == SOURCES[kind])), args.limit)
        for group in args.groups.split(","):
            for name, settings in GROUPS[group]:
                rows.append({"group": group, **measured(pairs, kind, name, settings, device)})
                print(json.dumps(rows[-1]), flush=True)
    columns = [k for k in rows[0] if k != "rejected"]
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += [
        "| " + " | ".join(f"{v:.3g}" if isinstance(v, float) else str(v) for v in (row[c] for c in columns)) + " |"
        for row in rows
    ]
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "induction_remedies.json").write_text(json.dumps(plain(rows), indent=2) + "\n", encoding="utf-8")
    (args.out / "induction_remedies.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
