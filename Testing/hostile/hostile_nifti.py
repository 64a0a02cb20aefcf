"""Hostile NIfTI files: types, sizes, geometry, content, damage."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from hostile_case import LAS, SHAPE, Case, Check, Make, cut, flip, holds, patch, ramp, sound, there_and_back
from product_run import save_nifti

NAN, INF = float("nan"), float("inf")
ANY_REFUSAL = (
    "ScanUnreadableError", "ScanDimensionError", "ScanPixelTypeError", "ScanContentError", "ScanGeometryError",
    "MemoryExhaustedError",
)  # fmt: skip
"""Where a bit is flipped, what it hits decides."""


def stored(voxels: np.ndarray, affine: np.ndarray = LAS, name: str = "a_FLAIR.nii", code: int | None = None) -> Make:
    """Written as given."""
    return lambda folder: save_nifti(folder / name, voxels, affine, code)


def changed(*changes: tuple[Any, ...], voxels: np.ndarray | None = None) -> Make:
    """A sound file with other header fields."""
    return lambda folder: patch(save_nifti(folder / "a.nii", ramp() if voxels is None else voxels, LAS), *changes)


def damaged(damage: Callable[[Path], Path], name: str = "a.nii.gz") -> Make:
    """A sound file of noise, damaged."""
    noise = np.random.default_rng(0).integers(0, 999, (20, 20, 20)).astype("<i2")
    return lambda folder: damage(save_nifti(folder / name, noise, LAS))


def rewritten(change: Callable[[bytes], bytes], name: str = "a.nii.gz") -> Make:
    """A sound uncompressed file, its bytes changed and stored under another name."""

    def make(folder: Path) -> Path:
        plain = save_nifti(folder / "plain.nii", ramp(), LAS)
        path = folder / name
        path.write_bytes(change(plain.read_bytes()))
        if path != plain:
            plain.unlink()
        return path

    return make


def bomb(folder: Path) -> Path:
    """A small scan, then 1 GiB of zeros, in 1 MB."""
    sound_file = save_nifti(folder / "plain.nii", ramp(), LAS)
    with gzip.open(folder / "a.nii.gz", "wb", 1) as stream:
        stream.write(sound_file.read_bytes())
        for _ in range(64):
            stream.write(bytes(1 << 24))
    sound_file.unlink()
    return folder / "a.nii.gz"


def sform(*rows: float) -> tuple[tuple[Any, ...], ...]:
    """Only the sform counts, and it is this."""
    return ((252, "<2h", 0, 1), (280, "<12f", *rows))


def _turned(degrees: float) -> np.ndarray:
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    turn = np.eye(4)
    turn[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    return turn @ LAS


def _one(kind: str, name: str, make: Make, errors: str | tuple[str, ...] = (), check: Check | None = None) -> Case:
    return Case(f"NIfTI {kind}", name, make, there_and_back, (errors,) if isinstance(errors, str) else errors, check)


def _with(value: float, dtype: str = "<f4", everywhere: bool = False) -> np.ndarray:
    voxels = ramp(dtype=dtype)
    voxels[(slice(None) if everywhere else (3, 2, 1))] = value
    return voxels


def _read() -> list[Case]:
    """What must be read as it is stored."""
    out = []
    for dtype, code in (
        ("i1", 256), ("u1", 2), ("<i2", 4), ("<u2", 512), ("<i4", 8), ("<u4", 768), ("<i8", 1024), ("<u8", 1280),
        ("<f4", 16), ("<f8", 64),
    ):  # fmt: skip
        voxels = (ramp() % 120).astype(dtype)
        out.append(_one("types", np.dtype(dtype).name, stored(voxels, code=code), check=holds(voxels, dtype=dtype)))
    wide = ramp(dtype="<f8") * 1e300
    unit = np.diag([-1.0, 1.0, 1.0, 1.0])
    left = np.diag([-1.0, 1, 1, 1]) @ LAS
    rounded = np.diag([2.0, 1.5, 5.0, 1.0])
    out += [
        _one("types", "float64 beyond float32", stored(wide), "ScanContentError"),
        _one("types", "int64 beyond float64", stored(ramp(dtype="<i8") + 2**60, code=1024), check=holds(ramp(dtype="<i8") + 2**60)),
        _one("types", "slope and intercept", changed((112, "<2f", 0.5, 3.0)), check=holds(ramp() * 0.5 + 3)),
        _one("types", "negative slope", changed((112, "<2f", -2.0, 0.0)), check=holds(ramp() * -2.0)),
        _one("types", "slope of 0 means none", changed((112, "<2f", 0.0, 0.0)), check=holds(ramp())),
        _one("types", "slope of 0 with an intercept", changed((112, "<2f", 0.0, 9.0)), "ScanContentError"),
        _one("types", "slope of NaN", changed((112, "<2f", NAN, 0.0)), ANY_REFUSAL, holds(ramp())),
        _one("types", "infinite slope", changed((112, "<2f", INF, 0.0)), ANY_REFUSAL, holds(ramp())),
        _one("types", "slope of 1e38", changed((112, "<2f", 1e38, 0.0)), ANY_REFUSAL, holds(ramp() * 1e38)),
        _one("types", "infinite intercept", changed((112, "<2f", 1.0, INF)), ANY_REFUSAL, holds(ramp())),
        _one("geometry", "right-handed", stored(ramp(), left), check=holds(ramp(), left)),
        _one("geometry", "oblique", stored(ramp(), _turned(20)), check=holds(ramp(), _turned(20))),
        _one("geometry", "oblique by 44 degrees", stored(ramp(), _turned(44)), check=holds(ramp(), _turned(44))),
        _one("geometry", "axes permuted", stored(ramp(), LAS[:, [2, 0, 1, 3]]), check=holds(ramp(), LAS[:, [2, 0, 1, 3]])),
        _one("geometry", "neither form", changed((252, "<2h", 0, 0)), check=lambda s: sound(s)),
        _one("geometry", "qform only, no turn", changed((252, "<2h", 1, 0)), check=holds(ramp(), rounded)),
        _one("geometry", "qform only, left-handed", changed((252, "<2h", 1, 0), (76, "<f", -1.0)), check=holds(ramp(), rounded @ np.diag([1, 1, -1, 1]))),
        _one("geometry", "first voxel far away", stored(ramp(), _moved(1e6)), check=holds(ramp(), _moved(1e6))),
        _one("sizes", "1 x 1 x 2", stored(ramp((1, 1, 2)), unit), check=holds(ramp((1, 1, 2)), unit)),
        _one("sizes", "one row", stored(ramp((300, 1, 1)), unit), check=holds(ramp((300, 1, 1)), unit)),
        _one("sizes", "one slice", stored(ramp((40, 30, 1)), unit), check=holds(ramp((40, 30, 1)), unit)),
        _one("sizes", "4096 slices", stored(ramp((6, 5, 4096)), unit), check=holds(ramp((6, 5, 4096)), unit)),
        _one("sizes", "32767 columns", stored(ramp((32767, 2, 2), "<i4"), unit), check=holds(ramp((32767, 2, 2), "<i4"), unit)),
        _one("sizes", "seven dimensions of which three count", changed((40, "<8h", 7, 7, 6, 5, 1, 1, 1, 1)), check=holds(ramp())),
        _one("damage", "big-endian", _big_endian, check=holds(ramp())),
        _one("damage", "compressed under the name .nii", rewritten(gzip.compress, "a.nii"), ("ScanUnreadableError",), holds(ramp())),
        _one("damage", "plain under the name .nii.gz", rewritten(bytes), ("ScanUnreadableError",), holds(ramp())),
        _one("damage", "two gzip members", rewritten(lambda b: gzip.compress(b[:500]) + gzip.compress(b[500:])), ("ScanUnreadableError",), holds(ramp())),
        _one("damage", "some bytes too many", rewritten(lambda b: b + bytes(64), "a.nii"), check=holds(ramp())),
        _one("damage", "text in the unused fields", changed((4, "<10s", b"\xff" * 10), (148, "<80s", b"\xfe" * 80)), check=holds(ramp())),
    ]  # fmt: skip
    return out


def _moved(mm: float) -> np.ndarray:
    affine = LAS.copy()
    affine[:3, 3] = mm
    return affine


def _big_endian(folder: Path) -> Path:
    path = save_nifti(folder / "a.nii", ramp(), LAS)
    raw = bytearray(path.read_bytes())
    for start, stop, kind in ((0, 4, "i4"), (40, 56, "i2"), (70, 74, "i2"), (76, 120, "f4"), (252, 256, "i2"), (280, 328, "f4"), (352, len(raw), "i2")):  # fmt: skip
        raw[start:stop] = np.frombuffer(raw[start:stop], f"<{kind}").astype(f">{kind}").tobytes()
    path.write_bytes(raw)
    return path


def _refused() -> list[Case]:
    """What must be refused, and as what."""
    geometry, sizes = "ScanGeometryError", "ScanDimensionError"
    grey, content, unreadable = "ScanPixelTypeError", "ScanContentError", "ScanUnreadableError"
    huge = {
        f"claims {a} x {b} x {c}": (a, b, c)
        for a, b, c in ((30000, 30000, 30000), (32767, 32767, 2), (32767, 6, 32767))
    }
    out = [
        *(_one("sizes", name, changed((42, "<3h", *size)), (sizes,)) for name, size in huge.items()),
        _one("sizes", "claims 1200 x 1200 x 1200", changed((42, "<3h", 1200, 1200, 1200)), (unreadable, "MemoryExhaustedError")),
        _one("sizes", "claims 1200^3 in float64, compressed", rewritten(lambda b: gzip.compress(_claims(b))), (unreadable, "MemoryExhaustedError")),
        _one("sizes", "a size of 0", changed((44, "<h", 0)), sizes),
        _one("sizes", "a negative size", changed((44, "<h", -5)), sizes),
        _one("sizes", "no dimensions", changed((40, "<h", 0)), sizes),
        _one("sizes", "300 dimensions", changed((40, "<h", 300)), ANY_REFUSAL),
        _one("sizes", "a negative number of dimensions", changed((40, "<h", -3)), ANY_REFUSAL),
        _one("sizes", "2-D", stored(ramp((7, 6))), sizes),
        _one("sizes", "1-D", stored(ramp((70,))), sizes),
        _one("sizes", "4-D", stored(np.stack([ramp()] * 3, -1)), sizes),
        _one("sizes", "5-D", stored(np.stack([ramp()] * 3, -1)[..., None, :]), (sizes, grey)),
        _one("sizes", "1 x 1 x 1", stored(ramp((1, 1, 1))), content),
        _one("types", "RGB", stored(np.zeros((*SHAPE, 3), "u1"), code=128), grey),
        _one("types", "RGBA", changed((70, "<2h", 2304, 32), voxels=ramp(dtype="<i4")), grey),
        _one("types", "complex64", stored(ramp(dtype="<c8"), code=32), grey),
        _one("types", "complex128", stored(ramp(dtype="<c16"), code=1792), (grey, unreadable)),
        _one("types", "float128", changed((70, "<2h", 1536, 128)), (unreadable, grey)),
        _one("types", "one bit a voxel", changed((70, "<2h", 1, 1)), (unreadable, grey)),
        _one("types", "no type", changed((70, "<2h", 0, 0)), (unreadable, grey)),
        _one("types", "an unknown type", changed((70, "<2h", 9999, 16)), (unreadable, grey)),
        _one("types", "bits that contradict the type", changed((72, "<h", 64)), (unreadable,)),
        _one("types", "no bits", changed((72, "<h", 0)), (unreadable,), holds(ramp())),
        _one("types", "negative bits", changed((72, "<h", -16)), (unreadable,), holds(ramp())),
        *(_one("content", f"{v} in {t}", stored(_with(v, t)), content) for v in (NAN, INF, -INF) for t in ("<f4", "<f8")),
        _one("content", "NaN everywhere", stored(_with(NAN, everywhere=True)), content),
        _one("content", "one value everywhere", stored(_with(3, everywhere=True)), content),
        _one("content", "nothing but 0", stored(np.zeros((64, 64, 64), "<i2"), name="a.nii.gz"), content),
        *(_one("geometry", f"spacing of {v:g}", changed((84, "<f", v)), geometry) for v in (0.0, -1.5, NAN, INF, -INF)),
        *(_one("geometry", f"spacing of {v:g} in all ways", changed((80, "<3f", v, v, v), *sform(v, 0, 0, 0, 0, v, 0, 0, 0, 0, v, 0)), (geometry,)) for v in (1e-30, 1e30)),
        _one("geometry", "sheared", changed(*sform(-2, 0.6, 0, 0, 0, 1.5, 0, 0, 0, 0, 5, 0)), geometry),
        _one("geometry", "singular", changed(*sform(-2, 1.5, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0)), geometry),
        _one("geometry", "two axes alike", changed(*sform(2, 1.5, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0)), geometry),
        _one("geometry", "sform of zeros", changed(*sform(*[0] * 12)), geometry),
        _one("geometry", "sform of NaN", changed(*sform(*[NAN] * 12)), geometry),
        _one("geometry", "origin of NaN", changed(*sform(-2, 0, 0, NAN, 0, 1.5, 0, 0, 0, 0, 5, 0)), geometry),
        _one("geometry", "infinite origin", changed(*sform(-2, 0, 0, INF, 0, 1.5, 0, 0, 0, 0, 5, 0)), geometry),
        _one("geometry", "sform of another scale", changed(*sform(-4, 0, 0, 0, 0, 1.5, 0, 0, 0, 0, 5, 0)), geometry),
        _one("geometry", "quaternion of NaN", changed((252, "<2h", 1, 0), (256, "<3f", NAN, 0, 0)), geometry),
        _one("geometry", "quaternion longer than 1", changed((252, "<2h", 1, 0), (256, "<3f", 9, 9, 9)), (geometry,), sound),
        _one("damage", "voxels that begin beyond the end", changed((108, "<f", 1e9)), unreadable),
        _one("damage", "voxels that begin at NaN", changed((108, "<f", NAN)), (unreadable,), holds(ramp())),
        _one("damage", "voxels that begin before 0", changed((108, "<f", -352.0)), (unreadable,)),
        _one("damage", "voxels that begin at 1e38", changed((108, "<f", 1e38)), unreadable),
        _one("damage", "a header without its image", changed((344, "<4s", b"ni1\0")), unreadable),
        _one("damage", "NIfTI-2", changed((0, "<i4s", 540, b"n+2\0")), unreadable),
        _one("damage", "no magic", changed((344, "<4s", b"\0\0\0\0")), (unreadable,)),
        _one("damage", "an extension of 2 GB", changed((348, "<4s2i", b"\1\0\0\0", 2**31 - 1, 4)), (unreadable,), sound),
        _one("damage", "an extension of 0 bytes", changed((348, "<4s2i", b"\1\0\0\0", 0, 4)), (unreadable,), sound),
        _one("damage", "a gzip bomb", bomb, (unreadable,)),
        _one("damage", "compressed twice", rewritten(lambda b: gzip.compress(gzip.compress(b))), unreadable),
        _one("damage", "text after the gzip stream", rewritten(lambda b: gzip.compress(b) + b"junk" * 9), unreadable),
    ]  # fmt: skip
    for name in ("a.nii", "a.nii.gz"):
        whole = 352 + 16000 if name == "a.nii" else 13000
        for keep in (1.5, 10, 200, 347, 348, 352, whole // 2, whole - 1):
            cutter = lambda path, k=keep: cut(path, k if k < 12000 else path.stat().st_size - 1)  # noqa: E731
            out.append(_one("damage", f"{name} cut after {keep:g}", damaged(cutter, name), ("ScanUnreadableError",)))
    return out


def _claims(data: bytes) -> bytes:
    raw = bytearray(data)
    raw[42:48] = np.array([1200] * 3, "<i2").tobytes()
    raw[70:74] = np.array([64, 64], "<i2").tobytes()
    return bytes(raw)


def _flipped() -> list[Case]:
    out = []
    for seed in range(40):
        make = damaged(lambda path, s=seed: flip(path, s, 0, 352, 1 + s % 3), "a.nii")  # type: ignore[misc]
        out.append(_one("damage", f"header flipped, {seed}", make, ANY_REFUSAL, sound))
    for seed in range(8):
        make = damaged(lambda path, s=seed: flip(path, s, 10, 1 << 30), "a.nii.gz")  # type: ignore[misc]
        out.append(_one("damage", f"gzip flipped, {seed}", make, ("ScanUnreadableError",)))
    return out


def cases() -> list[Case]:
    """All of them."""
    return [*_read(), *_refused(), *_flipped()]
