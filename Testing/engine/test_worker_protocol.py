"""The worker's protocol without a process: lines in, lines out, one job at a time."""

from __future__ import annotations

import io
import json
import threading
import time
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np
import pytest

from braindiffusion.errors import Cancelled, MaskGeometryError, ProtocolError, SettingsError
from braindiffusion.settings import HealSettings, settings_from
from braindiffusion.worker.protocol import Request, Writer, load_array, parse, read_requests, read_scan
from braindiffusion.worker.session import PROGRESS_SECONDS, Job, Session

AFFINE = np.eye(4).tolist()


def lines(*messages: Any) -> io.BytesIO:
    return io.BytesIO(b"".join(m if isinstance(m, bytes) else json.dumps(m).encode() + b"\n" for m in messages))


class Told:
    """A stream that keeps the events written to it."""

    def __init__(self) -> None:
        self.events: Queue[dict[str, Any]] = Queue()

    def write(self, line: bytes) -> None:
        self.events.put(json.loads(line))

    def flush(self) -> None: ...

    def next(self) -> dict[str, Any]:
        return self.events.get(timeout=5)


# requests


def test_a_request_is_its_number_its_name_and_its_fields() -> None:
    assert parse(b'{"id": 7, "request": "heal", "seed": 1}') == Request(7, "heal", {"seed": 1})


@pytest.mark.parametrize(
    "line",
    [b"garbage", b"\xff\xfe\x00", b"[1, 2]", b"7", b"null", b'{"id": 1', b'{"request": "heal"}',
     b'{"id": "1", "request": "heal"}', b'{"id": true, "request": "heal"}', b'{"id": 1}', b'{"id": 1, "request": 2}',
     b'{"id": 1, "request": "heal", "x": NaN}', b"[" * 100_000],
)  # fmt: skip
def test_a_malformed_line_is_a_typed_error_and_the_next_line_is_read(line: bytes) -> None:
    bad, good = read_requests(lines(line + b"\n", {"id": 2, "request": "hello"}))
    assert isinstance(bad, ProtocolError)
    assert set(bad.as_dict()) == {"class", "what", "cause", "action"}
    assert bad.as_dict()["class"] == "ProtocolError"
    assert good == Request(2, "hello", {})


def test_an_endless_line_is_skipped_without_being_kept() -> None:
    bad, good = read_requests(lines(b"x" * 5_000 + b"\n", {"id": 2, "request": "hello"}), most=100)
    assert isinstance(bad, ProtocolError)
    assert isinstance(good, Request)


def test_a_line_of_the_greatest_length_is_read() -> None:
    line = b'{"id": 1, "request": "hello"}'
    assert list(read_requests(lines(line + b"\n"), most=len(line))) == [Request(1, "hello", {})]


def test_empty_lines_mean_nothing() -> None:
    assert list(read_requests(lines(b"\n", b"  \r\n"))) == []


def test_a_reader_that_has_gone_is_no_error() -> None:
    stream = io.BytesIO()
    stream.close()
    Writer(stream)("progress", 1)


# arrays


def saved(folder: Path, values: np.ndarray, **options: Any) -> str:
    np.save(folder / "a.npy", values, **options)
    return str(folder / "a.npy")


def test_an_array_is_read_as_it_was_written(tmp_path: Path) -> None:
    values = np.arange(24, dtype=">i2").reshape(2, 3, 4).transpose(2, 1, 0)
    found = load_array(saved(tmp_path, values), "voxels")
    np.testing.assert_array_equal(found, values)
    assert found.dtype == values.dtype


@pytest.mark.parametrize(
    "values",
    [np.zeros((2, 2)), np.zeros((2, 2, 2, 2)), np.zeros((0, 2, 2)), np.zeros((2, 2, 2), complex),
     np.full((2, 2, 2), "x")],
)  # fmt: skip
def test_what_is_no_volume_of_numbers_is_refused(tmp_path: Path, values: np.ndarray) -> None:
    with pytest.raises(ProtocolError):
        load_array(saved(tmp_path, values), "voxels")


def test_a_pickle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProtocolError):
        load_array(saved(tmp_path, np.array([[[{}]]], dtype=object), allow_pickle=True), "voxels")


def test_a_header_that_promises_more_than_the_file_is_refused(tmp_path: Path) -> None:
    path = Path(saved(tmp_path, np.zeros((4, 4, 4))))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ProtocolError):
        load_array(str(path), "voxels")


@pytest.mark.parametrize("path", [None, 3, "nowhere.npy", "", ".", "\0.npy"])
def test_a_path_to_nothing_is_refused(path: Any) -> None:
    with pytest.raises(ProtocolError):
        load_array(path, "voxels")


def test_a_mask_of_another_shape_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MaskGeometryError):
        load_array(saved(tmp_path, np.zeros((2, 2, 2))), "mask", (2, 2, 3))


# scan and settings


def test_a_scan_is_read_with_its_place_and_name(tmp_path: Path) -> None:
    path = saved(tmp_path, np.ones((2, 3, 4), np.int16))
    scan = read_scan({"voxels": path, "affine": AFFINE, "modality": "flair", "name": "/home/someone/scan.nii.gz"})
    assert (scan.modality, scan.path) == ("FLAIR", Path("scan.nii.gz"))


@pytest.mark.parametrize(
    "change",
    [{"affine": None}, {"affine": [[1]]}, {"affine": np.zeros((4, 4)).tolist()}, {"affine": "x"}, {"modality": 3},
     {"name": []}, {"voxels": None}],
)  # fmt: skip
def test_a_malformed_scan_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    given = {"voxels": saved(tmp_path, np.ones((2, 3, 4), np.int16)), "affine": AFFINE} | change
    with pytest.raises(ProtocolError):
        read_scan(given)


def test_voxels_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ProtocolError):
        read_scan({"voxels": saved(tmp_path, np.full((2, 2, 2), np.nan)), "affine": AFFINE})


def test_settings_are_the_engines_own() -> None:
    found = settings_from(HealSettings, {"steps": None, "slices": [3, None], "percentile": 95, "fusion": "joint"})
    assert found == HealSettings(steps=None, slices=(3, None), percentile=95.0, fusion="joint")


def test_no_settings_are_the_defaults() -> None:
    assert settings_from(HealSettings, None) == HealSettings()


@pytest.mark.parametrize(
    "given",
    [{"step": 3}, {"steps": 2.5}, {"steps": "10"}, {"steps": True}, {"slices": [1]}, {"slices": 4}, {"force": 1},
     {"percentile": "high"}, {"mask_order": "mine"}, {"seed": None}],
)  # fmt: skip
def test_unknown_settings_and_wrong_types_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        settings_from(HealSettings, given)


def test_settings_that_are_no_object_are_refused() -> None:
    with pytest.raises(SettingsError):
        settings_from(HealSettings, [1])


# the session


class Bench:
    """Handlers under the test's control: ``slow`` runs until it is let go or cancelled."""

    def __init__(self) -> None:
        self.started, self.go, self.threads = threading.Event(), threading.Event(), set()
        self.jobs = {"slow": self.slow, "broken": self.broken, "quick": lambda job: {"n": 1}}
        self.answers = {"hello": lambda job: {"protocol": 1}}

    def slow(self, job: Job) -> dict[str, Any]:
        self.threads.add(threading.get_ident())
        self.started.set()
        while not self.go.wait(0.005):
            job.check()
        return {"done": True}

    def broken(self, job: Job) -> dict[str, Any]:
        raise KeyError("a defect")


class Live:
    """A session that is fed one message at a time."""

    def __init__(self, bench: Bench) -> None:
        self.told, self.feed = Told(), Queue[Any]()
        self.session = Session(Writer(self.told), bench.jobs, bench.answers)  # type: ignore[arg-type]
        self.thread = threading.Thread(target=self.session.run, args=(iter(self.feed.get, None),), daemon=True)
        self.thread.start()

    def ask(self, number: int, name: str, **fields: Any) -> None:
        self.feed.put(Request(number, name, fields))


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def live(bench: Bench) -> Live:
    return Live(bench)


def test_a_second_job_is_refused_while_one_runs(live: Live, bench: Bench) -> None:
    live.ask(1, "slow")
    assert bench.started.wait(5)
    live.ask(2, "quick")
    event = live.told.next()
    assert (event["id"], event["error"]["class"]) == (2, "BusyError")
    bench.go.set()
    assert live.told.next() == {"event": "result", "id": 1, "done": True}
    live.ask(3, "quick")
    assert live.told.next() == {"event": "result", "id": 3, "n": 1}


def test_hello_is_answered_while_a_job_runs(live: Live, bench: Bench) -> None:
    live.ask(1, "slow")
    assert bench.started.wait(5)
    live.ask(2, "hello")
    assert live.told.next() == {"event": "result", "id": 2, "protocol": 1}


def test_a_cancelled_job_says_so_and_frees_the_worker(live: Live, bench: Bench) -> None:
    live.ask(1, "slow")
    assert bench.started.wait(5)
    live.ask(2, "cancel", target=1)
    assert live.told.next() == {"event": "cancelled", "id": 1}
    live.ask(3, "quick")
    assert live.told.next()["event"] == "result"


def test_a_job_cancelled_before_it_began_never_runs(bench: Bench) -> None:
    told, ran, hold = Told(), [], threading.Event()
    bench.jobs["quick"] = lambda job: ran.append(job) or {}
    session = Session(Writer(told), bench.jobs, bench.answers, [hold.wait])  # type: ignore[arg-type]
    session.run([Request(0, "hello", {})])
    assert told.next()["event"] == "result"
    time.sleep(0.05)  # the job thread is at its spare work now
    session.run([Request(1, "quick", {}), Request(2, "cancel", {"target": 1})])
    assert told.next() == {"event": "cancelled", "id": 1}
    hold.set()
    session.run([Request(3, "quick", {})])
    assert told.next() == {"event": "result", "id": 3}
    assert len(ran) == 1


def test_spare_work_gives_way_to_a_job_and_its_failure_is_quiet(bench: Bench) -> None:
    told, hold, done = Told(), threading.Event(), []

    def fail() -> None:
        hold.wait(5)
        raise OSError("spare")

    session = Session(Writer(told), bench.jobs, bench.answers, [fail, lambda: done.append(1)])  # type: ignore[arg-type]
    session.run([Request(0, "hello", {})])
    assert told.next()["event"] == "result"
    session.run([Request(1, "quick", {})])
    hold.set()
    assert told.next() == {"event": "result", "id": 1, "n": 1}
    assert not done


def test_cancelling_another_job_does_nothing(live: Live, bench: Bench) -> None:
    live.ask(1, "slow")
    assert bench.started.wait(5)
    for target in (99, None, "1", [1]):
        live.ask(2, "cancel", target=target)
    bench.go.set()
    assert live.told.next()["event"] == "result"


def test_a_defect_is_told_without_its_traceback(live: Live, capsys: pytest.CaptureFixture[str]) -> None:
    live.ask(1, "broken")
    error = live.told.next()["error"]
    assert error["class"] == "WorkerFault"
    assert "a defect" in error["cause"]
    assert "Traceback" not in json.dumps(error)
    live.ask(2, "quick")
    assert live.told.next()["event"] == "result"


def test_an_unknown_request_is_refused(live: Live) -> None:
    live.ask(1, "dance")
    assert live.told.next()["error"]["class"] == "ProtocolError"


def test_all_jobs_run_on_one_thread(live: Live, bench: Bench) -> None:
    bench.go.set()
    for number in range(3):
        live.ask(number, "slow")
        live.told.next()
    assert len(bench.threads) == 1


@pytest.mark.parametrize("end", [Request(9, "quit", {}), None])
def test_the_session_ends_when_the_client_quits_or_is_gone(live: Live, bench: Bench, end: Request | None) -> None:
    live.ask(1, "slow")
    assert bench.started.wait(5)
    live.feed.put(end)
    live.thread.join(5)
    assert not live.thread.is_alive()


def test_progress_is_told_at_most_ten_times_a_second() -> None:
    told = Told()
    job = Job(Request(1, "heal", {}), Writer(told))  # type: ignore[arg-type]
    started = time.monotonic()
    for done in range(1000):
        job.progress("heal", done, 1000)
    job.progress("heal", 1000, 1000)
    most = 2 + (time.monotonic() - started) / PROGRESS_SECONDS
    assert 2 <= told.events.qsize() <= most + 1


def test_progress_stops_a_cancelled_job() -> None:
    job = Job(Request(1, "heal", {}), Writer(Told()))  # type: ignore[arg-type]
    job.cancelled.set()
    with pytest.raises(Cancelled):
        job.progress("heal", 0, 1)
