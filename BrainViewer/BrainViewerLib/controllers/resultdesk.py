"""Results of healing: the list, the table of slices, the figures."""

from __future__ import annotations

import math
from typing import Any

from BrainCounterfactualCommon.scene import volumes
from BrainCounterfactualCommon.worker import models
from BrainViewerLib.controllers.history import History
from BrainViewerLib.controllers.regions import Regions
from BrainViewerLib.controllers.words import counted, number
from BrainViewerLib.server.messages import Messages
from BrainViewerLib.shown import Shown
from BrainViewerLib.views.display import Display

NO_RESULT: dict[str, Any] = {
    "title": "", "subtitle": "", "lesion_ml": "", "check_text": "", "check_ok": True, "chips": [], "warnings": [],
}  # fmt: skip


def row_for_page(row: dict[str, Any]) -> dict[str, Any]:
    """One slice as the page shows it."""
    probability, area = row.get("lesion_probability"), row.get("lesion_mm2")
    healed = bool(row.get("mask_mm2"))
    shown = None if probability is None or math.isnan(float(probability)) else float(probability)
    return {
        "slice": row["index"],
        "number": row["number"],
        "probability": shown,
        "probability_text": number(shown, 2),
        "judged": bool(row.get("judged_lesion")),
        "area": float(area or 0),
        "area_text": number(area, 0) if area else ("0" if healed else "–"),
        "healed": healed,
        "hover": f"slice {row['number']}: probability {number(shown, 2)}, lesion {number(area or 0, 0)} mm²",
    }


def figures(result: Any, subtitle: str, *chips: str) -> dict[str, Any]:
    """What the page says of a result of either tab: its lesion, how it was made, whether the rest is untouched."""
    summary, record = result.summary, result.provenance
    settings = record.get("settings", {})
    names = [m.get("name", "") for m in record.get("models", [])][:1]
    told = [*chips, *names, f"seed {settings.get('seed', 0)}", str(summary.get("device") or "")]
    if settings.get("samples", 1) > 1:
        told.append(f"{settings['samples']} samples")
    unchanged = (summary.get("check") or {}).get("outside_identical")
    return {
        "title": f"Result {result.order}",
        "subtitle": subtitle,
        "lesion_ml": number(summary.get("lesion_ml"), 1),
        "check_ok": bool(unchanged),
        "check_text": "" if unchanged is None else ("✓ outside unchanged" if unchanged else "outside CHANGED"),
        "chips": [chip for chip in told if chip],
        "warnings": list(result.warnings),
    }


class ResultDesk:
    """The results of the scan shown."""

    def __init__(self, state: Any, messages: Messages, shown: Shown, display: Display, history: History) -> None:
        self.state, self.messages, self.shown = state, messages, shown
        self.display, self.history = display, history
        self._regions = Regions()

    # -- the page's lists

    def refresh(self) -> None:
        """Bring list, table and figures up to date."""
        state, volume, logic = self.state, self.shown.volume, self.shown.heal.logic
        results = logic.results(volume) if volume is not None else []
        current = logic.currentResult(volume) if volume is not None else None
        state.results = [self._entry(result) for result in results]
        state.result_id = current.order if current else 0
        state.result = self._figures(current) if current else NO_RESULT
        state.regions = self._regions.of(current) if current else []
        saliency = logic.saliency(volume) if volume is not None else None
        state.has_saliency = saliency is not None
        found = saliency.slices if saliency else (current.slices if current else [])
        # a healing does not tell what was judged, but what was healed
        state.flagged = sum(bool(r.get("judged_lesion", r.get("mask_mm2"))) for r in found)
        state.rows_found = len(found)
        told = [*found, *(current.slices if current else [])]
        state.rows = self._rows(volume, told) if told else []
        top = max((row["area"] for row in state.rows), default=0)
        state.area_top, state.area_top_text = top, f"{top:.0f}"
        if state.mode == "heal":
            state.shown_id = state.result_id
            if not current and state.layout != "edit":
                state.layout = "edit"
            self.history.refresh()
            self.display.refresh()

    @staticmethod
    def _rows(volume: Any, told: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """All axial slices from below, with what is known of each; later facts win."""
        rows: dict[int, dict[str, Any]] = {}
        for index in range(volumes.sliceCount(volume)):
            number = volumes.stackIndex(volume, index) + 1  # as the engine counts: from below
            rows[index] = {"index": index, "number": number}
        for row in told:
            rows[row["index"]].update({name: value for name, value in row.items() if value is not None})
        return sorted((row_for_page(row) for row in rows.values()), key=lambda row: row["number"])

    @staticmethod
    def _entry(result: Any) -> dict[str, Any]:
        summary, settings = result.summary, result.provenance.get("settings", {})
        healed = summary.get("slices_healed") or 0
        walked = result.provenance.get("method", {}).get("settings", {})
        return {
            "id": result.order,
            "title": f"Result {result.order}",
            "subtitle": f"{counted(healed)}, {walked.get('steps') or 'all'} steps"
            + (f", {settings['samples']} samples" if settings.get("samples", 1) > 1 else ""),
            "ml": number(summary.get("lesion_ml"), 1),
        }

    def _figures(self, result: Any) -> dict[str, Any]:
        summary, name = result.summary, result.provenance.get("settings", {}).get("method", "")
        healed = counted(summary.get("slices_healed") or 0)
        method = models.methodNamed(self.shown.heal.logic.methods(), name)
        return figures(
            result,
            f"{healed} healed in {summary.get('seconds') or 0:.0f} s",
            method["label"] if method is not None else name,
        )

    def jump_to_lesion(self, result: Any) -> None:
        """Show the slice with the largest lesion, unless the one in view was healed itself."""
        rows = {row["index"]: row for row in result.slices}
        here = self.display.slice_index()
        if (rows.get(here) or {}).get("mask_mm2"):
            return
        best = max(rows.values(), key=lambda r: (r.get("lesion_mm2") or 0, r.get("mask_mm2") or 0), default=None)
        if best and (best.get("lesion_mm2") or best.get("mask_mm2")):
            self.display.go_to_slice(best["index"])

    # -- its regions

    def turn_region(self, number: int) -> None:
        """Drop a region of the result in view, or take it back."""
        current = self.shown.heal.logic.currentResult(self.shown.volume)
        if current is None or self.shown.busy:
            return
        self._regions.turn(current, int(number))
        self.refresh()
        kept = next(region for region in self.state.regions if region["id"] == int(number))["kept"]
        what = "is kept" if kept else "was dropped: the scan's own voxels are back there"
        self.messages.say(f"The region {what}. Lesion {current.summary.get('lesion_ml') or 0:.1f} mL.")

    # -- choosing

    def choose_result(self, order: int) -> None:
        """Bring a result into view."""
        volume = self.shown.volume
        chosen = next((r for r in self.shown.heal.logic.results(volume) if r.order == int(order)), None)
        if chosen is not None:
            self.shown.heal.logic.restoreResult(chosen)
            if self.state.layout == "edit":
                self.state.layout = "compare"
            self.refresh()

    def remove_result(self) -> None:
        """Delete the result in view."""
        current = self.shown.heal.logic.currentResult(self.shown.volume)
        if current is not None:
            name = f"Result {current.order}"
            self._regions.forget(current)
            self.shown.heal.logic.removeResult(current)
            self.refresh()
            self.messages.say(f"{name} was removed.")
