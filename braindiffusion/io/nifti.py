"""NIfTI-1 and NIfTI-2 (one file or a pair), Analyze 7.5 and MGH: headers by nibabel, voxels in one pass.

What nibabel lets pass is checked here: sizes before memory is asked for, bits that contradict the type, scaling that is
not a number, files that hold fewer voxels than their header promises, and compressed files down to their checksum.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from braindiffusion import errors
from braindiffusion.io.checks import COPY_AGAIN, EXPORT, check_affine, check_size, lost_geometry, times
from braindiffusion.modality import modality_of
from braindiffusion.volume.scan import NiftiForms, Scan

MOST_EXTRA = 1 << 24
"""Bytes before and after the voxels that are still looked at: a few MB, compressed, may stand for terabytes."""
CHUNK = 1 << 20
UNIT_MM = {1: 1000.0, 3: 0.001}
"""NIfTI's codes of metre and micrometre, in mm; everything else counts as mm, as everywhere."""
PLAUSIBLE_MM = (0.01, 50.0)
ALIGNED = 2
"""NIfTI's code of a place that was found by registration."""
DISAGREE_VOXELS = 0.5
ROUNDED_QUATERNION = 3e-7
"""By how much float32 may make a quaternion too long, which nibabel mends."""
CODES = range(6)
"""Of a form that the standard knows; others count as 0, as for nibabel."""
MGH_HEADER, MGH_DATA = 90, 284
"""Bytes of an MGH header with content, and where its voxels begin."""


@dataclass(frozen=True)
class _Header:
    """What a header says of the voxels.

    Attributes:
        start: byte at which they begin, in ``file``.
        rescale: slope and intercept, or ``None``.
    """

    file: Path
    start: int
    dtype: np.dtype
    shape: tuple[int, ...]
    rescale: tuple[float, float] | None
    affine: np.ndarray
    forms: NiftiForms
    notes: tuple[str, ...]


def load_nifti(path: Path) -> Scan:
    """Read a NIfTI file (``.nii``, ``.nii.gz``, ``.hdr`` with ``.img``; gzip is recognised by content).

    Raises:
        ScanUnreadableError: not NIfTI, incomplete or damaged.
        ScanContentError: a scaling that is not a number.
        ScanDimensionError, ScanPixelTypeError, ScanGeometryError, MemoryExhaustedError: as for
            :func:`~braindiffusion.io.read.read_scan`.
    """
    header_file, voxel_file = _pair(path)
    with _unzipped(header_file) as stream:
        block = stream.read(540)
    return _scan(_nifti_header(block, path, voxel_file), path, "NIfTI")


def load_mgh(path: Path) -> Scan:
    """Read a FreeSurfer volume (``.mgz``, ``.mgh``); raises as :func:`load_nifti` does."""
    from nibabel.freesurfer.mghformat import MGHHeader
    from nibabel.spatialimages import HeaderDataError

    with _unzipped(path) as stream:
        block = stream.read(MGH_DATA)
    if len(block) < MGH_DATA:
        raise _incomplete(path, len(block), MGH_DATA)
    try:
        head = MGHHeader(block[:MGH_HEADER] + bytes(MGHHeader.template_dtype.itemsize - MGH_HEADER), check=False)
        if head["version"] != 1:
            raise errors.ScanUnreadableError(f"{path} cannot be read.", "It does not begin as an MGH file.", EXPORT)
        shape, dtype, affine = tuple(int(n) for n in head.get_data_shape()), head.get_data_dtype(), head.get_affine()
    except (HeaderDataError, ValueError, KeyError) as error:
        raise errors.ScanUnreadableError(f"{path} is damaged.", str(error), COPY_AGAIN) from error
    check_size(shape, dtype.itemsize, path)
    notes = check_affine(affine, shape, path)
    given = bool(head["goodRASFlag"] == 1)
    forms = NiftiForms(int(given), int(given), affine, affine)
    if not given:
        notes += (_guessed("The scan's header does not say where its voxels lie"),)
    return _scan(_Header(path, MGH_DATA, dtype, shape, None, affine, forms, notes), path, "MGH")


# --- headers ------------------------------------------------------------------------------------------------


def _pair(path: Path) -> tuple[Path, Path]:
    """Header file and voxel file: the same, or ``.hdr`` and ``.img`` beside each other.

    Raises:
        ScanNotFoundError: the other one is missing.
    """
    name = path.name.lower()
    zipped = ".gz" if name.endswith(".gz") else ""
    part = name.removesuffix(".gz")[-4:]
    if part not in (".hdr", ".img"):
        return path, path
    stem = path.name[: len(path.name) - len(part + zipped)]
    found = []
    for suffix in (".hdr", ".img"):
        names = [stem + s + z for z in (zipped, "", ".gz") for s in (suffix, suffix.upper())]
        beside = path if part == suffix else next((f for n in names if (f := path.with_name(n)).is_file()), None)
        if beside is None:
            why = f"The format has two files, and {stem}{suffix} is not beside it."
            raise errors.ScanNotFoundError(f"{path} is half of a scan.", why, "Copy both files into one folder.")
        found.append(beside)
    return found[0], found[1]


def _nifti_header(block: bytes, path: Path, voxel_file: Path) -> _Header:
    import nibabel
    from nibabel.spatialimages import HeaderDataError
    from nibabel.wrapstruct import WrapStructError

    single, pair = (b"n+1\0", b"n+2\0"), (b"ni1\0", b"ni2\0")
    size = {b"\x5c\x01\0\0": 348, b"\0\0\x01\x5c": 348, b"\x1c\x02\0\0": 540, b"\0\0\x02\x1c": 540}.get(block[:4])
    if size is None or len(block) < size:
        why = "It does not begin with a NIfTI header." if len(block) >= 348 else "It is shorter than a NIfTI header."
        raise errors.ScanUnreadableError(f"{path} cannot be read.", why, EXPORT)
    magic = block[344:348] if size == 348 else block[4:8]
    if magic not in single + pair:
        if path.name.lower().removesuffix(".gz").endswith((".hdr", ".img")):
            return _analyze_header(path, voxel_file)
        raise _nowhere(path)
    kind = nibabel.Nifti1Header if size == 348 else nibabel.Nifti2Header
    try:
        head = kind(block[:size], check=False)
        if magic not in single and voxel_file == path and path.name.lower().removesuffix(".gz").endswith(".nii"):
            raise errors.ScanUnreadableError(
                f"{path} cannot be read.", "It is the header alone of a pair .hdr and .img.", "Give both as .hdr, .img."
            )
        offset = float(head["vox_offset"])
        if not (size + 4 if magic in single else 0) <= offset <= MOST_EXTRA:
            raise _nowhere(path)
        shape, dtype = _shape(head, path), _dtype(head, path)
        if len(shape) == 5 and shape[3] == 1 and shape[4] > 1:
            raise _not_grey(path, f"{shape[4]} components")
        rescale, notes = _rescale(head, path)
        check_size(shape, dtype.itemsize if rescale is None else 8, path)
        affine, forms, more = _place(head, shape, path)
        notes += more + check_affine(affine, shape, path)
    except (HeaderDataError, WrapStructError, ValueError, OverflowError) as error:
        raise errors.ScanUnreadableError(f"{path} is damaged.", str(error), COPY_AGAIN) from error
    return _Header(voxel_file, int(offset), dtype, shape, rescale, affine, forms, notes)


def _analyze_header(path: Path, voxel_file: Path) -> _Header:
    """Analyze 7.5, with what SPM keeps beside it (``.mat``)."""
    import nibabel

    try:
        image: Any = nibabel.load(str(path))
        head = image.header
        shape, dtype = _shape(head, path), _dtype(head, path)
        affine, middle = (np.array(form, dtype=float) for form in (image.affine, head.get_base_affine()))
        beside = image.file_map.get("mat")
        placed = (
            beside is not None and Path(str(beside.filename)).is_file() and Path(str(beside.filename)).stat().st_size
        )
        rescale = _rescale(head, path)[0]  # a field that SPM alone uses; others leave anything there
        offset = head.get_data_offset()
    except errors.BrainDiffusionError:
        raise
    except Exception as error:  # nibabel tries several formats, each with errors of its own
        raise errors.ScanUnreadableError(f"{path} cannot be read.", str(error), EXPORT) from error
    if not 0 <= offset <= MOST_EXTRA:
        raise _nowhere(path)
    check_size(shape, dtype.itemsize if rescale is None else 8, path)
    forms, notes = NiftiForms(), [_guessed("The scan is Analyze 7.5, which does not say its orientation")]
    if placed:
        forms = NiftiForms(0, ALIGNED, None, affine)
        notes = ["The scan is Analyze 7.5; where it lies is taken from the .mat file of SPM beside it."]
    elif not np.allclose(affine, middle, atol=1e-3):  # NIfTI without codes, as results are written, holds no origin
        affine = middle
        notes.append("The origin in its header is not used: the middle of the volume is 0.")
    notes += check_affine(affine, shape, path)
    return _Header(voxel_file, int(offset), dtype, shape, rescale, affine, forms, tuple(notes))


def _nowhere(path: Path) -> errors.ScanUnreadableError:
    why = "Its header does not say where its voxels begin: it is not a single-file NIfTI, or damaged."
    return errors.ScanUnreadableError(f"{path} cannot be read.", why, EXPORT)


def _not_grey(path: Path, what: str) -> errors.ScanPixelTypeError:
    return errors.ScanPixelTypeError(
        f"{path} does not hold one grey value per voxel.",
        f"Its voxels are {what}.",
        "Extract one component (of complex voxels the magnitude) and read that.",
    )


def _shape(head: Any, path: Path) -> tuple[int, ...]:
    dim = head["dim"]
    size = tuple(int(n) for n in dim[1 : 1 + int(np.clip(dim[0], 0, 7))])
    if not size or min(size) < 1:
        why = f"Its size is {times(size) or 'not given'}."
        raise errors.ScanDimensionError(f"{path} is not one 3-D volume.", why, EXPORT)
    return size


def _dtype(head: Any, path: Path) -> np.dtype:
    """The type of the voxels.

    Raises:
        ScanPixelTypeError: colour, complex numbers, or a type that no grey image has.
        ScanUnreadableError: the bits contradict the type.
    """
    from nibabel.spatialimages import HeaderDataError

    try:
        dtype = head.get_data_dtype()
    except (HeaderDataError, KeyError) as error:
        why = f"Its voxels are of the type {int(head['datatype'])}, which is unknown."
        raise errors.ScanUnreadableError(f"{path} cannot be read.", why, EXPORT) from error
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise _not_grey(path, "colours" if dtype.names else dtype.name)
    if int(head["bitpix"]) != 8 * dtype.itemsize:
        why = f"Its header says {int(head['bitpix'])} bits a voxel, and a type of {8 * dtype.itemsize} bits."
        raise errors.ScanUnreadableError(f"{path} is damaged.", why, COPY_AGAIN)
    return dtype


def _rescale(head: Any, path: Path) -> tuple[tuple[float, float] | None, tuple[str, ...]]:
    """Slope and intercept, ``None`` where values are as stored, and what is to be said about it."""
    slope, inter = (float(head[k]) if k in head else 0.0 for k in ("scl_slope", "scl_inter"))
    if math.isnan(slope) and (math.isnan(inter) or inter == 0):  # nibabel's way to say that there is none
        return None, ("The slope in the header is not a number: values are taken as stored.",)
    if not (math.isfinite(slope) and math.isfinite(inter)) or (slope == 0 and inter != 0):
        why = f"It rescales its values by a slope of {slope:g} and an intercept of {inter:g}."
        raise errors.ScanContentError(f"{path} does not say what its values mean.", why, EXPORT)
    return (None if (slope, inter) in ((0.0, 0.0), (1.0, 0.0)) else (slope, inter)), ()


def _guessed(why: str) -> str:
    return (
        f"{why}: it is assumed to be stored from right to left, as SPM and nibabel assume. "
        "LEFT AND RIGHT MAY BE SWAPPED; compare with another image of the patient."
    )


def _place(head: Any, shape: tuple[int, ...], path: Path) -> tuple[np.ndarray, NiftiForms, tuple[str, ...]]:
    """Where the voxels lie: by the sform where its code is above 0, else by the qform, else a guess.

    Returns:
        (4,4) IJK -> RAS mm, both forms in mm, and sentences for the user.

    Raises:
        ScanGeometryError: a spacing or forms that are not numbers.
    """
    pixdim = head["pixdim"]
    spacing = pixdim[1:4].astype(float)[: len(shape)]
    if not (np.isfinite(spacing).all() and (spacing > 0).all()):
        raise lost_geometry(path, f"The spacing is {times(spacing)} mm.")
    pixdim[0] = -1 if pixdim[0] < 0 else 1
    q_code, s_code = (code if (code := int(head[f"{k}form_code"])) in CODES else 0 for k in "qs")
    sform = np.array(head.get_sform(), dtype=float)
    quaternion = np.array([head[f"quatern_{k}"] for k in "bcd"] + [head[f"qoffset_{k}"] for k in "xyz"], dtype=float)
    if q_code and not np.isfinite(quaternion).all():
        raise lost_geometry(path, "Its qform is not made of numbers.")
    qform = None
    if np.isfinite(quaternion).all() and (q_code or (quaternion[:3] ** 2).sum() <= 1):
        if (norm := float((quaternion[:3] ** 2).sum())) > 1 + ROUNDED_QUATERNION:
            if norm > 1.001:
                raise lost_geometry(path, "Its qform is not a rotation.")
            for i, k in enumerate("bcd"):
                head[f"quatern_{k}"] = quaternion[i] / math.sqrt(norm)
        qform = np.array(head.get_qform(), dtype=float)
    if s_code and not np.isfinite(sform).all():
        raise lost_geometry(path, "Its sform is not a matrix of numbers.")
    notes: tuple[str, ...] = ()
    if s_code and q_code and abs(np.linalg.det(sform[:3, :3])) < 1e-12:
        notes += ("The sform is not a grid in space; the qform is used.",)
        s_code = 0
    chosen = sform if s_code else qform if q_code else None
    affine = np.array(head.get_base_affine(), dtype=float) if chosen is None else chosen.copy()
    unit, unit_note = _unit(head, np.linalg.norm(affine[:3, :3], axis=0))
    for form in (affine, sform, *(() if qform is None else (qform,))):
        form[:3] *= unit
    notes += unit_note
    fields = np.concatenate([pixdim[:1], pixdim[1:4] * unit, quaternion[:3], quaternion[3:] * unit])
    known = None if qform is None else tuple(float(v) for v in fields)
    if chosen is None:
        why = "The qform and sform codes of the scan are 0, so its orientation is not known"
        kept = NiftiForms(0, 0, qform, sform if np.isfinite(sform).all() else None, known)
        return affine, kept, (*notes, _guessed(why))
    if s_code and not q_code:
        check_affine(affine, shape, path)
        scale = np.linalg.norm(affine[:3, : len(spacing)], axis=0)
        if not np.allclose(scale, spacing * unit, rtol=0.01):
            raise lost_geometry(path, f"pixdim says {times(spacing)}, the sform {times(scale / unit)}.")
    if s_code and q_code:
        assert qform is not None
        ends = np.array([(*c, 1) for c in product(*((0, n - 1) for n in (*shape, 1, 1)[:3]))], dtype=float).T
        apart = (qform - sform) @ ends
        voxels = float(np.abs(np.linalg.inv(affine) @ apart).max())
        if voxels > DISAGREE_VOXELS:
            mm = float(np.linalg.norm(apart[:3], axis=0).max())
            notes += (
                f"The qform and the sform disagree by up to {mm:.1f} mm; the sform (code {s_code}) is "
                "used, as nibabel and SPM do. A mask must be drawn in a program that uses the sform, too.",
            )
    return affine, NiftiForms(q_code, s_code, qform, sform if s_code else None, known), notes


def _unit(head: Any, spacing: np.ndarray) -> tuple[float, tuple[str, ...]]:
    """What makes the header's lengths millimetres. A unit that makes voxels no scanner makes is a slip, and told."""
    if "xyzt_units" not in head or (unit := UNIT_MM.get(int(head["xyzt_units"]) & 7)) is None:
        return 1.0, ()

    def plausible(factor: float) -> bool:
        return bool(((spacing * factor >= PLAUSIBLE_MM[0]) & (spacing * factor <= PLAUSIBLE_MM[1])).all())

    if not plausible(unit) and plausible(1.0):
        name = "metres" if unit > 1 else "micrometres"
        size = times(spacing)
        return 1.0, (f"The header says {name}; voxels of {size} {name} do not exist: mm are assumed.",)
    return unit, ()


# --- voxels -------------------------------------------------------------------------------------------------


@contextmanager
def _unzipped(path: Path) -> Iterator[Any]:
    """The file as a stream of bytes, decompressed where it is compressed."""
    with path.open("rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(path) if zipped else path.open("rb") as stream:
            yield stream
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise errors.ScanUnreadableError(f"{path} is incomplete or damaged.", str(error), COPY_AGAIN) from error


def _most_held(path: Path) -> int:
    """Bytes that a file can hold: deflate makes at most 1032 of one."""
    with path.open("rb") as raw:
        return path.stat().st_size * (1032 if raw.read(2) == b"\x1f\x8b" else 1)


def _incomplete(path: Path, found: int, due: int) -> errors.ScanUnreadableError:
    why = f"Its header promises {due} bytes; it holds {found}{' or more' * (found > due)}."
    return errors.ScanUnreadableError(f"{path} is {'incomplete' if found < due else 'damaged'}.", why, COPY_AGAIN)


def _scan(head: _Header, path: Path, form: str) -> Scan:
    """The voxels that a header promises, read once, to the end of the file, and held once."""
    count, width = math.prod(head.shape), head.dtype.itemsize
    due, found = head.start + count * width, 0
    if due > (held := _most_held(head.file)):
        raise _incomplete(path, held, due)
    flat = np.empty(count, head.dtype.newbyteorder("=") if head.rescale is None else _real_type(head.dtype))
    stored = flat.dtype == head.dtype  # bytes of the file that are voxels as they are
    room = memoryview(flat.view(np.uint8) if stored else np.empty(CHUNK, np.uint8))  # type: ignore[arg-type]
    with _unzipped(head.file) as stream:
        while found < head.start and (chunk := stream.read(min(CHUNK, head.start - found))):
            found += len(chunk)
        while head.start <= found < due:
            start = found - head.start
            part = room[start : start + CHUNK] if stored else room[: min(CHUNK, due - found)]
            if not (got := _filled(stream, part)):
                break
            found += got
            whole = slice(start // width, (start + got) // width)
            if not stored:
                flat[whole] = np.frombuffer(part[: got // width * width], head.dtype)
            if head.rescale is not None:
                with np.errstate(over="ignore"):  # what becomes infinite is refused later
                    flat[whole] *= head.rescale[0]
                    flat[whole] += head.rescale[1]
        while found < due + MOST_EXTRA and (chunk := stream.read(CHUNK)):
            found += len(chunk)
    if not due <= found < due + MOST_EXTRA:
        raise _incomplete(path, found, due)
    voxels = flat.reshape(head.shape[:3], order="F")
    facts = {"path": str(path), "format": form}
    return Scan(voxels, head.affine, modality_of(path.name), facts, head.forms, head.notes)


def _real_type(dtype: np.dtype) -> type[np.floating]:
    """That of rescaled voxels: one that holds the stored ones exactly."""
    return np.float32 if dtype.itemsize <= 2 or (dtype.kind == "f" and dtype.itemsize == 4) else np.float64


def _filled(stream: Any, room: memoryview) -> int:
    """Fill a piece of memory from a stream, which may give less at a time; how many bytes it had."""
    found = 0
    while found < len(room) and (got := stream.readinto(room[found:])):
        found += got
    return found
