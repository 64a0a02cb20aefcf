"""Small studies to seal, and what lies in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import study_helpers

from braindiffusion.studies.create import CreatedStudy, create_study
from braindiffusion.studies.design import StudySettings
from braindiffusion.studies.protocol import load_protocol

NAMES = tuple(f"sub{i:02d}" for i in range(6))


def scans_of_methods(base: Path) -> dict[str, Path]:
    """Six scans of each of two methods, real ones and priors."""
    return {
        "real": study_helpers.scans(base / "real", (f"r{i}" for i in range(6)), 0),
        "mededit": study_helpers.scans(base / "mededit", NAMES, 1, lesion=True),
        "palette": study_helpers.scans(base / "palette", NAMES, 2, lesion=True),
        "prior": study_helpers.scans(base / "prior", NAMES, 3),
    }


def seal(folders: dict[str, Path], out: Path, protocol: str = "realism", **settings_given: Any) -> CreatedStudy:
    loaded = load_protocol(protocol)
    methods = {m: folders[m] for m in ("mededit", "palette")}
    return create_study(
        folders["real"] if "real" in loaded.cases else None, methods, loaded, out,
        StudySettings(**{"repeats": 2, "seed": 1, "readers": ("R1", "R2"), "face": "keep", **settings_given}),
        priors=folders["prior"] if loaded.show == "with_prior" else None,
    )  # fmt: skip


def of(study: CreatedStudy) -> tuple[dict[str, Any], dict[str, Any]]:
    """study.json and the key."""
    return json.loads((study.study / "study.json").read_text()), json.loads(study.key.read_text())
