"""What may be said: requests read and checked line by line, events written as whole lines.

Nothing that arrives can end the worker: whatever is malformed becomes a :class:`ProtocolError` for its sender.
"""

from __future__ import annotations

import json
import os
import threading
import tokenize
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np

from braindiffusion.errors import MaskGeometryError, OutputError, ProtocolError
from braindiffusion.io.checks import MOST_GREY
from braindiffusion.volume.scan import Scan

MOST_BYTES_A_LINE = 1 << 20
MOST_VOXELS = 2**31
KINDS = "biuf"
"""Array types that are taken: truth values, integers, floats."""

T = TypeVar("T")


@dataclass(frozen=True)
class Request:
    """One request: its number (the client's), its name, and its fields."""

    id: int
    name: str
    fields: dict[str, Any]


def malformed(why: str, action: str = "Send one JSON object a line; see docs/worker.md.") -> ProtocolError:
    """The error of a message that says nothing we know."""
    return ProtocolError("The worker was asked something it does not understand.", why, action)


class NamelessError(ProtocolError):
    """A message without the name of a request, but with the number to answer to."""

    def __init__(self, number: int) -> None:
        ours = malformed("It lacks the name of a 'request'.")
        super().__init__(ours.what, ours.why, ours.action)
        self.number = number

    def as_dict(self) -> dict[str, str]:
        """The error under the name clients know."""
        return super().as_dict() | {"class": "ProtocolError"}


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def parse(line: bytes) -> Request:
    """One line -> one request.

    Raises:
        ProtocolError: not a JSON object with a whole number ``id`` and a name ``request``.
    """
    try:
        message = json.loads(line, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise malformed(f"The line is not JSON: {error}.") from error
    if not isinstance(message, dict):
        raise malformed("The line is not JSON object.")
    number, name = message.pop("id", None), message.pop("request", None)
    if type(number) is not int:
        raise malformed("It lacks a whole number 'id'.")
    if not isinstance(name, str):
        raise NamelessError(number)
    return Request(number, name, message)


def read_requests(stream: BinaryIO, most: int = MOST_BYTES_A_LINE) -> Iterator[Request | ProtocolError]:
    """Requests as they arrive, until the stream ends; a line that is none comes as its error."""
    while line := stream.readline(most + 1):
        if len(line) > most and not line.endswith(b"\n"):
            while line and not line.endswith(b"\n"):
                line = stream.readline(most)
            yield malformed(f"The line is longer than {most} bytes.")
            continue
        if not line.strip():
            continue
        try:
            yield parse(line)
        except ProtocolError as error:
            yield error


class Writer:
    """Events out, one line each, from any thread. A reader that has gone is not an error: stdin tells that too."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._lock = stream, threading.Lock()

    def __call__(self, event: str, number: int | None, **facts: Any) -> None:
        """Write one event about request ``number`` (``None`` when it is not known)."""
        line = json.dumps({"event": event, "id": number, **facts}, allow_nan=False).encode("ascii") + b"\n"
        with self._lock:
            try:
                self._stream.write(line)
                self._stream.flush()
            except (OSError, ValueError):
                return


# --- arrays -------------------------------------------------------------------------------------------------


def load_array(path: Any, name: str, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """A 3-D array from a .npy file; pickles are refused, and so is a size that the file does not hold.

    Raises:
        ProtocolError: no such file, not .npy, not three-dimensional, no numbers.
        MaskGeometryError: another shape than ``shape``.
    """
    if not isinstance(path, str) or not path.endswith(".npy") or not os.path.isfile(path):
        raise malformed(f"'{name}' is not an .npy file: {str(path)[:200]}.")
    try:
        # mapped first, so that a header that promises more than the file holds costs no memory
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    except (
        OSError, ValueError, EOFError, TypeError, OverflowError, SyntaxError, RecursionError, MemoryError,
        tokenize.TokenError, zipfile.BadZipFile,
    ) as error:  # fmt: skip
        raise malformed(f"'{name}' cannot be read: {str(error)[:200]}.") from error
    if not isinstance(mapped, np.ndarray):
        raise malformed(f"'{name}' is not a single array.")
    if mapped.ndim != 3 or mapped.dtype.kind not in KINDS or not 0 < mapped.size <= MOST_VOXELS:
        raise malformed(f"'{name}' is {mapped.dtype} of shape {mapped.shape}, not one 3-D volume of numbers.")
    if shape is not None and mapped.shape != shape:
        why = f"'{name}' has shape {mapped.shape}, the scan {shape}."
        raise MaskGeometryError("The mask lies on another grid than the scan.", why, "Resample it to the scan's grid.")
    return np.array(mapped)


def save_array(folder: Path, name: str, values: np.ndarray) -> str:
    """Write ``folder/name.npy``; returns its path.

    Raises:
        OutputError: it cannot be written.
    """
    path = folder / f"{name}.npy"
    try:
        np.save(path, values, allow_pickle=False)
    except OSError as error:
        raise OutputError(
            "The result cannot be written.", error.strerror or str(error), "Free some space on the disk, and try again."
        ) from error
    return str(path)


def folder_of(request: Request) -> Path:
    """Where the arrays of an answer go."""
    given = request.fields.get("folder")
    if not isinstance(given, str) or not os.path.isabs(given) or not os.path.isdir(given):
        raise malformed("'folder' must be an absolute path to a directory.")
    return Path(given)


# --- fields -------------------------------------------------------------------------------------------------


def read_scan(given: Any) -> Scan:
    """SCAN -> :class:`Scan`.

    Raises:
        ProtocolError: fields are missing or of the wrong kind.
    """
    if not isinstance(given, dict):
        raise malformed("'scan' is not an object.")
    try:
        affine = np.array(given.get("affine"), dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise malformed("'scan.affine' is not a 4 x 4 matrix.") from error
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise malformed("'scan.affine' is not a 4 x 4 matrix that spans a grid.")
    modality, name = text(given, "modality"), text(given, "name")
    voxels = load_array(given.get("voxels"), "scan.voxels")
    if voxels.dtype.kind == "f" and not float(np.abs(voxels).max()) <= MOST_GREY:  # nor NaN
        raise malformed("The scan holds voxels that are not numbers, or beyond 1e30.", "Replace them, say by 0.")
    source = {"format": "worker"} | ({"path": Path(name).name} if name else {})
    return Scan(voxels, affine, modality.upper() if modality else None, source)


def text(given: Any, field: str) -> str | None:
    """A text field of SCAN, or ``None``."""
    value = given.get(field)
    if value is not None and not isinstance(value, str):
        raise malformed(f"'scan.{field}' is not a text.")
    return value


def whole(given: Any, name: str, least: int = 0) -> int | None:
    """A whole number, or ``None``."""
    if given is None:
        return None
    if type(given) is not int or not least <= given <= MOST_VOXELS:
        raise malformed(f"'{name}' is not a whole number from {least}.")
    return given
