"""Sealing a study: cases copied without names, orders drawn, labels put into a key of their own."""

from __future__ import annotations

import json
import os
import secrets
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from braindiffusion import RESEARCH_USE_ONLY, __version__
from braindiffusion.errors import QuarantineError, SettingsError, StudyError
from braindiffusion.io.read import read_mask, read_scan
from braindiffusion.io.write import OutputFolder, check_writable
from braindiffusion.pipeline.provenance import plain
from braindiffusion.studies import design
from braindiffusion.studies.cases import Case, draw_cases
from braindiffusion.studies.copies import check_same_grid, grid_of, pack_mask, sealed_copies
from braindiffusion.studies.design import StudySettings
from braindiffusion.studies.format import (
    KEY,
    MAY_BE_SYNTHETIC,
    PAIR,
    REAL,
    STUDY,
    SYNTHETIC,
    VERSION,
    default_key,
    seal_of,
    sha256_of,
    sha256_of_file,
    utc_now,
)
from braindiffusion.studies.power import power_note
from braindiffusion.studies.protocol import Protocol
from braindiffusion.volume.scan import Scan

if TYPE_CHECKING:
    from braindiffusion.export.deidentify import Clean

OnCase = Callable[[int, int], None]


@dataclass(frozen=True)
class CreatedStudy:
    """What was sealed.

    Attributes:
        study, key: the folder and the file.
        counts: method -> stratum -> cases.
        presentations: how many cases each reader sees, repeats included.
        power: what the study can show, see :func:`~braindiffusion.studies.power.power_note`.
    """

    study: Path
    key: Path
    counts: dict[str, dict[str, int]]
    presentations: int
    power: dict[str, Any]


def create_study(
    real: Path | None,
    synthetic: dict[str, Path],
    protocol: Protocol,
    out: Path,
    settings: StudySettings | None = None,
    priors: Path | None = None,
    key: Path | None = None,
    on_case: OnCase | None = None,
) -> CreatedStudy:
    """Seal a study: the folder that readers get, and the key beside it.

    Args:
        real: folder of real scans; ``None`` for a protocol without.
        synthetic: method -> folder of its scans.
        out: the study's folder; must not exist, or be empty.
        priors: folder of the scans before, for a protocol that shows them, by the same names.
        key: where the key goes; ``None``: ``<out>-key.json`` beside it.
        on_case: hears (cases written, cases).

    Raises:
        StudyError: empty folders, too few scans, one scan twice, grids that differ, a missing prior or lesion.
        SettingsError: settings or folders that do not fit the protocol.
        QuarantineError: a scan may tell who the patient is (text burned in, a face that cannot be found).
        InputError: a scan that cannot be read. OutputError: nothing can be written there.
    """
    settings = settings or StudySettings()
    settings.check()
    out = out.absolute()
    key = (key or default_key(out)).absolute()
    _check_targets(out, key)
    _check_folders(real, synthetic, priors, protocol)
    seed = secrets.randbits(128) if settings.seed is None else settings.seed
    rng = np.random.default_rng(seed)
    cases = draw_cases(real, synthetic, priors, protocol, settings, rng)
    ids = design.identifiers(len(cases), 8, rng)
    subjects = [c.subject for c in cases]
    asked = protocol.repeats if settings.repeats is None else settings.repeats
    repeats = min(asked, len(cases)) if settings.repeats is None else asked
    twice = design.repeated([c.method for c in cases], repeats, rng)
    orders = {r: [ids[i] for i in design.reading_order(subjects, twice, rng)] for r in settings.readers}
    study_id = rng.bytes(8).hex()
    counts = design.counts([design.Candidate(c.method, c.subject, c.stratum) for c in cases])
    totals = {m: sum(by.values()) for m, by in counts.items()}
    seen_by = Counter(s for s, _ in {(c.subject, c.method) for c in cases if c.method != REAL})
    power = power_note(protocol, totals, shared=any(n > 1 for n in seen_by.values()))
    names = {s: f"s{i + 1:03d}" for i, s in enumerate(rng.permutation(sorted(set(subjects))).tolist())}
    written = False
    try:
        with OutputFolder(out, keep=True) as folder:
            _write_cases(folder, cases, ids, protocol, settings, on_case)
            study = plain({
                "format": STUDY, "version": VERSION, "study": study_id, "title": settings.title or protocol.title,
                "notice": MAY_BE_SYNTHETIC, "use": RESEARCH_USE_ONLY, "made": utc_now(),
                "software": {"braindiffusion": __version__}, "protocol": protocol.as_dict(),
                "cases": {i: {"images": c.images} for i, c in sorted(zip(ids, cases, strict=True))},
                "readers": orders,
            })  # fmt: skip
            secret = _text(plain({
                "format": KEY, "version": VERSION, "study": study_id, "seed": str(seed), "seal": seal_of(study),
                "cases": {i: _label(c, names) for i, c in zip(ids, cases, strict=True)},
                "repeats": [ids[i] for i in twice], "counts": counts, "power": power,
            }))  # fmt: skip
            study["key_sha256"] = sha256_of(secret)
            folder.file("study.json").write_bytes(_text(study))
            with OutputFolder(key.parent, keep=True) as apart:
                path = apart.file(key.name)
                path.write_bytes(secret)
                path.chmod(0o600)
            written = True
    except BaseException:
        if written:
            key.unlink(missing_ok=True)
        raise
    return CreatedStudy(out, key, counts, len(cases) + len(twice), power)


def _text(data: Any) -> bytes:
    return (json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _label(case: Case, names: dict[str, str]) -> dict[str, Any]:
    """What the key tells of a case; neither names nor paths of what it was made from."""
    return {
        "origin": case.origin, "method": case.method, "stratum": case.stratum, "subject": names[case.subject],
        "side": case.side, "sources": case.hashes, "lesion": case.lesion,
    }  # fmt: skip


# --- before anything is read --------------------------------------------------------------------------------


def _check_targets(out: Path, key: Path) -> None:
    if out.is_dir() and any(out.iterdir()):
        raise StudyError(f"{out} is not empty.", "A study is sealed once, whole.", "Choose a new --out folder.")
    if key.is_relative_to(out):
        why = "Whoever opens the study could read which case is which."
        raise StudyError("The key would lie inside the study.", why, "Choose a --key elsewhere.")
    if key.exists():
        why = "It may be the only key of another study."
        raise StudyError(f"{key} is there already.", why, "Choose another --key or --out.")
    check_writable(out)
    check_writable(key.parent)


def _check_folders(real: Path | None, synthetic: dict[str, Path], priors: Path | None, protocol: Protocol) -> None:
    wants_real, wants_prior = REAL in protocol.cases, protocol.show == "with_prior"
    for given, wanted, option in ((real, wants_real, "--real"), (priors, wants_prior, "--prior")):
        if (given is not None) != wanted:
            what = "is needed for" if wanted else "has no place in"
            why = "It shows real scans too." if wanted and option == "--real" else ""
            raise SettingsError(
                f"{option} {what} the protocol {protocol.name}.",
                why or ("It shows each scan beside its prior." if wanted else "It does not show them."),
                f"Give {option} FOLDER." if wanted else f"Leave {option} out.",
            )
    if not synthetic:
        raise SettingsError("There is no synthetic scan.", "--synthetic was not given.", "Give --synthetic FOLDER.")


# --- the copies ---------------------------------------------------------------------------------------------


def _write_cases(
    folder: OutputFolder, cases: list[Case], ids: list[str], protocol: Protocol, settings: StudySettings,
    on_case: OnCase | None,
) -> None:  # fmt: skip
    """Copy every case, in the order of their ids: neither order nor time of the files tells the method."""
    from braindiffusion.export.second_pass import check_files

    grids: dict[str, str] = {}
    seen: dict[str, str] = {}
    paths: list[Path] = []
    marked = any(q.truth == "lesion" for q in protocol.questions)
    for done, (name, case) in enumerate(sorted(zip(ids, cases, strict=True), key=lambda pair: pair[0])):
        if on_case is not None:
            on_case(done, len(cases))
        scans = {role: read_scan(source.image) for role, source in case.sources.items()}
        case.hashes = {role: scan.source["sha256"] for role, scan in scans.items()}
        _check_scans(case, scans, grids, seen, settings.mixed_grids)
        if marked and case.origin == SYNTHETIC:
            mask = case.sources["scan"].lesion
            assert mask is not None
            case.lesion = pack_mask(read_mask(mask, scans["scan"]), scans["scan"].affine)
        clean = _clean(case, settings)
        plain = {role: c.scan for role, c in clean.items()}
        for role, copy in sealed_copies(plain, protocol.window, protocol.show == "with_prior").items():
            file = f"cases/{name}-{role}.nii.gz"
            folder.volume(
                file, copy.voxels, copy.affine, description=MAY_BE_SYNTHETIC, notice=MAY_BE_SYNTHETIC
            )  # fmt: skip
            path = folder.file(file)
            check_files([("scan.nii.gz", path)], clean[role].identifiers, known=[MAY_BE_SYNTHETIC])
            paths.append(path)
            case.images.append({"role": role, "file": file, "sha256": sha256_of_file(path), "window": copy.window})
    for path in paths:
        os.utime(path, (paths[0].stat().st_mtime,) * 2)
    if on_case is not None:
        on_case(len(cases), len(cases))


def _clean(case: Case, settings: StudySettings) -> dict[str, Clean]:
    """The scans of a case without names and faces; a scan shows what its prior shows.

    Raises:
        QuarantineError: one of them may tell who the patient is; the message names it to who makes the study.
    """
    from braindiffusion.export.deidentify import clean_scan

    out: dict[str, Clean] = {}
    for role in sorted(case.sources):  # the prior before its scan
        source = case.sources[role]
        shown = out["prior"].shown if "prior" in out else None
        try:
            out[role] = clean_scan(source.image, face=settings.face, shown=shown, device=settings.device)
        except QuarantineError as error:
            raise QuarantineError(f"{source.name}: {error.what}", error.why, error.action) from error
    return {role: out[role] for role in case.sources}


def _check_scans(case: Case, scans: dict[str, Scan], grids: dict[str, str], seen: dict[str, str], mixed: bool) -> None:
    """One grid, and no scan twice; messages name sources, for who makes the study."""
    for role, scan in scans.items():
        grids.setdefault(grid_of(scan), case.sources[role].name)
        if role == "prior":
            check_same_grid(scans["scan"], scan, case.sources["scan"].name)
            continue
        partner = case.origin == PAIR and role != case.side  # a real one may stand beside several
        where = f"{case.sources[role].name} of {REAL if partner else case.method}"
        first = seen.get(case.hashes[role])
        if first is not None and (first != where or not partner):
            raise StudyError(
                "One scan would come twice without being a repeat.",
                f"{first} and {where} are the same voxels.",
                "Take one of them out.",
            )
        seen[case.hashes[role]] = where
    if len(grids) > 1 and not mixed:
        (a, first), (b, other) = list(grids.items())[:2]
        raise StudyError(
            "The scans have different grids.",
            f"{first}: {a}; {other}: {b}. Size or sharpness could tell the methods apart.",
            "Resample them alike, or accept it with --mixed-grids.",
        )
