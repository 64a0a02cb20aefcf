"""Arrays kept on disk between runs, each under the fingerprint of all that decided it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from braindiffusion.pipeline.provenance import plain


def fingerprint(facts: Any) -> str:
    """Hex digest of plain data."""
    return hashlib.sha256(json.dumps(plain(facts), sort_keys=True).encode()).hexdigest()


class ResultCache:
    """A folder of results. One that was made from anything else, or is damaged, is as good as absent.

    Attributes:
        made, found: results computed and results taken from the folder, so far.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made = self.found = 0

    def _path(self, name: str) -> Path:
        return self.folder / (re.sub(r"[^A-Za-z0-9._/-]+", "_", name) + ".npz")

    def load(self, name: str, key: str) -> dict[str, np.ndarray] | None:
        """The arrays of ``name``, where they were made under ``key``."""
        path = self._path(name)
        if not path.is_file():
            return None
        try:
            with np.load(path, allow_pickle=False) as data:
                if str(data["key"]) != key:
                    return None
                arrays = {k: data[k] for k in data.files if k != "key"}
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, zlib.error):
            return None
        self.found += 1
        return arrays

    def save(self, name: str, key: str, arrays: dict[str, Any]) -> None:
        """Put the arrays in place at once; whatever was under that name is replaced."""
        path = self._path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.partial.npz")
        np.savez_compressed(partial, key=np.array(key), **arrays)
        partial.replace(path)
        self.made += 1
