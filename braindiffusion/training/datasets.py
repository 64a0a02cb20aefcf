"""Training data on the model grid: packs of slices, and volumes with brain masks."""

from __future__ import annotations

import csv
import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np

from braindiffusion.errors import PackError
from braindiffusion.training.grid_data import GridData
from braindiffusion.training.packs import Pack, load_pack
from braindiffusion.volume.brain import find_brain
from braindiffusion.volume.slices import centred, mask_to_slices, place, to_slices

MIN_BRAIN_FRACTION = 0.03


def grid_of_pack(pack: Pack, source: str, size: int = 128) -> GridData:
    """A pack through the same road as a scan: brain, placement and scaling per patient."""
    n = len(pack)
    data = GridData(
        np.zeros((n, size, size), np.float16), np.zeros((n, size, size), bool), np.zeros((n, size, size), bool),
        pack.patient, np.full(n, source), pack.split, np.arange(n),
        None if pack.unsure is None else np.zeros((n, size, size), bool),
    )  # fmt: skip
    for _, index, scan in pack.volumes():
        brain, _ = find_brain(scan)
        if not brain.any():
            continue
        stack = to_slices(scan, brain, size)
        data.image[index], data.brain[index] = stack.images, stack.brain
        data.lesion[index] = mask_to_slices(pack.masks[index].transpose(2, 1, 0), stack.placement, 0.5)
        if data.unsure is not None and pack.unsure is not None:
            data.unsure[index] = mask_to_slices(pack.unsure[index].transpose(2, 1, 0), stack.placement, 0.5)
    return data


def _fingerprint(paths: list[Path], extra: str) -> str:
    facts = [f"{p.name}:{p.stat().st_size}:{p.stat().st_mtime_ns}" for p in paths] + [extra]
    return hashlib.sha256("|".join(facts).encode()).hexdigest()[:16]


def borrow_masks(pack: Pack, lender: Pack) -> Pack:
    """A pack without masks gets those of another pack of the same patients and slices (another sequence).

    Slices the lender lacks are dropped. Masks are brought to the pack's matrix by area (a pixel covered to a half).

    Raises:
        PackError: no slice is in both.
    """
    at = {key: i for i, key in enumerate(zip(lender.patient.tolist(), lender.position.tolist(), strict=True))}
    keys = list(zip(pack.patient.tolist(), pack.position.tolist(), strict=True))
    keep = np.array([key in at for key in keys])
    if not keep.any():
        raise PackError("The two packs share no slice.", "Patients and slices are matched by name.", "Check the packs.")
    masks = lender.masks[[at[key] for key in keys if key in at]]
    (h, w), (rows, columns) = pack.images.shape[1:], masks.shape[1:]
    if rows % h or columns % w:
        raise PackError(
            "The masks cannot be brought to the slices' matrix.",
            f"{rows} x {columns} is no multiple of {h} x {w}.",
            "Make both packs of sizes that divide.",
        )
    covered = masks.reshape(len(masks), h, rows // h, w, columns // w).mean((2, 4))
    chosen = pack.select(keep)
    return Pack(
        chosen.images, covered >= 0.5, chosen.patient, chosen.position, chosen.split, chosen.modality,
        chosen.pitch_mm, True, chosen.volume,
    )  # fmt: skip


def packs_on_grid(
    folder: Path, names: list[str], size: int, cache: Path | None = None, masks_from: dict[str, str] | None = None
) -> GridData:
    """All packs of a recipe on the model grid; kept in ``cache`` so that a resumed run starts at once.

    Args:
        masks_from: for a pack without masks, the pack of the same slices that has them.
    """
    lent = masks_from or {}
    paths = [folder / name for name in names]
    for path in paths:
        if not path.is_file():
            raise PackError(
                f"There is no pack {path}.", "The recipe needs it.", "Point --data at the folder that holds it."
            )
    extra = f"{size}-v2" + "".join(f"-{k}<{v}" for k, v in sorted(lent.items()))
    kept = cache / f"grid-{_fingerprint(paths, extra)}.npz" if cache else None
    if kept and kept.is_file():
        with np.load(kept, allow_pickle=False) as d:
            return GridData(**{k: d[k] for k in d.files})

    def read(path: Path) -> Pack:
        pack = load_pack(path)
        return borrow_masks(pack, load_pack(folder / lent[path.name])) if path.name in lent else pack

    parts = [grid_of_pack(read(path), path.stem, size) for path in paths]
    if any(p.unsure is not None for p in parts):
        for p in parts:
            p.unsure = np.zeros_like(p.lesion) if p.unsure is None else p.unsure
    data = GridData(**{k: np.concatenate([p.arrays()[k] for p in parts]) for k in parts[0].arrays()})
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        temporary = kept.with_suffix(f".{os.getpid()}.partial.npz")
        np.savez_compressed(temporary, **data.arrays())
        temporary.replace(kept)
    return data


def brain_volumes_on_grid(folder: Path, size: int, stripped: bool = False) -> GridData:
    """Volumes ``<subject>_T1.nii.gz`` with ``<subject>_brain.nii.gz`` and ``subjects.csv``; every second slice.

    Whole heads scaled by the 99th percentile of the volume, or ``stripped`` brains on the same road as a scan.
    """
    from braindiffusion.io.read import read_scan

    if not (folder / "subjects.csv").is_file():
        raise PackError(
            f"There is no {folder / 'subjects.csv'}.",
            "The recipe needs it.",
            "Point --data at the folder that holds it.",
        )
    with (folder / "subjects.csv").open(encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    images, brains, patients, splits = [], [], [], []
    for row in rows:
        scan = read_scan(folder / f"{row['subject']}_T1.nii.gz")
        brain = read_scan(folder / f"{row['subject']}_brain.nii.gz").voxels > 0
        if stripped:
            stack = to_slices(scan, brain, size)
            image, on_grid = stack.images[::2], stack.brain[::2]
        else:
            p = place(scan, brain, size)
            image = p.down(p.to_axial(scan.voxels))[::2] / np.percentile(scan.voxels, 99)
            on_grid = p.down(p.to_axial(brain))[::2] > 0.5
        images.append(np.clip(image, 0, 1).astype(np.float16))
        brains.append(on_grid)
        patients += [row["subject"]] * len(image)
        splits += [row["split"]] * len(image)
    brain = np.concatenate(brains)
    return GridData(
        np.concatenate(images), brain, np.zeros_like(brain), np.array(patients), np.full(len(brain), "ixi"),
        np.array(splits), np.arange(len(brain)),
    )  # fmt: skip


def load_data(spec: dict[str, Any], folder: Path, cache: Path | None = None) -> GridData:
    """The data a recipe names.

    Args:
        spec: ``kind`` ``packs`` (``packs``, ``masks_from``), ``brain_volumes`` (``folder``, ``stripped``) or ``native``
            (``sources``, see :mod:`braindiffusion.training.native_slices`, and ``least_px`` of a lesion; what follows
            does not apply to it);
            ``select`` all | lesion_free | lesion; ``lesion_weight`` n repeats each lesion slice of the train split n
            times an epoch; ``crop``.
    """
    size = int(spec["grid"])
    if spec["kind"] == "native":
        from braindiffusion.training.native_slices import native_slices

        native = native_slices(folder, spec["sources"])
        if native.kind is None:
            return native
        return native.select((native.lesion.sum((1, 2)) >= int(spec.get("least_px", 1))) & (native.kind != ""))
    if spec["kind"] == "brain_volumes":
        data = brain_volumes_on_grid(folder / spec["folder"], size, spec.get("stripped", False))
    else:
        data = packs_on_grid(folder, spec["packs"], size, cache, spec.get("masks_from"))
    lesion = np.asarray(data.lesion.any((1, 2)))
    if "select" in spec:
        enough = data.brain.mean((1, 2)) >= MIN_BRAIN_FRACTION
        known = True if data.unsure is None else ~data.unsure.any((1, 2))
        keep = {"all": enough, "lesion_free": enough & ~lesion & known, "lesion": enough & lesion}[spec["select"]]
        data, lesion = data.select(keep), lesion[keep]
    times = np.where(lesion & (data.split == "train"), int(spec.get("lesion_weight", 1)), 1)
    if (times > 1).any():
        data = data.select(np.repeat(np.arange(len(lesion)), times))
    if "crop" in spec:
        rows, columns = centred(size, spec["crop"][0]), centred(size, spec["crop"][1])
        for name, values in data.arrays().items():
            if values.ndim == 3:
                setattr(data, name, values[:, rows, columns])
    return data
