"""What a scan has to be, and what is said where it is not: formats, sizes, geometry. Shared by all readers."""

from __future__ import annotations

import math
import os
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np

from braindiffusion import errors
from braindiffusion.volume.scan import LPS_TO_RAS

FORMATS = {
    "NIfTI": (".nii.gz", ".nii", ".hdr", ".hdr.gz", ".img", ".img.gz"), "MGH": (".mgz", ".mgh", ".mgh.gz"),
    "NRRD": (".nrrd", ".nhdr"), "MetaImage": (".mha", ".mhd"),
}  # fmt: skip
"""What is read, by the endings of its names; an ``.img`` is read with its ``.hdr``."""
SCAN_SUFFIXES = tuple(end for ends in FORMATS.values() for end in ends if not end.startswith(".img"))
"""By which scans are found in a folder, each once."""
MOST_VOXELS = 2_000_000_000
MOST_LAYERS = 64
"""Masks that one file may hold."""
MOST_GREY = 1e30
"""Computing is done in float32, which ends at 3e38."""
SPACINGS_MM, FARTHEST_MM = (1e-3, 1e3), 1e6
"""What a voxel can measure, and how far away it can lie: beyond, a header is damaged."""
SHEAR = 2e-4
"""Largest cosine between voxel axes of what DICOM can hold, which has right angles only."""
MOST_SHEAR, ROUNDED_VOXELS, TOLD_MM = 0.02, 0.1, 0.01
"""Axes off the right angle: more than this cosine, or this part of a voxel at a corner, is no rounding any more; from
``TOLD_MM`` on it is told."""

EXPORT = "Export or convert it again (DICOM: with dcm2niix) and read the new file."
COPY_AGAIN = "Copy or download it again."


def orientation_code(affine: np.ndarray) -> str:
    """Where the voxel axes point, such as ``LAS``."""
    d = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    best = max(permutations(range(3)), key=lambda p: sum(abs(d[p[i], i]) for i in range(3)))
    return "".join(("LR", "PA", "IS")[p][int(d[p, i] > 0)] for i, p in enumerate(best))


def times(values: Any, form: str = "g") -> str:
    """Sizes for people to read, such as ``256 x 256 x 24``."""
    return " x ".join(f"{v:{form}}" for v in values)


def geometry(shape: tuple[int, ...], affine: np.ndarray) -> str:
    """Size, spacing, axes and place of a grid, in words."""
    spacing, first = np.linalg.norm(affine[:3, :3], axis=0), ", ".join(f"{c:.2f}" for c in affine[:3, 3])
    code = orientation_code(affine)
    return f"{times(shape)} voxels of {times(spacing, '.2f')} mm, {code}, the first at ({first}) mm RAS"


def lost_geometry(path: Path, why: str) -> errors.ScanGeometryError:
    """The error of a file that does not say where its voxels lie."""
    return errors.ScanGeometryError(f"{path} does not say where its voxels lie.", why, EXPORT)


def to_ras(direction: np.ndarray, spacing: np.ndarray, origin: np.ndarray, path: Path) -> np.ndarray:
    """Affine IJK -> RAS (4,4) from axes (columns), spacing and origin in LPS mm, if they span a grid in space.

    Raises:
        ScanGeometryError: a spacing or a place that no scan has.
    """
    if not all(SPACINGS_MM[0] <= mm <= SPACINGS_MM[1] for mm in spacing):  # NaN is neither
        raise lost_geometry(path, f"The spacing is {times(spacing)} mm.")
    if not (np.isfinite(direction).all() and (np.abs(origin) <= FARTHEST_MM).all()):
        raise lost_geometry(path, "Its axes or its origin are not numbers, or it lies more than a kilometre away.")
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = direction * spacing, origin
    return LPS_TO_RAS @ affine


def check_affine(affine: np.ndarray, shape: tuple[int, ...], path: Path) -> tuple[str, ...]:
    """Refuse an affine (IJK -> RAS mm) that spans no grid in space, or one that is sheared.

    Returns:
        Sentences for the user: axes that are off the right angle by rounding are tolerated and told.

    Raises:
        ScanGeometryError: see :func:`to_ras`; or axes that are not at right angles.
    """
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if not all(SPACINGS_MM[0] <= mm <= SPACINGS_MM[1] for mm in spacing):  # NaN is neither
        raise lost_geometry(path, f"The spacing is {times(spacing)} mm.")
    if not (np.abs(affine[:3, 3]) <= FARTHEST_MM).all():
        raise lost_geometry(path, "Its axes or its origin are not numbers, or it lies more than a kilometre away.")
    axes = affine[:3, :3] / spacing
    u, _, vt = np.linalg.svd(axes)
    half = (np.array(shape[:3]) - 1) / 2 * spacing
    corners = np.array(list(product(*((-h, h) for h in half)))).T
    off = float(np.linalg.norm((axes - u @ vt) @ corners, axis=0).max())
    cosine = float(np.abs(axes.T @ axes - np.eye(3)).max())
    if cosine > MOST_SHEAR or off > ROUNDED_VOXELS * spacing.min():
        degrees = np.degrees(np.arcsin(min(cosine, 1.0)))
        raise errors.ScanGeometryError(
            f"The axes of {path} are sheared.",
            f"They are {degrees:.2g} degrees off the right angle, {off:.2g} mm at a corner of the volume, as after an "
            "affine registration or with a tilted CT gantry.",
            "Resample the scan to a straight grid and read that.",
        )
    if off > TOLD_MM:
        return (f"The axes of the scan are off the right angle by rounding, {off:.2f} mm at a corner.",)
    return ()


def check_size(size: tuple[int, ...], bytes_per_voxel: int, path: Path) -> None:
    """Refuse what is no single 3-D volume, and what this machine cannot hold, before memory is asked for."""
    if len(size) < 3 or min(size) < 1 or math.prod(size[3:]) != 1:
        why = f"Its size is {times(size)}."
        raise errors.ScanDimensionError(f"{path} is not one 3-D volume.", why, "Extract one volume and read that.")
    count = math.prod(size)
    if count > MOST_VOXELS:
        why = f"Its header claims {count:.3g} voxels; more than {MOST_VOXELS:.0e} are refused."
        raise errors.ScanDimensionError(f"{path} is too large for one scan.", why, "Check the file, or crop it.")
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # this system does not say
        return
    need = 2 * count * bytes_per_voxel
    if need > memory:
        why = f"Reading takes {need / 2**30:.1f} GiB, this machine has {memory / 2**30:.1f} GiB."
        raise errors.MemoryExhaustedError(f"{path} does not fit in memory.", why, "Crop it, or use a larger machine.")


# --- files --------------------------------------------------------------------------------------------------


def quiet_sitk() -> Any:
    """SimpleITK without its warnings on stderr: what matters in them becomes a typed error."""
    import SimpleITK as sitk  # noqa: N813 - its usual name

    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    return sitk


class _Held:
    """The voxels of an ITK image for numpy, which holds this, and so the image, as long as it looks at them."""

    def __init__(self, image: Any) -> None:
        self._image = image
        self.__array_interface__ = dict(quiet_sitk().GetArrayViewFromImage(image).__array_interface__)
        self.__array_interface__["data"] = (self.__array_interface__["data"][0], False)  # nobody else has the image


def itk_voxels(image: Any) -> np.ndarray:
    """The voxels of an ITK image that is needed no more, without a copy; axes in ITK's order, the last one fastest."""
    return np.asarray(_Held(image))


def not_finite(path: str | Path, count: int) -> errors.ScanContentError:
    """The error for a scan with ``count`` voxels that are NaN or infinite."""
    why = f"{count} voxels are NaN or infinite."
    action = "Replace them, for instance by 0, and save the scan again."
    return errors.ScanContentError(f"{path} holds voxels that are not numbers.", why, action)


def for_itk(path: Path) -> str:
    """The name of a file for ITK, which ends the program over one that is not Unicode."""
    try:
        return str(path).encode("utf-8").decode("utf-8")
    except UnicodeEncodeError as error:
        what = f"{str(path)!a} cannot be opened."
        raise errors.ScanUnreadableError(what, "Its name is not Unicode.", "Rename it.") from error
