"""Places that cannot be: refused with a cause and what to do, before any work, and nothing is written."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_series import oblique, write_series
from product_run import QUICK, Head, run, save_nifti, snapshot, succeed, told

pytestmark = pytest.mark.weights
posix = pytest.mark.skipif(os.name != "posix", reason="no links, pipes or limits of this kind")
AFFINE = np.diag([2.0, 2.0, 5.0, 1.0])


def scan_in(folder: Path, name: str = "a_FLAIR.nii.gz") -> Path:
    return save_nifti(folder / name, np.arange(20 * 18 * 6).reshape(20, 18, 6).astype(np.int16), AFFINE)


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Healing and copying would fail in another way."""

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("the work had begun")

    monkeypatch.setattr("braindiffusion.pipeline.heal.heal_scan", never)
    monkeypatch.setattr("braindiffusion.export.deidentify_cases.clean_scan", never)
    monkeypatch.setattr("braindiffusion.export.teaching.result.pair_of", never)


def commands(head: Head, out: Any) -> list[tuple[Any, ...]]:
    return [
        ("heal", head.scan, "--mask", head.mask, *QUICK, "--out", out),
        ("deidentify", head.scan, "--face", "keep", "--out", out),
        ("teach", head.scan.parent, "--scan", head.scan, "--title", "x", "--out", out),
    ]


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("which", range(3))
def test_a_name_that_cannot_be(head: Head, tmp_path: Path, which: int) -> None:
    told(run(*commands(head, tmp_path / ("x" * 300))[which]), 4, "OutputError")
    told(run(*commands(head, "~nobody-of-this-name/x")[which]), 2, "SettingsError")
    assert snapshot(tmp_path) == {}


@posix
@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("which", range(3))
def test_a_link_that_leads_to_itself(head: Head, tmp_path: Path, which: int) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for out in (tmp_path / "loop", tmp_path / "loop" / "x"):
        told(run(*commands(head, out)[which]), 4, "OutputError")


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("which", range(3))
def test_an_empty_place_is_not_the_folder_one_is_in(
    head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: int
) -> None:
    monkeypatch.chdir(tmp_path)
    *command, _ = commands(head, "")[which]
    for arguments in ((*command, ""), (*command[:-1], "--out=")):
        result = run(*arguments)
        assert result.code == 2
        assert "empty" in result.err
    assert run(command[0], "", *command[2:], tmp_path / "out").code == 2
    assert snapshot(tmp_path) == {}


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("name", ["k" * 300 + ".csv", os.fsdecode(b"k\xff.csv"), ""])
def test_a_key_that_cannot_be_written_is_found_out_before_anything_is_copied(tmp_path: Path, name: str) -> None:
    if os.name != "posix" and "\udcff" in name:
        pytest.skip("names are Unicode here")
    key = str(tmp_path / name) if name else ""
    result = run("deidentify", scan_in(tmp_path), "--face", "keep", "--out", tmp_path / "out", "--key", key)
    assert result.code in (2, 4)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("seed", [2**64, 10**30])
def test_a_seed_beyond_64_bits(head: Head, tmp_path: Path, seed: int) -> None:
    told(run("heal", head.scan, *QUICK, "--seed", seed, "--out", tmp_path / "out"), 2, "SettingsError")


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_margin_that_is_no_length(head: Head, tmp_path: Path, value: str) -> None:
    told(run("heal", head.scan, *QUICK, "--margin-mm", value, "--out", tmp_path / "out"), 2, "SettingsError")


@pytest.fixture
def patience() -> Iterator[None]:
    """What waits is interrupted."""

    def enough(*_: Any) -> None:
        raise TimeoutError("it waits")

    before = signal.signal(signal.SIGALRM, enough)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def piped(here: Path) -> list[tuple[Any, ...]]:
    """Commands, each given a named pipe in a place where a file is read."""
    pipe, new = here / "pipe", ("--out", here / "new")
    study = ("study", "create", "--real", here, "--synthetic", f"a={here}", "--protocol", "grading", "--readers", "a")
    return [
        (*study, "--strata", pipe, *new), ("study", "analyse", here / "study", *new),
        ("train", pipe, "--data", here, *new),
        ("study", "analyse", here / "study", "--key", pipe, *new), ("teach", "index", here / "collection"),
        ("deidentify", here / "a_FLAIR.nii.gz", "--face", "keep", "--key", pipe, *new), ("models", "add", pipe),
        ("heal", here / "a_FLAIR.nii.gz", "--mask", pipe, *new), ("heal", pipe, *new),
        ("teach", here / "result", "--scan", here / "a_FLAIR.nii.gz", "--title", "x", *new),
    ]  # fmt: skip


@posix
@pytest.mark.usefixtures("patience")
@pytest.mark.parametrize("which", range(10))
def test_a_pipe_is_not_waited_for(tmp_path: Path, which: int) -> None:
    scan = scan_in(tmp_path)
    for folder in ("study", "collection/one", "result"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "result" / "counterfactual.nii.gz").write_bytes(scan.read_bytes())
    for name in ("pipe", "study/study.json", "collection/one/case.json", "result/provenance.json", "a_FLAIR.json"):
        os.mkfifo(tmp_path / name)
    result = run(*piped(tmp_path)[which])
    assert result.code in (2, 3, 4), result
    assert "Do: " in result.err
    assert not (tmp_path / "new").exists()


@posix
@pytest.mark.usefixtures("patience")
def test_a_pipe_among_the_models(own_models: Path) -> None:
    os.mkfifo(own_models / "pipe.json")
    assert "pipe" not in succeed("models", "list").out


def test_one_bad_file_never_stops_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever reading or checking raises holds back the scan it was raised over."""
    import braindiffusion.export.deidentify_cases as cases

    scans = tmp_path / "scans"
    scans.mkdir()
    troubles = {"b": RecursionError(), "c": MemoryError(), "d": ZeroDivisionError(), "e": OSError("the disk failed")}
    for name in ("a", *troubles):
        scan_in(scans, f"{name}_FLAIR.nii.gz")
    clean = cases.clean_scan

    def troubled(path: Path, **options: Any) -> Any:
        if (error := troubles.get(path.name[0])) is not None:
            raise error
        return clean(path, **options)

    monkeypatch.setattr(cases, "clean_scan", troubled)
    result = succeed("deidentify", scans, "--out", tmp_path / "out", "--face", "keep")
    assert result.out.startswith("1 copied, 4 held back")
    with (tmp_path / "out" / "quarantine.csv").open(newline="") as stream:
        reasons = [row["reason"] for row in csv.DictReader(stream)]
    assert sorted(reasons) == sorted(f"It could not be checked ({type(e).__name__})." for e in troubles.values())


def test_a_bomb_among_series_is_held_back(tmp_path: Path) -> None:
    """A deflated file that grows to 1 GiB is not unpacked to see which series it belongs to."""
    sys.path.append(str(Path(__file__).parents[1] / "hostile"))
    from hostile_dicom import deflate_bomb

    voxels = np.arange(20 * 18 * 6).reshape(20, 18, 6).astype(np.uint16)
    write_series(tmp_path / "in" / "good", voxels, oblique(), planted=False)
    bad = write_series(tmp_path / "in" / "bad", voxels[..., :1], oblique(), planted=False)
    deflate_bomb(next(bad.iterdir()))
    program = (
        "import sys\nsys.path[:0] = sys.argv[1:3]\nfrom product_run import run\n"
        "result = run('deidentify', sys.argv[3] + '/in', '--out', sys.argv[3] + '/out', '--face', 'keep')\n"
        "print(result.out)\n"
        "if sys.platform == 'linux':\n    print(open('/proc/self/status').read())"
    )
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", program, str(here), str(here.parents[1]), str(tmp_path)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert "1 copied, 1 held back" in done.stdout, done.stdout + done.stderr
    if sys.platform == "linux":  # not ru_maxrss: a child inherits it from the tests, which may have grown beyond
        assert int(done.stdout.split("VmHWM:")[1].split()[0]) / 1024 < 800


@posix
def test_a_full_disk_while_a_teaching_file_is_written(head: Head, tmp_path: Path) -> None:
    """A limit on files, as on a full disk, after the healing it shows."""
    result = tmp_path / "result"
    succeed("heal", head.scan, "--mask", head.mask, "--brain", head.brain, "--slices", "10:11", *QUICK, "--out", result)
    program = (
        "import resource, sys\nsys.path[:0] = sys.argv[1:3]\nfrom product_run import run\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"
        "result = run('teach', sys.argv[3], '--scan', sys.argv[4], '--brain', sys.argv[5], '--title', 'One',\n"
        "             '--face', 'keep', '--out', sys.argv[6])\n"
        "print(result.code, result.err)"
    )
    here = Path(__file__).parent
    arguments = [here, here.parents[1], result, head.scan, head.brain, tmp_path / "out"]
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.startswith("4 OutputError"), done.stdout + done.stderr
    assert not (tmp_path / "out").exists()
