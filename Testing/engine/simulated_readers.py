"""Three readers of known bias, and the studies they read."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import study_helpers
from BrainReaderStudyLib import answerlog
from scipy.stats import norm

from braindiffusion.studies.create import create_study
from braindiffusion.studies.design import StudySettings
from braindiffusion.studies.protocol import load_protocol

METHODS = ("mededit", "naive", "palette", "sdedit")
SUBJECTS = tuple(f"sub{i:02d}" for i in range(20))
READERS = ("A", "B", "C")
LEVEL = {"real": 3.0, "mededit": 3.0, "sdedit": 2.4, "palette": 1.9, "naive": 1.2}
"""Where each method lies on the readers' scale of realism; MedEdit's cases are as good as real ones."""
LEANING = {"A": 0.0, "B": 0.4, "C": -0.4}
SPREAD = math.sqrt(0.3**2 + 0.4**2 + 0.5**2)
"""Of a grade before rounding: subject, case, reading."""


class Readers:
    """Three readers who see realism with a leaning of their own and some noise."""

    def __init__(self, seed: int) -> None:
        self.rng, self.known = np.random.default_rng(seed), {}  # type: ignore[var-annotated]

    def seen(self, reader: str, label: dict[str, Any]) -> float:
        """How real a case looks to a reader this time."""
        subject = self.known.setdefault(label["subject"], self.rng.normal(0, 0.3))
        case = self.known.setdefault((label["subject"], label["method"]), self.rng.normal(0, 0.4))
        return float(LEVEL[label["method"]] + LEANING[reader] + subject + case + self.rng.normal(0, 0.5))

    def realism(self, reader: str, label: dict[str, Any], showing: int) -> dict[str, Any]:
        """A grade from 0 to 4."""
        return {"realism": int(np.clip(round(self.seen(reader, label)), 0, 4))}

    def confidence(self, reader: str, label: dict[str, Any], showing: int) -> dict[str, Any]:
        """A grade from 1, surely real, to 6."""
        return {"confidence": int(np.clip(round(6 - 1.25 * self.seen(reader, label)), 1, 6))}

    def choice(self, reader: str, label: dict[str, Any], showing: int) -> dict[str, Any]:
        """Right in 50 % (A), 65 % (B), 85 % (C) of all pairs."""
        right = self.rng.random() < {"A": 0.5, "B": 0.65, "C": 0.85}[reader]
        other = "left" if label["side"] == "right" else "right"
        return {"synthetic_side": label["side"] if right else other, "confidence": 2}


def expected(level: float, low: int, high: int, scale: float = 1.0) -> np.ndarray:
    """Probability of each grade when a normal value of that mean is rounded and clipped."""
    cuts = norm.cdf((np.arange(low, high) + 0.5 - level) / (SPREAD * scale))
    return np.diff(np.concatenate([[0], cuts, [1]]))


@contextmanager
def without_flushing() -> Iterator[None]:
    """Answers are written, and left to the system."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(answerlog.os, "fsync", lambda handle: None)
        yield


def scans_of_methods(base: Path) -> Path:
    """20 real scans, and 20 of each of four methods on the same subjects."""
    for k, method in enumerate(("real", *METHODS)):
        names = SUBJECTS if method != "real" else [f"r{i:02d}" for i in range(20)]
        study_helpers.scans(base / method, names, k, shape=(3, 4, 2))
    return base


def seal(folders: Path, out: Path, protocol: str, **settings: Any) -> Path:
    return create_study(
        folders / "real", {m: folders / m for m in METHODS}, load_protocol(protocol), out,
        StudySettings(**{"readers": READERS, "seed": 11, "face": "keep", **settings}),
    ).study  # fmt: skip


def read_by_all(study: Path) -> Path:
    """100 cases and 10 repeats graded by three readers, A in three sittings. Not unblinded: copy it."""
    readers = Readers(5)
    for reader in READERS:
        while study_helpers.read(study, reader, readers.realism, most=37 if reader == "A" else None):
            pass
    return study


def copied(study: Path, folder: Path) -> Path:
    """The study and its key, to be used up."""
    shutil.copytree(study, folder / study.name)
    shutil.copy(study.parent / f"{study.name}-key.json", folder)
    return folder / study.name
