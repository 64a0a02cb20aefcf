"""Whether a scan looks like what the models learned from: grey values, field of view, and how sure the classifier is.

Contrast is told by the header (:func:`~braindiffusion.pipeline.stages.check_modality`): scaled grey values cannot tell
FLAIR from T1 (measured, see docs/trust.md). What they do show is a scan that was windowed hard, or whose brain was
taken wrongly. A warning means: look twice; its absence means little.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from braindiffusion.volume.slices import SliceStack, window_of

QUANTILES = tuple(range(5, 100, 5))
PROFILES: dict[str, tuple[tuple[float, ...], ...]] = {
    "FLAIR": (
        (0.185, 0.270, 0.329, 0.366, 0.390, 0.406, 0.418, 0.429, 0.439, 0.448, 0.457, 0.467, 0.477, 0.489, 0.502,
         0.519, 0.543, 0.588, 0.676),  # TCGA-LGG, 60 patients
        (0.105, 0.171, 0.234, 0.289, 0.335, 0.372, 0.400, 0.421, 0.436, 0.450, 0.461, 0.472, 0.483, 0.495, 0.507,
         0.522, 0.540, 0.566, 0.613),  # SOOP, 1040 subjects
    ),
    "T1GD": (
        (0.253, 0.313, 0.348, 0.372, 0.391, 0.405, 0.417, 0.429, 0.440, 0.451, 0.461, 0.472, 0.483, 0.494, 0.507,
         0.520, 0.533, 0.549, 0.578),  # TCGA-LGG, 52 patients
    ),
    "T1": (
        (0.176, 0.241, 0.287, 0.322, 0.350, 0.373, 0.393, 0.412, 0.430, 0.448, 0.466, 0.484, 0.502, 0.522, 0.542,
         0.562, 0.585, 0.609, 0.642),  # IXI, 40 subjects
    ),
}  # fmt: skip
"""Mean quantiles of the brain's grey values in model units, train splits, by modality and source."""
MOST_DISTANCE = 0.08
"""Mean difference of quantiles; of 138 val patients with FLAIR one lies further off (0.091), of 8 with T1GD none."""
MOST_ENTROPY = 0.52
"""Mean binary entropy of the classifier, in bits a slice; the most of 8 val patients is 0.51."""
LEAST_SLICES = 8
"""Of a scan whose classifier is judged."""
LEAST_COVER_MM, MOST_CUT = 60.0, 0.1
"""Height of the slices with brain (whole heads at hand: 117 mm and more); share of slices whose brain is cut (none)."""


def intensity_distance(stack: SliceStack, modality: str) -> float | None:
    """Mean absolute difference between the quantiles of the brain and the nearest profile, in model units.

    This is the 1-Wasserstein distance of the two distributions, without their tails. ``None`` without a profile, or
    for grey values scaled slice by slice.
    """
    if modality not in PROFILES or isinstance(stack.intensity, list) or not stack.brain.any():
        return None
    found = np.percentile(stack.images[stack.brain], QUANTILES)
    return min(float(np.abs(found - np.array(profile)).mean()) for profile in PROFILES[modality])


def entropy_bits(probability: np.ndarray) -> float:
    """Mean binary entropy of probabilities, in bits: 0 is sure, 1 is a coin."""
    p = np.clip(np.asarray(probability, dtype=float), 1e-6, 1 - 1e-6)
    return float(np.mean(-(p * np.log2(p) + (1 - p) * np.log2(1 - p))))


def cut_share(brain: np.ndarray) -> float:
    """Share of the slices (S,rows,columns) with brain where it reaches the image's edge."""
    with_brain = brain[brain.any((1, 2))]
    edges = (with_brain[:, 0], with_brain[:, -1], with_brain[:, :, 0], with_brain[:, :, -1])
    return float(np.mean(np.any([edge.any(1) for edge in edges], axis=0))) if len(with_brain) else 0.0


def check_distribution(
    stack: SliceStack,
    brain: np.ndarray,
    card: dict[str, Any],
    modality: str | None,
    probability: Sequence[float] | np.ndarray = (),
) -> tuple[dict[str, Any], list[str]]:
    """What was measured, for the provenance, and warnings for the user.

    Args:
        brain: (I,J,K) bool, on the scan's grid.
        card: of the model that heals or paints.
        modality: of the scan; ``None`` is taken for the model's first.
        probability: of a lesion, by slice, where the classifier was asked; NaN where it was not.
    """
    warnings = []
    distance = intensity_distance(stack, modality or str(card.get("modality", ["ANY"])[0]))
    if distance is not None and distance > MOST_DISTANCE:
        warnings.append(
            f"The grey values of this brain are unlike those the models learned from (distance {distance:.2f}, "
            f"usual up to {MOST_DISTANCE:.2f}): do not trust the result without looking."
        )
    axial = stack.placement.to_axial(brain)
    cover = float(axial.any((1, 2)).sum()) * float(stack.placement.thickness)
    cut = cut_share(axial)
    beyond = window_of(stack.brain, card.get("crop")) == window_of(stack.brain, None) and bool(card.get("crop"))
    if cover < LEAST_COVER_MM:
        warnings.append(f"The scan shows {cover:.0f} mm of the brain only; the models learned from whole heads.")
    if cut > MOST_CUT:
        warnings.append(f"The image cuts the brain on {cut:.0%} of its slices; the models learned from whole slices.")
    if beyond:
        warnings.append("The brain is larger than the field of view the models learned from.")
    asked = np.asarray(probability, dtype=float)
    asked = asked[~np.isnan(asked)]
    entropy = entropy_bits(asked) if len(asked) >= LEAST_SLICES else None
    if entropy is not None and entropy > MOST_ENTROPY:
        warnings.append(
            f"The classifier is unsure about this scan (entropy {entropy:.2f} bits a slice, usual up to "
            f"{MOST_ENTROPY:.2f}): check the mask it found."
        )
    facts = {
        "intensity": {"distance": _rounded(distance), "limit": MOST_DISTANCE},
        "field_of_view": {"brain_mm": round(cover, 1), "cut_slices": round(cut, 3), "beyond_crop": beyond},
        "classifier": {"entropy_bits": _rounded(entropy), "limit": MOST_ENTROPY, "slices": len(asked)},
        "warnings": len(warnings),
    }
    return facts, warnings


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
