"""Hostile DICOM: series, single files, enhanced multi-frame files; tags that lie, and damaged bytes."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from dicom_series import oblique, write_series
from hostile_case import Case, Check, Make, cut, flip, holds, ramp, sound, there_and_back

AFFINE = oblique()
ANY_REFUSAL = (
    "ScanNotFoundError", "ScanUnreadableError", "ScanDimensionError", "ScanPixelTypeError", "ScanContentError",
    "ScanGeometryError", "DicomSeriesError", "MemoryExhaustedError",
)  # fmt: skip
COMPRESSED = {
    "JPEG": "1.2.840.10008.1.2.4.50", "JPEG, lossless": "1.2.840.10008.1.2.4.70", "JPEG-LS": "1.2.840.10008.1.2.4.80",
    "JPEG 2000": "1.2.840.10008.1.2.4.90", "RLE": "1.2.840.10008.1.2.5",
}  # fmt: skip
EXPLICIT_VR = {"OB", "OW", "SQ", "UN", "UT"}


def series(count: int = 5, dtype: str = "<i2", **tags: Any) -> Make:
    """A folder with a series of a ramp, with other tags."""
    return lambda folder: write_series(folder / "series", ramp((7, 6, count), dtype), AFFINE, planted=False, **tags)


def edited(change: Callable[[Any, int], None], which: tuple[int, ...] = (2,), count: int = 5) -> Make:
    """A series of which some files are changed: ``change(dataset, number)``."""

    def make(folder: Path) -> Path:
        from pydicom import dcmread

        made = series(count)(folder)
        for number, file in enumerate(sorted(made.iterdir())):
            if number in which:
                data = dcmread(file)
                change(data, number)
                data.save_as(file)
        return made

    return make


def tags(which: tuple[int, ...] = (2,), count: int = 5, **values: Any) -> Make:
    """A series of which some files have other tags; ``None`` takes one out."""

    def change(data: Any, number: int) -> None:
        for key, value in values.items():
            if value is None:
                delattr(data, key)
            else:
                setattr(data, key, value(number) if callable(value) else value)

    return edited(change, which, count)


def spoilt(damage: Callable[[Path], Any], name: str = "002.dcm") -> Make:
    """A series with one damaged file."""

    def make(folder: Path) -> Path:
        made = series()(folder)
        damage(made / name)
        return made

    return make


def alone(damage: Callable[[Path], Any] = lambda path: path) -> Make:
    """One DICOM file, damaged or not."""

    def make(folder: Path) -> Path:
        file = sorted(series(1)(folder).iterdir())[0]
        damage(file)
        return file

    return make


def wide(element: tuple[int, int], vr: str, data: bytes) -> Callable[[Path], Any]:
    """Append an element as bytes, whatever they are."""
    long = vr in EXPLICIT_VR
    length = struct.pack("<2sI" if long else "<H", *((b"\0\0", len(data)) if long else (min(len(data), 65535),)))
    raw = struct.pack("<2H", *element) + vr.encode() + length + data
    return lambda path: path.write_bytes(path.read_bytes() + raw)


def _nested(levels: int) -> Callable[[Path], Any]:
    """Sequences in sequences, each of unknown length."""
    begin = struct.pack("<2H2s2sI2HI", 0x0040, 0xA730, b"SQ", b"\0\0", 0xFFFFFFFF, 0xFFFE, 0xE000, 0xFFFFFFFF)
    end = struct.pack("<2HI2HI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)

    def damage(path: Path) -> None:
        raw = path.read_bytes()
        at = raw.index(b"\xe0\x7f\x10\x00")  # before the pixels
        path.write_bytes(raw[:at] + begin * levels + end * levels + raw[at:])

    return damage


def _deflated(extra: int) -> Callable[[Path], Any]:
    """The same in the deflated transfer syntax, with ``extra`` zeros in a private element."""

    def damage(path: Path) -> None:
        from pydicom import dcmread
        from pydicom.uid import DeflatedExplicitVRLittleEndian

        data = dcmread(path)
        data.private_block(0x7FE1, "FILLER", create=True).add_new(0x10, "OB", bytes(extra))
        data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        data.save_as(path)

    return damage


def deflate_bomb(path: Path) -> None:
    """1 GiB of zeros in a few MB."""
    _deflated(10)(path)
    raw = path.read_bytes()
    start = 144 + struct.unpack_from("<I", raw, 140)[0]
    shrink = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    with path.open("wb") as stream:
        stream.write(raw[:start])
        stream.write(shrink.compress(zlib.decompress(raw[start:], -zlib.MAX_WBITS)))
        stream.write(shrink.compress(struct.pack("<2H2s2sI", 0x7FE1, 0x1020, b"OB", b"\0\0", 1 << 30)))
        for _ in range(64):
            stream.write(shrink.compress(bytes(1 << 24)))
        stream.write(shrink.flush())


def _encapsulated(uid: str) -> Callable[[Any, int], None]:
    def change(data: Any, number: int) -> None:
        from pydicom.encaps import encapsulate

        data.file_meta.TransferSyntaxUID = uid
        data.PixelData = encapsulate([b"junk" * 20])
        data["PixelData"].is_undefined_length = True

    return change


def _claims(rows: int, columns: int) -> Callable[[Path], Any]:
    def damage(path: Path) -> None:
        from pydicom import dcmread

        data = dcmread(path)
        data.Rows, data.Columns = rows, columns
        data.save_as(path)

    return damage


def _enhanced(change: Callable[[Any], None] = lambda data: None, order: tuple[int, ...] = (0, 1, 2, 3)) -> Make:
    """An enhanced multi-frame file of a ramp."""

    def make(folder: Path) -> Path:
        from pydicom import dcmread
        from pydicom.dataset import Dataset
        from pydicom.sequence import Sequence
        from pydicom.uid import EnhancedMRImageStorage

        voxels = ramp((7, 6, 4))
        file = sorted(write_series(folder, voxels[:, :, :1], AFFINE, planted=False).iterdir())[0]
        data = dcmread(file)
        lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ AFFINE

        def item(**values: Any) -> Any:
            out = Dataset()
            for key, value in values.items():
                setattr(out, key, value)
            return out

        data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
        data.SharedFunctionalGroupsSequence = Sequence(
            [
                item(
                    PlaneOrientationSequence=[item(ImageOrientationPatient=list(data.ImageOrientationPatient))],
                    PixelMeasuresSequence=[item(PixelSpacing=list(data.PixelSpacing))],
                )
            ]
        )
        data.PerFrameFunctionalGroupsSequence = Sequence(
            [
                item(PlanePositionSequence=[item(ImagePositionPatient=[f"{v:.10g}" for v in (lps @ [0, 0, k, 1])[:3]])])
                for k in order
            ]
        )
        for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
            delattr(data, name)
        data.NumberOfFrames = len(order)
        data.PixelData = b"".join(np.ascontiguousarray(voxels[:, :, k].T).tobytes() for k in order)
        change(data)
        data.save_as(file)
        return file

    return make


def _two_series(folder: Path) -> Path:
    first = series(3)(folder)
    second = write_series(folder / "b", ramp((7, 6, 3)), AFFINE, planted=False)
    for file in sorted(second.iterdir()):
        file.rename(first / f"other-{file.name}")
    second.rmdir()
    return first


def _lacking(*numbers: int, count: int = 7) -> Make:
    def make(folder: Path) -> Path:
        made = series(count)(folder)
        for number in numbers:
            (made / f"{number:03d}.dcm").unlink()
        return made

    return make


def _many(folder: Path) -> Path:
    """Copies of headers would take long to write: one file, its bytes edited."""
    made = series(1)(folder)
    raw = (made / "000.dcm").read_bytes()
    at = raw.index(struct.pack("<2H", 0x0020, 0x0032))
    length = struct.unpack_from("<H", raw, at + 6)[0]
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ AFFINE
    for k in range(200):
        text = "\\".join(f"{v:.4f}" for v in (lps @ [0, 0, k, 1])[:3]).encode()
        place = text + b" " * (len(text) % 2)
        head = raw[: at + 6] + struct.pack("<H", len(place)) + place
        (made / f"{k:03d}.dcm").write_bytes(head + raw[at + 8 + length :])
    return made


def _moved(by: Callable[[int], float]) -> Callable[[int], list[str]]:
    """Positions along the normal, and sideways by so many mm."""

    def place(number: int) -> list[str]:
        lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ AFFINE
        along = (lps @ [0, 0, number, 1])[:3] + lps[:3, 2] / np.linalg.norm(lps[:3, 2]) * by(number)
        return [f"{v:.8g}" for v in along]

    return place


def _one(name: str, make: Make, errors: str | tuple[str, ...] = (), check: Check | None = None) -> Case:
    return Case("DICOM", name, make, there_and_back, (errors,) if isinstance(errors, str) else errors, check)


def cases() -> list[Case]:
    """All of them."""
    series_error, geometry, unreadable = "DicomSeriesError", "ScanGeometryError", "ScanUnreadableError"
    every = (0, 1, 2, 3, 4)
    right = holds(ramp((7, 6, 5)), AFFINE)
    frames = holds(ramp((7, 6, 4)), AFFINE)
    listed: list[tuple[Any, ...]] = [
        ("as it should be", series(), (), right),
        ("uint16", series(dtype="<u2"), (), right),
        ("one slice", alone(), (), holds(ramp((7, 6, 1)), AFFINE[:, :] @ np.diag([1, 1, 5 / 7, 1]))),
        ("200 slices", _many, (), lambda scan: holds(np.broadcast_to(ramp((7, 6, 1)), (7, 6, 200)), AFFINE)(scan)),
        ("slope and intercept", series(RescaleSlope="0.5", RescaleIntercept="3"), (), holds(ramp((7, 6, 5)) * 0.5 + 3, AFFINE)),
        ("a negative slope", series(RescaleSlope="-2", RescaleIntercept="0"), (), holds(ramp((7, 6, 5)) * -2.0, AFFINE)),
        ("a slope of 0 means none", series(RescaleSlope="0", RescaleIntercept="0"), (unreadable, "ScanContentError"), right),
        ("a slope of words", series(RescaleSlope="1", RescaleIntercept="0"), (unreadable,), right),
        ("a slope of 1e300", series(RescaleSlope="1e300", RescaleIntercept="0"), ("ScanContentError", unreadable)),
        ("missing slice", _lacking(3), series_error),
        ("missing slices", _lacking(2, 3, 5), series_error),
        ("missing first slice", _lacking(0, count=6), (), lambda scan: sound(scan)),
        ("two series", _two_series, series_error),
        ("two series in one UID", tags(SeriesInstanceUID=None), (series_error,)),
        ("no series UID at all", tags(every, SeriesInstanceUID=None), (series_error,), right),
        ("one slice twice", tags(ImagePositionPatient=_moved(lambda n: -7.0)), series_error),
        ("a slice off its place", tags(ImagePositionPatient=_moved(lambda n: 1.5)), series_error),
        ("slices ever farther apart", tags(every, ImagePositionPatient=_moved(lambda n: 2.0 * n * n)), series_error),
        ("a stack that slants", tags(every, ImagePositionPatient=lambda n: [f"{10 * n}", "0", f"{7 * n}"]), (geometry, series_error)),
        ("positions of words", tags(ImagePositionPatient=None), geometry),
        ("two numbers as position", tags(ImagePositionPatient=["1", "2"]), geometry),
        ("an infinite position", tags(every, ImagePositionPatient=["1e400", "0", "0"]), (geometry, series_error, unreadable)),
        ("positions 1e30 mm away", tags(every, ImagePositionPatient=lambda n: ["1e30", "0", str(n * 7)]), (geometry, series_error)),
        ("no orientation", tags(every, ImageOrientationPatient=None), geometry),
        ("an orientation of 0", tags(every, ImageOrientationPatient=["0"] * 6), geometry),
        ("rows along columns", tags(every, ImageOrientationPatient=list("100100")), geometry),
        ("an orientation of two", tags(every, ImageOrientationPatient=["1", "0"]), geometry),
        ("one slice turned", tags(ImageOrientationPatient=list("100010")), series_error),
        ("no pixel spacing", tags(every, PixelSpacing=None), geometry),
        ("a pixel spacing of 0", tags(every, PixelSpacing=["0", "0"]), geometry),
        ("a pixel spacing below 0", tags(every, PixelSpacing=["-1", "1"]), geometry),
        ("a pixel spacing of 1e30", tags(every, PixelSpacing=["1e30", "1e30"]), geometry),
        ("one number as pixel spacing", tags(every, PixelSpacing="1"), (geometry,)),
        ("another pixel spacing in one slice", tags(PixelSpacing=["3", "9"]), series_error),
        ("another modality: CT", series(Modality="CT"), (), lambda scan: (right(scan), _is(scan.modality, "CT"))),
        ("another modality: ultrasound", series(Modality="US"), (), lambda scan: (right(scan), _is(scan.modality, None))),
        ("no modality", tags(every, Modality=None), (), right),
        ("RGB", tags(every, PhotometricInterpretation="RGB", SamplesPerPixel=3, PixelData=bytes(252)), "ScanPixelTypeError"),
        ("palette", tags(every, PhotometricInterpretation="PALETTE COLOR"), "ScanPixelTypeError"),
        ("inverted grey", tags(every, PhotometricInterpretation="MONOCHROME1"), "ScanPixelTypeError"),
        ("no photometric interpretation", tags(every, PhotometricInterpretation=None), "ScanPixelTypeError"),
        ("a mosaic", tags(every, ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"]), series_error),
        ("32 bits", tags(every, BitsAllocated=32, BitsStored=32, HighBit=31), unreadable),
        ("no bits", tags(every, BitsAllocated=0), "ScanPixelTypeError"),
        ("12 bits allocated", tags(every, BitsAllocated=12), "ScanPixelTypeError"),
        ("more bits stored than allocated", tags(every, BitsStored=40), (unreadable,), right),
        ("no pixels", tags(PixelData=None), unreadable),
        ("pixels cut", tags(PixelData=b"\0" * 10), unreadable),
        ("no rows", tags(every, Rows=0), ("ScanDimensionError", unreadable, series_error)),
        ("rows missing in one file", tags(Rows=None), (unreadable, series_error)),
        ("other size in one slice", tags(Rows=3), series_error),
        ("claims 65535 x 65535", alone(_claims(65535, 65535)), ("ScanDimensionError", unreadable)),
        ("claims 30000 x 30000", alone(_claims(30000, 30000)), unreadable),
        ("claims 20000 x 20000 in each file", edited(lambda d, n: (setattr(d, "Rows", 20000), setattr(d, "Columns", 20000)), every), (unreadable, "ScanDimensionError", "MemoryExhaustedError")),
        ("claims a billion frames", tags(every, NumberOfFrames="1000000000"), (series_error, unreadable)),
        ("-3 frames", tags(every, NumberOfFrames="-3"), (series_error, unreadable)),
        ("frames of words", spoilt(wide((0x0028, 0x0008), "IS", b"many")), ANY_REFUSAL, right),
        ("an unknown transfer syntax", edited(lambda d, n: setattr(d.file_meta, "TransferSyntaxUID", "1.2.3.4.5"), every), (unreadable,), right),
        *((f"{name} that is none", edited(_encapsulated(uid), every), unreadable) for name, uid in COMPRESSED.items()),
        ("deflated", alone(_deflated(10)), (unreadable,), lambda scan: sound(scan)),
        ("a deflate bomb", alone(deflate_bomb), unreadable),
        ("deflated junk", alone(lambda p: (_deflated(10)(p), flip(p, 3, 400, 1 << 20, 40))), unreadable),
        ("sequences 20 deep", alone(_nested(20)), (), lambda scan: sound(scan)),
        ("sequences 5000 deep", alone(_nested(5000)), (unreadable,)),
        ("an element longer than the file", alone(lambda p: p.write_bytes(p.read_bytes()[:-84] + struct.pack("<2H2s2sI", 0x7FE1, 0x1010, b"OB", b"\0\0", 0xFFFFFFF0))), (unreadable,)),
        ("text of 2 MB", alone(wide((0x7FE1, 0x1011), "UT", b"x" * 2_000_000)), (unreadable,), lambda scan: sound(scan)),
        ("a value representation that is none", alone(wide((0x7FE1, 0x1012), "ZZ", b"xxxx")), (unreadable,), lambda scan: sound(scan)),
        ("a description of control characters", series(SeriesDescription="\x1b\x07 \x00FLAIR"), (unreadable,), right),
        ("an unknown character set", tags(every, SpecificCharacterSet="ISO_IR 999"), (unreadable,), right),
        ("nothing but a preamble", spoilt(lambda p: p.write_bytes(bytes(128) + b"DICM")), unreadable),
        ("an empty file in the series", spoilt(lambda p: p.write_bytes(b"")), unreadable),
        ("a presentation state in the series", edited(_presentation), (series_error, unreadable)),
        ("other files beside", spoilt(lambda p: (p.parent / "notes.txt").write_text("hi")), (), right),
        ("names of 250 bytes", spoilt(lambda p: p.rename(p.with_name("x" * 246 + ".dcm"))), (), right),
        ("a name that is no unicode", spoilt(lambda p: p.rename(p.with_name(os.fsdecode(b"\xff\xfe.dcm")))), (unreadable,), right),
        ("enhanced multi-frame", _enhanced(), (), frames),
        ("enhanced, frames in another order", _enhanced(order=(2, 0, 3, 1)), (), frames),
        ("enhanced, a frame missing", _enhanced(order=(0, 1, 3)), series_error),
        ("enhanced, a frame twice", _enhanced(order=(0, 1, 1, 2)), series_error),
        ("enhanced, fewer groups than frames", _enhanced(lambda d: setattr(d, "NumberOfFrames", 9)), (series_error, unreadable)),
        ("enhanced, no groups", _enhanced(lambda d: delattr(d, "PerFrameFunctionalGroupsSequence")), series_error),
        ("enhanced, no orientation", _enhanced(lambda d: delattr(d, "SharedFunctionalGroupsSequence")), geometry),
        ("enhanced, an empty position", _enhanced(lambda d: setattr(d.PerFrameFunctionalGroupsSequence[1], "PlanePositionSequence", [])), geometry),
        ("enhanced, pixels cut", _enhanced(lambda d: setattr(d, "PixelData", d.PixelData[:100])), unreadable),
        *((f"cut to {keep:.0%}", spoilt(lambda p, k=keep: cut(p, k)), (unreadable,)) for keep in (0.1, 0.2, 0.4, 0.6, 0.8, 0.95)),
        *((f"header flipped, {seed}", spoilt(lambda p, s=seed: flip(p, s, 128, 1400, 2)), ANY_REFUSAL, sound) for seed in range(24)),
        *((f"alone, flipped, {seed}", alone(lambda p, s=seed: flip(p, s, 128, 1400, 6)), ANY_REFUSAL, sound) for seed in range(16)),
    ]  # fmt: skip
    return [_one(*rest) for rest in listed]


def _presentation(data: Any, number: int) -> None:
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.11.1"
    for name in ("Rows", "Columns", "PixelData"):
        delattr(data, name)


def _is(found: Any, due: Any) -> None:
    assert found == due, f"the modality is {found}"
