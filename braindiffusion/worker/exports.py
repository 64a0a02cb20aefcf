"""Requests that write results where the user wants them: DICOM, teaching files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from braindiffusion.errors import InputError
from braindiffusion.io.dicom import is_dicom
from braindiffusion.io.paths import at_home
from braindiffusion.settings import settings_from
from braindiffusion.worker.protocol import Request, load_array, malformed, read_scan

if TYPE_CHECKING:
    from braindiffusion.export.dicom_source import Source
    from braindiffusion.export.faces import Face
    from braindiffusion.volume.scan import Scan
    from braindiffusion.worker.session import Job

TASKS = {"heal": "counterfactual", "induce": "diseased"}
MOST_FILES = 20_000


def export(job: Job) -> dict[str, Any]:
    """Write the arrays of a result as DICOM into ``target``; answers with the names of the files."""
    from braindiffusion.export.dicom_result import IMAGES, MAPS, MASKS, check_unused, write_dicom
    from braindiffusion.io.write import OutputFolder
    from braindiffusion.pipeline.provenance import unnamed

    request = job.request
    target, task = _target(request), _task(request)
    scan = read_scan(request.fields.get("scan"))
    roles = (*IMAGES, *MAPS, *MASKS, "difference")
    arrays = {role: _array(request, role, scan) for role in roles}
    if arrays[TASKS[task]] is None:
        raise malformed(f"'{TASKS[task]}' is missing.")
    check_unused(target)
    source, warnings = _source(request)
    job.check()
    provenance = _record(request)
    with OutputFolder(target) as out:
        write_dicom(out, scan, arrays, provenance, source=source, burn_in=request.fields.get("burn_in") is True)
        out.json("provenance", unnamed(provenance))
        files = _names(out.file("x").parent)
        job.check()
    return {"files": files, "warnings": warnings}


def teach(job: Job) -> dict[str, Any]:
    """Write a teaching file of a scan and its counterfactual, or its induced lesion, into ``target``."""
    from braindiffusion.export.deidentify import clean_of
    from braindiffusion.export.identifiers import Identifiers
    from braindiffusion.export.teaching.case import Texts, check_free, write_case
    from braindiffusion.export.teaching.result import make_pair

    request = job.request
    target, task = _target(request), _task(request)
    texts = settings_from(Texts, request.fields.get("texts"))
    given = request.fields.get("scan")
    scan = read_scan(given)
    other, lesion, brain = (_array(request, role, scan) for role in (TASKS[task], "lesion", "brain"))
    if other is None:
        raise malformed(f"'{TASKS[task]}' is missing.")
    check_free(target)
    source, warnings = _source(request)
    known = Identifiers()
    for word in _words(request, "names"):
        known.add_name(word)
    for word in _words(request, "paths"):
        known.add_path(word)
    face = _face(request)
    job.check()
    synthetic = isinstance(given, dict) and given.get("synthetic") is True
    own_brain = None if brain is None else brain != 0
    clean = clean_of(scan, source, known, face=face, brain=own_brain, synthetic=synthetic)
    job.check()
    marked = None if lesion is None else lesion != 0
    pair = make_pair(clean, scan, other.astype(scan.voxels.dtype), task, marked, _record(request), face)
    write_case(target, pair, texts)
    return {"files": _names(target), "warnings": warnings}


def _target(request: Request) -> Path:
    given = request.fields.get("target")
    if not isinstance(given, str) or not (target := at_home(given)).is_absolute():
        raise malformed("'target' is not an absolute path.")
    return target


def _task(request: Request) -> str:
    task = request.fields.get("task")
    if task not in TASKS:
        raise malformed(f"'task' is not one of {', '.join(TASKS)}.")
    return str(task)


def _face(request: Request) -> Face:
    face = request.fields.get("face", "remove")
    if face not in ("remove", "blur", "keep"):
        raise malformed("'face' is not one of remove, blur, keep.")
    return face


def _array(request: Request, role: str, scan: Scan) -> np.ndarray | None:
    path = request.fields.get(role)
    return None if path is None else load_array(path, role, scan.voxels.shape)


def _record(request: Request) -> dict[str, Any]:
    given = request.fields.get("provenance")
    if not isinstance(given, dict):
        raise malformed("'provenance' is not an object.")
    return given


def _words(request: Request, field: str) -> list[str]:
    """Texts that may name the patient; they are looked for and never written."""
    given = request.fields.get(field) or []
    if not isinstance(given, list) or not all(isinstance(word, str) for word in given):
        raise malformed(f"'{field}' is not a list of texts.")
    return given


def _source(request: Request) -> tuple[Source | None, list[str]]:
    """The DICOM series the scan came from, where its files are still at hand; else what to warn of."""
    from braindiffusion.export.dicom_source import read_source

    files: list[Path] = []
    for given in _words(request, "source")[:MOST_FILES]:
        path = Path(given)
        files += sorted(f for f in path.iterdir() if f.is_file()) if path.is_dir() else [path]
    images = [f for f in files if f.is_file() and f.stat().st_size > 132 and is_dicom(f)]
    if not images:
        return None, []
    try:
        return read_source(images), []
    except InputError as error:
        return None, [f"The source images are not referred to: {error.why or error.what}"]


def _names(folder: Path) -> list[str]:
    return sorted(f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file())
