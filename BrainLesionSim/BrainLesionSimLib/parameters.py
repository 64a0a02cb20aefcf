"""The module's parameter node: every setting and node reference of the panel, saved with the scene.

Desktop Slicer only (slicer-core has no parameterNodeWrapper); the logic never needs it.
"""

from typing import Annotated

from slicer import vtkMRMLMarkupsROINode, vtkMRMLScalarVolumeNode
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper


@parameterNodeWrapper
class BrainLesionSimParameterNode:
    """What the panel shows.

    ``0`` in ``shapeMl`` and ``resamples``, ``-1`` in ``marginMm``, ``-51`` in ``massEffect`` and an empty side or
    lobe leave it to the engine.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    boxRoi: vtkMRMLMarkupsROINode
    kind: str = "stroke"
    shapeKind: str = "stroke"
    shapeMl: Annotated[float, WithinRange(0.0, 400.0)] = 0.0
    shapeSide: str = ""
    shapeLobe: str = ""
    shapeSeed: Annotated[int, WithinRange(0, 2147483647)] = 0
    showMargin: bool = True
    preview: bool = True
    method: str = "mededit"
    condition: str = "mask"
    steps: Annotated[int, WithinRange(1, 999)] = 15
    resamples: Annotated[int, WithinRange(0, 100)] = 0
    marginMm: Annotated[float, WithinRange(-1.0, 100.0)] = -1.0
    massEffect: Annotated[float, WithinRange(-51.0, 100.0)] = 0.0
    samples: Annotated[int, WithinRange(1, 32)] = 1
    seed: Annotated[int, WithinRange(0, 2147483647)] = 0
    device: str = "auto"
    healRegion: str = "lesion"
    fade: Annotated[float, WithinRange(0.0, 1.0)] = 1.0
    changeOpacity: Annotated[float, WithinRange(0.0, 1.0)] = 0.5
    showContours: bool = True
    showSurfaces: bool = False
