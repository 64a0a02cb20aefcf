"""What survives when the viewer's process ends by itself: scans, masks, results and settings, kept while it runs.

A session is a folder of the user's own: the scene (``scene.mrml`` and a file for each volume, segmentation and table),
the page's settings (``page.json``), and a lock that the supervising process holds. A folder whose lock nobody holds
was left behind by a viewer that was ended by force, or by a power cut; the next one offers it. It is deleted when the
viewer is closed.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from braindiffusion.io.locks import Lock

STATE_VARIABLE = "BRAINVIEWER_STATE"
"""Names the folder for sessions and the log, if not the usual one."""
SCENE, PAGE, LOCK, RESTORING, READY = "scene.mrml", "page.json", "lock", "restoring", "ready.json"
DAYS_KEPT = 14
CLASSES = ("vtkMRMLScalarVolumeNode", "vtkMRMLSegmentationNode", "vtkMRMLTableNode", "vtkMRMLColorTableNode")
SUFFIXES = {"vtkMRMLSegmentationNode": ".seg.nrrd", "vtkMRMLTableNode": ".tsv", "vtkMRMLColorTableNode": ".ctbl"}


def state_folder() -> Path:
    """Where sessions and the log are kept; of this user alone."""
    named = os.environ.get(STATE_VARIABLE)
    if named:
        folder = Path(named)
    elif sys.platform == "win32":
        folder = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "BrainViewer"
    elif sys.platform == "darwin":
        folder = Path.home() / "Library" / "Application Support" / "BrainViewer"
    else:
        folder = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "brainviewer"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def log_path() -> Path:
    """The log of the viewer: crashes and unexpected errors."""
    return state_folder() / "viewer.log"


def write_json(path: Path, content: Any) -> None:
    """Replace a file at once."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content), encoding="utf-8")
    os.replace(part, path)


def read_json(path: Path) -> dict[str, Any]:
    """What a file holds; nothing where it is missing or half."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


class Folders:
    """The sessions of this user."""

    def __init__(self) -> None:
        self.root = state_folder() / "sessions"
        self.root.mkdir(exist_ok=True, mode=0o700)

    def new(self) -> tuple[Path, Lock]:
        """A new folder, and the lock that says it is in use."""
        folder = self.root / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
        folder.mkdir(mode=0o700)
        lock = Lock(folder / LOCK)
        lock.take()
        return folder, lock

    def left_behind(self) -> list[Path]:
        """Folders with a scene that no viewer uses, newest first; old and empty ones are deleted."""
        found = []
        for folder in sorted(self.root.iterdir(), reverse=True):
            if not folder.is_dir():
                continue
            with Lock(folder / LOCK) as lock:
                if not lock.take():
                    continue
                scene = folder / SCENE
                if scene.is_file() and time.time() - scene.stat().st_mtime < DAYS_KEPT * 86400:
                    found.append(folder)
                else:
                    shutil.rmtree(folder, ignore_errors=True)
        return found


class Session:
    """Keeps the scene of this process in a folder, as far as it has changed.

    Args:
        folder: of the session.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._written: dict[str, tuple[int, Path]] = {}
        self._page: dict[str, Any] = {}
        self._seen: tuple[Any, ...] = ()

    # -- keeping

    def keep(self, page: dict[str, Any]) -> bool:
        """Write what has changed since the last time; whether there was anything.

        Raises:
            OSError: no room, or no permission.
        """
        nodes = list(self._nodes())
        seen = tuple((node.GetID(), node.GetMTime(), changed(node)) for node in nodes)
        if seen == self._seen and page == self._page:
            return False
        if seen != self._seen:
            self._keep_scene(nodes)
        if page != self._page:
            write_json(self.folder / PAGE, page)
        # writing touches the nodes: what counts is how they are left
        self._seen = tuple((node.GetID(), node.GetMTime(), changed(node)) for node in nodes)
        self._page = json.loads(json.dumps(page))
        return True

    @staticmethod
    def _nodes() -> Iterator[Any]:
        import slicer

        for name in CLASSES:
            for node in slicer.util.getNodesByClass(name):
                ours = name != "vtkMRMLColorTableNode" or node.GetAttribute("Category") == "BrainCounterfactual"
                if ours and node.GetSaveWithScene():
                    yield node

    def _keep_scene(self, nodes: list[Any]) -> None:
        import slicer

        scene = slicer.mrmlScene
        with storages(nodes) as stored:
            for node, storage in stored:
                at, path = self._written.get(node.GetID(), (-1, Path()))
                if at != changed(node):
                    path = self.folder / f"{node.GetID()}-{secrets.token_hex(3)}{suffix(node)}"
                    storage.SetFileName(str(path))
                    if not storage.WriteData(node):
                        raise OSError(0, "The session cannot be kept", str(path))
                    self._written[node.GetID()] = (changed(node), path)
                storage.SetFileName(str(path))
            url, root = scene.GetURL(), scene.GetRootDirectory()
            part = self.folder / f"part-{SCENE}"
            try:
                scene.SetRootDirectory(str(self.folder))
                scene.SetURL(str(part))
                if not scene.Commit():
                    raise OSError(0, "The session cannot be kept", str(part))
            finally:
                scene.SetURL(url or "")
                scene.SetRootDirectory(root or "")
        os.replace(part, self.folder / SCENE)
        here = {node.GetID() for node in nodes}
        self._written = {key: value for key, value in self._written.items() if key in here}
        used = {path for _at, path in self._written.values()}
        for path in self.folder.glob("vtkMRML*"):
            if path not in used:
                path.unlink(missing_ok=True)

    # -- bringing back

    @property
    def page(self) -> dict[str, Any]:
        """The settings that were kept."""
        return read_json(self.folder / PAGE)


def suffix(node: Any) -> str:
    return SUFFIXES.get(node.GetClassName(), ".nrrd")


def changed(node: Any) -> int:
    """A number that grows when what a node's file would hold is changed."""
    if node.IsA("vtkMRMLSegmentationNode"):
        segmentation = node.GetSegmentation()
        segments = [segmentation.GetNthSegment(n) for n in range(segmentation.GetNumberOfSegments())]
        images = [segment.GetRepresentation("Binary labelmap") for segment in segments]
        return max([segmentation.GetMTime(), *(image.GetMTime() for image in images if image is not None)])
    data = node.GetTable() if node.IsA("vtkMRMLTableNode") else None
    data = node.GetImageData() if node.IsA("vtkMRMLVolumeNode") else data
    return int(data.GetMTime()) if data is not None else 0


@contextmanager
def storages(nodes: list[Any]) -> Iterator[list[tuple[Any, Any]]]:
    """The nodes with how each is stored, uncompressed; where the user has saved them is not forgotten."""
    kept = []
    for node in nodes:
        if node.GetStorageNode() is None:
            node.AddDefaultStorageNode("")
        storage = node.GetStorageNode()
        if storage is not None:
            kept.append((node, storage, storage.GetFileName(), storage.GetUseCompression()))
            storage.SetUseCompression(0)
    try:
        yield [(node, storage) for node, storage, _name, _compressed in kept]
    finally:
        for _node, storage, name, compressed in kept:
            storage.SetFileName(name)
            storage.SetUseCompression(compressed)


def forget(folder: Path) -> None:
    """Delete a session."""
    with suppress(OSError):
        shutil.rmtree(folder)
