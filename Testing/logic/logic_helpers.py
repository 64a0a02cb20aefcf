"""What several logic tests use: volumes, points in the world, callbacks that listen."""

from pathlib import Path

import numpy as np
import slicer

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "Resources" / "Samples" / "SYNTHETIC_FLAIR_lesion.nii.gz"
TRUTH = ROOT / "Resources" / "Samples" / "SYNTHETIC_FLAIR_lesion_truth.nii.gz"


def obliqueAffine():
    """Columns: 0.9 x 1.2 x 5 mm, turned by 12 degrees about two axes."""
    a, b = np.deg2rad(12), np.deg2rad(-7)
    about = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    tilt = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = about @ tilt @ np.diag([0.9, 1.2, 5.0])
    affine[:3, 3] = (-4.0, 7.0, 11.0)
    return affine


def makeVolume(array, affine, name, className="vtkMRMLScalarVolumeNode"):
    """A volume node of a (k,j,i) array."""
    node = slicer.mrmlScene.AddNewNodeByClass(className, name)
    slicer.util.updateVolumeFromArray(node, array)
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(affine))
    node.CreateDefaultDisplayNodes()
    return node


def makeLayoutNode():
    """The scene's layout node, a singleton as in Slicer: closing the scene leaves it there."""
    node = slicer.vtkMRMLLayoutNode()
    node.SetSingletonTag("vtkMRMLLayoutNode")
    return slicer.mrmlScene.AddNode(node)


def makeViews(*tags):
    """Slice views without windows: slice and composite node of each, as a host would make them."""
    for tag in tags:
        for className in ("vtkMRMLSliceNode", "vtkMRMLSliceCompositeNode"):
            node = getattr(slicer, className)()
            node.SetLayoutName(tag)
            node.SetSingletonTag(tag)
            slicer.mrmlScene.AddNode(node)


def makeSurfaceView(tag):
    """A 3-D view without a window."""
    node = slicer.vtkMRMLViewNode()
    node.SetLayoutName(tag)
    node.SetSingletonTag(tag)
    return slicer.mrmlScene.AddNode(node)


def worldSamples(array, affine, points):
    """Values of a (k,j,i) array at world points, nearest voxel."""
    ijk = np.rint((np.linalg.inv(affine) @ np.vstack([points.T, np.ones(len(points))]))[:3]).astype(int)
    return array[ijk[2], ijk[1], ijk[0]]


class Heard:
    """Callbacks that keep what they are told."""

    def __init__(self):
        self.said = []

    def __getattr__(self, name):
        if not name.startswith("on"):
            raise AttributeError(name)
        return lambda *arguments: self.said.append((name, *arguments))

    @property
    def names(self):
        return [entry[0] for entry in self.said]

    @property
    def last(self):
        return self.said[-1][1]


def healed(logic, volumeNode, samples=1, **settings):
    """A finished result."""
    heard = Heard()
    logic.heal(volumeNode, settings, heard)
    logic.client.finish(samples=samples)
    assert heard.names == ["onDone"]
    return heard.last
