"""From the computer's memory to a device."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def send(values: Tensor | np.ndarray, device: torch.device) -> Tensor:
    """A copy on a device. A GPU takes it from pinned memory, behind the work it has, and nobody waits for it."""
    tensor = torch.from_numpy(values) if isinstance(values, np.ndarray) else values
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
