"""Hostile models: cards that lie or climb out of their folder, weights that are none, networks without bounds."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from hostile_case import Case, Check, cut, flip

NETWORK = {"class": "Classifier", "args": {"widths": [4, 8]}}
BAD = ("ModelFormatError", "ModelCorruptError")


@cache
def sound_model() -> tuple[dict[str, Any], bytes]:
    """The card and the weights of a small model."""
    import tempfile

    import torch

    from braindiffusion.models.export import export_model
    from braindiffusion.networks.build import build_network

    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state = build_network(NETWORK).state_dict()
        card = export_model(
            Path(folder), {"name": "tiny", "network": NETWORK, "modality": ["FLAIR"], "grid": 16}, state
        )
        return json.loads(card.read_text()), card.with_suffix(".safetensors").read_bytes()


def model(damage: Callable[[Path], Any] | None = None, forged: bool = True, **card: Any) -> Callable[[Path], Path]:
    """A card (with other fields; ``...`` takes one out) and weights, damaged or not.

    Args:
        forged: the card tells the checksum of the damaged weights.
    """

    def make(folder: Path) -> Path:
        from braindiffusion.models.registry import sha256_of

        facts, data = sound_model()
        weights = folder / "tiny.safetensors"
        weights.write_bytes(data)
        if damage:
            damage(weights)
        if forged and weights.is_file():
            facts = facts | {"sha256": sha256_of(weights)}
        facts = {k: v for k, v in (facts | card).items() if v is not ...}
        (folder / "tiny.json").write_text(json.dumps(facts))
        return folder / "tiny.json"

    return make


def text(content: str | bytes) -> Callable[[Path], Path]:
    """A card of any bytes beside sound weights."""

    def make(folder: Path) -> Path:
        path = model()(folder)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return make


def header(content: bytes, length: int | None = None, data: bytes = b"") -> Callable[[Path], Any]:
    """Weights of any header."""
    size = len(content) if length is None else length
    return lambda path: path.write_bytes(size.to_bytes(8, "little") + content + data)


def _tensors(**entries: dict[str, Any]) -> Callable[[Path], Any]:
    return header(json.dumps(entries).encode(), data=bytes(64))


def install(card: Path, out: Path) -> Any:
    """As ``braindiffusion models add`` does, then loaded as a heal does."""
    from braindiffusion.models import registry

    with _folder(out):
        name = registry.add(card)
        loaded = registry.load_model(name)
        assert sorted(p.name for p in out.iterdir()) == [f"{name}.json", f"{name}.safetensors"]
        return loaded


def found(card: Path, out: Path) -> Any:
    """Loaded from the models' folder, where somebody put it."""
    from braindiffusion import cards
    from braindiffusion.models import registry

    with _folder(card.parent):
        cards.installed()
        return registry.load_model("tiny")


class _folder:  # noqa: N801 - used as a function
    """The user's models lie here for a while."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> None:
        import os

        from braindiffusion.models import registry

        registry.release()
        self.before = os.environ.get("BRAINDIFFUSION_MODELS", "")
        os.environ["BRAINDIFFUSION_MODELS"] = str(self.folder)

    def __exit__(self, *_: Any) -> None:
        import os

        os.environ["BRAINDIFFUSION_MODELS"] = self.before


def _works(loaded: Any) -> None:
    import torch

    assert loaded.network(torch.zeros(1, 1, 16, 16)).shape == (1, 2)
    assert all(isinstance(m, str) for m in loaded.modality)


def cases() -> list[Case]:
    """All of them, both as added and as found in place."""
    deep = "[" * 100_000
    widths = NETWORK | {"args": {"widths": [30000, 30000]}}
    f32 = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
    listed: list[tuple[str, Callable[[Path], Path], tuple[str, ...], Check | None]] = [
        ("as it should be", model(), (), _works),
        ("no modality", model(modality=...), (), _works),
        ("unknown fields", model(author={"name": ["x"]}, note=None), (), _works),
        *((f"without {name}", model(**{name: ...}), BAD, None) for name in ("name", "network", "sha256", "weights")),
        *(
            (f"{name} is {value!r:.30}", model(**{name: value}), BAD, None)
            for name, values in {
                "name": (None, 3, [], "", ".", "..", "../tiny", "/etc/tiny", "a/tiny", "x" * 300, "a\0b", "..\\tiny"),
                "weights": (None, 3, ["x"], "", ".", "..", "../tiny.safetensors", "/etc/passwd", "x" * 5000, "\0"),
                "sha256": (None, 3, "", "0" * 64, []),
                "network": (None, "Classifier", [], {}, {"class": "os.system"}, {"class": ["Classifier"]}, {"class": "Classifier", "args": 3}),
                "modality": (3, "FLAIR", [1, 2], {"a": 1}),
                "grid": ("128", -5, 0, 10**9, 1.5, []),
                "crop": ("x", [1], [0, 0], [10**9, 1], {"a": 1}),
                "gate": (3, {"high": "x"}, []),
                "operating_points": (3, []),
            }.items()
            for value in values
        ),
        ("a network of another shape", model(network=NETWORK | {"args": {"widths": [4, 16]}}), BAD, None),
        ("a network of 30 GB", model(network=widths), BAD, None),
        ("a network of negative width", model(network=NETWORK | {"args": {"widths": [-4, 8]}}), BAD, None),
        ("a network of no width", model(network=NETWORK | {"args": {"widths": []}}), BAD, None),
        ("a network of a million layers", model(network=NETWORK | {"args": {"widths": [4] * 1_000_000}}), BAD, None),
        ("a network a billion layers deep", model(network={"class": "PatchedUNet", "args": {"num_res_blocks": 10**9, "channels": [16], "attention_levels": [False], "norm_num_groups": 1}}), BAD, None),
        ("arguments that are none", model(network=NETWORK | {"args": {"forward": 1}}), BAD, None),
        *((f"the card is {content[:12]!r}", text(content), BAD, None) for content in ("", "{", "[]", "3", "null", '"text"', '{"name": "tiny"}', "NaN", b"\xff\xfe", deep, '{"name":' * 20_000, "9" * 5000, b"\0" * 100)),
        ("the card is 20 MB", text('{"x": "' + "x" * 20_000_000 + '"}'), BAD, None),
        ("the weights are missing", model(lambda p: p.unlink()), BAD, None),
        ("the weights are a folder", model(lambda p: (p.unlink(), p.mkdir())), BAD, None),
        ("the weights are empty", model(lambda p: p.write_bytes(b"")), BAD, None),
        ("the weights are a pickle", model(lambda p: p.write_bytes(pickle.dumps({"a": [1.0]}))), BAD, None),
        ("the weights are a zip", model(lambda p: p.write_bytes(b"PK\3\4" + bytes(999))), BAD, None),
        ("the weights are text", model(lambda p: p.write_bytes(b"weights " * 99)), BAD, None),
        ("one bit flipped", model(lambda p: flip(p, 0, 3000, 1 << 30), forged=False), BAD, None),
        ("cut, under the old checksum", model(lambda p: cut(p, 0.5), forged=False), BAD, None),
        ("cut, under its own checksum", model(lambda p: cut(p, 0.5)), BAD, None),
        ("bytes appended", model(lambda p: p.write_bytes(p.read_bytes() + bytes(64))), BAD, None),
        *((f"a header of {size} bytes", model(header(b"{}" + bytes(64), size)), BAD, None) for size in (0, 1, 2, 8_000_001, 2**31, 2**63, 2**64 - 1)),
        ("a header of nothing", model(header(b"{}")), BAD, None),
        ("a header of 30,000 tensors", model(header(json.dumps({f"t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(30_000)}).encode())), BAD, None),
        ("a header of nested lists", model(header(b'{"a":' + b"[" * 50_000)), BAD, None),
        ("metadata that is no text", model(header(b'{"__metadata__": {"a": 3}}')), BAD, None),
        ("a tensor beyond the file", model(_tensors(a=f32 | {"data_offsets": [0, 1 << 40], "shape": [1 << 38]})), BAD, None),
        ("tensors that overlap", model(_tensors(a=f32, b=f32)), BAD, None),
        ("offsets that run backwards", model(_tensors(a=f32 | {"data_offsets": [16, 0]})), BAD, None),
        ("a negative shape", model(_tensors(a=f32 | {"shape": [-4]})), BAD, None),
        ("a shape beyond 64 bits", model(_tensors(a=f32 | {"shape": [2**63, 2**63]})), BAD, None),
        ("an unknown type", model(_tensors(a=f32 | {"dtype": "PY"})), BAD, None),
        ("other tensors", model(_tensors(a=f32)), BAD, None),
    ]  # fmt: skip
    out = []
    for name, make, errors, check in listed:
        out.append(Case("model added", name, make, install, errors, check))
        if not name.startswith("name is"):  # in its folder a model goes by its file's name
            out.append(Case("model found", name, make, found, errors if name != "without name" else BAD, check))
    return out
