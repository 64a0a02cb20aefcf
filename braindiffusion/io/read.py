"""Reading scans: NIfTI, NRRD, MetaImage, a DICOM folder or one DICOM file.

Whatever makes a scan unusable is found here, before anything heavy starts, and said in a typed error. SimpleITK
decodes the voxels; what it lets pass in silence (a truncated NIfTI, a spacing of zero, missing slices) is checked
beside it. Of a DICOM header only facts of the acquisition are kept, nothing about the patient.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np

from braindiffusion import errors
from braindiffusion.modality import modality_of
from braindiffusion.volume.scan import LPS_TO_RAS, Scan

FORMATS = {"NIfTI": (".nii.gz", ".nii"), "NRRD": (".nrrd", ".nhdr"), "MetaImage": (".mha", ".mhd")}
MOST_VOXELS = 2_000_000_000
MOST_GREY = 1e30
"""Computing is done in float32, which ends at 3e38."""
SPACINGS_MM, FARTHEST_MM = (1e-3, 1e3), 1e6
"""What a voxel can measure, and how far away it can lie: beyond, a header is damaged."""
SHEAR = 2e-4
"""Largest cosine between voxel axes: ITK straightens what goes into a NIfTI file, by half of it."""

EXPORT = "Export or convert it again (DICOM: with dcm2niix) and read the new file."
COPY_AGAIN = "Copy or download it again."
Loaded = tuple[np.ndarray, np.ndarray, "str | None", dict[str, Any]]


def read_scan(path: str | Path, files: list[Path] | None = None) -> Scan:
    """Read one 3-D scan.

    Args:
        path: a NIfTI, NRRD or MetaImage file, a folder with one DICOM series, or one DICOM file (a single slice, or
            all frames of an enhanced multi-frame file).
        files: those of one DICOM series, where the folder ``path`` holds others too.

    Returns:
        Scan: voxels (I,J,K) as stored, with the file's own rescale slope and intercept applied; affine IJK -> RAS
        in mm. ``source`` holds path, format, size, spacing in mm, orientation code, SHA-256 of the voxels (first
        index fastest) and, for DICOM, ``hints`` on the acquisition.

    Raises:
        ScanNotFoundError, ScanUnreadableError, ScanDimensionError, ScanPixelTypeError, ScanContentError,
        ScanGeometryError, DicomSeriesError: see :mod:`braindiffusion.errors`.
        MemoryExhaustedError: the volume does not fit in this machine's memory.
    """
    voxels, affine, modality, facts = _load(path, finite=True, files=files)
    low, high = voxels.min(), voxels.max()  # NaN and infinity come through
    if not (np.isfinite(low) and np.isfinite(high)):
        raise not_finite(path, int((~np.isfinite(voxels)).sum()))
    if max(abs(float(low)), abs(float(high))) > MOST_GREY:
        why = f"They run from {low:g} to {high:g}."
        raise errors.ScanContentError(f"{path} holds values too large to compute with.", why, "Rescale the scan.")
    if low == high:
        raise errors.ScanContentError(f"{path} shows nothing.", f"Every voxel is {low}.", EXPORT)
    facts |= {
        "size": list(voxels.shape),
        "spacing": [round(float(s), 6) for s in np.linalg.norm(affine[:3, :3], axis=0)],
        "orientation": orientation_code(affine),
        "sha256": hashlib.sha256(voxels.tobytes(order="F")).hexdigest(),
    }
    return Scan(voxels, affine, modality, facts)


def read_mask(path: str | Path, scan: Scan) -> np.ndarray:
    """Read a mask drawn on a scan: every voxel that is not 0.

    A mask stored with its axes in another order or direction is turned to the scan's, if it covers the same voxels.

    Returns:
        (I,J,K) bool on the scan's grid.

    Raises:
        MaskGeometryError: the mask lies on another grid (a corner is off by more than 0.01 voxel).
        EmptyMaskError: nothing is set.
        InputError: as for :func:`read_scan`.
    """
    voxels, affine, _, _ = _load(path)
    turned = on_grid_of(scan, voxels, affine)
    if turned is None:
        raise errors.MaskGeometryError(
            "The mask lies on another grid than the scan.",
            f"Mask: {_geometry(voxels.shape, affine)}. Scan: {_geometry(scan.voxels.shape, scan.affine)}.",
            "Draw the mask on this scan, or resample it to the scan's grid (nearest neighbour).",
        )
    mask = np.nan_to_num(turned) != 0
    if not mask.any():
        raise errors.EmptyMaskError(f"{path} selects nothing.", "Every voxel is 0.", "Draw the lesion, save again.")
    return mask.copy()


def on_grid_of(scan: Scan, voxels: np.ndarray, affine: np.ndarray) -> np.ndarray | None:
    """Voxels stored with their axes in another order or direction, turned to the scan's; a view.

    Returns:
        ``None`` where they do not cover the same voxels (a corner is off by more than 0.01 voxel).
    """
    turn = np.linalg.inv(scan.affine) @ affine  # their indices -> scan indices
    signs = np.rint(turn[:3, :3])
    order, flip = np.abs(signs).argmax(1), signs.sum(1) < 0
    if sorted(order) != [0, 1, 2] or np.abs(signs).sum() != 3:
        return None
    size = np.array(voxels.shape)[order]
    corners = np.array([(*c, 1) for c in product(*((0, n - 1) for n in voxels.shape))], dtype=float).T
    expected = np.where(flip[:, None], size[:, None] - 1 - corners[order], corners[order])
    off = float(np.abs((turn @ corners)[:3] - expected).max())
    if tuple(size) != scan.voxels.shape or off > 0.01:
        return None
    return voxels.transpose(order)[tuple(slice(None, None, -1 if f else 1) for f in flip)]


def parse_box(text: str, scan: Scan) -> np.ndarray:
    """A box ``i0,j0,k0,i1,j1,k1`` in voxel indices as stored, both ends inclusive, to (I,J,K) bool.

    Raises:
        BoxError: not six whole numbers, inverted, or outside the scan.
    """
    size = scan.voxels.shape
    last = ",".join(str(n - 1) for n in size)
    action = f"Give i0,j0,k0,i1,j1,k1 within 0,0,0,{last}, both ends included."
    try:
        i0, j0, k0, i1, j1, k1 = (int(part) for part in text.split(","))
    except ValueError as error:
        raise errors.BoxError(f"'{text}' is not a box.", "It is not six whole numbers.", action) from error
    for axis, a, b, n in zip("ijk", (i0, j0, k0), (i1, j1, k1), size, strict=True):
        if a > b:
            raise errors.BoxError(f"The box {text} is inverted.", f"{axis}0 = {a} lies above {axis}1 = {b}.", action)
        if a < 0 or b >= n:
            why = f"{axis} runs from 0 to {n - 1}, the box from {a} to {b}."
            raise errors.BoxError(f"The box {text} lies outside the scan.", why, action)
    mask = np.zeros(size, dtype=bool)
    mask[i0 : i1 + 1, j0 : j1 + 1, k0 : k1 + 1] = True
    return mask


# --- geometry and size --------------------------------------------------------------------------------------


def orientation_code(affine: np.ndarray) -> str:
    """Where the voxel axes point, such as ``LAS``."""
    d = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    best = max(permutations(range(3)), key=lambda p: sum(abs(d[p[i], i]) for i in range(3)))
    return "".join(("LR", "PA", "IS")[p][int(d[p, i] > 0)] for i, p in enumerate(best))


def times(values: Any, form: str = "g") -> str:
    """Sizes for people to read, such as ``256 x 256 x 24``."""
    return " x ".join(f"{v:{form}}" for v in values)


def _geometry(shape: tuple[int, ...], affine: np.ndarray) -> str:
    spacing, first = np.linalg.norm(affine[:3, :3], axis=0), ", ".join(f"{c:.2f}" for c in affine[:3, 3])
    code = orientation_code(affine)
    return f"{times(shape)} voxels of {times(spacing, '.2f')} mm, {code}, the first at ({first}) mm RAS"


def lost_geometry(path: Path, why: str) -> errors.ScanGeometryError:
    """The error of a file that does not say where its voxels lie."""
    return errors.ScanGeometryError(f"{path} does not say where its voxels lie.", why, EXPORT)


def to_ras(direction: np.ndarray, spacing: np.ndarray, origin: np.ndarray, path: Path) -> np.ndarray:
    """Affine IJK -> RAS (4,4) from axes (columns), spacing and origin in LPS mm, if they span a grid in space.

    Raises:
        ScanGeometryError: a spacing or a place that no scan has, axes that are not at right angles.
    """
    if not all(SPACINGS_MM[0] <= mm <= SPACINGS_MM[1] for mm in spacing):  # NaN is neither
        raise lost_geometry(path, f"The spacing is {times(spacing)} mm.")
    if not (np.isfinite(direction).all() and (np.abs(origin) <= FARTHEST_MM).all()):
        raise lost_geometry(path, "Its axes or its origin are not numbers, or it lies more than a kilometre away.")
    if np.abs(direction.T @ direction - np.eye(3)).max() > SHEAR:
        raise errors.ScanGeometryError(
            f"The axes of {path} are sheared.",
            "They are not at right angles, as after an affine registration or with a tilted CT gantry.",
            "Resample the scan to a straight grid and read that.",
        )
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = direction * spacing, origin
    return LPS_TO_RAS @ affine


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


def _load(given: str | Path, finite: bool = False, files: list[Path] | None = None) -> Loaded:
    """Voxels (I,J,K), affine, modality and facts of whatever lies there."""
    path = Path(given)
    try:
        if not path.exists():
            raise errors.ScanNotFoundError(f"{path} does not exist.", "No file or folder is there.", "Check the path.")
        from braindiffusion.io.dicom import is_dicom, load_dicom

        if path.is_dir():
            return load_dicom(files or sorted(f for f in path.iterdir() if f.is_file()), path)
        if not path.is_file():  # one might wait for ever
            why = "It is a pipe, a socket or a device."
            raise errors.ScanUnreadableError(f"{path} is no file.", why, "Give a file or a folder.")
        if is_dicom(path):
            return load_dicom([path], path)
        for form, suffixes in FORMATS.items():
            if path.name.lower().endswith(suffixes):
                return _load_image(path, form, finite)
    except OSError as error:
        why = error.strerror or str(error)
        raise errors.ScanUnreadableError(f"{path} cannot be opened.", why, "Check that you may read it.") from error
    known = "It is neither NIfTI (.nii, .nii.gz), NRRD (.nrrd), MetaImage (.mha) nor DICOM."
    raise errors.ScanUnreadableError(f"{path} is no scan that can be read.", known, "Convert it to NIfTI.")


def _load_image(path: Path, form: str, finite: bool) -> Loaded:
    sitk = quiet_sitk()
    if form == "NIfTI":
        from braindiffusion.io.nifti import check_nifti, check_nifti_header

        check_nifti_header(path)
    else:
        from braindiffusion.io.text_headers import check_meta, check_nrrd

        (check_nrrd if form == "NRRD" else check_meta)(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(for_itk(path))
    try:
        reader.ReadImageInformation()
        kind, size = sitk.GetPixelIDValueAsString(reader.GetPixelID()), reader.GetSize()
        if reader.GetNumberOfComponents() > 1 or "complex" in kind:
            raise errors.ScanPixelTypeError(
                f"{path} does not hold one grey value per voxel.",
                f"Its voxels are {reader.GetNumberOfComponents()} components: {kind}.",
                "Extract one component (of complex voxels the magnitude) and read that.",
            )
        bits = re.search(r"(\d+)-bit", kind)
        check_size(size, int(bits[1]) // 8 if bits else 8, path)
        direction = np.array(reader.GetDirection()).reshape(len(size), -1)[:3, :3]
        affine = to_ras(direction, np.array(reader.GetSpacing()[:3]), np.array(reader.GetOrigin()[:3]), path)
        if form == "NIfTI":
            check_nifti(path, finite)
        voxels = sitk.GetArrayFromImage(reader.Execute()).reshape(size[2::-1]).transpose(2, 1, 0)
    except RuntimeError as error:
        why = re.sub(r"\S*ERROR: (\w+\(0x\w+\): )?", "", " ".join(str(error).splitlines()[1:])) or str(error)
        if re.search(r"orthonormal|bad direction|spacing is not supported|space (directions|vector)", why, re.I):
            raise lost_geometry(path, why) from error
        raise errors.ScanUnreadableError(f"{path} cannot be decoded.", why, COPY_AGAIN) from error
    return voxels, affine, modality_of(path.name), {"path": str(path), "format": form}
