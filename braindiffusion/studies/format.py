"""What the files of a study are called and how they are hashed. Described in docs/study_format.md."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any

STUDY, KEY, PROTOCOL, ANSWERS = (f"braindiffusion-{name}" for name in ("study", "study-key", "protocol", "answers"))
VERSION = 1
MAY_BE_SYNTHETIC = "MAY BE SYNTHETIC - NOT FOR DIAGNOSIS"
"""The mark on every case, real or not: the usual one would unblind."""
ROLES = {"single": ("scan",), "with_prior": ("scan", "prior"), "pair": ("left", "right")}
"""Images of a case by what the protocol shows."""
REAL, SYNTHETIC, PAIR = "real", "synthetic", "pair"


def utc_now() -> str:
    """The time, UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def canonical(data: Any) -> str:
    """JSON in one way only: sorted keys, no spaces, ASCII, no NaN."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)


def sha256_of(data: bytes) -> str:
    """Hex digest of bytes."""
    return hashlib.sha256(data).hexdigest()


def sha256_of_file(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as stream:
        hasher = hashlib.sha256()
        while chunk := stream.read(1 << 20):
            hasher.update(chunk)
    return hasher.hexdigest()


def seal_of(study: dict[str, Any]) -> str:
    """Hash of study.json's content but for the key's hash: the key holds it, so neither can be changed alone."""
    return sha256_of(canonical({k: v for k, v in study.items() if k != "key_sha256"}).encode())


def default_key(study: Path) -> Path:
    """Where a study's key lies unless told otherwise: beside it."""
    study = study.absolute()
    return study.parent / f"{study.name}-key.json"
