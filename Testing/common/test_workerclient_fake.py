"""The worker's client against a stand-in for the worker (no torch): order, cancel, death, files."""

import ast
import os
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from BrainCounterfactualCommon.worker import client as workerclient
from BrainCounterfactualCommon.worker import silence
from BrainCounterfactualCommon.worker.client import WorkerClient, WorkerError

HERE = Path(__file__).resolve().parent
COMMON = HERE.parents[1] / "BrainCounterfactualCommon" / "worker"
CUBE = np.arange(24, dtype=np.int16).reshape(2, 3, 4)


class Told:
    """Keeps what a job tells."""

    def __init__(self):
        self.progress, self.results, self.errors, self.cancelled = [], [], [], 0

    def callbacks(self):
        return {
            "onProgress": lambda *at: self.progress.append(at),
            "onResult": self.results.append,
            "onError": self.errors.append,
            "onCancelled": self._onCancelled,
        }

    def _onCancelled(self):
        self.cancelled += 1


@pytest.fixture
def makeClient(tmp_path):
    """``makeClient(FAKE_...=...)``: a client of the stand-in."""
    package = tmp_path / "fake" / "braindiffusion"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    shutil.copy(HERE / "fake_worker.py", package / "worker.py")
    (tmp_path / "files").mkdir()
    clients = []

    def make(version=None, onLog=None, **environment):
        client = WorkerClient(
            extraPaths=[tmp_path / "fake"],
            environment={**os.environ, **environment},
            tempRoot=tmp_path / "files",
            onLog=onLog,
            version=version,
        )
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.stop()


@pytest.fixture
def client(makeClient):
    return makeClient()


def ask(client, request, arrays=None, wait=True, **payload):
    told = Told()
    job = client.submit(request, payload, arrays or {}, **told.callbacks())
    if wait:
        client.waitForIdle(20)
    return job, told


def untilRunning(client, told):
    deadline = time.monotonic() + 20
    while not told.progress and time.monotonic() < deadline:
        client.poll()
        time.sleep(0.005)
    assert told.progress


# --- asking ---


def test_a_job_goes_from_queued_to_done(client):
    job, told = ask(client, "echo", wait=False, x=1)
    assert (job.state, client.busy) == ("queued", True)
    client.waitForIdle(20)
    assert (job.state, client.busy) == ("done", False)
    assert told.progress == [("heal", 1, 2, None)]
    assert told.results == [job.result]
    assert job.result.data["fields"]["x"] == 1


def test_nothing_is_called_outside_poll(client):
    _, told = ask(client, "echo", wait=False)
    time.sleep(0.5)
    assert not told.progress
    client.waitForIdle(20)
    assert told.results


def test_voxels_become_part_of_the_scan_and_other_arrays_are_fields(client):
    job, _ = ask(client, "echo", {"voxels": CUBE, "mask": CUBE > 3}, scan={"key": "a"})
    fields = job.result.data["fields"]
    assert fields["scan"]["key"] == "a"
    assert fields["scan"]["voxels"].endswith(".npy")
    assert fields["mask"].endswith(".npy")


def test_a_transposed_view_arrives_as_it_is(client, tmp_path):
    _, told = ask(client, "polite", {"voxels": CUBE.transpose()}, wait=False)
    untilRunning(client, told)
    (path,) = (tmp_path / "files").rglob("in-voxels.npy")
    np.testing.assert_array_equal(np.load(path), CUBE.transpose())


def test_jobs_wait_for_their_turn_and_immediate_requests_do_not(client):
    first, told = ask(client, "polite", wait=False)
    untilRunning(client, told)
    second, _ = ask(client, "echo", wait=False)
    greeted = []
    client.hello(greeted.append)
    deadline = time.monotonic() + 10
    while not greeted and time.monotonic() < deadline:
        client.poll()
        time.sleep(0.005)
    assert greeted[0].data["protocol"] == 1
    assert (first.state, second.state) == ("running", "queued")
    first.cancel()
    client.waitForIdle(10)
    assert (first.state, second.state) == ("cancelled", "done")


def test_a_callback_may_ask_for_more(client):
    later = []
    client.submit("echo", onResult=lambda _: later.append(ask(client, "echo", wait=False)[0]))
    client.waitForIdle(20)
    assert later[0].state == "done"


# --- cancelling ---


def test_a_cancelled_job_is_told_once(client):
    job, told = ask(client, "polite", wait=False)
    untilRunning(client, told)
    job.cancel()
    job.cancel()
    client.waitForIdle(10)
    job.cancel()
    assert (job.state, told.cancelled, told.results, told.errors) == ("cancelled", 1, [], [])


def test_a_job_can_be_cancelled_before_it_was_sent(client):
    job, told = ask(client, "deaf", wait=False)
    job.cancel()
    assert told.cancelled == 0
    client.waitForIdle(20)
    assert (job.state, told.cancelled) == ("cancelled", 1)
    assert ask(client, "echo")[0].state == "done"


def test_a_worker_that_does_not_cancel_is_replaced(client, monkeypatch):
    monkeypatch.setattr(workerclient, "CANCEL_SECONDS", 0.3)
    job, told = ask(client, "deaf", wait=False)
    untilRunning(client, told)
    before = client.processId
    job.cancel()
    client.waitForIdle(10)
    assert (job.state, told.cancelled, told.errors) == ("cancelled", 1, [])
    assert ask(client, "echo")[0].state == "done"
    assert client.processId != before


# --- dying ---


def test_a_death_is_told_with_its_last_words(client):
    job, told = ask(client, "die")
    assert job.state == "failed"
    error = told.errors[0]
    assert (error.className, error["className"]) == ("WorkerDiedError", "WorkerDiedError")
    assert "exit code was 3" in error.cause
    assert "last words" in error.cause
    assert len(str(error).splitlines()) == 3
    assert not client.isRunning()


def test_every_open_job_hears_of_a_death(client):
    first, told = ask(client, "deaf", wait=False)
    untilRunning(client, told)
    second, _ = ask(client, "echo", wait=False)
    client._held["process"]._process.kill()
    client.waitForIdle(10)
    assert [job.error.className for job in (first, second)] == ["WorkerDiedError"] * 2
    assert "signal 9" in first.error.cause or os.name == "nt"


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(silence, "ASK_SECONDS", 0.3)
    monkeypatch.setattr(workerclient, "SILENT_SECONDS", 0.8)


def test_a_worker_that_hangs_is_ended_and_the_next_request_works(client, impatient):
    hung, told = ask(client, "hang", wait=False)
    process = client.processId
    waiting, _ = ask(client, "echo", wait=False)
    client.waitForIdle(20)
    assert hung.state == "failed"
    assert [error.what for error in told.errors] == ["The worker ended unexpectedly."]
    assert told.errors[0].cause == "It did not answer for 1 s, so it was ended."
    assert waiting.state == "done"
    assert client.processId not in (None, process)


def test_a_worker_that_hangs_at_its_start_is_ended(makeClient, monkeypatch):
    monkeypatch.setattr(workerclient, "START_SECONDS", 0.5)
    _, told = ask(makeClient(FAKE_SLEEPS="1"), "echo")
    assert "did not answer" in told.errors[0].cause


def test_a_long_job_of_a_worker_that_answers_is_left_alone(client, impatient):
    job, told = ask(client, "deaf", wait=False)
    untilRunning(client, told)
    process, until = client.processId, time.monotonic() + 2.0
    while time.monotonic() < until:
        client.poll()
        time.sleep(0.02)
    assert job.state == "running"
    assert client.processId == process
    job.cancel()
    client.waitForIdle(10)


def test_sleep_of_the_computer_is_no_silence():
    clock = silence.Silence()
    assert [clock.tick(120.0, now=clock._polled + 3600.0 * n) for n in (1, 2, 3)] == ["", "", ""]
    clock = silence.Silence()
    begun = clock._polled
    told = [clock.tick(120.0, now=begun + second) for second in range(1, 125)]
    assert told.count("ask") == 1
    assert told.index("over") == 120


def test_after_a_gpu_failure_the_next_job_has_a_new_process(client):
    _, told = ask(client, "gpu")
    assert [error.className for error in told.errors] == ["DeviceLostError"]
    assert not client.isRunning()
    assert ask(client, "echo")[0].state == "done"


def test_the_next_job_starts_it_again_but_not_for_ever(client):
    states = [ask(client, "die")[0].error.what for _ in range(workerclient.RESTARTS + 2)]
    assert states[:-1] == ["The worker ended unexpectedly."] * (workerclient.RESTARTS + 1)
    assert states[-1] == "The worker keeps ending."


def test_a_worker_that_cannot_begin_says_why(makeClient):
    log = []
    _, told = ask(makeClient(onLog=log.append, FAKE_FAILS="1"), "echo")
    assert told.errors[0].className == "WorkerDiedError"
    assert "No module named torch" in told.errors[0].cause
    assert log == ["No module named torch"]


def test_a_python_that_is_not_there_is_an_error_not_an_exception(tmp_path):
    client = WorkerClient(pythonExecutable=tmp_path / "nopython")
    _, told = ask(client, "echo")
    assert told.errors[0].className == "WorkerDiedError"
    with pytest.raises(WorkerError):
        client.start()


@pytest.mark.parametrize("options", [{"FAKE_PROTOCOL": "2"}, {"version": "1.2.3"}])
def test_another_protocol_or_version_is_said(makeClient, options):
    client = makeClient(**options)
    _, told = ask(client, "echo")
    assert told.errors[0].className == "WorkerVersionError"
    assert "expected" in told.errors[0].cause
    assert not client.isRunning()


# --- what goes wrong with files ---


def test_what_is_no_event_is_logged_and_passed_over(makeClient):
    log = []
    job, _ = ask(makeClient(onLog=log.append), "noise")
    assert job.state == "done"
    assert len(log) == 2


def test_a_result_that_cannot_be_read_is_an_error(client):
    _, told = ask(client, "lost")
    assert told.errors[0].className == "OutputError"
    assert ask(client, "echo")[0].state == "done"


def test_a_full_disk_is_an_error_and_the_next_job_works(client, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(workerclient.np, "save", full)
        job, told = ask(client, "echo", {"voxels": CUBE})
    assert "No space left" in told.errors[0].cause
    assert job.state == "failed"
    assert ask(client, "echo", {"voxels": CUBE})[0].state == "done"


def test_no_file_stays_behind(client, tmp_path):
    ask(client, "echo", {"voxels": CUBE})
    ask(client, "lost", {"voxels": CUBE})
    assert [path for path in (tmp_path / "files").rglob("*") if path.is_file()] == []
    _, told = ask(client, "polite", {"voxels": CUBE}, wait=False)
    untilRunning(client, told)
    client.stop()
    assert list((tmp_path / "files").iterdir()) == []
    assert told.cancelled == 0


def test_a_client_that_is_dropped_takes_its_worker_and_files_along(makeClient, tmp_path):
    client = WorkerClient(extraPaths=[tmp_path / "fake"], tempRoot=tmp_path / "files")
    _, told = ask(client, "polite", {"voxels": CUBE}, wait=False)
    untilRunning(client, told)
    process = client._held["process"]._process
    client._finalizer()
    assert process.wait(5) is not None
    assert list((tmp_path / "files").iterdir()) == []


def test_it_can_be_stopped_twice_and_started_again(client):
    ask(client, "echo")
    client.stop()
    client.stop()
    assert not client.isRunning()
    assert ask(client, "echo")[0].state == "done"


# --- where it must load ---


@pytest.mark.parametrize("name", ["client.py", "process.py"])
def test_the_client_is_python_3_9_and_needs_numpy_only(name):
    tree = ast.parse((COMMON / name).read_text(encoding="utf-8"), feature_version=(3, 9))
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(node.module.split(".")[0])
    assert modules - set(sys.stdlib_module_names) <= {"numpy", "BrainCounterfactualCommon"}
