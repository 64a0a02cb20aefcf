"""Many independent tasks over a Dask scheduler: each alone in a worker process, tried again when its worker dies."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from braindiffusion import __version__
from braindiffusion.errors import ClusterError, DependencyMissingError

INSTALL = 'pip install "slicer-brain-counterfactual[cohort]"'
PATIENCE_SECONDS = 30
OUR_CONFIG: dict[str, Any] = {
    "distributed.scheduler.allowed-failures": 0,  # the attempts are counted here
    "distributed.scheduler.http.routes": [],  # no pages that tell of the work
    "distributed.worker.http.routes": [],
}

Task = TypeVar("Task")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Ended(Generic[Task, Answer]):
    """One task that has ended.

    Attributes:
        answer: what the function returned, or ``None``.
        error: what ended every attempt, or ``None``.
        attempts: how often it was begun.
    """

    task: Task
    answer: Answer | None
    error: BaseException | None
    attempts: int


def require_dask() -> None:
    """Pass where Dask's distributed scheduler is installed.

    Raises:
        DependencyMissingError: otherwise, with the pip command.
    """
    from importlib.util import find_spec

    for package in ("distributed", "cryptography"):
        if find_spec(package) is None:
            raise DependencyMissingError("Cohorts need Dask.", f"The package {package} is missing.", f"Run: {INSTALL}")


def _probe() -> str:
    return __version__


@contextmanager
def cluster(scheduler: str | None, workers: int) -> Iterator[Any]:
    """A Dask client: of the scheduler at an address, or of worker processes of our own.

    Our own listen on 127.0.0.1 only, speak TLS with a key that lives as long as they do, and end with the block.

    Args:
        scheduler: such as ``tcp://host:8786``; ``None`` starts ``workers`` processes here.

    Raises:
        DependencyMissingError: Dask is not installed.
        ClusterError: no scheduler answers, it has no workers, or one cannot run this version of the program.
    """
    require_dask()
    import dask
    from distributed import Client, LocalCluster

    if scheduler is None:
        with (
            dask.config.set(OUR_CONFIG),
            LocalCluster(
                n_workers=workers, threads_per_worker=1, processes=True, host="127.0.0.1", security=True,
                silence_logs=logging.CRITICAL,
                scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
            ) as local,
            Client(local) as client,
        ):  # fmt: skip
            yield client
        return
    try:
        client = Client(scheduler, timeout=PATIENCE_SECONDS)
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"No Dask scheduler answers at {scheduler}.", str(error), "Check the address, or leave --scheduler out."
        ) from error
    with client:
        _check_workers(client, scheduler)
        yield client


def _check_workers(client: Any, scheduler: str) -> None:
    """Raises ClusterError unless every worker of a scheduler runs this version."""
    try:
        client.wait_for_workers(1, timeout=PATIENCE_SECONDS)
    except TimeoutError as error:
        raise ClusterError(
            f"The scheduler at {scheduler} has no workers.",
            "None has joined it.",
            f"Start some: dask worker {scheduler}",
        ) from error
    answers = client.run(_probe, on_error="return")
    for worker, answer in answers.items():
        if answer != __version__:
            raise ClusterError(
                f"The worker {worker} cannot run this program.",
                f"It says {answer!r}; this is version {__version__}.",
                "Install the same version of slicer-brain-counterfactual on every worker.",
            )


def spread(
    client: Any,
    function: Callable[[Task], Answer],
    tasks: Sequence[Task],
    *,
    retries: int = 1,
    again: Callable[[Answer], bool] = lambda answer: False,
) -> Iterator[Ended[Task, Answer]]:
    """Run ``function`` on every task, one at a time on each worker; yield each as it ends, in no order.

    A worker that dies takes down the one task it was at, and no other.

    Args:
        function: importable on the workers.
        retries: further attempts of a task whose worker died, that raised, or whose answer is to be had ``again``.
    """
    from distributed import wait

    waiting = deque((task, 1) for task in tasks)
    running: dict[Any, tuple[Task, int]] = {}
    try:
        while waiting or running:
            # more than one task on a worker would share its fate
            while waiting and len(running) < max(1, len(client.nthreads())):
                task, attempt = waiting.popleft()
                running[client.submit(function, task, pure=False, retries=0)] = task, attempt
            for future in wait(list(running), return_when="FIRST_COMPLETED").done:
                task, attempt = running.pop(future)
                error = None if future.status == "finished" else _error_of(future)
                answer = future.result() if error is None else None
                if attempt <= retries and (error is not None or again(answer)):  # type: ignore[arg-type]
                    waiting.append((task, attempt + 1))
                else:
                    yield Ended(task, answer, error, attempt)
    finally:
        for future in running:
            future.cancel()


def _error_of(future: Any) -> BaseException:
    """What ended a task; the death of its worker as a sentence."""
    from distributed import KilledWorker

    error = future.exception()
    if isinstance(error, KilledWorker):
        return ClusterError(
            "The worker process died.", "It crashed, or the system ended it for want of memory.", "Use fewer --workers."
        )
    return error if isinstance(error, BaseException) else ClusterError("The task was lost.", str(future.status))
