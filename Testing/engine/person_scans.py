"""Phantoms of persons as files, and the pack made from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from braindiffusion.io.write import OutputFolder
from braindiffusion.training.packs import Pack, load_pack
from braindiffusion.training.prepare import Prepared, PrepareSettings, prepare_pack
from braindiffusion.volume.scan import Scan

QUICK = PrepareSettings(size=128)


def inside(scan: Scan, centre: tuple[float, float, float], radii: tuple[float, float, float]) -> np.ndarray:
    """(I,J,K) bool: voxels in an ellipsoid, mm RAS."""
    at = scan.affine[:3, :3] @ np.indices(scan.voxels.shape).reshape(3, -1) + scan.affine[:3, 3:]
    distance = sum(((p - c) / r) ** 2 for p, c, r in zip(at, centre, radii, strict=True))
    return np.asarray(distance).reshape(scan.voxels.shape) < 1


def brain_of(scan: Scan, *_: Any, **__: Any) -> tuple[np.ndarray, str]:
    """The brain of a phantom is an ellipsoid; what is no phantom has none."""
    if np.median(scan.voxels[:4, :4]) > 100:
        return np.zeros(scan.voxels.shape, bool), "network"
    shift = scan.affine[:3, :3] @ (np.array(scan.voxels.shape) - 1) / 2 + scan.affine[:3, 3]
    return inside(scan, tuple(shift), (66, 84, 68)), "network"


def save(path: Path, voxels: np.ndarray, affine: np.ndarray) -> Path:
    """Write a volume (``.nii.gz`` or ``.nrrd``)."""
    with OutputFolder(path.parent) as out:
        out.volume(path.name, voxels, affine, "nrrd" if path.suffix == ".nrrd" else "nifti")
    return path


Phantom = Callable[..., tuple[np.ndarray, np.ndarray]]


def persons(head: Scan) -> Phantom:
    """Voxels and lesion of a person: the head with noise of its own, on the left for odd numbers, or healthy."""
    lesion = inside(head, (34, 18, 12), (15, 17, 15))

    def make(number: int, healthy: bool = False) -> tuple[np.ndarray, np.ndarray]:
        noise = np.random.default_rng(number).normal(0, 6, head.voxels.shape)
        voxels = head.voxels + noise
        if healthy:
            voxels = np.where(lesion, 360 + noise, voxels)
        return np.clip(voxels, 0, 3000).astype(np.int16), np.zeros_like(lesion) if healthy else lesion

    return make


def six_persons(folder: Path, phantom: Phantom, affine: np.ndarray) -> Path:
    """Six persons, every third healthy: ``<name>_FLAIR.nii.gz`` and ``<name>_mask.nii.gz``."""
    for i, name in enumerate(("anna", "bela", "carl", "dora", "emil", "fara")):
        voxels, lesion = phantom(i, healthy=i % 3 == 2)
        save(folder / f"{name}_FLAIR.nii.gz", voxels, affine)
        save(folder / f"{name}_mask.nii.gz", lesion, affine)
    return folder


def made(folder: Path, out: Path, settings: PrepareSettings = QUICK, **options: Any) -> tuple[Pack, Prepared]:
    """The pack, read back, and what was said of it."""
    done = prepare_pack(folder, out, settings, **options)
    return load_pack(out), done
