"""How a map is laid over a scan: color tables of our own, thresholds, color bars.

slicer-core has no Inferno or Viridis, so the tables are made here and saved with the scene.
"""

import numpy as np
import slicer

from BrainCounterfactualCommon.host import NOT_FOR_DIAGNOSIS
from BrainCounterfactualCommon.host import tr as _

HEAT = "Saliency heat"
DIVERGING = "Signed difference"
SPREAD = "Uncertainty"
MAP = "BrainCounterfactual.Map"
"""Node attribute: a map, and its color table."""

# Anchors (position 0..1, red, green, blue, alpha). What is near nothing is clear, so that the scan shows through;
# Slicer's slice views know clear and opaque only, so alpha is 0 or 1.
_ANCHORS = {
    HEAT: ((0.0, 0.05, 0.0, 0.15, 1), (0.35, 0.6, 0.05, 0.25, 1), (0.7, 0.98, 0.5, 0.1, 1), (1.0, 1.0, 1.0, 0.7, 1)),
    SPREAD: ((0.0, 0.1, 0.1, 0.3, 1), (0.3, 0.15, 0.35, 0.6, 1), (0.6, 0.1, 0.7, 0.6, 1), (1.0, 0.95, 1.0, 0.4, 1)),
    DIVERGING: (
        (0.0, 0.1, 0.75, 1.0, 1),
        (0.25, 0.1, 0.4, 0.95, 1),
        (0.4599, 0.15, 0.2, 0.45, 1),
        (0.46, 0.15, 0.2, 0.45, 0),
        (0.54, 0.45, 0.15, 0.15, 0),
        (0.5401, 0.45, 0.15, 0.15, 1),
        (0.75, 0.95, 0.25, 0.1, 1),
        (1.0, 1.0, 0.85, 0.1, 1),
    ),
}


def colorNode(name):
    """The color node of that name; ours are made when missing.

    Raises:
        ValueError: no such table.
    """
    node = slicer.util.getFirstNodeByName(name, className="vtkMRMLColorNode")
    if node is not None:
        return node
    if name not in _ANCHORS:
        raise ValueError("There is no color table named " + name)
    anchors = np.array(_ANCHORS[name])
    at = np.linspace(0.0, 1.0, 256)
    channels = [np.interp(at, anchors[:, 0], anchors[:, n]) for n in range(1, 5)]
    channels[3] = channels[3] > 0.5
    node = slicer.vtkMRMLColorTableNode()
    node.SetName(name)
    node.SetTypeToUser()
    node.SetNumberOfColors(256)
    for index, color in enumerate(zip(*channels)):
        node.SetColor(index, "{:.0f}".format(index), *(float(value) for value in color))
    node.SetAttribute("Category", "BrainCounterfactual")
    return slicer.mrmlScene.AddNode(node)


def style(volumeNode, colorName, low, high, threshold=None):
    """Show a map in a color table between two values, hidden below ``threshold`` (``None``: nothing is hidden)."""
    display = volumeNode.GetDisplayNode()
    if display is None:
        volumeNode.CreateDefaultDisplayNodes()
        display = volumeNode.GetDisplayNode()
    volumeNode.SetAttribute(MAP, colorName)
    display.SetAndObserveColorNodeID(colorNode(colorName).GetID())
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(float(low), float(high))
    display.SetInterpolate(True)
    if threshold is None:
        display.SetApplyThreshold(False)
    else:
        display.SetAutoThreshold(False)
        display.SetApplyThreshold(True)
        display.SetThreshold(float(threshold), 1e9)


def isMap(volumeNode):
    """Whether a volume is a map or labels, not an image."""
    return volumeNode.GetAttribute(MAP) is not None or volumeNode.IsA("vtkMRMLLabelMapVolumeNode")


def sameGrays(volumeNode, like):
    """Show a volume with the window, level and color table of another."""
    ours, theirs = volumeNode.GetDisplayNode(), like.GetDisplayNode()
    if ours is None or theirs is None:
        return
    ours.AutoWindowLevelOff()
    ours.SetWindowLevel(theirs.GetWindow(), theirs.GetLevel())
    if theirs.GetColorNodeID():
        ours.SetAndObserveColorNodeID(theirs.GetColorNodeID())


def colorBar(volumeNode, title, visible=True, viewIds=()):
    """Show or hide the color bar of a map; ``None`` where this Slicer has no color legends."""
    logic = slicer.vtkSlicerColorLogic
    if not hasattr(logic, "GetColorLegendDisplayNode"):
        return None
    legend = logic.GetColorLegendDisplayNode(volumeNode)
    if legend is None and visible:
        legend = logic.AddDefaultColorLegendDisplayNode(volumeNode)
    if legend is not None:
        legend.SetTitleText(title)
        legend.SetVisibility(visible)
        legend.SetViewNodeIDs(list(viewIds))
        legend.Modified()  # views built meanwhile take no notice otherwise
    return legend


def markDisplay(volumeNode):
    """Let a synthetic image say what it is wherever it is shown: a small color legend under that title.

    Slicer draws it in every view of the volume and saves it with the scene, so it stays where this extension is not
    installed. Maps are left alone: nobody takes them for a scan, and their color bar has a title of its own.

    Returns:
        The legend, or ``None`` where there is none.
    """
    logic = slicer.vtkSlicerColorLogic
    if not hasattr(logic, "GetColorLegendDisplayNode") or isMap(volumeNode) or volumeNode.GetDisplayNode() is None:
        return None
    legend = logic.GetColorLegendDisplayNode(volumeNode)
    if legend is None:
        legend = logic.AddDefaultColorLegendDisplayNode(volumeNode)
        legend.SetTitleText(_(NOT_FOR_DIAGNOSIS))
        legend.SetOrientation(legend.Horizontal)
        legend.SetSize(0.05, 0.4)
        legend.SetPosition(0.5, 0.0)
        legend.SetNumberOfLabels(0)
    return legend


def range99(array):
    """A span for showing: the 99th percentile of what differs from 0, in size; 1 where there is nothing."""
    sizes = np.abs(array[array != 0])
    return float(np.percentile(sizes, 99)) if sizes.size else 1.0
