"""How a result was made, as plain data that travels with it."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

from braindiffusion import NOT_FOR_DIAGNOSIS, RESEARCH_USE_ONLY, __version__
from braindiffusion.volume.scan import Scan


def plain(value: Any) -> Any:
    """Anything we record as JSON-ready data."""
    if is_dataclass(value) and not isinstance(value, type):
        return {k: plain(v) for k, v in asdict(value).items()}
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no NaN
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    return str(value)


def scan_facts(scan: Scan) -> dict[str, Any]:
    """What identifies the input without naming the patient: the file's name, its grid and the hash of its voxels."""
    import hashlib

    digest = hashlib.sha256(scan.voxels.tobytes()).hexdigest()
    return {
        "file": scan.path.name if scan.path else None,
        "shape": list(scan.voxels.shape),
        "dtype": str(scan.voxels.dtype),
        "spacing_mm": [round(float(v), 5) for v in scan.spacing],
        "affine": scan.affine.tolist(),
        "modality": scan.modality,
        "voxels_sha256": digest,
    }


def unnamed(facts: dict[str, Any]) -> dict[str, Any]:
    """A record without the scan's file name, which may hold the patient's: for what is given away."""
    return facts | {"scan": (facts.get("scan") or {}) | {"file": None}}


def model_facts(card: Mapping[str, Any]) -> dict[str, Any]:
    """What identifies a model."""
    return {k: card.get(k) for k in ("name", "sha256", "licence", "modality", "prediction")}


def record(scan: Scan, **facts: Any) -> dict[str, Any]:
    """The provenance record of a run. Times are UTC; no path and no user name is kept."""
    import torch

    return plain(
        {
            "synthetic": True,
            "notice": NOT_FOR_DIAGNOSIS,
            "use": RESEARCH_USE_ONLY,
            "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "software": {
                "braindiffusion": __version__, "torch": torch.__version__, "python": platform.python_version(),
                "system": platform.system(), "machine": platform.machine(),
            },
            "scan": scan_facts(scan),
            **facts,
        }
    )  # fmt: skip
