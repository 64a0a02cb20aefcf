"""The slices that healing is measured on: on the model grid, with the lesions drawn on the pack's own pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from braindiffusion.cards import installed, read_card
from braindiffusion.errors import PackError
from braindiffusion.evaluation.models.data import spread
from braindiffusion.evaluation.result_cache import ResultCache
from braindiffusion.events import Event, OnEvent
from braindiffusion.finders.gate import judge_slices
from braindiffusion.healing.models import main_card
from braindiffusion.models.device import choose_device
from braindiffusion.pipeline.stages import brain_of, prepare
from braindiffusion.settings import HealSettings
from braindiffusion.training.packs import Pack
from braindiffusion.volume.scan import Scan
from braindiffusion.volume.slices import Placement, SliceStack, window_of

PART_SLICES = 16
"""Patients with fewer slices are healed together, at least so many slices at a time."""
LEAST_BRAIN = 0.01


@dataclass
class Case:
    """One patient of a pack on the model grid.

    Attributes:
        stack: slices; ``drawn``: (S,rows,cols) bool on the pack's pixels; ``rows``: indices into the pack.
        wanted: (S,) bool, slices that are measured.
    """

    name: str
    stack: SliceStack
    drawn: np.ndarray
    rows: np.ndarray
    wanted: np.ndarray

    def native(self, mask: np.ndarray) -> np.ndarray:
        """(S,H,W) bool on the model grid -> (S,rows,cols) bool on the pack's pixels."""
        return self.stack.placement.up(mask.astype(np.float32)) > 0.5


def measured_rows(pack: Pack, limit: int | None, lesion_only: bool) -> np.ndarray:
    """(N,) bool: slices to measure. A limit takes evenly spaced ones, lesion and lesion-free in proportion."""
    lesion = pack.masks.any((1, 2))
    pools = [np.nonzero(lesion)[0]] + ([] if lesion_only else [np.nonzero(~lesion)[0]])
    total = sum(len(p) for p in pools)
    wanted = np.zeros(len(pack), bool)
    for pool in pools:
        n = len(pool) if limit is None else min(len(pool), round(limit * len(pool) / max(1, total)))
        if n:
            wanted[pool[spread(len(pool), n)]] = True
    return wanted


def _brain(scan: Scan, device: str, kept: ResultCache | None) -> np.ndarray:
    """(I,J,K) bool, the brain of a scan; kept, for finding it takes longer than all else that is done to a scan."""
    if kept is None:
        return brain_of(scan, None, device, check=False)[0]
    key = hashlib.sha256(scan.voxels.tobytes()).hexdigest()
    key += str(read_card("brain-mask")["sha256"]) if "brain-mask" in installed() else ""
    found = kept.load(f"brains/{key[:20]}", key)
    if found is None:
        found = {"brain": brain_of(scan, None, device, check=False)[0]}
        kept.save(f"brains/{key[:20]}", key, found)
    return found["brain"]


def cases(pack: Pack, wanted: np.ndarray, size: int, device: str, kept: ResultCache | None = None) -> Iterator[Case]:
    """The pack's patients that have a slice to measure, one after another."""
    for name, index, scan in pack.volumes():
        if wanted[index].any():
            stack, _ = prepare(scan, size, _brain(scan, device, kept), device, check=False)
            drawn = stack.placement.to_axial(pack.masks[index].transpose(2, 1, 0))
            # to_axial may reverse the slice axis; the pack's rows follow it
            rows = stack.placement.to_axial(np.broadcast_to(index, (*scan.voxels.shape[:2], len(index))))[:, 0, 0]
            yield Case(name, stack, drawn, rows, wanted[rows])


@dataclass
class Measured:
    """All measured slices of a split; (N,H,W) on the model grid unless said otherwise.

    Attributes:
        images: float32 in [0,1]; ``brain``: bool.
        drawn: (N,rows,cols) bool on the pack's pixels; ``on_grid``: the same on the model grid.
        patient, row, position: (N,) name, index into the pack, slice number within the patient.
        probability, judged: (N,) of a lesion, and whether the gate lets the slice pass.
        probe: (N,) bool, lesion-free slices that are healed although the gate is closed.
        placements: of each patient; ``placed``: (N,) which of them.
        parts: indices of the slices that are healed and kept together.
        pixel_mm2: area of one of the pack's pixels.
    """

    split: str
    images: np.ndarray
    brain: np.ndarray
    drawn: np.ndarray
    on_grid: np.ndarray
    patient: np.ndarray
    row: np.ndarray
    position: np.ndarray
    probability: np.ndarray
    judged: np.ndarray
    probe: np.ndarray
    placements: list[Placement]
    placed: np.ndarray
    parts: list[np.ndarray]
    pixel_mm2: float

    def __len__(self) -> int:
        return len(self.images)

    @property
    def lesion(self) -> np.ndarray:
        """(N,) bool: slices with a drawn lesion."""
        return np.asarray(self.drawn.any((1, 2)))

    @property
    def worked(self) -> np.ndarray:
        """(N,) bool: slices that methods work on; the prediction elsewhere is nothing, for the gate is closed."""
        return self.lesion | self.judged | self.probe

    @property
    def pitch_mm(self) -> float:
        """Spacing of the model grid."""
        return self.placements[0].model_pitch

    def stack(self, index: np.ndarray) -> SliceStack:
        """Some slices as one stack (they may be of several patients)."""
        brain = self.brain[index]
        place = self.placements[int(self.placed[index[0]])]
        return SliceStack(self.images[index], brain, brain.astype(np.float32), place, [])

    def native(self, values: np.ndarray, index: np.ndarray) -> np.ndarray:
        """(n,H,W) of the slices ``index`` -> (n,rows,cols) float32 on the pack's pixels."""
        out = np.zeros((len(index), *self.drawn.shape[1:]), np.float32)
        for p in np.unique(self.placed[index]):
            of = self.placed[index] == p
            out[of] = self.placements[p].up(values[of].astype(np.float32))
        return out

    def digest(self, index: np.ndarray, *more: np.ndarray) -> str:
        """Fingerprint of some slices and of further arrays that decide a result."""
        found = hashlib.sha256()
        for array in (self.images[index], self.brain[index], self.row[index], *more):
            found.update(np.ascontiguousarray(array).tobytes())
        return found.hexdigest()

    def facts(self) -> dict[str, Any]:
        """What was measured, as plain data."""
        lesion = self.lesion
        return {
            "split": self.split, "slices_measured": len(self), "lesion_slices": int(lesion.sum()),
            "lesion_free_slices": int((~lesion).sum()), "probed_lesion_free_slices": int(self.probe.sum()),
            "patients": len(set(self.patient.tolist())),
            "patients_with_lesion": len(set(self.patient[lesion].tolist())),
            "gate_passes_of_lesion": int((self.judged & lesion).sum()),
            "gate_passes_of_lesion_free": int((self.judged & ~lesion).sum()),
        }  # fmt: skip


def _parts(sizes: list[int], fits: list[bool]) -> list[np.ndarray]:
    """Patients in groups of at least ``PART_SLICES`` slices, those apart whose brain exceeds the training crop."""
    groups: list[tuple[bool, list[int]]] = []
    ends = np.cumsum([0, *sizes])
    for n, fit in enumerate(fits):
        if groups and groups[-1][0] == fit and sum(sizes[m] for m in groups[-1][1]) < PART_SLICES > sizes[n]:
            groups[-1][1].append(n)
        else:
            groups.append((fit, [n]))
    return [np.concatenate([np.arange(ends[n], ends[n + 1]) for n in members]) for _, members in groups]


def collect(
    pack: Pack, split: str, settings: HealSettings, *, limit: int | None = None, lesion_only: bool = False,
    probe: int | None = None, kept: ResultCache | None = None, on_event: OnEvent | None = None,
) -> Measured:  # fmt: skip
    """The slices of a split, on the model grid, judged by the gate.

    Args:
        settings: of Dif-fuse; its model says the grid.
        limit: at most this many slices, lesion and lesion-free in proportion.
        probe: at most this many lesion-free slices are healed with the gate held open.
        kept: where brain masks are kept.

    Raises:
        PackError: no drawn lesions, or no such split.
    """
    if not pack.has_masks:
        raise PackError(
            "The pack has no drawn lesions to measure against.", "It lacks mask_bits.", "Give a pack with masks."
        )
    part = pack.of_split(split)
    origin = np.arange(len(pack)) if split == "all" else np.nonzero(pack.split == split)[0]
    device = choose_device(settings.device)
    card = main_card(settings)
    wanted = measured_rows(part, limit, lesion_only)
    found: dict[str, list[np.ndarray]] = {}
    placements: list[Placement] = []
    fits: list[bool] = []
    sizes: list[int] = []
    for case in cases(part, wanted, int(card["grid"]), str(device), kept):
        if on_event:
            on_event(Event("brain", sum(sizes), int(wanted.sum())))
        stack, keep = case.stack, case.wanted
        enough = stack.brain.mean((1, 2)) >= LEAST_BRAIN
        probability, judged = judge_slices(stack, settings, enough, device)
        fits.append(window_of(stack.brain[keep], card.get("crop"))[1] != slice(None))
        here = {
            "images": stack.images, "brain": stack.brain, "drawn": case.drawn,
            "on_grid": stack.placement.down(case.drawn) > 0.5, "row": origin[case.rows],
            "position": part.position[case.rows], "probability": probability, "judged": judged,
            "patient": np.full(len(stack), case.name), "placed": np.full(len(stack), len(placements)),
        }  # fmt: skip
        for name, values in here.items():
            found.setdefault(name, []).append(values[keep])
        placements.append(stack.placement)
        sizes.append(int(keep.sum()))
    if not placements:
        raise PackError("There is no slice to measure.", "The limit leaves none.", "Raise --limit.")
    arrays = {name: np.concatenate(values) for name, values in found.items()}
    free = np.nonzero(~arrays["drawn"].any((1, 2)) & (arrays["brain"].mean((1, 2)) >= LEAST_BRAIN))[0]
    probes = np.zeros(len(arrays["row"]), bool)
    probes[free[spread(len(free), probe)]] = True
    return Measured(
        split, **arrays, probe=probes, placements=placements, parts=_parts(sizes, fits), pixel_mm2=pack.pitch_mm**2
    )
