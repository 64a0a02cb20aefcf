"""What reading costs: seconds beside those of the library that decodes, and memory beside the voxels that are kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

TILES = 8
"""How often the sample scan is stacked upon itself: 192 x 224 x 112 voxels."""
_SCALED = (0.5, -3.0)


# --- files, written without the code that is measured ---------------------------------------------------------


def _nifti(path: Path, voxels: np.ndarray, scaled: bool = False) -> None:
    import nibabel

    image = nibabel.Nifti1Image(voxels, np.diag([-1.0, 1, 1.5, 1]))
    nibabel.save(image, path)
    if scaled:
        raw = bytearray(path.read_bytes())
        raw[112:120] = np.array(_SCALED, "<f4").tobytes()
        path.write_bytes(raw)


def _nan(path: Path, voxels: np.ndarray) -> None:
    """NaN where the scan is dark, as SPM writes what lies outside a brain mask."""
    _nifti(path, np.where(_outside(voxels), np.nan, voxels).astype(np.float32))


def _outside(voxels: np.ndarray) -> np.ndarray:
    from scipy import ndimage

    return ~ndimage.binary_fill_holes(voxels > voxels.mean())


def _itk(path: Path, voxels: np.ndarray) -> None:
    import SimpleITK as sitk  # noqa: N813 - its usual name

    sitk.WriteImage(sitk.GetImageFromArray(voxels.T), str(path), path.stem == "packed")


def _dicom(path: Path, voxels: np.ndarray) -> None:
    """A series in a folder, or one enhanced file."""
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

    def item(**values: Any) -> Dataset:
        data = Dataset()
        for keyword, value in values.items():
            setattr(data, keyword, value)
        return data

    enhanced, planes = path.suffix == ".dcm", np.ascontiguousarray(voxels.T)
    axes, pitch = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}, {"PixelSpacing": [1, 1]}
    places = [{"ImagePositionPatient": [0, 0, 1.5 * k]} for k in range(len(planes))]
    series = generate_uid()

    def save(file: Path, pixels: np.ndarray, **more: Any) -> None:
        kind = EnhancedMRImageStorage if enhanced else MRImageStorage
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = kind, generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data = item(
            file_meta=meta, SOPClassUID=kind, SOPInstanceUID=meta.MediaStorageSOPInstanceUID, Modality="MR",
            SeriesInstanceUID=series, Rows=pixels.shape[-2], Columns=pixels.shape[-1], SamplesPerPixel=1,
            PhotometricInterpretation="MONOCHROME2", BitsAllocated=16, BitsStored=16, HighBit=15,
            PixelRepresentation=1, PixelData=pixels.astype("<i2").tobytes(), **more,
        )  # fmt: skip
        data.save_as(file, enforce_file_format=True)

    if enhanced:
        groups = [item(PlanePositionSequence=[item(**place)]) for place in places]
        shared = item(PlaneOrientationSequence=[item(**axes)], PixelMeasuresSequence=[item(**pitch)])
        sequences = {"SharedFunctionalGroupsSequence": [shared], "PerFrameFunctionalGroupsSequence": groups}
        save(path, planes, NumberOfFrames=len(planes), **sequences)
        return
    path.mkdir()
    for k, place in enumerate(places):
        numbers = {"InstanceNumber": k + 1, "SpacingBetweenSlices": "1.5"}
        save(path / f"{k:04d}.dcm", planes[k], **numbers, **axes, **pitch, **place)


def _packed_dicom(path: Path, voxels: np.ndarray) -> None:
    """One enhanced file, deflated or with RLE."""
    from pydicom import dcmread
    from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless

    _dicom(path, voxels)
    data = dcmread(path)
    if "deflated" in path.name:
        data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    else:
        data.compress(RLELossless)
    data.save_as(path, enforce_file_format=True)


KINDS: dict[str, tuple[str, Callable[[Path, np.ndarray], None]]] = {
    "NIfTI": ("plain.nii", _nifti),
    "NIfTI, compressed": ("plain.nii.gz", _nifti),
    "NIfTI, rescaled": ("scaled.nii", lambda path, voxels: _nifti(path, voxels, scaled=True)),
    "NIfTI, NaN around": ("nan.nii", _nan),
    "NRRD": ("plain.nrrd", _itk),
    "NRRD, compressed": ("packed.nrrd", _itk),
    "MetaImage": ("plain.mha", _itk),
    "MetaImage, compressed": ("packed.mha", _itk),
    "DICOM, a series": ("series", _dicom),
    "DICOM, one file": ("frames.dcm", _dicom),
    "DICOM, one file, deflated": ("deflated.dcm", _packed_dicom),
    "DICOM, one file, compressed": ("rle.dcm", _packed_dicom),
}
"""Name of a file or folder, and what writes it."""


# --- measuring ----------------------------------------------------------------------------------------------


def _by_library(path: Path) -> np.ndarray:
    """The voxels as the library gives them, with none of our checks."""
    if path.is_dir() or path.suffix == ".dcm":
        from pydicom import dcmread

        files = sorted(path.iterdir()) if path.is_dir() else [path]
        return np.stack([dcmread(file).pixel_array for file in files])
    if ".nii" in path.name:
        import nibabel

        image: Any = nibabel.load(path)
        return np.array(np.asanyarray(image.dataobj))  # read, where it is only mapped into memory
    import SimpleITK as sitk  # noqa: N813 - its usual name

    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def _resident(field: str) -> int | None:
    """Bytes of memory in use (``VmRSS``), or at most since the last reset (``VmHWM``); only Linux tells."""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return 1024 * int(next(line for line in lines if line.startswith(field)).split()[1])
    return None


def _seconds(function: Callable[[], Any], repeats: int) -> float:
    best = float("inf")
    for _ in range(repeats):
        started = time.process_time()
        function()
        best = min(best, time.process_time() - started)
    return best


def _measure(path: Path, small: Path, repeats: int) -> dict[str, Any]:
    """One row, but for its name; ``small`` loads the libraries before ``path`` is read."""
    from braindiffusion.io.read import read_scan

    read_scan(small)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forgets the peak
    before = _resident("VmRSS")
    scan = read_scan(path)
    after, held = _resident("VmHWM"), scan.voxels.nbytes
    del scan
    return {
        "voxel_bytes": held,
        "memory": None if before is None or after is None else (after - before) / held,
        "seconds": _seconds(lambda: read_scan(path), repeats),
        "library_seconds": _seconds(lambda: _by_library(path), repeats),
    }


def reading(repeats: int = 3) -> list[dict[str, Any]]:
    """One row a kind of file: ``what``, ``voxel_bytes``, ``memory`` (peak by reading, in voxels; ``None`` where the
    system does not tell), ``seconds``, ``library_seconds`` (of a core; the least of so many repeats)."""
    from braindiffusion.cards import resource
    from braindiffusion.io.read import read_scan

    voxels = read_scan(resource("Samples", "SYNTHETIC_FLAIR_lesion.nii.gz")).voxels
    with tempfile.TemporaryDirectory(prefix="braindiffusion-") as folder:
        for size, tiles in (("large", TILES), ("small", 1)):
            (Path(folder) / size).mkdir()
            for name, write in KINDS.values():
                write(Path(folder) / size / name, np.tile(voxels, (1, 1, tiles)))
        # a process of its own, in which every array is given back at once
        environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "131072"}
        command = [sys.executable, "-m", __name__, folder, str(repeats)]
        told = subprocess.run(command, stdout=subprocess.PIPE, check=True, encoding="utf-8", env=environment).stdout
    return list(json.loads(told))


if __name__ == "__main__":
    _folder, _repeats = Path(sys.argv[1]), int(sys.argv[2])
    _rows = [
        {"what": what, **_measure(_folder / "large" / name, _folder / "small" / name, _repeats)}
        for what, (name, _) in KINDS.items()
    ]
    sys.stdout.write(json.dumps(_rows))
