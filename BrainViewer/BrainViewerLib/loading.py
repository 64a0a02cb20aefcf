"""Scans into the scene: a path, an upload, a DICOM folder, the shipped sample.

Files are read by the engine's own reader, so the viewer refuses the same scans as the command line, in the same words,
and DICOM slices are sorted by position. Left-handed volumes are turned along k as desktop Slicer does.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer

from BrainCounterfactualCommon.scene import vtkMatrix
from braindiffusion import errors
from braindiffusion.cards import resource
from braindiffusion.io.read import read_scan
from braindiffusion.volume.scan import Scan

SAMPLE = "SYNTHETIC_FLAIR_lesion.nii.gz"
SCENE_SUFFIXES = (".mrb", ".mrml")
PATH_ATTRIBUTE = "BrainViewer.Path"


@dataclass(frozen=True)
class Series:
    """One DICOM series of a folder that holds several."""

    folder: Path
    uid: str
    title: str
    files: tuple[Path, ...]


def sample_path() -> Path:
    """The shipped sample scan (itself synthetic)."""
    return resource("Samples", SAMPLE)


def stem(path: Path) -> str:
    """A node's name from a path: the file's name without its suffixes."""
    name = path.name or "scan"
    for suffix in (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".dcm"):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


def right_handed(voxels: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(I,J,K) voxels and affine with a positive determinant; the same picture in the same place."""
    if np.linalg.det(affine[:3, :3]) > 0:
        return voxels, affine
    turned = affine.copy()
    turned[:3, 3] += affine[:3, 2] * (voxels.shape[2] - 1)
    turned[:3, 2] *= -1
    return voxels[:, :, ::-1], turned


def add_to_scene(scan: Scan, name: str, path: Path | None) -> Any:
    """A volume node of a scan."""
    voxels, affine = right_handed(scan.voxels, scan.affine)
    if voxels.dtype == bool:
        voxels = voxels.astype(np.uint8)
    elif voxels.dtype in (np.int64, np.uint64):
        voxels = voxels.astype(np.float64)
    kji = np.ascontiguousarray(voxels.transpose())
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", slicer.mrmlScene.GenerateUniqueName(name))
    slicer.util.updateVolumeFromArray(node, kji)
    node.SetIJKToRASMatrix(vtkMatrix(affine))
    node.CreateDefaultDisplayNodes()
    if path is not None:
        node.SetAttribute(PATH_ATTRIBUTE, str(path))
    return node


def load(path: Path, name: str | None = None, keep_path: bool = True) -> tuple[Any, str | None]:
    """Load one scan.

    Returns:
        The volume node and its modality, where the file says.

    Raises:
        InputError: the path holds no usable scan; :class:`~braindiffusion.errors.DicomSeriesError` for a folder of
        several series (see :func:`series_of`).
    """
    scan = read_scan(path)
    name = name or (series_name(path) if path.is_dir() else "") or stem(path)
    return add_to_scene(scan, name, path.resolve() if keep_path else None), scan.modality


def series_name(folder: Path) -> str:
    """The description of the DICOM series in a folder; empty where there is none."""
    import pydicom

    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name.upper() != "DICOMDIR"):
        with suppress(pydicom.errors.InvalidDicomError, OSError, ValueError):
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SeriesDescription"])
            return str(header.get("SeriesDescription", "") or "").strip()
    return ""


def series_of(folder: Path) -> list[Series]:
    """The DICOM series of a folder and its subfolders, largest first; empty when there is no DICOM."""
    import pydicom

    tags = ["SeriesInstanceUID", "SeriesDescription", "Modality", "SeriesNumber"]
    found: dict[str, list[Path]] = defaultdict(list)
    titles: dict[str, str] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name.upper() != "DICOMDIR"):
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags)
        except (pydicom.errors.InvalidDicomError, OSError, ValueError):
            continue
        uid = str(header.get("SeriesInstanceUID", ""))
        if uid:
            found[uid].append(path)
            titles[uid] = str(header.get("SeriesDescription", "") or f"series {header.get('SeriesNumber', '?')}")
    everything = [Series(folder, uid, titles[uid], tuple(files)) for uid, files in found.items()]
    return sorted(everything, key=lambda series: -len(series.files))


def load_series(series: Series, workspace: Path) -> tuple[Any, str | None]:
    """Load one series of a folder that holds several; ``workspace`` is an empty folder for links to its files."""
    import shutil

    for index, path in enumerate(series.files):
        shutil.copyfile(path, workspace / f"{index:05d}.dcm")
    return load(workspace, series.title, keep_path=False)


def load_scene(path: Path) -> None:
    """Add a saved scene (.mrb, .mrml) to this one.

    Raises:
        ScanUnreadableError: it cannot be read.
    """
    if not path.is_file():
        raise errors.ScanNotFoundError(f"{path} is not there.", "No such file.", "Check the path.")
    if not slicer.app.coreIOManager().loadNodes("SceneFile", {"fileName": str(path)}):
        raise errors.ScanUnreadableError(f"{path.name} could not be read.", "It is damaged or empty.", "Save it again.")
