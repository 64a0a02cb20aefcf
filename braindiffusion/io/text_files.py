"""Small files of text that somebody gave: plain ones only, of bounded size, and JSON of bounded depth."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

MOST_BYTES = 1 << 28
"""A study of ten thousand cases has a tenth of it."""


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """All bytes of a file.

    Raises:
        OSError: it is not there, is a pipe, a socket or a device (which would be waited for), or has more than
            ``most`` bytes.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with open(handle, "rb") as stream:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "It is not a plain file.", str(path))
        content = stream.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"It has more than {most >> 20} MB.", str(path))
    return content


def read_text(path: Path, encoding: str = "utf-8", errors: str = "strict") -> str:
    """The text of a file; raises as :func:`read_bytes`, and ValueError where it is encoded otherwise."""
    return read_bytes(path).decode(encoding, errors)


def parse_json(content: str | bytes) -> Any:
    """Data from JSON.

    Raises:
        ValueError: it is not JSON, or nested too deeply.
    """
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError("It is nested too deeply.") from error


def read_json(path: Path, errors: str = "strict") -> Any:
    """Data from a JSON file; raises as :func:`read_bytes` and :func:`parse_json`."""
    return parse_json(read_text(path, errors=errors))
