"""The scans a study is made from: one folder of real ones, one for each method, one of priors; and their strata.

Two kinds of entries make a case, named by the file or folder without its ending: a scan file, with the changed region
beside it as ``<name>_lesion.*`` or ``<name>_mask.*``; and a folder, either what ``induce`` or ``heal`` wrote
(``diseased`` or ``counterfactual``, with ``lesion``) or one DICOM series. The same name in two folders means the same
subject.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from braindiffusion.errors import SettingsError, StudyError
from braindiffusion.io.checks import SCAN_SUFFIXES
from braindiffusion.io.dicom import is_dicom
from braindiffusion.io.paths import at_home
from braindiffusion.io.text_files import read_text
from braindiffusion.studies.format import REAL

RESULTS = ("diseased", "counterfactual")
MASKS = ("_lesion", "_mask", "_brain")
EVERYTHING = "all"
"""The stratum where none were asked for."""


@dataclass(frozen=True)
class Source:
    """One scan that may become a case: its name (the subject), its file or DICOM folder, its changed region."""

    name: str
    image: Path
    lesion: Path | None = None


def stem(path: Path) -> str | None:
    """The name of a scan file without its ending; ``None`` for other files."""
    lower = path.name.lower()
    return next((path.name[: -len(s)] for s in SCAN_SUFFIXES if lower.endswith(s)), None)


def _scan_files(folder: Path) -> dict[str, Path]:
    """Scan files by stem.

    Raises:
        StudyError: two files with one stem.
    """
    out: dict[str, Path] = {}
    for path in sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith(".")):
        name = stem(path)
        if name is not None and out.setdefault(name, path) != path:
            why = f"{out[name].name} and {path.name} have one name, so which is meant cannot be told."
            raise StudyError(f"{folder} has {name} twice.", why, "Keep one of them.")
    return out


def _of_folder(folder: Path) -> Source | None:
    """The case a subfolder holds, if any."""
    files = _scan_files(folder)
    image = next((files[name] for name in RESULTS if name in files), None)
    if image is not None:
        return Source(folder.name, image, files.get("lesion"))
    first = next((p for p in sorted(folder.iterdir()) if p.is_file()), None)
    return Source(folder.name, folder) if not files and first is not None and is_dicom(first) else None


def find_sources(folder: Path) -> list[Source]:
    """The scans of a folder, by name.

    Raises:
        StudyError: no folder, no scan in it, or two of one name.
    """
    if not folder.is_dir():
        raise StudyError(f"{folder} is not a folder.", "Nothing to take scans from.", "Check the path.")
    files = _scan_files(folder)
    out = {
        name: Source(name, path, next((files[name + m] for m in MASKS[:2] if name + m in files), None))
        for name, path in files.items()
        if not any(name.endswith(m) and name.removesuffix(m) in files for m in MASKS)
    }
    for sub in sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")):
        found = _of_folder(sub)
        if found is not None and out.setdefault(found.name, found) != found:
            raise StudyError(f"{folder} has {found.name} twice.", "As a file and as a folder.", "Keep one of them.")
    if not out:
        kinds = ", ".join(SCAN_SUFFIXES)
        raise StudyError(
            f"There is no scan in {folder}.", f"Looked for {kinds}, results and DICOM folders.", "Add some."
        )
    return [out[name] for name in sorted(out)]


def parse_methods(given: list[str]) -> dict[str, Path]:
    """``NAME=FOLDER`` or ``FOLDER`` (named after itself) as method -> folder.

    Raises:
        StudyError: one name twice, or ``real``.
    """
    out: dict[str, Path] = {}
    for text in given:
        name, equals, folder = text.partition("=")
        path = at_home(folder if equals else text)
        name = (name if equals else path.absolute().name).strip()
        if not name or name == REAL or name in out:
            why = "Each needs a name of its own, other than 'real'."
            raise StudyError(f"The method '{name}' is not possible.", why, "Write --synthetic NAME=FOLDER.")
        out[name] = path
    return out


def read_strata(path: Path) -> dict[str, str]:
    """Name -> stratum from a CSV file with the columns ``name`` and ``stratum``.

    Raises:
        StudyError: no such file or columns, or a name with two strata.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(read_text(path, "utf-8-sig"), newline="")))
        pairs = [(row["name"].strip(), row["stratum"].strip()) for row in rows]
    except (OSError, KeyError, AttributeError, ValueError, csv.Error) as error:
        why = str(error) if isinstance(error, OSError) else "It is no CSV file with the columns name and stratum."
        raise StudyError(f"{path} holds no strata.", why, "Write one row for each case: name,stratum.") from error
    out: dict[str, str] = {}
    for name, stratum in pairs:
        if out.setdefault(name, stratum) != stratum:
            raise StudyError(f"{path} gives {name} two strata.", f"{out[name]} and {stratum}.", "Keep one row.")
    return out


def parse_edges(text: str) -> list[float]:
    """``5,20`` (mL) as ascending numbers.

    Raises:
        SettingsError: not so.
    """
    try:
        edges = [float(part) for part in text.split(",")]
    except ValueError:
        edges = []
    if not edges or any(b <= a for a, b in zip([0.0, *edges], edges, strict=False)):
        raise SettingsError(f"--lesion-ml {text} is not possible.", "It is ascending volumes.", "Give 5,20, say.")
    return edges


def stratum_of(ml: float, edges: list[float]) -> str:
    """The stratum of a lesion volume in mL, such as ``5-20 mL``; an edge belongs to the larger one."""
    for i, edge in enumerate(edges):
        if ml < edge:
            return f"under {edge:g} mL" if i == 0 else f"{edges[i - 1]:g}-{edge:g} mL"
    return f"{edges[-1]:g} mL and more"
