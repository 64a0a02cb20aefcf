"""All hostile inputs."""

from __future__ import annotations

import hostile_case  # first: it tells where the helpers of the other tests lie
import hostile_dicom
import hostile_files
import hostile_itk
import hostile_masks
import hostile_messages
import hostile_models
import hostile_nifti
import hostile_packs
import hostile_studies

PARTS = (
    hostile_nifti,
    hostile_itk,
    hostile_files,
    hostile_dicom,
    hostile_masks,
    hostile_packs,
    hostile_models,
    hostile_studies,
    hostile_messages,
)


def corpus() -> list[hostile_case.Case]:
    """Every input, each with a name of its own."""
    out = [case for part in PARTS for case in part.cases()]
    names = [str(case) for case in out]
    assert len(set(names)) == len(names), "two inputs have one name"
    return out
