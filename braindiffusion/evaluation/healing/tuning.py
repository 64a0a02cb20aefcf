"""Operating points of the rows, tuned on val and kept, and what was swept there. Nothing else is looked at."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from braindiffusion import RESEARCH_USE_ONLY
from braindiffusion.errors import PackError
from braindiffusion.evaluation.healing.data import Measured, collect
from braindiffusion.evaluation.healing.maps import Point, lesions, tuned_point
from braindiffusion.evaluation.healing.rows import Row, known_rows, sweep_rows
from braindiffusion.evaluation.healing.runs import MethodOutput, Runner, row_facts
from braindiffusion.evaluation.metrics.overlap import count, interval_of
from braindiffusion.evaluation.result_cache import ResultCache, fingerprint
from braindiffusion.events import OnEvent
from braindiffusion.healing.models import main_card
from braindiffusion.healing.registry import METHODS, operating_point
from braindiffusion.io.write import OutputFolder
from braindiffusion.models.device import choose_device
from braindiffusion.models.registry import update_card
from braindiffusion.settings import HealSettings
from braindiffusion.training.packs import Pack

SPLIT = "val"
SWEPT_PERCENTILES = (85.0, 90.0, 95.0, 97.0)
SWEPT_LEVELS = (250, 500, 750)
FURTHER_LEVELS = (100, 250, 500, 750, 900)
NEVER_CHOSEN = ("gate open",)
"""Its price, false alarms, does not show on the lesion slices that are swept."""


def read_json(path: Path) -> dict[str, Any]:
    """Plain data, empty where there is none or it cannot be read."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def _digest(pack: Pack, at: np.ndarray) -> str:
    found = hashlib.sha256(f"{pack.modality} {pack.pitch_mm}".encode())
    for array in (pack.images[at], pack.masks[at]):
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def needs_lesions(pack: Pack) -> None:
    """Refuse a pack on which nothing can be tuned.

    Raises:
        PackError: no val slice has a drawn lesion.
    """
    if not pack.masks[pack.split == SPLIT].any():
        raise PackError(
            "There is nothing to tune on.", "No val slice has a drawn lesion.",
            "Give a pack with masks and a val split.",
        )  # fmt: skip


def val_slices(
    pack: Pack, base: HealSettings, limit: int | None, kept: ResultCache, on_event: OnEvent | None = None
) -> Measured:
    """The lesion slices of the val split.

    Raises:
        PackError: there are none.
    """
    needs_lesions(pack)
    return collect(pack, SPLIT, base, limit=limit, lesion_only=True, probe=0, kept=kept, on_event=on_event)


@dataclass
class Tuned:
    """The operating point of a row; ``dice``: on val by it, or ``None``."""

    point: Point
    dice: float | None = None


class Tuner:
    """Tunes rows on the val split of a pack, and keeps what it found in ``out``.

    Args:
        out: folder of ``tuned.json`` and ``sweep.json``.
        limit, costly: at most this many lesion slices of val, and for rows of many network calls. A point tuned on more
            slices than asked for is used as it is.
        again: tune also what was tuned before.
    """

    def __init__(
        self, pack: Pack, base: HealSettings, out: Path, kept: ResultCache, *, limit: int | None = None,
        costly: int = 0,
        again: bool = False, told: Callable[[int], None] | None = None, on_event: OnEvent | None = None,
    ) -> None:  # fmt: skip
        self.pack, self.base, self.out, self.kept = pack, base, out, kept
        self.limit, self.costly, self.told, self.on_event = limit, costly, told, on_event
        at = pack.split == SPLIT
        self.possible = bool(pack.masks[at].any())
        self._pack = _digest(pack, at)
        self._kept: dict[str, Any] = read_json(out / "tuned.json").get("rows", {})
        self._stale = set(self._kept) if again else set()
        self._runner: Runner | None = None

    @property
    def runner(self) -> Runner:
        """The lesion slices of the val split.

        Raises:
            PackError: there are none.
        """
        if self._runner is None:
            data = val_slices(self.pack, self.base, self.limit, self.kept, self.on_event)
            self._runner = Runner(data, self.base, self.kept, self.costly, self.told, "tune")
        return self._runner

    def _key(self, row: Row) -> str:
        return fingerprint([self._pack, row_facts(row, self.base, choose_device(self.base.device))])

    def _known(self, row: Row) -> Tuned | None:
        entry = self._kept.get(row.name)
        if not entry or row.name in self._stale or entry.get("key") != self._key(row):
            return None
        for mine, theirs in ((self.limit, entry["limit"]), (self.costly, entry["costly"])):
            if theirs is not None and (mine is None or theirs < mine):
                return None
        return Tuned(entry["point"], entry["val_lesion_dice"])

    def needs(self, row: Row) -> bool:
        """Whether the row has still to be run on val."""
        return row.find != "nothing" and self.possible and self._known(row) is None

    def tuned(self, row: Row) -> Tuned:
        """The operating point of a row: kept, tuned now, or of the model's card where the pack has no val split.

        Raises:
            PackError: neither.
        """
        if row.find == "nothing":
            return Tuned({})
        if not self.possible:
            return self._of_card(row)
        known = self._known(row)
        if known is None:
            known = self._tune(row)
        return known

    def _tune(self, row: Row) -> Tuned:
        runner = self.runner
        made = runner.run(row)
        point, _ = tuned_point(row, made, runner.slices)
        dice = val_dice(row, made, point, runner)
        self._kept[row.name] = {
            "point": point, "val_lesion_dice": dice["mean"], "lesion_slices": dice["slices"], "limit": self.limit,
            "costly": self.costly, "key": self._key(row),
        }  # fmt: skip
        self._stale.discard(row.name)
        with OutputFolder(self.out) as folder:
            folder.json("tuned", {"use": RESEARCH_USE_ONLY, "split": SPLIT, "rows": self._kept})
        return Tuned(point, dice["mean"])

    def _of_card(self, row: Row) -> Tuned:
        card = main_card(row.of(self.base)) if row.find == "heal" else main_card(self.base)
        own = card.get("operating_points", {}).get("dif_fuse", {})
        if row.find == "bright" and "bright" in own:
            return Tuned({"threshold": float(own["bright"]), "least_mm2": 0.0})
        if row.find == "saliency" and "saliency_percentile" in own:
            return Tuned({"percentile": float(own["saliency_percentile"]), "least_mm2": 0.0})
        tuned = operating_point(card, row.method) if row.find == "heal" else {}
        if "threshold" in tuned:
            return Tuned({
                "variant": tuned.get("anomaly", "ours"), "threshold": tuned["threshold"],
                "least_mm2": float(tuned.get("least_mm2", 0.0)),
            })  # fmt: skip
        raise PackError(
            f"{row.name} has no operating point.", "The pack has no val split with lesions, and no card tells one.",
            "Give a pack with a val split.",
        )  # fmt: skip


def write_points(points: dict[str, dict[str, Any]], base: HealSettings) -> list[str]:
    """Keep tuned points in the cards of the main models, under ``operating_points``; returns the methods.

    Of Dif-fuse, whose point serves all methods that heal inside a mask, and of methods that find their region
    themselves.

    Args:
        points: by row, as :func:`~braindiffusion.evaluation.healing.evaluate.tune_rows` gives them.
    """
    written = [name for name in points if name == "dif_fuse" or (name in METHODS and not METHODS[name].masked)]
    for name in written:
        card, point = main_card(known_rows()[name].of(base)), points[name]["point"]
        known = card.get("operating_points", {})
        tuned = {
            "anomaly": point["variant"], "threshold": point["threshold"], "least_mm2": point["least_mm2"],
            "tuned_on": {"split": SPLIT}, "val_lesion_dice": round(float(points[name]["dice"]), 4),
        }  # fmt: skip
        update_card(card["name"], {"operating_points": {**known, name: {**known.get(name, {}), **tuned}}})
    return written


def val_dice(row: Row, made: MethodOutput, point: Point, runner: Runner) -> dict[str, Any]:
    """Lesion Dice on the pack's own pixels, mean over patients."""
    data = runner.slices
    at = np.nonzero(data.lesion & made.measured)[0]
    native = data.native(lesions(row, made, point, data, at), at) > 0.5
    dice = np.array([count(f, d).dice for f, d in zip(native, data.drawn[at], strict=True)])
    return interval_of(dice, data.patient[at])


def swept_rows() -> list[Row]:
    """What :func:`sweep` tries."""
    return sweep_rows(SWEPT_PERCENTILES, SWEPT_LEVELS, FURTHER_LEVELS)


def sweep(tuner: Tuner) -> dict[str, Any]:
    """Options of Dif-fuse on val: each healed once, its threshold tuned on the same slices; kept in sweep.json."""
    runner, points = tuner.runner, []
    for row in swept_rows():
        made = runner.run(row)
        point, _ = tuned_point(row, made, runner.slices)
        found = val_dice(row, made, point, runner)
        points.append({
            "name": row.name, "group": row.group, "settings": row.settings, "saliency": row.saliency,
            "region": row.region, "lesion_dice": found["mean"], "interval": found["interval"], "point": point,
            "calls": made.calls,
        })  # fmt: skip
    choice = [p for p in points if p["name"] not in NEVER_CHOSEN]
    best = max(choice, key=lambda p: p["lesion_dice"])
    chosen = {k: best[k] for k in ("name", "settings", "saliency", "region")}
    facts = {
        "use": RESEARCH_USE_ONLY, "split": SPLIT, "slices": int(runner.slices.lesion.sum()), "best": best["name"],
        "chosen": chosen, "points": points,
    }  # fmt: skip
    with OutputFolder(tuner.out) as folder:
        folder.json("sweep", facts)
    return facts
