"""Small pictures for panels, as PNG files: numpy and vtk only."""

import numpy as np
import vtk
from vtk.util.numpy_support import numpy_to_vtk

PAPER, EDITED, LESION = (36, 36, 40), (128, 100, 40), (224, 64, 72)
"""Colors of a bar chart, on dark and on light panels."""


def bars(lesion, edited, height=180, width=64):
    """(height,width,3) uint8: the slices one above the other, the lowest below; to the right the areas.

    Args:
        lesion: areas by slice, from below.
        edited: of what was edited, drawn behind; as many.
    """
    lesion, edited = np.asarray(lesion, float), np.asarray(edited, float)
    out = np.full((height, width, 3), PAPER, np.uint8)
    most = max(lesion.max(initial=0.0), edited.max(initial=0.0))
    if most <= 0:
        return out
    at = np.minimum((np.arange(height) * len(lesion)) // height, len(lesion) - 1)[::-1]  # slice of each row, top first
    columns = np.arange(width)
    for areas, color in ((edited, EDITED), (lesion, LESION)):
        reach = np.where(areas > 0, np.maximum(np.rint(areas / most * width), 2), 0)
        out[columns[None, :] < reach[at][:, None]] = color
    return out


def save(pixels, path):
    """Write (rows,columns,3) uint8 as PNG; returns the path."""
    image = vtk.vtkImageData()
    image.SetDimensions(pixels.shape[1], pixels.shape[0], 1)
    flat = np.ascontiguousarray(pixels[::-1]).reshape(-1, 3)  # vtk's first row is the lowest
    image.GetPointData().SetScalars(numpy_to_vtk(flat, deep=True))
    writer = vtk.vtkPNGWriter()
    writer.SetFileName(str(path))
    writer.SetInputData(image)
    writer.Write()
    return path
