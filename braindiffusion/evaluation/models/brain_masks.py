"""Brain masks measured: whole subjects of known masks, stripped scans and heads made from them, and pictures."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage

from braindiffusion.evaluation.metrics.overlap import bootstrap_interval
from braindiffusion.evaluation.models.aligned import carried
from braindiffusion.evaluation.models.data import Bench, Finding, cpu_seconds, images_of, in_parts, rounded, spread
from braindiffusion.evaluation.models.figures import outlines_figure
from braindiffusion.io.read import read_scan
from braindiffusion.models.registry import load_model
from braindiffusion.volume.brain import find_brain, largest_component, network_brain
from braindiffusion.volume.scan import Scan
from braindiffusion.volume.slices import background_level, place

PRODUCT = "brain-mask"
STRIPPED = ("fg6692_FLAIR_brain.nii.gz", "du7294_FLAIR_brain.nii.gz")
PICTURED = (
    "oms01_FLAIR.nii.gz", "oms01_T1W.nii.gz", "oms01_T2W.nii.gz", "oms12_FLAIR.nii.gz", "oms12_T1W.nii.gz",
    "oms12_T2W.nii.gz", "rorden_stroke_T2.nii.gz", "m2265_T2w_LIA.nii.gz", "fg6692_T1Gd_raw.nii.gz",
)  # fmt: skip
SHOWN_COLUMNS = slice(14, 114)
DEFINITIONS = {
    "whole_head": "Dice of the whole volume on the scan's own voxels, after all steps of use (network, smoothing, "
    "largest piece, holes filled); mean over subjects, interval: 95 % percentile bootstrap over subjects",
    "stripped": "the same for the same scans with everything outside the known brain set to 0",
    "in_use": "the mask the program goes on with: of a scan it takes for stripped, the scan's own support",
    "slices_pooled": "the network alone on its grid, every second slice, all pixels of the split together",
    "support": "Dice of a brain-extracted scan's mask (network, all steps) with the filled support of that scan",
    "raw_head": "the raw scan of the same visit (real head, 5.5 mm slices): Dice with the support carried over by "
    "rigid registration; raw_head_correlation: of the two scans inside it, telling how well they were brought together",
    "synthetic_head": "the same brain inside a head made by formula (fluid, dark bone, bright scalp, noise): a "
    "caricature without neck, face and sinuses",
    "known_masks": "IXI's masks are themselves automatic, and made at 2 mm",
    "cpu_seconds_per_slice": "one network call, batch of 8, fastest of 5, float32",
}


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """Overlap of two masks; NaN when both are empty."""
    both = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / both if both else float("nan")


def support(scan: Scan) -> np.ndarray:
    """(I,J,K) bool: what a brain-extracted scan shows, holes of every axial slice filled."""
    p = place(scan)
    body = largest_component(p.to_axial(scan.voxels) > background_level(scan.voxels))
    return np.ascontiguousarray(p.from_axial(np.stack([ndimage.binary_fill_holes(s) for s in body])))


def with_head(scan: Scan, brain: np.ndarray, seed: int = 0) -> Scan:
    """A whole head around a stripped brain: its hull filled with fluid, dark bone, bright scalp, noise.

    The hull is the brain closed by 20 mm; bone reaches 9 mm and scalp 16 mm beyond, each wavering by about 1 mm. The
    volume is widened by 40 mm on all sides. Fluid, bone and scalp have 0.25, 0.12 and 1.1 of the brain's median.
    """
    rng = np.random.default_rng(seed)
    spacing = scan.spacing
    pad = [(int(np.ceil(40.0 / s)),) * 2 for s in spacing]
    inside = np.pad(brain, pad)
    zero = background_level(scan.voxels)
    level = float(np.median(scan.voxels[brain])) - zero
    voxels = np.pad(np.where(brain, scan.voxels - zero, 0).astype(np.float32), pad)
    near = ndimage.distance_transform_edt(~inside, sampling=spacing) <= 20.0
    hull = inside | (ndimage.distance_transform_edt(near, sampling=spacing) > 20.0)
    away = ndimage.distance_transform_edt(~hull, sampling=spacing)
    coarse = rng.normal(0, 1.0, (9, 9, 9))
    waver = ndimage.zoom(coarse, np.array(inside.shape) / 9, order=1)
    away = away + np.where(away > 0, waver, 0)
    voxels[hull & ~inside] = 0.25 * level
    voxels[~hull & (away <= 9)] = 0.12 * level
    voxels[~hull & (away > 9) & (away <= 16)] = 1.1 * level
    voxels = np.where(inside, voxels, ndimage.gaussian_filter(voxels, 0.5 / spacing))
    noise = rng.normal(0, 0.03 * level, (2, *voxels.shape)).astype(np.float32)
    affine = scan.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ np.array([n for n, _ in pad])
    return Scan(np.hypot(voxels + noise[0], noise[1]), affine, scan.modality, {"format": "synthetic"})


def subjects(folder: Path, split: str, limit: int | None) -> list[tuple[str, Scan, np.ndarray]]:
    """Name, scan and known brain of the subjects of a split."""
    with (folder / "subjects.csv").open(encoding="utf-8") as handle:
        names = [row["subject"] for row in csv.DictReader(handle) if row["split"] == split]
    out = []
    for name in [names[i] for i in spread(len(names), limit)]:
        brain = read_scan(folder / f"{name}_brain.nii.gz").voxels > 0
        out.append((name, read_scan(folder / f"{name}_T1.nii.gz"), brain))
    return out


def _on_subjects(bench: Bench, folder: Path) -> tuple[dict[str, Any], list[Any]]:
    """Whole and stripped, by the network and in use, for each subject of the split."""
    per: dict[str, dict[str, list[float]]] = {how: {"network": [], "in_use": []} for how in ("whole_head", "stripped")}
    rows: list[Any] = []
    for name, scan, brain in subjects(folder, bench.split, bench.limit):
        for how, values in per.items():
            shown = scan if how == "whole_head" else Scan(np.where(brain, scan.voxels, 0), scan.affine, "T1", {})
            found = _by_network(shown, bench)
            values["network"].append(dice(found, brain))
            values["in_use"].append(dice(find_brain(shown, device=str(bench.device))[0], brain))
            if len(rows) < 2:
                title = (
                    f"{name} (IXI T1, {bench.split}, {how}): known green, found red, Dice {values['network'][-1]:.3f}"
                )
                rows.append(_row(shown, title, [(brain, "lime"), (found, "red")]))
    numbers = {how: {kind: _over(values) for kind, values in kinds.items()} for how, kinds in per.items()}
    return numbers, rows


def _by_network(scan: Scan, bench: Bench) -> np.ndarray:
    found = network_brain(scan, str(bench.device))
    assert found is not None, "the model that is measured is installed"
    return found


def _over(values: list[float]) -> dict[str, Any]:
    return {
        "subjects": len(values), "dice": float(np.mean(values)), "lowest": float(np.min(values)),
        "dice_interval": list(bootstrap_interval(np.array(values))),
    }  # fmt: skip


def _row(scan: Scan, title: str, masks: list[tuple[np.ndarray, str]], n: int = 10) -> Any:
    """Axial slices on the 240 mm grid, with masks, spread over the head."""
    union = np.any([m for m, _ in masks], axis=0)
    p = place(scan, union if union.any() else None, 128)
    there = np.nonzero(p.to_axial(union).any((1, 2)))[0]
    there = there if len(there) else np.arange(p.shape[0])
    pick = there[np.linspace(1, max(1, len(there) - 2), n).round().astype(int) % len(there)]
    planes = p.down(p.to_axial(scan.voxels)[pick])[..., SHOWN_COLUMNS]
    low = background_level(scan.voxels)
    high = float(np.percentile(planes[planes > low], 99.5)) if (planes > low).any() else low + 1.0
    shown = [(p.down(p.to_axial(m)[pick])[..., SHOWN_COLUMNS] > 0.5, colour) for m, colour in masks]
    return title, np.clip((planes - low) / (high - low), 0, 1), shown


def _on_volumes(bench: Bench, folder: Path) -> tuple[dict[str, Any], list[Any]]:
    """Brain-extracted volumes and the heads made from them; pictures of heads of other contrasts."""
    numbers: dict[str, Any] = {"support": {}, "synthetic_head": {}}
    rows: list[Any] = []
    for file in [f for f in STRIPPED if (folder / f).is_file()][: bench.limit]:
        scan, name = read_scan(folder / file), file.split("_")[0]
        known = support(scan)
        head = with_head(scan, known)
        pad = [((a - b) // 2,) * 2 for a, b in zip(head.voxels.shape, known.shape, strict=True)]
        for kind, shown, brain in (("support", scan, known), ("synthetic_head", head, np.pad(known, pad))):
            found = _by_network(shown, bench)
            numbers[kind][name] = dice(found, brain)
            title = f"{name} FLAIR, {kind.replace('_', ' ')}: known green, found red, Dice {numbers[kind][name]:.3f}"
            rows.append(_row(shown, title, [(brain, "lime"), (found, "red")]))
        raw = folder / file.replace("_brain", "_raw")
        if raw.is_file():
            whole = read_scan(raw)
            carried_over, correlation = carried(scan, known, whole)
            found = _by_network(whole, bench)
            numbers.setdefault("raw_head", {})[name] = dice(found, carried_over)
            numbers.setdefault("raw_head_correlation", {})[name] = correlation
            title = f"{name} raw FLAIR: carried over green, found red, Dice {numbers['raw_head'][name]:.3f}"
            rows.append(_row(whole, title, [(carried_over, "lime"), (found, "red")]))
    for file in [f for f in PICTURED if (folder / f).is_file()][: bench.limit]:
        scan = read_scan(folder / file)
        found, origin = find_brain(scan, device=str(bench.device))
        litres = float(found.sum() * np.prod(scan.spacing)) / 1e6
        numbers.setdefault("litres", {})[file.split(".")[0]] = litres
        rows.append(_row(scan, f"{file.split('.')[0]} ({origin}), {litres:.2f} L", [(found, "red")]))
    return {k: v for k, v in numbers.items() if v}, rows


def evaluate_brain_mask(bench: Bench, picture: Path) -> Finding:
    """A brain mask: the network on its grid; the shipped one also as it is used, on whole scans."""
    part = bench.part.select(spread(len(bench.part.image), None if bench.limit is None else 10 * bench.limit))
    p = in_parts(bench.model.network, images_of(part), bench.device)[:, 0].numpy() > 0
    numbers: dict[str, Any] = {"slices_pooled": dice(p, part.brain)}
    pick = spread(len(p), 10)
    rows: list[Any] = [
        ("on the network's grid", part.image[pick].astype(np.float32), [(part.brain[pick], "lime"), (p[pick], "red")])
    ]
    headline = f"Dice {numbers['slices_pooled']:.3f} (slices, pooled)"
    home = bench.folder / _volume_folder(bench)
    if bench.model.name == PRODUCT and home.is_dir():
        found, rows = _on_subjects(bench, home)
        numbers |= found
        whole = found["whole_head"]["network"]
        low, high = whole["dice_interval"]
        headline = f"Dice {whole['dice']:.4f} ({low:.4f}-{high:.4f}), {whole['subjects']} heads"
        more, pictures = _on_volumes(bench, bench.folder / "volumes")
        numbers |= more
        rows += pictures
    outlines_figure(picture, f"{bench.model.name}, split {bench.split}", rows)
    network, few = load_model(bench.model.name, "cpu").network, images_of(part, np.arange(min(8, len(part.image))))
    with torch.no_grad():
        timing = cpu_seconds(lambda: network(few), len(few))
    return Finding(rounded({**numbers, **timing}), DEFINITIONS, headline)


def _volume_folder(bench: Bench) -> str:
    from braindiffusion.evaluation.models.data import recipe_of

    return str(recipe_of(bench.card, bench.folder)["data"].get("folder", "none"))
