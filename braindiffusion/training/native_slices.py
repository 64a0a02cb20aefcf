"""Training slices at their own resolution, with the mirrored hemisphere and a neighbouring slice: any contrast.

Each source of a recipe becomes slices on one canvas (pixels of about 0.94-1 mm, centred on the brain, the head left
on), scaled per volume so that the median brain is 0.45; CT is windowed instead.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage

from braindiffusion.errors import PackError
from braindiffusion.training.grid_data import GridData
from braindiffusion.volume.brain import find_brain, largest_component
from braindiffusion.volume.midline import Midline, estimate_midline, mirrored
from braindiffusion.volume.scan import Scan
from braindiffusion.volume.slices import brain_intensity, place

CANVAS = (224, 192)
PITCH_MM = 0.9375
MIN_BRAIN_PX = 1200
NEIGHBOUR_GAP = 2
"""Slices whose stored numbers differ by no more are neighbours."""
LESION_MARGIN_PX = 3


@dataclass
class NativeSlices(GridData):
    """Slices with what a context-conditioned model is shown.

    Attributes:
        mirror: (N,H,W) float16 in [0,1], mirrored at the mid-sagittal line. line: (N,2) float32, its angle and offset.
        neighbour: (N,H,W) float16, a slice beside; zeros where there is none. beside: (N,) bool, whether there is.
        core: (N,H,W) bool, the lesion's core where it is drawn. kind: (N,) str, the lesion's, empty where it has none:
            both given where a source names ``lesions``.
    """

    mirror: np.ndarray | None = None
    line: np.ndarray | None = None
    neighbour: np.ndarray | None = None
    beside: np.ndarray | None = None
    core: np.ndarray | None = None
    kind: np.ndarray | None = None

    def tensors(self, kinds: list[str] | None = None) -> dict[str, torch.Tensor]:
        """(N,1,H,W) planes, in half precision or bool, and (N,2) ``line``, (N,) ``beside``, ``kind`` (-1: another)."""
        planes = {k: torch.from_numpy(v)[:, None] for k, v in self.arrays().items() if v.ndim == 3}
        assert self.line is not None
        assert self.beside is not None
        out = {**planes, "line": torch.from_numpy(self.line), "beside": torch.from_numpy(self.beside)}
        if self.kind is not None and kinds:
            out["kind"] = torch.tensor([kinds.index(k) if k in kinds else -1 for k in self.kind.tolist()])
        return out


@dataclass
class _Volume:
    """One volume: (S,h,w) images in [0,1], brain, lesion and its core, and (S,) slice numbers and kinds of lesion."""

    patient: str
    split: str
    images: np.ndarray
    brain: np.ndarray
    lesion: np.ndarray
    position: np.ndarray
    core: np.ndarray | None = None
    kind: np.ndarray | None = None


def _kinds(source: dict[str, Any], label: np.ndarray | None, rows: np.ndarray) -> np.ndarray | None:
    """(S,) str, the kind of lesion of slices: one of a source, or by the pack's ``label``."""
    said = source.get("lesions")
    if said is None:
        return None
    if isinstance(said, str):
        return np.full(len(rows), said, object)
    assert label is not None
    return np.array([said.get(str(label[r]), "") for r in rows], object)


def _masks(data: dict[str, np.ndarray], key: str, width: int) -> np.ndarray:
    return np.unpackbits(data[key], axis=-1)[..., : int(data.get("width", width))].astype(bool)


def _resampled(images: np.ndarray, zoom: float, order: int) -> np.ndarray:
    if abs(zoom - 1.0) < 1e-6:
        return images
    made = [ndimage.zoom(i.astype(np.float32), zoom, order=order, mode="nearest", grid_mode=True) for i in images]
    return np.stack(made).clip(0, None)


def _brain_of(images: np.ndarray, modality: str) -> np.ndarray:
    scan = Scan(
        np.ascontiguousarray(images.transpose(2, 1, 0)), np.diag([-PITCH_MM, -PITCH_MM, 5.0, 1.0]), modality,
        {"format": "pack"},
    )  # fmt: skip
    return np.ascontiguousarray(find_brain(scan)[0].transpose(2, 1, 0))


def _stripped_brain(images: np.ndarray) -> np.ndarray:
    return np.stack([ndimage.binary_opening(ndimage.binary_fill_holes(i > 0), iterations=2) for i in images])


def _ct_brain(hu: np.ndarray) -> np.ndarray:
    """The soft tissue that bone encloses, slice by slice."""
    found = []
    for h in hu:
        bone = h >= 90
        head = ndimage.binary_fill_holes(ndimage.binary_closing(bone, iterations=3))
        inner = ndimage.binary_erosion(head & ~ndimage.binary_dilation(bone)) & (h > -10) & (h < 90)
        found.append(ndimage.binary_fill_holes(largest_component(ndimage.binary_opening(inner, iterations=2))))
    return np.stack(found)


def _scaled(images: np.ndarray, brain: np.ndarray) -> np.ndarray:
    return np.clip(brain_intensity(images, brain).forward(images), 0.0, 1.0)


def _loaded(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise PackError(
            f"There is no pack {path}.", "The recipe needs it.", "Point --data at the folder that holds it."
        )
    with np.load(path, allow_pickle=False) as held:
        return {k: held[k] for k in held.files}


def _patients(data: dict[str, np.ndarray]) -> Iterator[tuple[str, str, np.ndarray]]:
    """Name, split and rows (in order of position) of each patient of a pack."""
    if "patients" not in data:
        for row, name in enumerate(data["subject"]):
            yield str(name), str(data["split"][row]), np.array([row])
        return
    order = data["slice"] if "slice" in data else data["index"]
    for number, name in enumerate(data["patients"]):
        rows = np.nonzero(data["patient"] == number)[0]
        if len(rows):
            yield str(name), str(data["split"][number]), rows[np.argsort(order[rows], kind="stable")]


def _pack_volumes(folder: Path, source: dict[str, Any]) -> Iterator[_Volume]:
    """The volumes of a pack; ``source``: ``pack``, ``image`` (key), and what is special about it."""
    data = _loaded(folder / source["pack"])
    images = data[source["image"]]
    if "channel" in source:
        channel = data["channels"].tolist().index(source["channel"])
        images = images[:, channel]
    width, zoom = images.shape[-1], source.get("pitch_mm", PITCH_MM) / PITCH_MM
    positions = data.get("slice", data.get("index", np.zeros(len(images), int)))
    masks = _masks(data, "mask_bits", width) if "mask_bits" in data else np.zeros(images.shape, bool)
    blood = _masks(data, "blood_bits", width) if "blood_bits" in data else np.zeros_like(masks)
    masks = masks | blood
    for row in np.nonzero(data["label"] == 1)[0] if "box" in data else ():
        top, left, bottom, right = data["box"][row]
        masks[row, top:bottom, left:right] = True
    lent = _lent_planes(folder, source["brains_from"]) if "brains_from" in source else None
    for patient, split, rows in _patients(data):
        if split == "hidden":
            continue
        if lent is not None:
            rows = np.array([r for r in rows if (patient, int(positions[r])) in lent], int)
            if not len(rows):
                continue
        slices, kind = images[rows], _kinds(source, data.get("label"), rows)
        if source.get("window"):
            low, high = source["window"]
            yield _Volume(
                patient, split, np.clip((slices.astype(np.float32) - low) / (high - low), 0, 1),
                _ct_brain(slices.astype(int) + int(data["hu_offset"])), masks[rows], positions[rows], blood[rows], kind,
            )  # fmt: skip
            continue
        grey = _resampled(slices, zoom, 3)
        if lent is not None:
            pairs = [lent[patient, int(positions[r])] for r in rows]
            brain, lesion = np.stack([p[0] for p in pairs]), np.stack([p[1] for p in pairs])
        else:
            brain = _stripped_brain(grey) if source.get("stripped") else _brain_of(grey, source["modality"])
            lesion = _resampled(masks[rows].astype(np.float32), zoom, 1) > 0.5
        if brain.any():
            yield _Volume(patient, split, _scaled(grey, brain), brain, lesion, positions[rows], None, kind)


def _lent_planes(folder: Path, name: str) -> dict[tuple[str, int], tuple[np.ndarray, np.ndarray]]:
    """Brain and lesion of each (patient, slice) of another pack of the same slices."""
    data = _loaded(folder / name)
    images = next(v for k, v in data.items() if v.ndim == 3 and not k.endswith("_bits"))
    masks, planes = _masks(data, "mask_bits", images.shape[-1]), {}
    for patient, _, rows in _patients(data):
        brain = _brain_of(images[rows], "FLAIR")
        for b, row in zip(brain, rows, strict=True):
            planes[patient, int(data["slice"][row])] = (b, masks[row].copy())
    return planes


def _folder_volumes(folder: Path, source: dict[str, Any]) -> Iterator[_Volume]:
    """Volumes ``<subject>_T1.nii.gz`` with ``<subject>_brain.nii.gz`` and ``subjects.csv``."""
    from braindiffusion.io.read import read_scan

    home = folder / source["folder"]
    with (home / "subjects.csv").open(encoding="utf-8") as handle:
        subjects = list(csv.DictReader(handle))
    for row in subjects:
        scan = read_scan(home / f"{row['subject']}_T1.nii.gz")
        mask = read_scan(home / f"{row['subject']}_brain.nii.gz").voxels > 0
        p = place(scan, mask)
        every = np.arange(0, p.shape[0], int(source.get("every", 2)))
        zoom = float(np.mean(p.pitch)) / PITCH_MM
        grey = _resampled(p.to_axial(scan.voxels)[every], zoom, 3)
        brain = _resampled(p.to_axial(mask)[every].astype(np.float32), zoom, 1) > 0.5
        yield _Volume(row["subject"], row["split"], _scaled(grey, brain), brain, np.zeros_like(brain), every)


def _on_canvas(plane: np.ndarray, centre: tuple[int, int]) -> np.ndarray:
    out = np.zeros(CANVAS, plane.dtype)
    top, left = centre[0] - CANVAS[0] // 2, centre[1] - CANVAS[1] // 2
    rows = slice(max(0, top), min(plane.shape[0], top + CANVAS[0]))
    columns = slice(max(0, left), min(plane.shape[1], left + CANVAS[1]))
    out[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = plane[rows, columns]
    return out


def _centre(brain: np.ndarray) -> tuple[int, int]:
    flat = np.asarray(brain.any(0))
    rows, columns = np.nonzero(flat.any(1))[0], np.nonzero(flat.any(0))[0]
    return round((rows[0] + rows[-1] + 1) / 2), round((columns[0] + columns[-1] + 1) / 2)


def native_slices(folder: Path, sources: list[dict[str, Any]]) -> NativeSlices:
    """The slices of all sources of a recipe.

    Args:
        folder: of packs and volumes.
        sources: each with ``name`` and ``pack`` (``image``, ``modality``, ``pitch_mm``, ``stripped``, ``channel``,
            ``brains_from``, ``window``; ``lesions``: their kind, or kinds by the pack's label) or ``folder``
            (``every``). All name ``lesions``, or none does.

    Raises:
        PackError: one is missing.
    """
    found: dict[str, list[Any]] = {k: [] for k in (*GridData.__annotations__, *NativeSlices.__annotations__)}
    for source in sources:
        volumes = _folder_volumes(folder, source) if "folder" in source else _pack_volumes(folder, source)
        for volume in volumes:
            _add(found, volume, source["name"])
    arrays = {k: np.array(v) for k, v in found.items() if v}
    return NativeSlices(**arrays)


def _add(found: dict[str, list[Any]], volume: _Volume, name: str) -> None:
    keep = np.nonzero(volume.brain.sum((1, 2)) >= MIN_BRAIN_PX)[0]
    if not len(keep):
        return
    centre = _centre(volume.brain)
    images, brain, lesion = (
        np.stack([_on_canvas(v[s], centre) for s in keep]) for v in (volume.images, volume.brain, volume.lesion)
    )
    images = images.astype(np.float16)
    for n, s in enumerate(keep):
        out = ndimage.binary_dilation(lesion[n], iterations=LESION_MARGIN_PX)
        line: Midline = estimate_midline(images[n].astype(np.float32), brain[n], out)
        near = [
            m
            for m in (n - 1, n + 1)
            if 0 <= m < len(keep) and _gap(volume.position, int(keep[m]), int(s)) <= NEIGHBOUR_GAP
        ]
        values = {
            "image": images[n], "brain": brain[n], "lesion": lesion[n], "patient": volume.patient, "source": name,
            "split": volume.split, "row": int(s), "line": np.array([line.angle, line.offset], np.float32),
            "mirror": mirrored(images[n : n + 1], [line])[0].clip(0, 1).astype(np.float16),
            "neighbour": images[near[0]] if near else np.zeros_like(images[n]), "beside": bool(near),
        }  # fmt: skip
        if volume.kind is not None:
            core = np.zeros_like(volume.lesion[s]) if volume.core is None else volume.core[s] & volume.lesion[s]
            values |= {"core": _on_canvas(core, centre), "kind": str(volume.kind[s]) if lesion[n].any() else ""}
        for key, value in values.items():
            found[key].append(value)


def _gap(position: np.ndarray, a: int, b: int) -> int:
    return abs(int(position[a]) - int(position[b]))
