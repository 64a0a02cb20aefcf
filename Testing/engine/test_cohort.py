"""A cohort: what belongs to it, what is done already, and what became of each scan."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from braindiffusion.cards import installed
from braindiffusion.cohort import cluster as cluster_module
from braindiffusion.cohort import run as cohort_module
from braindiffusion.cohort.cluster import Ended
from braindiffusion.cohort.run import Job, check_apart, earlier, failed, find_scans, heal_cohort, key_of, plan
from braindiffusion.cohort.table import Row, read_table, tally
from braindiffusion.errors import (
    CohortError,
    MemoryExhaustedError,
    OutputError,
    ScanNotFoundError,
    ScanUnreadableError,
    SettingsError,
)
from braindiffusion.settings import HealSettings


def lay(folder: Path, *names: str) -> Path:
    """Empty files."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def names(folder: Path, **options: Any) -> list[str]:
    return sorted(find_scans(folder, **options)[0])


# what there is


def test_any_folder_gives_its_images_by_their_paths(tmp_path: Path) -> None:
    lay(tmp_path, "a_FLAIR.nii.gz", "ward 2/b.nrrd", "c.NII", "notes.txt", ".hidden/d.nii")
    assert names(tmp_path) == ["a_FLAIR", "c", "ward 2/b"]


def test_scans_that_tell_another_modality_are_left_out_with_a_word(tmp_path: Path) -> None:
    lay(tmp_path, "a_FLAIR.nii.gz", "a_T1.nii.gz", "b.nii.gz")
    found, notes = find_scans(tmp_path)
    assert sorted(found) == ["a_FLAIR", "b"]
    assert notes == ["1 scans were left out: their names tell another modality."]
    assert names(tmp_path, modality="T1") == ["a_T1", "b"]


def test_a_folder_of_dicom_files_is_one_scan(tmp_path: Path) -> None:
    lay(tmp_path, "p1/series/readme.txt", "b.nii")
    for i in range(3):
        (tmp_path / "p1" / "series" / f"IM{i}").write_bytes(bytes(128) + b"DICM")
    assert names(tmp_path) == ["b", "p1/series"]


def test_bids_and_patterns_are_those_of_the_training_cohort(tmp_path: Path) -> None:
    lay(tmp_path, "sub-1/anat/sub-1_FLAIR.nii.gz", "sub-1/anat/sub-1_T1w.nii.gz", "sub-1/anat/sub-1_lesion_mask.nii.gz")
    lay(tmp_path, "sub-2/ses-b/anat/sub-2_ses-b_FLAIR.nii.gz")
    found, _ = find_scans(tmp_path)
    assert sorted(found) == ["1", "2_b"]
    assert found["1"][1] is None  # a mask heals only where it was asked for
    assert find_scans(tmp_path, masks="{subject}_lesion_mask.nii.gz")[0]["1"][1] is not None
    assert names(tmp_path, images="{subject}_T1w.nii.gz") == ["1"]


def test_two_scans_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="same results"):
        find_scans(lay(tmp_path, "a.nii", "a.nii.gz"))


@pytest.mark.parametrize("inside", [(), ("notes.txt",), ("a_T1.nii",)])
def test_a_folder_without_a_scan_is_refused(tmp_path: Path, inside: tuple[str, ...]) -> None:
    with pytest.raises(ScanNotFoundError):
        find_scans(lay(tmp_path, *inside))
    with pytest.raises(ScanNotFoundError):
        find_scans(tmp_path / "nowhere")


@pytest.mark.parametrize("out", [".", "healed", "a/b"])
def test_results_do_not_go_among_the_scans(tmp_path: Path, out: str) -> None:
    with pytest.raises(SettingsError):
        check_apart(tmp_path, tmp_path / out)
    check_apart(tmp_path / "scans", tmp_path / "scans healed")


# what is done


@pytest.fixture
def job(tmp_path: Path) -> Job:
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "a.nii").write_bytes(b"voxels")
    (job,) = plan({"a": (tmp_path / "scans" / "a.nii", None)}, tmp_path / "out", HealSettings(), "nifti", 1)
    return job


needs_models = [
    pytest.mark.weights,
    pytest.mark.skipif("flair-healthy-128" not in installed(), reason="the denoiser is not shipped"),
]
pytestmark = needs_models


@pytest.mark.parametrize("setting", [{"seed": 1}, {"steps": 11}, {"gate": 0.1}, {"samples": 2}])
def test_the_key_changes_with_what_decides_the_result(job: Job, setting: dict[str, Any]) -> None:
    assert key_of(job) == job.key
    assert key_of(replace(job, settings=replace(job.settings, **setting))) != job.key


def test_the_key_changes_with_the_files_and_not_with_the_machine(job: Job) -> None:
    for same in (replace(job.settings, device="cpu"), replace(job.settings, batch=1)):
        assert key_of(replace(job, settings=same, threads=7)) == job.key
    assert key_of(replace(job, file_format="nrrd")) != job.key
    mask = job.scan.parent / "m.nii"
    mask.write_bytes(b"drawn")
    assert key_of(replace(job, mask=mask)) != job.key
    job.scan.write_bytes(b"other voxels")
    assert key_of(job) != job.key


def test_a_scan_that_moves_or_is_renamed_in_time_keeps_its_key(job: Job) -> None:
    moved = job.scan.rename(job.scan.with_name("b.nii"))
    assert key_of(replace(job, scan=moved)) == job.key


def result_of(job: Job, key: str | None = None) -> None:
    """What a finished run leaves."""
    job.folder.mkdir(parents=True, exist_ok=True)
    (job.folder / "counterfactual.nii.gz").touch()
    facts = {
        "network_calls": {"slices_healed": 3}, "lesion_ml": 1.5, "seconds": 2.0, "warnings": [],
        "cohort": {"key": key or job.key},
    }  # fmt: skip
    (job.folder / "provenance.json").write_text(json.dumps(facts))


def test_a_result_of_the_same_key_is_kept(job: Job) -> None:
    assert earlier(job, {}) is None
    result_of(job)
    row = earlier(job, {})
    assert (row.status, row.slices_healed, row.lesion_ml) == ("kept", 3, 1.5)


def test_other_results_are_made_anew(job: Job) -> None:
    result_of(job, "another key")
    assert earlier(job, {}) is None
    result_of(job)
    (job.folder / "counterfactual.nii.gz").unlink()
    assert earlier(job, {}) is None
    (job.folder / "provenance.json").write_text("{")
    assert earlier(job, {}) is None


def test_a_failure_counts_as_done_where_it_would_come_again(job: Job) -> None:
    def before(error: BaseException, key: str = job.key) -> dict[str, Row]:
        return {"a": replace(failed(job, error), key=key)}

    assert earlier(job, before(ScanUnreadableError("damaged"))).status == "failed"
    assert earlier(job, before(ScanUnreadableError("damaged"), "another key")) is None
    for passing in (MemoryExhaustedError("full"), OutputError("full"), ValueError("a defect")):
        assert earlier(job, before(passing)) is None


def test_the_table_names_no_place(job: Job) -> None:
    row = failed(job, ScanUnreadableError(f"{job.scan} is damaged.", f"Look at {job.scan}.", "Mend it."))
    assert row.error["what"] == "a.nii is damaged."
    assert str(job.scan.parent) not in json.dumps(row.error)


# all of them


class Answers:
    """Workers that answer from a table instead of healing; remember what they were asked."""

    def __init__(self, answers: dict[str, BaseException | None]) -> None:
        self.answers, self.asked, self.opened = answers, [], 0

    @contextmanager
    def cluster(self, scheduler: str | None, workers: int) -> Iterator[None]:
        self.opened += 1
        yield

    def spread(self, client: Any, function: Any, tasks: list[Job], *, retries: int, again: Any) -> Iterator[Ended]:
        for job in tasks:
            self.asked.append(job.name)
            error = self.answers.get(job.name)
            if error is None:
                result_of(job)
                yield Ended(job, Row(job.name, "done", job.key, 3, 1.5, 2.0, 1), None, 1)
            elif isinstance(error, KeyboardInterrupt):
                raise error
            elif isinstance(error, RuntimeError):
                yield Ended(job, None, error, retries + 1)
            else:
                row = failed(job, error)
                yield Ended(job, row, None, 1 + again(row) * retries)


@pytest.fixture
def cohort(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Job], Path, Answers]:
    """Five jobs: two sound scans, one damaged, one for which memory runs out, one that ends its worker."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for name in "abcde":
        (folder / f"{name}.nii").write_bytes(name.encode())
    jobs = plan(find_scans(folder)[0], tmp_path / "out", HealSettings(), "nifti", 1)
    answers = Answers(
        {"b": ScanUnreadableError("damaged"), "c": MemoryExhaustedError("full"), "d": RuntimeError("x|y")}
    )
    monkeypatch.setattr(cluster_module, "cluster", answers.cluster)
    monkeypatch.setattr(cluster_module, "spread", answers.spread)
    monkeypatch.setattr(cluster_module, "require_dask", lambda: None)
    return jobs, tmp_path / "out", answers


def by_name(rows: list[Row]) -> dict[str, tuple[str, int]]:
    return {row.scan: (row.status, row.attempts) for row in rows}


def test_failures_are_reported_and_stop_no_other(cohort: tuple[list[Job], Path, Answers]) -> None:
    jobs, out, answers = cohort
    rows = heal_cohort(jobs, out, retries=2)
    assert answers.asked == list("abcde")
    assert by_name(rows) == {
        "a": ("done", 1),
        "b": ("failed", 1),
        "c": ("failed", 3),
        "d": ("failed", 3),
        "e": ("done", 1),
    }
    assert read_table(out).keys() == set("abcde")
    table = list(csv.DictReader((out / "cohort.csv").open(newline="")))
    assert [row["scan"] for row in table] == list("abcde")
    assert [row["error"] for row in table] == ["", "ScanUnreadableError", "MemoryExhaustedError", "RuntimeError", ""]
    text = (out / "cohort.md").read_text()
    assert text.startswith("5 scans: 2 healed now, 0 by an earlier run, 3 failed.")
    assert "Research use only" in text
    assert "NOT FOR DIAGNOSIS" in text


def test_a_second_run_does_what_may_pass_now_and_nothing_else(cohort: tuple[list[Job], Path, Answers]) -> None:
    jobs, out, answers = cohort
    heal_cohort(jobs, out)
    answers.asked, answers.answers = [], {}
    rows = heal_cohort(jobs, out)
    assert answers.asked == ["c", "d"]
    assert by_name(rows) == {"a": ("kept", 0), "b": ("failed", 0), "c": ("done", 1), "d": ("done", 1), "e": ("kept", 0)}
    answers.asked, answers.opened = [], 0
    assert tally(heal_cohort(jobs, out)) == "5 scans: 0 healed now, 4 by an earlier run, 1 failed"
    assert (answers.asked, answers.opened) == ([], 0)  # not even a cluster
    assert by_name(heal_cohort(jobs, out, retry_failed=True))["b"] == ("done", 1)
    assert answers.asked == ["b"]


def test_a_run_that_was_stopped_goes_on_where_it_was(cohort: tuple[list[Job], Path, Answers]) -> None:
    jobs, out, answers = cohort
    answers.answers = {"c": KeyboardInterrupt()}
    with pytest.raises(KeyboardInterrupt):
        heal_cohort(jobs, out)
    assert by_name(list(read_table(out).values())) == {"a": ("done", 1), "b": ("done", 1)}
    answers.asked, answers.answers = [], {}
    told: list[tuple[int, int]] = []
    rows = heal_cohort(jobs, out, on_row=lambda row, done, total: told.append((done, total)))
    assert answers.asked == ["c", "d", "e"]
    assert told == [(2, 5), (3, 5), (4, 5), (5, 5)]
    assert tally(rows) == "5 scans: 3 healed now, 2 by an earlier run, 0 failed"


def test_a_broken_table_is_written_anew(cohort: tuple[list[Job], Path, Answers]) -> None:
    jobs, out, answers = cohort
    heal_cohort(jobs, out)
    (out / "cohort.json").write_text("{")
    answers.asked = []
    heal_cohort(jobs, out)
    assert answers.asked == ["b", "c", "d"]  # results are known from their own folders
    assert read_table(out).keys() == set("abcde")


def test_heal_job_tells_its_failure_instead_of_raising(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    row = cohort_module.heal_job(job)
    assert (row.status, row.lasting, row.error["class"]) == ("failed", True, "ScanUnreadableError")
    assert not job.folder.exists()
