"""The client with the real worker, the shipped weights and the sample scan. Times are printed; see them with -s."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from BrainCounterfactualCommon.worker.client import PROTOCOL as client_protocol
from BrainCounterfactualCommon.worker.client import WorkerClient
from braindiffusion.cards import installed, resource
from braindiffusion.io.read import read_scan
from braindiffusion.worker import PROTOCOL as worker_protocol

pytestmark = [
    pytest.mark.weights,
    pytest.mark.skipif("flair-healthy-128" not in installed(), reason="the denoiser is not shipped"),
]
SETTINGS = {"device": "cpu", "steps": 5}


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    models = tmp_path_factory.mktemp("models")
    return {**os.environ, "BRAINDIFFUSION_MODELS": str(models), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


@pytest.fixture(scope="module")
def sample():
    return read_scan(resource("Samples", "SYNTHETIC_FLAIR_lesion.nii.gz"))


@pytest.fixture(scope="module")
def drawn(sample):
    """A box in the left hemisphere, on three slices."""
    mask = np.zeros(sample.voxels.shape, bool)
    mask[60:85, 95:125, 6:9] = True
    return mask


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def client(environment, files):
    client = WorkerClient(environment=environment, tempRoot=files)
    yield client
    client.stop()
    assert list(files.iterdir()) == []


class Seat:
    """Asks as a viewer does, and keeps when it was told what."""

    def __init__(self, client, sample):
        self.client, self.sample = client, sample
        self.began, self.progress, self.previews, self.ended = 0.0, [], [], None

    def ask(self, request, arrays=None, settings=None, key="sample", **payload):
        scan = {"affine": self.sample.affine.tolist(), "modality": "FLAIR", "name": "sample.nii.gz", "key": key}
        self.began, self.progress, self.previews = time.monotonic(), [], []
        return self.client.submit(
            request,
            {"scan": scan, "settings": {**SETTINGS, **(settings or {})}, **payload},
            {"voxels": self.sample.voxels, **(arrays or {})},
            onProgress=lambda *at: self.progress.append((time.monotonic() - self.began, *at)),
            onPreview=lambda *at: self.previews.append((time.monotonic() - self.began, *at)),
        )

    def wait(self, job, until=lambda: False):
        deadline = time.monotonic() + 120
        while job.isOpen and not until() and time.monotonic() < deadline:
            self.client.poll()
            time.sleep(0.002)
        return time.monotonic() - self.began

    def do(self, *arguments, **options):
        job = self.ask(*arguments, **options)
        self.wait(job)
        assert job.state == "done", job.error
        return job.result


@pytest.fixture
def seat(client, sample):
    return Seat(client, sample)


def test_hello_tells_versions_devices_and_models(client):
    told = []
    client.hello(told.append)
    client.waitForIdle(60)
    data = told[0].data
    assert data["protocol"] == 1
    assert data["devices"][0]["name"] == "cpu"
    assert {"flair-healthy-128", "brain-mask"} <= {card["name"] for card in data["models"]}
    methods = {method["name"]: method for method in data["methods"]}
    assert methods["dif_fuse"]["available"]
    assert methods["dif_fuse"]["needs"][0]["models"][0] == "tissue-256"


def test_a_heal_and_the_same_again(seat, drawn, sample):
    seat.do("heal", {"mask": drawn}, settings={"slices": [7, 8]})  # loads what is not loaded yet
    first = seat.do("heal", {"mask": drawn}, view_slice=7, key="another")
    fresh, previews = time.monotonic() - seat.began, seat.previews
    second = seat.do("heal", {"mask": drawn}, view_slice=7, key="another")
    again = time.monotonic() - seat.began
    print(
        f"\nfirst preview after {previews[0][0]:.2f} s, again {seat.previews[0][0]:.2f} s; "
        f"three slices healed in {fresh:.2f} s, again {again:.2f} s"
    )
    assert set(first.arrays) == {"counterfactual", "anomaly", "lesion", "mask", "edited", "saliency"}
    for name, values in first.arrays.items():
        np.testing.assert_array_equal(values, second.arrays[name])
    healed, edited = first.arrays["counterfactual"], first.arrays["edited"]
    assert healed.dtype == sample.voxels.dtype
    assert edited.any()
    np.testing.assert_array_equal(healed[~edited], sample.voxels[~edited])
    assert "brain" not in {stage for _, stage, *_ in seat.progress}  # it was found already
    _, axis, index, plane = previews[0]
    assert (axis, index) == (2, 7)
    assert (plane.shape, plane.dtype) == (sample.voxels.shape[:2], sample.voxels.dtype)
    assert previews[0][0] < 6.0  # 2 s on two free cores


def test_one_slice_alone(seat, drawn):
    result = seat.do("heal", {"mask": drawn}, settings={"slices": [7, 8]})
    assert list(np.nonzero(result.arrays["edited"].any((0, 1)))[0]) == [7]
    assert [row["slice"] for row in result.data["slices"]] == [7]
    assert result.data["provenance"]["synthetic"] is True
    json.dumps(result.data, allow_nan=False)


def test_saliency_then_heal_by_it(seat):
    settings = {"saliency": "gradient", "slices": [6, 9], "gate": 0.0}
    found = seat.do("saliency", settings=settings)
    assert set(found.arrays) == {"saliency", "brain"}
    assert found.arrays["saliency"].max() <= 1.0
    healed = seat.do("heal", settings=settings)
    np.testing.assert_array_equal(healed.arrays["saliency"], found.arrays["saliency"])
    assert "saliency" not in {stage for _, stage, *_ in seat.progress}


@pytest.mark.parametrize(
    ("request_", "stage", "settings"),
    [("heal", "heal", {"steps": None}), ("saliency", "saliency", {"gate": 0.0, "slices": [3, 11]})],
)
def test_cancel_stops_it_at_once(seat, drawn, client, request_, stage, settings):
    before = client.processId
    job = seat.ask(request_, {"mask": drawn} if request_ == "heal" else {}, settings=settings)
    seat.wait(job, lambda: any(at[1] == stage and at[2] > 0 for at in seat.progress))
    assert job.isOpen
    pressed = time.monotonic()
    job.cancel()
    seat.wait(job)
    took = time.monotonic() - pressed
    print(f"\ncancelled in {took:.2f} s during {stage}")
    assert job.state == "cancelled"
    assert took < 3.0  # 1 s on two free cores
    assert client.processId == before


@pytest.mark.parametrize(
    ("request_", "payload", "error"),
    [
        ("heal", {"settings": {"steps": -1}}, "SettingsError"),
        ("heal", {"settings": {"stps": 3}}, "SettingsError"),
        ("heal", {"settings": {"model": "nothing"}}, "ModelNotFoundError"),
        ("heal", {"settings": {"device": "cuda"}}, "DeviceError"),
        ("heal", {"settings": {"slices": [40, 50]}}, "SliceRangeError"),
        ("heal", {"view_slice": "third"}, "ProtocolError"),
        ("induce", {}, "ProtocolError"),
        ("dance", {}, "ProtocolError"),
    ],
)
def test_what_cannot_be_done_is_a_typed_error(seat, drawn, request_, payload, error):
    job = seat.ask(request_, {} if request_ == "induce" else {"mask": drawn}, **payload)
    seat.wait(job)
    assert job.state == "failed"
    assert job.error.className == error
    assert job.error.what
    assert job.error.action


def test_a_mask_of_another_shape_is_refused(seat, drawn):
    job = seat.ask("heal", {"mask": drawn[:-1]})
    seat.wait(job)
    assert job.error.className == "MaskGeometryError"


def test_an_estimate_comes_while_a_heal_runs(seat, drawn, client):
    job = seat.ask("heal", {"mask": drawn}, settings={"steps": None})
    seat.wait(job, lambda: any(at[1] == "heal" for at in seat.progress))
    told = []
    asked = client.submit("estimate", {"settings": {"device": "cpu"}, "slices": 10}, onResult=told.append)
    seat.wait(asked)
    assert job.isOpen
    job.cancel()
    seat.wait(job)
    assert set(told[0].data) == {"memory_bytes", "device", "batch", "seconds", "warning"}


def test_released_memory_is_loaded_again(seat, drawn, client):
    client.submit("release")
    client.waitForIdle(30)
    assert seat.do("heal", {"mask": drawn}, settings={"slices": [7, 8], "steps": 1})


def test_it_has_no_socket_open(client):
    process = psutil.Process(client.processId)
    sockets = process.net_connections if hasattr(process, "net_connections") else process.connections
    assert sockets(kind="inet") == []


@pytest.mark.skipif(os.name == "nt", reason="priorities are numbers on POSIX")
def test_it_is_nicer_than_the_viewer(client):
    assert psutil.Process(client.processId).nice() > psutil.Process().nice()


def test_between_jobs_only_the_private_folder_stays(client, files):
    client.waitForIdle(10)
    assert [path for path in files.rglob("*") if path.is_file()] == []


def test_killed_in_a_heal_it_says_so_and_comes_back(seat, drawn, client):
    job = seat.ask("heal", {"mask": drawn}, settings={"steps": None})
    seat.wait(job, lambda: any(at[1] == "heal" for at in seat.progress))
    os.kill(client.processId, signal.SIGTERM if os.name == "nt" else signal.SIGKILL)
    seat.wait(job)
    assert job.error.className == "WorkerDiedError"
    began = time.monotonic()
    assert seat.do("heal", {"mask": drawn}, settings={"slices": [7, 8], "steps": 1})
    print(f"\nstarted again and healed in {time.monotonic() - began:.2f} s")


# --- the process itself ---


def worker(environment, folder):
    return subprocess.Popen(
        [sys.executable, "-m", "braindiffusion.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        cwd=folder,
    )


def test_garbage_is_answered_and_hello_still_works(environment, tmp_path):
    process = worker(environment, tmp_path)
    garbage = [b"garbage", b"\x00\xff", b"[]", b'{"id": 5}', b"[" * 50_000, b"x" * 3_000_000, b'{"id":1,"request":"x"}']
    out, _ = process.communicate(b"\n".join(garbage) + b'\n{"id": 9, "request": "quit"}\n', timeout=60)
    events = [json.loads(line) for line in out.splitlines()]
    assert process.returncode == 0
    assert [event["event"] for event in events] == ["error"] * len(garbage)
    assert {event["error"]["class"] for event in events} == {"ProtocolError"}
    assert [event["id"] for event in events] == [None] * 3 + [5, None, None, 1]


def test_it_ends_with_its_parent_even_in_a_job(environment, tmp_path, sample, drawn):
    np.save(tmp_path / "voxels.npy", sample.voxels)
    np.save(tmp_path / "mask.npy", drawn)
    process = worker(environment, tmp_path)
    scan = {"voxels": str(tmp_path / "voxels.npy"), "affine": sample.affine.tolist(), "modality": "FLAIR"}
    ask = {"id": 1, "request": "heal", "scan": scan, "mask": str(tmp_path / "mask.npy"), "folder": str(tmp_path)}
    process.stdin.write(json.dumps({**ask, "settings": {"device": "cpu", "steps": None}}).encode() + b"\n")
    process.stdin.flush()
    while json.loads(process.stdout.readline())["event"] != "progress":
        pass
    process.stdin.close()
    began = time.monotonic()
    assert process.wait(10) == 0
    assert time.monotonic() - began < 3.0
    process.stdout.close()
    process.stderr.close()


def test_what_a_client_that_died_has_left_goes_with_it(environment, tmp_path):
    private = tmp_path / "private"
    private.mkdir()
    (private / "voxels.npy").write_bytes(b"somebody's scan")
    process = worker({**environment, "BRAINDIFFUSION_CLIENT_FOLDER": str(private)}, tmp_path)
    process.communicate(b"", timeout=60)
    assert process.returncode == 0
    assert not private.exists()


def test_nothing_but_events_reaches_stdout(environment, tmp_path):
    program = (
        "import os, sys\n"
        "from braindiffusion.worker.__main__ import claim_stdout\n"
        "events = claim_stdout()\n"
        "print('printed'); sys.stdout.flush(); os.write(1, b'below python')\n"
        "os.system('echo by a child')\n"
        "events.write(b'event'); events.flush()\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, env=environment, cwd=tmp_path, timeout=60
    )
    assert run.stdout == b"event"
    assert {b"printed", b"below python"} <= set(run.stderr.replace(b"by a child", b"\n").split(b"\n"))


def test_both_sides_speak_one_protocol():
    assert worker_protocol == client_protocol
