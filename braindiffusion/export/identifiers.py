"""What would identify the patient: words gathered from a source, and looked for in what was written.

The first pass of de-identification copies only what is known to be harmless; this is the second, which does not trust
it. The cause of an error, which reports and lists of cases repeat, says where a word was found and not what it was;
only the advice, to the one who asked, names it, and only where it comes from a path or a description.
"""

from __future__ import annotations

import gzip
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from braindiffusion.io.text_files import read_json

if TYPE_CHECKING:
    from pydicom import Dataset

_TEXTS = {"LO", "SH", "ST", "UC", "AE"}
_IDENTIFYING = re.compile(
    r"IDs?$|Number$|Address|Telephone|Residence|Serial|Issuer|Station|PatientLocation|MilitaryRank"
)
_PLACE = re.compile(r"Institution|Department|Site|Sponsor|Location")
"""Keywords of DICOM attributes whose text is taken; persons and dates are taken wherever they stand."""
_PERSON = re.compile(
    r"(patient|subject|participant|physician|operator|birth|accession)(?!.*(position|orient|sex|age|weight|size))|_?id$",
    re.IGNORECASE,
)
_OTHER = re.compile(r"institution|address|station|serial|date|name", re.IGNORECASE)
"""Fields of a JSON sidecar whose text is taken."""


INSTALLATION = Path(__file__).resolve().parents[2]
"""The folder that holds this package: its own path tells nothing of a patient."""
LONG = 7
"""A word of so many letters is found inside others too."""


@cache
def common() -> frozenset[str]:
    """Words of paths and descriptions that identify nobody. They excuse no name: those of DICOM are always taken."""
    return frozenset(Path(__file__).with_name("common_words.txt").read_text(encoding="ascii").split())


@dataclass
class Identifiers:
    """Words that must not be found, lower case and without accents.

    Attributes:
        names: of persons and places, numbers, dates.
        words: of paths and descriptions, which may be common ones.
        uids: DICOM UIDs of the source; each is looked for as it is.
    """

    names: set[str] = field(default_factory=set)
    words: set[str] = field(default_factory=set)
    uids: set[str] = field(default_factory=set)

    def add_name(self, text: str) -> None:
        """A person's name, or an identifier: every part of two letters or four digits."""
        for part in _parts(text):
            if len(part) >= (4 if part.isdigit() else 2):
                self.names.add(part)

    def add_text(self, text: str) -> None:
        """A path, a description: every part of four letters or digits that is not a common word."""
        self.words |= {part for part in _parts(text) if len(part) >= 4 and part not in common()}

    def add_date(self, text: str) -> None:
        """A DICOM or ISO date, in the ways dates are written."""
        digits = re.sub(r"\D", "", text)[:8]
        try:
            day = datetime.strptime(digits, "%Y%m%d")
        except ValueError:
            return
        self.names |= {
            day.strftime(form)
            for form in ("%Y%m%d", "%d%m%Y", "%Y-%m-%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%d-%m-%Y")
        }

    def add_path(self, path: str | Path) -> None:
        """Every part of a path, and dates in it; of a path in our installation, what is below that."""
        path = Path(path)
        for part in (path.relative_to(INSTALLATION) if path.is_relative_to(INSTALLATION) else path).parts:
            self.add_text(part)
            for digits in re.findall(r"(?<!\d)\d{8}(?!\d)", part):
                self.add_date(digits)

    def add_header(self, header: Dataset) -> None:
        """A DICOM header, private attributes and nested sequences included."""
        for element in _elements(header):
            values = [str(v) for v in _listed(element.value)]
            if element.VR == "UI":
                self.uids |= {v for v in values if v and not v.startswith("1.2.840.10008.")}
            for value in values:
                if element.VR == "PN" or (element.VR in _TEXTS and _IDENTIFYING.search(element.keyword)):
                    self.add_name(value)
                elif element.VR in ("DA", "DT"):
                    self.add_date(value)
                elif element.VR in _TEXTS and _PLACE.search(element.keyword):
                    self.add_text(value)

    def add_nifti(self, path: Path) -> None:
        """The free text of a NIfTI file: its fields for notes, and its extensions."""
        raw = unzipped(path)
        order: Literal["little", "big"] = "little" if raw[:4] == b"\x5c\x01\0\0" else "big"
        if int.from_bytes(raw[:4], order) != 348:
            return
        fields = [raw[14:32], raw[148:228], raw[228:252], raw[328:344]]
        texts = [value.split(b"\0")[0] for value in fields]
        if raw[348:349] not in (b"", b"\0"):
            size = int.from_bytes(raw[352:356], order)
            texts.append(raw[360 : 352 + min(size, len(raw))])
        for text in texts:
            found = text.decode("latin-1")
            self.add_text(found)
            for digits in re.findall(r"(?<!\d)(?:\d{8}|\d{4}-\d\d-\d\d)(?!\d)", found):
                self.add_date(digits)

    def add_sidecar(self, path: Path) -> None:
        """The names, identifiers and dates in a JSON file; one that cannot be read adds nothing."""
        try:
            data = read_json(path, errors="replace")
        except (OSError, ValueError):
            return
        self._add_fields(leaves(data))

    def add_text_header(self, path: Path) -> None:
        """The fields of an NRRD or MetaImage header."""
        with path.open("rb") as stream:
            head = stream.read(1 << 16).split(b"\n\n")[0].decode("latin-1")
        self._add_fields((key, value) for key, value in re.findall(r"^(.*?)\s*:?=\s*(.*)$", head, re.M))

    def _add_fields(self, fields: Iterable[tuple[str, str]]) -> None:
        for key, value in fields:
            if _PERSON.search(key):
                self.add_name(value)
            elif _OTHER.search(key):
                self.add_text(value)
            if "date" in key.lower():
                self.add_date(value)

    def found_in(self, text: str, known: Iterable[str] = (), names_only: bool = False) -> str:
        """The first of the names, words or UIDs that a text holds; empty where it holds none.

        Args:
            known: texts of our own, which may stand in it and are not searched.
            names_only: leave out the words, for what a program wrote in its own vocabulary.
        """
        for ours in sorted(known, key=len, reverse=True):
            text = text.replace(ours, " ")
        wanted = sorted(self.names | (set() if names_only else self.words))
        plain = _plain(text)
        parts = set(_parts(plain))
        inside = (w for w in wanted if w in parts or ((not w.isalnum() or _long(w)) and w in plain))
        return next(inside, next((uid for uid in sorted(self.uids) if uid in text), ""))

    def tellable(self, word: str) -> str:
        """A word that was found, where it may be told: names, numbers, dates and UIDs are not."""
        return word if word in self.words and word not in self.names else ""


def _long(word: str) -> bool:
    return len(word) >= LONG and word.isalpha()


def _plain(text: str) -> str:
    """Lower case, without accents."""
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c)).lower()


def _parts(text: str) -> Iterator[str]:
    """Runs of letters, runs of digits, and what is written together of both (``sub07a``)."""
    for word in re.findall(r"[^\W_]+", _plain(text)):
        yield word
        parts = re.findall(r"\d+|[^\d]+", word)
        if len(parts) > 1:
            yield from parts


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) or type(value).__name__ == "MultiValue" else [value]


def _elements(header: Dataset) -> Iterator[Any]:
    for element in header:
        if element.VR == "SQ":
            for item in element.value:
                yield from _elements(item)
        elif element.value is not None:
            yield element


def leaves(data: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """The texts and numbers in nested data, each with the key it stands under."""
    if isinstance(data, dict):
        for name, value in data.items():
            yield from leaves(value, str(name))
    elif isinstance(data, list):
        for value in data:
            yield from leaves(value, key)
    elif isinstance(data, (str, int)):
        yield key, str(data)


def unzipped(path: Path, most: int = 1 << 20) -> bytes:
    """The first bytes of a file, decompressed where it is compressed."""
    with path.open("rb") as stream:
        zipped = stream.read(2) == b"\x1f\x8b"
    with gzip.open(path) if zipped else path.open("rb") as stream:
        return stream.read(most)
