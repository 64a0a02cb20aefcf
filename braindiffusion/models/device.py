"""Choosing the device, and running in batches that fit its memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import torch

from braindiffusion.errors import BrainDiffusionError, DeviceError, DeviceLostError, MemoryExhaustedError
from braindiffusion.networks.build import bf16_supported

HEAL_BYTES = 2_000
"""Peak memory a pixel of the model grid for a slice in a batch: twice what fp32 takes on a CPU (940)."""
FIXED_BYTES = 400_000_000
"""Weights of all networks, and the workspace of the libraries."""
SHARE = 0.85
"""Of the free memory that a run may take."""
CPU_BATCH, GPU_BATCH = 8, 256


def choose_device(name: str = "auto") -> torch.device:
    """``auto`` is the CUDA device when there is one, else the CPU.

    Raises:
        DeviceError: the device asked for is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type not in {"cpu", "cuda"}:
            raise RuntimeError("only cpu and cuda are supported")
        if device.type == "cuda" and (
            not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()
        ):
            raise RuntimeError("this torch sees no such CUDA device")
    except RuntimeError as error:
        raise DeviceError(
            f"The device '{name}' cannot be used.", str(error), "Use --device cpu, or install a CUDA build of torch."
        ) from error
    return device


def memory_of(device: torch.device) -> tuple[int | None, int | None]:
    """Bytes of memory (total, free) of a device; ``None`` where the system does not say."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(total), int(free + idle)
    with suppress(ImportError):
        import psutil

        memory = psutil.virtual_memory()
        return int(memory.total), int(memory.available)
    with suppress(AttributeError, ValueError, OSError):
        page = os.sysconf("SC_PAGE_SIZE")
        return os.sysconf("SC_PHYS_PAGES") * page, os.sysconf("SC_AVPHYS_PAGES") * page
    return None, None


def batch_for(asked: int | None, device: torch.device, pixels: int, free: int | None) -> int:
    """Slices to compute together.

    Args:
        asked: taken as it is. ``None``: 8 on a CPU, where more gain less than a tenth; on a GPU what its free memory
            holds, at most 256. Where that is too much after all, :func:`in_batches` halves it.
        pixels: of a slice.
        free: bytes of memory, see :func:`memory_of`.
    """
    if asked is not None:
        return max(1, asked)
    if device.type == "cpu" or free is None:
        return CPU_BATCH
    return int(min(GPU_BATCH, max(1, (SHARE * free - FIXED_BYTES) // (HEAL_BYTES * pixels))))


def cores() -> int:
    """CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def devices() -> list[dict[str, Any]]:
    """The devices of this machine as plain data: name, label, memory_total and memory_free in bytes; the CPU first."""
    found = [("cpu", f"CPU, {cores()} core{'s' if cores() > 1 else ''}")]
    if torch.cuda.is_available():
        found += [(f"cuda:{i}", torch.cuda.get_device_name(i)) for i in range(torch.cuda.device_count())]
    facts = []
    for name, label in found:
        total, free = memory_of(torch.device(name))
        facts.append({"name": name, "label": label, "memory_total": total, "memory_free": free})
    return facts


def precision_for(setting: str, device: torch.device) -> str:
    """``auto`` becomes ``bf16`` where the device has it natively, else ``fp32``."""
    return setting if setting != "auto" else ("bf16" if bf16_supported(device) else "fp32")


def out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, on any device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)


def device_lost(error: BaseException) -> bool:
    """Whether an error means that the GPU itself failed; what follows in this process fails too."""
    text = str(error)
    signs = ("CUDA error", "CUDA driver error", "cuDNN error", "CUBLAS_STATUS", "HIP error", "device-side assert")
    return isinstance(error, RuntimeError) and any(sign in text for sign in signs) and not out_of_memory(error)


def machine_error(error: BaseException) -> BrainDiffusionError | None:
    """What ran out or failed in the machine, in words for the user; ``None`` where the error means something else."""
    why = (str(error).splitlines() or [""])[0][:300]
    if out_of_memory(error):
        why = why or "Memory ran out."
        return MemoryExhaustedError("There is not enough memory.", why, "Close other programs, or use --device cpu.")
    if device_lost(error):
        return DeviceLostError("The GPU failed during the work.", why, "Try it again, or on the CPU: --device cpu.")
    return None


def in_batches(rows: np.ndarray, batch: int, run: Callable[[np.ndarray, int], None]) -> int:
    """Call ``run(rows of the batch, rows finished before)`` over all rows, halving the batch when memory runs out.

    Returns:
        The batch size that fitted.

    Raises:
        MemoryExhaustedError: not even one row fits.
    """
    start = 0
    while start < len(rows):
        part = rows[start : start + batch]
        try:
            run(part, start)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            if batch == 1:
                raise MemoryExhaustedError(
                    "There is not enough memory for even one slice.",
                    (str(error).splitlines() or ["Memory ran out."])[0],
                    "Close other programs, or use --device cpu.",
                ) from error
            batch = max(1, batch // 2)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            continue
        start += len(part)
    return batch
