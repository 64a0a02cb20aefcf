"""The cases of a study before they are written: which scans they show, and what is behind them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from braindiffusion.errors import StudyError
from braindiffusion.io.read import read_mask, read_scan
from braindiffusion.studies import design
from braindiffusion.studies.design import StudySettings
from braindiffusion.studies.format import PAIR, REAL, SYNTHETIC
from braindiffusion.studies.protocol import Protocol
from braindiffusion.studies.sources import EVERYTHING, Source, find_sources, stratum_of

NO_LESION = "no lesion"


@dataclass
class Case:
    """One case: what is behind it, and its scans by role; images, hashes and lesion are known when it is written."""

    method: str
    origin: str
    subject: str
    stratum: str
    sources: dict[str, Source]
    side: str | None = None
    images: list[dict[str, Any]] = field(default_factory=list)
    hashes: dict[str, str] = field(default_factory=dict)
    lesion: dict[str, Any] | None = None


def draw_cases(
    real: Path | None, synthetic: dict[str, Path], priors: Path | None, protocol: Protocol,
    settings: StudySettings, rng: np.random.Generator,
) -> list[Case]:  # fmt: skip
    """The cases that take part, in the folders' order.

    Raises:
        StudyError: too few scans; a prior, a stratum or a changed region is missing.
    """
    folders = ({REAL: real} if real is not None else {}) | synthetic
    found = {method: {s.name: s for s in find_sources(folder)} for method, folder in folders.items()}
    before = {s.name: s for s in find_sources(priors)} if priors is not None else {}
    candidates = [
        design.Candidate(method, name, _stratum(source, method, settings))
        for method, sources in found.items()
        for name, source in sources.items()
    ]
    chosen = design.choose(candidates, settings.per_method, settings.shared, rng)
    if priors is not None:
        lacking = sorted({c.subject for c in chosen} - set(before))
        if lacking:
            why = f"There is none called {', '.join(lacking[:3])}{' ...' if len(lacking) > 3 else ''} in {priors}."
            raise StudyError("A prior is missing.", why, "Name each prior as the scan made from it.")
    marked = any(q.truth == "lesion" for q in protocol.questions)
    for c in chosen:
        if marked and c.method != REAL and found[c.method][c.subject].lesion is None:
            why = f"Marks are scored against {c.subject}_lesion, which is not in {synthetic[c.method]}."
            raise StudyError("A changed region is missing.", why, "Put <name>_lesion.nii.gz beside each scan.")
    if protocol.show == "pair":
        return _pairs(chosen, found, rng)
    return [
        Case(
            c.method, REAL if c.method == REAL else SYNTHETIC, c.subject, c.stratum,
            {"scan": found[c.method][c.subject]} | ({"prior": before[c.subject]} if before else {}),
        )
        for c in chosen
    ]  # fmt: skip


def _pairs(chosen: list[design.Candidate], found: dict[str, dict[str, Source]], rng: np.random.Generator) -> list[Case]:
    made, true = [c for c in chosen if c.method != REAL], [c for c in chosen if c.method == REAL]
    matched = design.pair_up([c.subject for c in made], [c.subject for c in true], [c.method for c in made], rng)
    out = []
    for c, (partner, side) in zip(made, matched, strict=True):
        scans = {side: found[c.method][c.subject], _other(side): found[REAL][true[partner].subject]}
        out.append(Case(c.method, PAIR, c.subject, c.stratum, {r: scans[r] for r in ("left", "right")}, side))
    return out


def _other(side: str) -> str:
    return "left" if side == "right" else "right"


def _stratum(source: Source, method: str, settings: StudySettings) -> str:
    if settings.strata is not None:
        stratum = settings.strata.get(source.name)
        if stratum is None and method != REAL:
            why = f"{source.name} of {method} is not in the list."
            raise StudyError("A stratum is missing.", why, "Add it to the CSV file.")
        return stratum or NO_LESION
    if settings.lesion_ml is None:
        return EVERYTHING
    if source.lesion is None:
        if method == REAL:
            return NO_LESION
        why = f"{source.name} of {method} has no lesion beside it."
        raise StudyError("A lesion is missing, so its stratum is not known.", why, "Add <name>_lesion.nii.gz.")
    scan = read_scan(source.image)
    ml = float(read_mask(source.lesion, scan).sum() * np.prod(scan.spacing) / 1000)
    return stratum_of(ml, settings.lesion_ml)
