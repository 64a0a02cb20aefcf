"""What induction is measured on: each lesion of a split moved to a lesion-free slice of another patient."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from braindiffusion.errors import PackError, SettingsError
from braindiffusion.evaluation.models.data import spread
from braindiffusion.training.datasets import load_data
from braindiffusion.training.grid_data import GridData
from braindiffusion.volume.masks import boxes
from braindiffusion.volume.slices import FIELD_OF_VIEW_MM

LEAST_PIXELS = 10
"""Smaller lesions are left out: at 1.875 mm, less than 35 mm2."""
LEAST_INSIDE = 0.8
MOST_DRAWS = 40
STRATA = ("small", "medium", "large")
RULE = (
    f"A lesion has at least {LEAST_PIXELS} pixels on the model grid. Its prior is drawn at random (fixed seed, those "
    "used least so far first) among the lesion-free slices of other patients of the same pack. A draw is rejected "
    f"when less than {100 * LEAST_INSIDE:.0f} % of the lesion lies inside that brain; after {MOST_DRAWS} rejected "
    "draws the lesion is dropped. What lies outside the brain is cut off. Ventricles are not avoided, slice levels "
    "not matched. Strata: small below the first quartile of the split's lesion areas, large above the third, medium "
    "between (25/50/25, as the thesis)."
)


@dataclass(frozen=True)
class Pairs:
    """Lesions and the slices they are moved to; (N,H,W), images float32 in [0,1], masks bool.

    Attributes:
        prior, brain: the lesion-free slice and its brain.
        lesion: the lesion inside that brain; told: what the network is told, the lesion or its filled boxes.
        asked: ``told`` inside the brain, what is compared with.
        real, real_brain, drawn: the slice the lesion was drawn on; ``real_asked`` its mask or boxes.
        patient, prior_patient, stratum: (N,) str.
        row: (N,) the lesion slice's index in its pack; prior_row: that of the prior.
        pitch_mm: pixel size.
        facts: how many were paired, dropped, rejected, and the strata's bounds in pixels.
    """

    prior: np.ndarray
    brain: np.ndarray
    lesion: np.ndarray
    told: np.ndarray
    asked: np.ndarray
    real: np.ndarray
    real_brain: np.ndarray
    drawn: np.ndarray
    real_asked: np.ndarray
    patient: np.ndarray
    prior_patient: np.ndarray
    stratum: np.ndarray
    row: np.ndarray
    prior_row: np.ndarray
    pitch_mm: float
    facts: dict[str, Any]

    def __len__(self) -> int:
        return len(self.prior)


def known_sources() -> tuple[dict[str, str], dict[str, str]]:
    """Kind -> pack (stem), and pack -> the pack that lends it masks, as the shipped lesion model was trained."""
    from braindiffusion.training.loop import RECIPES

    recipe = json.loads((RECIPES / "lesion-128.json").read_text(encoding="utf-8"))
    kinds = dict(zip(recipe["card"]["kinds"], recipe["settings"]["kinds"], strict=True))
    return kinds, recipe["data"].get("masks_from", {})


def _refused(what: str, why: str, action: str) -> PackError:
    return PackError(what, why, action)


def load_kinds(
    data: list[Path], kinds: list[str] | None, card: dict[str, Any], cache: Path | None
) -> tuple[GridData, dict[str, str]]:
    """Slices of all splits, and kind -> the source of its slices.

    Args:
        data: one folder of packs under the names of the shipped recipe, or packs of one folder.
        kinds: which; ``None`` takes all that the data hold. For packs of other names: one kind for each, in order.
        card: of a lesion model, whose grid and crop are used.

    Raises:
        PackError: no such data, or it is not said what kind of lesion a pack holds.
    """
    known, lent = known_sources()
    folder, packs = (data[0], None) if len(data) == 1 and data[0].is_dir() else (data[0].parent, data)
    if packs is None:
        sources = {k: s for k, s in known.items() if (kinds is None or k in kinds) and (folder / f"{s}.npz").is_file()}
        lacking = [known.get(k, k) for k in kinds or known if k not in sources] if kinds or not sources else []
        if lacking:
            raise _refused(
                f"{folder} lacks the pack {lacking[0]}.npz.", f"Kinds and their packs: {known}.",
                "Point --data at the folder that holds it, or name your own pack.",
            )  # fmt: skip
    else:
        stems = [p.stem for p in packs]
        by_name = {k: s for k, s in known.items() if s in stems and (kinds is None or k in kinds)}
        if len(by_name) == len(stems):
            sources = by_name
        elif kinds and len(kinds) == len(stems):
            sources = dict(zip(kinds, stems, strict=True))
        else:
            raise _refused(
                f"It is not known what kind of lesion {', '.join(stems)} hold.", f"Known packs: {known}.",
                "Name one kind for each pack with --kinds.",
            )  # fmt: skip
    names = [f"{s}.npz" for s in sources.values()]
    spec: dict[str, Any] = {"kind": "packs", "packs": names, "select": "all", "grid": int(card["grid"])}
    spec["masks_from"] = {k: v for k, v in lent.items() if k in names}
    if card.get("crop"):
        spec["crop"] = card["crop"]
    return load_data(spec, folder, cache), sources


def lesion_rows(data: GridData) -> np.ndarray:
    """Slices whose lesion is large enough."""
    return np.nonzero(data.lesion.sum((1, 2)) >= LEAST_PIXELS)[0]


def _partner(
    rng: np.random.Generator, free: np.ndarray, used: np.ndarray, lesion: np.ndarray, brain: np.ndarray
) -> tuple[int | None, int]:
    """A lesion-free slice the lesion fits in (``None`` when there is none), and how many draws were rejected."""
    order = rng.permutation(free)
    order = order[np.argsort(used[order], kind="stable")][:MOST_DRAWS]
    for rejected, j in enumerate(order.tolist()):
        if (lesion & brain[j]).sum() >= LEAST_INSIDE * lesion.sum():
            return j, rejected
    return None, len(order)


def pair(
    part: GridData, grid: int, condition: str, limit: int | None = None, seed: int = 0, kind: str = ""
) -> Pairs:  # fmt: skip
    """Pair the lesions of one source and split.

    Args:
        grid: pixels a side of the whole model grid (the slices may be cropped).
        condition: ``mask`` or ``box``.
        limit: at most this many lesions, spread over the patients.

    Raises:
        SettingsError: no lesion, no lesion-free slice, or none that fits.
    """
    rng = np.random.default_rng(seed)
    area = part.lesion.sum((1, 2))
    lesions, free = lesion_rows(part), np.nonzero(area == 0)[0]
    used = np.zeros(len(area), int)
    rows: list[tuple[int, int]] = []
    dropped = draws = 0
    chosen = lesions[spread(len(lesions), limit)] if len(lesions) else lesions
    for i in chosen.tolist():
        others = free[part.patient[free] != part.patient[i]]
        j, rejected = _partner(rng, others, used, part.lesion[i], part.brain)
        draws += rejected
        if j is None:
            dropped += 1
            continue
        used[j] += 1
        rows.append((i, j))
    if not rows:
        raise SettingsError(
            f"No lesion of {kind or 'this kind'} could be paired.",
            f"The split has {len(lesions)} lesion slices and {len(free)} lesion-free ones.",
            "Choose another split, kind or pack.",
        )
    low, high = (float(v) for v in np.percentile(area[lesions], [25, 75]))
    i, j = np.array(rows).T
    lesion = part.lesion[i] & part.brain[j]
    told = boxes(lesion) if condition == "box" else lesion
    drawn = part.lesion[i] & part.brain[i]
    facts = {
        "lesion_slices": int((area > 0).sum()), "large_enough": len(lesions), "chosen": len(chosen),
        "lesion_free_slices": len(free), "paired": len(rows), "dropped": dropped, "rejected_draws": draws,
        "distinct_priors": len(set(j.tolist())), "lesion_patients": len(set(part.patient[i].tolist())),
        "prior_patients": len(set(part.patient[j].tolist())),
        "cut_off_share": float(1 - lesion.sum() / part.lesion[i].sum()),
        "strata_px": [low, high],
    }  # fmt: skip
    stratum = np.array(STRATA)[1 + (area[i] > high).astype(int) - (area[i] < low).astype(int)]
    facts["strata"] = {s: int((stratum == s).sum()) for s in STRATA}
    return Pairs(
        part.image[j].astype(np.float32), part.brain[j], lesion, told, told & part.brain[j],
        part.image[i].astype(np.float32), part.brain[i], drawn,
        boxes(drawn) & part.brain[i] if condition == "box" else drawn,
        part.patient[i], part.patient[j], stratum, part.row[i], part.row[j], FIELD_OF_VIEW_MM / grid, facts,
    )  # fmt: skip
