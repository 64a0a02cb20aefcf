"""What a kill, a full disk, a lost GPU and a second program leave: whole files, one sentence, a run that goes on."""

from __future__ import annotations

import ast
import errno
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import kill_trials
import numpy as np
import pytest
import torch

from braindiffusion import errors
from braindiffusion.cli.options import report_errors
from braindiffusion.io.locks import Lock
from braindiffusion.io.staging import PREFIX
from braindiffusion.io.write import OutputFolder, complete
from braindiffusion.models.device import device_lost, machine_error
from braindiffusion.models.export import export_model
from braindiffusion.worker.protocol import Request, Writer
from braindiffusion.worker.session import Job, outcome

ROOT = Path(__file__).resolve().parents[2]
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


# --- kill -9 --------------------------------------------------------------------------------------------------


@forks
@pytest.mark.parametrize(("subject", "count"), [("heal", 2), ("train", 1), ("study", 1), ("answers", 4)])
def test_killed_at_random_moments(subject: str, count: int) -> None:
    """In a fresh process: one with threads must not be forked."""
    command = [sys.executable, str(Path(kill_trials.__file__)), subject, str(count), "7"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )
    try:
        out, said = done.communicate(timeout=600)
    finally:
        with suppress(ProcessLookupError):  # with whatever it forked
            os.killpg(done.pid, signal.SIGKILL)
    assert done.returncode == 0, said[-2000:]
    assert json.loads(out)["trials"] == count


def _results(folder: Path, version: int) -> None:
    with OutputFolder(folder) as out:
        out.volume("healed", np.full((3, 3, 3), version, np.int16), np.eye(4))
        out.file("pictures/1.png").write_bytes(b"picture %d" % version)
        out.json("provenance", {"version": version})


def _killed_at(call: int, work: Callable[[], None]) -> bool:
    """Run the work in a child that kills itself at the n-th move, link or new folder; whether it came so far."""
    child = os.fork()
    if child == 0:
        count = 0

        def counted(real: Callable[..., Any]) -> Callable[..., Any]:
            def instead(*arguments: Any, **options: Any) -> Any:
                nonlocal count
                count += 1
                if count == call:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*arguments, **options)

            return instead

        for name in ("replace", "link", "mkdir", "fsync"):
            setattr(os, name, counted(getattr(os, name)))
        work()
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


@forks
@pytest.mark.parametrize("there", [False, True])
def test_killed_between_any_two_moves(tmp_path: Path, there: bool) -> None:
    """No file is half, no record tells of other files than those beside it, and the next run sweeps and succeeds."""
    _results(tmp_path / "unhurt" / "out", 2)
    whole = kill_trials.visible(tmp_path / "unhurt")
    for call in range(1, 60):
        folder = tmp_path / f"at{call}"
        folder.mkdir()
        if there:
            _results(folder / "out", 1)
        old = kill_trials.visible(folder)
        came = _killed_at(call, lambda to=folder / "out": _results(to, 2))
        after = kill_trials.visible(folder)
        versions = {n: "old" if after[n] == old.get(n) else "new" if after[n] == whole[n] else "half" for n in after}
        assert "half" not in versions.values()
        if not there:
            assert set(after) in (set(), set(whole))
        if "out/provenance.json" in after:
            assert len(set(versions.values())) == 1, versions
        _results(folder / "out", 2)
        assert kill_trials.visible(folder) == whole
        assert not list(folder.rglob(f"{PREFIX}*"))
        if not came:
            break
    assert not came
    assert call > (12 if there else 6)


@forks
def test_what_a_living_program_stages_is_left_alone(tmp_path: Path) -> None:
    with OutputFolder(tmp_path / "slow") as slow:
        slow.json("a", {})
        _results(tmp_path / "quick", 1)
        assert slow.file("a.json").is_file()
    assert (tmp_path / "slow" / "a.json").is_file()


# --- two programs on one folder -------------------------------------------------------------------------------


@pytest.mark.parametrize("there", [False, True])
def test_two_that_end_together_do_not_mix(tmp_path: Path, there: bool) -> None:
    if there:
        _results(tmp_path / "out", 0)
    start = threading.Barrier(4)

    def run(version: int) -> None:
        start.wait()
        for _ in range(5):
            _results(tmp_path / "out", version)

    threads = [threading.Thread(target=run, args=(version,)) for version in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    version = json.loads((tmp_path / "out" / "provenance.json").read_text())["version"]
    assert (tmp_path / "out" / "pictures" / "1.png").read_bytes() == b"picture %d" % version
    assert {p.name for p in tmp_path.iterdir()} == {"out"}
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"healed.nii.gz", "pictures", "provenance.json"}


def test_what_is_written_once_is_not_replaced(tmp_path: Path) -> None:

    def write(by: int, meanwhile: Callable[[], None]) -> None:
        with OutputFolder(tmp_path / "out", keep=True) as out:
            out.json("study", {"by": by})
            meanwhile()

    with pytest.raises(errors.OutputError, match=r"study\.json is there already"):
        write(2, lambda: write(1, lambda: None))
    assert json.loads((tmp_path / "out" / "study.json").read_text()) == {"by": 1}


def test_a_second_training_in_a_folder_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("lightning_fabric")
    from tiny_training import recipe, write_pack

    from braindiffusion.training.loop import train

    (tmp_path / "data").mkdir()
    write_pack(tmp_path / "data" / "tiny.npz")
    (tmp_path / "out").mkdir()
    run = {"iterations": 1, "device": "cpu", "threads": 1}
    with Lock(tmp_path / "out" / ".training.lock") as lock:
        assert lock.take()
        with pytest.raises(errors.OutputError, match="Another training"):
            list(train(recipe("autoencoder"), tmp_path / "data", tmp_path / "out", **run))
    assert [p.name for p in (tmp_path / "out").iterdir()] == [".training.lock"]
    assert list(train(recipe("autoencoder"), tmp_path / "data", tmp_path / "out", **run))


@forks
def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        kept = Lock(tmp_path / "lock")
        kept.take()
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    with Lock(tmp_path / "lock") as ours, Lock(tmp_path / "lock") as theirs:
        assert ours.take()
        assert not theirs.take()
        ours.release()
        assert theirs.take()


# --- the disk -------------------------------------------------------------------------------------------------


def test_a_disk_that_is_full_in_earnest(tmp_path: Path) -> None:
    """/dev/full takes nothing: the system's own ENOSPC."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")

    def write() -> None:
        with complete(tmp_path / "new.bin") as partial:
            partial.symlink_to("/dev/full")
            partial.write_bytes(b"x" * 100_000)

    with pytest.raises(errors.OutputError) as caught:
        write()
    assert caught.value.why == "The disk is full."
    assert not list(tmp_path.iterdir())


def test_a_limit_on_files_while_a_model_is_exported(tmp_path: Path) -> None:
    """RLIMIT_FSIZE, as on a full disk: the pair that was there stays whole."""
    pytest.importorskip("resource")
    export_model(tmp_path, {"name": "m"}, {"a": torch.zeros(10)})
    before = kill_trials.visible(tmp_path)
    program = f"""
import resource, signal, torch
from pathlib import Path
from braindiffusion.errors import OutputError
from braindiffusion.models.export import export_model
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
try:
    export_model(Path({str(tmp_path)!r}), {{"name": "m"}}, {{"a": torch.zeros(50000)}})
except OutputError as error:
    print("OutputError", error.why, error.action)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.stdout.startswith("OutputError The file would be larger"), done.stdout + done.stderr
    assert kill_trials.visible(tmp_path) == before
    assert {p.name for p in tmp_path.iterdir()} == {"m.json", "m.safetensors"}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, code: int) -> None:
    path = tmp_path / "log.csv"
    path.write_text("old\n")

    def write() -> None:
        with complete(path) as partial:
            partial.write_text("new")
            raise OSError(code, os.strerror(code))

    with pytest.raises(errors.OutputError) as caught:
        write()
    assert caught.value.action
    assert path.read_text() == "old\n"
    assert [p.name for p in tmp_path.iterdir()] == ["log.csv"]


# --- the GPU --------------------------------------------------------------------------------------------------

LOST = RuntimeError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be ...")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (LOST, errors.DeviceLostError),
        (RuntimeError("CUDA error: unspecified launch failure"), errors.DeviceLostError),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), errors.DeviceLostError),
        (torch.OutOfMemoryError("CUDA out of memory."), errors.MemoryExhaustedError),
        (RuntimeError("CUDA error: out of memory"), errors.MemoryExhaustedError),
        (MemoryError(), errors.MemoryExhaustedError),
        (RuntimeError("shape '[3]' is invalid for input of size 4"), None),
        (ValueError("CUDA error: not a runtime error"), None),
    ],
)
def test_what_the_machine_failed_in(error: Exception, kind: type | None) -> None:
    found = machine_error(error)
    assert type(found) is (kind or type(None))
    assert device_lost(error) == (kind is errors.DeviceLostError)
    if found is not None:
        assert found.why
        assert found.action


class Lost(torch.nn.Module):
    """A network on a GPU that fails at its third call."""

    calls = 0

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def forward(self, *inputs: Any, **options: Any) -> torch.Tensor:
        self.calls += 1
        if self.calls == 3:
            raise self.error
        return torch.zeros_like(inputs[0][:, :1])


@pytest.mark.parametrize(
    ("error", "kind"), [(LOST, "DeviceLostError"), (torch.OutOfMemoryError("CUDA out of memory."), None)]
)
def test_a_gpu_lost_in_the_middle_of_a_healing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, kind: Any
) -> None:
    """The command says so in one sentence and writes nothing; memory that ran out once is tried in a smaller batch."""
    import typer

    models = tmp_path / "models"
    models.mkdir()
    monkeypatch.setenv("BRAINDIFFUSION_MODELS", str(models))
    subject = kill_trials.heal(models)
    from braindiffusion.models import registry

    network = Lost(error)
    real = registry.build_from_card
    monkeypatch.setattr(
        registry, "build_from_card", lambda card, w: network if card["task"] == "denoiser" else real(card, w)
    )
    registry.release()
    if kind is None:
        subject.act(tmp_path / "out", 1)
        assert (tmp_path / "out" / "provenance.json").is_file()
    else:
        with pytest.raises(typer.Exit) as caught, report_errors():
            subject.act(tmp_path / "out", 1)
        assert caught.value.exit_code == 4
        assert capsys.readouterr().err.startswith(f"{kind}: The GPU failed during the work.\nWhy: CUDA error: an ille")
        assert not (tmp_path / "out").exists()
    registry.release()


@pytest.mark.parametrize(("error", "name"), [(LOST, "DeviceLostError"), (MemoryError(), "MemoryExhaustedError")])
def test_the_worker_says_so_too(error: Exception, name: str) -> None:
    def fail(job: Job) -> dict[str, Any]:
        raise error

    event, facts = outcome(fail, Job(Request(1, "heal", {}), Writer(open(os.devnull, "wb"))))  # noqa: SIM115
    assert (event, facts["error"]["class"]) == ("error", name)
    assert facts["error"]["action"]


# --- the clock ------------------------------------------------------------------------------------------------

WALL = {("time", "time"), ("datetime", "now"), ("datetime", "utcnow"), ("datetime", "today")}
STAMPS = {"braindiffusion/export/dicom.py"}
"""Where the time of day is written down and nothing is reckoned with it."""
AGES = {"BrainViewer/BrainViewerLib/server/session.py"}
"""Where the age of a file is told, which an earlier run wrote: no other clock outlives a run."""


def test_nothing_is_reckoned_by_the_time_of_day() -> None:
    """Durations, deadlines and orders come from the monotonic clock: setting the clock back changes none of them."""
    found = []
    for path in [p for folder in ("braindiffusion", "tools", "Brain*") for p in ROOT.glob(f"{folder}/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                of = node.func.value
                base = of.id if isinstance(of, ast.Name) else of.attr if isinstance(of, ast.Attribute) else ""
                if (base, node.func.attr) in WALL:
                    found.append(path.relative_to(ROOT).as_posix())
    assert set(found) <= STAMPS | AGES, found
