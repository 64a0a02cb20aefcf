"""Geometry between scene and arrays, on slicer-core."""

import numpy as np
import pytest
import slicer
from logic_helpers import SAMPLE, makeVolume, obliqueAffine, worldSamples


def test_axial_axis_and_stack_index_follow_the_direction(core):
    from BrainCounterfactualCommon.scene import volumes

    affine = np.array([[0, 0, 3.0, 0], [1.0, 0, 0, 0], [0, -2.0, 0, 50], [0, 0, 0, 1]])  # j runs downwards
    node = makeVolume(np.zeros((4, 20, 6), np.int16), affine, "sagittal")
    assert volumes.axialAxis(volumes.ijkToRas(node)) == (1, True)
    assert volumes.sliceCount(node) == 20
    assert volumes.stackIndex(node, 0) == 19
    assert volumes.stackIndex(node, volumes.stackIndex(node, 7)) == 7
    assert volumes.sliceIndexAt(node, volumes.sliceCenter(node, 13)) == 13
    assert volumes.sliceIndexAt(node, (0, 0, 500)) is None


def test_slice_of_a_view(head):
    from BrainCounterfactualCommon.scene import volumes

    view = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceNode", "Red")
    view.RotateToVolumePlane(head)
    for index in (0, 3, 5):
        center = volumes.sliceCenter(head, index)
        view.JumpSliceByOffsetting(*center)
        assert volumes.sliceIndexOfView(head, view) == index
    view.JumpSliceByOffsetting(0, 0, 900)
    assert volumes.sliceIndexOfView(head, view) is None


def test_box_turned_and_scaled(head):
    from BrainCounterfactualCommon.scene import volumes

    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
    affine = obliqueAffine()
    center = affine @ (4.5, 3.5, 2.0, 1.0)
    turned = np.eye(4)
    turned[:3, :3] = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    turned[:3, 3] = center[:3]
    roi.SetAndObserveObjectToNodeMatrix(slicer.util.vtkMatrixFromArray(turned))
    roi.SetSize(4 * 0.9, 2 * 1.2, 3 * 5.0)
    mask = volumes.insideBox(roi, head)
    expected = np.zeros((6, 8, 10), bool)
    expected[1:4, 3:5, 3:7] = True
    assert (mask == expected).all()


def test_resampling_turns_axes_exactly(head):
    from BrainCounterfactualCommon.scene import volumes

    array = slicer.util.arrayFromVolume(head)
    flipped = array[::-1, :, ::-1]
    turn = np.array([[-1.0, 0, 0, 9], [0, 1, 0, 0], [0, 0, -1, 5], [0, 0, 0, 1]])
    assert (volumes.resampleNearest(flipped, obliqueAffine() @ turn, head) == array).all()


def test_nonlinear_or_empty_or_color_scan_is_refused_in_words(core):
    from BrainCounterfactualCommon.host import Problem
    from BrainCounterfactualCommon.scene import volumes

    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    with pytest.raises(Problem, match="holds no image") as caught:
        volumes.voxels(empty)
    assert caught.value.action
    color = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "color")
    slicer.util.updateVolumeFromArray(color, np.zeros((3, 4, 5, 3), np.uint8))
    with pytest.raises(Problem, match="several values"):
        volumes.voxels(color)


def test_left_handed_file_keeps_its_place_in_the_world(core, tmp_path):
    """Slicer flips left-handed files along k on load: the order changes, the world does not."""
    from BrainCounterfactualCommon.scene import volumes

    array = np.random.default_rng(0).integers(0, 900, (7, 9, 11)).astype(np.int16)
    affine = np.diag([-1.1, 1.3, 2.5, 1.0])
    affine[:3, 3] = (20, -30, 5)
    path = tmp_path / "LAS.nii"
    writeNifti(path, array, affine)
    node = slicer.util.loadVolume(str(path))
    loaded = slicer.util.arrayFromVolume(node)
    assert np.linalg.det(volumes.ijkToRas(node)[:3, :3]) > 0
    i, j, k = np.meshgrid(*(np.arange(n) for n in array.shape[::-1]), indexing="ij")
    points = (affine @ np.stack([i, j, k, np.ones_like(i)]).reshape(4, -1))[:3].T
    assert (worldSamples(loaded, volumes.ijkToWorld(node), points) == array.transpose().ravel()).all()
    source, fileAffine = volumes.readVolumeFile(path)
    assert (volumes.resampleNearest(source, fileAffine, node) == loaded).all()


def test_sample_scan_loads(core):
    from BrainCounterfactualCommon.scene import volumes

    node = slicer.util.loadVolume(str(SAMPLE))
    assert volumes.voxels(node).max() > 0
    assert volumes.sliceCount(node) > 10


def test_dicom_series_is_sorted_by_position(core, tmp_path):
    pydicom = pytest.importorskip("pydicom")
    from BrainCounterfactualCommon.host import Problem
    from BrainCounterfactualCommon.scene import volumes

    array = np.random.default_rng(1).integers(0, 900, (6, 5, 4)).astype(np.int16)
    order = [3, 0, 5, 1, 4, 2]  # file names tell nothing
    for number, k in enumerate(order):
        writeDicom(pydicom, tmp_path / f"IM{number}.dcm", array[k], (10.0, -20.0, 3.0 * k), "1.2.3.4")
    files = sorted(tmp_path.iterdir())
    node = volumes.loadDicomSeries(files, "series")
    affine = volumes.ijkToRas(node)
    i, j, k = np.meshgrid(np.arange(4), np.arange(5), np.arange(6), indexing="ij")
    points = np.stack([-(10.0 + 0.8 * i), -(-20.0 + 0.7 * j), 3.0 * k]).reshape(3, -1).T
    assert (worldSamples(slicer.util.arrayFromVolume(node), affine, points) == array.transpose().ravel()).all()
    writeDicom(pydicom, tmp_path / "other.dcm", array[0], (0, 0, 0), "1.2.3.5")
    with pytest.raises(Problem, match="2 DICOM series"):
        volumes.loadDicomSeries(list(tmp_path.iterdir()), "two")


def writeDicom(pydicom, path, plane, position, series):
    dataset = pydicom.Dataset()
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = pydicom.uid.generate_uid()
    dataset.file_meta = meta
    dataset.SeriesInstanceUID, dataset.StudyInstanceUID = series, "1.2.3"
    dataset.Modality, dataset.PatientID = "MR", "none"
    dataset.ImagePositionPatient = [float(v) for v in position]
    dataset.ImageOrientationPatient = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    dataset.PixelSpacing, dataset.SliceThickness = [0.7, 0.8], 3.0
    dataset.Rows, dataset.Columns = plane.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 1
    dataset.PixelData = plane.tobytes()
    dataset.save_as(path, enforce_file_format=True)


def writeNifti(path, array, affine):
    """A NIfTI-1 file of a (k,j,i) int16 array, by hand: its handedness is what is tested."""
    header = np.zeros(352, np.uint8)

    def put(offset, kind, *values):
        data = np.array(values, kind).tobytes()
        header[offset : offset + len(data)] = np.frombuffer(data, np.uint8)

    put(0, "<i4", 348)
    put(40, "<i2", 3, *array.shape[::-1], 1, 1, 1, 1)
    put(70, "<i2", 4, 16)
    put(76, "<f4", 1, *np.linalg.norm(affine[:3, :3], axis=0), 0, 0, 0, 0)
    put(108, "<f4", 352, 1, 0)
    put(252, "<i2", 0, 1)
    put(280, "<f4", *affine[:3].ravel())
    header[344:348] = np.frombuffer(b"n+1\0", np.uint8)
    path.write_bytes(header.tobytes() + array.astype("<i2").tobytes())
