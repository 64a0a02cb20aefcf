"""Hostile packs of training slices: zips that lie, arrays that do not fit, pickles."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from hostile_case import Case, Check, Make, cut, flip

N, H, W = 6, 16, 16


def arrays(**changes: Any) -> dict[str, np.ndarray]:
    """What a sound pack holds, with changes; ``None`` takes one out."""
    whole = {
        "flair": np.arange(N * H * W).reshape(N, H, W).astype(np.uint8),
        "mask_bits": np.packbits(np.eye(H, W, dtype=bool)[None].repeat(N, 0), axis=-1),
        "patient": np.arange(N) // 3, "patients": np.array(["a", "b"]), "split": np.array(["train", "val"]),
        "slice": np.arange(N) % 3,
    }  # fmt: skip
    return {key: value for key, value in (whole | changes).items() if value is not None}


def pack(pickled: bool = False, **changes: Any) -> Make:
    """A pack with changes."""

    def make(folder: Path) -> Path:
        np.savez_compressed(folder / "a.npz", allow_pickle=pickled, **arrays(**changes))
        return folder / "a.npz"

    return make


def npy(head: str, data: bytes = b"", version: tuple[int, int] = (1, 0)) -> bytes:
    """An .npy file of any header and data."""
    text = head.encode("latin-1") + b"\n"
    length = struct.pack("<H" if version == (1, 0) else "<I", len(text))
    return b"\x93NUMPY" + bytes(version) + length + text + data


def entry(data: bytes, name: str = "flair.npy", kind: int = zipfile.ZIP_DEFLATED) -> Make:
    """A pack whose image is this file."""

    def make(folder: Path) -> Path:
        with zipfile.ZipFile(folder / "a.npz", "w", kind) as out:
            for key, value in arrays(flair=None).items():
                held = io.BytesIO()
                np.save(held, value)
                out.writestr(f"{key}.npy", held.getvalue())
            out.writestr(name, data)
        return folder / "a.npz"

    return make


def _claims(shape: str, descr: str = "|u1", data: bytes = bytes(99)) -> bytes:
    return npy(f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}", data)


def _bomb(folder: Path) -> Path:
    """Four slices of 16384 x 16384 zeros: 1 GiB in a few MB."""
    with (
        zipfile.ZipFile(folder / "a.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as out,
        out.open("flair.npy", "w") as stream,
    ):
        stream.write(_claims("(4, 16384, 16384)", data=b""))
        for _ in range(64):
            stream.write(bytes(1 << 24))
    return folder / "a.npz"


def _bytes(data: bytes) -> Make:
    def make(folder: Path) -> Path:
        (folder / "a.npz").write_bytes(data)
        return folder / "a.npz"

    return make


def then(make: Make, damage: Callable[[Path], Any]) -> Make:
    """Made, then damaged."""

    def both(folder: Path) -> Path:
        path = make(folder)
        damage(path)
        return path

    return both


def _encrypted(path: Path) -> None:
    """Say of each file that it is encrypted: bit 0 of its flags, here and in the directory."""
    raw = bytearray(path.read_bytes())
    for magic, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = raw.find(magic)
        while at >= 0:
            raw[at + offset] |= 1
            at = raw.find(magic, at + 1)
    path.write_bytes(raw)


def _method(path: Path) -> None:
    """Say of each file that it is compressed in an unknown way."""
    raw = bytearray(path.read_bytes())
    for magic, offset in ((b"PK\3\4", 8), (b"PK\1\2", 10)):
        at = raw.find(magic)
        while at >= 0:
            raw[at + offset] = 98
            at = raw.find(magic, at + 1)
    path.write_bytes(raw)


def load(path: Path, out: Path) -> Any:
    """As training and evaluation read it."""
    from braindiffusion.training.packs import load_pack

    found = load_pack(path)
    for _, index, scan in found.volumes():
        assert np.array_equal(scan.voxels.transpose(2, 1, 0), found.images[index])
    return found


def _right(found: Any) -> None:
    assert np.array_equal(found.images, arrays()["flair"])
    assert found.masks.sum() == N * H
    assert found.patient.tolist() == ["a"] * 3 + ["b"] * 3


def _consistent(found: Any) -> None:
    assert found.images.dtype == np.uint8
    assert found.images.shape == found.masks.shape
    assert len(found.patient) == len(found.split) == len(found.position) == len(found)


def cases() -> list[Case]:
    """All of them."""
    listed: list[tuple[str, Make, Check | None]] = [
        ("as it should be", pack(), _right),
        ("no file", lambda folder: folder / "none.npz", None),
        ("a folder", lambda folder: folder, None),
        ("empty", _bytes(b""), None),
        ("text", _bytes(b"no pack " * 99), None),
        ("a zip of nothing", _bytes(b"PK\5\6" + bytes(18)), None),
        ("one array, no zip", _bytes(_claims("(2, 2, 2)", data=bytes(8))), None),
        ("a pickle", _bytes(b"\x80\4\x95cos\nsystem\n."), None),
        ("pickled patients", pack(True, patients=np.array([{}, []], dtype=object)), None),
        ("a pickled image", pack(True, flair=np.full((N, H, W), None)), None),
        ("a zip bomb", _bomb, None),
        ("claims 4 GB", entry(_claims("(1000, 2000, 2000)")), None),
        ("claims 4 TB", entry(_claims("(1000000, 2000, 2000)")), None),
        ("claims 2^80 bytes", entry(_claims("(1099511627776, 1048576, 1024)")), None),
        ("a negative shape", entry(_claims("(-1, 4, 4)")), None),
        ("a shape of words", entry(_claims("('a', 4, 4)")), None),
        ("a shape of truths", entry(_claims("(True, 4, 4)", data=bytes(16))), None),
        ("a shape of 40 axes", entry(_claims("(" + "1," * 40 + ")")), None),
        ("an unknown type", entry(_claims("(2, 2, 2)", "|x9")), None),
        ("a type of 1 GB each", entry(_claims("(2, 2, 2)", "|V1000000000")), None),
        ("a header of nested brackets", entry(npy("(" * 5000)), None),
        ("a header of minus signs", entry(npy("-" * 9000 + "1")), None),
        ("a header of 60 kB", entry(npy("{" + " " * 60_000 + "}")), None),
        ("a header of 4 GB", entry(npy("{}", version=(2, 0))[:8] + b"\xff\xff\xff\xff"), None),
        ("a header of zero bytes", entry(npy("\0" * 50)), None),
        ("a header that is cut", entry(npy("{'descr': '|u1', 'fort")), None),
        ("a future version", entry(npy("{}", version=(9, 9))), None),
        ("images that are cut", entry(_claims("(6, 16, 16)")), None),
        ("encrypted", then(pack(), _encrypted), None),
        ("compressed in an unknown way", then(pack(), _method), None),
        ("names that climb", entry(_claims("(2, 2, 2)", data=bytes(8)), "../../flair.npy"), None),
        ("no image", pack(flair=None), None),
        ("two images", pack(t1=np.zeros((N, H, W), np.uint8)), None),
        ("images of floats", pack(flair=np.zeros((N, H, W))), None),
        ("no slices", pack(flair=np.zeros((0, H, W), np.uint8)), None),
        ("slices without pixels", pack(flair=np.zeros((N, 0, W), np.uint8), mask_bits=None), None),
        ("masks of another size", pack(mask_bits=np.zeros((N, H, 9), np.uint8)), None),
        ("masks of floats", pack(mask_bits=np.zeros((N, H, 2))), None),
        ("masks without axes", pack(mask_bits=np.array(1, np.uint8)), None),
        ("patients that are not there", pack(patient=np.full(N, 7)), None),
        ("patients below 0", pack(patient=np.full(N, -3)), None),
        ("patients of NaN", pack(patient=np.full(N, np.nan)), None),
        ("patients of words", pack(patient=np.full(N, "x")), None),
        ("too few patients", pack(patient=np.zeros(2, int)), None),
        ("patients on a square", pack(patient=np.zeros((N, N), int)), None),
        ("positions of NaN", pack(slice=np.full(N, np.nan)), None),
        ("too many splits", pack(split=np.array(["train"] * 40)), None),
        ("a width of -3", pack(width=np.array(-3)), None),
        ("a width of 10^18", pack(width=np.array(10**18)), _right),
        ("a width of words", pack(width=np.array("x")), None),
        ("a pixel of 0 mm", pack(pitch_mm=np.array(0.0)), None),
        ("a pixel of NaN", pack(pitch_mm=np.array(np.nan)), None),
        ("two pixel sizes", pack(pitch_mm=np.array([1.0, 2.0])), None),
        ("volumes of words", pack(volume=np.full(N, "x")), None),
        *((f"cut to {keep:.0%}", then(pack(), lambda p, k=keep: cut(p, k)), None) for keep in (0.02, 0.3, 0.7, 0.99)),
        *((f"flipped, {seed}", then(pack(), lambda p, s=seed: flip(p, s, 0, 1 << 20, 3)), _consistent) for seed in range(12)),
    ]  # fmt: skip
    may_fail = ("flipped", "a width of 10^18")
    return [
        Case("pack", name, make, load, ("PackError",) if check is None or name.startswith(may_fail) else (), check)
        for name, make, check in listed
    ]
