"""What a user waits for: the command line's help, the worker's start, the first preview, a heal, a second heal."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from braindiffusion.cards import resource
from braindiffusion.io.read import read_mask, read_scan
from braindiffusion.volume.scan import Scan

PATIENCE_SECONDS = 600


class _Worker:
    """A worker process, as a viewer starts it: JSON lines out and in (docs/worker.md)."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "braindiffusion.worker"]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)
        self._events: queue.Queue[dict[str, Any]] = queue.Queue()
        self._asked = 0
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self._events.put(json.loads(line))

    def ask(self, request: str, **fields: Any) -> tuple[float, float | None, dict[str, Any]]:
        """Seconds to the result and to the first preview, and the result.

        Raises:
            RuntimeError: the worker answers with an error, or not at all.
        """
        assert self._process.stdin
        self._asked += 1
        line = json.dumps({"id": self._asked, "request": request, **fields})
        started, preview = time.perf_counter(), None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()
        while True:
            try:
                event = self._events.get(timeout=PATIENCE_SECONDS)
            except queue.Empty:
                raise RuntimeError(f"The worker has not answered {request} in {PATIENCE_SECONDS} s.") from None
            now = time.perf_counter() - started
            if event["event"] == "preview" and preview is None:
                preview = now
            elif event["event"] == "result":
                return now, preview, event
            elif event["event"] in ("error", "cancelled"):
                raise RuntimeError(f"The worker's answer to {request}: {event}")

    def end(self) -> None:
        """Let it go."""
        assert self._process.stdin
        with suppress(OSError):
            self._process.stdin.close()  # it ends when its input does
        self._process.wait(timeout=30)


def _seconds_of(*command: str, repeats: int = 3) -> float:
    """The least wall time of a command."""
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        subprocess.run([sys.executable, *command], capture_output=True, check=True)
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def latency(settings: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """One row a wait, on the shipped sample scan: ``what``, ``seconds``, ``note``.

    Args:
        settings: of the heals.
    """
    rows: list[dict[str, Any]] = []

    def row(what: str, seconds: float | None, note: str = "") -> None:
        rows.append({"what": what, "seconds": seconds, "note": note})

    row("`braindiffusion --help`", _seconds_of("-m", "braindiffusion", "--help"), "a new process, best of 3")
    path = resource("Samples", "SYNTHETIC_FLAIR_lesion.nii.gz")
    started = time.perf_counter()
    scan = read_scan(path)
    row("read the sample scan", time.perf_counter() - started, " x ".join(str(n) for n in scan.voxels.shape))
    truth = read_mask(resource("Samples", "SYNTHETIC_FLAIR_lesion_truth.nii.gz"), scan)
    began = time.perf_counter()
    worker = _Worker()
    try:
        worker.ask("hello")
        row("worker: start to `hello`", time.perf_counter() - began, "a new process")
        with tempfile.TemporaryDirectory() as folder:
            for what, seconds, note in _heals(worker, Path(folder), scan, truth, settings or {}):
                row(what, seconds, note)
    finally:
        worker.end()
    return rows


def _heals(
    worker: _Worker, folder: Path, scan: Scan, truth: np.ndarray, settings: dict[str, Any]
) -> list[tuple[str, float | None, str]]:
    """The heals of one slice, one after another, in one worker."""
    s = int(truth.sum((0, 1)).argmax())

    def saved(name: str, voxels: np.ndarray) -> str:
        np.save(folder / f"{name}.npy", voxels)
        return str(folder / f"{name}.npy")

    one = np.zeros_like(truth)
    one[:, :, s] = truth[:, :, s]
    wider = one.copy()
    wider[1:, :, s] |= one[:-1, :, s]
    given = {"voxels": saved("scan", scan.voxels), "affine": scan.affine.tolist(), "modality": "FLAIR", "key": "bench"}
    common = {"scan": given, "folder": str(folder), "view_slice": s, "settings": settings}
    masks = {name: saved(name, mask.astype(np.uint8)) for name, mask in (("one", one), ("wider", wider))}
    out: list[tuple[str, float | None, str]] = []
    first = worker.ask("heal", mask=masks["one"], **common)
    out.append(("worker: first heal of one slice, right after `hello`", first[0], "loads models, finds the brain"))
    given["key"] = "bench again"  # the worker is warm, the scan is new
    out.append(("worker: `prepare` a new scan", worker.ask("prepare", scan=given, settings=settings)[0], "the brain"))
    given["key"] = "bench once more"
    fresh = worker.ask("heal", mask=masks["one"], **common)
    out.append(("worker: one slice of a new scan", fresh[0], "finds the brain"))
    out.append(("... its first preview", fresh[1], ""))
    other = worker.ask("heal", mask=masks["one"], **{**common, "settings": {**settings, "steps": 11}})
    out.append(("worker: one slice of a known scan", other[0], "the way up and down"))
    out.append(("... its first preview", other[1], "a coarse look"))
    again = worker.ask("heal", mask=masks["wider"], **common)
    out.append(("worker: the same slice, mask changed", again[0], "the way down"))
    out.append(("... its first preview", again[1], ""))
    found = worker.ask("heal", **{**common, "settings": {**settings, "gate": 0.0, "slices": [s, s + 1]}})
    out.append(("worker: one slice, its lesion sought", found[0], "ACAT"))
    out.append(("... its first preview", found[1], "from the plain gradient"))
    return out
