"""Scans into the scene: a path, an upload, a DICOM folder, the shipped sample.

Files are read by the engine's own reader, so the viewer refuses the same scans as the command line, in the same words,
and DICOM slices are sorted by position. Left-handed volumes are turned along k as desktop Slicer does.
"""

from __future__ import annotations

import shutil
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import slicer

from BrainCounterfactualCommon.scene.volumes import vtkMatrix
from braindiffusion import errors
from braindiffusion.cards import resource
from braindiffusion.io.checks import SCAN_SUFFIXES
from braindiffusion.io.dicom_series import Series, list_series
from braindiffusion.io.read import read_scan
from braindiffusion.volume.scan import Scan

SAMPLE = "SYNTHETIC_FLAIR_lesion.nii.gz"
SCENE_SUFFIXES = (".mrb", ".mrml")
MOST_UNPACKED, MOST_PARTS = 2 << 30, 10_000
"""Of a saved scene: bytes and files."""
PATH_ATTRIBUTE = "BrainViewer.Path"
NOTES_ATTRIBUTE = "BrainViewer.Notes"


def sample_path() -> Path:
    """The shipped sample scan (itself synthetic)."""
    return resource("Samples", SAMPLE)


def stem(path: Path) -> str:
    """A node's name from a path: the file's name without its suffixes."""
    name = path.name or "scan"
    for suffix in (*SCAN_SUFFIXES, ".dcm"):
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


def load(
    path: Path, name: str | None = None, keep_path: bool = True, series: Series | None = None
) -> tuple[Any, str | None]:
    """Load one scan; what was assumed while reading it is kept with the node, see :func:`notes_of`.

    Args:
        series: of a folder that holds several, from :func:`series_of`.

    Returns:
        The volume node and its modality, where the file says.

    Raises:
        InputError: the path holds no usable scan; :class:`~braindiffusion.errors.DicomSeriesError` for a folder of
        several series.
    """
    scan = read_scan(path, series=series.uid if series is not None else None)
    node = add_to_scene(scan, name or stem(path), path.resolve() if keep_path else None)
    node.SetAttribute(NOTES_ATTRIBUTE, " ".join(scan.notes))
    return node, scan.modality


def notes_of(node: Any) -> str:
    """What was assumed while a scan was read; empty where nothing was."""
    return node.GetAttribute(NOTES_ATTRIBUTE) or ""


def series_of(folder: Path) -> list[Series]:
    """The DICOM series of a folder and its subfolders that can be read, as the command line lists them."""
    return [series for series in list_series(folder) if series.stack is not None]


def title_of(series: Series) -> str:
    """A series as it is listed: what it is called, its contrast, its slices."""
    slices = series.stack.size[2] if series.stack is not None else len(series.headers)
    facts = [series.modality or "unknown contrast", f"{slices} slices", *(["localizer"] if series.survey else [])]
    return f"{series.description or f'series {series.number}'} ({', '.join(facts)})"


def check_bundle(path: Path) -> None:
    """Refuse a saved scene that grows beyond measure when it is unpacked: a few MB may stand for terabytes.

    Raises:
        ScanUnreadableError: it does, or is not an archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
            grown, free = sum(part.file_size for part in parts), shutil.disk_usage(tempfile.gettempdir()).free
            fits = grown <= min(MOST_UNPACKED, free // 2) and len(parts) <= MOST_PARTS
            if fits and (lies := archive.testzip()) is not None:  # more comes than it says, say
                raise zipfile.BadZipFile(f"{lies[:80]} is damaged.")
    except (OSError, ValueError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        why = str(error) or "It is damaged."
        raise errors.ScanUnreadableError(f"{path.name} could not be read.", why, "Save it again.") from error
    if not fits:
        why = f"Unpacked it has {grown / 1e6:.0f} MB in {len(parts)} files."
        raise errors.ScanUnreadableError(f"{path.name} is too large for a scene.", why, "Save fewer scans in it.")


def load_scene(path: Path) -> None:
    """Add a saved scene (.mrb, .mrml) to this one.

    Raises:
        ScanUnreadableError: it cannot be read.
    """
    if not path.is_file():
        raise errors.ScanNotFoundError(f"{path} is not there.", "No such file.", "Check the path.")
    if path.suffix == ".mrb":
        check_bundle(path)
    if not slicer.app.coreIOManager().loadNodes("SceneFile", {"fileName": str(path)}):
        raise errors.ScanUnreadableError(f"{path.name} could not be read.", "It is damaged or empty.", "Save it again.")
