"""Opening, choosing and closing scans."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
from BrainLesionSimLib import drawing

from BrainCounterfactualCommon.scene import masks
from BrainCounterfactualCommon.scene.results import isSynthetic
from braindiffusion.errors import DicomSeriesError, InputError
from braindiffusion.io.paths import at_home
from braindiffusion.modality import CONTRASTS
from BrainViewerLib.controllers import loading
from BrainViewerLib.controllers.maskdesk import MaskDesk
from BrainViewerLib.controllers.saving import default_folder
from BrainViewerLib.server.messages import Messages
from BrainViewerLib.shown import Shown
from BrainViewerLib.signals import Signal
from BrainViewerLib.views.display import Display

MODALITY_CHOICES = [{"value": "", "title": "not known"}] + [{"value": m, "title": m} for m in CONTRASTS]


class Scans:
    """The scans of the scene; one is shown.

    Attributes:
        results_changed, jobs_changed: called when there may be other results, and other things to do.
        opened: called when another scan is shown.
    """

    def __init__(self, state: Any, messages: Messages, shown: Shown, display: Display, masks: MaskDesk) -> None:
        self.state, self.messages, self.shown, self.display, self.masks = state, messages, shown, display, masks
        self.results_changed, self.jobs_changed, self.opened = Signal(), Signal(), Signal()
        self._series: dict[str, loading.Series] = {}
        self._folder: tuple[Path, bool] = (Path(), True)

    @property
    def volume(self) -> Any:
        """The scan shown, or ``None``."""
        return self.shown.volume

    # -- opening

    async def open_sample(self) -> None:
        """Open the shipped synthetic scan."""
        await self.open(loading.sample_path())

    async def open_path(self, typed: str) -> None:
        """Open what was typed into the path field: the page says it, since its state may arrive after the click."""
        text = str(typed or "").strip().strip("\"'")
        if text:
            await self.open(at_home(text))

    async def open(self, path: Path) -> bool:
        """Open a scan, a DICOM folder or a scene; says what is wrong otherwise."""
        if path.suffix in loading.SCENE_SUFFIXES:
            return await self._guarded(f"Reading {path.name}", lambda: self._open_scene(path))
        return await self._guarded(f"Reading {path.name}", lambda: self._open_scan(path))

    async def open_upload(self, folder: Path, kind: str) -> bool:
        """Open what the browser sent: one file, or a folder of DICOM files."""
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        if kind == "mask":
            return await self._guarded("Reading the mask", lambda: self.masks.from_file(files[0]))
        if len(files) == 1:
            if files[0].suffix in loading.SCENE_SUFFIXES:
                return await self._guarded("Reading the scene", lambda: self._open_scene(files[0]))
            return await self._guarded(f"Reading {files[0].name}", lambda: self._open_scan(files[0], keep_path=False))
        return await self._guarded(f"Reading {len(files)} files", lambda: self._open_scan(folder, keep_path=False))

    async def open_series(self, uid: str) -> None:
        """Open one of several series of a DICOM folder."""
        series = self._series.get(uid)
        if series is None:
            return

        def read() -> None:
            folder, keep = self._folder
            self._take(*loading.load(folder, series.description or None, keep, series))

        if await self._guarded(f"Reading {loading.title_of(series)}", read):
            self.state.series = []

    async def _guarded(self, text: str, work: Callable[[], None]) -> bool:
        """Do something that takes a moment, with a line that says so; an error becomes a notice."""
        state = self.state
        with state:
            state.busy, state.busy_text = True, text
        await asyncio.sleep(0.05)  # the line is seen before the work begins
        try:
            work()
            return True
        except Exception as error:
            self.messages.show_error(error)
            return False
        finally:
            with state:
                state.busy, state.busy_text = False, ""

    def _open_scan(self, path: Path, keep_path: bool = True) -> None:
        try:
            node, modality = loading.load(path, keep_path=keep_path)
        except DicomSeriesError as error:
            found = loading.series_of(path) if path.is_dir() else []
            if len(found) < 2:
                raise
            if not keep_path:  # an upload's folder goes away
                raise DicomSeriesError(
                    "The folder holds several series.",
                    ", ".join(loading.title_of(s) for s in found),
                    "Open it by its path to choose one, or pick a folder with one series.",
                ) from error
            self._series = {series.uid: series for series in found}
            self._folder = (path, keep_path)
            self.state.series = [{"uid": s.uid, "title": loading.title_of(s), "count": len(s.headers)} for s in found]
            self.state.step = self.state.induce_step = 1
            return
        self._take(node, modality)

    def _open_scene(self, path: Path) -> None:
        before = {node.GetID() for node in self.all()}
        loading.load_scene(path)
        fresh = [node for node in self.all() if node.GetID() not in before]
        if not fresh:
            raise InputError(f"{path.name} holds no scan.", "It has no volume that is not a result.", "Open a scan.")
        self.show(fresh[0])

    def _take(self, node: Any, modality: str | None) -> None:
        if modality in CONTRASTS and self.shown.heal.logic.modality(node) != modality:
            self.shown.heal.logic.setModality(node, modality)
        self.show(node)
        self.messages.say(f"{node.GetName()} is open.")

    # -- choosing

    def all(self) -> list[Any]:
        """Every volume that is a scan, not a result."""
        nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        return [
            node
            for node in nodes
            if not isSynthetic(node) and not node.IsA("vtkMRMLLabelMapVolumeNode") and node.GetImageData()
        ]

    def show(self, node: Any) -> None:
        """Make a scan the one that is shown."""
        self.shown.volume = node
        state = self.state
        state.layout, state.tool = "edit", "none"
        state.previewing = self.shown.preview(self.shown.run) is not None
        if not state.save_folder:
            state.save_folder = default_folder(node)
        self.display.pointer.measures.clear()
        state.measured, state.cine, state.maximised = 0, False, ""
        self.display.set_scan(node)
        self.masks.set_scan(node)
        self.results_changed()
        state.step = state.induce_step = 2
        state.estimate = state.estimate_warning = ""
        self.refresh(choose=True)
        self.opened()

    def choose_scan(self, node_id: str) -> None:
        """Show another scan of the scene."""
        node = slicer.mrmlScene.GetNodeByID(node_id)
        if node is not None and node is not self.volume:
            self.show(node)
            self.messages.say(f"{node.GetName()} is shown.")

    def choose_modality(self, name: str) -> None:
        """Say what the scan is."""
        if self.volume is not None:
            self.shown.heal.logic.setModality(self.volume, name or None)
            self.display.levels.modality_changed()
            self.refresh(choose=True)

    def close_scan(self) -> None:
        """Close the scan shown, with its mask and results; the next one comes into view."""
        if self.volume is None:
            return
        node, self.shown.volume = self.volume, None
        name = node.GetName()
        doomed = [n for result in self.shown.heal.logic.results(node) for n in result.nodes()]
        saliency = self.shown.heal.logic.saliency(node)
        doomed += saliency.nodes() if saliency else []
        self.masks.let_go()
        self.display.set_scan(None)
        for induction in self.shown.induce.logic.results(node):
            self.shown.induce.logic.removeResult(induction)
        drawn = [find(node, make=False) for find in (masks.maskOf, drawing.lesionOf, drawing.marginOf)]
        for each in [*doomed, *drawn, node]:  # the scan last: what refers to it goes first
            if each is not None and slicer.mrmlScene.IsNodePresent(each):
                slicer.mrmlScene.RemoveNode(each)
        left = self.all()
        if left:
            self.show(left[-1])
        else:
            self.results_changed()
            self.refresh()
            self.state.step = self.state.induce_step = 1
            self.state.layout = "edit"
        self.messages.say(f"{name} is closed.")

    def lost(self) -> None:
        """The scene was closed, or the scan was taken out of it, by somebody else."""
        self.shown.volume = None
        self.masks.let_go()
        self.display.set_scan(None)
        left = self.all()
        if left:
            self.show(left[-1])
        self.results_changed()
        self.refresh()

    # -- what the page says about it

    def refresh(self, choose: bool = False) -> None:
        """Bring the page's facts about the scan up to date.

        Args:
            choose: take the first model that is for the scan; else the one chosen stays while the method has it.
        """
        state, logic, node = self.state, self.shown.heal.logic, self.volume
        state.scans = [{"value": n.GetID(), "title": n.GetName()} for n in self.all()]
        state.scan_loaded = node is not None
        state.scan_id = node.GetID() if node else ""
        state.scan_name = node.GetName() if node else ""
        modality = logic.modality(node) if node else None
        state.modality = modality or ""
        state.facts = self._facts(node) if node else []
        models = logic.modelsFor(node, state.method)
        state.models = [
            {
                "value": card["name"],
                "title": card["name"] + ("" if card["fits"] or node is None else " (other contrast)"),
            }
            for card in models
        ]
        names = [card["name"] for card in models]
        if choose or state.model not in names:
            state.model = names[0] if names else ""
        chosen = next((card for card in models if card["name"] == state.model), None)
        state.model_note = chosen["licence"].split(":")[0] + "." if chosen else "No healing model is installed."
        state.scan_notes = loading.notes_of(node) if node else ""
        warnings = []
        if node and modality is None:
            warnings.append(
                "The contrast was not recognised: choose it in step 1. Each model is for certain contrasts."
            )
        elif node and chosen and not chosen["fits"]:
            warnings.append(
                f"This is a {modality} scan; {chosen['name']} learned from {', '.join(chosen['modality'])}."
            )
        state.warnings = warnings
        self.jobs_changed()

    def _facts(self, node: Any) -> list[dict[str, str]]:
        size, spacing = node.GetImageData().GetDimensions(), node.GetSpacing()
        path = node.GetAttribute(loading.PATH_ATTRIBUTE)
        rows = [
            ("Scan", node.GetName()),
            ("Size", " × ".join(str(n) for n in size) + " voxels"),
            ("Spacing", " × ".join(f"{s:.2f}" for s in spacing) + " mm"),
            ("Voxels", f"{slicer.util.arrayFromVolume(node).dtype}, {self._range(node)}"),
        ]
        if path:
            rows.append(("File", Path(path).name))
        return [{"name": name, "value": value} for name, value in rows]

    @staticmethod
    def _range(node: Any) -> str:
        low, high = node.GetImageData().GetScalarRange()
        return f"{low:g} to {high:g}"
