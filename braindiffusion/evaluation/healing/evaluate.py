"""Healing measured: every method of the registry beside floors and ceilings, on one split, by one rule, in one run."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from braindiffusion import NOT_FOR_DIAGNOSIS, RESEARCH_USE_ONLY, __version__
from braindiffusion.cards import read_card
from braindiffusion.errors import (
    ModelCorruptError,
    ModelFormatError,
    ModelNotFoundError,
    PackError,
    SettingsError,
)
from braindiffusion.evaluation.healing import figures as healing_figures
from braindiffusion.evaluation.healing import plots as healing_plots
from braindiffusion.evaluation.healing import two_class
from braindiffusion.evaluation.healing.data import Measured, cases, collect
from braindiffusion.evaluation.healing.images import LEAST_REAL_BRAIN, Judges, judges_for
from braindiffusion.evaluation.healing.report import DEFINITIONS, flat, markdown, slice_rows
from braindiffusion.evaluation.healing.rows import COSTLY_CALLS, Row, calls_of, lacking, rows_named
from braindiffusion.evaluation.healing.runs import Runner, row_facts
from braindiffusion.evaluation.healing.scores import Scored, paired, score, strata_of
from braindiffusion.evaluation.healing.tuning import Tuned, Tuner, read_json, sweep, swept_rows
from braindiffusion.evaluation.metrics.distribution import distances
from braindiffusion.evaluation.models.data import spread
from braindiffusion.evaluation.result_cache import ResultCache, fingerprint
from braindiffusion.events import Event, OnEvent
from braindiffusion.finders.gate import CLASSIFIER
from braindiffusion.healing.models import main_card
from braindiffusion.io.tables import write_csv_file
from braindiffusion.io.write import OutputFolder
from braindiffusion.models.device import choose_device, precision_for
from braindiffusion.pipeline.provenance import plain
from braindiffusion.settings import HealSettings
from braindiffusion.training.packs import Pack
from braindiffusion.training.tasks import auroc

REFERENCE = "dif_fuse"
SWEPT_SLICES = 48


@dataclass(frozen=True)
class HealingPlan:
    """What is measured.

    Attributes:
        methods: rows of the table; ``all`` for every one.
        settings: of Dif-fuse and what the methods share with it.
        seeds: draws of each row that draws; costly rows are run once.
        limit: at most this many slices (of val, to tune: lesion slices).
        probe: at most this many lesion-free slices are healed with the gate held open.
        costly: lesion slices for rows of more than ``COSTLY_CALLS`` network calls; 0 leaves them out.
        sweep: vary the options of Dif-fuse on val before.
    """

    split: str = "test"
    methods: tuple[str, ...] = ("all",)
    settings: HealSettings = field(default_factory=HealSettings)
    seeds: int = 1
    limit: int | None = None
    probe: int = 32
    costly: int = 24
    lesion_only: bool = False
    sweep: bool = False


@dataclass
class HealingReport:
    """All that was measured."""

    facts: dict[str, Any]
    data: Measured
    scored: dict[str, Scored]

    def write(self, folder: OutputFolder) -> None:
        """Report, tables and figures."""
        rows, data, scored = self.facts["rows"], self.data, self.scored
        figures = ["gallery", "lesions", "quality"]
        healing_figures.gallery(data, scored, folder.file("gallery.png"))
        healing_figures.found_lesions(data, scored, folder.file("lesions.png"))
        healing_plots.quality(rows, data.split, folder.file("quality.png"))
        if data.probe.any():
            healing_figures.healthy(data, scored, folder.file("healthy.png"))
            figures.append("healthy")
        if len(healing_figures.seam_slices(data, scored)):
            healing_figures.seams(data, scored, folder.file("seam.png"))
            figures.append("seam")
        if swept := self.facts.get("sweep"):
            for name, draw in (("sweep_k_percentile", healing_plots.heat_map), ("sweep_k", healing_plots.level_curve)):
                if draw(swept["points"], swept["slices"], folder.file(f"{name}.png")):
                    figures.append(name)
        if self.facts.get("two_class"):
            two_class.figure(self.facts["two_class"], folder.file("two_class.png"))
        self.facts["figures"] = figures
        folder.json("report", self.facts)
        folder.file("table.md").write_text(markdown(self.facts), encoding="utf-8")
        write_csv_file(folder.file("rows.csv"), [{"name": n, **flat(r)} for n, r in rows.items()])
        write_csv_file(folder.file("slices.csv"), slice_rows(data, scored))


def _runnable(rows: list[Row], plan: HealingPlan) -> tuple[list[Row], dict[str, str]]:
    """Rows that can run, and why the others cannot."""
    run, missing = [], {}
    for row in rows:
        why = lacking(row, plan.settings)
        if not why and not plan.costly and calls_of(row, plan.settings) > COSTLY_CALLS:
            why = f"{calls_of(row, plan.settings)} network calls a slice, and no slices were granted (--costly)"
        if why:
            missing[row.name] = why
        else:
            run.append(row)
    return run, missing


def _real_ceiling(
    pack: Pack, data: Measured, judges: Judges, kept: ResultCache, base: HealSettings
) -> dict[str, Any] | None:
    """Distance of real lesion-free slices of the train split, as many as were healed, from those of this split."""
    n = int(data.lesion.sum())
    if data.split == "train" or not (pack.split == "train").any() or len(judges.real) < 2 or n < 2:
        return None
    train = pack.of_split("train")
    names = np.array(list(dict.fromkeys(train.patient.tolist())))
    names = names[spread(len(names), len(set(data.patient.tolist())))]
    free = np.nonzero(~train.masks.any((1, 2)) & np.isin(train.patient, names))[0]
    wanted = np.zeros(len(train), bool)
    wanted[free[spread(len(free), n)]] = True
    key = fingerprint([data.digest(np.arange(0), train.images[wanted]), read_card(CLASSIFIER)["sha256"]])
    found = kept.load("real_train", key)
    if found is None:
        size = int(main_card(base)["grid"])
        images = [
            c.stack.images[c.wanted & (c.stack.brain.mean((1, 2)) >= LEAST_REAL_BRAIN)]
            for c in cases(train, wanted, size, str(choose_device(base.device)), kept)
        ]
        found = {"features": judges.of(np.concatenate(images))}
        kept.save("real_train", key, found)
    return asdict(distances(found["features"], judges.real)) if len(found["features"]) > 1 else None


@contextlib.contextmanager
def _told_in(missing: dict[str, str], row: Row) -> Iterator[None]:
    """What keeps a row from being run is told in the table; the others go on."""
    try:
        yield
    except (PackError, SettingsError, ModelNotFoundError, ModelCorruptError, ModelFormatError) as error:
        missing[row.name] = f"{error.what} {error.why}".strip()


class _Progress:
    """Network calls done, of those that all rows will cost."""

    def __init__(self, stage: str, total: int, on_event: OnEvent | None) -> None:
        self.stage, self.total, self.done, self.on_event = stage, max(1, total), 0, on_event
        self(0)

    def __call__(self, calls: int) -> None:
        self.done = min(self.total, self.done + calls)
        if self.on_event:
            self.on_event(Event(self.stage, self.done, self.total))


def _seeds(row: Row, plan: HealingPlan) -> int:
    return plan.seeds if row.random and calls_of(row, plan.settings) <= COSTLY_CALLS else 1


def _work(rows: list[Row], plan: HealingPlan, slices: int, seeds: bool) -> int:
    """Network calls times slices that the rows will cost at most."""
    total = 0
    for row in rows:
        calls = calls_of(row, plan.settings)
        n = min(slices, plan.costly) if calls > COSTLY_CALLS else slices
        total += calls * n * (_seeds(row, plan) if seeds else 1)
    return total


def tuner_for(
    pack: Pack, plan: HealingPlan, out: Path, rows: list[Row], *, again: bool = False, on_event: OnEvent | None = None
) -> Tuner:
    """The tuner of an evaluation: its points lie in ``out``."""
    lesions = int(pack.masks[pack.split == "val"].any((1, 2)).sum())
    slices = lesions if plan.limit is None else min(lesions, plan.limit)
    tuner = Tuner(
        pack, plan.settings, out, ResultCache(out / "runs"), limit=plan.limit, costly=plan.costly, again=again,
        on_event=on_event,
    )  # fmt: skip
    todo = [r for r in rows if again or tuner.needs(r)]
    if todo:
        tuner.told = _Progress("tune", _work(todo, plan, slices, False), on_event)
    return tuner


def chosen_in(out: Path) -> dict[str, Any] | None:
    """The options that did best in a sweep kept in ``out``, for the row ``dif_fuse_chosen``."""
    return read_json(out / "sweep.json").get("chosen")


def run_sweep(pack: Pack, plan: HealingPlan, out: Path, on_event: OnEvent | None = None) -> dict[str, Any]:
    """Vary the options of Dif-fuse on val; see :func:`~braindiffusion.evaluation.healing.tuning.sweep`."""
    limit = plan.limit or SWEPT_SLICES
    told = _Progress("tune", _work(swept_rows(), plan, limit, False), on_event)
    kept = ResultCache(out / "runs")
    return sweep(Tuner(pack, plan.settings, out, kept, limit=limit, costly=plan.costly, told=told, on_event=on_event))


def check(pack: Pack, plan: HealingPlan) -> None:
    """Refuse what cannot be measured, before anything is written.

    Raises:
        PackError: no masks, or no such split; SettingsError: unknown row, or a number out of range.
    """
    rows_named(list(plan.methods), plan.settings.saliency, {"name": ""})
    if plan.seeds < 1 or plan.probe < 0 or plan.costly < 0:
        raise SettingsError("A number is out of range.", "--seeds is at least 1, the others at least 0.", "Change it.")
    if not pack.has_masks:
        raise PackError(
            "The pack has no drawn lesions to measure against.", "It lacks mask_bits.", "Give a pack with masks."
        )
    pack.of_split(plan.split)


def tune_rows(
    pack: Pack, plan: HealingPlan, out: Path, *, on_event: OnEvent | None = None
) -> tuple[dict[str, Any], dict[str, str]]:
    """Tune all rows anew on val; their points, and why rows could not be run.

    Raises:
        PackError: no val slice has a lesion.
    """
    rows, missing = _runnable(rows_named(list(plan.methods), plan.settings.saliency, chosen_in(out)), plan)
    tuner = tuner_for(pack, plan, out, rows, again=True, on_event=on_event)
    _ = tuner.runner
    return {r.name: asdict(tuner.tuned(r)) for r in rows if r.find != "nothing"}, missing


def evaluate_healing(pack: Pack, plan: HealingPlan, out: Path, *, on_event: OnEvent | None = None) -> HealingReport:
    """Measure healing on a split; what was made lies in ``out/runs``, and a stopped run goes on from there.

    Raises:
        PackError, SettingsError, ModelNotFoundError, ModelCorruptError, DeviceError, MemoryExhaustedError.
    """
    check(pack, plan)
    started = time.perf_counter()
    device, base, kept = choose_device(plan.settings.device), plan.settings, ResultCache(out / "runs")
    swept = run_sweep(pack, plan, out, on_event) if plan.sweep else read_json(out / "sweep.json")
    rows, missing = _runnable(rows_named(list(plan.methods), base.saliency, swept.get("chosen")), plan)
    tuner = tuner_for(pack, plan, out, rows, on_event=on_event)
    points: dict[str, Tuned] = {}
    for row in rows:
        with _told_in(missing, row):
            points[row.name] = tuner.tuned(row)
    rows = [r for r in rows if r.name in points]
    data = collect(
        pack, plan.split, base, limit=plan.limit, lesion_only=plan.lesion_only, probe=plan.probe, kept=kept,
        on_event=on_event,
    )  # fmt: skip
    progress = _Progress("evaluate", _work(rows, plan, int(data.worked.sum()), True), on_event)
    runner = Runner(data, base, kept, plan.costly, progress)
    judges = judges_for(data, device)
    scored: dict[str, Scored] = {}
    models: dict[str, str] = {}
    for row in rows:
        with _told_in(missing, row):
            runs = [runner.run(row, seed) for seed in range(_seeds(row, plan))]
            models |= row_facts(row, base, device)["models"]
            scored[row.name] = score(row, runs, points[row.name].point, data, judges)
            scored[row.name].facts["val_lesion_dice"] = points[row.name].dice
    for name, s in scored.items():
        if REFERENCE in scored and name != REFERENCE:
            s.facts["against_dif_fuse"] = paired(s, scored[REFERENCE], data)
    facts = {name: s.facts for name, s in scored.items()}
    known = np.isfinite(data.probability)
    on_all = {n: f for n, f in facts.items() if f["lesion_slices"] == facts["nothing"]["lesion_slices"]}
    read = two_class.compare(on_all)
    report = plain({
        "use": RESEARCH_USE_ONLY, "synthetic": True, "notice": NOT_FOR_DIAGNOSIS, "version": __version__,
        "modality": pack.modality, "data": data.facts(), "strata_mm2": strata_of(data)[1],
        "gate_auroc": auroc(data.probability[known], data.lesion[known]), "definitions": DEFINITIONS,
        "settings": {k: v for k, v in vars(base).items() if k not in ("slices", "force")}, "seeds": plan.seeds,
        "limit": plan.limit, "costly": plan.costly, "device": str(device), "threads": torch.get_num_threads(),
        "precision": precision_for(base.precision, device),
        "steps": "every level" if base.steps is None else f"{base.steps} steps each way",
        "models": models, "rows": facts, "missing": missing,
        "judge": {"name": judges.judge.name if judges.judge else None, "why": judges.why},
        "real_ceiling": _real_ceiling(pack, data, judges, kept, base), "sweep": swept or None,
        "two_class": {**read, "text": two_class.paragraph(read, plan.split)}, "figures": [],
        "parts_made": runner.kept.made, "parts_found": runner.kept.found, "seconds": time.perf_counter() - started,
    })  # fmt: skip
    return HealingReport(report, data, scored)
