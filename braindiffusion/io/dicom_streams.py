"""Large DICOM files piece by piece: what is deflated is inflated as it is read, what is compressed is decoded by frame.

So neither is ever held as a whole beside the voxels that are kept.
"""

from __future__ import annotations

import io
import struct
import tempfile
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from braindiffusion import errors
from braindiffusion.io.checks import COPY_AGAIN, for_itk, itk_voxels, quiet_sitk

if TYPE_CHECKING:
    from pydicom import Dataset

MOST_INFLATED = 1 << 27
"""Bytes that a deflated file may grow to: a few MB may stand for terabytes."""
AT_ONCE = 8
"""Compressed frames."""
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_PIXELS = (
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit"),
    "PixelRepresentation",
)


class _Inflating:
    """The deflated data set of a file as a stream of its plain bytes; remembers the last ``REMEMBERED`` of them."""

    REMEMBERED = 1 << 19
    CHUNK = 1 << 17

    def __init__(self, raw: BinaryIO, file: Path, start: int) -> None:
        raw.seek(start)
        self._raw, self._file, self.name = raw, file, str(file)
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        self._kept, self._first, self._at = bytearray(), 0, 0  # the bytes from _first on; the position

    @property
    def _end(self) -> int:
        return self._first + len(self._kept)

    def _more(self) -> bool:
        """Inflate another piece; whether there was one.

        Raises:
            ScanUnreadableError: it ends too early, or grows beyond measure.
        """
        if self._inflate.eof:
            return False
        packed = self._inflate.unconsumed_tail or self._raw.read(1 << 16)
        if not packed:
            why = "Its deflated contents end too early."
            raise errors.ScanUnreadableError(f"{self._file} is incomplete.", why, COPY_AGAIN)
        self._kept += self._inflate.decompress(packed, self.CHUNK)
        if self._end > MOST_INFLATED:
            why = f"Its deflated contents grow beyond {MOST_INFLATED >> 20} MiB."
            raise errors.ScanUnreadableError(f"{self._file} is damaged.", why, COPY_AGAIN)
        if (old := min(self._at, self._end) - self.REMEMBERED - self._first) > self.CHUNK:
            del self._kept[:old]
            self._first += old
        return True

    def read(self, size: int = -1) -> bytes:
        end = None if size < 0 else self._at + size
        while (end is None or self._end < end) and self._more():
            pass
        found = bytes(self._kept[self._at - self._first : None if end is None else end - self._first])
        self._at += len(found)
        return found

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END:
            self._at = self._end
            while self._more():
                self._at = self._end
            return self._at
        self._at = offset + (self._at if whence == io.SEEK_CUR else 0)
        if self._at < self._first:
            raise ValueError("What was read of the file long ago is asked for again.")
        return self._at


def opened(raw: BinaryIO, file: Path) -> Any:
    """A stream of the plain data set of a deflated file (seek, read, tell); of any other file ``raw``, at its start."""
    head = raw.read(1024)
    raw.seek(0)
    # where the deflated part begins is told by the length of the group before it
    return _Inflating(raw, file, 144 + int.from_bytes(head[140:144], "little")) if _DEFLATED in head else raw


def inflated_planes(file: Path, header: Dataset, indices: list[int]) -> Iterator[np.ndarray]:
    """Some frames of a deflated file, ``indices`` in rising order; (rows, columns) as stored."""
    from pydicom import dcmread

    with file.open("rb") as raw:
        stream = opened(raw, file)
        dcmread(stream, stop_before_pixels=True, force=True)
        element = struct.unpack("<2H", stream.read(12)[:4])[1]
        kind = "f" if element == 0x0008 else "i" if header.get("PixelRepresentation") else "u"
        dtype = np.dtype(f"<{kind}{int(header.BitsAllocated) // 8}")
        shape = int(header.Rows), int(header.Columns)
        for index in range(indices[-1] + 1):
            plane = stream.read(shape[0] * shape[1] * dtype.itemsize)
            if index in indices:
                yield np.frombuffer(plane, dtype).reshape(shape)


def decoded_planes(file: Path, header: Dataset, indices: list[int]) -> Iterator[np.ndarray]:
    """Some frames of a compressed multi-frame file, ``indices`` in rising order; (rows, columns) as stored.

    GDCM gets a few at a time, in a file with nothing of the header but what describes the pixels.

    Raises:
        RuntimeError: GDCM cannot decode it.
    """
    from pydicom import Dataset, dcmread
    from pydicom.dataset import FileMetaDataset
    from pydicom.encaps import encapsulate, generate_frames
    from pydicom.uid import MultiFrameGrayscaleWordSecondaryCaptureImageStorage as Storage
    from pydicom.uid import generate_uid

    one = Dataset()
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = header.file_meta.TransferSyntaxUID
    one.SOPClassUID = one.file_meta.MediaStorageSOPClassUID = Storage
    one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    for keyword in _PIXELS:
        if keyword in header:
            setattr(one, keyword, header.get(keyword))
    offsets = tuple(header.get(f"ExtendedOffsetTable{part}") for part in ("", "Lengths"))
    sitk = quiet_sitk()
    with tempfile.TemporaryDirectory(prefix="braindiffusion-") as folder, file.open("rb") as stream:
        dcmread(stream, stop_before_pixels=True, force=True)
        stream.seek(12, io.SEEK_CUR)
        frames = generate_frames(
            stream, number_of_frames=int(header.NumberOfFrames), extended_offsets=offsets if all(offsets) else None
        )
        wanted = (frame for index, frame in enumerate(frames) if index in indices)
        while part := list(islice(wanted, AT_ONCE)):
            one.NumberOfFrames, one.PixelData = len(part), encapsulate(part)
            one["PixelData"].is_undefined_length = True
            path = Path(folder) / "frames.dcm"
            one.save_as(path, enforce_file_format=True)
            pixels = itk_voxels(sitk.ReadImage(for_itk(path), imageIO="GDCMImageIO"))
            yield from pixels.reshape(len(part), *pixels.shape[-2:])
