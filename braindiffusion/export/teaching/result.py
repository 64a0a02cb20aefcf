"""From the folder of a healing or an induction, and its scan, to the pair a teaching file shows."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from braindiffusion.errors import EmptyMaskError, ScanGeometryError, TeachingFileError
from braindiffusion.export.deidentify import Clean, clean_scan
from braindiffusion.export.faces import Face, without_face
from braindiffusion.export.teaching.case import Pair
from braindiffusion.io.read import on_grid_of, read_mask, read_scan
from braindiffusion.io.text_files import read_json
from braindiffusion.volume.scan import Scan

_ENDINGS = (".nii.gz", ".nrrd", "")
_TASKS = {"counterfactual": "heal", "diseased": "induce"}


def pair_of(
    folder: Path, scan_path: Path, *, face: Face = "remove", brain: np.ndarray | None = None, device: str = "cpu"
) -> Pair:
    """Read a result and its scan, without what identifies the patient.

    Args:
        folder: what ``heal`` or ``induce`` wrote, in any format.
        scan_path: the scan it was made from.
        face, brain, device: as for :func:`braindiffusion.export.deidentify.clean_scan`.

    Raises:
        TeachingFileError: the folder holds no result, or one of another scan.
        InputError: the scan or the result cannot be read.
        QuarantineError: the scan may show who the patient is.
    """
    found = next(((name, path) for name in _TASKS if (path := _file(folder, name)) is not None), None)
    if found is None:
        raise TeachingFileError(
            f"{folder} holds no result.", "It has neither a counterfactual nor a diseased scan.",
            "Give the folder that heal or induce wrote.",
        )  # fmt: skip
    name, path = found
    provenance = _provenance(folder)
    scan, other = read_scan(scan_path), read_scan(path)
    check_same(scan, provenance)
    voxels = on_grid(other, scan)
    clean = clean_scan(scan_path, face=face, brain=brain, device=device)
    clean.identifiers.add_path(folder.absolute())
    mask = _file(folder, "lesion")
    lesion = _lesion_of(mask, scan) if mask is not None and mask.is_file() else None
    return make_pair(clean, scan, voxels, _TASKS[name], lesion, provenance, face)


def make_pair(
    clean: Clean, scan: Scan, other: np.ndarray, task: str, lesion: np.ndarray | None, provenance: dict[str, Any],
    face: Face,
) -> Pair:  # fmt: skip
    """The pair, the other one treated as the scan was: what lies outside the shown region is the scan's in both."""
    hidden = without_face(other, clean.shown, scan.spacing, face)
    hidden[~clean.shown] = clean.scan.voxels[~clean.shown]
    shown = lesion & clean.shown if lesion is not None and (lesion & clean.shown).any() else None
    return Pair(clean, hidden, task, shown, provenance)


def _file(folder: Path, name: str) -> Path | None:
    return next((path for ending in _ENDINGS if (path := folder / (name + ending)).exists()), None)


def _lesion_of(mask: Path, scan: Scan) -> np.ndarray | None:
    """The lesion map on the scan's grid; ``None`` where nothing was called lesion."""
    try:
        return read_mask(mask, scan)
    except EmptyMaskError:
        return None


def _provenance(folder: Path) -> dict[str, Any]:
    try:
        facts = read_json(folder / "provenance.json")
        if not isinstance(facts, dict) or not isinstance(facts.get("scan") or {}, dict):
            raise ValueError("It is not a record.")
        return facts
    except (OSError, ValueError) as error:
        raise TeachingFileError(
            "The result does not say how it was made.", "provenance.json is missing or damaged.", "Run it again."
        ) from error


def check_same(scan: Scan, provenance: dict[str, Any]) -> None:
    """Refuse a scan that a result was not made from.

    Raises:
        TeachingFileError: its voxels are others.
    """
    known = (provenance.get("scan") or {}).get("voxels_sha256")
    if known is not None and known != hashlib.sha256(scan.voxels.tobytes()).hexdigest():
        raise TeachingFileError(
            "The result was not made from this scan.", "The voxels differ from those in its record.",
            "Give the scan that was healed or painted into.",
        )  # fmt: skip


def on_grid(other: Scan, scan: Scan) -> np.ndarray:
    """(I,J,K) voxels of a result in the order and the type of its scan; a DICOM series may have turned the axes.

    Raises:
        ScanGeometryError: it lies on another grid.
    """
    turned = on_grid_of(scan, other.voxels, other.affine)
    if turned is None:
        raise ScanGeometryError("The result lies on another grid than the scan.", "", "Give the scan it was made from.")
    return np.ascontiguousarray(turned).astype(scan.voxels.dtype)
