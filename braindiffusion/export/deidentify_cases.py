"""A folder of scans, de-identified case by case; what is in doubt is held back, and the reason is written down."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from braindiffusion import RESEARCH_USE_ONLY
from braindiffusion.errors import (
    BrainDiffusionError,
    InputError,
    MemoryExhaustedError,
    OutputError,
    QuarantineError,
    ScanNotFoundError,
    SettingsError,
)
from braindiffusion.export.deidentify import Clean, clean_scan, copy_label, sidecar_of, write_dicom_copy
from braindiffusion.export.dicom_source import acquisition_of
from braindiffusion.export.faces import Face
from braindiffusion.export.second_pass import check_files
from braindiffusion.io.checks import FORMATS, SCAN_SUFFIXES
from braindiffusion.io.dicom import dicom_header, is_dicom
from braindiffusion.io.tables import write_csv
from braindiffusion.io.text_files import read_json
from braindiffusion.io.write import OutputFolder, check_place, check_writable

QUARANTINE = "quarantine.csv"
CASE_NAME = re.compile(r"case-\d{3,}(\.|$)")


@dataclass(frozen=True)
class Case:
    """One scan of the folder.

    Attributes:
        path: a volume, or the folder of a DICOM series.
        files: those of the series; ``None`` for a volume.
    """

    path: Path
    files: tuple[Path, ...] | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a case.

    Attributes:
        code: its name in the export, such as ``case-007``.
        reason: why it was held back, in words that name nobody; ``None`` where it was copied.
    """

    code: str
    case: Case
    reason: str | None


def find_cases(path: Path) -> tuple[list[Case], int]:
    """The scans at a path, folders below it included, and how many other files there are.

    Raises:
        ScanNotFoundError: there is none.
    """
    files = [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.is_file())
    cases: list[Case] = []
    series: dict[tuple[Path, str], list[Path]] = {}
    others = 0
    for file in files:
        if file.name.lower().endswith(SCAN_SUFFIXES):
            cases.append(Case(file))
        elif file.stat().st_size > 132 and is_dicom(file):
            series.setdefault((file.parent, _series_of(file)), []).append(file)
        else:
            others += 1
    cases += [Case(folder, tuple(members)) for (folder, _), members in series.items()]
    if not cases:
        raise ScanNotFoundError(
            "There is no scan to copy.", f"{others} files were looked at.", "Give a NIfTI, NRRD or DICOM scan."
        )
    sidecars = sum(1 for case in cases if case.files is None and sidecar_of(case.path))
    return cases, others - sidecars


def _series_of(file: Path) -> str:
    """The UID of its series; empty where it cannot be read, which is found out again when it is its turn."""
    try:
        header = dicom_header(file)
    except InputError:
        return ""
    return "" if header is None else str(header.get("SeriesInstanceUID", ""))


def deidentify(
    path: Path, out: Path, *, face: Face = "remove", brain: np.ndarray | None = None, device: str = "cpu",
    key: Path | None = None, order: Random | None = None, on_case: Callable[[int, int], None] | None = None,
) -> tuple[list[Outcome], int]:  # fmt: skip
    """Copy all scans at ``path`` into ``out``, each checked by itself.

    A volume becomes ``case-001.nii.gz`` (NRRD stays NRRD), with what a JSON sidecar tells of the acquisition; a DICOM
    series ``case-001/0001.dcm`` ... Nothing else is copied. ``quarantine.csv`` lists what was held back.

    Args:
        face, brain, device: as for :func:`braindiffusion.export.deidentify.clean_scan`.
        key: a CSV file, not inside ``out``, for which scan became which case.
        order: shuffles the cases, so that their numbers do not follow the alphabet; ``None`` keeps it.
        on_case: called before each case with (done, total); may raise to cancel.

    Returns:
        What became of each case, and how many other files were left where they are.

    Raises:
        ScanNotFoundError, OutputError.
        OutputError: ``out`` holds copies of an earlier run, or ``key`` is there already.
        SettingsError: ``out`` or ``key`` lies where it must not.
    """
    path, out = path.absolute(), out.absolute()
    _check_places(path, out, key)
    _check_fresh(out, key)
    cases, others = find_cases(path)
    check_writable(out)
    if order is not None:
        order.shuffle(cases)
    outcomes = []
    for number, case in enumerate(cases, 1):
        if on_case is not None:
            on_case(number - 1, len(cases))
        code = f"case-{number:03d}"
        outcomes.append(Outcome(code, case, _copy(case, code, out, face, brain, device)))
    held = [outcome for outcome in outcomes if outcome.reason is not None]
    if held:
        with OutputFolder(out) as folder:
            _write_rows(folder.file(QUARANTINE), ["case", "reason"], [[o.code, o.reason] for o in held])
    if key is not None:
        with OutputFolder(key.absolute().parent) as folder:
            rows = [[o.code, *_told(o.case)] for o in outcomes]
            _write_rows(folder.file(key.name), ["case", "scan", "files"], rows)
            os.chmod(folder.file(key.name), 0o600)
    return outcomes, others


def _check_places(path: Path, out: Path, key: Path | None) -> None:
    if path.is_dir() and (out == path or path in out.parents):
        raise SettingsError("OUT lies inside the folder that is copied.", "It would copy itself.", "Choose another.")
    if key is not None and out in [*key.absolute().parents]:
        raise SettingsError("The key lies inside OUT.", "It tells who is who.", "Keep it elsewhere.")


def _check_fresh(out: Path, key: Path | None) -> None:
    """Refuse to mix the copies of two runs: the numbers would name other patients, and the key the wrong ones.

    Raises:
        OutputError: OUT holds copies already, or something lies where the key is to go.
    """
    there = next((p for p in sorted(out.glob("case-*")) if CASE_NAME.match(p.name)), None) if out.is_dir() else None
    if there is not None or (out / QUARANTINE).exists():
        raise OutputError(
            f"{out} holds copies of an earlier run.",
            f"{there.name if there else QUARANTINE} is there: a second run would count from the beginning again.",
            "Choose a new folder.",
        )
    if key is not None and os.path.lexists(key):
        raise OutputError(
            f"The key cannot be written to {key}.",
            "Something is there already, and a key is never replaced.",
            "Choose a new name.",
        )
    if key is not None:
        check_writable(check_place(key).parent)


def _copy(case: Case, code: str, out: Path, face: Face, brain: np.ndarray | None, device: str) -> str | None:
    """Copy one case; the reason where it was held back. An error's own words may hold a path and are not told."""
    try:
        clean = clean_scan(case.path, face=face, brain=brain, device=device, files=list(case.files or ()) or None)
        with OutputFolder(out) as folder:
            names = _write(folder, case, code, clean)
            check_files(
                [(name, folder.file(name)) for name in names], clean.identifiers,
                [clean.notice, copy_label(clean).derivation],
            )  # fmt: skip
    except QuarantineError as error:
        return f"{error.what} {error.why}"
    except (InputError, MemoryExhaustedError) as error:
        return f"It cannot be read as a scan ({type(error).__name__})."
    except BrainDiffusionError:
        raise
    except Exception as error:  # one that nobody thought of holds back this scan, and stops no other
        return f"It could not be checked ({type(error).__name__})."
    return None


def _write(folder: OutputFolder, case: Case, code: str, clean: Clean) -> list[str]:
    if case.files is not None:
        return write_dicom_copy(folder, code, clean, code=code.upper())
    form = "nrrd" if case.path.name.lower().endswith(FORMATS["NRRD"]) else "nifti"
    name = f"{code}.{'nrrd' if form == 'nrrd' else 'nii.gz'}"
    folder.volume(name, clean.scan.voxels, clean.scan, form, description=clean.notice, notice=clean.notice)
    told = acquisition_in(sidecar_of(case.path))
    if not told:
        return [name]
    folder.json(code, {"notice": clean.notice, "use": RESEARCH_USE_ONLY, **told})
    return [name, f"{code}.json"]


def acquisition_in(sidecar: Path | None) -> dict[str, Any]:
    """What a JSON sidecar tells of the acquisition, held against the same list as a DICOM header."""
    try:
        data = read_json(sidecar) if sidecar else None
    except (OSError, ValueError):
        return {}
    return acquisition_of(data.get) if isinstance(data, dict) else {}


def _told(case: Case) -> list[str]:
    return [str(case.path), str(len(case.files or (case.path,)))]


def _write_rows(path: Path, names: list[str], rows: list[list[Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        write_csv(stream, names, rows)
