"""A healing or an induction as DICOM: one study, a series for each volume, the masks in one Segmentation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from braindiffusion.errors import OutputError
from braindiffusion.export.dicom import Label, Study
from braindiffusion.export.dicom_masks import Segment, write_masks
from braindiffusion.export.dicom_source import Source
from braindiffusion.io.write import OutputFolder
from braindiffusion.volume.scan import Scan

if TYPE_CHECKING:
    from pydicom import Dataset

IMAGES = {"counterfactual": "healed counterfactual", "diseased": "induced lesion", "healed": "induced lesion, healed"}
MAPS = {"anomaly": "anomaly map", "saliency": "saliency map", "deviation": "uncertainty", "agreement": "agreement"}
MASKS = {
    "lesion": ("lesion", True, (230, 50, 60)),
    "mask": ("healed region", False, (0, 200, 220)),
    "edited": ("edited region", False, (240, 200, 0)),
    "generate_mask": ("region free to change", False, (0, 200, 220)),
}
CHANGES = {
    1: ("change inside the lesion", (255, 90, 25)), 2: ("change around the lesion", (25, 190, 255)),
    3: ("change by displacement", (120, 220, 60)),
}  # fmt: skip
"""Labels of an induction's ``difference``."""
FOLDERS = {*IMAGES, *MAPS, *MASKS, "masks", *(f"change_{value}" for value in CHANGES)}


def check_unused(folder: Path) -> None:
    """Refuse a folder that holds DICOM series already: files of two series in one folder are no scan any more.

    Raises:
        OutputError: it does.
    """
    used = sorted(name for name in FOLDERS if (folder / name).is_dir() and any((folder / name).iterdir()))
    if used:
        raise OutputError(
            f"{folder} holds an earlier export.", f"{', '.join(used)} would be mixed with it.", "Choose a new folder."
        )


def derivation(provenance: dict[str, Any]) -> str:
    """How a result was made, in two sentences, from its provenance record."""
    settings, software = provenance.get("settings") or {}, provenance.get("software") or {}
    models = ", ".join(
        f"{model.get('name')} (SHA-256 {str(model.get('sha256'))[:16]})" for model in provenance.get("models") or []
    )
    task = {"heal": "healing", "induce": "induction of a lesion"}.get(str(provenance.get("task")), "image synthesis")
    parts = [f"braindiffusion {software.get('braindiffusion', '')}".strip(), f"method {settings.get('method')}"]
    parts += [f"models {models}"] if models else []
    parts += [f"seed {settings.get('seed')}"]
    return (
        f"Inside the edited region the voxels were painted by a generative network: {task}; {'; '.join(parts)}. "
        "Outside it they are those of the source."
    )


def write_dicom(
    out: OutputFolder, scan: Scan, arrays: dict[str, np.ndarray | None], provenance: dict[str, Any], *,
    source: Source | None = None, burn_in: bool = False,
) -> None:  # fmt: skip
    """Write a result's arrays (I,J,K), named as in a result's folder, as DICOM series into ``out``.

    Args:
        source: the series the scan came from, where it was DICOM.
        burn_in: draw the synthetic mark into a corner of every image.

    Raises:
        OutputError, ScanGeometryError.
    """
    study = Study(scan, source, burn_in=burn_in)
    how = derivation(provenance)
    present = {name: array for name, array in arrays.items() if array is not None}
    modality = f" {scan.modality}" if scan.modality else ""
    number = 1
    images: list[Dataset] = []
    for name, what in (IMAGES | MAPS).items():
        if name not in present or not (name in IMAGES or present[name].any()):
            continue
        label = Label(what + modality, how, flavour=None if name in IMAGES else name.upper())
        written = study.write(out.file, name, number, present[name], label)
        images, number = images or written, number + 1
    segments = {name: Segment(present[name], *about) for name, about in MASKS.items() if name in present}
    if "difference" in present and "diseased" in present:
        for value, (what, colour) in CHANGES.items():
            if value > 2 and not (present["difference"] == value).any():
                continue
            segments[f"change_{value}"] = Segment(present["difference"] == value, what, False, colour)
    write_masks(study, out.file, number, segments, images, how)
