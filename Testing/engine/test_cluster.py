"""Tasks over Dask workers: one that dies, raises or asks for another attempt is nobody else's trouble."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from braindiffusion.cohort import cluster as cluster_module
from braindiffusion.cohort.cluster import cluster, require_dask, spread
from braindiffusion.errors import ClusterError, DependencyMissingError

distributed = pytest.importorskip("distributed", reason="Cohorts need the extra: pip install .[cohort]")


def work(task: tuple[str, str]) -> tuple[str, int, int]:
    """What the first word says; counts its attempts in a file. Returns the second word, attempts and process."""
    what, where = task
    path = Path(where)
    attempts = len(path.read_text()) + 1 if path.exists() else 1
    path.write_text("x" * attempts)
    time.sleep(0.2)  # long enough for the others to be under way
    if what == "die" or (what == "die once" and attempts == 1):
        os._exit(9)
    if what == "raise":
        raise ValueError("no such thing")
    return path.name, attempts, os.getpid()


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with cluster(None, 2) as client:
        yield client


def test_each_task_is_answered_and_trouble_stays_with_its_own(client: Any, tmp_path: Path) -> None:
    whats = ["well", "die once", "well", "raise", "again", "well"]
    tasks = [(what, str(tmp_path / str(i))) for i, what in enumerate(whats)]
    ended = {}
    for end in spread(client, work, tasks, retries=1, again=lambda answer: answer[:2] == ("4", 1)):
        assert end.task not in ended
        ended[end.task] = end
    assert set(ended) == set(tasks)
    for i, what in enumerate(whats):
        end = ended[tasks[i]]
        assert end.attempts == (1 if what == "well" else 2), what
        assert end.attempts == len((tmp_path / str(i)).read_text())
        if what == "raise":
            assert end.answer is None
            assert isinstance(end.error, ValueError)
        else:
            assert end.error is None
            assert end.answer[0] == str(i)
    assert os.getpid() not in {end.answer[2] for end in ended.values() if end.answer}


def test_without_retries_a_task_is_tried_once(client: Any, tmp_path: Path) -> None:
    tasks = [("die", str(tmp_path / "0")), ("well", str(tmp_path / "1"))]
    ended = {end.task: end for end in spread(client, work, tasks, retries=0)}
    assert isinstance(ended[tasks[0]].error, ClusterError)
    assert ended[tasks[0]].attempts == len((tmp_path / "0").read_text()) == 1
    assert ended[tasks[1]].answer[:2] == ("1", 1)


def test_our_own_workers_are_behind_tls_on_this_machine_only(client: Any) -> None:
    assert client.scheduler.address.startswith("tls://127.0.0.1:")
    port = client.scheduler_info()["services"]["dashboard"]  # it always listens, and must have nothing to say
    for page in ("", "info/main/workers.html", "json/counts.json", "health", "metrics"):
        with pytest.raises(HTTPError, match="404"):
            urlopen(f"http://127.0.0.1:{port}/{page}", timeout=5)


@contextmanager
def theirs_at() -> Iterator[str]:
    """The address of a scheduler that is not ours, with one worker."""
    with distributed.LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        processes=False,
        protocol="tcp",
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
    ) as theirs:
        yield theirs.scheduler_address


def test_a_scheduler_that_runs_elsewhere(tmp_path: Path) -> None:
    with theirs_at() as address, cluster(address, 7) as client:
        (end,) = spread(client, work, [("well", str(tmp_path / "0"))])
        assert end.answer[:2] == ("0", 1)


def test_workers_of_another_version_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "_probe", lambda: "0.0.0")
    with (
        theirs_at() as address,
        pytest.raises(ClusterError, match="cannot run this program"),
        cluster(address, 1),
    ):
        pytest.fail("opened")


def test_a_scheduler_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "PATIENCE_SECONDS", 0.3)
    with pytest.raises(ClusterError, match="No Dask scheduler"), cluster("tcp://127.0.0.1:9", 1):
        pytest.fail("opened")


@pytest.mark.parametrize("package", ["distributed", "cryptography"])
def test_without_dask_the_pip_command_is_told(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else real(name))
    with pytest.raises(DependencyMissingError) as caught:
        require_dask()
    assert package in caught.value.why
    assert 'pip install "slicer-brain-counterfactual[cohort]"' in caught.value.action
