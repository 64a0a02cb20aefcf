"""The noise schedule, in float64 on the CPU.

Levels follow one convention everywhere: level ``-1`` is the clean image (``abar = 1``), level ``t`` in
``0..T-1`` has signal fraction ``abar[t] = prod_{s<=t} (1 - beta_s)``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

CLEAN = -1


@dataclass(frozen=True)
class Schedule:
    """Linear variance schedule of Ho et al. 2020 (T = 1000, beta 1e-4 .. 0.02).

    Attributes:
        levels: number of noise levels T.
        beta_first, beta_last: end points of the linear schedule.
        abar: (T,) float64, cumulative product of ``1 - beta``.
    """

    levels: int = 1000
    beta_first: float = 1e-4
    beta_last: float = 0.02
    abar: np.ndarray = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        betas = np.linspace(self.beta_first, self.beta_last, self.levels, dtype=np.float64)
        object.__setattr__(self, "abar", np.cumprod(1.0 - betas))

    def signal(self, level: int) -> float:
        """``abar`` at a level; 1 for the clean image.

        Raises:
            IndexError: level outside ``-1..T-1``. (A negative index would silently wrap around.)
        """
        if level == CLEAN:
            return 1.0
        if not 0 <= level < self.levels:
            raise IndexError(f"level {level} is outside -1..{self.levels - 1}")
        return float(self.abar[level])
