"""One client's session: requests in, events out, one job at a time.

The main thread only reads. Jobs run on one thread that lives as long as the session (cuDNN keeps its plans by
thread); what must be answered while a job runs (hello, estimate) has a thread of its own.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from queue import Queue
from typing import Any

from braindiffusion.errors import BrainDiffusionError, BusyError, Cancelled, ProtocolError
from braindiffusion.pipeline.progress import Clock
from braindiffusion.worker.protocol import Request, Writer, malformed

PROGRESS_SECONDS, PREVIEW_SECONDS = 0.1, 0.34
"""Events of a kind are at least this far apart."""


class Lane:
    """A thread that does what it is given, in order."""

    def __init__(self, name: str) -> None:
        self._tasks: Queue[Callable[[], None]] = Queue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def __call__(self, task: Callable[[], None]) -> None:
        self._tasks.put(task)

    def _run(self) -> None:
        while True:
            self._tasks.get()()


class Job:
    """What a handler needs of its request: the fields, a way to tell, and whether to stop.

    Attributes:
        request: what was asked.
        cancelled: set from the main thread.
        begun: whether the job thread has taken it up.
    """

    def __init__(self, request: Request, write: Writer) -> None:
        self.request, self.cancelled = request, threading.Event()
        self.begun = False
        self._write, self._clock = write, Clock()
        self._told = self._shown = float("-inf")
        self._stage = ("", -1)

    def check(self) -> None:
        """Raises :class:`Cancelled` once the client has asked for it."""
        if self.cancelled.is_set():
            raise Cancelled

    def progress(self, stage: str, done: int, total: int) -> None:
        """Tell how far a stage is; a new stage, and its end, at once."""
        self.check()
        left, now = self._clock.left(stage, done, total), time.monotonic()
        news = stage != self._stage[0] or (done >= total and done != self._stage[1])
        if not news and now - self._told < PROGRESS_SECONDS:
            return
        self._stage, self._told = (stage, done), now
        facts = {"stage": stage, "done": done, "total": total}
        self._write("progress", self.request.id, **facts, seconds_left=None if left is None else round(left, 1))

    def preview_due(self) -> bool:
        """Whether the last preview is long enough ago."""
        return time.monotonic() - self._shown >= PREVIEW_SECONDS

    def preview(self, axis: int, index: int, path: str, coarse: bool = False) -> None:
        """Tell of a plane that was written."""
        self._shown = time.monotonic()
        self._write("preview", self.request.id, axis=axis, index=index, array=path, coarse=coarse)


Handler = Callable[[Job], dict[str, Any]]
"""Does a request, and returns the facts of its result; raises what went wrong."""


class Session:
    """Reads requests until the client quits or is gone.

    Args:
        write: where events go.
        jobs: handlers by name; one runs at a time, and a second is refused.
        answers: handlers of what is answered at once, job or not.
        idle: tasks for the job thread after the first answer to ``hello``; they make the first job quicker.
    """

    def __init__(
        self,
        write: Writer,
        jobs: dict[str, Handler],
        answers: dict[str, Handler],
        idle: Iterable[Callable[[], None]] = (),
    ) -> None:
        self._write, self._jobs, self._answers, self._idle = write, jobs, answers, idle
        self._work, self._desk = Lane("jobs"), Lane("answers")
        self._lock = threading.Lock()
        self._current: Job | None = None

    def run(self, requests: Iterable[Request | ProtocolError]) -> None:
        """Returns when the requests end: the client has quit, or died."""
        for request in requests:
            if isinstance(request, ProtocolError):
                self._write("error", getattr(request, "number", None), error=request.as_dict())
            elif request.name == "quit":
                return
            elif request.name == "cancel":
                self._cancel(request)
            else:
                self._take(request)

    def _cancel(self, request: Request) -> None:
        target = request.fields.get("target")
        with self._lock:
            job = self._current
            if job is None or job.request.id != target:
                return  # it has ended already, and said so
            job.cancelled.set()
            if job.begun:
                return  # it will say so itself
            self._current = None
        self._write("cancelled", job.request.id)

    def _take(self, request: Request) -> None:
        job = Job(request, self._write)
        if request.name in self._answers:
            self._desk(lambda: self._answer(job))
            return
        refusal: BrainDiffusionError | None = None
        with self._lock:
            if request.name not in self._jobs:
                refusal = malformed(f"There is no request '{request.name[:40]}'.")
            elif self._current is not None:
                what, why = "The worker is busy.", f"It is still at '{self._current.request.name}'."
                refusal = BusyError(what, why, "Wait for it, or cancel it.")
            else:
                self._current = job
        if refusal is not None:
            self._write("error", request.id, error=refusal.as_dict())
        else:
            self._work(lambda: self._do(job))

    def _answer(self, job: Job) -> None:
        event, facts = outcome(self._answers[job.request.name], job)
        self._write(event, job.request.id, **facts)
        if job.request.name == "hello":
            idle, self._idle = self._idle, ()
            for task in idle:
                self._work(lambda task=task: self._spare(task))  # type: ignore[misc]

    def _spare(self, task: Callable[[], None]) -> None:
        """Do what nobody asked for, unless somebody waits; its failure shows when somebody asks."""
        with self._lock:
            if self._current is not None:
                return
        try:
            task()
        except Exception as error:
            log(error)

    def _do(self, job: Job) -> None:
        with self._lock:
            if job.cancelled.is_set():  # before it began
                return
            job.begun = True
        event, facts = outcome(self._jobs[job.request.name], job)
        with self._lock:  # free before it is told, so that the next request is not refused
            self._current = None
        self._write(event, job.request.id, **facts)


def outcome(handler: Handler, job: Job) -> tuple[str, dict[str, Any]]:
    """The last event of a job, and its facts."""
    try:
        return "result", handler(job)
    except Cancelled:
        return "cancelled", {}
    except BrainDiffusionError as error:
        return "error", {"error": error.as_dict()}
    except (MemoryError, RuntimeError) as error:
        from braindiffusion.models.device import machine_error

        log(error)
        known = machine_error(error)
        return "error", {"error": known.as_dict() if known else fault(error)}
    except BaseException as error:
        log(error)
        return "error", {"error": fault(error)}


def log(error: BaseException) -> None:
    """Where it happened, on stderr; not what it said: a message may hold a path, and the path a patient's name."""
    print(*traceback.format_tb(error.__traceback__), type(error).__name__, sep="", file=sys.stderr, flush=True)


def fault(error: BaseException) -> dict[str, str]:
    """A defect of ours, told without its traceback (that goes to stderr)."""
    return {
        "class": "WorkerFault",
        "what": "The worker met a defect of the program.",
        "cause": f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:300]}",
        "action": "Report it with the log; other requests still work.",
    }
