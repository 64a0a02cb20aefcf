"""Induction measured: test lesions painted into lesion-free slices by every method, beside floors, in one run."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

from braindiffusion import NOT_FOR_DIAGNOSIS, RESEARCH_USE_ONLY, __version__
from braindiffusion.cards import read_card
from braindiffusion.errors import ModelNotFoundError, PackError, SettingsError
from braindiffusion.evaluation.induction.painting import (
    CONTROL,
    KNOWN_METHODS,
    Painted,
    Painter,
    Plan,
    modality_of,
    runnable,
)
from braindiffusion.evaluation.induction.pairs import RULE, Pairs, lesion_rows, load_kinds, pair
from braindiffusion.evaluation.induction.scores import Scorer, segmenter_for
from braindiffusion.evaluation.metrics.features import (
    Features,
    classifier_features,
    inception_features,
    radimagenet_features,
)
from braindiffusion.evaluation.models.data import spread
from braindiffusion.events import Event, OnEvent
from braindiffusion.lesions.common import square_dilate
from braindiffusion.lesions.models import choose_card, lesion_models
from braindiffusion.models.device import choose_device
from braindiffusion.pipeline.provenance import plain
from braindiffusion.settings import OWN_STEPS, Condition, InduceSettings
from braindiffusion.training.grid_data import GridData
from braindiffusion.volume.slices import FIELD_OF_VIEW_MM

ABLATIONS: dict[str, tuple[str, tuple[int, ...]]] = {
    "margin": ("kernel", (10, 15, 20, 25)),
    "resamples": ("resamples", (1, 2, 3, 4)),
    "start": ("start", (999, 700, 600, 500, 400)),
}
"""Setting of MedEdit that is varied, and its values: the thesis' tables 5.2, 5.3, 5.7 and 5.8; the start is ours."""


@dataclass(frozen=True)
class InductionSettings:
    """What is measured.

    Attributes:
        kinds: ``None`` takes all that data and model have.
        limit: at most this many lesions a kind.
        steps: ``None`` visits every level, as published; ``OWN_STEPS`` (0) takes the model's own.
        draw: which of several draws of the noise; the pairs stay those of ``seed``.
        radimagenet, inception: files of weights (safetensors) for further features.
    """

    split: str = "val"
    methods: tuple[str, ...] = KNOWN_METHODS
    condition: Condition = "mask"
    kinds: tuple[str, ...] | None = None
    limit: int | None = None
    ablate: tuple[str, ...] = ()
    steps: int | None = OWN_STEPS
    seed: int = 0
    draw: int = 0
    device: str = "auto"
    batch: int = 8
    radimagenet: Path | None = None
    inception: Path | None = None

    def __post_init__(self) -> None:
        for what, given, known in (
            ("method", self.methods, KNOWN_METHODS), ("ablation", self.ablate, tuple(ABLATIONS)),
            ("condition", (self.condition,), get_args(Condition)),
        ):  # fmt: skip
            for name in given:
                if name.partition(":")[0] not in known:
                    raise SettingsError(
                        f"There is no {what} '{name}' to evaluate.", f"Known: {', '.join(known)}.", "Choose among them."
                    )
        if not self.methods:
            raise SettingsError("No method was named.", f"Known: {', '.join(KNOWN_METHODS)}.", "Name one.")


@dataclass
class KindResult:
    """One kind of lesion: its pairs, what each method painted, and all numbers."""

    kind: str
    pairs: Pairs
    painted: dict[str, Painted]
    facts: dict[str, Any]
    train: GridData


@dataclass
class InductionReport:
    """All that was measured."""

    facts: dict[str, Any]
    kinds: list[KindResult] = field(default_factory=list)


def _features(settings: InductionSettings, device: torch.device) -> list[Features]:
    found = [classifier_features(device)]
    if settings.radimagenet:
        found.append(radimagenet_features(settings.radimagenet, device))
    if settings.inception:
        found.append(inception_features(settings.inception, device))
    return found


def _row(score: dict[str, Any], plan: Plan, made: Painted) -> dict[str, Any]:
    return {**score, "run": plan.facts(), "calls_per_slice": made.calls, "seconds_per_slice": made.seconds}


def _may_be_varied(name: str) -> bool:
    base, _, model = name.partition(":")
    return base == "mededit" and choose_card(InduceSettings(method=base, model=model or None)).condition == "lesion"


def _ablated(plans: dict[str, Plan]) -> Plan | None:
    """MedEdit with a model that is told nothing but lesion and brain, as the thesis varied it."""
    return next(
        (p for p in plans.values() if p.base == "mededit" and p.method != CONTROL and p.card.condition == "lesion"),
        None,
    )


def _variants(plan: Plan | None, settings: InductionSettings) -> dict[str, list[tuple[int, Plan]]]:
    """MedEdit with one setting varied, everything else as in the table."""
    out: dict[str, list[tuple[int, Plan]]] = {}
    if plan is None:
        return out
    for name in settings.ablate:
        key, values = ABLATIONS[name]
        out[name] = [(v, replace(plan, settings=replace(plan.settings, **{key: v}))) for v in values]
    return out


def _ablations(
    plan: Plan | None, settings: InductionSettings, painter: Painter, scorer: Scorer, pairs: Pairs
) -> dict[str, list[dict[str, Any]]]:
    out: dict[str, list[dict[str, Any]]] = {}
    for name, variants in _variants(plan, settings).items():
        out[name] = []
        for value, each in variants:
            made = painter.paint(each, pairs)
            out[name].append({"value": value, **_row(scorer.score(made.images, made.generate), each, made)})
    return out


def _measure(
    kind: str, data: GridData, source: str, card: dict[str, Any], settings: InductionSettings,
    features: list[Features], plans: dict[str, Plan], skipped: dict[str, str], painter: Painter,
) -> KindResult:  # fmt: skip
    of = data.select(data.source == source)
    part, train = of.select(of.split == settings.split), of.select(of.split == "train")
    pairs = pair(part, int(card["grid"]), settings.condition, settings.limit, settings.seed, kind)
    modality = modality_of(card, kind)
    segmenter, why = segmenter_for(kind, modality, painter.device)
    painted = {name: painter.paint(plan, pairs) for name, plan in plans.items()}
    reference = _ablated(plans)
    kernel = int(reference.settings.kernel) if reference else 25
    margin = (square_dilate(torch.from_numpy(pairs.told)[:, None], kernel)[:, 0].numpy()) & pairs.brain
    real = part.image[lesion_rows(part)].astype(np.float32)
    scorer = Scorer(pairs, real, features, segmenter, settings.condition == "box", margin, settings.seed)
    rows: dict[str, Any] = {"real (ceiling)": scorer.real(), "prior (floor)": scorer.score(pairs.prior)}
    lesions = lesion_rows(train)
    if len(lesions) > 1:
        same = train.image[lesions[spread(len(lesions), len(pairs))]].astype(np.float32)
        rows["real train (floor)"] = {"distribution": scorer.distribution(same)}
    rows |= {n: _row(scorer.score(painted[n].images), plans[n], painted[n]) for n in plans}
    plain = _ablated(plans)
    if plain and CONTROL in painted:  # the same model, told a lesion and told none
        effect = scorer.lesion_effect(painted[plain.method].images, painted[CONTROL].images)
        rows[plain.method]["lesion_effect"] = effect
    facts = {
        "source": source, "modality": modality, "pairs": pairs.facts, "margin_kernel_px": kernel,
        "margin_mm": (kernel - 1) / 2 * pairs.pitch_mm,
        "segmenter": segmenter.name if segmenter else None, "segmenter_missing": why or None,
        "features": {
            f.name: {
                "about": f.about,
                "foreign": bool(f.modalities and modality not in f.modalities),
                "real_slices": len(real),
            }
            for f in features
        },
        "rows": rows, "skipped": skipped,
        "ablations": _ablations(_ablated(plans), settings, painter, scorer, pairs),
    }  # fmt: skip
    return KindResult(kind, pairs, painted, facts, train)


def _work(plans: dict[str, Plan], settings: InductionSettings) -> int:
    """Network calls a slice of a kind."""
    varied = [each for variants in _variants(_ablated(plans), settings).values() for _, each in variants]
    return sum(p.settings.calls() for p in [*plans.values(), *varied])


# long: the evaluation from top to bottom, one kind of lesion after another
def evaluate_induction(
    data: list[Path], settings: InductionSettings, *, cache: Path | None = None, on_event: OnEvent | None = None
) -> InductionReport:
    """Measure induction on a split.

    Args:
        data: a folder of packs, or packs; see :func:`~braindiffusion.evaluation.induction.pairs.load_kinds`.
        cache: where packs on the model grid and painted slices are kept; a stopped run goes on from there.

    Raises:
        ModelNotFoundError: no lesion model for any of the methods; or no classifier.
        PackError, SettingsError, ModelFormatError, ModelCorruptError, DependencyMissingError.
    """
    started = time.perf_counter()
    device = choose_device(settings.device)
    cards = lesion_models()
    if not cards:
        raise ModelNotFoundError(
            "There is no lesion model.", "None is installed.", "Install one with: braindiffusion models add FILE"
        )
    painted = list(dict.fromkeys(k for c in cards.values() for k in c["kinds"]))
    for kind in settings.kinds or ():
        if kind not in painted:
            raise SettingsError(
                f"There is no kind '{kind}'.", f"Lesion models paint: {', '.join(painted)}.", "Choose among them."
            )
    if settings.ablate and not any(map(_may_be_varied, settings.methods)):
        raise SettingsError(
            "There is nothing to ablate.", "None of the methods is MedEdit with a model that is told a lesion alone.",
            "Add mededit:lesion-128 to --methods.",
        )  # fmt: skip
    features = _features(settings, device)
    card = next(iter(cards.values()))
    grid, sources = load_kinds(data, list(settings.kinds) if settings.kinds else None, card, cache)
    if not (grid.split == settings.split).any():
        raise PackError(
            f"The data have no '{settings.split}' slices.",
            f"They have: {', '.join(sorted(set(grid.split.tolist())))}.",
            "Choose another split.",
        )
    planned = {
        kind: runnable(
            list(settings.methods), kind, FIELD_OF_VIEW_MM / int(card["grid"]), settings.condition, settings.steps
        )
        for kind in sources
    }
    if not any(plans for plans, _ in planned.values()):
        raise ModelNotFoundError(
            "No method can be run.", "; ".join(next(iter(planned.values()))[1].values()), "Install a lesion model."
        )
    kinds_left = [k for k, (plans, _) in planned.items() if plans]
    work = [_work(planned[k][0], settings) for k in kinds_left]
    state = {"kind": 0, "done": 0, "of": 1}

    def told(calls: int) -> None:
        state["done"] += calls
        if on_event:  # kinds count by their calls a slice: how many pairs the later ones have is not known yet
            share = min(1.0, state["done"] / state["of"])
            at, whole = sum(work[: state["kind"]]) + share * work[state["kind"]], sum(work)
            on_event(Event("evaluate", int(1000 * at / whole), 1000))

    noise = settings.seed
    if settings.draw:
        noise = int(np.random.SeedSequence([settings.seed, settings.draw]).generate_state(1)[0])
    painter = Painter(device, noise, settings.batch, cache, told)
    report = InductionReport({})
    for n, kind in enumerate(kinds_left):
        plans, skipped = planned[kind]
        here = (grid.source == sources[kind]) & (grid.split == settings.split)
        count = len(lesion_rows(grid.select(here)))
        state |= {"kind": n, "done": 0, "of": max(1, work[n] * min(count, settings.limit or count))}
        report.kinds.append(
            _measure(kind, grid, sources[kind], card, settings, features, plans, skipped, painter)
        )  # fmt: skip
    report.facts = plain({
        "use": RESEARCH_USE_ONLY, "synthetic": True, "notice": NOT_FOR_DIAGNOSIS, "version": __version__,
        "split": settings.split, "condition": settings.condition, "steps": settings.steps, "seed": settings.seed,
        "limit": settings.limit, "batch": settings.batch, "device": str(device), "threads": torch.get_num_threads(),
        "pairing": RULE,
        "models": {
            name: {k: read_card(name).get(k) for k in ("sha256", "licence", "training")}
            for name in sorted({p.card["name"] for plans, _ in planned.values() for p in plans.values()})
        },
        "not_run": {k: skip for k, (plans, skip) in planned.items() if not plans},
        "kinds": {r.kind: r.facts for r in report.kinds},
        "seconds": time.perf_counter() - started,
    })  # fmt: skip
    return report
