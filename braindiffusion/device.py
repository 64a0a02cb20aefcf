"""Choosing the device, and running in batches that fit its memory."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from braindiffusion.diffusion.network import bf16_supported
from braindiffusion.errors import DeviceError, MemoryExhaustedError


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


def precision_for(setting: str, device: torch.device) -> str:
    """``auto`` becomes ``bf16`` where the device has it natively, else ``fp32``."""
    return setting if setting != "auto" else ("bf16" if bf16_supported(device) else "fp32")


def out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, on any device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)


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
                    "There is not enough memory to heal even one slice.",
                    (str(error).splitlines() or ["Memory ran out."])[0],
                    "Close other programs, or use --device cpu.",
                ) from error
            batch = max(1, batch // 2)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            continue
        start += len(part)
    return batch
