"""slicer-core dressed as much like desktop Slicer as module logic needs: a scene, module logics, reading and writing.

Stands in for ``slicer.mrmlScene``, ``slicer.modules.<name>.logic()`` and ``slicer.app`` (its coreIOManager only).
Everything else (scene, nodes, storage, logics, ``slicer.util``) is Slicer's own.
"""

import os
import tempfile
from types import SimpleNamespace

import slicer

LOGICS = {
    "volumes": "vtkSlicerVolumesLogic",
    "segmentations": "vtkSlicerSegmentationsModuleLogic",
    "markups": "vtkSlicerMarkupsLogic",
    "colors": "vtkSlicerColorLogic",
    "subjecthierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
}
_SCENE_FILES = (".mrb", ".mrml")


class CoreIOManager:
    """The part of qSlicerCoreIOManager that ``slicer.util.load*`` and ``save*`` call."""

    def fileType(self, path):
        if str(path).lower().endswith(_SCENE_FILES):
            return "SceneFile"
        return "SegmentationFile" if ".seg." in str(path).lower() else "VolumeFile"

    def loadNodes(self, fileType, properties, loaded=None, _messages=None):
        path = str(properties["fileName"])
        if fileType == "SceneFile":
            return self._loadScene(path)
        if fileType == "SegmentationFile":
            node = slicer.modules.segmentations.logic().LoadSegmentationFromFile(path)
        else:
            options = 4 | (1 if properties.get("labelmap") else 0) | 8  # single file, labelmap, automatic window
            name = properties.get("name") or os.path.basename(path).split(".")[0]
            node = slicer.modules.volumes.logic().AddArchetypeVolume(path, name, options)
        if node is not None and loaded is not None:
            loaded.AddItem(node)
        return node is not None

    def _loadScene(self, path):
        if path.endswith(".mrb"):
            return bool(slicer.mrmlScene.ReadFromMRB(path))
        slicer.mrmlScene.SetURL(path)
        return bool(slicer.mrmlScene.Import(None))

    def fileWriterFileType(self, node):
        return node.GetClassName()

    def saveNodes(self, fileType, properties, _messages=None):
        path = str(properties["fileName"])
        if fileType != "SceneFile":
            node = slicer.mrmlScene.GetNodeByID(properties["nodeID"])
            if node.GetStorageNode() is None:
                node.AddDefaultStorageNode(path)
            node.GetStorageNode().SetFileName(path)
            return bool(node.GetStorageNode().WriteData(node))
        slicer.mrmlScene.SetURL(path)
        slicer.mrmlScene.SetRootDirectory(os.path.dirname(os.path.abspath(path)))
        return bool(slicer.mrmlScene.WriteToMRB(path) if path.endswith(".mrb") else slicer.mrmlScene.Commit())


class CoreApplication:
    """A scene with its logics. ``install`` puts it where module code looks, ``uninstall`` puts back what was there."""

    def __init__(self):
        self.scene = slicer.vtkMRMLScene()
        self.applicationLogic = slicer.vtkSlicerApplicationLogic()
        self.applicationLogic.SetMRMLScene(self.scene)
        self.applicationLogic.GetColorLogic().SetMRMLScene(self.scene)
        self.applicationLogic.GetColorLogic().AddDefaultColorNodes()
        self._logics = {name: self._logic(className) for name, className in LOGICS.items()}
        colors = slicer.vtkMRMLColorLogic()
        colors.SetMRMLScene(self.scene)
        self.applicationLogic.SetModuleLogic("Colors", colors)  # the volumes logic asks for it by this name
        self._cache = tempfile.TemporaryDirectory()  # reading an .mrb goes through the data IO manager's cache
        self._remote = self._logic("vtkMRMLRemoteIOLogic")
        self._remote.GetCacheManager().SetRemoteCacheDirectory(self._cache.name)
        self._dataIO = self._logic("vtkDataIOManagerLogic")
        self._dataIO.SetAndObserveDataIOManager(self._remote.GetDataIOManager())
        self._remote.AddDataIOToScene()
        self._keep, self._before = colors, {}

    def _logic(self, className):
        logic = getattr(slicer, className)()
        logic.SetMRMLScene(self.scene)
        logic.SetMRMLApplicationLogic(self.applicationLogic)
        self.applicationLogic.SetModuleLogic(className, logic)
        return logic

    def install(self):
        manager = CoreIOManager()
        attributes = {
            "mrmlScene": self.scene,
            "modules": SimpleNamespace(
                **{name: SimpleNamespace(logic=lambda logic=logic: logic) for name, logic in self._logics.items()}
            ),
            "app": SimpleNamespace(
                coreIOManager=lambda: manager,
                applicationLogic=lambda: self.applicationLogic,
                mrmlScene=lambda: self.scene,
                layoutManager=lambda: None,
                testingEnabled=lambda: True,
                processEvents=lambda: None,
            ),
        }
        self._before = {name: getattr(slicer, name, None) for name in attributes}
        for name, value in attributes.items():
            setattr(slicer, name, value)

    def uninstall(self):
        for name, value in self._before.items():
            if value is None:
                delattr(slicer, name)
            else:
                setattr(slicer, name, value)

    def clear(self):
        """An empty scene, with the default color tables back in it."""
        self.scene.Clear(0)
        for node in slicer.util.getNodesByClass("vtkMRMLLayoutNode", self.scene):  # a singleton outlives that
            self.scene.RemoveNode(node)
        self.applicationLogic.GetColorLogic().AddDefaultColorNodes()
