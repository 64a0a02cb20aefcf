"""Writing results: all of a run's files appear together, complete and checked, or none of them does.

Files are staged in a hidden folder on the same file system, readable by its owner only, and moved into place when
everything is written (:mod:`braindiffusion.io.staging`). Whatever stops the run before (an error, Ctrl-C, a full disk)
leaves the target as it was.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from braindiffusion import NOT_FOR_DIAGNOSIS
from braindiffusion.errors import OutputError, ScanGeometryError, ScanUnreadableError
from braindiffusion.io.checks import quiet_sitk
from braindiffusion.io.guard import check_kept
from braindiffusion.io.nifti import load_nifti
from braindiffusion.io.staging import NEW, PREFIX, Staging, move_in
from braindiffusion.volume.scan import LPS_TO_RAS, NiftiForms, Scan

QUATERNION = ("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z")
FORMATS = {"nifti": ".nii.gz", "nrrd": ".nrrd"}
_CAUSES = {
    errno.ENOSPC: ("The disk is full.", "Free some space, or choose a folder on another disk."),
    errno.EDQUOT: ("Your quota is used up.", "Free some space, or choose a folder on another disk."),
    errno.EFBIG: ("The file would be larger than allowed.", "Choose a folder on another disk."),
    errno.EACCES: ("You may not write there.", "Choose a folder of your own."),
    errno.EPERM: ("You may not write there.", "Choose a folder of your own."),
    errno.EROFS: ("The disk is read-only.", "Choose a folder on another disk."),
    errno.ENOTDIR: ("A file stands where a folder is needed.", "Choose another folder."),
    errno.EISDIR: ("A folder stands where a file is to go.", "Choose another folder."),
    errno.EEXIST: ("A file stands where a folder is needed.", "Choose another folder."),
    errno.ENAMETOOLONG: ("The name is too long.", "Choose a shorter name."),
    errno.ELOOP: ("It is a link that leads to itself.", "Choose another folder."),
    errno.EIO: ("The disk failed.", "Choose a folder on another disk."),
}


def _refused(folder: Path, error: OSError | str) -> OutputError:
    """The error for the user: what, why, and what to do."""
    code = error.errno if isinstance(error, OSError) else None
    why = (error.strerror if isinstance(error, OSError) else error) or str(error)
    why, action = _CAUSES.get(code or 0, (why, "Choose another folder."))
    return OutputError(f"The results cannot be written to {folder}.", why, action)


def _place(folder: str | Path) -> Path:
    """Where results go, absolute.

    Raises:
        OutputError: the name is not Unicode: ITK would end the program over it.
    """
    place = Path(folder).absolute()
    try:
        str(place).encode("utf-8")
    except UnicodeEncodeError as error:
        what = f"The results cannot be written to {str(place)!a}."
        raise OutputError(what, "The name is not Unicode.", "Choose another folder.") from error
    return place


def check_place(path: str | Path) -> Path:
    """A place for a file or a folder of results, absolute; it need not exist.

    Raises:
        OutputError: its name cannot be: too long, not Unicode, links that lead to themselves.
    """
    place = _place(path)
    try:
        os.stat(place)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass
    except OSError as error:
        raise _refused(place, error) from error
    return place


def _ground(folder: Path) -> Path:
    """The folder itself, or its nearest ancestor that exists.

    Raises:
        OSError: a file stands in the way, or nothing may be looked up there.
    """
    ground = next(p for p in (folder, *folder.parents) if os.path.lexists(p))
    if not ground.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(ground))
    return ground


def check_writable(folder: str | Path) -> None:
    """Make sure early that results can be written to ``folder``, which need not exist. Leaves nothing behind.

    Raises:
        OutputError: it cannot be written or made.
    """
    folder = check_place(folder)
    try:
        with tempfile.TemporaryFile(dir=_ground(folder), prefix=PREFIX) as probe:
            probe.write(b"\0")
            probe.flush()
    except OSError as error:
        raise _refused(folder, error) from error


def free_space_check(folder: str | Path, bytes_needed: int) -> None:
    """Make sure early that the disk of ``folder`` has room.

    Raises:
        OutputError: it has less than ``bytes_needed`` left, or cannot be asked.
    """
    folder = _place(folder)
    try:
        free = shutil.disk_usage(_ground(folder)).free
    except OSError as error:
        raise _refused(folder, error) from error
    if free < bytes_needed:
        why = f"About {bytes_needed / 1e6:.0f} MB are needed, {free / 1e6:.0f} MB are free."
        raise OutputError(f"The results will not fit into {folder}.", why, _CAUSES[errno.ENOSPC][1])


@contextmanager
def complete(path: Path) -> Iterator[Path]:
    """A name to write one file under; the file takes its own when the block ends well, and the old one stays till then.

    One writer at a time: the name is the same for all, so that what a killed run left is written over.

    Raises:
        OutputError: no permission, disk full, read-only ...
        SettingsError: an input of the command lies there.
    """
    check_kept(path)
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        with partial.open("r+b") as stream:
            os.fsync(stream.fileno())
        os.replace(partial, path)
    except BaseException as error:
        with suppress(OSError):
            partial.unlink()
        # safetensors has an error of its own, which tells the system's in words
        code = re.search(r"\(os error (\d+)\)", str(error))
        if isinstance(error, OSError) or code:
            problem = error if isinstance(error, OSError) else OSError(int(code[1]), os.strerror(int(code[1])))  # type: ignore[index]
            raise _refused(path.parent, problem) from error
        raise


class OutputFolder:
    """A folder that receives all files of a run at once.

    >>> with OutputFolder("results") as out:  # doctest: +SKIP
    ...     out.volume("healed", voxels, scan)
    ...     out.json("provenance", facts)
    ...     figure.savefig(out.file("overview.png"))

    Args:
        path: the folder; made, with its parents, when the block ends well. Files of the same names are replaced,
            others stay.
        keep: refuse to replace a file: what is written here is written once.

    Raises:
        OutputError: on entering, inside, or on leaving the block: no permission, disk full, read-only ...
    """

    def __init__(self, path: str | Path, keep: bool = False) -> None:
        self.path, self._keep = _place(path), keep
        self._staging: Staging | None = None

    def __enter__(self) -> OutputFolder:
        try:
            self._staging = Staging(_ground(self.path))
        except OSError as error:
            raise _refused(self.path, error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._commit()
        except OSError as problem:
            raise _refused(self.path, problem) from problem
        finally:
            self._discard()
        if isinstance(error, OSError) and self._is_ours(error):
            raise _refused(self.path, error) from error

    def file(self, name: str) -> Path:
        """Where to write a file oneself. ``name`` may lie in a subfolder (``pictures/017.png``)."""
        if self._staging is None:
            raise RuntimeError("OutputFolder is used outside its with block.")
        inside = Path(name)
        if inside.is_absolute() or ".." in inside.parts or not inside.name:
            raise ValueError(f"{name!r} is not a name inside the folder.")
        path = self._staging.folder / NEW / inside
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def json(self, name: str, data: Any) -> None:
        """Write plain data (numpy scalars, arrays and paths welcome; NaN becomes null) as ``name.json``."""
        text = json.dumps(_plain(data), indent=2, ensure_ascii=False, allow_nan=False)
        self.file(_with_suffix(name, ".json")).write_text(text + "\n", encoding="utf-8")

    def volume(
        self,
        name: str,
        voxels: np.ndarray,
        where: Scan | np.ndarray,
        file_format: str = "nifti",
        description: str = NOT_FOR_DIAGNOSIS,
        notice: str = NOT_FOR_DIAGNOSIS,
    ) -> None:
        """Write one volume as ``name.nii.gz`` or ``name.nrrd``, compressed, and read it back to be sure.

        Args:
            voxels: (I,J,K), real numbers of any dtype; it is kept, except bool -> uint8 and float16 -> float32.
            where: the scan whose grid it shares, or an affine (4,4) IJK -> RAS in mm, without shear.
            file_format: ``nifti`` or ``nrrd``. NIfTI takes the forms of the scan and their codes; where it has none,
                sform and qform are the affine, in scanner space.
            description: goes into NIfTI's descrip (79 characters) or NRRD's ``description`` key; where it does not
                begin with ``notice``, that is put before it.
            notice: another one for what is not synthetic, or may not say so.

        Raises:
            OutputError: the file could not be written completely.
        """
        path = self.file(_with_suffix(name, FORMATS[file_format]))
        text = " ".join(description.split())
        if not text.startswith(notice):
            text = f"{notice}: {text}"
        write = _write_nifti if file_format == "nifti" else _write_nrrd
        try:
            if not write(path, voxels, where, text):
                raise self._incomplete(path, "It does not read back as it was written.")
        except (RuntimeError, ScanUnreadableError, ScanGeometryError) as error:
            raise self._incomplete(path, str(error)) from error

    def _incomplete(self, path: Path, why: str) -> OutputError:
        """The cause as ITK tells it, or the one it does not notice: a full disk."""
        with suppress(OSError):
            if shutil.disk_usage(path.parent).free < 1 << 20:
                return _refused(self.path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        return OutputError(f"{path.name} could not be written completely.", why, "Check the disk, then run it again.")

    def _is_ours(self, error: OSError) -> bool:
        """Whether an error inside the block came from writing here, not from something else the caller does."""
        if error.filename is None:
            return error.errno in _CAUSES
        names = [str(n) for n in (error.filename, error.filename2) if n is not None]
        ours = [str(self.path), *([str(self._staging.folder)] if self._staging else [])]
        return any(n.startswith(tuple(ours)) for n in names)

    def _commit(self) -> None:
        """Move every staged file into place, or put everything back."""
        assert self._staging is not None
        new = self._staging.folder / NEW
        for source in new.rglob("*"):
            check_kept(self.path / source.relative_to(new))
        move_in(self._staging.folder, self.path, self._keep)

    def _discard(self) -> None:
        if self._staging is not None:
            self._staging.remove()


def _with_suffix(name: str, suffix: str) -> str:
    return name if name.endswith(suffix) else name + suffix


def _native(voxels: np.ndarray) -> np.ndarray:
    """Voxels (I,J,K) in a type that files have."""
    if voxels.ndim != 3:
        raise ValueError(f"A volume has three axes, not {voxels.ndim}.")
    dtype = np.dtype({"?": "u1", "e": "f4"}.get(voxels.dtype.char, voxels.dtype.newbyteorder("=")))
    return voxels.astype(dtype, copy=False)


def _same(held: np.ndarray, due: np.ndarray) -> bool:
    return held.dtype == due.dtype and np.array_equal(held, due, equal_nan=due.dtype.kind == "f")


def _write_nifti(path: Path, voxels: np.ndarray, where: Scan | np.ndarray, text: str) -> bool:
    """Write one file; whether it reads back as it was written."""
    import nibabel

    due = _native(voxels)
    affine = where.affine if isinstance(where, Scan) else np.asarray(where, dtype=float)
    forms = where.forms if isinstance(where, Scan) else None
    forms = forms or NiftiForms(1, 1, affine, affine)
    wide = max(due.shape) > np.iinfo(np.int16).max
    kind, header = (nibabel.Nifti2Image, nibabel.Nifti2Header) if wide else (nibabel.Nifti1Image, nibabel.Nifti1Header)
    head = header()
    head.set_data_dtype(due.dtype)
    head.set_data_shape(due.shape)
    head.set_zooms(np.linalg.norm(affine[:3, :3], axis=0))
    head.set_xyzt_units("mm")
    if forms.quaternion is not None:
        head["pixdim"][:4] = forms.quaternion[:4]
        for name, value in zip(QUATERNION, forms.quaternion[4:], strict=True):
            head[name] = value
        head["qform_code"] = forms.qform_code
    elif forms.qform is not None:
        head.set_qform(forms.qform, forms.qform_code)
    if forms.sform is not None:
        head.set_sform(forms.sform, forms.sform_code)
    head["descrip"] = text.encode("ascii", "replace")[:79]
    nibabel.save(kind(due, None, head), path)
    back = load_nifti(path)
    return _same(back.voxels, due) and np.allclose(back.affine, affine, rtol=1e-4, atol=1e-4)


def _write_nrrd(path: Path, voxels: np.ndarray, where: Scan | np.ndarray, text: str) -> bool:
    """Write one file; whether it reads back as it was written."""
    sitk = quiet_sitk()
    image = _itk_image(voxels, where.affine if isinstance(where, Scan) else np.asarray(where, dtype=float))
    image.SetMetaData("description", text)
    sitk.WriteImage(image, str(path), useCompression=True)
    back = sitk.ReadImage(str(path))
    same = _same(sitk.GetArrayViewFromImage(back), sitk.GetArrayViewFromImage(image))
    return same and np.allclose(_itk_affine(back), _itk_affine(image), rtol=1e-4, atol=1e-4)


def _itk_image(voxels: np.ndarray, affine: np.ndarray) -> Any:
    """Voxels (I,J,K) and affine (IJK -> RAS mm) as a SimpleITK image."""
    image = quiet_sitk().GetImageFromArray(np.ascontiguousarray(_native(voxels).T))
    lps = LPS_TO_RAS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


def _itk_affine(image: Any) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return affine


def _plain(value: Any) -> Any:
    """Nested data as JSON knows it."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [_plain(v) for v in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value
