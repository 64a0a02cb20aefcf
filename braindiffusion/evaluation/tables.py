"""Tables and pictures of an evaluation."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from braindiffusion import NOT_FOR_DIAGNOSIS, RESEARCH_USE_ONLY
from braindiffusion.evaluation.overlap import Counts
from braindiffusion.provenance import plain

DEFINITIONS = {
    "lesion_dice": "Dice of the lesion class on lesion slices (a miss counts 0): mean per patient, then over patients",
    "interval": "95 % percentile bootstrap over patients, 5000 draws",
    "two_class_dice": "mean of lesion and background Dice, over lesion slices",
    "pooled_dice": "pixels of all lesion slices together",
    "floors": "nothing; bright: smoothed brain pixels above a grey level tuned on val; bright_gated: the same, only on "
    "slices that pass the classifier gate, as healing is",
    "false_alarm_mm2": "predicted area per lesion-free slice",
    "identity_error": "mean |x - healed| over the brain of lesion-free slices; the median brain is 0.45",
}
COLUMNS = (
    "method", "lesion Dice (95 % CI)", "lesion IoU", "slice-mean Dice", "two-class Dice", "pooled Dice",
    "false alarm mm2", "slices with false alarm",
)  # fmt: skip


@dataclass
class Tally:
    """What is counted while the slices go by."""

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
        figure.savefig(path, dpi=110, facecolor="black", metadata={"Description": NOT_FOR_DIAGNOSIS})


def facts_of(results: dict[str, Any], tally: Tally) -> dict[str, Any]:
    """The numbers of an evaluation as plain data."""
    from braindiffusion.training.tasks import auroc

    measured, healed = len(tally.patients), max(1, tally.healed_slices)
    label, probability = np.array(tally.has_lesion), np.array(tally.probability)
    judged = len(probability) == len(label) and np.isfinite(probability).all()
    facts = {
        "use": RESEARCH_USE_ONLY,
        "definitions": DEFINITIONS,
        "results": results,
        "slice_auroc": auroc(probability, label) if judged else None,
        "identity_error": float(np.mean(tally.identity)) if tally.identity else None,
        "largest_change_outside_mask": tally.outside,
        "slices_measured": measured,
        "slices_healed": tally.healed_slices,
        "calls_per_healed_slice": tally.calls / healed,
        "seconds_healing_per_slice": tally.seconds_healing / healed,
        "seconds_saliency_per_slice": tally.seconds_saliency / max(1, measured),
    }
    return plain(facts)


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _row(name: str, r: dict[str, Any]) -> str:
    interval = "-".join(_number(v) for v in r["lesion_dice_interval"])
    overlap = ("lesion_iou", "lesion_dice_slice_mean", "two_class_dice", "pooled_dice")
    share = r["false_alarm_share"]
    cells = (
        name,
        f"{_number(r['lesion_dice'])} ({interval})",
        *(_number(r[k]) for k in overlap),
        _number(r["false_alarm_mm2"], 0),
        "-" if share is None else f"{100 * share:.0f} %",
    )
    return f"| {' | '.join(cells)} |"


def markdown(facts: dict[str, Any]) -> str:
    """The table with its definitions."""
    first = next(iter(facts["results"].values()))

    def shown(key: str, digits: int) -> str:
        return _number(facts[key], digits)

    lines = [
        f"{facts['modality']}, split **{facts['split']}**: {first['lesion_slices']} lesion slices of "
        f"{first['patients']} patients, {first['lesion_free_slices']} lesion-free slices; "
        f"model {facts['model']['name']}.",
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|" + "---|" * len(COLUMNS),
        *(_row(name, r) for name, r in facts["results"].items()),
        "",
        *(f"- {k}: {v}" for k, v in facts["definitions"].items()),
        f"- slice AUROC of the gate's classifier {shown('slice_auroc', 4)}; "
        f"identity error {shown('identity_error', 5)}; "
        f"largest change outside the mask {facts['largest_change_outside_mask']:.2g}",
        f"- {facts['calls_per_healed_slice']:.0f} network calls and "
        f"{shown('seconds_healing_per_slice', 2)} s per healed slice, "
        f"{shown('seconds_saliency_per_slice', 2)} s of saliency per slice",
        "",
        RESEARCH_USE_ONLY,
        "",
    ]
    return "\n".join(lines)
