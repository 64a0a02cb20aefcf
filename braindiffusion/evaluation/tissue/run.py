"""The hole test over a pack: methods beside baselines, on the same holes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from braindiffusion.cards import installed
from braindiffusion.errors import SettingsError
from braindiffusion.evaluation.tissue.fills import FILLS
from braindiffusion.evaluation.tissue.holes import Hole, lay_holes
from braindiffusion.evaluation.tissue.measures import interval_of, psnr, sharpness, ssim, told_apart
from braindiffusion.pipeline.stages import Event, HealSettings, OnEvent
from braindiffusion.training.packs import Pack
from braindiffusion.training.tasks.classifier import auroc
from braindiffusion.volume.brain import find_brain
from braindiffusion.volume.scan import Scan

MEAN_OF = 8
NOMINAL_MM = 2.0
"""Distance of a pack's slices."""
Fill = Callable[[list[int]], list[np.ndarray]]


@dataclass
class TissueRow:
    """One method on all holes.

    Attributes:
        healed: per hole (H,W) float32 in [0,1], one sample. mean: the mean of ``MEAN_OF`` samples, where asked for.
        seconds: per slice, one sample.
        holes: per hole ``psnr``, ``ssim``, ``sharpness``, ``score`` (the forest's, of the healed patch).
        summary: over holes, with intervals.
    """

    name: str
    healed: list[np.ndarray]
    mean: list[np.ndarray] | None
    seconds: float
    holes: list[dict[str, float]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)


@dataclass
class TissueReport:
    """What the hole test found: ``facts`` for the table, ``holes`` and ``rows`` for the picture."""

    facts: dict[str, Any]
    true: list[np.ndarray]
    holes: list[Hole]
    rows: list[TissueRow]


def brains_of(pack: Pack, device: str = "cpu") -> np.ndarray:
    """(N,H,W) bool, the brain on every slice of a pack."""
    brains = np.zeros(pack.images.shape, bool)
    for _, index, scan in pack.volumes():
        brains[index] = find_brain(scan, device=device)[0].transpose(2, 1, 0)
    return brains


def heal_holes(
    pack: Pack, brains: np.ndarray, holes: Sequence[Hole], settings: HealSettings, on_hole: Callable[[int], None]
) -> list[np.ndarray]:
    """Each hole healed as a lesion that was drawn, by the road of a scan; (H,W) float32 in [0,1] a hole."""
    from braindiffusion.pipeline.heal import heal_scan

    out: dict[int, np.ndarray] = {}
    at: dict[int, list[int]] = {}
    for n, hole in enumerate(holes):
        at.setdefault(hole.index, []).append(n)
    for _, index, scan in pack.volumes():
        here = [i for i in index if i in at]
        if not here:
            continue
        mask = np.zeros(pack.images[index].shape, bool)
        for z, i in enumerate(index):
            for n in at.get(int(i), ()):
                mask[z] |= holes[n].mask
        affine = scan.affine.copy()
        affine[2, 2] = NOMINAL_MM  # a pack does not say; the size of a brain is judged by it
        volume = Scan(scan.voxels, affine, scan.modality, scan.source)
        result = heal_scan(
            volume, settings, mask=mask.transpose(2, 1, 0), brain=brains[index].transpose(2, 1, 0)
        ).counterfactual.transpose(2, 1, 0)
        for z, i in enumerate(index):
            for n in at.get(int(i), ()):
                out[n] = result[z].astype(np.float32) / 255.0
        on_hole(len(out))
    return [out[n] for n in range(len(holes))]


def _measured(true: list[np.ndarray], holes: list[Hole], row: TissueRow) -> None:
    masks, patients = [h.mask for h in holes], np.array([h.patient for h in holes])
    apart, scores = told_apart(true, row.healed, masks, patients.tolist())
    n = len(holes)
    row.holes = [
        {"psnr": psnr(t, x, m), "ssim": ssim(t, x, m), "sharpness": sharpness(t, x, m), "score": float(scores[n + i])}
        for i, (t, x, m) in enumerate(zip(true, row.healed, masks, strict=True))
    ]

    def apart_of(pairs: np.ndarray) -> float:
        return auroc(np.concatenate([pairs[:, 0], pairs[:, 1]]), np.repeat([0, 1], len(pairs)))

    row.summary = {"told_apart": apart, "told_apart_interval": interval_of(
        np.stack([scores[:n], scores[n:]], 1), patients, apart_of)}  # fmt: skip
    for key, over in (("psnr", np.mean), ("ssim", np.mean), ("sharpness", np.median)):
        values = np.array([h[key] for h in row.holes])
        row.summary |= {key: float(over(values)), f"{key}_interval": interval_of(values, patients, over)}
    for group in ("size", "place"):
        for name in sorted({getattr(h, group) for h in holes}):
            keep = [i for i, h in enumerate(holes) if getattr(h, group) == name]
            row.summary[f"{group}:{name}"] = {
                "holes": len(keep), "psnr": float(np.mean([row.holes[i]["psnr"] for i in keep])),
                "ssim": float(np.mean([row.holes[i]["ssim"] for i in keep])),
                "sharpness": float(np.median([row.holes[i]["sharpness"] for i in keep])),
                "told_apart": apart_of(np.stack([scores[keep], scores[n + np.array(keep)]], 1)),
            }  # fmt: skip
    if row.mean is not None:
        both = [(psnr(t, x, m), ssim(t, x, m)) for t, x, m in zip(true, row.mean, masks, strict=True)]
        row.summary |= {"mean_psnr": float(np.mean([b[0] for b in both])), "mean_of": MEAN_OF}
        row.summary |= {"mean_ssim": float(np.mean([b[1] for b in both]))}


def tissue_test(
    pack: Pack,
    methods: Sequence[str],
    settings: HealSettings,
    *,
    split: str = "val",
    limit: int = 60,
    seed: int = 0,
    means: bool = False,
    on_event: OnEvent | None = None,
) -> TissueReport:
    """Lay holes, heal them by every method, measure.

    Args:
        methods: ``heal`` (the settings' own model), the name of an installed model, or a baseline of ``FILLS``.
        settings: of the healings; the hole is healed without a margin.
        split: of the pack. limit: most holes. seed: of the holes.
        means: heal ``MEAN_OF`` times by each model and measure the mean too.

    Raises:
        PackError, SettingsError (unknown method) and what :func:`~braindiffusion.pipeline.heal.heal_scan` raises.
    """
    known = {"heal", *FILLS, *installed()}
    if unknown := [m for m in methods if m not in known]:
        raise SettingsError(
            f"There is no method '{unknown[0]}' in the hole test.", f"Known: {', '.join(sorted(known))}.",
            "Name methods of that list, separated by commas.",
        )  # fmt: skip
    part = pack.of_split(split)
    brains = brains_of(part, "cpu" if settings.device == "auto" else settings.device)
    holes = lay_holes(part, brains, limit, seed)
    true = [part.images[h.index].astype(np.float32) / 255.0 for h in holes]
    rows = []
    for number, name in enumerate(methods):

        def told(done: int, number: int = number) -> None:
            if on_event:
                on_event(Event("heal", number * len(holes) + done, len(methods) * len(holes)))

        told(0)
        started = time.perf_counter()
        mean = None
        if name in FILLS:
            healed = [
                np.where(h.mask, FILLS[name](t, h.mask, brains[h.index]), t) for t, h in zip(true, holes, strict=True)
            ]
            seconds = (time.perf_counter() - started) / len(holes)
        else:
            own = replace(
                settings, model=settings.model if name == "heal" else name, margin_mm=0.0, seam="outside", force=True
            )
            healed = heal_holes(part, brains, holes, own, told)
            seconds = (time.perf_counter() - started) / len(holes)
            if means:
                draws = [
                    heal_holes(part, brains, holes, replace(own, seed=own.seed + k), told) for k in range(1, MEAN_OF)
                ]
                mean = [np.mean([x, *(d[n] for d in draws)], axis=0) for n, x in enumerate(healed)]
        row = TissueRow(name, healed, mean, seconds)
        _measured(true, holes, row)
        rows.append(row)
    facts = {
        "split": split, "modality": pack.modality, "holes": len(holes), "patients": len({h.patient for h in holes}),
        "seed": seed, "settings": asdict(settings),
        "rows": {r.name: {"seconds": r.seconds, **r.summary} for r in rows},
    }  # fmt: skip
    return TissueReport(facts, true, holes, rows)
