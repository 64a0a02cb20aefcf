"""Entries of our modules in the menu of a right click on a volume, in Slicer's data trees. Needs no Qt of its own.

Slicer itself loads the file of a plugin (``<Name>SubjectHierarchyPlugin.py``) and makes the class of that name in it;
what the plugins of our modules have in common is here.
"""

import slicer

from BrainCounterfactualCommon.scene import overlays


def register(path):
    """Give a plugin's file to Slicer; nothing where it has no plugins in Python (slicer-core, the viewer)."""
    if hasattr(slicer, "qSlicerSubjectHierarchyScriptedPlugin"):
        slicer.qSlicerSubjectHierarchyScriptedPlugin(None).setPythonSource(path)


def scanOf(item):
    """The scan that a subject hierarchy item holds; ``None`` for anything else, and for the maps that we make."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    node = hierarchy.GetItemDataNode(item) if hierarchy is not None and item else None
    isScan = node is not None and node.IsA("vtkMRMLScalarVolumeNode") and not overlays.isMap(node)
    return node if isScan and node.GetImageData() is not None else None


def openModule(name):
    """Go to a module of ours, with the scan chosen on whose item the menu was opened."""
    scan = scanOf(slicer.qSlicerSubjectHierarchyPluginHandler.instance().currentItem())
    slicer.util.selectModule(name)
    if scan is not None:
        slicer.util.getModuleWidget(name).chooseScan(scan)
