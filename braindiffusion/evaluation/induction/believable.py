"""Are induced lesions told apart from real ones? Real lesions of a pack beside induced ones of the same outlines.

Every real lesion lends its outline to another patient's lesion-free slice, where each method paints it; so kinds,
sizes and shapes are matched. Grey values are scaled to a median brain of 0.45 first.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
from scipy import ndimage

from braindiffusion.errors import PackError
from braindiffusion.evaluation.tissue.holes import lesion_free, patients_in_turn
from braindiffusion.evaluation.tissue.measures import forest_scores, gradient_energy, interval_of
from braindiffusion.evaluation.tissue.run import NOMINAL_MM, brains_of
from braindiffusion.events import Event, OnEvent
from braindiffusion.lesions.disharmony import ring_contrast
from braindiffusion.settings import InduceSettings
from braindiffusion.training.packs import Pack
from braindiffusion.training.tasks.classifier import auroc
from braindiffusion.volume.scan import Scan
from braindiffusion.volume.slices import BRAIN_LEVEL

LEAST_MM2 = 60.0
LEAST_CONTRAST = 0.05
"""Real lesions that stand out by less, in model grey values, are left out: many strokes do not show on FLAIR yet."""
LEAST_INSIDE = 0.9
GROWN_PX = 2
SATURATED = 250
"""Of 255: the upper end of a pack's grey values."""
PROFILE_MM = 8.0


@dataclass
class Lesion:
    """A lesion in a slice, real or induced.

    Attributes:
        image: (H,W) float32, median brain 0.45; mask: (H,W) bool.
        index: of the slice in the pack; patient: whose brain it is.
        measured: contrast, spread, gradient, edge_mm, saturated.
    """

    image: np.ndarray
    mask: np.ndarray
    index: int
    patient: str
    measured: dict[str, float] = field(default_factory=dict)


@dataclass
class BelievableReport:
    """``facts`` for the table; the lesions for the blinded sheet."""

    facts: dict[str, Any]
    real: list[Lesion]
    induced: dict[str, list[Lesion]]


def scaled(image: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """uint8 (H,W) -> float32 with the median brain at 0.45, at most what 255 becomes."""
    median = float(np.median(image[brain])) if brain.any() else 255 * BRAIN_LEVEL
    return (image.astype(np.float32) * np.float32(BRAIN_LEVEL / max(median, 1.0))).astype(np.float32)


def edge_width_mm(image: np.ndarray, mask: np.ndarray, brain: np.ndarray, pitch: float) -> float:
    """Distance over which the mean grey value rises from 10 to 90 % of its way from outside to inside; NaN if none.

    The profile is the median over pixels at the same signed distance from the outline, from 8 mm outside to 8 mm (or
    the depth of the lesion) inside.
    """
    out, within = ndimage.distance_transform_edt(~mask), ndimage.distance_transform_edt(mask)
    distance = (within - out + np.where(mask, -0.5, 0.5)) * pitch
    bins = np.arange(-PROFILE_MM, PROFILE_MM + 1e-6, 1.0)
    at, values = [], []
    for low, high in pairwise(bins):
        here = brain & (distance >= low) & (distance < high)
        if here.sum() >= 5:
            at.append((low + high) / 2)
            values.append(float(np.median(image[here])))
    x, v = np.array(at), np.array(values)
    if len(x) < 6 or not ((x < 0).any() and (x > 0).any()):
        return float("nan")
    outside, inside = float(np.median(v[x < -3])) if (x < -3).any() else v[0], float(np.max(v[x > 0]))
    if inside - outside < LEAST_CONTRAST:
        return float("nan")
    level = (v - outside) / (inside - outside)
    fine = np.linspace(x[0], x[-1], 400)
    curve = np.interp(fine, x, level)
    top = int(np.argmax(curve >= 0.9))
    below = np.nonzero(curve[: top + 1] <= 0.1)[0]
    return float(fine[top] - fine[below[-1]]) if len(below) else float("nan")


def measures_of(lesion: Lesion, brain: np.ndarray, pitch: float) -> dict[str, float]:
    """Contrast against the ring, spread and gradient energy inside, edge width, share of saturated pixels."""
    contrast = ring_contrast(lesion.image[None], lesion.mask[None], brain[None], pitch)
    inner = ndimage.binary_erosion(lesion.mask, iterations=2)
    inner = inner if inner.sum() >= 12 else lesion.mask
    return {
        "contrast": float(contrast.values[0]), "spread": float(lesion.image[inner].std()),
        "gradient": gradient_energy(lesion.image, lesion.mask),
        "edge_mm": edge_width_mm(lesion.image, lesion.mask, brain, pitch),
    }  # fmt: skip


def _lesion_in(pack: Pack, brain: np.ndarray, index: int, plane: np.ndarray, mask: np.ndarray) -> Lesion:
    """The lesion of ``plane``, uint8 (H,W): slice ``index`` of the pack, as it is or painted; measured."""
    lesion = Lesion(scaled(plane, brain), mask, index, str(pack.patient[index]))
    lesion.measured = measures_of(lesion, brain, pack.pitch_mm)
    lesion.measured["saturated"] = float((plane[mask] >= SATURATED).mean())
    return lesion


def real_lesions(pack: Pack, brains: np.ndarray, limit: int, seed: int) -> list[Lesion]:
    """At most ``limit`` visible lesions, spread over patients."""
    rng = np.random.default_rng(seed)
    rows = np.nonzero((pack.masks & brains).sum((1, 2)) * pack.pitch_mm**2 >= LEAST_MM2)[0]
    out: list[Lesion] = []
    for i in patients_in_turn(pack, rows, rng):
        lesion = _lesion_in(pack, brains[i], i, pack.images[i], pack.masks[i] & brains[i])
        if abs(lesion.measured["contrast"]) >= LEAST_CONTRAST:
            out.append(lesion)
        if len(out) == limit:
            break
    return out


def _hosts(pack: Pack, brains: np.ndarray, real: Sequence[Lesion], seed: int) -> list[tuple[int, np.ndarray]]:
    """For each real lesion a lesion-free slice of another patient that holds its outline; ``index``, mask."""
    rng = np.random.default_rng([seed, 1])
    free = lesion_free(pack, brains)
    used: dict[int, int] = {}
    out = []
    for lesion in real:
        shuffled = rng.permutation(free[pack.patient[free] != lesion.patient])
        others = sorted(shuffled.tolist(), key=lambda i: used.get(i, 0))
        for i in others:
            inside = lesion.mask & brains[i]
            if inside.sum() >= LEAST_INSIDE * lesion.mask.sum():
                used[i] = used.get(i, 0) + 1
                out.append((int(i), inside))
                break
    return out


def induce_into(
    pack: Pack, brains: np.ndarray, hosts: Sequence[tuple[int, np.ndarray]], settings: InduceSettings, on_lesion: Any
) -> list[Lesion]:
    """Each outline painted by the road of a scan, a slice at a time, with a seed of its own."""
    from braindiffusion.pipeline.induce import induce_scan

    out = []
    for n, (i, mask) in enumerate(hosts):
        affine = np.diag([-pack.pitch_mm, -pack.pitch_mm, NOMINAL_MM, 1.0])
        voxels = np.ascontiguousarray(pack.images[i].T[..., None])
        scan = Scan(voxels, affine, pack.modality, {"format": "pack"})
        made = induce_scan(
            scan, mask.T[..., None], replace(settings, seed=settings.seed + n), brain=brains[i].T[..., None]
        )
        out.append(_lesion_in(pack, brains[i], i, made.diseased[..., 0].T, mask))
        on_lesion(n + 1)
    return out


def told_apart(first: Sequence[Lesion], second: Sequence[Lesion], seed: int = 0) -> dict[str, Any]:
    """AUROC of the forest between two sets of lesions, folds by patient, and its interval."""
    everyone = [*first, *second]
    masks = [ndimage.binary_dilation(each.mask, iterations=GROWN_PX) for each in everyone]
    labels = np.repeat([0, 1], [len(first), len(second)])
    groups = [each.patient for each in everyone]
    scores = forest_scores([each.image for each in everyone], masks, labels, groups, seed)
    table = np.stack([scores, labels], 1)

    def of(rows: np.ndarray) -> float:
        return auroc(rows[:, 0], rows[:, 1].astype(int)) if 0 < rows[:, 1].sum() < len(rows) else float("nan")

    return {"told_apart": of(table), "interval": interval_of(table, np.array(groups), of)}


def _middle(lesions: Sequence[Lesion]) -> dict[str, Any]:
    keys = lesions[0].measured
    quartiles = {k: np.nanpercentile([each.measured[k] for each in lesions], [25, 50, 75]) for k in keys}
    return {k: [round(float(v), 4) for v in q] for k, q in quartiles.items()}


def believable(
    pack: Pack, methods: dict[str, InduceSettings], *, split: str = "val", limit: int = 60, seed: int = 0,
    on_event: OnEvent | None = None,
) -> BelievableReport:  # fmt: skip
    """Paint the outlines of a split's lesions into its lesion-free slices by every method, and compare.

    Raises:
        PackError: no visible lesions, or no lesion-free slices that could hold them; and what
        :func:`~braindiffusion.pipeline.induce.induce_scan` raises.
    """
    part = pack.of_split(split)
    brains = brains_of(part)
    real = real_lesions(part, brains, limit, seed)
    hosts = _hosts(part, brains, real, seed)
    if len(real) < 4 or len(hosts) < 4:
        raise PackError(
            "There are too few lesions to compare.",
            f"{len(real)} lesions stand out, and {len(hosts)} of them fit into a lesion-free slice of somebody else.",
            "Choose a pack, and a split, that has more of both.",
        )
    rows, induced = {}, {}
    for number, (name, settings) in enumerate(methods.items()):

        def on_lesion(done: int, number: int = number) -> None:
            if on_event:
                on_event(Event("induce", number * len(hosts) + done, len(methods) * len(hosts)))

        on_lesion(0)
        started = time.perf_counter()
        induced[name] = induce_into(part, brains, hosts, settings, on_lesion)
        seconds = (time.perf_counter() - started) / len(hosts)
        rows[name] = {"seconds": round(seconds, 3), "measures": _middle(induced[name]), "settings": asdict(settings),
                      **told_apart(real, induced[name], seed)}  # fmt: skip
    patients = np.random.default_rng([seed, 2]).permutation(sorted({each.patient for each in real}))
    half = set(patients[: len(patients) // 2].tolist())
    halves = [[each for each in real if (each.patient in half) == side] for side in (True, False)]
    floor = told_apart(halves[0], halves[1], seed) if min(map(len, halves)) >= 2 else None
    facts = {
        "split": split, "modality": pack.modality, "lesions": len(real), "induced": len(hosts),
        "patients": len(patients), "seed": seed, "real": _middle(real), "real_against_real": floor, "rows": rows,
    }  # fmt: skip
    return BelievableReport(facts, real, induced)
