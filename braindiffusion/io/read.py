"""Reading scans: NIfTI, Analyze, MGH, NRRD, MetaImage, a DICOM folder or one DICOM file.

Whatever makes a scan unusable is found here, before anything heavy starts, and said in a typed error; what had to be
assumed is said in the scan's notes. nibabel and SimpleITK decode; what they let pass in silence (a truncated file, a
spacing of zero, missing slices) is checked beside them. Of a DICOM header only facts of the acquisition are kept,
nothing about the patient.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path

import numpy as np

from braindiffusion import errors
from braindiffusion.io.checks import (
    COPY_AGAIN,
    EXPORT,
    FORMATS,
    MOST_GREY,
    MOST_LAYERS,
    check_affine,
    check_size,
    for_itk,
    geometry,
    itk_voxels,
    lost_geometry,
    not_finite,
    orientation_code,
    quiet_sitk,
    to_ras,
)
from braindiffusion.modality import modality_of
from braindiffusion.volume.lattice import on_lattice, resampled
from braindiffusion.volume.scan import Scan


def read_scan(path: str | Path, files: list[Path] | None = None, series: str | None = None) -> Scan:
    """Read one 3-D scan.

    Args:
        path: a file of one of ``FORMATS``, a folder with DICOM files (sub-folders too), or one DICOM file (a single
            slice, or all frames of an enhanced multi-frame file).
        files: those of one DICOM series, where the folder ``path`` holds others too.
        series: the number, UID or description of one of several DICOM series, see
            :func:`~braindiffusion.io.dicom_series.choose`.

    Returns:
        Scan: voxels (I,J,K) as stored, with the file's own rescale slope and intercept applied; affine IJK -> RAS
        in mm. ``source`` holds path, format, size, spacing in mm, orientation code, SHA-256 of the voxels (first
        index fastest) and, for DICOM, ``hints`` on the acquisition.

    Raises:
        ScanNotFoundError, ScanUnreadableError, ScanDimensionError, ScanPixelTypeError, ScanContentError,
        ScanGeometryError, DicomSeriesError: see :mod:`braindiffusion.errors`.
        MemoryExhaustedError: the volume does not fit in this machine's memory.
    """
    loaded = _load(path, files=files, series=series)
    voxels, affine, notes = loaded.voxels, loaded.affine, loaded.notes
    low, high = voxels.min(), voxels.max()  # NaN and infinity come through
    if not (np.isfinite(low) and np.isfinite(high)):
        voxels, more = _without_nan_background(voxels, path)
        low, high, notes = voxels.min(), voxels.max(), (*notes, more)
    if max(abs(float(low)), abs(float(high))) > MOST_GREY:
        why = f"They run from {low:g} to {high:g}."
        raise errors.ScanContentError(f"{path} holds values too large to compute with.", why, "Rescale the scan.")
    if low == high:
        raise errors.ScanContentError(f"{path} shows nothing.", f"Every voxel is {low}.", EXPORT)
    facts = loaded.source | {
        "size": list(voxels.shape),
        "spacing": [round(float(s), 6) for s in np.linalg.norm(affine[:3, :3], axis=0)],
        "orientation": orientation_code(affine) if loaded.orientation_known else None,
        "sha256": hashlib.sha256(np.ascontiguousarray(voxels.T).data).hexdigest(),
    }
    return replace(loaded, voxels=voxels, source=facts, notes=notes)


def _without_nan_background(voxels: np.ndarray, path: str | Path) -> tuple[np.ndarray, str]:
    """NaN that reaches the border of the volume is background, as SPM writes it.

    Raises:
        ScanContentError: infinite voxels, NaN within what is scanned, or nothing but NaN.
    """
    state = np.isnan(voxels).view(np.uint8)  # a byte a voxel, and no array beside it
    count = int(np.count_nonzero(state))
    infinite = sum(int(np.count_nonzero(np.isinf(plane))) for plane in voxels.T)
    if infinite or count == voxels.size:
        raise not_finite(path, count + infinite)
    _reach_from_border(state)
    if inside := sum(int(np.count_nonzero(plane == UNREACHED)) for plane in state.T):
        raise not_finite(path, inside)
    least = min(0.0, float(np.fmin.reduce(voxels, axis=None)))
    for plane, nan in zip(voxels.T, state.T, strict=True):
        plane[nan == REACHED] = least
    return voxels, f"{count} voxels around the head are NaN; they are taken as background."


UNREACHED, REACHED = 1, 3
"""NaN, and NaN that is connected to the border; 0 is a number."""
MOST_SWEEPS = 64
"""What heads need is about ten."""


def _sweep(side: np.ndarray) -> None:
    """Carry what is reached along the first axis, there and back."""
    for planes in (side, side[::-1]):
        for behind, plane in pairwise(planes):
            plane |= (plane << 1) & behind  # from 1 to 3 where the one behind is 3


def _reach_from_border(state: np.ndarray) -> None:
    """Mark, in place, what of the NaN of (I,J,K) uint8 is connected to the border through faces of voxels.

    Sweeps over the volume need no second array. Mazes, which take very many sweeps, are left to scipy's search.
    """
    first, *others = (np.moveaxis(state, axis, 0) for axis in range(3))
    for side in (first, *others):
        for end in (side[0], side[-1]):
            end[end != 0] = REACHED
    before = -1
    for _ in range(MOST_SWEEPS):
        if (now := int(state.sum(dtype=np.int64))) == before:
            return
        before = now
        for side in others:
            _sweep(side)
        for plane in state.T:  # along the first axis, whose neighbours in memory make it slow, only where it is needed
            if (plane[:, 1:] ^ plane[:, :-1] == UNREACHED ^ REACHED).any():
                _sweep(plane.T)
    from scipy import ndimage

    state[ndimage.binary_propagation(state == REACHED, mask=state != 0)] = REACHED


def read_mask(
    path: str | Path,
    scan: Scan,
    labels: Collection[int] | None = None,
    resample: bool = False,
    on_note: Callable[[str], None] | None = None,
) -> np.ndarray:
    """Read a mask drawn on a scan.

    A mask stored with its axes in another order or direction is turned to the scan's. One that covers only a part of
    the scan's voxels, as Slicer saves segmentations, selects nothing elsewhere. Which of its values count as mask is
    decided by :func:`~braindiffusion.volume.mask_values.selected`.

    Args:
        labels: the values that count; ``None`` for all but the background.
        resample: bring a mask on another grid to the scan's (nearest neighbour).
        on_note: given sentences for the user about what was assumed.

    Returns:
        (I,J,K) bool on the scan's grid.

    Raises:
        MaskGeometryError: the mask lies on another grid (off by more than 0.01 voxel), and is not to be resampled.
        MaskValueError: its values are neither labels nor probabilities.
        EmptyMaskError: nothing is set.
        InputError: as for :func:`read_scan`.
    """
    from braindiffusion.volume.mask_values import selected

    note = on_note or (lambda text: None)
    from braindiffusion.io.dicom_seg import is_seg, read_seg

    if is_seg(Path(path)):
        return selected(read_seg(Path(path), scan, note), path, labels, note)
    loaded = _load(path, layers=True)
    for text in loaded.notes:
        note(text)
    mask = selected(loaded.voxels, path, labels, note)
    placed = _placed(mask, loaded.affine, scan, note)
    if placed is None and resample:
        placed = resampled(mask, loaded.affine, scan)
        note("The mask was resampled to the scan's grid (nearest neighbour).")
    if placed is None:
        raise errors.MaskGeometryError(
            "The mask lies on another grid than the scan.",
            f"Mask: {geometry(mask.shape, loaded.affine)}. Scan: {geometry(scan.voxels.shape, scan.affine)}.",
            "Draw the mask on this scan, or add --resample-mask to bring it to the scan's grid.",
        )
    if not placed.any():
        raise errors.EmptyMaskError(
            f"{path} selects nothing.", "All that it selects lies outside the scan.", "Draw it on this scan."
        )
    return placed


def _placed(mask: np.ndarray, affine: np.ndarray, scan: Scan, note: Callable[[str], None]) -> np.ndarray | None:
    """A mask on the scan's lattice, of any extent, on the scan's grid; ``None`` on another lattice, or far away."""
    found = on_lattice(mask, affine, scan.voxels.shape, scan.affine)
    forms = scan.forms
    if found is None and forms is not None and forms.qform_code and forms.qform is not None:
        found = on_lattice(mask, affine, scan.voxels.shape, forms.qform)
        if found is not None:
            note("The mask lies on the scan's qform, not on its sform; it is taken voxel by voxel.")
    if found is not None and found.sum() < mask.sum():
        note(f"{int(mask.sum() - found.sum())} voxels of the mask lie outside the scan and are left out.")
    return found


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


def _load(given: str | Path, files: list[Path] | None = None, layers: bool = False, series: str | None = None) -> Scan:
    """Voxels, affine, modality and facts of whatever lies there.

    Args:
        layers: also what holds several masks in one file; its voxels have a fourth axis.
    """
    path = Path(given)
    try:
        if not path.exists():
            raise errors.ScanNotFoundError(f"{path} does not exist.", "No file or folder is there.", "Check the path.")
        from braindiffusion.io.dicom import is_dicom
        from braindiffusion.io.dicom_series import files_in, load_dicom

        if path.is_dir():
            return load_dicom(files or files_in(path), path, series)
        if not path.is_file():  # one might wait for ever
            why = "It is a pipe, a socket or a device."
            raise errors.ScanUnreadableError(f"{path} is not a file.", why, "Give a file or a folder.")
        if is_dicom(path):
            return load_dicom([path], path)
        form = next((form for form, ends in FORMATS.items() if path.name.lower().endswith(ends)), None)
        if form in ("NIfTI", "MGH"):
            from braindiffusion.io.nifti import load_mgh, load_nifti

            return load_nifti(path) if form == "NIfTI" else load_mgh(path)
        if form:
            return _load_image(path, form, layers)
    except OSError as error:
        why = error.strerror or str(error)
        raise errors.ScanUnreadableError(f"{path} cannot be opened.", why, "Check that you may read it.") from error
    known = "It is neither NIfTI, Analyze (.hdr, .img), MGH (.mgz), NRRD, MetaImage (.mha) nor DICOM."
    raise errors.ScanUnreadableError(f"{path} is not a scan that can be read.", known, "Convert it to NIfTI.")


def _load_image(path: Path, form: str, layers: bool = False) -> Scan:
    from braindiffusion.io.text_headers import check_meta, check_nrrd, for_nrrd_reader

    if form == "MetaImage":
        check_meta(path)
        return _itk_scan(path, path, form, layers)
    check_nrrd(path)
    with for_nrrd_reader(path) as file:
        return _itk_scan(file, path, form, layers)


def _itk_scan(file: Path, path: Path, form: str, layers: bool) -> Scan:
    """What ITK reads from ``file``; errors and names are those of ``path``."""
    sitk = quiet_sitk()
    reader = sitk.ImageFileReader()
    reader.SetFileName(for_itk(file))
    try:
        reader.ReadImageInformation()
        kind, size = sitk.GetPixelIDValueAsString(reader.GetPixelID()), reader.GetSize()
        channels = reader.GetNumberOfComponents()
        if (channels > 1 and not (layers and channels <= MOST_LAYERS)) or "complex" in kind:
            raise errors.ScanPixelTypeError(
                f"{path} does not hold one grey value per voxel.",
                f"Its voxels are {channels} components: {kind}.",
                "Extract one component (of complex voxels the magnitude) and read that.",
            )
        bits = re.search(r"(\d+)-bit", kind)
        check_size(size, channels * int(bits[1]) // 8 if bits else 8, path)
        direction = np.array(reader.GetDirection()).reshape(len(size), -1)[:3, :3]
        affine = to_ras(direction, np.array(reader.GetSpacing()[:3]), np.array(reader.GetOrigin()[:3]), path)
        notes = check_affine(affine, size, path)
        voxels = itk_voxels(reader.Execute())
    except RuntimeError as error:
        why = re.sub(r"\S*ERROR: (\w+\(0x\w+\): )?", "", " ".join(str(error).splitlines()[1:])) or str(error)
        if re.search(r"orthonormal|bad direction|spacing is not supported|space (directions|vector)", why, re.I):
            raise lost_geometry(path, why) from error
        raise errors.ScanUnreadableError(f"{path} cannot be decoded.", why, COPY_AGAIN) from error
    if channels > 1:
        voxels = voxels.reshape(*size[2::-1], channels).transpose(2, 1, 0, 3)
    else:
        voxels = voxels.reshape(size[2::-1]).transpose(2, 1, 0)
    return Scan(voxels, affine, modality_of(path.name), {"path": str(path), "format": form}, notes=notes)
