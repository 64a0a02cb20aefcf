"""Running the command line, and reading and writing its files without the code under test."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from typer.testing import CliRunner

from braindiffusion.cli.app import app

MARK = "SYNTHETIC - NOT FOR DIAGNOSIS"
MAPS = {"counterfactual", "anomaly", "lesion", "mask", "edited", "saliency"}
QUICK = ("--steps", 3, "--progress", "none")
_TYPES = {2: "u1", 4: "<i2", 8: "<i4", 16: "<f4", 64: "<f8", 256: "i1", 512: "<u2", 768: "<u4"}


@dataclass(frozen=True)
class Head:
    """The head of Testing/conftest.py as files.

    Attributes:
        scan: int16 NIfTI; mask: its lesion, and brain: its brain, drawn on the same grid; box: around the lesion.
        voxels, lesion, affine: their content.
    """

    scan: Path
    mask: Path
    brain: Path
    box: str
    voxels: np.ndarray
    lesion: np.ndarray
    affine: np.ndarray


@dataclass(frozen=True)
class Run:
    """What a command left behind: exit code and both streams."""

    code: int
    out: str
    err: str


def run(*arguments: Any) -> Run:
    """``braindiffusion ARGUMENTS`` in this process; an exception that is no exit is raised as it came."""
    result = CliRunner().invoke(app, [str(a) for a in arguments], prog_name="braindiffusion")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Run(result.exit_code, result.stdout, result.stderr)


def succeed(*arguments: Any) -> Run:
    """The same, and it must end well."""
    result = run(*arguments)
    assert result.code == 0, result.err
    return result


def told(result: Run, code: int, name: str) -> None:
    """An error as the contract wants it: exit code, class, cause, action; no traceback and nothing on stdout."""
    assert result.code == code, result
    assert re.search(rf"^{name}(: \S.+|\.)$", result.err, re.M), result.err
    assert re.search(r"^Why: \S.+$", result.err, re.M), "no cause: " + result.err
    assert re.search(r"^Do: \S.+$", result.err, re.M), "no action: " + result.err
    assert "Traceback" not in result.err
    assert result.out == ""


def refused(folder: Path, code: int, name: str, *arguments: Any, late: bool = False) -> None:
    """A command that must fail so, and leave its folder as it was: not there, or (``late`` failures) in use."""
    for out in (folder / "fresh", folder / "used") if late else (folder / "fresh",):
        if out.name == "used":
            out.mkdir()
            (out / "counterfactual.nii.gz").write_bytes(b"of an earlier run")
        before = snapshot(folder)
        told(run(*arguments, "--out", out), code, name)
        assert snapshot(folder) == before


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def snapshot(folder: Path) -> dict[str, str | None]:
    """Everything below a folder, hidden or not: relative path and digest (``None`` for a folder)."""
    return {str(p.relative_to(folder)): sha256(p) if p.is_file() else None for p in sorted(folder.rglob("*"))}


def names(folder: Path) -> set[str]:
    """The names of what lies in a folder."""
    return {p.name for p in folder.iterdir()}


def strict_json(text: str) -> Any:
    """JSON without the NaN and Infinity that Python lets pass."""

    def reject(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=reject)


def provenance(folder: Path) -> dict[str, Any]:
    """The provenance record of a run."""
    return strict_json((folder / "provenance.json").read_text(encoding="utf-8"))


def strings(data: Any) -> list[str]:
    """All strings in nested data, keys included."""
    if isinstance(data, dict):
        return [s for k, v in data.items() for s in [k, *strings(v)]]
    if isinstance(data, list):
        return [s for v in data for s in strings(v)]
    return [data] if isinstance(data, str) else []


@dataclass(frozen=True)
class Nifti:
    """A NIfTI-1 file: voxels (I,J,K) as stored, affine by its sform, and its free text."""

    voxels: np.ndarray
    affine: np.ndarray
    description: str


def save_nifti(path: Path, voxels: np.ndarray, affine: np.ndarray, code: int | None = None) -> Path:
    """Write a NIfTI-1 file with an sform.

    Args:
        voxels: (I,J,K) or (I,J,K,T); for ``code`` 128 (RGB) (I,J,K,3) uint8.
    """
    code = code or next(c for c, t in _TYPES.items() if np.dtype(t) == voxels.dtype)
    shape = voxels.shape[:3] if code == 128 else voxels.shape
    head = bytearray(352)
    head[0:4] = np.int32(348).tobytes()
    head[40:56] = np.array([len(shape), *shape, *[1] * (7 - len(shape))], "<i2").tobytes()
    head[70:74] = np.array([code, voxels.dtype.itemsize * 8 * (3 if code == 128 else 1)], "<i2").tobytes()
    head[76:108] = np.array([1, *np.linalg.norm(affine[:3, :3], axis=0), 1, 1, 1, 1], "<f4").tobytes()
    head[108:112] = np.float32(352).tobytes()
    head[254:256] = np.int16(1).tobytes()
    head[280:328] = affine[:3].astype("<f4").tobytes()
    head[344:348] = b"n+1\0"
    body = np.moveaxis(voxels, -1, 0).tobytes(order="F") if code == 128 else voxels.tobytes(order="F")
    data = bytes(head) + body
    path.write_bytes(gzip.compress(data, 1, mtime=0) if path.suffix == ".gz" else data)
    return path


def read_nifti(path: Path) -> Nifti:
    """Read a NIfTI-1 file of one grey value per voxel."""
    data = path.read_bytes()
    data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    dim = np.frombuffer(data, "<i2", 8, 40)
    shape = tuple(int(n) for n in dim[1 : 1 + dim[0]])
    kind = np.dtype(_TYPES[int(np.frombuffer(data, "<i2", 1, 70)[0])])
    slope, intercept = np.frombuffer(data, "<f4", 2, 112)
    assert slope in (0, 1), "a written map must need no rescaling"
    assert intercept == 0
    assert np.frombuffer(data, "<i2", 1, 254)[0] > 0, "the sform is to be set"
    start = int(np.frombuffer(data, "<f4", 1, 108)[0])
    voxels = np.frombuffer(data, kind, int(np.prod(shape)), start).reshape(shape, order="F")
    affine = np.vstack([np.frombuffer(data, "<f4", 12, 280).reshape(3, 4), [0, 0, 0, 1]])
    return Nifti(voxels, affine, data[148:228].split(b"\0")[0].decode("ascii"))


def picture_mark(path: Path) -> str:
    """The description in a PNG's metadata, after checking that the picture shows something."""
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 100
        assert np.asarray(picture.convert("L")).std() > 5
        return picture.text.get("Description", "")
