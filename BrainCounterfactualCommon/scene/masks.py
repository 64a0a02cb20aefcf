"""The mask of a scan: a segmentation with one segment ``Mask``, kept by node reference on the volume."""

import logging
import os

import numpy as np
import slicer
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from BrainCounterfactualCommon.host import Problem
from BrainCounterfactualCommon.host import tr as _
from BrainCounterfactualCommon.scene import volumes
from braindiffusion.errors import BrainDiffusionError
from braindiffusion.volume.mask_values import selected

MASK_REFERENCE = "BrainCounterfactual.mask"
MASK_SEGMENT = "Mask"
MASK_COLOR = (1.0, 0.72, 0.1)


def newSegmentation(volumeNode, name, segment, color, mask=None, outlineOnly=False):
    """A segmentation with one segment on the grid of a volume, under the same transform."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
    node.GetSegmentation().AddEmptySegment(segment, segment, color)
    display = node.GetDisplayNode()
    display.SetVisibility3D(False)
    display.SetOpacity2DFill(0.0 if outlineOnly else 0.35)
    display.SetOpacity2DOutline(1.0)
    if mask is not None:
        setSegmentArray(mask, node, segment, volumeNode)
    return node


def segmentArray(segmentationNode, segment, volumeNode):
    """(k,j,i) bool of one segment on the grid of a volume."""
    shape = volumes.voxels(volumeNode).shape
    if segmentationNode.GetSegmentation().GetSegment(segment) is None:
        return np.zeros(shape, bool)
    segmentationNode.CreateBinaryLabelmapRepresentation()  # nothing where it is there already
    image = slicer.vtkOrientedImageData()
    segmentationNode.GetBinaryLabelmapRepresentation(segment, image)
    extent = image.GetExtent()
    if image.GetPointData().GetScalars() is None or extent[1] < extent[0]:
        return np.zeros(shape, bool)
    dims = [extent[2 * axis + 1] - extent[2 * axis] + 1 for axis in (2, 1, 0)]
    source = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(dims) != 0
    first = np.eye(4)
    first[:3, 3] = extent[0], extent[2], extent[4]
    toWorld = _toWorld(segmentationNode) @ volumes.matrixOf(image.GetImageToWorldMatrix) @ first
    return volumes.resampleNearest(source, toWorld, volumeNode)


def setSegmentArray(mask, segmentationNode, segment, volumeNode):
    """Replace one segment by a (k,j,i) mask."""
    if mask.shape != volumes.voxels(volumeNode).shape:
        raise Problem(
            "MaskGeometryError",
            _("The mask does not fit the scan."),
            _("The mask has {mask} voxels along its axes, the scan {scan}.").format(
                mask=mask.shape, scan=volumes.voxels(volumeNode).shape
            ),
            _("Draw the mask on this scan."),
        )
    # by hand: slicer.util's way leaves the display nodes of its temporary volumes in the scene
    image = slicer.vtkOrientedImageData()
    image.SetDimensions(mask.shape[::-1])
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(mask, np.uint8).ravel(), deep=True))
    fromWorld = np.linalg.inv(_toWorld(segmentationNode))
    image.SetImageToWorldMatrix(volumes.vtkMatrix(fromWorld @ volumes.ijkToWorld(volumeNode)))
    slicer.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment(image, segmentationNode, segment)


def _toWorld(node):
    """(4,4) from a node's own coordinates to the world."""
    parent = node.GetParentTransformNode()
    return np.eye(4) if parent is None else volumes.matrixOf(parent.GetMatrixTransformToWorld)


def labelmapOf(segmentationNode, segment):
    """A segment and its label map, as they lie in the scene; ``None`` for what is not there."""
    found = segmentationNode.GetSegmentation().GetSegment(segment) if segmentationNode is not None else None
    name = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    return found, found.GetRepresentation(name) if found is not None else None


def voxelCount(segmentationNode, segment):
    """Voxels of a segment on its own grid; quick enough to ask at every stroke of the brush."""
    found, image = labelmapOf(segmentationNode, segment)
    scalars = image.GetPointData().GetScalars() if image is not None else None
    if scalars is None or scalars.GetNumberOfTuples() == 0:
        return 0
    return int((vtk_to_numpy(scalars) == found.GetLabelValue()).sum())


def drawingOf(volumeNode, reference, name, segment, color, make=True, outlineOnly=False):
    """The segmentation with one segment that belongs to a volume by a node reference.

    Args:
        name: with ``{name}`` for the volume's.
        make: make it, and its segment, when missing; ``None`` is returned instead of a missing one otherwise.
    """
    node = volumeNode.GetNodeReference(reference)
    if node is None and make:
        node = newSegmentation(
            volumeNode, name.format(name=volumeNode.GetName()), segment, color, outlineOnly=outlineOnly
        )
        volumeNode.SetNodeReferenceID(reference, node.GetID())
        volumes.putBeside(node, volumeNode)
    if make and node.GetSegmentation().GetSegment(segment) is None:
        node.GetSegmentation().AddEmptySegment(segment, segment, color)
    return node


def hide(segmentationNode):
    """Show a segmentation nowhere until somebody shows it."""
    display = segmentationNode.GetDisplayNode() if segmentationNode is not None else None
    if display is not None:
        display.SetVisibility(False)


def showMarks(segmentationNode, outlined, surfaces=()):
    """Show segments as contours in slices, and some as closed surfaces in 3-D.

    Args:
        outlined: IDs of the segments seen in slices.
        surfaces: of those seen in 3-D; their surfaces are made when first asked for.
    """
    display = segmentationNode.GetDisplayNode() if segmentationNode is not None else None
    if display is None:
        return
    if surfaces:
        segmentationNode.CreateClosedSurfaceRepresentation()
    for segment in segmentsOf(segmentationNode):
        display.SetSegmentVisibility(segment, segment in outlined or segment in surfaces)
        display.SetSegmentVisibility2DOutline(segment, segment in outlined)
        display.SetSegmentVisibility2DFill(segment, segment in outlined)
        display.SetSegmentVisibility3D(segment, segment in surfaces)
    display.SetVisibility3D(bool(surfaces))
    display.SetVisibility(bool(outlined) or bool(surfaces))


def segmentsOf(segmentationNode):
    """IDs of all segments."""
    segmentation = segmentationNode.GetSegmentation()
    return [segmentation.GetNthSegmentID(n) for n in range(segmentation.GetNumberOfSegments())]


def maskOf(volumeNode, make=True):
    """The mask segmentation of a volume; made when missing (``None`` instead where ``make`` is false)."""
    return drawingOf(volumeNode, MASK_REFERENCE, _("Mask of {name}"), MASK_SEGMENT, MASK_COLOR, make)


def arrayOf(node, volumeNode):
    """(k,j,i) bool of whatever node holds a mask: all segments of a segmentation, or the nonzero voxels of a volume."""
    if node.IsA("vtkMRMLSegmentationNode"):
        ids = segmentsOf(node)
        own = [MASK_SEGMENT] if MASK_SEGMENT in ids else ids
        mask = np.zeros(volumes.voxels(volumeNode).shape, bool)
        for segment in own:
            mask |= segmentArray(node, segment, volumeNode)
        return mask
    return volumes.resampleNearest(volumes.voxels(node), volumes.ijkToWorld(node), volumeNode) != 0


def fromBox(roiNode, volumeNode):
    """(k,j,i) bool: voxels inside a ROI, however it is turned.

    Raises:
        Problem: it holds no voxel of the scan.
    """
    box = volumes.insideBox(roiNode, volumeNode)
    if not box.any():
        raise Problem(
            "BoxError", _("The box holds nothing of the scan."), _("It lies outside."), _("Draw it on the scan.")
        )
    return box


def fromNode(node, volumeNode):
    """(k,j,i) bool of a segmentation (all its segments) or label map of the scene, carried to the scan in world space.

    Raises:
        Problem: it marks nothing inside the scan.
    """
    mask = arrayOf(node, volumeNode)
    if not mask.any():
        raise Problem(
            "EmptyMaskError",
            _("{name} marks nothing inside this scan.").format(name=node.GetName()),
            _("It is empty, or lies elsewhere in space."),
            _("Take a mask drawn on this scan."),
        )
    return mask


def fromFile(path, volumeNode, onNote=logging.warning):
    """(k,j,i) bool of a mask file (labels, or probabilities from 0.5 on), carried to the scan in world space.

    Args:
        onNote: given sentences for the user about what was assumed.

    Raises:
        Problem: unreadable, empty, it lies elsewhere, or its values are neither labels nor probabilities.
    """
    array, affine = volumes.readVolumeFile(path)
    name = os.path.basename(str(path))
    if not array.any():
        raise Problem(
            "EmptyMaskError",
            _("{name} selects nothing.").format(name=name),
            _("Every voxel is 0."),
            _("Choose a file in which the lesion is marked."),
        )
    try:
        marked = selected(array, name, None, onNote)
    except BrainDiffusionError as error:
        raise Problem(type(error).__name__, error.what, error.why, error.action) from error
    # the file knows nothing of a transform put on the scan later: it belongs to the scan as stored
    toWorld = volumes.ijkToWorld(volumeNode) @ np.linalg.inv(volumes.ijkToRas(volumeNode)) @ affine
    mask = volumes.resampleNearest(marked, toWorld, volumeNode)
    if not volumes.onLattice(toWorld, volumeNode):
        onNote(_("The mask lies on another grid; it was resampled to the scan's (nearest neighbor)."))
    if not mask.any():
        raise Problem(
            "MaskGeometryError",
            _("{name} marks nothing inside this scan.").format(name=name),
            _("It lies elsewhere in space: perhaps it belongs to another scan."),
            _("Choose a mask drawn on this scan."),
        )
    return mask
