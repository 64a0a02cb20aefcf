"""Saving the result in view, of either tab: files in a folder, a scene, a download."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer

from braindiffusion.errors import OutputError
from BrainViewerLib import loading

if TYPE_CHECKING:
    from BrainViewerLib.app import BrainViewer

FORMATS = [
    {"value": "nifti", "title": "NIfTI"},
    {"value": "nrrd", "title": "NRRD"},
    {"value": "mrb", "title": ".mrb scene"},
]

SENT = ("save_folder", "save_format")
"""What a click on Save takes along."""


def default_folder(volume: Any) -> str:
    """Beside the scan; where that is not known, in the user's documents."""
    path = volume.GetAttribute("BrainViewer.Path")
    home = Path.home()
    documents = home / "Documents"
    place = documents if documents.is_dir() else home
    if path and Path(path) != loading.sample_path() and os.access(Path(path).parent, os.W_OK):
        place = Path(path).parent
    folder = place / "SYNTHETIC_results"
    return str(Path("~") / folder.relative_to(home)) if folder.is_relative_to(home) else str(folder)


class Saving:
    """Writes results; every name begins with SYNTHETIC."""

    def __init__(self, viewer: BrainViewer) -> None:
        self.viewer = viewer
        self.downloads: dict[str, Path] = {}

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
        logic, volume = viewer.work.logic, viewer.scans.volume
        result = logic.currentResult(volume) if volume is not None else None
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
                    Path(path) for path in logic.saveResult(result, folder, kind)
                ]  # fmt: skip
            state.busy, state.busy_text = False, ""
        return paths

    def _write_scene(self, result: Any, folder: Path) -> list[Path]:
        """The whole scene as .mrb, with the provenance beside it."""
        state = self.viewer.state
        kind = "induced_" if state.mode == "induce" else ""
        name = f"SYNTHETIC_{state.scan_name}_{kind}{result.order}".replace(" ", "_").replace("/", "_")
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
