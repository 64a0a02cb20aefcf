"""Between the MRML scene and arrays: geometry, volumes, reading, and where outputs go.

Arrays are numpy. Slicer's volumes are indexed (k,j,i), the engine's (i,j,k); affines go from (i,j,k) to RAS mm.
Needs ``slicer.mrmlScene``, ``slicer.util`` and vtk, nothing of Qt: it runs in desktop Slicer and on slicer-core.
"""

import itertools
import os

import numpy as np
import slicer
import vtk

from BrainCounterfactualCommon.host import Problem
from BrainCounterfactualCommon.host import tr as _

# --- geometry ----------------------------------------------------------------------------------------------


def matrixOf(fill):
    """The (4,4) array of what ``fill(vtkMatrix4x4)`` writes."""
    matrix = vtk.vtkMatrix4x4()
    fill(matrix)
    return np.array([[matrix.GetElement(r, c) for c in range(4)] for r in range(4)])


def vtkMatrix(array):
    """A vtkMatrix4x4 of a (4,4) array."""
    matrix = vtk.vtkMatrix4x4()
    for r, c in itertools.product(range(4), range(4)):
        matrix.SetElement(r, c, float(array[r][c]))
    return matrix


def ijkToRas(volumeNode):
    """(4,4) voxel indices (i,j,k) -> RAS mm, without the transform the volume may be under."""
    return matrixOf(volumeNode.GetIJKToRASMatrix)


def ijkToWorld(volumeNode):
    """(4,4) voxel indices -> world mm, with the linear transforms the volume is under.

    Raises:
        Problem: the transform is not linear.
    """
    parent = volumeNode.GetParentTransformNode()
    if parent is None:
        return ijkToRas(volumeNode)
    if not parent.IsTransformToWorldLinear():
        raise Problem(
            "TransformNotLinear",
            _("The scan is under a transform that is not linear."),
            _("Its voxels have no single position and direction."),
            _("Harden the transform, or move the scan out of it."),
        )
    return matrixOf(parent.GetMatrixTransformToWorld) @ ijkToRas(volumeNode)


def axialAxis(affine):
    """The voxel axis walked from slice to slice, and whether it runs downwards: ``(axis, flipped)``.

    The engine's own rule (braindiffusion.volume.slices.place): the best total match of voxel axes with patient axes.
    """
    score = np.abs(affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0))
    best = max(itertools.permutations(range(3)), key=lambda p: score[2, p[0]] * 1.001 + score[1, p[1]] + score[0, p[2]])
    return best[0], bool(affine[2, best[0]] < 0)


def planeAxes(volumeNode):
    """The two axes of a (k,j,i) array that lie in its axial slices."""
    across = 2 - axialAxis(ijkToRas(volumeNode))[0]
    return tuple(axis for axis in range(3) if axis != across)


def sliceCount(volumeNode):
    """How many axial slices the volume has."""
    return int(volumeNode.GetImageData().GetDimensions()[axialAxis(ijkToRas(volumeNode))[0]])


def stackIndex(volumeNode, index):
    """Index along the axial voxel axis <-> the engine's slice number, counted from below (its own inverse)."""
    return sliceCount(volumeNode) - 1 - int(index) if axialAxis(ijkToRas(volumeNode))[1] else int(index)


def sliceCenter(volumeNode, index):
    """(3,) world mm of the middle of the axial slice ``index`` (along the axial voxel axis)."""
    center = (np.array(volumeNode.GetImageData().GetDimensions(), float) - 1) / 2
    center[axialAxis(ijkToRas(volumeNode))[0]] = index
    return (ijkToWorld(volumeNode) @ np.append(center, 1.0))[:3]


def sliceIndexAt(volumeNode, point):
    """The axial slice index (along the axial voxel axis) that holds a world point; ``None`` outside the volume."""
    ijk = np.linalg.inv(ijkToWorld(volumeNode)) @ np.append(np.asarray(point, float), 1.0)
    index = int(np.rint(ijk[axialAxis(ijkToRas(volumeNode))[0]]))
    return index if 0 <= index < sliceCount(volumeNode) else None


def sliceIndexOfView(volumeNode, sliceNode):
    """The axial slice index nearest to what a slice view shows; ``None`` where the view lies outside the volume."""
    center = sliceCenter(volumeNode, (sliceCount(volumeNode) - 1) / 2)
    toRas = matrixOf(lambda m: m.DeepCopy(sliceNode.GetSliceToRAS()))
    normal, origin = toRas[:3, 2], toRas[:3, 3]
    # the point of the view's plane that lies nearest to the volume's middle
    return sliceIndexAt(volumeNode, center - normal * float(np.dot(center - origin, normal)))


def voxelVolumeMl(volumeNode):
    """Volume of one voxel in mL."""
    return float(abs(np.linalg.det(ijkToRas(volumeNode)[:3, :3]))) / 1000.0


def placeBox(roiNode, volumeNode, index, size=40.0, slices=5):
    """Put a ROI into the middle of an axial slice, turned with the volume."""
    affine = ijkToWorld(volumeNode)
    pitch = np.linalg.norm(affine[:3, :3], axis=0)
    toWorld = np.eye(4)
    toWorld[:3, :3] = affine[:3, :3] / pitch
    toWorld[:3, 3] = sliceCenter(volumeNode, index)
    sides = np.full(3, float(size))
    axis = axialAxis(ijkToRas(volumeNode))[0]
    sides[axis] = pitch[axis] * slices
    roiNode.SetAndObserveObjectToNodeMatrix(vtkMatrix(toWorld))
    roiNode.SetSize(*sides)


def insideBox(roiNode, volumeNode):
    """(k,j,i) bool: voxels whose center lies inside the ROI, however it is turned."""
    toBox = np.linalg.inv(matrixOf(lambda m: m.DeepCopy(roiNode.GetObjectToWorldMatrix()))) @ ijkToWorld(volumeNode)
    half = np.asarray(roiNode.GetSize(), float) / 2
    i, j, k = np.ogrid[tuple(slice(0, n) for n in volumeNode.GetImageData().GetDimensions())]
    inside = True
    for row, reach in zip(toBox[:3], half):
        inside = inside & (np.abs(row[0] * i + row[1] * j + row[2] * k + row[3]) <= reach + 1e-6)
    return np.ascontiguousarray(np.asarray(inside).transpose())


def resampleNearest(source, sourceToWorld, volumeNode):
    """A (k,j,i) array carried to the grid of ``volumeNode`` in world space, nearest neighbor; 0 outside the source.

    Exact, and quick, where the grids differ only by the order and direction of their axes or by whole voxels.
    """
    dims = volumeNode.GetImageData().GetDimensions()
    toSource = (np.linalg.inv(sourceToWorld) @ ijkToWorld(volumeNode))[:3]
    out = np.zeros(dims[::-1], source.dtype)
    if onLattice(sourceToWorld, volumeNode):
        _takeLattice(source.transpose(), np.rint(toSource[:, :3]), np.rint(toSource[:, 3]), out.transpose())
        return out
    i, j = np.meshgrid(np.arange(dims[0]), np.arange(dims[1]))
    size = np.array(source.shape[::-1])
    for k in range(dims[2]):  # slice by slice: the coordinates of a whole volume would be many times its size
        at = np.stack([np.rint(row[0] * i + row[1] * j + row[2] * k + row[3]).astype(np.int64) for row in toSource])
        inside = np.all((at >= 0) & (at < size[:, None, None]), axis=0)
        a, b, c = (axis[inside] for axis in at)
        out[k][inside] = source[c, b, a]
    return out


def onLattice(sourceToWorld, volumeNode):
    """Whether a grid's voxels are those of the volume, but for the order of its axes, and shifts by whole voxels."""
    toSource = (np.linalg.inv(sourceToWorld) @ ijkToWorld(volumeNode))[:3]
    turn, offset = np.rint(toSource[:, :3]), np.rint(toSource[:, 3])
    corner = np.array(volumeNode.GetImageData().GetDimensions()) - 1
    straight = (np.abs(turn).sum(0) == 1).all() and (np.abs(turn).sum(1) == 1).all()
    return bool(straight and np.abs((toSource[:, :3] - turn) @ corner + toSource[:, 3] - offset).max() < 0.02)


def _takeLattice(source, turn, offset, out):
    """``out[t] = source[turn t + offset]`` where that exists; (i,j,k) arrays, ``turn`` a signed permutation."""
    order = np.abs(turn).argmax(1)  # source axis -> target axis
    target, taken = [None] * 3, [None] * 3
    for axis, along in enumerate(order):
        index = (turn[axis, along] * np.arange(out.shape[along]) + offset[axis]).astype(int)
        valid = (index >= 0) & (index < source.shape[axis])
        target[along], taken[axis] = np.nonzero(valid)[0], index[valid]
    out[np.ix_(*target)] = source[np.ix_(*taken)].transpose(np.argsort(order))


# --- volumes -----------------------------------------------------------------------------------------------


def voxels(volumeNode):
    """(k,j,i) view of the voxels.

    Raises:
        Problem: no image, or not one value a voxel.
    """
    image = volumeNode.GetImageData() if volumeNode is not None else None
    if image is None or image.GetNumberOfPoints() == 0:
        raise Problem(
            "NoImageError",
            _("The scan holds no image."),
            _("It was not loaded, or its file is missing."),
            _("Load the scan again."),
        )
    if image.GetNumberOfScalarComponents() != 1:
        raise Problem(
            "NotScalarError",
            _("The scan has several values in each voxel."),
            _("It is a color picture or a vector image."),
            _("Choose a scan with one gray value in each voxel."),
        )
    return slicer.util.arrayFromVolume(volumeNode)


def engineVoxels(volumeNode):
    """(i,j,k) contiguous copy, for the engine."""
    return np.ascontiguousarray(voxels(volumeNode).transpose())


def addVolume(array, like, name, labelmap=False):
    """A new volume of a (k,j,i) array on the grid of the volume ``like``, under the same transform."""
    array = np.ascontiguousarray(array.astype(np.uint8) if array.dtype == bool else array)
    className = "vtkMRMLLabelMapVolumeNode" if labelmap else "vtkMRMLScalarVolumeNode"
    node = slicer.mrmlScene.AddNewNodeByClass(className, name)
    slicer.util.updateVolumeFromArray(node, array)
    node.SetIJKToRASMatrix(vtkMatrix(ijkToRas(like)))
    node.SetAndObserveTransformNodeID(like.GetTransformNodeID())
    node.CreateDefaultDisplayNodes()
    return node


def updatePlane(volumeNode, axis, index, plane):
    """Write an engine plane (``array_ijk.take(index, axis)``) into a volume, in place."""
    array = slicer.util.arrayFromVolume(volumeNode)
    where = [slice(None)] * 3
    where[axis] = int(index)
    array.transpose()[tuple(where)] = plane
    slicer.util.arrayFromVolumeModified(volumeNode)


# --- the subject hierarchy ---------------------------------------------------------------------------------


def hierarchy():
    """The scene's subject hierarchy node."""
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)


def itemOf(node):
    """The node's item. Desktop Slicer has made it already; slicer-core leaves that to us."""
    sh = hierarchy()
    return sh.GetItemByDataNode(node) or sh.CreateItem(sh.GetSceneItemID(), node)


def studyItem(node):
    """The item outputs of ``node`` belong under: its parent in the subject hierarchy (a study, folder or the scene)."""
    return hierarchy().GetItemParent(itemOf(node)) or hierarchy().GetSceneItemID()


def putBeside(node, like):
    """Put a node where ``like`` is in the subject hierarchy."""
    hierarchy().SetItemParent(itemOf(node), studyItem(like))


def putInStudy(nodes, like, folderName):
    """Put nodes into a new folder beside ``like``; the folder's item ID."""
    sh = hierarchy()
    folder = sh.CreateFolderItem(studyItem(like), folderName)
    for node in nodes:
        sh.SetItemParent(itemOf(node), folder)
    return folder


def removeNode(node):
    """Remove a node with its display and storage nodes and its item, none of which it takes along by itself."""
    own = []
    if node.IsA("vtkMRMLDisplayableNode"):
        own += [node.GetNthDisplayNode(n) for n in range(node.GetNumberOfDisplayNodes())]
    if node.IsA("vtkMRMLStorableNode"):
        own += [node.GetNthStorageNode(n) for n in range(node.GetNumberOfStorageNodes())]
    item = hierarchy().GetItemByDataNode(node)
    if item:  # first: the node may take its item along, and asking for one that is gone is logged as an error
        hierarchy().RemoveItem(item, False, False)
    for other in [node, *own]:
        if other is not None and slicer.mrmlScene.IsNodePresent(other):
            slicer.mrmlScene.RemoveNode(other)


# --- where a volume came from ------------------------------------------------------------------------------

SCAN_FILES = (".nii", ".nii.gz", ".hdr", ".img", ".mgz", ".mgh", ".nrrd", ".nhdr", ".mha", ".mhd")


def fileOf(volumeNode):
    """The file a volume was loaded from; ``None`` where the engine reads none such, or the volume was changed since."""
    storage = volumeNode.GetStorageNode()
    name = (storage.GetFileName() or "") if storage is not None else ""
    known = name.lower().endswith(SCAN_FILES) and os.path.isfile(name)
    return name if known and not volumeNode.GetModifiedSinceRead() else None


def apart(volumeNode, affine):
    """How far a volume's voxels lie from where an IJK -> RAS of its file puts them: ``(mm, voxels)``.

    Slicer turns the slices of left-handed files around, which moves no voxel.
    """
    own, size = ijkToRas(volumeNode), np.array(volumeNode.GetImageData().GetDimensions())
    corners = np.array([(*c, 1.0) for c in itertools.product(*((0, n - 1) for n in size))]).T
    turned = corners.copy()
    turned[2] = size[2] - 1 - turned[2]
    off = min((own @ corners - np.asarray(affine) @ c for c in (corners, turned)), key=lambda d: np.abs(d).max())
    return float(np.linalg.norm(off[:3], axis=0).max()), float(np.abs(np.linalg.inv(own) @ off).max())


# --- reading -----------------------------------------------------------------------------------------------


def readVolumeFile(path):
    """``(array (k,j,i), ijkToRas)`` of an image file or of all segments of a ``.seg.nrrd``, leaving no node behind.

    Raises:
        Problem: it cannot be read.
    """
    path = str(path)
    name = os.path.basename(path)
    scene = slicer.vtkMRMLScene()  # a scene of its own: nothing flickers, nothing stays
    node = slicer.vtkMRMLLabelMapVolumeNode()
    scene.AddNode(node)
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    scene.AddNode(storage)
    storage.SetFileName(path)
    storage.SetSingleFile(True)
    if not os.path.isfile(path) or not storage.ReadData(node) or node.GetImageData() is None:
        raise Problem(
            "FileUnreadableError",
            _("{name} cannot be read.").format(name=name),
            _("It is missing, damaged, or not an image file."),
            _("Choose a NIfTI, NRRD or MetaImage file."),
        )
    array = slicer.util.arrayFromVolume(node)
    if array.ndim == 4:  # layers of a .seg.nrrd
        array = array.max(axis=-1)
    return np.array(array), ijkToRas(node)


def sortedDicom(files):
    """The files of one DICOM series, in order along the normal of its slices.

    Raises:
        Problem: no DICOM files, or more than one series.
    """
    import pydicom  # part of Slicer; needed for DICOM only

    slices, series = [], set()
    for path in files:
        try:
            header = pydicom.dcmread(str(path), stop_before_pixels=True, specific_tags=_DICOM_TAGS)
            row, column = np.array(header.ImageOrientationPatient, float).reshape(2, 3)
        except (pydicom.errors.InvalidDicomError, AttributeError, OSError):
            continue
        series.add(str(header.SeriesInstanceUID))
        slices.append((float(np.dot(np.cross(row, column), np.array(header.ImagePositionPatient, float))), str(path)))
    if len(series) != 1:
        raise Problem(
            "DicomSeriesError",
            _("{n} DICOM series were found.").format(n=len(series)),
            _("Exactly one is needed."),
            _("Choose a folder that holds one series."),
        )
    return [path for _position, path in sorted(slices)]


_DICOM_TAGS = ["SeriesInstanceUID", "ImageOrientationPatient", "ImagePositionPatient"]


def loadDicomSeries(files, name):
    """Load the slices of one DICOM series as a volume, sorted by position (the archetype reader alone does not)."""
    paths = sortedDicom(files)
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    slicer.mrmlScene.AddNode(storage)
    storage.SetSingleFile(False)
    storage.ResetFileNameList()
    storage.SetFileName(paths[0])
    for path in paths:
        storage.AddFileName(path)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    read = storage.ReadData(node)
    slicer.mrmlScene.RemoveNode(storage)  # the volume is to be saved as one file of its own
    if not read:
        slicer.mrmlScene.RemoveNode(node)
        raise Problem("FileUnreadableError", _("The DICOM series cannot be read."), "", _("Check the files."))
    node.CreateDefaultDisplayNodes()
    return node
