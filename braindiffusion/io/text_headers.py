"""The text headers of NRRD and MetaImage, checked before ITK sees them.

ITK trusts what they say: it writes past its arrays where they claim many dimensions, asks for the memory they claim
before it looks whether the file holds as much, and returns what happened to be in memory where compressed voxels cannot
be inflated.
"""

from __future__ import annotations

import bz2
import math
import os
import re
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from braindiffusion import errors
from braindiffusion.io.checks import COPY_AGAIN, EXPORT, FARTHEST_MM, MOST_VOXELS, check_size, lost_geometry

NRRD_ENCODINGS = {
    "raw": "", "gzip": "gzip", "gz": "gzip", "bzip2": "bzip2", "bz2": "bzip2", "ascii": "text", "text": "text",
    "txt": "text",
}  # fmt: skip
MOST_PARTS = 10_000
"""Files that may hold the voxels of one volume."""
MOST_FIELDS = 10_000
MOST_HEADER = 1 << 20
"""Bytes of a header that are read; more is none."""
MOST_DIMENSIONS = 5
_NRRD_BYTES = (
    (1, r"(un)?signed char|u?char|u?int8(_t)?"),
    (2, r"((un)?signed )?short( int)?|ushort|u?int16(_t)?"),
    (4, r"((un)?signed )?int|uint|u?int32(_t)?|float"),
    (8, r"((un)?signed )?long long( int)?|longlong|ulonglong|u?int64(_t)?|double"),
)
_META_BYTES = {
    1: ("CHAR", "UCHAR"), 2: ("SHORT", "USHORT"), 4: ("INT", "UINT", "LONG", "ULONG", "FLOAT"),
    8: ("LONG_LONG", "ULONG_LONG", "DOUBLE"),
}  # fmt: skip
_META_PLACES = ("Offset", "Position", "Origin", "TransformMatrix", "Rotation", "Orientation")


@dataclass(frozen=True)
class _Voxels:
    """Where the voxels are said to lie, and how many bytes they take.

    Attributes:
        files: that hold them, each from byte ``start``.
        due: bytes, once unpacked.
        packing: '' (as they are), ``gzip`` (or zlib), ``bzip2``, ``text`` (numbers as words: two bytes each at least).
        packed: bytes of the compressed voxels, where the header says it.
    """

    files: tuple[Path, ...]
    start: int
    due: int
    packing: str
    packed: int | None = None


def check_nrrd(path: Path) -> None:
    """Check a NRRD header, and that the file holds the voxels it promises.

    Raises:
        ScanUnreadableError: damaged, incomplete, or an encoding other than raw and gzip.
        ScanDimensionError: more than five dimensions, or sizes that are none.
        ScanGeometryError: spacings that are not numbers.
    """
    with path.open("rb") as stream:
        head = stream.read(MOST_HEADER)
    end = re.search(rb"\r?\n\r?\n", head)
    text = (head[: end.start()] if end else head).decode("latin-1")
    magic, *lines = text.splitlines() or [""]
    if len(lines) > MOST_FIELDS:  # ITK takes minutes over them
        raise _damaged(path, f"Its header has more than {MOST_FIELDS} lines.")
    at = next((i for i, line in enumerate(lines) if re.match(r"data ?file:\s*LIST\b", line, re.I)), len(lines))
    lines = lines[: at + 1]  # after it, names of files follow
    pairs = [line.partition(":")[::2] for line in lines if not line.startswith("#") and ":=" not in line]
    fields = _fields(path, [(name.strip().lower(), value.strip()) for name, value in pairs])
    if not re.fullmatch(r"NRRD000[1-5]", magic.strip()):
        raise _damaged(path, "It does not begin as a NRRD file.")
    _check_places(path, fields, "spacings", "space directions", "space origin")
    sizes = _sizes(path, fields.get("dimension"), fields.get("sizes"))
    encoding = fields.get("encoding", "").lower()
    if encoding not in NRRD_ENCODINGS:
        why = f"Its encoding is '{encoding[:40]}'; raw, gzip, bzip2 and ascii are read."
        raise errors.ScanUnreadableError(f"{path} cannot be read.", why, EXPORT)
    if any(_whole(fields.get(name, "0")) not in (0, None) for name in ("line skip", "lineskip")):
        raise _damaged(path, "Its voxels are said to follow after further lines.")
    kind = fields.get("type", "").lower()
    each = next((n for n, names in _NRRD_BYTES if re.fullmatch(names, kind)), None)
    if each is None:
        raise _damaged(path, f"Its voxels are of the type '{kind[:40]}'.")
    given = fields.get("data file") or fields.get("datafile")
    files: tuple[Path, ...] = (path,)
    if given:
        listed = re.split(r"^data ?file:[^\n]*\n", text, maxsplit=1, flags=re.M | re.I)[-1].splitlines()
        files = tuple(_data_file(path, name) for name in _names(path, given, listed))
    start = 0 if given else end.end() if end else len(head)
    skip = _whole(fields.get("byte skip", fields.get("byteskip", "0")))
    if skip is None or skip < -1:
        raise _damaged(path, "Its byte skip is no number.")
    packing = NRRD_ENCODINGS[encoding]
    due = math.prod(sizes) * (2 if packing == "text" else each)  # a digit and a blank
    _check(path, _Voxels(files, start + max(skip, 0), due - (packing == "text"), packing))


def check_meta(path: Path) -> None:
    """Check a MetaImage header, and that the file holds the voxels it promises.

    Raises:
        ScanUnreadableError: damaged, incomplete, or voxels as text.
        ScanDimensionError: more than five dimensions, or sizes that are none.
        ScanPixelTypeError: a number of channels that is none.
    """
    with path.open("rb") as stream:
        head = stream.read(MOST_HEADER)
    end = re.search(rb"^[ \t]*ElementDataFile[ \t]*=[ \t]*([^\r\n]*)\r?\n?", head, re.M)
    if end is None:
        raise _damaged(path, "Its header does not say where its voxels lie.")
    lines = head[: end.start()].decode("latin-1").splitlines()
    if odd := next((line for line in lines if re.match(r"\s*\w+\s*:", line)), None):
        raise _damaged(path, f"Its header has a line that is none: {odd[:60]}.")  # ITK takes a colon for an equals sign
    pairs = (line.partition("=")[::2] for line in lines)
    fields = _fields(path, [(name.strip(), value.strip()) for name, value in pairs])
    if fields.get("ObjectType", "Image") != "Image":
        raise _damaged(path, f"It holds no image, but a {fields['ObjectType'][:40]}.")
    _check_places(path, fields, "ElementSpacing", "ElementSize", *_META_PLACES)
    sizes = _sizes(path, fields.get("NDims"), fields.get("DimSize"))
    channels = _whole(fields.get("ElementNumberOfChannels", "1"))
    if channels is None or not 1 <= channels <= 1000:
        why = f"It claims {fields['ElementNumberOfChannels']} channels."
        raise errors.ScanPixelTypeError(f"{path} does not hold one grey value per voxel.", why, COPY_AGAIN)
    if fields.get("BinaryData", "True").lower() not in ("true", "1"):
        raise _damaged(path, "Its voxels are text; only binary ones are read.")
    kind = fields.get("ElementType", "").removeprefix("MET_")
    each = next((n for n, names in _META_BYTES.items() if kind in names), None)
    if each is None:
        raise _damaged(path, f"Its voxels are of the type '{kind[:40]}'.")
    given = end[1].decode("utf-8", "surrogateescape").strip()
    local = given.upper() == "LOCAL"
    skip = _whole(fields.get("HeaderSize", "0"))
    if skip is None or skip < 0:
        raise _damaged(path, "It does not say where its voxels begin.")
    compressed = fields.get("CompressedData", "False").lower() in ("true", "1")
    packed = _whole(fields.get("CompressedDataSize", "")) if compressed else None
    if compressed and local and packed is None:
        raise _damaged(path, "Its voxels are compressed, and their size is not given.")
    start = (skip or end.end()) if local else skip
    files: tuple[Path, ...] = (path,)
    if not local:
        listed = head[end.end() :].decode("utf-8", "surrogateescape").splitlines()
        files = tuple(_data_file(path, name) for name in _names(path, given, listed))
    packing = "gzip" if compressed else ""
    _check(path, _Voxels(files, start, math.prod(sizes) * each * channels, packing, packed))


# --- parts --------------------------------------------------------------------------------------------------


def _damaged(path: Path, why: str) -> errors.ScanUnreadableError:
    return errors.ScanUnreadableError(f"{path} is damaged.", why, COPY_AGAIN)


def _fields(path: Path, pairs: list[tuple[str, str]]) -> dict[str, str]:
    fields = dict(pairs)
    if len(fields) < len([name for name, _ in pairs if name]):
        raise _damaged(path, "Its header says something twice.")
    return fields


def _whole(text: str) -> int | None:
    return int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else None


def _check_places(path: Path, fields: dict[str, str], *names: str) -> None:
    """ITK makes what is not finite 0 or 1."""
    for name in names:
        for word in re.findall(r"[^\s,()]+", fields.get(name, "")):
            try:
                fine = word == "none" or abs(float(word)) <= FARTHEST_MM
            except ValueError:
                fine = False
            if not fine:
                raise lost_geometry(path, f"Its header says {name}: {fields[name][:80]}.")


def _sizes(path: Path, dimensions: str | None, sizes: str | None) -> list[int]:
    count, found = _whole(dimensions or ""), [_whole(word) for word in (sizes or "").split()]
    known = [n for n in found if n is not None]
    if count is None or not 1 <= count <= MOST_DIMENSIONS or len(known) != count or len(found) != count:
        why = f"It claims {dimensions or 'no'} dimensions, of the sizes {(sizes or 'none')[:80]}."
        raise errors.ScanDimensionError(f"{path} is not one 3-D volume.", why, COPY_AGAIN)
    if min(known) < 1:
        why = f"Its size is {sizes}."
        raise errors.ScanDimensionError(f"{path} is not one 3-D volume.", why, COPY_AGAIN)
    if math.prod(known) > MOST_VOXELS:
        check_size((*known, 1, 1), 1, path)
    return known


def _names(path: Path, given: str, listed: list[str]) -> list[str]:
    """The names of the files that hold the voxels: one, a list, or a pattern such as ``s%03d.raw 1 9 1``."""
    words = given.split()
    if words and words[0].upper() == "LIST":
        names = [line.strip() for line in listed if line.strip()]
    elif len(words) in (4, 5) and "%" in words[0]:
        first, last, step = (_whole(word) for word in words[1:4])
        numbered = re.fullmatch(r"[^%]*%0?\d?d[^%]*", words[0])
        if not numbered or first is None or last is None or not step or abs((last - first) // step) >= MOST_PARTS:
            raise _damaged(path, f"Its voxels are said to lie in '{given[:80]}', which names no files.")
        names = [words[0] % n for n in range(first, last + (1 if step > 0 else -1), step)]
    else:
        names = [given]
    if not 0 < len(names) <= MOST_PARTS:
        raise _damaged(path, f"It names {len(names)} files for its voxels.")
    return names


def _data_file(path: Path, given: str) -> Path:
    """A file beside the header that holds voxels; a header from elsewhere may not name, or link to, others."""
    file = path.parent / given
    beside = Path(given).name == str(Path(given)) and "%" not in given and file.is_file()
    if not beside or os.path.dirname(os.path.realpath(file)) != os.path.dirname(os.path.realpath(path)):
        why = f"Its voxels are said to lie in '{given[:80]}', which is not one file beside it."
        raise errors.ScanUnreadableError(f"{path} is incomplete.", why, COPY_AGAIN)
    return file


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except (zlib.error, OSError, EOFError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise _damaged(path, f"Its compressed voxels cannot be inflated: {error}.") from error


def _check(path: Path, voxels: _Voxels) -> None:
    """Whether the file holds the voxels."""
    held = sum(max(file.stat().st_size - voxels.start, 0) for file in voxels.files)
    if voxels.packed is not None and not 0 < voxels.packed <= held:
        raise _damaged(path, f"It claims {voxels.packed} bytes of compressed voxels; {max(held, 0)} are there.")
    found = held
    if voxels.packing == "bzip2" or (voxels.packing == "gzip" and voxels.due <= 1100 * held):  # deflate: 1032 to one
        found = 0
        for file in voxels.files:
            with file.open("rb") as stream, _told(path):
                stream.seek(voxels.start)
                found += _inflated(stream, voxels.due - found, voxels.packing)
    if found < voxels.due:
        why = f"It holds {max(found, 0)} bytes of the {voxels.due} that its header promises."
        raise errors.ScanUnreadableError(f"{path} is incomplete.", why, COPY_AGAIN)


def _inflated(stream: BinaryIO, most: int, packing: str) -> int:
    """Bytes that a zlib, gzip or bzip2 stream inflates to, counted up to ``most``."""
    found = 0
    if packing == "bzip2":
        unpack = bz2.BZ2Decompressor()
        while found < most and not unpack.eof:
            packed = stream.read(1 << 16) if unpack.needs_input else b""
            piece = unpack.decompress(packed, 1 << 20)
            if not packed and not piece:
                break
            found += len(piece)
        return found
    inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)
    while found < most and not inflate.eof and (packed := inflate.unconsumed_tail or stream.read(1 << 16)):
        found += len(inflate.decompress(packed, 1 << 20))
    return found


@contextmanager
def for_nrrd_reader(path: Path) -> Iterator[Path]:
    """A NRRD file that ITK reads: the same, or for bzip2, which it lacks, an unpacked copy; checked before."""
    with path.open("rb") as stream:
        head = stream.read(MOST_HEADER)
    end = re.search(rb"\r?\n\r?\n", head)
    text = (head[: end.start()] if end else head).decode("latin-1")
    found = re.search(r"^encoding:\s*(bzip2|bz2)\s*$", text, re.M | re.I)
    if not found:
        yield path
        return
    name = re.search(r"^data ?file:\s*(.+?)\s*$", text, re.M | re.I)
    plain = re.sub(r"^(encoding|data ?file|byte ?skip):[^\n]*\n?", "", text, flags=re.M | re.I).rstrip("\n")
    with tempfile.TemporaryDirectory(prefix="braindiffusion-") as folder:
        unpacked = Path(folder) / "unpacked.nrrd"
        with unpacked.open("wb") as out, (path.parent / name[1] if name else path).open("rb") as stream:
            stream.seek(0 if name or end is None else end.end())
            out.write(f"{plain}\nencoding: raw\n\n".encode("latin-1"))
            shutil.copyfileobj(bz2.BZ2File(stream), out)
        yield unpacked
