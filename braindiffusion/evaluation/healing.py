"""Healing measured on a pack with drawn lesions, beside its floors, on the pack's own pixels."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from braindiffusion import NOT_FOR_DIAGNOSIS, RESEARCH_USE_ONLY
from braindiffusion.anomaly import anomaly_map, lesion_map
from braindiffusion.device import choose_device
from braindiffusion.errors import PackError, SettingsError
from braindiffusion.evaluation.overlap import Counts, count, summary
from braindiffusion.heal import (
    Event,
    HealSettings,
    OnEvent,
    find_saliency,
    heal_slices,
    mask_of_saliency,
    prepare,
)
from braindiffusion.masks import smooth
from braindiffusion.models.registry import LoadedModel, load_model
from braindiffusion.slices import SliceStack
from braindiffusion.training.packs import Pack

KNOWN_METHODS = ("dif_fuse", "saliency")
FLOORS = ("nothing", "bright")


@dataclass
class Case:
    """One patient of a pack on the model grid.

    Attributes:
        stack: slices; ``drawn``: (S,rows,cols) bool on the pack's pixels; ``rows``: indices into the pack.
        wanted: (S,) bool, slices that are measured.
    """

    name: str
    stack: SliceStack
    drawn: np.ndarray
    rows: np.ndarray
    wanted: np.ndarray

    def native(self, mask: np.ndarray) -> np.ndarray:
        """(S,H,W) bool on the model grid -> (S,rows,cols) bool on the pack's pixels."""
        return self.stack.placement.up(mask.astype(np.float32)) > 0.5


def measured_rows(pack: Pack, limit: int | None, lesion_only: bool) -> np.ndarray:
    """(N,) bool: slices to measure. A limit takes evenly spaced ones, lesion and lesion-free in proportion."""
    lesion = pack.masks.any((1, 2))
    pools = [np.nonzero(lesion)[0]] + ([] if lesion_only else [np.nonzero(~lesion)[0]])
    total = sum(len(p) for p in pools)
    wanted = np.zeros(len(pack), bool)
    for pool in pools:
        n = len(pool) if limit is None else min(len(pool), round(limit * len(pool) / max(1, total)))
        if n:
            wanted[pool[np.linspace(0, len(pool) - 1, n).round().astype(int)]] = True
    return wanted


def cases(pack: Pack, wanted: np.ndarray, size: int, device: str) -> Iterator[Case]:
    """The pack's patients that have a slice to measure, one after another."""
    for name, index, scan in pack.volumes():
        if wanted[index].any():
            stack, _ = prepare(scan, size, None, device, check=False)
            drawn = stack.placement.to_axial(pack.masks[index].transpose(2, 1, 0))
            # to_axial may reverse the slice axis; the pack's rows follow it
            rows = stack.placement.to_axial(np.broadcast_to(index, (*scan.voxels.shape[:2], len(index))))[:, 0, 0]
            yield Case(name, stack, drawn, rows, wanted[rows])


def bright(stack: SliceStack, threshold: float) -> np.ndarray:
    """The plain rival: brain pixels brighter than a threshold (model units), lightly smoothed."""
    return (smooth(stack.images) > threshold) & stack.brain


def tune_bright(pack: Pack, size: int, device: str) -> float:
    """Threshold of ``bright`` with the best mean lesion Dice over patients on the val split."""
    levels = np.round(np.arange(0.45, 0.96, 0.025), 3)
    part = pack.of_split("val")
    scores: list[tuple[str, list[float]]] = []
    for case in cases(part, measured_rows(part, None, True), size, device):
        keep = np.nonzero(case.wanted)[0]
        predictions = [case.native(bright(case.stack, t)) for t in levels]
        scores += [(case.name, [count(p[s], case.drawn[s]).dice for p in predictions]) for s in keep]
    names = np.array([n for n, _ in scores])
    table = np.array([v for _, v in scores])
    mean = np.mean([table[names == n].mean(0) for n in dict.fromkeys(names.tolist())], axis=0)
    return float(levels[mean.argmax()])


@dataclass
class Report:
    """Numbers and their table; the slices they come from."""

    facts: dict[str, Any]
    markdown: str
    rows: list[dict[str, Any]]
    gallery: list[dict[str, np.ndarray]] = field(default_factory=list)

    def write_slices(self, path: Path) -> None:
        """One CSV row per measured slice and method."""
        with path.open("w", newline="") as handle:
            writer = csv.DictWriter(handle, list(self.rows[0]))
            writer.writeheader()
            writer.writerows(self.rows)

    def picture(self, path: Path) -> None:
        """Some slices: original with drawn (green) and found (red) lesion, saliency, counterfactual, difference."""
        from matplotlib.figure import Figure

        n = max(1, len(self.gallery))
        figure = Figure(figsize=(2 * n, 8.4), facecolor="black")
        axes = figure.subplots(4, n, squeeze=False)
        for a in axes.flat:
            a.set_axis_off()
        for j, item in enumerate(self.gallery):
            axes[0, j].imshow(item["image"], cmap="gray", vmin=0, vmax=0.95)
            for name, colour in (("drawn", "lime"), ("lesion", "red"), ("mask", "cyan")):
                if item[name].any():
                    axes[0, j].contour(item[name], [0.5], colors=colour, linewidths=0.6)
            axes[1, j].imshow(item["saliency"], cmap="inferno", vmin=0, vmax=1)
            axes[2, j].imshow(item["healed"], cmap="gray", vmin=0, vmax=0.95)
            axes[3, j].imshow(item["healed"] - item["image"], cmap="RdBu_r", vmin=-0.4, vmax=0.4)
        figure.suptitle(
            f"{NOT_FOR_DIAGNOSIS}\ndrawn green, found red, mask cyan | saliency | COUNTERFACTUAL | difference",
            color="yellow",
            fontsize=8,
        )
        figure.subplots_adjust(0, 0, 1, 0.93, 0.02, 0.02)
        figure.savefig(path, dpi=110, facecolor="black")


@dataclass
class _Tally:
    counts: dict[str, list[Counts]] = field(default_factory=dict)
    patients: list[str] = field(default_factory=list)
    identity: list[float] = field(default_factory=list)
    probability: list[float] = field(default_factory=list)
    has_lesion: list[bool] = field(default_factory=list)
    outside: float = 0.0
    calls: int = 0
    healed_slices: int = 0
    seconds_saliency: float = 0.0
    seconds_healing: float = 0.0


def _heal_case(
    case: Case, model: LoadedModel, settings: HealSettings, device: torch.device, threshold: float, least_mm2: float, tally: _Tally,
) -> dict[str, np.ndarray]:  # fmt: skip
    t0 = time.perf_counter()
    saliency, _ = find_saliency(case.stack, settings, case.wanted, device)
    mask = mask_of_saliency(saliency, case.stack, settings, model.card) & case.wanted[:, None, None]
    t1 = time.perf_counter()
    healed, reconstruction, predictor = heal_slices(case.stack, mask, model, settings, device)
    tally.seconds_saliency += t1 - t0
    tally.seconds_healing += time.perf_counter() - t1
    tally.calls += predictor.slice_calls
    tally.healed_slices += int(mask.any((1, 2)).sum())
    mean = healed.mean(0)
    a = anomaly_map(case.stack.images, mean, settings.anomaly, reconstruction=reconstruction)  # type: ignore[arg-type]
    lesion = lesion_map(a, mask, threshold, case.stack.placement.model_pitch, least_mm2=least_mm2)
    outside = np.abs(mean - case.stack.images)[~mask & case.stack.brain]
    tally.outside = max(tally.outside, float(outside.max()) if outside.size else 0.0)
    tally.probability += saliency.probability[case.wanted].tolist()
    return {"dif_fuse": lesion, "saliency": mask, "healed": mean, "map": saliency.maps}


def evaluate(
    pack: Pack, split: str, settings: HealSettings, methods: list[str], *,
    limit: int | None = None, lesion_slices_only: bool = False, on_event: OnEvent | None = None,
) -> Report:  # fmt: skip
    """Measure healing on a split.

    The lesion map's threshold is the model card's (tuned on val); the floor ``bright`` is tuned on this pack's val
    split, or uses the card's value when the pack has none.

    Raises:
        PackError: no masks, or no such split.
        SettingsError: unknown method.
    """
    unknown = [m for m in methods if m not in KNOWN_METHODS]
    if unknown:
        raise SettingsError(
            f"There is no method {unknown[0]} to evaluate.", f"Known: {', '.join(KNOWN_METHODS)}.", "Choose among them."
        )
    if not pack.has_masks:
        raise PackError(
            "The pack has no drawn lesions to measure against.", "It lacks mask_bits.", "Give a pack with masks."
        )
    device = choose_device(settings.device)
    model = load_model(settings.model, str(device))
    size, tuned = int(model.card["grid"]), model.card.get("operating_point", {})
    threshold = settings.threshold if settings.threshold is not None else float(tuned.get("threshold", 0.1))
    least_mm2 = float(tuned.get("least_mm2", 0.0))
    has_val = "val" in set(pack.split.tolist())
    bright_level = tune_bright(pack, size, str(device)) if has_val else float(tuned.get("bright", 0.7))
    part = pack.of_split(split)
    wanted = measured_rows(part, limit, lesion_slices_only)
    tally = _Tally()
    rows: list[dict[str, Any]] = []
    gallery: list[dict[str, np.ndarray]] = []
    heal_wanted = "dif_fuse" in methods or "saliency" in methods
    started, finished = time.perf_counter(), 0
    for case in cases(part, wanted, size, str(device)):
        if on_event:
            on_event(Event("evaluate", finished, int(wanted.sum())))
        brain = case.stack.brain
        predicted = {"nothing": np.zeros_like(brain), "bright": bright(case.stack, bright_level)}
        extra: dict[str, np.ndarray] = {}
        if heal_wanted:
            extra = _heal_case(case, model, settings, device, threshold, least_mm2, tally)
            predicted |= {m: extra[m] for m in methods}
        native = {name: case.native(p) for name, p in predicted.items()}
        for s in np.nonzero(case.wanted)[0]:
            tally.patients.append(case.name)
            tally.has_lesion.append(bool(case.drawn[s].any()))
            row: dict[str, Any] = {"patient": case.name, "row": int(case.rows[s]), "drawn_px": int(case.drawn[s].sum())}
            for name, p in native.items():
                c = count(p[s], case.drawn[s])
                tally.counts.setdefault(name, []).append(c)
                row |= {f"{name}_{k}": v for k, v in asdict(c).items() if k != "tn"}
            if extra and not case.drawn[s].any() and brain[s].any():
                error = float(np.abs(extra["healed"][s] - case.stack.images[s])[brain[s]].mean())
                tally.identity.append(error)
            rows.append(row)
        if extra and len(gallery) < 12:
            area = case.drawn.sum((1, 2)) * case.wanted
            best = int(area.argmax())
            on_grid = case.stack.placement.down(case.drawn[best : best + 1])[0] > 0.5
            gallery.append(
                {"image": case.stack.images[best], "drawn": on_grid, "lesion": extra["dif_fuse"][best], "mask": extra["saliency"][best],
                 "saliency": extra["map"][best], "healed": extra["healed"][best]}
            )  # fmt: skip
        finished += int(case.wanted.sum())
    patients = np.array(tally.patients)
    results = {name: summary(counts, patients, part.pitch_mm**2) for name, counts in tally.counts.items()}
    facts = _facts(pack, split, settings, results, tally, threshold, bright_level, time.perf_counter() - started, model)
    return Report(facts, _markdown(facts), rows, gallery)


def _facts(
    pack: Pack, split: str, settings: HealSettings, results: dict[str, Any], tally: _Tally, threshold: float,
    bright_level: float, seconds: float, model: LoadedModel,
) -> dict[str, Any]:  # fmt: skip
    from braindiffusion.provenance import plain
    from braindiffusion.training.tasks import auroc

    measured = len(tally.patients)
    label, probability = np.array(tally.has_lesion), np.array(tally.probability)
    known = np.isfinite(probability) if len(probability) == len(label) else np.zeros(len(label), bool)
    return plain(
        {
            "use": RESEARCH_USE_ONLY, "modality": pack.modality, "split": split, "settings": replace(settings, threshold=threshold),
            "model": {k: model.card.get(k) for k in ("name", "sha256")}, "bright_threshold": bright_level,
            "definitions": {
                "lesion_dice": "Dice of the lesion class on lesion slices (a miss counts 0): mean per patient, then over patients",
                "interval": "95 % percentile bootstrap over patients, 5000 draws",
                "two_class_dice": "mean of lesion and background Dice, over lesion slices",
                "pooled_dice": "pixels of all lesion slices together",
                "false_alarm_mm2": "predicted area per lesion-free slice",
                "identity_error": "mean |x - healed| over the brain of lesion-free slices; the median brain is 0.45",
            },
            "results": results,
            "slice_auroc": auroc(probability[known], label[known]) if known.any() else None,
            "identity_error": float(np.mean(tally.identity)) if tally.identity else None,
            "largest_change_outside_mask": tally.outside,
            "calls_per_healed_slice": tally.calls / max(1, tally.healed_slices),
            "slices_measured": measured, "slices_healed": tally.healed_slices,
            "seconds_healing_per_slice": tally.seconds_healing / max(1, tally.healed_slices),
            "seconds_saliency_per_slice": tally.seconds_saliency / max(1, measured), "seconds": seconds,
        }
    )  # fmt: skip


def _markdown(facts: dict[str, Any]) -> str:
    first = next(iter(facts["results"].values()))
    lines = [
        f"{facts['modality']}, split **{facts['split']}**: {first['lesion_slices']} lesion slices of {first['patients']} patients, "
        f"{first['lesion_free_slices']} lesion-free slices; model {facts['model']['name']}.",
        "",
        "| method | lesion Dice (95 % CI) | lesion IoU | slice-mean Dice | two-class Dice | pooled Dice | false alarm mm2 | false-alarm slices |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, r in facts["results"].items():
        low, high = (float("nan") if v is None else v for v in r["lesion_dice_interval"])
        lines.append(
            f"| {name} | {r['lesion_dice']:.3f} ({low:.3f}-{high:.3f}) | {r['lesion_iou']:.3f} | {r['lesion_dice_slice_mean']:.3f} | "
            f"{r['two_class_dice']:.3f} | {r['pooled_dice']:.3f} | {r['false_alarm_mm2']:.0f} | {100 * r['false_alarm_share']:.0f} % |"
        )
    lines += ["", *(f"- {k}: {v}" for k, v in facts["definitions"].items())]
    identity = facts["identity_error"]
    lines += [
        f"- slice AUROC of the gate's classifier: {facts['slice_auroc'] if facts['slice_auroc'] is None else round(facts['slice_auroc'], 4)}; "
        f"identity error: {identity if identity is None else round(identity, 5)}; largest change outside the mask: {facts['largest_change_outside_mask']:.2g}",
        f"- {facts['calls_per_healed_slice']:.0f} network calls and {facts['seconds_healing_per_slice']:.2f} s per healed slice, "
        f"{facts['seconds_saliency_per_slice']:.2f} s of saliency per slice",
        "", RESEARCH_USE_ONLY, "",
    ]  # fmt: skip
    return "\n".join(lines)
