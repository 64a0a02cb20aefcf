"""Devices, and batches that fit the memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from braindiffusion.errors import DeviceError, MemoryExhaustedError
from braindiffusion.models import device as device_module
from braindiffusion.models.device import (
    CPU_BATCH,
    GPU_BATCH,
    batch_for,
    choose_device,
    in_batches,
    out_of_memory,
    precision_for,
)


class Machine:
    """Runs at most ``room`` rows at once; remembers what it ran."""

    def __init__(self, room: int, error: BaseException | None = None) -> None:
        self.room, self.error = room, error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        self.tried: list[int] = []
        self.ran: list[tuple[list[int], int]] = []

    def __call__(self, rows: np.ndarray, finished: int) -> None:
        self.tried.append(len(rows))
        if len(rows) > self.room:
            raise self.error
        self.ran.append((rows.tolist(), finished))


ROWS = np.array([3, 5, 7, 8, 9, 11, 20])


def test_rows_are_run_in_order_in_batches() -> None:
    machine = Machine(100)
    assert in_batches(ROWS, 3, machine) == 3
    assert machine.ran == [([3, 5, 7], 0), ([8, 9, 11], 3), ([20], 6)]


def test_the_batch_is_halved_until_it_fits() -> None:
    machine = Machine(2)
    assert in_batches(ROWS, 7, machine) == 1
    assert machine.tried[:3] == [7, 3, 1]


def test_the_smaller_batch_is_kept() -> None:
    machine = Machine(2)
    assert in_batches(ROWS, 4, machine) == 2
    assert machine.tried == [4, 2, 2, 2, 1]


def test_no_row_is_lost_or_run_twice_when_memory_runs_out() -> None:
    machine = Machine(2)
    in_batches(ROWS, 5, machine)
    assert [r for rows, _ in machine.ran for r in rows] == ROWS.tolist()
    assert [done for _, done in machine.ran] == np.cumsum([0, *[len(rows) for rows, _ in machine.ran[:-1]]]).tolist()


def test_memory_that_holds_not_even_one_row_is_an_error() -> None:
    machine = Machine(0)
    with pytest.raises(MemoryExhaustedError, match="out of memory"):
        in_batches(ROWS, 8, machine)
    assert machine.tried == [7, 4, 2, 1]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried"),
    ],
)
def test_memory_running_out_is_recognised_on_any_device(error: BaseException) -> None:
    assert out_of_memory(error)
    assert in_batches(ROWS, 4, Machine(3, error)) == 2


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("")])
def test_memory_running_out_without_a_word_is_an_error_all_the_same(error: BaseException) -> None:
    with pytest.raises(MemoryExhaustedError):
        in_batches(ROWS, 1, Machine(0, error))


@pytest.mark.parametrize(
    "error", [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ValueError("no"), OSError()]
)
def test_any_other_error_is_passed_on(error: Exception) -> None:
    machine = Machine(0, error)
    with pytest.raises(type(error)) as caught:
        in_batches(ROWS, 4, machine)
    assert caught.value is error
    assert machine.tried == [4]


def test_no_rows_run_nothing() -> None:
    machine = Machine(0)
    in_batches(np.array([], int), 4, machine)
    assert machine.tried == []


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:7"])
def test_a_gpu_that_is_not_there_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match=name):
        choose_device(name)


def test_a_gpu_beyond_the_last_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(DeviceError):
        choose_device("cuda:2")


@pytest.mark.parametrize("name", ["gpu", "mps", "meta", "", "cuda:x", "tpu:0"])
def test_a_device_of_another_kind_is_refused(name: str) -> None:
    with pytest.raises(DeviceError):
        choose_device(name)


@pytest.mark.parametrize(("there", "chosen"), [(True, "cuda"), (False, "cpu")])
def test_auto_takes_the_gpu_where_there_is_one(there: bool, chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert choose_device("auto") == torch.device(chosen)


def test_the_cpu_is_always_there() -> None:
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize(("native", "precision"), [(True, "bf16"), (False, "fp32")])
def test_precision_follows_the_device(native: bool, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_module, "bf16_supported", lambda device: native)
    assert precision_for("auto", torch.device("cpu")) == precision


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_a_precision_asked_for_is_taken(precision: str) -> None:
    assert precision_for(precision, torch.device("cpu")) == precision


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_batch_that_was_asked_for_is_taken(device: str) -> None:
    assert batch_for(3, torch.device(device), 100, 10**12) == 3


def test_on_a_cpu_the_batch_does_not_follow_the_memory() -> None:
    assert batch_for(None, torch.device("cpu"), 112 * 96, 10**12) == CPU_BATCH


@pytest.mark.parametrize(("free", "batch"), [(None, CPU_BATCH), (10**8, 1), (80 * 10**9, GPU_BATCH)])
def test_on_a_gpu_the_batch_follows_the_free_memory(free: int | None, batch: int) -> None:
    assert batch_for(None, torch.device("cuda"), 112 * 96, free) == batch


def test_on_a_gpu_twice_the_pixels_halve_the_batch() -> None:
    small, large = (batch_for(None, torch.device("cuda"), pixels, 3 * 10**9) for pixels in (10_000, 20_000))
    assert 1 < large == small // 2
