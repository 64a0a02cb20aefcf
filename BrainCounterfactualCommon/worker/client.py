"""The worker seen from the application: start it, ask it, listen to it, end it.

The worker is one child process (``python -m braindiffusion.worker``, see docs/worker.md). It holds the networks and
does the arithmetic; its death never takes the application along. Needs the standard library and numpy only.
"""

import contextlib
import itertools
import os
import shutil
import sys
import tempfile
import time
import weakref
from collections import deque
from pathlib import Path
from queue import Empty, Queue

import numpy as np

from BrainCounterfactualCommon.worker.error import WorkerError, asError, died
from BrainCounterfactualCommon.worker.process import WorkerProcess
from BrainCounterfactualCommon.worker.silence import SILENT_SECONDS, START_SECONDS, Silence

PROTOCOL = 1
CANCEL_SECONDS = 3.0
"""A cancel that takes longer ends the worker."""
RESTARTS, RESTART_SECONDS = 3, 60.0
"""No more than this many restarts in that time: a worker that keeps dying is not helped by another start."""
IMMEDIATE = frozenset({"hello", "estimate", "notes"})
"""Requests the worker answers while a job runs; all others wait for their turn."""
REPAIR = "Check the installation: Repair in the module's dependencies, or reinstall braindiffusion."


class Result:
    """``arrays``: name -> numpy array, (I,J,K); ``data``: all else the worker told (slices, provenance ...)."""

    def __init__(self, arrays, data):
        self.arrays, self.data = arrays, data


class Job:
    """One request. ``state`` is queued, running, done, cancelled or failed; then ``result`` or ``error`` is set."""

    def __init__(self, client, number, request, payload, callbacks):
        self.id, self.request, self.state = number, request, "queued"
        self.result = self.error = self.folder = self.cancelDeadline = None
        self._client, self._payload, self._callbacks = weakref.ref(client), payload, callbacks

    @property
    def isOpen(self):
        return self.state in ("queued", "running")

    def cancel(self):
        """Ask the job to stop; ``onCancelled`` follows from a later poll. Harmless when it has ended."""
        client = self._client()
        if client is not None and self.isOpen:
            client._cancel(self)

    def _tell(self, name, *arguments):
        callback = self._callbacks.get(name)
        if callback is not None:
            callback(*arguments)


class WorkerClient:
    """Owner of one worker process. All methods, and all callbacks (from ``poll``), belong to the main thread.

    Args:
        pythonExecutable: of the environment that has torch; this one by default.
        extraPaths: put before PYTHONPATH, where ``braindiffusion`` is not installed.
        environment: of the child; this process' own by default.
        tempRoot: where the private folder for arrays is made.
        onLog: gets each line the worker writes on stderr.
        version: braindiffusion version that is expected, or ``None`` for any.
    """

    def __init__(
        self, pythonExecutable=None, extraPaths=(), environment=None, tempRoot=None, onLog=None, *, version=None
    ):
        self._command = [str(pythonExecutable or sys.executable), "-m", "braindiffusion.worker"]
        self._environment = dict(os.environ if environment is None else environment)
        paths = [*map(os.path.abspath, extraPaths), self._environment.get("PYTHONPATH", "")]
        self._environment["PYTHONPATH"] = os.pathsep.join(p for p in paths if p)
        self._tempRoot, self._onLog, self._version = tempRoot, onLog, version
        self.info = None  # the worker's answer to hello: versions, devices, models
        self._events = Queue()
        self._waiting, self._sent = deque(), {}
        self._starts = deque()
        self._numbers = itertools.count(1)
        self._silence = Silence()
        # held apart from self, so that the interpreter's exit can clean up without keeping this object alive
        self._held = {"process": None, "folder": None}
        self._finalizer = weakref.finalize(self, _cleanUp, self._held)

    # --- process ---------------------------------------------------------------------------------------------

    @property
    def processId(self):
        """Of the running worker, or ``None``."""
        return self._held["process"].pid if self.isRunning() else None

    @property
    def busy(self):
        """Whether a job is queued or running."""
        return bool(self._waiting or self._sent)

    def isRunning(self):
        return self._held["process"] is not None and self._held["process"].isRunning()

    def start(self):
        """Start the worker unless it runs. Its networks load in the background, so that the first job is quick.

        Raises:
            WorkerError: it cannot be started, or ended too often.
        """
        if self.isRunning():
            return
        now = time.monotonic()
        while self._starts and now - self._starts[0] > RESTART_SECONDS:
            self._starts.popleft()
        if len(self._starts) > RESTARTS:
            raise WorkerError(
                "WorkerDiedError", "The worker keeps ending.", f"It ended {RESTARTS + 1} times within a minute.", REPAIR
            )
        self._starts.append(now)
        self._dropProcess()
        try:
            process = WorkerProcess(self._command, self._environment, self._folder(), self._events)
        except OSError as error:
            raise WorkerError("WorkerDiedError", "The worker cannot be started.", str(error), REPAIR) from error
        self._held["process"], self.info = process, None
        self._silence.broken()
        process.send({"id": 0, "request": "hello"})

    def stop(self, timeoutSeconds=2.0):
        """End the worker, by force if it does not go, and remove all files. Open jobs end cancelled, without a call."""
        for job in [*self._waiting, *self._sent.values()]:
            job.state = "cancelled"
        self._waiting.clear()
        self._sent.clear()
        process = self._held["process"]
        if process is not None:
            process.send({"id": next(self._numbers), "request": "quit"})
            process.wait(timeoutSeconds)
        self._dropProcess()
        self._removeFolder()

    def _dropProcess(self):
        process, self._held["process"], self.info = self._held["process"], None, None
        if process is not None:
            process.kill()

    def _folder(self):
        """Ours alone; also where the worker runs, so that it imports nothing from wherever the application stands."""
        if self._held["folder"] is None:
            self._held["folder"] = Path(tempfile.mkdtemp(prefix="BrainCounterfactual-", dir=self._tempRoot))
        return self._held["folder"]

    def _removeFolder(self):
        folder, self._held["folder"] = self._held["folder"], None
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    # --- requests --------------------------------------------------------------------------------------------

    def hello(self, onResult=None, onError=None):
        """Versions, devices and models of the worker, as ``Result.data``."""
        return self.submit("hello", {}, {}, onResult=onResult, onError=onError)

    def submit(
        self, request, payload=None, arrays=None, *, onProgress=None, onPreview=None, onResult=None,
        onError=None, onCancelled=None,
    ):  # fmt: skip
        """Ask for work; returns at once. A job asked for while another runs waits for its turn.

        Args:
            request: heal, saliency, induce, estimate, notes, release, hello.
            payload: the request's fields (``scan``, ``settings``, ...), without paths.
            arrays: (I,J,K) arrays by field: ``voxels`` (becomes ``scan.voxels``), ``mask``, ``brain`` ... A transposed
                view of Slicer's KJI array is written without a copy.
            onProgress: ``(stage, done, total, secondsLeft or None)``.
            onPreview: ``(axis, index, plane)``, the plane ``voxels.take(index, axis)`` as it stands.
            onResult: ``(Result)``; onError: ``(WorkerError)``; onCancelled: ``()``.
        """
        callbacks = {"progress": onProgress, "preview": onPreview, "result": onResult, "error": onError}
        job = Job(self, next(self._numbers), request, dict(payload or {}), {**callbacks, "cancelled": onCancelled})
        self._waiting.append(job)
        try:
            self._write(job, arrays or {})
            self._pump()
        except WorkerError as error:
            self._settle(job, {"event": "error", "error": error})
        except OSError as error:
            what, action = "The scan could not be handed to the worker.", "Free some space on the disk."
            self._settle(job, {"event": "error", "error": WorkerError("OutputError", what, str(error), action)})
        return job

    def _settle(self, job, event):
        """End a job that was never sent; told, like all else, by the next poll."""
        if job in self._waiting:
            self._waiting.remove(job)
        self._sent[job.id] = job
        job.state = "running"
        self._events.put((None, {**event, "id": job.id}))

    def _write(self, job, arrays):
        if job.request in IMMEDIATE and not arrays:
            return
        job.folder = self._folder() / str(job.id)
        job.folder.mkdir()
        job._payload["folder"] = str(job.folder)
        for name, values in arrays.items():
            path = job.folder / f"in-{name}.npy"
            np.save(path, values, allow_pickle=False)
            if name == "voxels":
                job._payload["scan"] = {**job._payload.get("scan", {}), "voxels": str(path)}
            else:
                job._payload[name] = str(path)

    def _pump(self):
        """Send what may be sent: the immediate ones at once, the others one at a time."""
        if not self._waiting:
            return
        self.start()
        if self.info is None:  # the handshake is still under way
            return
        taken = any(job.request not in IMMEDIATE for job in self._sent.values())
        for job in list(self._waiting):
            if job.request not in IMMEDIATE:
                if taken:
                    continue
                taken = True
            self._waiting.remove(job)
            self._sent[job.id] = job
            job.state = "running"
            self._held["process"].send({**job._payload, "id": job.id, "request": job.request})

    def _cancel(self, job):
        if job.cancelDeadline is not None:
            return
        job.cancelDeadline = time.monotonic() + CANCEL_SECONDS
        if job.state == "queued":
            self._settle(job, {"event": "cancelled"})
        else:
            self._held["process"].send({"id": next(self._numbers), "request": "cancel", "target": job.id})

    # --- events ----------------------------------------------------------------------------------------------

    def poll(self):
        """Hand the events that have arrived to their callbacks; returns how many. Main thread only."""
        count = 0
        for _ in range(self._events.qsize()):
            try:
                source, event = self._events.get_nowait()
            except Empty:
                break
            if source is not None and source is not self._held["process"]:
                continue  # the last words of a worker that was replaced
            count += 1
            self._silence.broken()
            self._dispatch(event)
        now = time.monotonic()
        self._listen()
        if any(job.cancelDeadline is not None and now > job.cancelDeadline for job in self._sent.values()):
            self._dropProcess()
            self._starts.clear()  # we ended it: that is no sign of a broken installation
            self._endSent(died("It did not stop when asked to, so it was ended.", []))
        return count

    def _listen(self):
        """Ask a silent worker whether it is there, and end one that does not answer."""
        process = self._held["process"]
        if process is None or not (self._sent or self.info is None):
            self._silence.broken()
        limit = SILENT_SECONDS if self.info else START_SECONDS
        due = self._silence.tick(limit)
        if due == "ask":
            process.send({"id": next(self._numbers), "request": "hello"})
        elif due == "over":
            self._dropProcess()
            self._endSent(died("It did not answer for {:.0f} s, so it was ended.".format(limit), []))

    def _endSent(self, error):
        """End what was sent to a worker that is gone, and go on with what waits."""
        if not self._sent:  # it never came to its first word
            self._failAll(error)
        for job in list(self._sent.values()):
            if job.cancelDeadline is not None:
                self._finish(job, "cancelled")
            else:
                self._finish(job, "failed", error)
        self._advance()

    def waitForIdle(self, timeoutSeconds=60.0):
        """Poll until no job is open; for scripts and tests. Raises TimeoutError."""
        deadline = time.monotonic() + timeoutSeconds
        while self.busy:
            if not self.poll():
                time.sleep(0.005)
            if time.monotonic() > deadline:
                raise TimeoutError(f"The worker was still busy after {timeoutSeconds:g} s.")

    def _dispatch(self, event):
        kind, job = event["event"], self._job(event.get("id"))
        if kind == "log":
            if self._onLog is not None:
                self._onLog(event["line"])
        elif kind == "died":
            self._onDeath(event)
        elif event.get("id") == 0:
            self._onHandshake(event)
        elif job is None:
            pass  # about a job that has ended
        elif kind == "progress":
            job._tell("progress", event["stage"], event["done"], event["total"], event.get("seconds_left"))
        elif kind == "preview":
            if job.cancelDeadline is None:
                job._tell("preview", event["axis"], event["index"], event["array"])
        elif kind == "cancelled" or (kind == "result" and job.cancelDeadline is not None):
            self._finish(job, "cancelled")
            self._advance()
        elif kind == "result":
            data = {k: v for k, v in event.items() if k not in ("event", "id", "arrays")}
            job.result = Result(event.get("arrays", {}), data)
            self._finish(job, "done")
            self._advance()
        elif kind == "error":
            error = asError(event["error"])
            self._finish(job, "failed", error)
            if error.className == "DeviceLostError":  # that process cannot use the GPU any more; the next one can
                self._dropProcess()
                self._endSent(error)
            else:
                self._advance()

    def _job(self, number):
        return self._sent.get(number) or next((job for job in self._waiting if job.id == number), None)

    def _finish(self, job, state, error=None):
        """The end of a job: forgotten here, its files removed, and only then told."""
        self._sent.pop(job.id, None)
        if job in self._waiting:
            self._waiting.remove(job)
        if job.folder is not None:
            shutil.rmtree(job.folder, ignore_errors=True)
        job.state, job.error = state, error
        if state == "done":
            job._tell("result", job.result)
        elif state == "cancelled":
            job._tell("cancelled")
        else:
            job._tell("error", error)

    def _advance(self):
        try:
            self._pump()
        except WorkerError as error:
            self._failAll(error)

    def _failAll(self, error):
        for job in [*self._sent.values(), *self._waiting]:
            self._finish(job, "cancelled" if job.cancelDeadline is not None else "failed", error)

    def _onHandshake(self, event):
        spoken, version = event.get("protocol"), event.get("version")
        if event["event"] == "error":
            self._dropProcess()
            self._failAll(asError(event["error"]))
        elif event["event"] == "result" and (spoken != PROTOCOL or self._version not in (None, version)):
            expected = f"protocol {PROTOCOL}" + (f", version {self._version}" if self._version else "")
            cause = f"It speaks protocol {spoken}, version {version}; expected: {expected}."
            self._dropProcess()
            self._failAll(
                WorkerError(
                    "WorkerVersionError", "The worker and this module are of different versions.", cause, REPAIR
                )
            )
        elif event["event"] == "result":
            self.info = {k: v for k, v in event.items() if k not in ("event", "id")}
            self._advance()

    def _onDeath(self, event):
        self._dropProcess()
        code = event["code"]
        how = f"It was ended by signal {-code}." if code is not None and code < 0 else f"Its exit code was {code}."
        self._failAll(died(how, event["lines"]))


def _cleanUp(held):
    with contextlib.suppress(Exception):  # at exit nothing can be done about it any more
        if held["process"] is not None:
            held["process"].kill()
    if held["folder"] is not None:
        shutil.rmtree(held["folder"], ignore_errors=True)
