"""Saving the result in view, of either tab: files in a folder, a scene, a download; DICOM and teaching files too."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer

from BrainCounterfactualCommon.exporting import CASE_FOLDER, DICOM_FOLDER, FACES, textsOf
from BrainCounterfactualCommon.scene.saving import freshFolder
from braindiffusion.errors import OutputError
from braindiffusion.io.paths import at_home
from braindiffusion.io.write import OutputFolder
from BrainViewerLib.controllers import loading, report
from BrainViewerLib.controllers.work import Work
from BrainViewerLib.server.messages import Messages
from BrainViewerLib.shown import Shown
from BrainViewerLib.signals import Signal
from BrainViewerLib.views.display import Display

FORMATS = [
    {"value": "nifti", "title": "NIfTI"},
    {"value": "nrrd", "title": "NRRD"},
    {"value": "dicom", "title": "DICOM"},
    {"value": "mrb", "title": ".mrb scene"},
]

REPORT_FOLDER, KEY_IMAGE, REPORT = "SYNTHETIC_report", "SYNTHETIC_key_image.png", "SYNTHETIC_report.html"
SENT = ("save_folder", "save_format", "burn_in")
"""What a click on Save takes along."""
TEXTS = ("title", "history", "findings", "diagnosis", "discussion", "question", "choices")
TEACHING: dict[str, Any] = {
    **{f"case_{name}": "" for name in TEXTS}, "case_answer": "0", "case_unknown": False, "case_face": FACES[0],
}  # fmt: skip
"""The form of a teaching file, empty."""
SENT_TEACHING = ("save_folder", *TEACHING)
Export = Callable[[Any, Path, Any], Any]
"""``(result, folder, callbacks)``: starts the worker's job."""


def default_folder(volume: Any) -> str:
    """Beside the scan; where that is not known, in the user's documents."""
    path = volume.GetAttribute("BrainViewer.Path")
    home = at_home("~")
    documents = home / "Documents"
    place = documents if documents.is_dir() else home
    if path and Path(path) != loading.sample_path() and os.access(Path(path).parent, os.W_OK):
        place = Path(path).parent
    folder = place / "SYNTHETIC_results"
    return str(Path("~") / folder.relative_to(home)) if folder.is_relative_to(home) else str(folder)


class Saving:
    """Writes results; every name begins with SYNTHETIC.

    Args:
        works: the jobs of each tab, by its name.
        workspace: a folder for what is to be downloaded.

    Attributes:
        download_ready: called with the address that the page may fetch.
    """

    def __init__(
        self, state: Any, messages: Messages, shown: Shown, display: Display, works: dict[str, Work], workspace: Path
    ) -> None:
        self.state, self.messages, self.shown, self.display = state, messages, shown, display
        self.works, self.workspace = works, workspace
        self.download_ready = Signal()
        self.downloads: dict[str, Path] = {}
        self._forms: dict[tuple[str, str], dict[str, Any]] = {}
        self._form_of = ("", "")

    def show_form(self) -> None:
        """The form of the teaching file, of this scan in this tab; what was saved of another is not said of it."""
        state, volume = self.state, self.shown.volume
        wanted = (volume.GetID() if volume is not None else "", str(state.mode))
        if wanted == self._form_of:
            return
        self._forms[self._form_of] = {name: state[name] for name in TEACHING}
        self._form_of = wanted
        state.update({**TEACHING, **self._forms.get(wanted, {}), "saved": False, "saved_text": ""})

    async def save(self) -> None:
        """Write the result in view to the folder."""
        folder = at_home(str(self.state.save_folder))
        if self.state.save_format == "dicom":
            self._export("Writing DICOM", self._dicom, folder, DICOM_FOLDER)
            return
        paths = await self._written(folder)
        if paths:
            names = ", ".join(path.name for path in paths[:2]) + (
                f" and {len(paths) - 2} more" if len(paths) > 2 else ""
            )
            with self.state as state:
                state.saved, state.saved_text = True, f"Saved in {folder}: {names}"
                self.messages.say(f"Saved {len(paths)} files.")

    async def download(self) -> None:
        """The same files as a .zip, through the browser."""
        if self.state.save_format == "dicom":
            self._export("Writing DICOM", self._dicom, None, DICOM_FOLDER)
            return
        workspace = self._workspace()
        paths = await self._written(workspace / "SYNTHETIC_results")
        if not paths:
            shutil.rmtree(workspace, ignore_errors=True)
            return
        await self._offer(workspace / "SYNTHETIC_results")

    def save_case(self) -> None:
        """A teaching file of the result in view, in the folder."""
        folder = at_home(str(self.state.save_folder))
        self._export("Making the teaching file", self._case, folder, CASE_FOLDER)

    def download_case(self) -> None:
        """The same as a .zip."""
        self._export("Making the teaching file", self._case, None, CASE_FOLDER)

    async def save_report(self) -> None:
        """Key image and report of the slice in view, in a new folder."""
        folder = Path(freshFolder(at_home(str(self.state.save_folder)), REPORT_FOLDER))
        if self._write_report(folder):
            with self.state as state:
                state.saved, state.saved_text = True, f"Saved in {folder}: {KEY_IMAGE}, {REPORT}"
                self.messages.say("Saved the key image and the report.")

    async def download_report(self) -> None:
        """The same as a .zip."""
        folder = self._workspace() / REPORT_FOLDER
        if self._write_report(folder):
            await self._offer(folder)

    def _write_report(self, folder: Path) -> bool:
        state = self.state
        volume = self.shown.volume
        result = self.shown.logic.currentResult(volume) if volume is not None else None
        if result is None or self.shown.busy:
            return False
        induced = result.task == "induce"
        figures = state.induction if induced else state.result
        with self.messages.report_errors():
            picture = report.key_image(
                result, self.display.slice_index(), float(state.level_low), float(state.level_high)
            )
            rows = report.rows_of(result, figures, [] if induced else list(state.regions))
            title = "A lesion induced into a scan" if induced else "A healthy counterfactual of a scan"
            with OutputFolder(folder) as out:
                out.file(KEY_IMAGE).write_bytes(picture)
                out.file(REPORT).write_text(report.page(picture, rows, title), encoding="utf-8")
            return True
        return False

    # -- through the worker

    def _dicom(self, result: Any, folder: Path, callbacks: Any) -> None:
        self.shown.logic.saveDicom(result, folder, callbacks, burnIn=bool(self.state.burn_in))

    def _case(self, result: Any, folder: Path, callbacks: Any) -> None:
        state = self.state
        texts = {name: str(state[f"case_{name}"]) for name in TEXTS}
        told = textsOf(**texts, answer=int(state.case_answer), unknown=bool(state.case_unknown))
        self.shown.logic.saveTeachingFile(result, folder, told, callbacks, face=state.case_face)

    def _export(self, text: str, start: Export, base: Path | None, name: str) -> None:
        """Have the worker write into a new folder of that name; without a base it is downloaded."""
        work, volume = self.works[self.state.mode], self.shown.volume
        result = work.logic.currentResult(volume) if volume is not None else None
        if result is None or self.shown.busy:
            return
        folder = Path(freshFolder(base or self._workspace(), name))

        def done(paths: list[str]) -> None:
            work.end()
            if base is None:
                asyncio.get_running_loop().create_task(self._offer(folder))
                return
            self.state.saved, self.state.saved_text = True, f"Saved in {folder}: {len(paths)} files"
            self.messages.say(f"Saved {len(paths)} files.")

        with self.messages.report_errors():
            start(result, folder, work.callbacks(done))
            work.begin("export", text, covers=False)

    # -- downloads

    def _workspace(self) -> Path:
        return Path(tempfile.mkdtemp(prefix="brainviewer-", dir=self.workspace))

    async def _offer(self, folder: Path) -> None:
        """Let the browser fetch a folder of the workspace as a .zip; the folder goes."""
        try:
            archive = Path(
                await asyncio.to_thread(shutil.make_archive, str(folder), "zip", str(folder.parent), folder.name)
            )
        except OSError as error:
            with self.state:
                self.messages.show_error(error)
            return
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        key = secrets.token_urlsafe(12)
        self.downloads[key] = archive
        with self.state as state:
            self.download_ready(f"/download/{key}")
            state.saved, state.saved_text = True, f"Downloading {archive.name}"

    async def _written(self, folder: Path) -> list[Path]:
        """Files of the result in view, written; an error becomes a notice."""
        logic, volume = self.shown.logic, self.shown.volume
        result = logic.currentResult(volume) if volume is not None else None
        if result is None:
            return []
        with self.state as state:
            state.busy, state.busy_text = True, "Writing the files"
        await asyncio.sleep(0.05)
        paths: list[Path] = []
        with self.state as state:
            with self.messages.report_errors():
                kind = state.save_format
                paths = self._write_scene(result, folder) if kind == "mrb" else [
                    Path(path) for path in logic.saveResult(result, folder, kind)
                ]  # fmt: skip
            state.busy, state.busy_text = False, ""
        return paths

    def _write_scene(self, result: Any, folder: Path) -> list[Path]:
        """The whole scene as .mrb, with the provenance beside it: both, or neither."""
        state = self.state
        kind = "induced_" if state.mode == "induce" else ""
        name = f"SYNTHETIC_{state.scan_name}_{kind}{result.order}".replace(" ", "_").replace("/", "_")
        target, record = f"{name}.mrb", f"{name}_provenance.json"
        with OutputFolder(folder) as out:
            part = out.file(target)
            if not slicer.app.coreIOManager().saveNodes("SceneFile", {"fileName": str(part)}) or not part.is_file():
                free = shutil.disk_usage(part.parent).free / 1e6
                raise OutputError(
                    f"The scene cannot be written to {folder}.",
                    f"{free:.0f} MB are free.",
                    "Choose another folder, or free some space.",
                )
            out.json(record, result.provenance)
        return [folder / target, folder / record]
