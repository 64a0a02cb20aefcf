"""Which values of a mask file count as mask: labels, or probabilities; anything else is refused, not guessed."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING

from braindiffusion import errors

if TYPE_CHECKING:
    import numpy as np

MOST_LABELS = 32
"""Different whole numbers that are still taken for labels."""
PROBABLE = 0.5
SHOWN = 6


def selected(
    voxels: np.ndarray, path: str | Path, labels: Collection[int] | None, note: Callable[[str], None]
) -> np.ndarray:
    """The mask in an array of values.

    - Few different whole numbers from 0 on are labels: all but 0 count, or those asked for.
    - Values within [0,1] are probabilities: from 0.5 on they count, and the user is told.
    - One value beside 0 is a mask, whatever the value.
    - Whatever else (a background of -1, a smoothed mask of 0..255) is refused with the values seen.

    NaN is background.

    Args:
        voxels: (I,J,K), or (I,J,K,L) for a file of L layers.
        labels: the values that count, or ``None``.
        note: given sentences for the user.

    Returns:
        (I,J,K) bool.

    Raises:
        MaskValueError: see above, or one of ``labels`` is not in the file.
        EmptyMaskError: nothing counts.
    """
    import numpy as np

    known = np.nan_to_num(voxels, nan=0.0) if voxels.dtype.kind == "f" else voxels
    values = np.unique(known)
    if labels is not None:
        missing = sorted(set(labels) - {float(v) for v in values})
        if missing:
            raise errors.MaskValueError(
                f"{path} holds no label {', '.join(f'{v:g}' for v in missing)}.",
                f"It holds {_listed(values)}.",
                "Give --mask-label with labels that it holds.",
            )
        return _any_layer(np.isin(known, list(labels)))
    if values[-1] == 0 and values[0] == 0:
        raise errors.EmptyMaskError(f"{path} selects nothing.", "Every voxel is 0.", "Draw the lesion, save again.")
    whole = bool((values == np.rint(values)).all())
    if values[0] >= 0 and (len(values) <= 2 and (values[0] == 0 or len(values) == 1)):
        return _any_layer(known != 0)
    if whole and values[0] >= 0 and len(values) <= MOST_LABELS:
        if len(present := values[values != 0]) > 1:
            note(f"The mask holds the labels {_listed(present)}; all are used. --mask-label chooses among them.")
        return _any_layer(known != 0)
    if not whole and values[0] >= 0 and values[-1] <= 1:
        if values[-1] < PROBABLE:
            why = f"It holds probabilities, of which the highest is {float(values[-1]):.3g}."
            raise errors.EmptyMaskError(f"{path} selects nothing.", why, "Cut it at a lower probability yourself.")
        note("The mask holds probabilities; what is 0.5 or more is used.")
        return _any_layer(known >= PROBABLE)
    raise errors.MaskValueError(
        f"{path} does not say what of it is mask.",
        f"It holds {_listed(values)}: neither labels from 0 on nor probabilities within 0 and 1.",
        "Save it as labels with a background of 0, or give the values that count with --mask-label.",
    )


def _any_layer(mask: np.ndarray) -> np.ndarray:
    return mask.any(-1) if mask.ndim == 4 else mask  # type: ignore[return-value]


def _listed(values: np.ndarray) -> str:
    """A few of the values, in words."""
    if len(values) <= SHOWN:
        return ", ".join(f"{v:g}" for v in values.tolist())
    few = ", ".join(f"{v:g}" for v in values[: SHOWN // 2].tolist())
    return f"{few}, ... {float(values[-1]):g} ({len(values)} different values)"
