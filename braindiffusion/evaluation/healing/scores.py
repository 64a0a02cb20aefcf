"""All numbers of one row of the healing table, over its seeds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from braindiffusion.evaluation.healing.data import Measured
from braindiffusion.evaluation.healing.images import Judges, healthy_slices_healed, lesion_slices_healed
from braindiffusion.evaluation.healing.maps import Point, from_map, open_slices, score_map
from braindiffusion.evaluation.healing.rows import Row
from braindiffusion.evaluation.healing.runs import MethodOutput
from braindiffusion.evaluation.induction.pairs import STRATA
from braindiffusion.evaluation.metrics.overlap import Counts, count, interval_of, patient_means, standard_error, summary
from braindiffusion.evaluation.metrics.ranking import Ranking

PARTS = 32


@dataclass
class Overlap:
    """Overlap of one row and seed on the pack's own pixels.

    Attributes:
        at: (n,) slices measured; ``counts``: of each, as in use; ``open_counts``: with the gate held open.
        ranking: of the lesion slices' pixels by the map, the gate held open.
    """

    at: np.ndarray
    counts: list[Counts]
    open_counts: list[Counts]
    ranking: Ranking

    def dice(self, gate_open: bool = False) -> np.ndarray:
        """(n,) lesion Dice; NaN where both are empty."""
        return np.array([c.dice for c in (self.open_counts if gate_open else self.counts)])


def overlap_of(row: Row, made: MethodOutput, point: Point, data: Measured) -> Overlap:
    """Overlap of all measured slices, a few at a time (their pixels are many)."""
    at, lesion = np.nonzero(made.measured)[0], data.lesion
    out = Overlap(at, [], [], Ranking())
    for start in range(0, len(at), PARTS):
        few = at[start : start + PARTS]
        values = score_map(row, made, point, data, few)
        native = data.native(from_map(row, values, made.region[few], point, data, few), few) > 0.5
        for passed, f, d in zip(open_slices(row, data, few), native, data.drawn[few], strict=True):
            out.open_counts.append(count(f, d))
            out.counts.append(out.open_counts[-1] if passed else count(np.zeros_like(d), d))
        here = lesion[few]
        out.ranking.add(data.native(values[here], few[here]), data.drawn[few[here]])
    return out


def volume_dice(counts: list[Counts], patients: np.ndarray) -> np.ndarray:
    """(P,) Dice of all slices of a patient together, of the patients with a lesion."""
    out = []
    for p in dict.fromkeys(patients.tolist()):
        of = [c for c, q in zip(counts, patients, strict=True) if q == p]
        tp, fp, fn = (sum(getattr(c, k) for c in of) for k in ("tp", "fp", "fn"))
        if tp + fn:
            out.append(2 * tp / (2 * tp + fp + fn))
    return np.array(out)


def strata_of(data: Measured) -> tuple[np.ndarray, tuple[float, float]]:
    """(N,) stratum of each slice by its drawn area ('' without a lesion), and the bounds in mm2: the quartiles."""
    area = data.drawn.sum((1, 2)) * data.pixel_mm2
    if not (area > 0).any():
        return np.full(len(data), ""), (0.0, 0.0)
    low, high = (float(v) for v in np.percentile(area[area > 0], [25, 75]))
    names = np.array(STRATA)[1 + (area > high).astype(int) - (area < low).astype(int)]
    return np.where(area > 0, names, ""), (low, high)


def _mean_of(dicts: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean of equal dicts of numbers over runs; what is no float is that of the first."""
    return {
        key: float(np.mean([d[key] for d in dicts])) if isinstance(value, float) else value
        for key, value in dicts[0].items()
    }


def image_numbers(data: Measured, runs: list[MethodOutput], judges: Judges, gated: bool) -> dict[str, Any]:
    """Numbers of the healed images: of each slice the mean over the runs, one for each seed."""
    found = [lesion_slices_healed(data, made, judges) for made in runs]
    patients = data.patient[found[0]["at"]]
    per_slice = ("l1", "psnr", "ssim", "seam", "flip", "judged_before", "judged_after")
    numbers: dict[str, Any] = {
        key: interval_of(over_seeds([f[key] for f in found]), patients) for key in per_slice if key in found[0]
    }
    numbers["flicker"] = interval_of(over_seeds([f["flicker"] for f in found]), found[0]["flicker_patient"])
    if "distance" in found[0]:
        each = [asdict(f["distance"]) for f in found]
        errors = {f"{k}_standard_error": standard_error([d[k] for d in each]) for k in ("kid", "fid")}
        numbers["distance"] = _mean_of(each) | errors
    return numbers | healthy_slices_healed(data, runs, gated)


def over_seeds(values: list[np.ndarray]) -> np.ndarray:
    """(n,) mean over the runs, leaving NaN out where others know."""
    return np.ma.masked_invalid(np.stack(values)).mean(0).filled(np.nan)


@dataclass
class Scored:
    """The numbers of a row, and what the figures and slice tables need.

    Attributes:
        facts: plain data; ``overlap``: of the first seed; ``made``: by the first seed.
        dice: (n,) lesion Dice of the slices ``overlap.at``, mean over seeds.
    """

    row: Row
    facts: dict[str, Any]
    overlap: Overlap
    made: MethodOutput
    dice: np.ndarray


def score(row: Row, runs: list[MethodOutput], point: Point, data: Measured, judges: Judges) -> Scored:
    """Everything about a row.

    Args:
        runs: one for each seed.
    """
    overlaps = [overlap_of(row, made, point, data) for made in runs]
    at = overlaps[0].at
    patients, lesion = data.patient[at], data.lesion[at]
    each = [summary(o.counts, patients, data.pixel_mm2) for o in overlaps]
    opened = [summary(o.open_counts, patients, data.pixel_mm2) for o in overlaps]
    dice = np.mean([o.dice() for o in overlaps], axis=0)
    strata = strata_of(data)[0][at]
    probed = data.probe[at]
    alarms = [np.array([c.fp for c in o.open_counts])[probed] * data.pixel_mm2 for o in overlaps]
    facts: dict[str, Any] = {
        "group": row.group, "about": row.about, "seeds": len(runs), "point": point,
        **_mean_of([dict(e) for e in each]),
        "lesion_dice_interval": interval_of(dice[lesion], patients[lesion])["interval"],
        "lesion_dice_standard_error": standard_error([float(e["lesion_dice"]) for e in each]),  # type: ignore[arg-type]
        "volume_dice": float(np.mean([volume_dice(o.counts, patients).mean() for o in overlaps])) if lesion.any()
        else float("nan"),
        "gate_open": {
            "lesion_dice": float(np.mean([o["lesion_dice"] for o in opened])),
            "false_alarm_mm2": float(np.mean([a.mean() for a in alarms])) if probed.any() else float("nan"),
            "slices": int(probed.sum()),
        },
        "by_size": {s: interval_of(dice[strata == s], patients[strata == s]) for s in STRATA},
        "average_precision": float(np.mean([o.ranking.average_precision for o in overlaps])),
        "best_possible_dice": float(np.mean([o.ranking.best_dice for o in overlaps])),
        "calls_per_slice": float(np.mean([m.calls for m in runs])),
        "seconds_per_slice": float(np.mean([m.seconds for m in runs])),
        "saliency_seconds_per_slice": runs[0].saliency_seconds,
    }  # fmt: skip
    if row.find == "heal":
        facts["largest_change_outside_region"] = float(max(np.abs(m.values[~m.region]).max(initial=0.0) for m in runs))
    if row.find in ("heal", "nothing"):
        facts["images"] = image_numbers(data, runs, judges, row.gated)
    return Scored(row, facts, overlaps[0], runs[0], dice)


def paired(scored: Scored, reference: Scored, data: Measured) -> dict[str, Any] | None:
    """Lesion Dice less that of the reference on the slices both were measured on: mean over patients, interval."""
    shared, mine, other = np.intersect1d(scored.overlap.at, reference.overlap.at, return_indices=True)
    of = data.lesion[shared]
    if not of.any():
        return None
    difference = (scored.dice[mine] - reference.dice[other])[of]
    found = interval_of(difference, data.patient[shared][of])
    found["reference_dice"] = float(patient_means(reference.dice[other][of], data.patient[shared][of]).mean())
    return found
