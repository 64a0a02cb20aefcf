"""Folders of small scans for studies, and readers who answer by a rule through BrainReaderStudy's own session."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813

ROOT = Path(__file__).resolve().parents[2]
for _folder in (ROOT, ROOT / "BrainReaderStudy"):
    if str(_folder) not in sys.path:
        sys.path.insert(0, str(_folder))

from BrainReaderStudyLib.session import Session, openStudy  # noqa: E402

from BrainCounterfactualCommon.host import Problem  # noqa: E402

__all__ = ["AFFINE", "Problem", "key_of", "read", "save", "scans"]
Rule = Callable[[str, dict[str, Any], int], dict[str, Any]]
"""(reader, what the key says of the case, showing) -> answers."""
AFFINE = np.diag([-1.0, 1.2, 4.0, 1.0])


def save(path: Path, voxels: np.ndarray, affine: np.ndarray = AFFINE, **meta: str) -> Path:
    """A NIfTI file of voxels (I,J,K) with further header texts."""
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    image = sitk.GetImageFromArray(np.ascontiguousarray(voxels.T))
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    for name, text in meta.items():
        image.SetMetaData(name, text)
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))
    return path


def scans(
    folder: Path, names: Iterable[str], seed: int, lesion: bool = False, shape: tuple[int, int, int] = (8, 9, 3)
) -> Path:
    """A folder of random scans, with a changed region beside each where asked."""
    rng = np.random.default_rng(seed)
    for name in names:
        save(folder / f"{name}.nii.gz", rng.integers(0, 900, shape).astype(np.int16))
        if lesion:
            mask = np.zeros(shape, np.uint8)
            mask[2:5, 3:6, 1] = 1
            save(folder / f"{name}_lesion.nii.gz", mask)
    return folder


def key_of(study: Path) -> dict[str, Any]:
    """The key beside a study."""
    return dict(json.loads((study.parent / f"{study.name}-key.json").read_text()))


def read(study: Path, reader: str, rule: Rule, most: int | None = None, seconds: float = 5.0) -> int:
    """One sitting of a reader who answers by a rule; ends after ``most`` cases. Returns how many were answered."""
    labels = key_of(study)["cases"]
    opened = openStudy(study)
    now = [0.0]
    session = Session(opened, reader, "simulation 1", clock=lambda: now[0])
    order, done = opened.readers[reader], 0
    while not session.finished and (most is None or done < most):
        case = session.current
        session.shown()
        now[0] += seconds
        showing = 1 + (case.case in order[: case.position - 1])
        session.record(rule(reader, labels[case.case], showing), tools={"scroll": 3})
        done += 1
    session.close()
    return done
