"""Pseudo-labels: lesion masks where saliency and counterfactual agree, on slices known only to show a lesion.

Of a pack's masks one thing is used: whether a slice has any, its image-level label. A slice without a lesion gets an
empty mask. On a slice with one, the region grown from the saliency and the lesion map of the healed slice both say
where it is: what both say is lesion, what one of them says is left open, and so is the whole slice where they hardly
meet. A segmenter trained on these masks may then label the slices again (self-training).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from braindiffusion import __version__
from braindiffusion.errors import PackError, SettingsError
from braindiffusion.events import Event, OnEvent
from braindiffusion.finders.segmenter import lesion_probability_of
from braindiffusion.healing.models import main_model
from braindiffusion.healing.registry import operating_point
from braindiffusion.healing.run import heal_slices
from braindiffusion.io.tables import write_csv_file
from braindiffusion.io.write import OutputFolder, free_space_check
from braindiffusion.models.device import choose_device
from braindiffusion.models.registry import LoadedModel, load_model
from braindiffusion.pipeline.stages import find_saliency, lesion_rule, mask_of_saliency, prepare
from braindiffusion.settings import HealSettings
from braindiffusion.training.packs import Pack
from braindiffusion.volume.anomaly import anomaly_map, lesion_map
from braindiffusion.volume.masks import drop_small, smooth
from braindiffusion.volume.slices import SliceStack, chosen_slices

STATES = ("healthy", "labelled", "unsure")
OPEN = (0.25, 0.75)
"""Probabilities of a segmenter between which a pixel is left open."""


@dataclass(frozen=True)
class PseudoSettings:
    """How masks are made.

    Attributes:
        splits: which are labelled; the test split never is.
        agreement: least Dice of the two opinions for a slice to be labelled.
        least_probability: least probability of a lesion, by the classifier, likewise.
        least_mm2: least area of the mask, likewise.
        limit: at most this many lesion slices, spread over the pack; the others are left out of the new pack.
        segmenter: a model that labels the slices, instead of saliency and counterfactual.
        heal: how the slices are healed.
    """

    splits: tuple[str, ...] = ("train", "val")
    agreement: float = 0.6
    least_probability: float = 0.5
    least_mm2: float = 60.0
    limit: int | None = None
    segmenter: str | None = None
    heal: HealSettings = field(default_factory=HealSettings)

    def check(self) -> None:
        """Raises SettingsError for a split that must not be learned from, or a share outside 0..1."""
        if not set(self.splits) <= {"train", "val"} or not self.splits:
            raise SettingsError(
                f"Masks cannot be made for the splits {', '.join(self.splits) or '(none)'}.",
                "They are to learn from: those of train, and of val to choose the weights by.",
                "Give --splits train,val.",
            )
        for name in ("agreement", "least_probability"):
            if not 0 <= getattr(self, name) <= 1:
                why = "It lies between 0 and 1."
                raise SettingsError(f"{name} {getattr(self, name):g} is not possible.", why, "Choose another.")


@dataclass
class Labelled:
    """The slices of one scan.

    Attributes:
        mask, unsure: (S,H,W) bool.
        sure: (S,) bool, lesion slices whose mask is to be learned from.
        agreement, probability: (S,) Dice of the two opinions and probability of a lesion; NaN where not asked.
    """

    mask: np.ndarray
    unsure: np.ndarray
    sure: np.ndarray
    agreement: np.ndarray
    probability: np.ndarray


def agreed(grown: np.ndarray, lesion: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two opinions (S,H,W) bool -> what both say, what only one of them says, and (S,) their Dice (0 for nothing)."""
    both = grown & lesion
    total = grown.sum((1, 2)) + lesion.sum((1, 2))
    return both, grown ^ lesion, 2 * both.sum((1, 2)) / np.maximum(1, total)


def by_healing(
    stack: SliceStack, sick: np.ndarray, model: LoadedModel, settings: PseudoSettings, device: torch.device
) -> Labelled:
    """Masks where saliency and counterfactual agree.

    Args:
        sick: (S,) bool, the slices that show a lesion, by their label.
        model: the denoiser that heals.
    """
    heal = replace(settings.heal, gate=0.0)  # the label says what the gate would
    saliency = find_saliency(stack, heal, sick, device)
    region = mask_of_saliency(saliency, stack, heal, model.card)
    grown = mask_of_saliency(saliency, stack, replace(heal, margin_mm=0.0), model.card)
    healed = heal_slices(stack, region, model, heal, device)[0].mean(0)
    rule, pitch = lesion_rule(heal, model.card), stack.placement.model_pitch
    anomaly = anomaly_map(stack.images, healed, rule.variant)
    lesion = lesion_map(anomaly, region, rule.threshold, pitch, least_mm2=rule.least_mm2)
    mask, unsure, agreement = agreed(grown, lesion)
    level = operating_point(model.card, heal.method).get("grow_level")
    if level is not None:  # as bright as a lesion, but neither opinion reaches there
        unsure |= (smooth(stack.images) > level) & stack.brain & ~region
    probability = saliency.probability
    sure = sick & (agreement >= settings.agreement) & (np.nan_to_num(probability) >= settings.least_probability)
    return _settled(mask, unsure, sick, sure, settings, pitch, np.where(sick, agreement, np.nan), probability)


def by_segmenter(
    stack: SliceStack, sick: np.ndarray, model: LoadedModel, settings: PseudoSettings, device: torch.device
) -> Labelled:
    """Masks by a segmenter that learned from earlier ones; what it is not sure of is left open."""
    p = lesion_probability_of(stack, sick, model.name, device)
    mask, unsure, nothing = p > OPEN[1], (p > OPEN[0]) & (p <= OPEN[1]), np.full(len(stack), np.nan)
    return _settled(mask, unsure, sick, sick, settings, stack.placement.model_pitch, nothing, p.max((1, 2)))


def _settled(
    mask: np.ndarray, unsure: np.ndarray, sick: np.ndarray, sure: np.ndarray, settings: PseudoSettings, pitch: float,
    agreement: np.ndarray, probability: np.ndarray,
) -> Labelled:  # fmt: skip
    """Specks are left open; a lesion slice without a mask worth the name is open as a whole, a healthy one nowhere."""
    kept = drop_small(mask, settings.least_mm2, pitch)
    sure = sure & kept.any((1, 2))
    here, open_slices = sure[:, None, None], (sick & ~sure)[:, None, None]
    return Labelled(kept & here, ((unsure | (mask & ~kept)) & here) | open_slices, sure, agreement, probability)


@dataclass
class PseudoLabels:
    """Arrays of a pack with masks that nobody drew, and a row per slice on how each came about."""

    arrays: dict[str, Any]
    rows: list[dict[str, Any]]

    def summary(self) -> str:
        """The counts as text."""
        lines = []
        for split in dict.fromkeys(row["split"] for row in self.rows):
            of = [row["state"] for row in self.rows if row["split"] == split]
            lines.append(f"{split}: " + ", ".join(f"{of.count(state)} slices {state}" for state in STATES))
        return "\n".join(lines)


def _chosen(pack: Pack, settings: PseudoSettings) -> tuple[np.ndarray, np.ndarray]:
    """(N,) bool, the slices of the new pack, and (N,) bool, those among them that show a lesion.

    Raises:
        PackError: the pack has no masks, so no labels, or no lesion slice in the splits.
    """
    inside = np.isin(pack.split, settings.splits)
    sick = pack.masks.any((1, 2)) & inside
    if not sick.any():
        raise PackError(
            f"There is no slice to label in the splits {', '.join(settings.splits)}.",
            "Which slices show a lesion is taken from mask_bits: a slice with any pixel set is one.",
            "Give a pack with masks and a train split; the pixels themselves are not looked at.",
        )
    rows = np.nonzero(sick)[0]
    if settings.limit is not None and settings.limit < len(rows):
        kept = np.zeros_like(sick)
        kept[rows[np.linspace(0, len(rows) - 1, settings.limit).round().astype(int)]] = True
        inside, sick = inside & (kept | ~sick), kept
    return inside, sick


def pseudo_labels(pack: Pack, settings: PseudoSettings, on_event: OnEvent | None = None) -> PseudoLabels:
    """Label a pack's slices.

    Raises:
        SettingsError, PackError, ModelNotFoundError, ModelCorruptError.
    """
    settings.check()
    inside, sick = _chosen(pack, settings)
    device = choose_device(settings.heal.device)
    if settings.segmenter is None:
        model, label = main_model(settings.heal, str(device)), by_healing
    else:
        model, label = load_model(settings.segmenter, str(device)), by_segmenter
    part, sick = pack.select(inside), sick[inside]
    masks, unsure = np.zeros_like(part.masks), np.zeros_like(part.masks)
    rows: list[dict[str, Any]] = [{} for _ in range(len(part))]
    done = 0
    for name, index, scan in part.volumes():
        if on_event:
            on_event(Event("label", done, int(sick.sum())))
        stack, _ = prepare(scan, int(model.card["grid"]), None, str(device), check=False)
        p = stack.placement
        order = p.to_axial(np.broadcast_to(index, scan.voxels.shape))[:, 0, 0]  # of the pack, as the stack has them
        here = sick[order]
        found = label(
            stack, here & chosen_slices(settings.heal.slices, len(stack), stack.brain), model, settings, device
        )
        masks[order] = p.up(found.mask) > 0.5
        unsure[order] = (p.up(found.unsure | found.mask) > 0.5) & ~masks[order]
        unsure[order[here & ~found.sure]] = True
        for s, row in enumerate(order):
            state = STATES[0] if not here[s] else STATES[1] if found.sure[s] else STATES[2]
            rows[row] = {
                "patient": name, "slice": int(part.position[row]), "split": str(part.split[row]), "state": state,
                "agreement": round(float(found.agreement[s]), 4), "probability": round(float(found.probability[s]), 4),
                "mask_mm2": round(float(masks[row].sum()) * part.pitch_mm**2, 1),
            }  # fmt: skip
        done += int(here.sum())
    if on_event:
        on_event(Event("label", done, done))
    names, patient = np.unique(part.patient, return_inverse=True)
    facts = {
        "made_by": f"braindiffusion {__version__} pseudo-label", "model": model.name, "sha256": model.card["sha256"],
        "masks": "pseudo: nobody drew them", "agreement": settings.agreement, "limit": settings.limit,
        "least_probability": settings.least_probability, "least_mm2": settings.least_mm2,
    }  # fmt: skip
    arrays = {
        part.modality.lower(): part.images, "mask_bits": np.packbits(masks, axis=-1),
        "unsure_bits": np.packbits(unsure, axis=-1), "width": np.array(masks.shape[-1]),
        "patient": patient.astype(np.int32), "patients": names, "split": part.split,
        "slice": part.position.astype(np.int32), "pitch_mm": np.array(part.pitch_mm),
        "facts": np.array(json.dumps(facts)),
    }  # fmt: skip
    if part.volume is not None:
        arrays["volume"] = part.volume.astype(np.int32)
    return PseudoLabels(arrays, rows)


def write_pseudo_labels(labels: PseudoLabels, out: Path) -> None:
    """The pack, and beside it ``<name>.csv`` with a row per slice; both or neither.

    Raises:
        SettingsError: not an ``.npz``; OutputError.
    """
    free_space_check(out.parent, sum(a.nbytes for a in labels.arrays.values()))
    with OutputFolder(out.absolute().parent) as folder:
        np.savez_compressed(folder.file(out.name), **labels.arrays)
        write_csv_file(folder.file(f"{out.stem}.csv"), labels.rows)
