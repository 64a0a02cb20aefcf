"""The second pass of de-identification: reads back what is about to be given away, and trusts nobody.

Each kind of file is checked for more than the words that are known: a NIfTI header has no field in use that it need not
have, a DICOM image no attribute beyond the list, no date and no UID that was not made for it.
"""

from __future__ import annotations

import gzip
import json
import re
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from braindiffusion import NOT_FOR_DIAGNOSIS, RESEARCH_USE_ONLY
from braindiffusion.errors import QuarantineError
from braindiffusion.export.dicom import NO_DATE, NO_TIME
from braindiffusion.export.dicom_source import profile
from braindiffusion.export.identifiers import Identifiers, leaves

if TYPE_CHECKING:
    from pydicom import Dataset

MADE_UIDS = ("1.2.840.10008.", "2.25.", "1.2.826.0.1.3680043.10.511.3.")
"""UIDs of the standard, ours, and those that highdicom makes."""
_FRACTIONS = re.compile(r"\d+\.\d+(e[+-]?\d+)?")
_PICTURES = re.compile(r"data:image/[a-z+]+;base64,[A-Za-z0-9+/=]+")
"""Pictures inside a page; letters in them are no words."""


def check_files(files: Iterable[tuple[str, Path]], identifiers: Identifiers, known: Iterable[str] = ()) -> None:
    """Refuse files in which anything of the patient is left.

    Args:
        files: the name each file will have, relative to the export, and where it lies now.
        known: texts of our own, in which such words stand by chance.

    Raises:
        QuarantineError: something was found, or a file is of a kind that cannot be checked.
    """
    ours = [NOT_FOR_DIAGNOSIS, RESEARCH_USE_ONLY, *known]
    for name, path in files:
        if word := identifiers.found_in(name.rsplit(".", 1)[0].removesuffix(".nii")):
            raise _left("the name of a file", word=identifiers.tellable(word))
        kind = next((ending for ending in CHECKS if name.endswith(ending)), None)
        if kind is None:
            raise _left("a file that cannot be checked", "is")
        CHECKS[kind](path, identifiers, ours)


def check_text(text: str, where: str, identifiers: Identifiers, known: Iterable[str] = ()) -> None:
    """Refuse a text in which something of the patient stands.

    Args:
        where: the text's name, for the error.

    Raises:
        QuarantineError: it does.
    """
    if word := identifiers.found_in(text, known):
        raise _left(where, word=identifiers.tellable(word))


def _left(where: str, how: str = "stands in", word: str = "") -> QuarantineError:
    return QuarantineError(
        "The copy may still tell who the patient is, so it was held back.",
        f"Something {how} {where}." if how == "is" else f"A word of the scan's header, name or path {how} {where}.",
        (f"The word is '{word}'. If it tells nothing of the patient, r" if word else "R")
        + "ename the scan or its folder; else reword the text.",
    )


def _check_nifti(path: Path, identifiers: Identifiers, known: list[str]) -> None:
    raw = path.read_bytes()
    if raw[3] & 0b00011100:  # flags of gzip: extra field, file name, comment
        raise _left("the compressed file's own header")
    data = gzip.decompress(raw)
    order: Literal["<", ">"] = "<" if data[:4] == b"\x5c\x01\0\0" else ">"
    free = {"data_type, db_name": data[4:32], "aux_file": data[228:252], "intent_name": data[328:344]}
    if any(value.strip(b"\0 ") for value in free.values()):
        raise _left("a field of the NIfTI header that ought to be empty")
    if struct.unpack(f"{order}f", data[108:112])[0] != 352 or data[348:352] != b"\0\0\0\0":
        raise _left("an extension of the NIfTI header")
    check_text(data[148:228].rstrip(b"\0").decode("latin-1"), "the NIfTI header", identifiers, known)


def _check_nrrd(path: Path, identifiers: Identifiers, known: list[str]) -> None:
    head = path.read_bytes()[: 1 << 16].split(b"\n\n")[0].decode("latin-1")
    fields = "\n".join(line for line in head.splitlines() if ":=" in line or line.startswith("content"))
    check_text(fields, "the NRRD header", identifiers, known)


def _check_dicom(path: Path, identifiers: Identifiers, known: list[str]) -> None:
    from pydicom import dcmread

    with path.open("rb") as stream:
        if any(stream.read(128)):
            raise _left("the preamble of a DICOM file")
    ds = dcmread(path)
    images = ds.SOPClassUID.name.endswith("MR Image Storage") or ds.SOPClassUID.name.endswith("CT Image Storage")
    listed = {*profile()["written"], *profile()["numbers"], *profile()["terms"]}
    for where, element in (*_elements(ds), *_elements(ds.file_meta)):
        if element.tag.is_private or (images and where is ds and element.keyword not in listed):
            raise _left("a DICOM attribute that ought not to be there")
        if element.VR == "SQ":
            continue
        values = [str(v) for v in (element.value if element.VM > 1 else [element.value]) if v is not None]
        if element.VR in ("DA", "DT", "TM") and not {*values} <= {"", NO_DATE, NO_TIME}:
            raise _left("a date of the DICOM header")
        if element.VR == "UI" and not all(v.startswith(MADE_UIDS) and v not in identifiers.uids for v in values):
            raise _left("a UID of the DICOM header")
        if element.VR in ("DS", "IS") and element.keyword != "InstanceNumber" and _is_number_of(values, identifiers):
            raise _left("a number of the DICOM header")
        if element.VR not in ("OW", "OB", "UN", "DS", "IS", "US", "FD", "FL", "UL", "SS", "SL"):
            check_text(" ".join(values), "the DICOM header", identifiers, known)


def _is_number_of(values: list[str], identifiers: Identifiers) -> bool:
    """Whether a number is one of the numbers that identify, in any way of writing it."""
    plain = {v.strip().split(".")[0].lstrip("+-0") if re.fullmatch(r"\s*[+-]?\d+(\.0*)?\s*", v) else "" for v in values}
    known = {name.lstrip("0") for name in identifiers.names if name.isdigit()}
    return bool((plain - {""}) & known)


def _elements(ds: Dataset) -> Iterator[tuple[Dataset, Any]]:
    for element in ds:
        if element.VR == "SQ":
            for item in element.value:
                yield from _elements(item)
        yield ds, element


def _check_json(path: Path, identifiers: Identifiers, known: list[str]) -> None:
    data = json.loads(path.read_text(encoding="utf-8"))
    written = {k: v for k, v in data.items() if k != "provenance"} if isinstance(data, dict) else data
    values = [value for _, value in leaves(written)]
    check_text("\n".join(values), path.name, identifiers, known)
    # keys, and the engine's own record; the digits of its decimal fractions are no identifiers
    if word := identifiers.found_in(_FRACTIONS.sub(" ", json.dumps(data, ensure_ascii=False)), names_only=True):
        raise _left(path.name, word=identifiers.tellable(word))


def _check_page(path: Path, identifiers: Identifiers, known: list[str]) -> None:
    check_text(_PICTURES.sub(" ", path.read_text(encoding="utf-8")), "the page", identifiers, known)


def _check_picture(path: Path, identifiers: Identifiers, known: list[str]) -> None:
    raw = path.read_bytes()
    at = 8
    while at + 8 <= len(raw):
        size, kind = int.from_bytes(raw[at : at + 4], "big"), raw[at + 4 : at + 8]
        if kind in (b"tEXt", b"iTXt", b"zTXt", b"eXIf"):
            body = raw[at + 8 : at + 8 + size]
            if kind != b"tEXt":
                raise _left("the metadata of a picture")
            check_text(body.decode("latin-1"), "the metadata of a picture", identifiers, known)
        at += 12 + size


Check = Callable[[Path, Identifiers, list[str]], None]
CHECKS: dict[str, Check] = {
    ".nii.gz": _check_nifti, ".nrrd": _check_nrrd, ".dcm": _check_dicom, ".json": _check_json, ".html": _check_page,
    ".csv": _check_page, ".txt": _check_page, ".png": _check_picture,
}  # fmt: skip
