"""A small sealed study made by hand, as docs/study_format.md says, without the engine: for those who show studies."""

from __future__ import annotations

import gzip
import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

SHAPE = (24, 28, 9)
GRADES = [{"value": v, "label": f"grade {v}", "definition": f"what {v} means"} for v in range(5)]
REALISM = {"id": "realism", "prompt": "How real?", "type": "grades", "grades": GRADES, "required": True}
COMMENT = {"id": "comment", "prompt": "Remarks", "type": "text", "required": False, "definition": "A few words."}
PLACE = {"id": "place", "prompt": "Where?", "type": "mark", "max_points": 1, "definition": "The middle of it."}
SIDE = {
    "id": "side",
    "prompt": "Which is synthetic?",
    "type": "choice",
    "options": [{"value": v, "label": v, "definition": f"The {v} one."} for v in ("left", "right")],
}
ROLES = {"single": ("scan",), "with_prior": ("scan", "prior"), "pair": ("left", "right")}
WINDOW = (20000.0, 12000.0)


def save_nifti(path: Path, voxels: np.ndarray, spacing: tuple[float, float, float] = (3.0, 3.0, 5.0)) -> None:
    """An int16 NIfTI-1 file of voxels (I,J,K), straight axes, centred."""
    corner = [-(n - 1) / 2 * s for n, s in zip(voxels.shape, spacing, strict=True)]
    head = bytearray(348)
    struct.pack_into("<i", head, 0, 348)
    struct.pack_into("<8h", head, 40, 3, *voxels.shape, 1, 1, 1, 1)
    struct.pack_into("<2h", head, 70, 4, 16)
    struct.pack_into("<8f", head, 76, 1, *spacing, 0, 0, 0, 0)
    struct.pack_into("<3f", head, 108, 352, 1, 0)
    head[123] = 2  # mm
    struct.pack_into("<h", head, 254, 1)
    for row in range(3):
        line = [0.0, 0.0, 0.0, corner[row]]
        line[row] = spacing[row]
        struct.pack_into("<4f", head, 280 + 16 * row, *line)
    head[344:348] = b"n+1\0"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(bytes(head) + b"\0" * 4 + voxels.astype("<i2").tobytes(order="F"), mtime=0))


def head_like(seed: int, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """An ellipsoid with a bright spot, int16 0-32767."""
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    inside = sum(a**2 for a in axes) < 0.9
    spot = sum((a - c) ** 2 for a, c in zip(axes, rng.uniform(-0.4, 0.4, 3), strict=True)) < 0.05
    out = inside * (9000 + 4000 * np.cos(6 * axes[0]) + rng.normal(0, 600, shape)) + spot * 14000
    return np.clip(out, 0, 32767).astype(np.int16)


def make_study(
    folder: Path,
    cases: int = 4,
    show: str = "single",
    questions: tuple[dict[str, Any], ...] = (REALISM,),
    policy: str = "locked",
    **protocol: Any,
) -> Path:
    """A study of some cases for the readers R1 (in order) and R2 (backwards)."""
    listed = {}
    for n in range(cases):
        name = f"{0xA0000000 + 7919 * n:08x}"
        images = []
        for i, role in enumerate(ROLES[show]):
            path = folder / "cases" / f"{name}-{role}.nii.gz"
            save_nifti(path, head_like(10 * n + i))
            sha = hashlib.sha256(path.read_bytes()).hexdigest()
            images.append({"role": role, "file": f"cases/{path.name}", "sha256": sha, "window": list(WINDOW)})
        listed[name] = {"images": images}
    asked = {"show": show, "window": {"policy": policy}, "going_back": False, "break_every": 0, "instructions": "Read."}
    data = {
        "format": "braindiffusion-study",
        "version": 1,
        "study": "0123456789abcdef",
        "title": "A study",
        "notice": "MAY BE SYNTHETIC - NOT FOR DIAGNOSIS",
        "use": "Research use only. Not a medical device. Never use it for diagnosis or treatment.",
        "key_sha256": "0" * 64,
        "protocol": {**asked, "questions": list(questions), **protocol},
        "cases": listed,
        "readers": {"R1": list(listed), "R2": list(listed)[::-1]},
    }
    (folder / "study.json").write_text(json.dumps(data))
    return folder


def answers(study: Path) -> list[dict[str, Any]]:
    """All answers given so far, session after session."""
    out = []
    for path in sorted((study / "answers").glob("*.jsonl")):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        out += [line for line in lines if line["kind"] == "answer"]
    return out
