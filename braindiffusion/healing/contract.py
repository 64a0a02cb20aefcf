"""The contract of a healer: ``(x0, mask, model, settings, generator, schedule, on_step, **networks) -> Healed``.

``x0`` is (N,C,H,W) float32 in [0,1], ``mask`` (N,C,H,W) or (N,1,H,W) bool, ``model`` a noise predictor, ``generator``
the only source of randomness. ``on_step`` is called with a :class:`~braindiffusion.events.Step` after each network
call; raising from it cancels. A healer is a pure function: it knows no scan, no file and no viewer.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Healed:
    """Result of a healer.

    Attributes:
        samples: (S,N,C,H,W) float32 counterfactuals.
        reconstruction: (N,C,H,W) what the outside branch gives everywhere (DDIM reconstruction, or the input).
        calls: network calls made.
        score: (S,N,1,H,W) in [0,1], what a method's anomaly map is multiplied by, where it has found its region itself.
    """

    samples: Tensor
    reconstruction: Tensor
    calls: int
    score: Tensor | None = None


def unchanged(x0: Tensor, samples: int) -> Healed:
    """What noise level 0 gives: the slices themselves, at no call."""
    return Healed(x0[None].expand(samples, *x0.shape).clone(), x0, 0)
