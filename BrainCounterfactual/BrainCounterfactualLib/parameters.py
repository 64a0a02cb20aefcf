"""The module's parameter node: every setting and node reference of the panel, saved with the scene.

Desktop Slicer only (slicer-core has no parameterNodeWrapper); the logic never needs it.
"""

from typing import Annotated

from slicer import vtkMRMLMarkupsROINode, vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

from BrainCounterfactualCommon.worker.models import DEFAULT_MODEL


@parameterNodeWrapper
class BrainCounterfactualParameterNode:
    """What the panel shows.

    ``-1`` in ``percentile`` and ``marginMm``, and an empty ``maskRule``, mean: as the model was tuned; an empty
    ``seam``: as fits the kind of mask; ``0`` in ``noiseLevel``: the method's own.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    maskSegmentation: vtkMRMLSegmentationNode
    boxRoi: vtkMRMLMarkupsROINode
    method: str = "dif_fuse"
    modelName: str = DEFAULT_MODEL
    saliencyMethod: str = "acat"
    saliencyVisible: bool = True
    saliencyOpacity: Annotated[float, WithinRange(0.0, 1.0)] = 0.5
    saliencyThreshold: Annotated[float, WithinRange(0.0, 1.0)] = 0.3
    useMask: bool = True
    preview: bool = True
    noiseLevel: Annotated[int, WithinRange(0, 999)] = 0
    steps: Annotated[int, WithinRange(0, 999)] = 0
    percentile: Annotated[float, WithinRange(-1.0, 100.0)] = -1.0
    maskRule: str = ""
    marginMm: Annotated[float, WithinRange(-1.0, 50.0)] = -1.0
    seam: str = ""
    fusion: str = "cached"
    samples: Annotated[int, WithinRange(1, 32)] = 1
    seed: Annotated[int, WithinRange(0, 2147483647)] = 0
    device: str = "auto"
    force: bool = False
    fade: Annotated[float, WithinRange(0.0, 1.0)] = 1.0
    differenceOpacity: Annotated[float, WithinRange(0.0, 1.0)] = 0.8
    showContours: bool = True
    showSurfaces: bool = False
