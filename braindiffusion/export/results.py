"""The files of a result: volumes on the scan's grid, a picture, and how it was made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from braindiffusion import NOT_FOR_DIAGNOSIS
from braindiffusion.errors import SettingsError
from braindiffusion.export.lesion_pictures import induction_overview
from braindiffusion.export.pictures import overview, saliency_picture
from braindiffusion.io.write import OutputFolder
from braindiffusion.lesions.mass_effect import in_words
from braindiffusion.pipeline.provenance import unnamed
from braindiffusion.volume.scan import Scan

if TYPE_CHECKING:
    from braindiffusion.lesions.mass_effect import MassEffect
    from braindiffusion.pipeline.heal import HealResult
    from braindiffusion.pipeline.induce import InduceResult
    from braindiffusion.pipeline.saliency import SaliencyResult


def write_volumes(
    out: OutputFolder, scan: Scan, arrays: dict[str, np.ndarray | None], provenance: dict[str, Any],
    file_format: str = "nifti", burn_in: bool = False,
) -> None:  # fmt: skip
    """Write the arrays (I,J,K) of a result, by name; those that are ``None`` are left out.

    Args:
        file_format: ``nifti``, ``nrrd`` or ``dicom``.
        burn_in: DICOM: draw the synthetic mark into the images.

    Raises:
        OutputError: the folder cannot be written.
    """
    if file_format == "dicom":
        from braindiffusion.export.dicom_result import write_dicom
        from braindiffusion.export.dicom_source import source_of

        write_dicom(out, scan, arrays, provenance, source=source_of(scan), burn_in=burn_in)
        return
    for name, voxels in arrays.items():
        if voxels is not None:
            out.volume(name, voxels, scan, file_format=file_format, description=f"{NOT_FOR_DIAGNOSIS}: {name}")


def provenance_of(facts: dict[str, Any], file_format: str) -> dict[str, Any]:
    """The record to be written: beside DICOM, which names nobody, it does not name the scan's file or folder either."""
    return unnamed(facts) if file_format == "dicom" else facts


def _moved(effect: MassEffect | None) -> dict[str, np.ndarray | None]:
    """The scan as displaced, how far what is there now was moved, and the borders of the ventricles in the slices."""
    if effect is None:
        return {}
    return {"displaced": effect.voxels, "displacement_mm": effect.way, "displaced_outline": effect.outline}


def write_result(
    folder: Path, scan: Scan, result: HealResult, file_format: str = "nifti", burn_in: bool = False
) -> None:
    """Write all files of a healing, together or not at all.

    Args:
        file_format, burn_in: as for :func:`write_volumes`.

    Raises:
        OutputError: the folder cannot be written.
    """
    maps: dict[str, np.ndarray | None] = {
        "counterfactual": result.counterfactual,
        "anomaly": result.anomaly.astype(np.float32),
        "lesion": result.lesion.astype(np.uint8),
        "mask": result.mask.astype(np.uint8),
        "edited": result.edited.astype(np.uint8),
        "saliency": result.saliency.astype(np.float32),
        "deviation": result.deviation,
        "agreement": result.agreement,
        **_moved(result.mass_effect),
    }
    method, models = result.provenance["method"], result.provenance["models"]
    title = ", ".join(filter(None, (method["name"], method["settings"].get("fusion"), models[0]["name"])))
    with OutputFolder(folder) as out:
        write_volumes(out, scan, maps, result.provenance, file_format, burn_in)
        if result.mass_effect is not None:
            title += f"\n{in_words(result.mass_effect.figures)}"
        overview(scan, result, out.file("overview.png"), title)
        out.json("provenance", provenance_of(result.provenance, file_format))


def write_induction(
    folder: Path, scan: Scan, result: InduceResult, file_format: str = "nifti", burn_in: bool = False
) -> None:
    """Write all files of an induction, together or not at all; arguments and errors as :func:`write_result`."""
    maps: dict[str, np.ndarray | None] = {
        "diseased": result.diseased,
        "lesion": result.lesion.astype(np.uint8),
        "generate_mask": result.generate_mask.astype(np.uint8),
        "edited": result.edited.astype(np.uint8),
        "difference": result.difference,
        "deviation": result.deviation,
        **_moved(result.mass_effect),
    }
    method, models = result.provenance["method"], result.provenance["models"]
    size = f"{result.effects['lesion_ml']:.1f} mL"
    with OutputFolder(folder) as out:
        write_volumes(out, scan, maps, result.provenance, file_format, burn_in)
        title = ", ".join((method["name"], method["kind"], size, models[0]["name"]))
        if result.mass_effect is not None:
            title += f"\n{in_words(result.mass_effect.figures)}"
        induction_overview(scan, result, out.file("overview.png"), title)
        out.json("effects", result.effects)
        out.json("provenance", provenance_of(result.provenance, file_format))


def write_saliency(
    folder: Path, scan: Scan, found: SaliencyResult, file_format: str = "nifti", burn_in: bool = False
) -> None:
    """Write the map, its picture and its record, together or not at all.

    Raises:
        OutputError: the folder cannot be written; SettingsError: DICOM, and the mark in its images, are for results.
    """
    if burn_in or file_format == "dicom":
        raise SettingsError(
            "A saliency map is not written as DICOM.", "DICOM is for results.", "Choose nifti or nrrd, without burn_in."
        )
    description = f"{NOT_FOR_DIAGNOSIS}: saliency"
    with OutputFolder(folder) as out:
        out.volume("saliency", found.saliency, scan, file_format=file_format, description=description)
        saliency_picture(scan, found, out.file("overview.png"))
        out.json("provenance", found.provenance)
