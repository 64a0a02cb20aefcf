"""What a run tells while it is under way. No torch and no viewer is imported here; everybody uses the same events.

A method tells each network call as a :class:`Step` (tensors, on the network's own grid); the pipeline turns it into an
:class:`Event` for the listener of the run (progress, previews). Raising from a listener stops the run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from braindiffusion.volume.slices import SliceStack


@dataclass(frozen=True)
class Step:
    """What a sampler tells after each network call.

    Attributes:
        done, total: network calls of this batch.
        level: noise level of the state that was just denoised or reached.
        clean: (N,C,H,W) current estimate of the clean image (of the first sample).
    """

    done: int
    total: int
    level: int
    clean: Tensor


OnStep = Callable[[Step], None]


@dataclass(frozen=True)
class Plane:
    """``voxels.take(index, axis)`` of a scan, as it would be: in its shape and dtype."""

    axis: int
    index: int
    values: np.ndarray


@dataclass(frozen=True)
class Event:
    """Progress of a run: stage, work done and total (in the stage's own unit), a preview where there is one.

    Told often (at every network call, gradient step, slice): raising from the listener stops the run within moments.

    Attributes:
        stage: ``brain`` | ``saliency`` | ``displace`` | ``heal`` | ``induce`` | ``back``.
        slice_index: the previewed slice of the stack.
        preview: (H,W) current estimate of the clean slice, or ``None``; ``coarse``: a whole healing in few steps.
        plane: makes the preview as a plane of the scan itself (takes some milliseconds), or ``None``.
    """

    stage: str
    done: int
    total: int
    slice_index: int | None = None
    preview: np.ndarray | None = None
    coarse: bool = False
    plane: Callable[[], Plane] | None = None


OnEvent = Callable[[Event], None]
PREVIEW_STEPS = 5
"""Network calls from one preview to the next."""


def step_teller(
    stage: str,
    stack: SliceStack,
    window: tuple[slice, slice, slice],
    part: np.ndarray,
    shown: int,
    work: tuple[int, int],
    on_event: OnEvent | None,
    every: int | None = PREVIEW_STEPS,
) -> Callable[[Step], None]:
    """A listener to a sampler's steps that tells them as events, with a preview now and then.

    Args:
        window: the part of the grid the network works on.
        part: slices of the batch; ``shown``: which of them is previewed.
        work: slice calls made before the batch, and in all.
        every: calls from one preview to the next; ``None`` shows the last one only, after a coarse look.
    """
    s, (before, total) = int(part[shown]), work

    def on_step(step: Step) -> None:
        if on_event is None:
            return
        preview = None
        if (every and step.done % every == 0) or step.done == step.total:
            preview = stack.images[s].copy()
            preview[window[1:]] = step.clean[shown, 0].float().cpu().numpy()
        on_event(Event(stage, before + step.done * len(part), total, s, preview))

    return on_step
