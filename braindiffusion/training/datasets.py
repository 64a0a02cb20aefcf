"""Training data on the model grid: packs of slices, and volumes with brain masks."""

from __future__ import annotations

import csv
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from braindiffusion.brain import find_brain
from braindiffusion.errors import PackError
from braindiffusion.slices import centred, mask_to_slices, place, to_slices
from braindiffusion.training.packs import Pack, load_pack

MIN_BRAIN_FRACTION = 0.03


@dataclass
class GridData:
    """Slices on the model grid.

    Attributes:
        image: (N,H,W) float16 in [0,1].
        brain, lesion: (N,H,W) bool.
        patient, source: (N,) str.
        split: (N,) str.
        row: (N,) int, index of the slice in its pack.
    """

    image: np.ndarray
    brain: np.ndarray
    lesion: np.ndarray
    patient: np.ndarray
    source: np.ndarray
    split: np.ndarray
    row: np.ndarray

    def select(self, keep: np.ndarray) -> GridData:
        """The slices where ``keep``."""
        return GridData(**{k: v[keep] for k, v in vars(self).items()})

    def tensors(self) -> dict[str, torch.Tensor]:
        """What the tasks need: image, brain, lesion (N,1,H,W) float32 and label (N,) long."""
        return {
            "image": torch.from_numpy(self.image.astype(np.float32))[:, None],
            "brain": torch.from_numpy(self.brain.astype(np.float32))[:, None],
            "lesion": torch.from_numpy(self.lesion.astype(np.float32))[:, None],
            "label": torch.from_numpy(self.lesion.any((1, 2)).astype(np.int64)),
        }


def grid_of_pack(pack: Pack, source: str, size: int = 128) -> GridData:
    """A pack through the same road as a scan: brain, placement and scaling per patient."""
    n = len(pack)
    data = GridData(
        np.zeros((n, size, size), np.float16), np.zeros((n, size, size), bool), np.zeros((n, size, size), bool),
        pack.patient, np.full(n, source), pack.split, np.arange(n),
    )  # fmt: skip
    for _, index, scan in pack.volumes():
        brain, _ = find_brain(scan)
        if not brain.any():
            continue
        stack = to_slices(scan, brain, size)
        data.image[index], data.brain[index] = stack.images, stack.brain
        data.lesion[index] = mask_to_slices(pack.masks[index].transpose(2, 1, 0), stack.placement, 0.5)
    return data


def _fingerprint(paths: list[Path], extra: str) -> str:
    facts = [f"{p.name}:{p.stat().st_size}:{p.stat().st_mtime_ns}" for p in paths] + [extra]
    return hashlib.sha256("|".join(facts).encode()).hexdigest()[:16]


def packs_on_grid(folder: Path, names: list[str], size: int, cache: Path | None = None) -> GridData:
    """All packs of a recipe on the model grid; kept in ``cache`` so that a resumed run starts at once."""
    paths = [folder / name for name in names]
    for path in paths:
        if not path.is_file():
            raise PackError(
                f"There is no pack {path}.", "The recipe needs it.", "Point --data at the folder that holds it."
            )
    kept = cache / f"grid-{_fingerprint(paths, f'{size}-v2')}.npz" if cache else None
    if kept and kept.is_file():
        with np.load(kept, allow_pickle=False) as d:
            return GridData(**{k: d[k] for k in d.files})
    parts = [grid_of_pack(load_pack(path), path.stem, size) for path in paths]
    data = GridData(**{k: np.concatenate([vars(p)[k] for p in parts]) for k in vars(parts[0])})
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        temporary = kept.with_suffix(f".{os.getpid()}.partial.npz")
        np.savez_compressed(temporary, **vars(data))
        temporary.replace(kept)
    return data


def brain_volumes_on_grid(folder: Path, size: int) -> GridData:
    """Volumes ``<subject>_T1.nii.gz`` with ``<subject>_brain.nii.gz`` and ``subjects.csv``; whole heads, scaled by the
    99th percentile of the volume; every second slice."""
    from braindiffusion.reading import read_scan

    if not (folder / "subjects.csv").is_file():
        raise PackError(
            f"There is no {folder / 'subjects.csv'}.",
            "The recipe needs it.",
            "Point --data at the folder that holds it.",
        )
    with (folder / "subjects.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    images, brains, patients, splits = [], [], [], []
    for row in rows:
        scan = read_scan(folder / f"{row['subject']}_T1.nii.gz")
        brain = read_scan(folder / f"{row['subject']}_brain.nii.gz").voxels > 0
        p = place(scan, brain, size)
        image = p.down(p.to_axial(scan.voxels))[::2] / np.percentile(scan.voxels, 99)
        images.append(np.clip(image, 0, 1).astype(np.float16))
        brains.append(p.down(p.to_axial(brain))[::2] > 0.5)
        patients += [row["subject"]] * len(image)
        splits += [row["split"]] * len(image)
    brain = np.concatenate(brains)
    return GridData(
        np.concatenate(images), brain, np.zeros_like(brain), np.array(patients), np.full(len(brain), "ixi"),
        np.array(splits), np.arange(len(brain)),
    )  # fmt: skip


def load_data(spec: dict[str, Any], folder: Path, cache: Path | None = None) -> GridData:
    """The data a recipe names: ``kind`` ``packs`` (``select`` all | lesion_free | lesion) or ``brain_volumes``."""
    size = int(spec["grid"])
    if spec["kind"] == "brain_volumes":
        return brain_volumes_on_grid(folder / spec["folder"], size)
    data = packs_on_grid(folder, spec["packs"], size, cache)
    enough = data.brain.mean((1, 2)) >= MIN_BRAIN_FRACTION
    lesion = data.lesion.any((1, 2))
    keep = {"all": enough, "lesion_free": enough & ~lesion, "lesion": enough & lesion}[spec["select"]]
    data = data.select(keep)
    if "crop" in spec:
        rows, columns = centred(size, spec["crop"][0]), centred(size, spec["crop"][1])
        for name in ("image", "brain", "lesion"):
            setattr(data, name, getattr(data, name)[:, rows, columns])
    return data
