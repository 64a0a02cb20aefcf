"""Slicer without its desktop: the scene, the module logics and the few application services that module logic uses.

:class:`SlicerHost` fills ``slicer.mrmlScene``, ``slicer.modules.*.logic()`` and ``slicer.app`` from trame-slicer, so
that the modules' logic runs unchanged.
"""

from __future__ import annotations

import tempfile
import types
from pathlib import Path
from typing import Any

import slicer
import vtk
from trame_slicer.core import SlicerApp

SCENE_FILES = (".mrb", ".mrml")
SEGMENTATION_FILES = (".seg.nrrd", ".seg.nhdr")
VOLUME_OPTIONS = {"labelmap": 1, "center": 2, "singleFile": 4, "autoWindowLevel": 8, "discardOrientation": 16}
VOLUME_DEFAULTS = {"singleFile": True, "autoWindowLevel": True}


class Module:
    """What ``slicer.modules.volumes`` is on the desktop, as far as logic asks: a holder of the module's logic."""

    def __init__(self, logic: Any) -> None:
        self._logic = logic

    def logic(self) -> Any:
        return self._logic


class CoreIO:
    """``slicer.app.coreIOManager()``: what ``slicer.util.load*`` and ``save*`` call. Names are Slicer's."""

    def __init__(self, core: SlicerApp) -> None:
        self._core = core

    def fileType(self, name: str) -> str:
        name = str(name).lower()
        if name.endswith(SCENE_FILES):
            return "SceneFile"
        return "SegmentationFile" if name.endswith(SEGMENTATION_FILES) else "VolumeFile"

    def fileWriterFileType(self, node: Any) -> str:
        return node.GetClassName()

    def loadNodes(self, kind: str, properties: dict[str, Any], nodes: Any = None, messages: Any = None) -> bool:
        name = str(properties["fileName"])
        if kind == "SceneFile":
            return bool(self._core.io_manager.load_scene(name))
        if kind == "SegmentationFile":
            node = self._core.segmentations_logic.LoadSegmentationFromFile(name)
        else:
            chosen = {**VOLUME_DEFAULTS, **properties}
            options = sum(bit for key, bit in VOLUME_OPTIONS.items() if chosen.get(key))
            title = properties.get("name") or Path(name).name.split(".")[0]
            node = self._core.volumes_logic.AddArchetypeVolume(name, title, options)
        if node is not None and nodes is not None:
            nodes.AddItem(node)
        return node is not None

    def saveNodes(self, kind: str, properties: dict[str, Any], messages: Any = None) -> bool:
        name = str(properties["fileName"])
        if kind == "SceneFile":
            return bool(self._core.io_manager.save_scene(name))
        node = slicer.mrmlScene.GetNodeByID(properties["nodeID"])
        if node.GetStorageNode() is None:
            node.AddDefaultStorageNode(name)
        storage = node.GetStorageNode()
        storage.SetFileName(name)
        storage.SetUseCompression(int(properties.get("useCompression", 1)))
        return bool(storage.WriteData(node))


class App:
    """``slicer.app``, as far as logic asks."""

    def __init__(self, core: SlicerApp) -> None:
        self._core, self._io = core, CoreIO(core)
        self.temporaryPath = tempfile.gettempdir()

    def coreIOManager(self) -> CoreIO:
        return self._io

    def applicationLogic(self) -> Any:
        return self._core.app_logic

    def mrmlScene(self) -> Any:
        return self._core.scene

    def layoutManager(self) -> None:
        return None

    def processEvents(self, *_: Any) -> None:
        return None

    def testingEnabled(self) -> bool:
        return False


class SlicerHost:
    """The scene and its logics, made known to ``import slicer``."""

    def __init__(self) -> None:
        vtk.vtkLogger.SetStderrVerbosity(vtk.vtkLogger.VERBOSITY_ERROR)
        self.core = SlicerApp()
        vtk.vtkOutputWindow.GetInstance().SetDisplayModeToNever()  # what matters is said in typed errors
        core = self.core
        slicer.mrmlScene = core.scene
        slicer.app = App(core)
        slicer.modules = types.SimpleNamespace(
            volumes=Module(core.volumes_logic),
            segmentations=Module(core.segmentations_logic),
            colors=Module(core.color_logic),
            subjecthierarchy=Module(core.subject_hierarchy_logic),
            terminologies=Module(core.terminologies_logic),
            markups=Module(core.markups_logic._logic),
        )
        crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
        if crosshair is not None:
            crosshair.SetCrosshairBehavior(slicer.vtkMRMLCrosshairNode.OffsetJumpSlice)

    @property
    def scene(self) -> Any:
        return self.core.scene
