"""Results: the list, the table of slices, undo and redo, saving."""

from __future__ import annotations

import asyncio
import json
import math
import os
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer

from BrainCounterfactualCommon import scene
from braindiffusion.errors import OutputError
from BrainViewerLib import loading
from BrainViewerLib.jobs import counted

if TYPE_CHECKING:
    from BrainViewerLib.app import BrainViewer

FORMATS = [
    {"value": "nifti", "title": "NIfTI"},
    {"value": "nrrd", "title": "NRRD"},
    {"value": "mrb", "title": ".mrb scene"},
]
NO_RESULT: dict[str, Any] = {
    "title": "", "subtitle": "", "lesion_ml": "", "check_text": "", "check_ok": True, "chips": [], "warnings": [],
}  # fmt: skip


def number(value: Any, digits: int) -> str:
    """A number for the table; a dash where there is none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return f"{float(value):.{digits}f}"


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


class ResultDesk:
    """The results of the scan shown."""

    def __init__(self, viewer: BrainViewer) -> None:
        self.viewer = viewer
        self.downloads: dict[str, Path] = {}

    # -- the page's lists

    def refresh(self) -> None:
        """Bring list, table and figures up to date."""
        viewer = self.viewer
        state, volume, logic = viewer.state, viewer.scans.volume, viewer.logic
        results = logic.results(volume) if volume is not None else []
        current = logic.currentResult(volume) if volume is not None else None
        state.results = [self._entry(result) for result in results]
        state.result_id = current.order if current else 0
        state.result = self._figures(current) if current else NO_RESULT
        saliency = logic.saliency(volume) if volume is not None else None
        state.has_saliency = saliency is not None
        found = saliency.slices if saliency else (current.slices if current else [])
        state.flagged, state.rows_found = sum(bool(r.get("judged_lesion")) for r in found), len(found)
        told = [*found, *(current.slices if current else [])]
        state.rows = self._rows(volume, told) if told else []
        top = max((row["area"] for row in state.rows), default=0)
        state.area_top, state.area_top_text = top, f"{top:.0f}"
        if not current and state.layout != "edit":
            state.layout = "edit"
        if volume is not None and not state.save_folder:
            state.save_folder = self._default_folder(volume)
        self.refresh_undo()
        viewer.display.refresh()

    @staticmethod
    def _rows(volume: Any, told: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """All axial slices from below, with what is known of each; later facts win."""
        rows: dict[int, dict[str, Any]] = {}
        for index in range(scene.sliceCount(volume)):
            number = scene.stackIndex(volume, index) + 1  # as the engine counts: from below
            rows[index] = {"index": index, "number": number}
        for row in told:
            rows[row["index"]].update({name: value for name, value in row.items() if value is not None})
        return sorted((row_for_page(row) for row in rows.values()), key=lambda row: row["number"])

    def refresh_undo(self) -> None:
        """Whether there is something to undo."""
        state, volume, logic = self.viewer.state, self.viewer.scans.volume, self.viewer.logic
        stack = self.viewer.masks.undo_stack
        state.can_undo = volume is not None and (stack.can_undo() or logic.canUndo(volume))
        state.can_redo = volume is not None and (stack.can_redo() or logic.canRedo(volume))

    @staticmethod
    def _default_folder(volume: Any) -> str:
        """Beside the scan; where that is not known, in the user's documents."""
        path = volume.GetAttribute("BrainViewer.Path")
        home = Path.home()
        documents = home / "Documents"
        place = documents if documents.is_dir() else home
        if path and Path(path) != loading.sample_path() and os.access(Path(path).parent, os.W_OK):
            place = Path(path).parent
        folder = place / "SYNTHETIC_results"
        return str(Path("~") / folder.relative_to(home)) if folder.is_relative_to(home) else str(folder)

    @staticmethod
    def _entry(result: Any) -> dict[str, Any]:
        summary, settings = result.summary, result.provenance.get("settings", {})
        healed = summary.get("slices_healed") or 0
        return {
            "id": result.order,
            "title": f"Result {result.order}",
            "subtitle": f"{counted(healed)}, {settings.get('steps') or 'all'} steps"
            + (f", {settings['samples']} samples" if settings.get("samples", 1) > 1 else ""),
            "ml": number(summary.get("lesion_ml"), 1),
        }

    def _figures(self, result: Any) -> dict[str, Any]:
        summary, record = result.summary, result.provenance
        healed = summary.get("slices_healed") or 0
        check = summary.get("check") or {}
        settings = record.get("settings", {})
        models = [m.get("name", "") for m in record.get("models", [])][:1]
        chips = [*models, f"seed {settings.get('seed', 0)}", str(summary.get("device") or "")]
        if settings.get("samples", 1) > 1:
            chips.append(f"{settings['samples']} samples")
        unchanged = check.get("outside_identical")
        return {
            "title": f"Result {result.order}",
            "subtitle": f"{counted(healed)} healed in {summary.get('seconds') or 0:.0f} s",
            "lesion_ml": number(summary.get("lesion_ml"), 1),
            "check_ok": bool(unchanged),
            "check_text": "" if unchanged is None else ("✓ outside unchanged" if unchanged else "outside CHANGED"),
            "chips": [chip for chip in chips if chip],
            "warnings": list(result.warnings),
        }

    def jump_to_lesion(self, result: Any) -> None:
        """Show the slice with the largest lesion, unless the one in view was healed itself."""
        rows = {row["index"]: row for row in result.slices}
        here = self.viewer.display.slice_index()
        if (rows.get(here) or {}).get("mask_mm2"):
            return
        best = max(rows.values(), key=lambda r: (r.get("lesion_mm2") or 0, r.get("mask_mm2") or 0), default=None)
        if best and (best.get("lesion_mm2") or best.get("mask_mm2")):
            self.viewer.display.go_to_slice(best["index"])

    # -- choosing

    def choose_result(self, order: int) -> None:
        """Bring a result into view."""
        volume = self.viewer.scans.volume
        chosen = next((r for r in self.viewer.logic.results(volume) if r.order == int(order)), None)
        if chosen is not None:
            self.viewer.logic.restoreResult(chosen)
            if self.viewer.state.layout == "edit":
                self.viewer.state.layout = "compare"
            self.refresh()

    def undo(self) -> None:
        """In the edit layout the last change of the mask, else back to the earlier result."""
        self._step("undo")

    def redo(self) -> None:
        """The other way."""
        self._step("redo")

    def _step(self, which: str) -> None:
        viewer = self.viewer
        volume, stack, logic = viewer.scans.volume, viewer.masks.undo_stack, viewer.logic
        if volume is None:
            return
        can_mask = stack.can_undo() if which == "undo" else stack.can_redo()
        can_result = logic.canUndo(volume) if which == "undo" else logic.canRedo(volume)
        if can_mask and (viewer.state.layout == "edit" or not can_result):
            getattr(stack, which)()
            viewer.masks.measure()
            viewer.say("Mask: " + ("undone." if which == "undo" else "done again."))
        elif can_result:
            result = getattr(logic, which)(volume)
            viewer.state.layout = (
                viewer.state.layout
                if result is not None and viewer.state.layout != "edit"
                else ("compare" if result is not None else "edit")
            )
            self.refresh()
            viewer.say(f"Result {result.order} is in view." if result is not None else "The scan as it was.")
        self.refresh_undo()

    def remove_result(self) -> None:
        """Delete the result in view."""
        current = self.viewer.logic.currentResult(self.viewer.scans.volume)
        if current is not None:
            name = f"Result {current.order}"
            self.viewer.logic.removeResult(current)
            self.refresh()
            self.viewer.say(f"{name} was removed.")

    # -- saving

    async def save(self) -> None:
        """Write the result in view to the folder."""
        folder = Path(str(self.viewer.state.save_folder)).expanduser()
        paths = await self._written(folder)
        if paths:
            names = ", ".join(path.name for path in paths[:2]) + (
                f" and {len(paths) - 2} more" if len(paths) > 2 else ""
            )
            with self.viewer.state as state:
                state.saved, state.saved_text = True, f"Saved in {folder}: {names}"
                self.viewer.say(f"Saved {len(paths)} files.")

    async def download(self) -> None:
        """The same files as a .zip, through the browser."""
        workspace = Path(tempfile.mkdtemp(prefix="brainviewer-", dir=self.viewer.workspace))
        paths = await self._written(workspace / "SYNTHETIC_results")
        if not paths:
            shutil.rmtree(workspace, ignore_errors=True)
            return
        archive = Path(shutil.make_archive(str(workspace / "SYNTHETIC_results"), "zip", workspace, "SYNTHETIC_results"))
        shutil.rmtree(workspace / "SYNTHETIC_results", ignore_errors=True)
        key = secrets.token_urlsafe(12)
        self.downloads[key] = archive
        self.viewer.browser_go(f"/download/{key}")
        with self.viewer.state as state:
            state.saved, state.saved_text = True, f"Downloading {archive.name}"

    async def _written(self, folder: Path) -> list[Path]:
        """Files of the result in view, written; an error becomes a notice."""
        viewer = self.viewer
        result = viewer.logic.currentResult(viewer.scans.volume) if viewer.scans.volume is not None else None
        if result is None:
            return []
        with viewer.state as state:
            state.busy, state.busy_text = True, "Writing the files"
        await asyncio.sleep(0.05)
        paths: list[Path] = []
        with viewer.state as state:
            with viewer.told():
                kind = state.save_format
                paths = self._write_scene(result, folder) if kind == "mrb" else [
                    Path(path) for path in viewer.logic.saveResult(result, folder, kind)
                ]  # fmt: skip
            state.busy, state.busy_text = False, ""
        return paths

    def _write_scene(self, result: Any, folder: Path) -> list[Path]:
        """The whole scene as .mrb, with the provenance beside it."""
        name = f"SYNTHETIC_{self.viewer.state.scan_name}_{result.order}".replace(" ", "_").replace("/", "_")
        target, record = folder / f"{name}.mrb", folder / f"{name}_provenance.json"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".SYNTHETIC-", dir=folder) as staging:
                part = Path(staging) / target.name
                if not slicer.app.coreIOManager().saveNodes("SceneFile", {"fileName": str(part)}) or not part.is_file():
                    free = shutil.disk_usage(folder).free / 1e6
                    raise OSError(f"the scene could not be written; {free:.0f} MB are free")
                record.write_text(json.dumps(result.provenance, indent=2), encoding="utf-8")
                part.replace(target)
        except OSError as error:
            raise OutputError(
                f"The scene cannot be written to {folder}.",
                error.strerror or str(error),
                "Choose another folder, or free some space.",
            ) from error
        return [target, record]
