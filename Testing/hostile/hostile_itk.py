"""Hostile NRRD and MetaImage files."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
from hostile_case import LAS, Case, Check, Make, cut, flip, holds, ramp, sound, there_and_back
from hostile_nifti import ANY_REFUSAL

LINES = {
    "type": "short", "dimension": "3", "space": "left-posterior-superior", "sizes": "7 6 5", "endian": "little",
    "space directions": "(2,0,0) (0,-1.5,0) (0,0,5)", "space origin": "(-90,70,-40)", "encoding": "raw",
}  # fmt: skip
FIELDS = {
    "ObjectType": "Image", "NDims": "3", "BinaryData": "True", "BinaryDataByteOrderMSB": "False",
    "TransformMatrix": "1 0 0 0 -1 0 0 0 1", "Offset": "-90 70 -40", "ElementSpacing": "2 1.5 5", "DimSize": "7 6 5",
    "ElementType": "MET_SHORT", "ElementDataFile": "LOCAL",
}  # fmt: skip
DATA = ramp().tobytes(order="F")


def nrrd(data: bytes = DATA, name: str = "a.nrrd", magic: str = "NRRD0004", **lines: str | None) -> Make:
    """A NRRD file of a ramp with other lines (``_`` for a space); ``None`` leaves one out."""
    merged = LINES | {key.replace("_", " "): value for key, value in lines.items()}
    head = "\n".join([magic, *(f"{key}: {value}" for key, value in merged.items() if value is not None), "", ""])

    def make(folder: Path) -> Path:
        (folder / name).write_bytes(head.encode() + data)
        return folder / name

    return make


def meta(data: bytes = DATA, name: str = "a.mha", **fields: str | None) -> Make:
    """A MetaImage file of a ramp with other fields; ``None`` leaves one out."""
    merged = {key: value for key, value in FIELDS.items() if key != "ElementDataFile"} | fields
    merged["ElementDataFile"] = fields.get("ElementDataFile", "LOCAL")
    head = "".join(f"{key} = {value}\n" for key, value in merged.items() if value is not None)

    def make(folder: Path) -> Path:
        (folder / name).write_bytes(head.encode() + data)
        return folder / name

    return make


def then(make: Make, damage: Callable[[Path], Path]) -> Make:
    """Made, then damaged."""
    return lambda folder: damage(make(folder))


def beside(make: Make, name: str = "a.raw", data: bytes = DATA) -> Make:
    """With a file of voxels beside the header."""

    def both(folder: Path) -> Path:
        (folder / name).write_bytes(data)
        return make(folder)

    return both


def _one(kind: str, name: str, make: Make, errors: str | tuple[str, ...] = (), check: Check | None = None) -> Case:
    return Case(kind, name, make, there_and_back, (errors,) if isinstance(errors, str) else errors, check)


def _nrrd() -> list[Case]:
    geometry, sizes, unreadable = "ScanGeometryError", "ScanDimensionError", "ScanUnreadableError"
    too_much = (unreadable, "MemoryExhaustedError", sizes)
    right, text = holds(ramp(), LAS), " ".join(str(v) for v in ramp().ravel(order="F")).encode()
    turned = holds(ramp(), np.diag([-1.0, -1.0, 1.0, 1.0]) @ LAS)
    return [_one("NRRD", *rest) for rest in (
        ("as it should be", nrrd(), (), right),
        ("space RAS", nrrd(space="right-anterior-superior"), (), turned),
        ("compressed", nrrd(gzip.compress(DATA), encoding="gzip"), (), right),
        ("as text", nrrd(text, encoding="ascii"), (unreadable,), right),
        ("as hexadecimal", nrrd(DATA.hex().encode(), encoding="hex"), (unreadable,), right),
        ("voxels beside the header", beside(nrrd(b"", "a.nhdr", data_file="a.raw")), (), right),
        ("int64", nrrd(ramp(dtype="<i8").tobytes(order="F"), type="int64"), (), right),
        ("uint64", nrrd(ramp(dtype="<u8").tobytes(order="F"), type="uint64"), (), right),
        ("big-endian", nrrd(ramp(dtype=">i2").tobytes(order="F"), endian="big"), (), right),
        ("no endianness", nrrd(endian=None), (unreadable,), right),
        ("a comment of 1 MB", nrrd(**{"#": "x" * 1_000_000}), (unreadable,), right),
        ("claims 30000 cubed", nrrd(sizes="30000 30000 30000"), sizes),
        ("claims 1200 cubed", nrrd(sizes="1200 1200 1200", type="uchar"), too_much),
        ("claims 1200 cubed of doubles", nrrd(sizes="1200 1200 1200", type="double"), too_much),
        ("claims 1200 cubed, compressed", nrrd(gzip.compress(DATA), sizes="1200 1200 1200", encoding="gzip"), too_much),
        ("claims 1200 cubed as text", nrrd(text, sizes="1200 1200 1200", encoding="ascii"), too_much),
        ("a size of 0", nrrd(sizes="7 0 5"), (sizes, unreadable)),
        ("a negative size", nrrd(sizes="7 -6 5"), (sizes, unreadable)),
        ("sizes beyond 64 bits", nrrd(sizes="99999999999999999999 6 5"), (sizes, unreadable)),
        ("sizes whose product is beyond 64 bits", nrrd(sizes="4294967296 4294967296 5"), (sizes, unreadable)),
        ("sizes of words", nrrd(sizes="a b c"), sizes),
        ("two sizes", nrrd(sizes="7 30"), sizes),
        ("16 dimensions", nrrd(dimension="16", sizes=" ".join(["2"] * 16), space_directions=None, space=None, space_origin=None), (sizes, unreadable)),
        ("300 dimensions", nrrd(dimension="300", sizes=" ".join(["1"] * 300)), sizes),
        ("4-D", nrrd(DATA * 2, dimension="4", sizes="7 6 5 2", space_directions="(2,0,0) (0,-1.5,0) (0,0,5) none"), (sizes, "ScanPixelTypeError", unreadable)),
        ("colour", nrrd(DATA * 3, dimension="4", sizes="3 7 6 5", kinds="RGB-color domain domain domain", space_directions="none (2,0,0) (0,-1.5,0) (0,0,5)"), "ScanPixelTypeError"),
        ("blocks", nrrd(type="block", block_size="2"), unreadable),
        ("an unknown type", nrrd(type="quaternion"), unreadable),
        ("an unknown encoding", nrrd(encoding="lzma"), unreadable),
        ("bzip2", nrrd(b"BZh9junk", encoding="bzip2"), unreadable),
        ("gzip that is none", nrrd(encoding="gzip"), unreadable),
        ("NaN", nrrd(np.full(210, np.nan, "<f4").tobytes(), type="float"), "ScanContentError"),
        ("no space", nrrd(space=None, space_directions=None, space_origin=None), (), sound),
        ("no origin", nrrd(space_origin=None), (geometry,), sound),
        ("an origin of NaN", nrrd(space_origin="(nan,0,0)"), (geometry,)),
        ("an infinite origin", nrrd(space_origin="(inf,0,0)"), (geometry,)),
        ("directions of 0", nrrd(space_directions="(0,0,0) (0,1,0) (0,0,1)"), geometry),
        ("directions of NaN", nrrd(space_directions="(nan,0,0) (0,1,0) (0,0,1)"), geometry),
        ("directions alike", nrrd(space_directions="(1,0,0) (1,0,0) (0,0,1)"), geometry),
        ("directions sheared", nrrd(space_directions="(1,0,0) (.3,1,0) (0,0,1)"), geometry),
        ("directions of 1e300", nrrd(space_directions="(1e300,0,0) (0,1e300,0) (0,0,1e300)"), geometry),
        ("directions of 1e-300", nrrd(space_directions="(1e-300,0,0) (0,1e-300,0) (0,0,1e-300)"), geometry),
        ("two directions", nrrd(space_directions="(1,0,0) (0,1,0)"), (geometry, unreadable)),
        ("spacings of NaN", nrrd(space=None, space_directions=None, space_origin=None, spacings="1 nan 2"), geometry),
        ("spacings of 0", nrrd(space=None, space_directions=None, space_origin=None, spacings="1 0 2"), (geometry, unreadable)),
        ("spacings below 0", nrrd(space=None, space_directions=None, space_origin=None, spacings="1 -3 2"), (geometry, unreadable), lambda s: sound(s)),
        ("voxels in /dev/zero", nrrd(b"", "a.nhdr", data_file="/dev/zero"), (unreadable, "ScanContentError")),
        ("voxels in a file that is not there", nrrd(b"", "a.nhdr", data_file="none.raw"), unreadable),
        ("voxels in itself", nrrd(b"", "a.nhdr", data_file="a.nhdr"), unreadable),
        ("voxels in a folder", nrrd(b"", "a.nhdr", data_file="."), unreadable),
        ("voxels in a million files", nrrd(b"", "a.nhdr", data_file="s%06d.raw 1 1000000 1 2"), unreadable),
        ("a byte skip below -1", nrrd(byte_skip="-5"), (unreadable,)),
        ("a byte skip of 1e18", nrrd(byte_skip="1000000000000000000"), unreadable),
        ("a line skip of 1e18", nrrd(line_skip="1000000000000000000"), unreadable),
        ("a field twice", nrrd(DATA, **{"sizes ": "9 9 9"}), (unreadable, sizes), holds(ramp(), LAS)),
        ("a header without end", nrrd(b"x: y\n" * 200_000, encoding=None), unreadable),
        ("NRRD0009", nrrd(magic="NRRD0009"), unreadable),
        ("NRRD0001", nrrd(magic="NRRD0001"), (unreadable, geometry), right),
        ("cut in the header", then(nrrd(), lambda p: cut(p, 60)), (unreadable, sizes)),
        ("cut in the voxels", then(nrrd(), lambda p: cut(p, 0.9)), unreadable),
        ("voxels beside the header, cut", beside(nrrd(b"", "a.nhdr", data_file="a.raw"), data=DATA[:-1]), unreadable),
        ("empty", then(nrrd(), lambda p: cut(p, 0.0)), unreadable),
        *((f"header flipped, {seed}", then(nrrd(), lambda p, s=seed: flip(p, s, 0, 220, 2)), ANY_REFUSAL, sound) for seed in range(16)),
    )]  # fmt: skip


def _meta() -> list[Case]:
    geometry, sizes, unreadable = "ScanGeometryError", "ScanDimensionError", "ScanUnreadableError"
    too_much = (unreadable, "MemoryExhaustedError", sizes)
    right = holds(ramp(), LAS)
    import zlib

    return [_one("MetaImage", *rest) for rest in (
        ("as it should be", meta(), (), right),
        ("voxels beside the header", beside(meta(b"", "a.mhd", ElementDataFile="a.raw")), (), right),
        ("compressed", meta(zlib.compress(DATA), CompressedData="True", CompressedDataSize=str(len(zlib.compress(DATA)))), (), right),
        ("compressed without a size", meta(zlib.compress(DATA), CompressedData="True"), unreadable),
        ("as text", meta(" ".join(str(v) for v in ramp().ravel(order="F")).encode(), BinaryData="False"), (unreadable,), right),
        ("big-endian", meta(ramp(dtype=">i2").tobytes(order="F"), BinaryDataByteOrderMSB="True"), (), right),
        ("claims 30000 cubed", meta(DimSize="30000 30000 30000"), sizes),
        ("claims 1200 cubed", meta(DimSize="1200 1200 1200", ElementType="MET_UCHAR"), too_much),
        ("claims 1200 cubed of doubles", meta(DimSize="1200 1200 1200", ElementType="MET_DOUBLE"), too_much),
        ("claims 1200 cubed, compressed", meta(zlib.compress(DATA), DimSize="1200 1200 1200", CompressedData="True", CompressedDataSize=str(len(zlib.compress(DATA)))), too_much),
        ("claims 4 GB of compressed bytes", meta(zlib.compress(DATA), CompressedData="True", CompressedDataSize="4000000000"), (unreadable,), right),
        ("claims a negative number of compressed bytes", meta(zlib.compress(DATA), CompressedData="True", CompressedDataSize="-5"), (unreadable,), right),
        ("compressed data that is none", meta(CompressedData="True", CompressedDataSize="420"), unreadable),
        ("a size of 0", meta(DimSize="7 0 5"), (sizes, unreadable)),
        ("a negative size", meta(DimSize="7 -6 5"), (sizes, unreadable)),
        ("sizes beyond 32 bits", meta(DimSize="4294967303 6 5"), (sizes, unreadable)),
        ("sizes of words", meta(DimSize="a b c"), (sizes, unreadable)),
        ("two sizes", meta(DimSize="7 30"), (sizes, unreadable)),
        ("no sizes", meta(DimSize=None), (sizes, unreadable)),
        ("0 dimensions", meta(NDims="0"), (sizes, unreadable)),
        ("100 dimensions", meta(NDims="100"), (sizes, unreadable)),
        ("-1 dimensions", meta(NDims="-1"), (sizes, unreadable)),
        ("4-D", meta(DATA * 2, NDims="4", DimSize="7 6 5 2", ElementSpacing="2 1.5 5 1", Offset="0 0 0 0", TransformMatrix="1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1"), sizes),
        ("three channels", meta(DATA * 3, ElementNumberOfChannels="3"), "ScanPixelTypeError"),
        ("a million channels", meta(ElementNumberOfChannels="1000000"), ("ScanPixelTypeError", unreadable)),
        ("-2 channels", meta(ElementNumberOfChannels="-2"), ("ScanPixelTypeError", unreadable)),
        ("0 channels", meta(ElementNumberOfChannels="0"), ("ScanPixelTypeError", unreadable), right),
        ("an unknown type", meta(ElementType="MET_OTHER"), unreadable),
        ("text as type", meta(ElementType="MET_STRING"), (unreadable, "ScanPixelTypeError")),
        ("NaN", meta(np.full(210, np.nan, "<f4").tobytes(), ElementType="MET_FLOAT"), "ScanContentError"),
        ("spacing of 0", meta(ElementSpacing="2 0 5"), geometry),
        ("spacing below 0", meta(ElementSpacing="2 -1.5 5"), geometry),
        ("spacing of NaN", meta(ElementSpacing="2 nan 5"), geometry),
        ("spacing of 1e300", meta(ElementSpacing="1e300 1e300 1e300"), geometry),
        ("no spacing", meta(ElementSpacing=None), (geometry,), sound),
        ("a matrix of 0", meta(TransformMatrix="0 0 0 0 0 0 0 0 0"), geometry),
        ("a matrix of NaN", meta(TransformMatrix="nan 0 0 0 1 0 0 0 1"), geometry),
        ("a sheared matrix", meta(TransformMatrix="1 .3 0 0 1 0 0 0 1"), geometry),
        ("an origin of NaN", meta(Offset="nan 0 0"), geometry),
        ("an infinite origin", meta(Offset="inf 0 0"), geometry),
        ("voxels in /dev/zero", meta(b"", "a.mhd", ElementDataFile="/dev/zero"), (unreadable, "ScanContentError")),
        ("voxels in a file that is not there", meta(b"", "a.mhd", ElementDataFile="none.raw"), unreadable),
        ("voxels in itself", meta(b"", "a.mhd", ElementDataFile="a.mhd"), unreadable, ),
        ("voxels in a folder", meta(b"", "a.mhd", ElementDataFile="."), unreadable),
        ("voxels in a list of files", meta(b"none1.raw\nnone2.raw\n", "a.mhd", ElementDataFile="LIST"), unreadable),
        ("voxels in a million files", meta(b"", "a.mhd", ElementDataFile="s%06d.raw 1 1000000 1"), unreadable),
        ("a header of -1 bytes", meta(HeaderSize="-1"), (unreadable,), sound),
        ("a header of 1e18 bytes", meta(HeaderSize="1000000000000000000"), (unreadable,), right),
        ("a field of 1 MB", meta(Comment="x" * 1_000_000), (unreadable,), right),
        ("another object", meta(ObjectType="Tube"), unreadable),
        ("no image data", meta(b""), unreadable),
        ("cut in the header", then(meta(), lambda p: cut(p, 100)), unreadable),
        ("cut in the voxels", then(meta(), lambda p: cut(p, 0.95)), unreadable),
        *((f"header flipped, {seed}", then(meta(), lambda p, s=seed: flip(p, s, 0, 240, 2)), ANY_REFUSAL, sound) for seed in range(16)),
    )]  # fmt: skip


def cases() -> list[Case]:
    """All of them."""
    return [*_nrrd(), *_meta()]
