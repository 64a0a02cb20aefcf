"""The regions a healing changed: each with its volume and place, each kept or dropped by a click.

A region is a connected part of what was edited. Dropping one puts the scan's own voxels back there; the figures and
the record follow. As long as the viewer runs, a dropped region can be taken back.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from BrainCounterfactualCommon.scene import masks, volumes
from BrainCounterfactualCommon.scene.results import PROVENANCE

MIDLINE_MM = 5.0
BASE_SHARE = 0.2
"""The lowest part of a head, where eye sockets and skull base are taken for lesions most often."""


@dataclass
class Whole:
    """What a healing changed before anything was dropped: (k,j,i) arrays; ``labels`` counts its regions from 1."""

    labels: np.ndarray
    healed: np.ndarray
    lesion: np.ndarray
    mask: np.ndarray


class Regions:
    """The regions of results. Kept in memory: a result that was opened from a file has only those it shows."""

    def __init__(self) -> None:
        self._whole: dict[str, Whole] = {}
        self._dropped: dict[str, set[int]] = {}

    def of(self, result: Any) -> list[dict[str, Any]]:
        """The regions, largest first, as the page shows them."""
        whole, volume = self._of(result), result.volumeNode
        dropped = self._dropped[result.node.GetID()]
        axis = 2 - volumes.axialAxis(volumes.ijkToRas(volume))[0]
        voxel_ml, to_world = volumes.voxelVolumeMl(volume), volumes.ijkToWorld(volume)
        middle = volumes.sliceCenter(volume, 0)[0]
        found = []
        for number, box in enumerate(ndimage.find_objects(whole.labels), 1):
            inside = whole.labels[box] == number
            ml = float((whole.lesion[box] & inside).sum()) * voxel_ml
            kji = np.argwhere(inside).mean(0) + [part.start for part in box]
            place = (to_world @ np.append(kji[::-1], 1.0))[:3]
            ends = sorted(volumes.stackIndex(volume, at) + 1 for at in (box[axis].start, box[axis].stop - 1))
            planes = (whole.lesion[box] & inside).any(tuple(a for a in range(3) if a != axis))
            found.append(
                {
                    "id": number,
                    "ml": round(ml, 2),
                    "kept": number not in dropped,
                    "point": [round(float(value), 2) for value in place],
                    "slices": f"slice {ends[0]}" if ends[0] == ends[1] else f"slices {ends[0]}-{ends[1]}",
                    "side": side_of(place[0] - middle),
                    "slice": int(box[axis].start + int(np.argmax(planes))),
                    "note": self._note(ends, volumes.sliceCount(volume)),
                }
            )
        return sorted(found, key=lambda region: -region["ml"])

    @staticmethod
    def _note(ends: list[int], count: int) -> str:
        """What speaks against a region, from where it lies."""
        return "skull base: look twice" if ends[1] <= max(1, round(BASE_SHARE * count)) else ""

    def _of(self, result: Any) -> Whole:
        key = result.node.GetID()
        if key not in self._whole:
            volume = result.volumeNode
            mask = masks.arrayOf(result.maskNode, volume)
            lesion = masks.arrayOf(result.lesionNode, volume)
            labels, _count = ndimage.label(mask, np.ones((3, 3, 3), bool))
            self._whole[key] = Whole(labels, np.array(volumes.voxels(result.node)), lesion, mask)
            self._dropped[key] = set()
        return self._whole[key]

    def forget(self, result: Any) -> None:
        """A result is removed."""
        for kept in (self._whole, self._dropped):
            kept.pop(result.node.GetID(), None)

    def turn(self, result: Any, number: int) -> None:
        """Drop a region that is kept, or take it back."""
        whole = self._of(result)
        self._dropped[result.node.GetID()] ^= {int(number)}
        self._write(result, whole, sorted(self._dropped[result.node.GetID()]))

    def _write(self, result: Any, whole: Whole, dropped: list[int]) -> None:
        volume = result.volumeNode
        out = np.isin(whole.labels, dropped)
        original = volumes.voxels(volume)
        put(result.node, np.where(out, original, whole.healed))
        if result.differenceNode is not None:
            put(result.differenceNode, np.where(out, 0, whole.healed.astype(np.float32) - original))
        lesion = whole.lesion & ~out
        for node, mask in ((result.lesionNode, lesion), (result.maskNode, whole.mask & ~out)):
            segment = node.GetSegmentation().GetNthSegmentID(0)
            masks.setSegmentArray(mask, node, segment, volume)
        self._record(result, whole, lesion, dropped)

    @staticmethod
    def _record(result: Any, whole: Whole, lesion: np.ndarray, dropped: list[int]) -> None:
        """Volume, slices and provenance, as they are now."""
        volume = result.volumeNode
        axis = 2 - volumes.axialAxis(volumes.ijkToRas(volume))[0]
        others = tuple(a for a in range(3) if a != axis)
        voxel_ml = volumes.voxelVolumeMl(volume)
        pixel_mm2 = 1000.0 * voxel_ml / float(np.linalg.norm(volumes.ijkToRas(volume)[:3, 2 - axis]))
        ml = round(float(lesion.sum()) * voxel_ml, 3)
        areas, edited = lesion.sum(others) * pixel_mm2, whole.mask & ~np.isin(whole.labels, dropped)
        touched, was = np.asarray(edited.any(others)), np.asarray(whole.mask.any(others))
        rows = []
        for row in result.slices:
            at = row["index"]
            if touched[at]:
                row = {**row, "lesion_mm2": round(float(areas[at]), 1)}
            elif was[at]:
                row = {**row, "lesion_mm2": None, "mask_mm2": 0.0}
            rows.append(row)
        result.tell("Slices", rows)
        result.tell("Summary", {**result.summary, "lesion_ml": ml})
        told = [
            {"lesion_ml": round(float((whole.lesion & (whole.labels == n)).sum()) * voxel_ml, 3), "region": n}
            for n in dropped
        ]
        record = json.dumps({**result.provenance, "lesion_ml": ml, "regions_dropped_by_user": told})
        for node in result.nodes():
            node.SetAttribute(PROVENANCE, record)


def side_of(x_mm: float) -> str:
    """The patient's side of a place, from its distance to the middle in mm (x grows to the right)."""
    return "midline" if abs(x_mm) < MIDLINE_MM else "right" if x_mm > 0 else "left"


def put(node: Any, array: np.ndarray) -> None:
    """Replace a volume's voxels by a (k,j,i) array, in the volume's own type."""
    voxels = volumes.voxels(node)
    voxels[...] = array.astype(voxels.dtype)
    node.GetImageData().GetPointData().GetScalars().Modified()
    node.GetImageData().Modified()
    node.Modified()
