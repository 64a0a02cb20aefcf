"""Packs: many slices with their lesion masks in one ``.npz`` file, no pickles.

Keys: one image array (N,H,W) uint8 (``flair``, ``t1`` ... or ``images``); ``mask_bits`` = ``np.packbits(mask,
axis=-1)`` (optional ``width`` for masks whose width is no multiple of 8; a pack without it has no masks);
``unsure_bits``, packed likewise (optional: pixels of which nothing is known; training passes them over);
``patient`` (N) index into ``patients``, or ``subject`` (N); ``split`` per patient or per slice (optional);
``volume`` (N, optional: which of the patient's scans); ``slice`` (N, optional); ``pitch_mm`` (optional; 240/256 for
256-pixel slices, 240/128 for 128, else 1).
"""

from __future__ import annotations

import math
import tokenize
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from braindiffusion.errors import PackError
from braindiffusion.volume.scan import Scan
from braindiffusion.volume.slices import FIELD_OF_VIEW_MM

MOST_GROWTH, LEAST_GROWN = 100, 1 << 28
"""Packs of scans grow about twofold; what is small when unpacked may grow as it likes."""
_NOT_IMAGES = {
    "mask_bits",
    "unsure_bits",
    "patient",
    "patients",
    "subject",
    "split",
    "slice",
    "volume",
    "width",
    "lesion_ml",
    "pitch_mm",
    "brain_bits",
}


@dataclass(frozen=True)
class Pack:
    """Slices of many patients.

    Attributes:
        images: (N,H,W) uint8, rows anterior to posterior, columns patient right to left.
        masks: (N,H,W) bool, lesion drawn by a person; all False when the pack has none.
        patient: (N,) str.
        position: (N,) int, the slice's number within its patient.
        split: (N,) str, ``all`` where the pack has no split.
        modality: the name of the image key, upper case.
        pitch_mm: pixel size.
        has_masks: whether the pack carried masks.
        volume: (N,) int, which of the patient's scans; ``None`` where each has one.
        unsure: (N,H,W) bool, pixels whose mask is not known; ``None`` where all are.
    """

    images: np.ndarray
    masks: np.ndarray
    patient: np.ndarray
    position: np.ndarray
    split: np.ndarray
    modality: str
    pitch_mm: float
    has_masks: bool
    volume: np.ndarray | None = None
    unsure: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.images)

    def select(self, keep: np.ndarray) -> Pack:
        """The slices where ``keep`` (bool or indices)."""
        return Pack(
            self.images[keep], self.masks[keep], self.patient[keep], self.position[keep], self.split[keep],
            self.modality, self.pitch_mm, self.has_masks, None if self.volume is None else self.volume[keep],
            None if self.unsure is None else self.unsure[keep],
        )  # fmt: skip

    def of_split(self, split: str) -> Pack:
        """The slices of one split; ``all`` keeps everything.

        Raises:
            PackError: the pack has no such split.
        """
        if split == "all":
            return self
        keep = self.split == split
        if not keep.any():
            raise PackError(
                f"The pack has no '{split}' slices.",
                f"Its splits are: {', '.join(sorted(set(self.split.tolist())))}.",
                "Choose one of them, or --split all.",
            )
        return self.select(keep)

    def volumes(self) -> list[tuple[str, np.ndarray, Scan]]:
        """Per scan: patient, indices into the pack, and the slices as a scan (nominal geometry, LPS order)."""
        out = []
        visit = np.zeros(len(self), int) if self.volume is None else self.volume
        for name, number in dict.fromkeys(zip(self.patient.tolist(), visit.tolist(), strict=True)):
            index = np.nonzero((self.patient == name) & (visit == number))[0]
            index = index[np.argsort(self.position[index], kind="stable")]
            voxels = self.images[index].transpose(2, 1, 0)
            affine = np.diag([-self.pitch_mm, -self.pitch_mm, 5.0, 1.0])
            out.append((str(name), index, Scan(voxels, affine, self.modality, {"format": "pack"})))
        return out


def load_pack(path: str | Path) -> Pack:
    """Read a pack.

    Raises:
        PackError: missing, damaged, or not in the format.
    """
    path = Path(path)
    problem = f"{path.name} is not a usable pack."
    if not path.is_file():
        raise PackError(f"There is no pack {path}.", "The file does not exist.", "Check the path.")
    try:
        _check_zip(path, problem)
        with np.load(path, allow_pickle=False) as data:
            arrays = {k: data[k] for k in data.files}
        return _pack_of(arrays, problem)
    except (
        ValueError, TypeError, AttributeError, IndexError, OverflowError, OSError, EOFError, NotImplementedError,
        zipfile.BadZipFile, zlib.error,
    ) as error:  # fmt: skip
        why = str(error) or type(error).__name__
        raise PackError(problem, why, "Make it again; the format is in docs/packs.md.") from error


def _check_zip(path: Path, problem: str) -> None:
    """Refuse arrays whose headers claim more than is there, before memory is asked for.

    Raises:
        PackError: such an array, an encrypted file, or contents that shrink as no scans do.
    """
    with zipfile.ZipFile(path) as held:
        entries = held.infolist()
        if any(e.flag_bits & 1 for e in entries):
            raise PackError(problem, "It is encrypted.", "Make it again; the format is in docs/packs.md.")
        for entry in entries:
            with held.open(entry) as stream:
                claimed = _claimed(stream, problem, entry.filename)
            if claimed != entry.file_size:
                why = f"{entry.filename} claims {claimed} bytes and has {entry.file_size}."
                raise PackError(problem, why, "Make it again; the format is in docs/packs.md.")
        grown = sum(e.file_size for e in entries)
        if grown > max(MOST_GROWTH * path.stat().st_size, LEAST_GROWN):
            why = f"Its {path.stat().st_size / 1e6:.1f} MB would grow to {grown / 1e9:.1f} GB."
            raise PackError(problem, why, "Make it again; the format is in docs/packs.md.")


def _claimed(stream: IO[bytes], problem: str, name: str) -> int:
    """The bytes that an .npy file should have by its header, which is parsed as numpy does."""
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        read = readers[np.lib.format.read_magic(stream)]
        shape, _, dtype = read(stream)
    except (ValueError, KeyError, SyntaxError, TypeError, tokenize.TokenError, RecursionError, MemoryError) as error:
        raise PackError(problem, f"{name} does not begin as an array.", "See docs/packs.md.") from error
    if dtype.hasobject or min(shape, default=0) < 0:
        raise PackError(problem, f"{name} holds Python objects, or nothing.", "See docs/packs.md.")
    return stream.tell() + math.prod(shape) * dtype.itemsize


def _whole(values: np.ndarray, name: str) -> np.ndarray:
    """(N,) whole numbers.

    Raises:
        ValueError: it is something else.
    """
    if values.ndim != 1 or values.dtype.kind not in "biuf" or not (np.mod(values, 1) == 0).all():
        raise ValueError(f"'{name}' is no list of whole numbers")
    return values.astype(int)


def _pack_of(arrays: dict[str, Any], problem: str) -> Pack:
    names = [k for k, v in arrays.items() if k not in _NOT_IMAGES and v.ndim == 3]
    if len(names) != 1 or arrays[names[0]].dtype != np.uint8 or arrays[names[0]].size == 0:
        raise PackError(
            problem, f"It needs exactly one (N,H,W) uint8 image array; found {names}.", "See docs/packs.md."
        )
    images = arrays[names[0]]
    n, _, w = images.shape
    if "patient" in arrays and "patients" in arrays:
        index, known = _whole(arrays["patient"], "patient"), arrays["patients"]
        if index.min(initial=0) < 0:
            raise ValueError("'patient' counts from 0")
        patient = known[index].astype(str)
        split = arrays.get("split")
        if split is not None and len(split) != n and len(split) == len(known):
            split = split[index]
    else:
        patient = arrays.get("subject", np.arange(n)).astype(str)
        split = arrays.get("split")
    width = int(arrays.get("width", w))
    packed = [arrays[key] for key in ("mask_bits", "unsure_bits") if key in arrays]
    if any(bits.shape[-1:] != (-(-width // 8),) for bits in packed):
        raise ValueError(f"the masks are not {width} pixels wide")
    masks, unsure = (
        np.unpackbits(arrays[key], axis=-1)[..., :width].astype(bool) if key in arrays else None
        for key in ("mask_bits", "unsure_bits")
    )
    masks = np.zeros(images.shape, bool) if masks is None else masks
    split = np.full(n, "all") if split is None else split.astype(str)
    position = _whole(arrays.get("slice", np.arange(n)), "slice")
    volume = _whole(arrays.get("volume", np.zeros(n)), "volume")
    same = masks.shape == images.shape and (unsure is None or unsure.shape == images.shape)
    if not same or not patient.shape == split.shape == position.shape == volume.shape == (n,):
        raise PackError(
            problem,
            f"Images {images.shape}, masks {masks.shape}, {len(patient)} patients do not agree.",
            "See docs/packs.md.",
        )
    pitch = float(arrays.get("pitch_mm", FIELD_OF_VIEW_MM / w if w in (128, 256) else 1.0))
    if not 0 < pitch < 100:
        raise PackError(problem, f"A pixel of {pitch:g} mm is not possible.", "See docs/packs.md.")
    return Pack(images, masks, patient, position, split, names[0].upper(), pitch, "mask_bits" in arrays, volume, unsure)
