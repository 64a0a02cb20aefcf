"""The machine, and what a run costs on it: seconds, CPU seconds, peak memory, arithmetic."""

from __future__ import annotations

import platform
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from braindiffusion import __version__
from braindiffusion.models.device import cores, memory_of, precision_for

SAMPLE_SECONDS = 0.005
"""Between two looks at the memory in use."""


@dataclass
class Cost:
    """What a block took.

    Attributes:
        wall: seconds; cpu: seconds of all threads of this process.
        peak_bytes: memory beyond what was in use before: allocated on a GPU, else resident; ``None`` if not known.
    """

    wall: float = 0.0
    cpu: float = 0.0
    peak_bytes: int | None = None


def _resident() -> int | None:
    """Bytes of this process in memory."""
    with suppress(OSError, ValueError, AttributeError):
        import resource

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * resource.getpagesize()
    with suppress(ImportError):
        import psutil

        return int(psutil.Process().memory_info().rss)
    return None


def _give_back() -> None:
    """Return what was freed to the system, where it can be asked to (glibc): else the next peak would hide in it."""
    with suppress(OSError, AttributeError, TypeError):
        import ctypes

        ctypes.CDLL("libc.so.6").malloc_trim(0)


@contextmanager
def measured(device: torch.device) -> Iterator[Cost]:
    """Measure a block; the cost is filled in when it ends. Work of a GPU is waited for, before and after."""
    cost = Cost()
    _give_back()
    before, peak, over = _resident(), _resident(), threading.Event()

    def watch() -> None:
        nonlocal peak
        while not over.wait(SAMPLE_SECONDS):
            peak = max(peak or 0, _resident() or 0)

    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    elif before is not None:
        threading.Thread(target=watch, daemon=True).start()
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        yield cost
    finally:
        if on_gpu:
            torch.cuda.synchronize(device)
        cost.wall, cost.cpu = time.perf_counter() - wall, time.process_time() - cpu
        over.set()
        if on_gpu:
            peak = torch.cuda.max_memory_allocated(device)
        cost.peak_bytes = None if before is None or peak is None else max(0, peak - before)


def cheapest(run: Callable[[], Any], device: torch.device, repeats: int) -> tuple[Cost, Any]:
    """The least of several measurements of the same run (others use the machine too), and what the last returned."""
    costs, answer = [], None
    for _ in range(repeats):
        with measured(device) as cost:
            answer = run()
        costs.append(cost)
    peaks = [c.peak_bytes for c in costs if c.peak_bytes is not None]
    return Cost(min(c.wall for c in costs), min(c.cpu for c in costs), max(peaks, default=None)), answer


def processor() -> str:
    """The CPU's name."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def machine(device: torch.device) -> dict[str, Any]:
    """What the numbers belong to."""
    facts = {
        "version": __version__, "torch": torch.__version__, "python": platform.python_version(),
        "system": platform.system(), "processor": processor(), "cores": cores(), "threads": torch.get_num_threads(),
        "memory_bytes": memory_of(torch.device("cpu"))[0], "device": str(device),
        "precision": precision_for("auto", device),
    }  # fmt: skip
    if device.type == "cuda":
        facts |= {"gpu": torch.cuda.get_device_name(device), "gpu_memory_bytes": memory_of(device)[0]}
    return facts


def matmul_rate(device: torch.device, precision: str, side: int = 2048, repeats: int = 5) -> float:
    """FLOP/s of a large square matrix product, the best of several: what the device can do at that precision."""
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = (torch.ones((side, side), dtype=kind, device=device) for _ in range(2))
    cost, _ = cheapest(lambda: a @ b, device, repeats)
    return 2.0 * side**3 / cost.wall


def flops_of(network: torch.nn.Module, height: int, width: int, device: torch.device) -> int:
    """FLOPs of one call of an unconditional denoiser on one slice."""
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network(torch.zeros((1, 1, height, width), device=device), torch.zeros(1, dtype=torch.long, device=device))
    return int(counter.get_total_flops())
