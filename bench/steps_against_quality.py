"""Steps against quality: the same validation slices, masks and weights, healed with ever more steps.

    python bench/steps_against_quality.py --data PACK.npz --out docs/results [--limit 50] [--steps 10,20,25,50,100,full]

Writes ``steps.json`` and ``steps.md``: lesion Dice, change outside the mask, network calls, seconds and their ratio to
the full run, all in one run on one machine.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from braindiffusion.anomaly import anomaly_map, lesion_map
from braindiffusion.cli_options import parse_steps
from braindiffusion.device import choose_device, precision_for
from braindiffusion.evaluation.tuning import look, patient_mean
from braindiffusion.healing.models import main_model
from braindiffusion.stages import HealSettings, heal_slices, mask_of_saliency
from braindiffusion.training.packs import load_pack


def main() -> None:
    """Run the ladder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=50)
    parser.add_argument("--steps", default="10,20,25,50,100,full")
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    device = choose_device(args.device)
    settings = HealSettings(device=args.device, force=True)
    model = main_model(settings, str(device))
    point = model.card["operating_point"]
    looked = look(load_pack(args.data), settings, args.limit)
    names = np.array([f.case.name for f in looked for _ in range(int(f.case.wanted.sum()))])
    masks = [
        mask_of_saliency(f.saliency, f.case.stack, settings, model.card) & f.case.wanted[:, None, None] for f in looked
    ]
    rows = []
    for text in args.steps.split(","):
        chosen = replace(settings, steps=parse_steps(text))
        dice: list[float] = []
        outside, calls, slices, started = 0.0, 0, 0, time.perf_counter()
        seconds = 0.0
        for found, mask in zip(looked, masks, strict=True):
            stack = found.case.stack
            started = time.perf_counter()
            healed, _, predictor = heal_slices(stack, mask, model, chosen, device)
            seconds += time.perf_counter() - started
            calls += predictor.slice_calls
            slices += int(mask.any((1, 2)).sum())
            outside = max(outside, float(np.abs(healed[0] - stack.images)[~mask].max()))
            anomaly = anomaly_map(stack.images, healed[0], point["anomaly"])
            lesion = lesion_map(
                anomaly, mask, point["threshold"], stack.placement.model_pitch, least_mm2=point["least_mm2"]
            )
            dice += found.dice(lesion)
        rows.append(
            {
                "steps": text,
                "calls_per_slice": calls / slices,
                "lesion_dice": patient_mean(dice, names),
                "largest_change_outside_mask": outside,
                "seconds_per_slice": seconds / slices,
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    full = rows[-1]
    for row in rows:
        row["dice_minus_last"] = row["lesion_dice"] - full["lesion_dice"]
        row["times_faster"] = full["seconds_per_slice"] / row["seconds_per_slice"]
    facts = {
        "split": "val", "lesion_slices": len(names), "patients": len(set(names.tolist())), "fusion": settings.fusion,
        "model": {k: model.card[k] for k in ("name", "sha256")}, "device": str(device), "machine": platform.machine(),
        "threads": torch.get_num_threads(), "precision": precision_for("auto", device), "rows": rows,
    }  # fmt: skip
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "steps.json").write_text(json.dumps(facts, indent=2) + "\n")
    lines = [
        f"{len(names)} lesion slices of {facts['patients']} patients, LGG **val**; fusion {settings.fusion}, "
        f"{facts['precision']}, {facts['threads']} CPU threads; gate held open.",
        "",
        "| steps | network calls a slice | lesion Dice | against last row | outside the mask | s a slice | faster |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r['steps']} | {r['calls_per_slice']:.0f} | {r['lesion_dice']:.3f} | {r['dice_minus_last']:+.3f} | "
        f"{r['largest_change_outside_mask']:.1g} | {r['seconds_per_slice']:.2f} | {r['times_faster']:.0f} x |"
        for r in rows
    ]
    (args.out / "steps.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
