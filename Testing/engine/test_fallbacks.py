"""What is done where the system lacks a call that Linux has: no error, and an honest answer."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from braindiffusion.bench import machine
from braindiffusion.io import write as writing
from braindiffusion.io.checks import check_size
from braindiffusion.models import device
from braindiffusion.worker.__main__ import yield_priority


def without(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """``os`` as it is on other systems."""
    for name in names:
        monkeypatch.delattr(os, name, raising=False)


def test_cores_without_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "sched_getaffinity")
    assert device.cores() == (os.cpu_count() or 1)


def test_memory_without_psutil_and_sysconf_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)  # as if it were not installed
    known = device.memory_of(torch.device("cpu"))
    assert known[0] is None or known[0] > 1 << 28
    without(monkeypatch, "sysconf")
    assert device.memory_of(torch.device("cpu")) == (None, None)
    assert device.batch_for(None, torch.device("cpu"), 100, None) == device.CPU_BATCH


def test_a_scan_is_read_where_memory_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "sysconf")
    check_size((256, 256, 180), 4, Path("scan.nii"))


def test_a_bench_without_proc_knows_its_memory_or_says_none(monkeypatch: pytest.MonkeyPatch) -> None:
    read = Path.read_text

    def no_proc(self: Path, *args: Any, **kwargs: Any) -> str:
        if self.as_posix().startswith("/proc"):
            raise FileNotFoundError(self)
        return read(self, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", no_proc)
    assert machine.processor()
    resident = machine._resident()
    assert resident is None or resident > 1 << 24
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert machine._resident() is None
    with machine.measured(torch.device("cpu")) as cost:
        np.ones(10).sum()
    assert cost.peak_bytes is None
    assert cost.wall > 0


def test_the_worker_starts_where_priority_cannot_be_lowered(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "nice")
    yield_priority()


def test_a_file_is_replaced_where_there_are_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: Any, **__: Any) -> None:
        raise OSError("no hard links here")

    monkeypatch.setattr(os, "link", no_links)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.txt").write_text("before", encoding="utf-8")
    with writing.OutputFolder(tmp_path / "out") as folder:
        folder.file("a.txt").write_text("after", encoding="utf-8")
    assert (tmp_path / "out" / "a.txt").read_text(encoding="utf-8") == "after"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.txt"]
