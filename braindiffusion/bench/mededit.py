"""MedEdit with ever fewer network calls: overlap of what was painted with what was asked for, and FID, in one run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from braindiffusion.evaluation.induction.evaluate import InductionSettings, KindResult, evaluate_induction
from braindiffusion.evaluation.metrics.overlap import interval_of, standard_error
from braindiffusion.events import OnEvent

Mode = tuple[str, int | None]
"""Method, and steps (``None``: every one)."""
MODES: tuple[Mode, ...] = (("mededit", None), ("mededit", 50), ("mededit", 25), ("mededit", 15), ("mededit_paired", 15))
QUICK_MODES: tuple[Mode, ...] = (("mededit", 15), ("mededit", 5))
DRAWS = 2, 4


def fewer_calls(
    data: Path, *, limit: int, device: str, modes: tuple[Mode, ...] = MODES, draws: tuple[int, int] = DRAWS,
    cache: Path | None = None, on_event: OnEvent | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """One row a kind of lesion and mode, the first of each kind being what the others are compared with.

    Every step is 3,997 calls a slice, as published (1,000 levels, 4 resamples). The last mode is the product's own, the
    difference of two short walks. One draw of a few lesions says little: of each lesion the mean over the draws counts.

    Args:
        data: a folder of packs, or one pack, with a val split; tuned on nothing.
        limit: lesions a kind.
        draws: of the first mode, and of each of the others.
        cache: where painted slices are kept; a stopped run goes on from there.

    Raises:
        ModelNotFoundError: no lesion model; PackError: nothing to paint into.
    """
    made: dict[str, list[list[KindResult]]] = {}
    for n, (method, count) in enumerate(modes):
        settings = InductionSettings(methods=(method,), limit=limit, steps=count, device=device)
        each = [
            evaluate_induction([data], replace(settings, draw=draw), cache=cache, on_event=on_event).kinds
            for draw in range(draws[n > 0])
        ]
        for results in zip(*each, strict=True):
            made.setdefault(results[0].kind, []).append(list(results))
    return [
        {"method": mode[0], "steps": mode[1], **_row(drawn, by_mode[0])}
        for by_mode in made.values()
        for mode, drawn in zip(modes, by_mode, strict=True)
    ]


def _row(drawn: list[KindResult], first: list[KindResult]) -> dict[str, Any]:
    """Of several draws of one kind and mode, beside those of the first mode."""
    facts, calls = drawn[0].facts, [_painted(r)["calls_per_slice"] for r in (drawn[0], first[0])]
    dice, fid = _dice(drawn), _fid(drawn)
    row: dict[str, Any] = {
        "kind": drawn[0].kind, "lesions": len(drawn[0].pairs), "draws": len(drawn),
        "calls_per_slice": calls[0], "times_fewer_calls": calls[1] / calls[0],
        "seconds_per_slice": float(np.mean([_painted(r)["seconds_per_slice"] for r in drawn])),
        "lesion_dice": None, "lesion_dice_minus_first": None, "fid": None, "fid_minus_first": None,
        "features": next(iter(_painted(drawn[0]).get("distribution") or {}), None), "segmenter": facts["segmenter"],
    }  # fmt: skip
    if dice is not None:
        patients = drawn[0].pairs.patient
        row |= {
            "lesion_dice": interval_of(dice.mean(0), patients)["mean"],
            "lesion_dice_of_draws": [interval_of(each, patients)["mean"] for each in dice],
            "lesion_dice_minus_first": interval_of(dice.mean(0) - _dice(first).mean(0), patients),
        }
    if fid:
        row |= {"fid": float(np.mean(fid)), "fid_standard_error": standard_error(fid)}
        row["fid_minus_first"] = row["fid"] - float(np.mean(_fid(first)))
    return row


def _painted(result: KindResult) -> dict[str, Any]:
    """The row of the one method that painted."""
    return next(row for row in result.facts["rows"].values() if "calls_per_slice" in row)


def _dice(drawn: list[KindResult]) -> Any:
    """(draws,n) Dice of each lesion; ``None`` where no segmenter knows the kind."""
    overlaps = [_painted(r).get("overlap") for r in drawn]
    return np.array([o["dice_of_slices"] for o in overlaps if o]) if all(overlaps) else None


def _fid(drawn: list[KindResult]) -> list[float]:
    """Of each draw, in the first features; none where there are too few lesions."""
    found: list[dict[str, Any]] = [next(iter((_painted(r).get("distribution") or {}).values()), {}) for r in drawn]
    return [float(f["fid_mean"]) for f in found if "fid_mean" in f]
