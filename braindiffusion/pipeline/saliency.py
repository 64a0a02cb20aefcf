"""The road of a scan to its saliency: scan -> slices -> finder -> map on the scan's own grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from braindiffusion.events import OnEvent
from braindiffusion.finders.gate import CLASSIFIER
from braindiffusion.models.device import choose_device
from braindiffusion.models.registry import load_model
from braindiffusion.pipeline.out_of_distribution import check_distribution
from braindiffusion.pipeline.provenance import model_facts, record
from braindiffusion.pipeline.result import Exports, Result
from braindiffusion.pipeline.scan_cache import ScanCache, prepared_for
from braindiffusion.pipeline.stages import check_modality
from braindiffusion.settings import HealSettings
from braindiffusion.volume.scan import Scan
from braindiffusion.volume.slices import SliceStack, chosen_slices, map_to_scan


@dataclass
class SaliencyResult(Result):
    """Saliency of a scan on its own grid, with the slice table and provenance."""

    saliency: np.ndarray
    stack: SliceStack
    slices: list[dict[str, Any]]
    provenance: dict[str, Any]
    warnings: list[str]
    scan: Scan

    def _exports(self) -> Exports:
        from braindiffusion.export.pictures import saliency_picture
        from braindiffusion.export.results import write_saliency

        return write_saliency, saliency_picture


def saliency_scan(
    scan: Scan,
    settings: HealSettings | None = None,
    *,
    brain: np.ndarray | None = None,
    on_event: OnEvent | None = None,
    prepared: ScanCache | None = None,
) -> SaliencyResult:
    """Saliency map (I,J,K) float32 in [0,1] and the lesion probability of each slice.

    Raises as :func:`~braindiffusion.pipeline.heal.heal_scan`.
    """
    settings = settings or HealSettings()
    device = choose_device(settings.device)
    classifier = load_model(CLASSIFIER, str(device))
    warnings = [*scan.notes, *check_modality(scan, classifier, settings.force)]
    kept = prepared_for(scan, prepared)
    stack, origin = kept.stack(int(classifier.card["grid"]), brain, device, on_event=on_event)
    wanted = chosen_slices(settings.slices, len(stack), stack.brain)
    found = kept.saliency(stack, settings, wanted, device, on_event)
    whole, _ = kept.brain(brain, device)
    seen, unlike = check_distribution(stack, whole, classifier.card, scan.modality, found.probability)
    warnings += [*found.warnings, *unlike]
    table = [
        {
            "slice": int(s),
            "lesion_probability": round(float(found.probability[s]), 4),
            "judged_lesion": bool(found.judged_lesion[s]),
        }
        for s in np.nonzero(wanted)[0]
    ]
    facts = record(
        scan, task="saliency", settings=settings, brain={"origin": origin}, distribution=seen,
        models=[model_facts(c) for c in found.cards], device=str(device), warnings=warnings, slices=table,
    )  # fmt: skip
    return SaliencyResult(map_to_scan(found.maps, stack.placement), stack, table, facts, warnings, scan)
