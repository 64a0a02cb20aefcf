"""MedEdit with ever fewer network calls: overlap of what was painted with what was asked for, and FID, in one run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from braindiffusion.evaluation.induction import InductionSettings, evaluate_induction
from braindiffusion.stages import OnEvent

STEPS: tuple[int | None, ...] = (None, 50, 25, 15)
QUICK_STEPS: tuple[int | None, ...] = (15, 5)


def fewer_calls(
    data: Path, *, limit: int, device: str, steps: tuple[int | None, ...] = STEPS, cache: Path | None = None,
    on_event: OnEvent | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """One row a kind of lesion and number of steps, the first of each kind being what the others are compared with.

    Every step is 3,997 calls a slice, as published (1,000 levels, 4 resamples).

    Args:
        data: a folder of packs, or one pack, with a val split; tuned on nothing.
        limit: lesions a kind.
        cache: where painted slices are kept; a stopped run goes on from there.

    Raises:
        ModelNotFoundError: no lesion model; PackError: nothing to paint into.
    """
    rows: dict[str, list[dict[str, Any]]] = {}
    for count in steps:
        settings = InductionSettings(methods=("mededit",), limit=limit, steps=count, device=device)
        report = evaluate_induction([data], settings, cache=cache, on_event=on_event)
        for result in report.kinds:
            kind, facts = result.kind, report.facts["kinds"][result.kind]
            row = facts["rows"]["mededit"]
            overlap, distribution = row.get("overlap") or {}, row.get("distribution") or {}
            found: dict[str, Any] = next(iter(distribution.values()), {})
            rows.setdefault(kind, []).append(
                {
                    "kind": kind, "steps": count, "lesions": len(result.pairs),
                    "calls_per_slice": row["calls_per_slice"], "seconds_per_slice": row["seconds_per_slice"],
                    "lesion_dice": overlap.get("lesion_dice"), "fid": found.get("fid_mean"),
                    "features": next(iter(distribution), None), "segmenter": facts["segmenter"],
                }
            )  # fmt: skip
    for first, *others in rows.values():
        for row in (first, *others):
            row["times_fewer_calls"] = first["calls_per_slice"] / row["calls_per_slice"]
            for name in ("lesion_dice", "fid"):
                known = row[name] is not None and first[name] is not None
                row[f"{name}_minus_first"] = row[name] - first[name] if known else None
    return [row for kind in rows.values() for row in kind]
