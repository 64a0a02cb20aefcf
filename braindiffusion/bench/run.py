"""The bench in one go: ladder, steps, cost against work, waiting times, reading, MedEdit; on the machine at hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from braindiffusion import NOT_FOR_DIAGNOSIS, RESEARCH_USE_ONLY
from braindiffusion.bench import mededit, sweeps
from braindiffusion.bench.items import pack_items, sample_items
from braindiffusion.bench.ladder import climb, ladder, steps_ladder
from braindiffusion.bench.latency import latency
from braindiffusion.bench.machine import machine
from braindiffusion.bench.reading import reading
from braindiffusion.errors import SettingsError
from braindiffusion.events import OnEvent
from braindiffusion.healing.registry import HEALTHY
from braindiffusion.models.device import choose_device
from braindiffusion.settings import HealSettings

QUICK_REFERENCE = 50
ALL_STEPS, QUICK_STEPS = (None, 2, 3, 4, 5, 7, 10, 20, 25, 50, 100), (25, 3, 5, 10)
PARTS = ("ladder", "steps", "sweeps", "latency", "reading", "mededit")


@dataclass(frozen=True)
class BenchSettings:
    """What is measured.

    Attributes:
        parts: some of ``PARTS``; ``mededit`` needs data.
        slices: lesion slices healed; of the rungs with very many calls ``reference_slices``.
        lesions: painted by MedEdit, a kind.
        repeats: the cheapest of so many runs counts, but of the slow rungs.
        quick: small sweeps, and a reference mode of ``QUICK_REFERENCE`` steps, to see that it works.
        compiled: a rung with ``torch.compile``.
    """

    parts: tuple[str, ...] = ("ladder", "sweeps", "latency")
    slices: int = 24
    reference_slices: int = 2
    lesions: int = 24
    repeats: int = 3
    quick: bool = False
    compiled: bool = False
    device: str = "auto"

    def __post_init__(self) -> None:
        for part in self.parts:
            if part not in PARTS:
                raise SettingsError(f"There is no part '{part}'.", f"Known: {', '.join(PARTS)}.", "Choose among them.")


def run_bench(
    settings: BenchSettings, data: Path | None, *, packs: Path | None = None, cache: Path | None = None,
    on_event: OnEvent | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Measure.

    Args:
        data: a pack of FLAIR slices with drawn lesions and a val split; without it the shipped synthetic scan.
        packs: folder of the packs that MedEdit paints into, or one pack.
        cache: where MedEdit's painted slices are kept.

    Raises:
        SettingsError: MedEdit without data; ModelNotFoundError, PackError, DeviceError.
    """
    if "mededit" in settings.parts and packs is None:
        raise SettingsError(
            "MedEdit has nothing to paint into.", "It needs packs with a val split.", "Give their folder with --packs."
        )
    device = str(choose_device(settings.device))
    base = HealSettings(model=HEALTHY.recipe, steps=10, device=device, force=True)
    facts: dict[str, Any] = {
        "synthetic": True, "notice": NOT_FOR_DIAGNOSIS, "use": RESEARCH_USE_ONLY,
        "machine": machine(torch.device(device)), "quick": settings.quick, "repeats": settings.repeats,
    }  # fmt: skip
    if {"ladder", "steps", "sweeps"} & set(settings.parts):
        items = pack_items(data, base, settings.slices, on_event) if data else sample_items(base, settings.slices)
        count, patients = sum(len(item.rows) for item in items), len({item.name for item in items})
        facts["slices"] = (
            f"{count} lesion slices of {patients} patients, val split; masks by saliency, the gate held open"
            if data
            else f"{count} slices of the shipped synthetic scan; the true lesion grown by 4 mm is the mask"
        )
    common: dict[str, Any] = {"reference_slices": settings.reference_slices, "on_event": on_event}
    repeats = 1 if settings.quick else settings.repeats
    if "ladder" in settings.parts:
        rungs = ladder(compiled=settings.compiled, first=QUICK_REFERENCE if settings.quick else None)
        facts["ladder"] = climb(rungs, items, base, repeats=repeats, **common)
    if "steps" in settings.parts:
        rungs = steps_ladder(QUICK_STEPS if settings.quick else ALL_STEPS)
        facts["steps"] = climb(rungs, items, base, repeats=1, **common)
    if "sweeps" in settings.parts:
        sizes = sweeps.QUICK if settings.quick else sweeps.Sizes(gridded=100 if "cuda" in device else 8)
        facts["sweeps"] = sweeps.sweep(items[0], base, sizes, repeats, on_event)
        facts["linearity"] = sweeps.linearity(facts["sweeps"])
    if "latency" in settings.parts:
        facts["latency"] = latency({"device": device})
    if "reading" in settings.parts:
        facts["reading"] = reading()
    if "mededit" in settings.parts and packs:
        modes = mededit.QUICK_MODES if settings.quick else mededit.MODES
        draws = (1, 1) if settings.quick else mededit.DRAWS
        facts["mededit"] = mededit.fewer_calls(
            packs, limit=settings.lesions, device=device, modes=modes, draws=draws, cache=cache, on_event=on_event
        )
    return facts
