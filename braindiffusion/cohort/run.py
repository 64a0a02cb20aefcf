"""Healing a folder of scans: each by itself, none twice, and a table of what became of them.

What was done is read from the results: the provenance of every scan holds the key of its run, a digest of the scan's
file, its mask's, the settings, the models and the program. A scan whose result has the key of the run at hand is done;
so is one whose failure had that key, if it would fail the same way again (the file cannot be read, say).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from braindiffusion import __version__
from braindiffusion.cohort.table import Row, read_table, write_table
from braindiffusion.errors import BrainDiffusionError, CohortError, InputError, ScanNotFoundError, SettingsError
from braindiffusion.io.checks import SCAN_SUFFIXES
from braindiffusion.io.guard import inputs_kept
from braindiffusion.io.text_files import read_json
from braindiffusion.modality import modality_of
from braindiffusion.pipeline.provenance import plain

if TYPE_CHECKING:
    from braindiffusion.settings import HealSettings

ENDINGS = {"nifti": ".nii.gz", "nrrd": ".nrrd"}
SHARED_MODELS = ("brain-mask", "flair-acat-classifier", "flair-acat-autoencoder")


@dataclass(frozen=True)
class Job:
    """One scan of a cohort.

    Attributes:
        name: its own folder below the cohort's results, from the scan's path.
        scan: its file, or the folder of its DICOM series; ``mask``: where to heal, or ``None`` for saliency.
        folder: where its results go.
        settings, file_format: how it is healed and written.
        threads: of the CPU.
        key: of this run of this scan.
    """

    name: str
    scan: Path
    mask: Path | None
    folder: Path
    settings: HealSettings
    file_format: str = "nifti"
    threads: int = 1
    key: str = ""


# --- what there is --------------------------------------------------------------------------------------------


def find_scans(
    folder: Path, modality: str = "FLAIR", images: str | None = None, masks: str | None = None
) -> tuple[dict[str, tuple[Path, Path | None]], list[str]]:
    """Name -> scan and mask of all that is to be healed in a folder, and notes for the user.

    By pattern, or as BIDS lays scans out (:mod:`braindiffusion.training.cohort`); in any other folder every image and
    every folder of DICOM files, but those whose name tells another modality.

    Raises:
        ScanNotFoundError: there is none; CohortError: two of one name; SettingsError: a pattern that is not possible.
    """
    from braindiffusion.training.cohort import find_cases

    if images or masks or (folder.is_dir() and any(d.is_dir() for d in folder.glob("sub-*"))):
        cohort = find_cases(folder, modality, images, masks)
        named = {f"{c.subject}_{c.session}" if c.session else c.subject: c for c in cohort.cases}
        return {name: (c.image, c.mask if masks else None) for name, c in named.items()}, cohort.notes
    found: dict[str, tuple[Path, Path | None]] = {}
    other = 0
    for path in _loose_scans(folder):
        if modality_of(path.name) not in (None, modality):
            other += 1
            continue
        relative = path.relative_to(folder).as_posix()
        suffix = next((s for s in SCAN_SUFFIXES if relative.lower().endswith(s)), "")
        name = relative[: len(relative) - len(suffix)] if path.is_file() else relative
        if name in found:
            raise CohortError(
                f"{path} and {found[name][0]} would have the same results' folder.",
                "They differ in their ending only.",
                "Move one of them away, or choose by name with --images.",
            )
        found[name] = path, None
    if not found:
        raise ScanNotFoundError(
            f"No scan was found in {folder}.",
            f"It holds {other} scans of another modality than {modality}." if other else "It holds no image.",
            "Check the folder, --modality and --images.",
        )
    return found, [f"{other} scans were left out: their names tell another modality."] if other else []


def _loose_scans(folder: Path) -> Iterable[Path]:
    """Image files, and folders that hold DICOM files, in order; nothing hidden."""
    from braindiffusion.io.dicom import is_dicom

    if not folder.is_dir():
        raise ScanNotFoundError(f"There is no folder {folder}.", "Nothing is there.", "Check the path.")
    inside = [p for p in sorted(folder.rglob("*")) if not any(s.startswith(".") for s in p.relative_to(folder).parts)]
    for path in inside:
        if path.is_file() and path.name.lower().endswith(SCAN_SUFFIXES):
            yield path
        elif path.is_dir():
            with suppress(OSError):
                if any(f.is_file() and is_dicom(f) for f in path.iterdir()):
                    yield path


def key_of(job: Job) -> str:
    """Digest of all that decides a job's result: files, settings, models, program; not the device."""
    from braindiffusion.cards import installed, read_card
    from braindiffusion.healing.models import main_card
    from braindiffusion.healing.registry import method_named

    digest = hashlib.sha256()
    for path in (job.scan, job.mask):
        files = [] if path is None else sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]
        for file in files:
            with suppress(OSError), file.open("rb") as stream:  # unreadable: its healing will say why
                while block := stream.read(1 << 20):
                    digest.update(block)
        digest.update(b"|")
    settings = plain({**asdict(job.settings), "device": None, "batch": None})
    auxiliary_models = [need.recipe for need in method_named(job.settings.method).auxiliary_models.values()]
    cards = [main_card(job.settings), *(read_card(n) for n in (*auxiliary_models, *SHARED_MODELS) if n in installed())]
    digest.update(json.dumps([__version__, settings, cards, job.file_format], sort_keys=True).encode())
    return digest.hexdigest()


def plan(
    scans: dict[str, tuple[Path, Path | None]], out: Path, settings: HealSettings, file_format: str, threads: int
) -> list[Job]:
    """The jobs of a cohort, each with its key."""
    jobs = [
        Job(name, scan.absolute(), mask and mask.absolute(), out.absolute() / name, settings, file_format, threads)
        for name, (scan, mask) in scans.items()
    ]
    files = [os.path.realpath(path) for job in jobs for path in (job.scan, job.mask) if path]
    given = {*files, *map(os.path.dirname, files)}
    if among := next((job for job in jobs if os.path.realpath(job.folder) in given), None):
        what = f"The results of {among.name} would go to {among.folder}, among the scans."
        raise SettingsError(what, f"Of {out}, that is its folder.", "Choose another --out.")
    return [replace(job, key=key_of(job)) for job in jobs]


def check_apart(folder: Path, out: Path) -> None:
    """Refuse to write results among the scans, where the next run would take them for scans.

    Raises:
        SettingsError: ``out`` is the folder or lies in it.
    """
    real = Path(os.path.realpath(out))
    if Path(os.path.realpath(folder)) in (real, *real.parents):
        raise SettingsError(
            f"The results cannot go into {out}.", f"It lies in {folder}, among the scans.", "Choose another --out."
        )


# --- one scan -------------------------------------------------------------------------------------------------


def heal_job(job: Job) -> Row:
    """Heal one scan and write its results; what goes wrong is the row's to tell. Runs on a worker."""
    with inputs_kept(path for path in (job.scan, job.mask) if path is not None):
        return _healed(job)


def _healed(job: Job) -> Row:
    import torch

    from braindiffusion.export.results import write_result
    from braindiffusion.io.read import read_mask, read_scan
    from braindiffusion.io.write import check_writable, free_space_check
    from braindiffusion.pipeline.heal import heal_scan

    torch.set_num_threads(job.threads)
    try:
        scan = read_scan(job.scan)
        mask = read_mask(job.mask, scan) if job.mask else None
        check_writable(job.folder)
        free_space_check(job.folder, 6 * scan.voxels.nbytes + (4 << 20))
        result = heal_scan(scan, job.settings, mask=mask)
        result.provenance["cohort"] = {"key": job.key}
        write_result(job.folder, scan, result, job.file_format)
    except BrainDiffusionError as error:
        return failed(job, error)
    return _row(job, result.provenance, "done")


def failed(job: Job, error: BaseException, attempts: int = 1) -> Row:
    """The row of a scan that could not be healed; whatever is no error of ours is a defect."""
    facts = (
        error.as_dict()
        if isinstance(error, BrainDiffusionError)
        else {
            "class": type(error).__name__,
            "what": "The program met a defect.",
            "cause": (str(error).splitlines() or [""])[0][:300],
            "action": "Report it; other scans are not concerned.",
        }
    )
    places = [f"{path.parent}{os.sep}" for path in (job.scan, job.mask) if path]
    for place in places:  # the table names scans, not where they lie
        facts = {k: v.replace(place, "") for k, v in facts.items()}
    lasting = isinstance(error, InputError | SettingsError)
    return Row(job.name, "failed", job.key, attempts=attempts, error=facts, lasting=lasting)


def _row(job: Job, facts: dict[str, Any], status: str) -> Row:
    healed = facts["network_calls"]["slices_healed"]
    return Row(job.name, status, job.key, healed, facts["lesion_ml"], facts["seconds"], 1, list(facts["warnings"]))


def earlier(job: Job, rows: dict[str, Row]) -> Row | None:
    """The row of a job that an earlier run has done with, or ``None``.

    Args:
        rows: of the earlier run's table, by name.
    """
    with suppress(OSError, ValueError, KeyError, TypeError):
        facts = read_json(job.folder / "provenance.json")
        whole = (job.folder / f"counterfactual{ENDINGS[job.file_format]}").is_file()
        if whole and facts["cohort"]["key"] == job.key:
            return replace(_row(job, facts, "kept"), attempts=0)
    last = rows.get(job.name)
    if last is not None and last.status == "failed" and last.lasting and last.key == job.key:
        return replace(last, attempts=0)
    return None


# --- all of them ----------------------------------------------------------------------------------------------


def heal_cohort(
    jobs: list[Job],
    out: Path,
    *,
    scheduler: str | None = None,
    workers: int = 1,
    retries: int = 1,
    retry_failed: bool = False,
    on_row: Callable[[Row, int, int], None] | None = None,
) -> list[Row]:
    """Heal what is not done yet; the table in ``out`` is written anew whenever a scan has ended.

    Args:
        scheduler: address of a Dask scheduler whose workers see the same files; ``None`` starts ``workers`` here.
        retries: further attempts of a scan whose failure need not last (a worker died, memory or disk ran out).
        retry_failed: also try again what failed for good in an earlier run.
        on_row: told of each scan that ends, with how many have and how many there are.

    Raises:
        DependencyMissingError, ClusterError, OutputError.
    """
    from braindiffusion.cohort.cluster import cluster, require_dask, spread

    before = {} if retry_failed else read_table(out)
    known = {job.name: earlier(job, before) for job in jobs}
    rows = [row for row in known.values() if row is not None]
    settings = jobs[0].settings

    def ended(row: Row | None) -> None:
        if row is not None:
            rows.append(row)
        write_table(out, rows, settings)
        if on_row and rows:
            on_row(rows[-1], len(rows), len(jobs))

    due = [job for job in jobs if known[job.name] is None]
    if not due:
        ended(None)
        return rows
    require_dask()
    ended(None)
    with cluster(scheduler, min(workers, len(due))) as client:
        for end in spread(
            client, heal_job, due, retries=retries, again=lambda row: bool(row.error and not row.lasting)
        ):
            if end.error is not None or end.answer is None:
                ended(failed(end.task, end.error or RuntimeError("no answer"), end.attempts))
            else:
                ended(replace(end.answer, attempts=end.attempts))
    return rows
