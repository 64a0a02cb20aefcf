"""Disharmony and cost of induction: the same validation lesions painted into lesion-free slices, variant by variant.

    python tools/induction_remedies.py --data FOLDER --out docs/results [--limit 24] [--cache FOLDER] [--groups ...]

FOLDER holds the packs. Lesions of the val split are paired with lesion-free slices, and painted, as ``evaluate
induction`` does it (:mod:`braindiffusion.evaluation.induction.pairs`).
Writes ``induction_remedies.json`` and ``.md``: ring contrast beside that of the same lesions where they were drawn,
the jump at the margin's edge, the change in the margin, network calls and seconds.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from braindiffusion.evaluation.induction.painting import Painter, plan_of
from braindiffusion.evaluation.induction.pairs import Pairs, load_kinds, pair
from braindiffusion.io.tables import markdown_table
from braindiffusion.lesions.disharmony import disharmony, ring_contrast
from braindiffusion.lesions.models import choose_card
from braindiffusion.lesions.registry import METHODS
from braindiffusion.models.device import choose_device
from braindiffusion.pipeline.provenance import plain
from braindiffusion.settings import InduceSettings

BASE = InduceSettings(method="mededit")
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


def measured(pairs: Pairs, kind: str, name: str, settings: InduceSettings, painter: Painter) -> dict[str, Any]:
    """One row of the table."""
    painted = painter.paint(plan_of(settings, kind, pairs.pitch_mm), pairs)
    made, generate = painted.images, painted.generate
    real = ring_contrast(pairs.real, pairs.drawn, pairs.real_brain, pairs.pitch_mm).values
    now = ring_contrast(made, pairs.lesion, pairs.brain, pairs.pitch_mm).values
    found = disharmony(real, now)
    away = np.stack([ndimage.distance_transform_edt(~p) * pairs.pitch_mm for p in pairs.lesion])
    margin = pairs.brain & (away > 2) & (away <= 22.5)
    return {
        "kind": kind, "variant": name, "real": found.real, "made": found.made, "difference_sd": found.difference,
        "ks": found.distance, "paired_error": float(np.nanmean(np.abs(now - real))),
        "edge_jump": jump_at_edge(made, generate, pairs.brain),
        "edge_jump_before": jump_at_edge(pairs.prior, generate, pairs.brain),
        "change_in_margin": float(np.abs(made - pairs.prior)[margin].mean()),
        "calls": painted.calls, "seconds": painted.seconds, "pairs": len(pairs), "dropped": pairs.facts["dropped"],
    }  # fmt: skip


def main() -> None:
    """Run the variants."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--limit", type=int, default=24)
    parser.add_argument("--groups", default="guidance,harmonise,steps,late start,box")
    parser.add_argument("--kinds", help="comma-separated (else: all that FOLDER holds)")
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    card = choose_card(BASE)
    data, sources = load_kinds([args.data], args.kinds.split(",") if args.kinds else None, card, args.cache)
    painter = Painter(choose_device(args.device), 0, 8, None, lambda calls: None)
    rows = []
    for kind, source in sources.items():
        part = data.select((data.split == "val") & (data.source == source))
        for group in args.groups.split(","):
            for name, settings in GROUPS[group]:
                pairs = pair(part, int(card["grid"]), settings.condition, args.limit, kind=kind)
                rows.append({"group": group, **measured(pairs, kind, name, settings, painter)})
                print(json.dumps(rows[-1]), flush=True)
    columns = [k for k in rows[0] if k != "dropped"]
    cells = [[f"{v:.3g}" if isinstance(v, float) else str(v) for v in (row[c] for c in columns)] for row in rows]
    lines = markdown_table(columns, cells)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "induction_remedies.json").write_text(json.dumps(plain(rows), indent=2) + "\n", encoding="utf-8")
    (args.out / "induction_remedies.md").write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
