"""De-identified copies of scans, in two passes; on any doubt nothing is copied and the reason is told.

The first pass takes over only what is known to be harmless: voxels and grid, and of a DICOM header the attributes of
dicom_profile.json. The second (:mod:`braindiffusion.export.second_pass`) reads back what was written and looks for
anything of the patient that it knows: names, numbers, dates, paths; text burned into pixels was looked for before.
Faces are taken out unless the caller keeps them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from braindiffusion import NOT_FOR_DIAGNOSIS
from braindiffusion.errors import QuarantineError, ScanUnreadableError
from braindiffusion.export.burned_in import find_text
from braindiffusion.export.dicom import DEIDENTIFIED, Label, Study
from braindiffusion.export.dicom_source import Source, read_source, source_of
from braindiffusion.export.faces import Face, shown_region, without_face
from braindiffusion.export.identifiers import Identifiers, unzipped
from braindiffusion.export.second_pass import check_files
from braindiffusion.io.checks import COPY_AGAIN
from braindiffusion.io.read import read_scan
from braindiffusion.io.write import FORMATS, OutputFolder
from braindiffusion.volume.scan import Scan

SCREENS = ("1.2.840.10008.5.1.4.1.1.7",)
"""SOP classes that begin so are pictures of a screen or a paper (secondary capture)."""


@dataclass(frozen=True)
class Clean:
    """A scan that may be given away.

    Attributes:
        scan: voxels without the face, the grid, the modality; its ``source`` is empty.
        shown: (I,J,K) bool, where the voxels are as they were.
        synthetic: whether the source says of itself that it is.
        identifiers: what must be found nowhere in anything that is made of it.
        source: the DICOM series it came from, or ``None``.
    """

    scan: Scan
    shown: np.ndarray
    synthetic: bool
    identifiers: Identifiers
    source: Source | None

    @property
    def notice(self) -> str:
        """What every copy says of itself."""
        return NOT_FOR_DIAGNOSIS if self.synthetic else DEIDENTIFIED


def clean_scan(
    path: str | Path, *, face: Face = "remove", brain: np.ndarray | None = None, shown: np.ndarray | None = None,
    device: str = "cpu", identifiers: Identifiers | None = None, files: list[Path] | None = None,
) -> Clean:  # fmt: skip
    """The first pass over one scan, in memory.

    Args:
        path: as for :func:`braindiffusion.io.read.read_scan`, as ``files`` are.
        face: ``remove`` all that is more than 12 mm from the brain, ``blur`` it, or ``keep`` it.
        brain: (I,J,K) bool, the user's own brain mask; else the network finds the brain.
        shown: the region to keep, where it is known from another scan on the same grid.
        identifiers: further words that must not be found; they are added to.

    Raises:
        QuarantineError: text seems burned in, the header says so, or the face cannot be found.
        InputError: the scan cannot be read.
    """
    path = Path(path)
    scan = read_scan(path, files)
    source = read_source(files) if files else source_of(scan)
    known = identifiers_of(path, source, identifiers)
    synthetic = _says_synthetic(path, source)
    return clean_of(scan, source, known, face=face, brain=brain, shown=shown, device=device, synthetic=synthetic)


def clean_of(
    scan: Scan, source: Source | None, identifiers: Identifiers, *, face: Face = "remove",
    brain: np.ndarray | None = None, shown: np.ndarray | None = None, device: str = "cpu", synthetic: bool = False,
) -> Clean:  # fmt: skip
    """The same for a scan that is in memory already; raises as :func:`clean_scan`."""
    if source is not None:
        check_headers(source)
        try:
            for header in source.headers:
                identifiers.add_header(header)
        except Exception as error:  # a nested part is decoded only where it is asked for, and raises many kinds
            raise ScanUnreadableError("The scan's header is damaged.", str(error), COPY_AGAIN) from error
    check_pixels(scan)
    region = shown if shown is not None else shown_region(scan, face, brain, device)
    voxels = without_face(scan.voxels, region, scan.spacing, face)
    return Clean(replace(scan, voxels=voxels, source={}), region, synthetic, identifiers, source)


def copy_volume(
    scan_path: str | Path, out_path: str | Path, *, face: Face = "remove", brain: np.ndarray | None = None,
    shown: np.ndarray | None = None, device: str = "cpu", identifiers: Identifiers | None = None,
    notice: str | None = None,
) -> Clean:  # fmt: skip
    """Write a de-identified copy of one scan as NIfTI or NRRD.

    Args:
        out_path: a file that ends in .nii.gz or .nrrd; its name is the only name the copy gets.
        notice: what the header says; by default that it is synthetic, or de-identified.
        face, brain, shown, device, identifiers: as for :func:`clean_scan`.

    Raises:
        QuarantineError: there is a doubt; nothing was written.
        InputError, OutputError.
    """
    out_path = Path(out_path)
    form = next((form for form, ending in FORMATS.items() if out_path.name.endswith(ending)), None)
    if form is None:
        raise ValueError(f"{out_path.name} ends neither in .nii.gz nor in .nrrd")
    clean = clean_scan(scan_path, face=face, brain=brain, shown=shown, device=device, identifiers=identifiers)
    notice = notice or clean.notice
    with OutputFolder(out_path.parent) as out:
        out.volume(out_path.name, clean.scan.voxels, clean.scan, form, description=notice, notice=notice)
        check_files([(out_path.name, out.file(out_path.name))], clean.identifiers, known=[notice])
    return clean


def write_dicom_copy(out: OutputFolder, name: str, clean: Clean, code: str = "") -> list[str]:
    """Write a clean scan as a DICOM series ``name/0001.dcm`` ...: new UIDs, no dates, no reference to its source.

    Args:
        code: takes the place of the patient's ID.

    Returns:
        The files' names.
    """
    study = Study(clean.scan, clean.source, anonymous=True, patient=code)
    images = study.write(out.file, name, 1, clean.scan.voxels, copy_label(clean))
    return [f"{name}/{image.InstanceNumber:04d}.dcm" for image in images]


def copy_label(clean: Clean) -> Label:
    """What a series made of a clean scan is called."""
    how = "Copied without anything about the patient" + ("." if clean.shown.all() else "; the face was taken out.")
    return Label(f"scan {clean.scan.modality or ''}".strip(), how, clean.synthetic)


def identifiers_of(path: Path, source: Source | None, known: Identifiers | None = None) -> Identifiers:
    """All words of a scan's path, header and sidecar that could identify."""
    words = known or Identifiers()
    words.add_path(path.absolute())
    if path.is_file() and source is None:
        lower = path.name.lower()
        (words.add_nifti if lower.endswith((".nii", ".nii.gz")) else words.add_text_header)(path)
    sidecar = sidecar_of(path)
    if sidecar is not None:
        words.add_sidecar(sidecar)
    return words


def sidecar_of(path: Path) -> Path | None:
    """The JSON file beside a volume, as BIDS has it."""
    stem = path.name.split(".nii")[0] if ".nii" in path.name else path.stem
    found = path.with_name(f"{stem}.json")
    return found if path.is_file() and found.is_file() else None


def check_headers(source: Source) -> None:
    """Refuse a series that says of itself that it shows text, or that it is a picture of a screen.

    Raises:
        QuarantineError: it does.
    """
    for header in source.headers:
        kinds = [str(v) for v in _several(header.get("ImageType"))]
        if str(header.get("BurnedInAnnotation") or "") == "YES":
            raise _doubt("Its header says that text is burned into the pixels.")
        if str(header.get("SOPClassUID") or "").startswith(SCREENS) or "SCREEN SAVE" in kinds:
            raise _doubt("It is a picture of a screen, not an acquisition.")


def check_pixels(scan: Scan) -> None:
    """Refuse a scan that looks as if text were burned into it: into its slices, or, of even voxels, in any direction.

    Raises:
        QuarantineError: it does.
    """
    thick = int(scan.spacing.argmax())
    uneven = scan.spacing[thick] > 1.5 * np.median(scan.spacing)
    axes = (2,) if scan.source.get("format") == "DICOM" else (thick,) if uneven else (0, 1, 2)
    for text in find_text(scan.voxels, axes):
        raise _doubt(f"Text seems to be burned in, in plane {text.index} along axis {'ijk'[text.axis]}.")


def _doubt(why: str) -> QuarantineError:
    return QuarantineError(
        "The scan may show who the patient is.", why, "Look at it; crop or repair it, then try again."
    )


def _several(value: Any) -> Sequence[Any]:
    return [] if value is None else [value] if isinstance(value, str) else list(value)


def _says_synthetic(path: Path, source: Source | None) -> bool:
    if source is not None:
        return source.synthetic
    return path.is_file() and b"SYNTHETIC" in unzipped(path, 4096).upper()
