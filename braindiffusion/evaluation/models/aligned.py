"""A brain mask carried from a brain-extracted scan to the raw scan of the same visit, by rigid registration."""

from __future__ import annotations

from typing import Any

import numpy as np

from braindiffusion.io.checks import quiet_sitk
from braindiffusion.volume.scan import LPS_TO_RAS, Scan

STARTS_MM = (-15.0, 0.0, 15.0)


def _image(voxels: np.ndarray, affine: np.ndarray) -> Any:
    """(I,J,K) and IJK -> RAS mm as a SimpleITK image."""
    image = quiet_sitk().GetImageFromArray(np.ascontiguousarray(voxels.T))
    lps = LPS_TO_RAS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


def _registered(fixed: Any, moving: Any, inside: Any, start: Any, shrink: int, step: float) -> tuple[float, Any]:
    """Correlation over ``inside`` and the rigid transform that reaches it."""
    sitk = quiet_sitk()
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsCorrelation()
    method.SetMetricFixedMask(inside)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(0.1, 1)  # a seed: else the samples hang on the time of day
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(step, 0.003, 80)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([shrink])
    method.SetSmoothingSigmasPerLevel([shrink / 2])
    transform = sitk.Euler3DTransform(start)
    method.SetInitialTransform(transform, inPlace=True)
    method.Execute(fixed, moving)
    return -float(method.GetMetricValue()), transform


def carried(stripped: Scan, brain: np.ndarray, raw: Scan) -> tuple[np.ndarray, float]:
    """The mask of a stripped scan on the grid of the raw one.

    Args:
        stripped: the brain-extracted scan, and ``brain`` (I,J,K) bool, its mask.
        raw: the same head, whole, lying elsewhere and on another grid.

    Returns:
        (I,J,K) bool on the raw scan's grid, and the correlation of the two scans inside the mask: below about 0.8 the
        two were not brought together, and the mask should not be used.
    """
    sitk = quiet_sitk()
    fixed, inside = (
        _image(stripped.voxels.astype(np.float32), stripped.affine),
        _image(brain.astype(np.uint8), stripped.affine),
    )
    moving = _image(raw.voxels.astype(np.float32), raw.affine)
    kind = sitk.CenteredTransformInitializerFilter.GEOMETRY
    centre = sitk.CenteredTransformInitializer(fixed, moving, sitk.Euler3DTransform(), kind)
    tried = []
    for shift in STARTS_MM:
        start = sitk.Euler3DTransform(centre)
        x, y, z = start.GetTranslation()
        start.SetTranslation((x, y, z + shift))
        tried.append(_registered(fixed, moving, inside, start, 4, 2.0))
    best = max(tried, key=lambda pair: pair[0])[1]
    correlation, transform = _registered(fixed, moving, inside, best, 2, 1.0)
    back = sitk.Resample(inside, moving, transform.GetInverse(), sitk.sitkNearestNeighbor, 0)
    return sitk.GetArrayFromImage(back).T > 0, correlation
