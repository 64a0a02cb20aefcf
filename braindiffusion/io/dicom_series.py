"""The DICOM series of a folder as a PACS or a CD gives it: which there are, which can be read, and the one that is.

Sub-folders are searched. What is no image (DICOMDIR, raw data, presentation states, programs) is left aside, and so are
segmentations, which are masks. Nothing that is said here by itself holds free text of a header, which may name the
patient; descriptions are for the list that the user asks for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from braindiffusion import errors
from braindiffusion.io.checks import COPY_AGAIN, SCAN_SUFFIXES, times
from braindiffusion.io.dicom import Stack, dicom_header, is_segmentation, load_stack, modality_of_dicom, stack_of
from braindiffusion.volume.scan import Scan

if TYPE_CHECKING:
    from pydicom import Dataset

MOST_FILES = 100_000
MINIMUM_BYTES = 132
SHORTEST_UID_END = 6
"""Characters; fewer digits are the number of a series, and never the end of a UID that happens to have them."""
SURVEYS = ("localizer", "scout", "survey", "topogram", "3-plane", "3plane", "loc")
"""First words of descriptions of series that only say where the others lie."""


@dataclass(frozen=True)
class Series:
    """One DICOM series.

    Attributes:
        number: by which it is chosen, from 1, in the order of the list.
        uid, description: as the header says; the description may name the patient.
        modality: the contrast, as for a :class:`~braindiffusion.volume.scan.Scan`.
        headers: of its images, by file.
        stack: the volume they make, or ``None``.
        error: why they make none.
        survey: a localizer: it can be read, and is not taken by itself.
    """

    number: int
    uid: str
    description: str
    modality: str | None
    headers: dict[Path, Dataset] = field(repr=False)
    stack: Stack | None
    error: errors.BrainDiffusionError | None
    survey: bool

    @property
    def usable(self) -> bool:
        """Whether it is taken by itself where it is the only one."""
        return self.stack is not None and not self.survey and self.stack.size[2] > 1

    @property
    def geometry(self) -> str:
        """Slices and spacing, for people."""
        if self.stack is None:
            return f"{len(self.headers)} files"
        return f"{times(self.stack.size)} voxels of {times(self.stack.spacing, '.3g')} mm"

    @property
    def why_not(self) -> str:
        """Why it is not taken by itself; '' where it is. Names of files may name the patient: of errors, the kind."""
        if self.error is not None:
            return (type(self.error).__doc__ or "").split(".")[0]
        return "a localizer" if self.survey else "" if self.usable else "a single slice"

    def __str__(self) -> str:
        """Without a word that may name the patient."""
        reason = f" ({self.why_not})" if self.why_not else ""
        return f"{self.number}: {self.modality or 'unknown contrast'}, {self.geometry}{reason}"


def files_in(folder: Path) -> list[Path]:
    """All files of a folder and its sub-folders, nothing hidden, in order.

    Raises:
        DicomSeriesError: more than ``MOST_FILES``.
    """
    found: list[Path] = []
    for path in folder.rglob("*"):
        if not any(part.startswith(".") for part in path.relative_to(folder).parts) and path.is_file():
            found.append(path)
            if len(found) > MOST_FILES:
                raise errors.DicomSeriesError(
                    f"{folder} is too large a folder.", f"It holds more than {MOST_FILES} files.", "Give a smaller one."
                )
    return sorted(found)


def image_headers(files: list[Path], path: Path) -> dict[Path, Dataset]:
    """The headers of the DICOM images among some files.

    Raises:
        ScanNotFoundError: there is none.
        ScanUnreadableError: a file is damaged, or cut so short that nothing shows what it was.
    """
    headers, masks, others = {}, 0, 0
    for file in files:
        header = dicom_header(file)
        if header is None or "Rows" not in header:
            others += 1
        elif is_segmentation(header) and len(files) > 1:
            masks += 1
        else:
            headers[file] = header
    if not headers:
        scans = [f for f in files if f.name.lower().endswith(SCAN_SUFFIXES)]
        why = f"{len(files)} files were looked at, in sub-folders, too."
        action = "Give the folder that holds the images, or one NIfTI file."
        if masks:
            why += f" {masks} are segmentations: masks, not scans."
        if scans:
            why += f" {len(scans)} are scans in other formats."
            action = f"Give one of its files, such as {scans[0].name}."
        raise errors.ScanNotFoundError(f"{path} holds no DICOM images.", why, action)
    suffixes = {(file.parent, file.suffix) for file in headers}
    short = next((f for f in files if (f.parent, f.suffix) in suffixes and f.stat().st_size < MINIMUM_BYTES), None)
    if short is not None:
        why = "It is too short for DICOM: the series was not copied completely."
        raise errors.ScanUnreadableError(f"{short} is incomplete.", why, COPY_AGAIN)
    return headers


def series_in(files: list[Path], path: Path) -> list[Series]:
    """The series among some files, those that can be read first, the largest first.

    Args:
        path: names them in errors.

    Raises:
        InputError: as for :func:`image_headers`.
    """
    groups: dict[str, dict[Path, Dataset]] = {}
    with _decoding(path):
        for file, header in image_headers(files, path).items():
            groups.setdefault(str(header.get("SeriesInstanceUID", "")), {})[file] = header
    found = [_one_series(uid, headers, path) for uid, headers in groups.items()]
    found.sort(key=lambda s: (not s.usable, s.stack is None, -len(s.headers), s.uid))
    return [Series(n, *list(vars(s).values())[1:]) for n, s in enumerate(found, 1)]


def _one_series(uid: str, headers: dict[Path, Dataset], path: Path) -> Series:
    """A series, not yet numbered; what is wrong with it is kept, for there may be others."""
    first = next(iter(headers.values()))
    text, modality, stack, error, survey = "", None, None, None, False
    try:
        with _decoding(path):
            stack = stack_of(headers, path)
    except errors.InputError as problem:
        error = problem
    try:
        with _decoding(path):
            kinds = [str(kind).upper() for kind in first.get("ImageType") or []]
            text = str(first.get("SeriesDescription") or "")
            survey = "LOCALIZER" in kinds or text.lower().replace("_", " ").split(" ")[0] in SURVEYS
            modality = modality_of_dicom(first, path.name)
    except errors.InputError as problem:
        stack, error = None, error or problem
    return Series(0, uid, text, modality, headers, stack, error, survey)


@contextmanager
def _decoding(path: Path) -> Iterator[None]:
    """Damage of a header as our error; pydicom decodes a header only where it is asked.

    Raises:
        ScanUnreadableError: a header in ``path`` is damaged.
    """
    from pydicom.errors import BytesLengthException

    try:
        yield
    except (AttributeError, NotImplementedError, TypeError, ValueError, BytesLengthException, RecursionError) as error:
        raise errors.ScanUnreadableError(f"A DICOM header in {path} is damaged.", str(error), COPY_AGAIN) from error


def choose(series: list[Series], wanted: str | None, path: Path) -> tuple[Series, tuple[str, ...]]:
    """One series, and sentences for the user.

    Args:
        wanted: its number, UID (or the end of it, from ``SHORTEST_UID_END`` characters) or description (or a part that
            only it has), or ``None`` for the only usable one.

    Raises:
        DicomSeriesError: none or several are meant.
        InputError: the one that is meant cannot be read.
    """
    if wanted is not None:
        chosen = _named(series, wanted, path)
        if chosen.error is not None:
            raise chosen.error
        return chosen, ()
    usable = [s for s in series if s.usable]
    if not usable and all(s.stack is not None for s in series):
        usable = series
    if len(usable) == 1:
        left = len(series) - 1
        return usable[0], (f"{left} other series of the folder were left out.",) if left else ()
    if len(series) == 1:
        assert series[0].error is not None
        raise series[0].error
    raise errors.DicomSeriesError(
        f"{path} holds {len(series)} series, {len(usable) or 'none'} of them usable.",
        "; ".join(str(s) for s in series) + ".",
        "Choose one with --series and its number; braindiffusion series FOLDER tells more of them.",
    )


def _named(series: list[Series], wanted: str, path: Path) -> Series:
    number = int(wanted) if wanted.isdecimal() and len(wanted) < SHORTEST_UID_END else None
    rules = (
        lambda s: s.number == number,
        lambda s: s.uid == wanted,
        lambda s: s.description.lower() == wanted.lower(),
        lambda s: len(wanted) >= SHORTEST_UID_END and s.uid.endswith(wanted),
        lambda s: bool(wanted) and number is None and wanted.lower() in s.description.lower(),
    )
    for rule in rules:
        found = [s for s in series if rule(s)]
        if len(found) == 1:
            return found[0]
        if found:
            break
    raise errors.DicomSeriesError(
        f"'{wanted}' is not one series of {path}.",
        ("It names several: " if found else "There are ") + "; ".join(str(s) for s in found or series) + ".",
        "Give the number of one.",
    )


def load_dicom(files: list[Path], path: Path, wanted: str | None = None) -> Scan:
    """One volume from DICOM files; ``path`` names it in errors.

    Raises:
        InputError: as for :func:`choose`.
    """
    found = series_in(files, path)
    series, notes = choose(found, wanted, path)
    assert series.stack is not None
    with _decoding(path):
        return load_stack(series.stack, series.headers, path, notes)


def list_series(folder: Path) -> list[Series]:
    """The DICOM series of a folder and its sub-folders; raises as :func:`series_in` does, or ScanNotFoundError."""
    if not folder.is_dir():
        raise errors.ScanNotFoundError(f"There is no folder {folder}.", "Nothing is there.", "Check the path.")
    return series_in(files_in(folder), folder)
