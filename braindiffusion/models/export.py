"""Writing weights with their card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from braindiffusion.io.write import complete
from braindiffusion.models.registry import sha256_of


def export_model(folder: Path, card: dict[str, Any], state: dict[str, Tensor]) -> Path:
    """Write ``<name>.safetensors`` (fp16) and ``<name>.json`` atomically, weights first; returns the card's path."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    name = card["name"]
    weights = folder / f"{name}.safetensors"
    half = {k: (v.half() if v.is_floating_point() else v).contiguous().cpu() for k, v in state.items()}
    with complete(weights) as partial:
        save_file(half, str(partial), metadata={"name": name, "note": "Research use only, never diagnosis."})
        full = {**card, "weights": weights.name, "sha256": sha256_of(partial), "bytes": partial.stat().st_size}
        partial.chmod(0o644)  # safetensors writes files only their owner may read
    out = folder / f"{name}.json"
    with complete(out) as partial:
        partial.write_text(json.dumps(full, indent=2) + "\n", encoding="utf-8")
    return out
