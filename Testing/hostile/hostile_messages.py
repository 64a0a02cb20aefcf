"""Hostile messages to the worker: lines, fields, arrays; answered with an error, and the next one is heard."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np
from hostile_case import Case
from hostile_packs import npy

IDENTITY = np.eye(4).tolist()
PROTOCOL = ("ProtocolError",)


@cache
def session() -> tuple[Any, Queue[dict[str, Any]]]:
    """One worker with the real handlers for all messages, and what it tells."""
    from braindiffusion.worker.handlers import Bench
    from braindiffusion.worker.protocol import Writer
    from braindiffusion.worker.session import Session

    told: Queue[dict[str, Any]] = Queue()

    class Stream:
        def write(self, line: bytes) -> None:
            told.put(json.loads(line))

        def flush(self) -> None: ...

    bench = Bench()
    return Session(Writer(Stream()), bench.jobs, bench.answers), told  # type: ignore[arg-type]


def talk(lines: bytes, out: Path) -> Any:
    """Send them to the worker; its first answer is returned or, if it is an error, raised."""
    from braindiffusion import errors
    from braindiffusion.worker.protocol import read_requests

    worker, told = session()
    worker.run(read_requests(io.BytesIO(lines)))
    event = told.get(timeout=20)
    while event["event"] == "progress":
        event = told.get(timeout=20)
    worker.run(read_requests(io.BytesIO(b'{"id": 77, "request": "nonsense"}\n')))
    after = told.get(timeout=20)
    assert (after["event"], after["id"]) == ("error", 77), "the next request is not heard"
    if event["event"] == "error":
        facts = event["error"]
        kind = getattr(errors, facts["class"], None)
        assert kind is not None, f"a defect: {facts['cause']}"
        raise kind(facts["what"], facts["cause"], facts["action"])
    return event


def line(data: bytes) -> Callable[[Path], bytes]:
    """Any bytes as one line."""
    return lambda folder: data + b"\n"


def ask(name: str = "prepare", **fields: Any) -> Callable[[Path], bytes]:
    """A request with a sound scan and these fields."""

    def make(folder: Path) -> bytes:
        np.save(folder / "a.npy", np.arange(60, dtype=np.int16).reshape(3, 4, 5))
        scan = {"voxels": str(folder / "a.npy"), "affine": IDENTITY}
        whole = {"id": 1, "request": name, "scan": scan, "folder": str(folder)} | fields
        return json.dumps(whole).encode() + b"\n"

    return make


def scan(**fields: Any) -> Callable[[Path], bytes]:
    """A request whose scan has these fields; a function is given the folder."""

    def make(folder: Path) -> bytes:
        whole = json.loads(ask()(folder))
        whole["scan"] |= {k: v(folder) if callable(v) else v for k, v in fields.items()}
        return json.dumps(whole).encode() + b"\n"

    return make


def array(data: bytes | np.ndarray, field: str = "voxels") -> Callable[[Path], bytes]:
    """A request whose scan (or mask) is this .npy file."""

    def make(folder: Path) -> bytes:
        path = folder / "b.npy"
        np.save(path, data) if isinstance(data, np.ndarray) else path.write_bytes(data)
        return scan(voxels=str(path))(folder) if field == "voxels" else ask("heal", **{field: str(path)})(folder)

    return make


def _claims(shape: str, descr: str = "<i2") -> bytes:
    return npy(f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}", bytes(120))


def _fifo(folder: Path) -> str:
    os.mkfifo(folder / "p.npy")
    return str(folder / "p.npy")


def cases() -> list[Case]:
    """All of them."""
    big, settings = 10**400, ("SettingsError",)
    either = ("ProtocolError", "SettingsError", "ScanGeometryError", "NotABrainError", "SliceRangeError")
    lines = {
        "nothing but a bracket": b"{", "brackets": b"[" * 100_000, "objects": b'{"a":' * 50_000, "no unicode": b"\xff\xfe",
        "a list": b"[]", "a number": b"7", "a long number": b"9" * 9000, "zeros": bytes(100), "no id": b'{"request": "heal"}',
        "an id of text": b'{"id": "1", "request": "heal"}', "an id of truth": b'{"id": true, "request": "heal"}',
        "no request": b'{"id": 1}', "a request that is none": b'{"id": 1, "request": "reboot"}',
        "a request of 1 MB": b'{"id": 1, "request": "' + b"x" * 1_000_000 + b'"}', "NaN": b'{"id": 1, "request": "heal", "x": NaN}',
        "2 MB": b'{"id": 1, "x": "' + b"x" * 2_000_000 + b'"}', "a name with dots": b'{"id": 1, "request": "__class__"}',
        "an id of 4000 digits": b'{"id": ' + b"9" * 4000 + b', "request": "reboot"}',
    }  # fmt: skip
    listed: list[tuple[str, Callable[[Path], bytes], tuple[str, ...]]] = [
        *((f"a line: {name}", line(data), PROTOCOL) for name, data in lines.items()),
        *((f"scan is {value!r:.20}", ask(scan=value), PROTOCOL) for value in (None, 3, "x", [], {})),
        *((f"settings are {value!r:.20}", ask(settings=value), either) for value in (3, "x", [1], {"steps": "x"}, {"steps": -1}, {"percentile": big}, {"slices": [[], []]}, {"nothing": 1}, {"fusion": []}, {"fusion": {}})),
        ("a model that climbs", ask(settings={"model": "../../x"}), ("ModelNotFoundError",)),
        ("a device that is none", ask(settings={"device": "tpu"}), (*settings, "DeviceError")),
        *((f"folder is {value!r:.20}", ask("heal", folder=value), PROTOCOL) for value in (None, 3, "", "nowhere", "/dev/null", "x" * 5000, "a\0b", "\ud800")),
        *((f"affine is {name}", scan(affine=value), either) for name, value in {"null": None, "text": "x", "3 x 3": [[1] * 3] * 3, "zeros": [[0] * 4] * 4, "words": [["x"] * 4] * 4, "beyond float": [[big] * 4] * 4, "nested": [[[1]]], "huge": (np.diag([1e300, 1e300, 1e300, 1]).tolist()), "tiny": np.diag([1e-2, 1e-2, 1e-6, 1]).tolist(), "sheared": [[1, 0.9, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], "a bottom row": [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [3, 0, 0, 0]]}.items()),
        *((f"voxels are {value!r:.20}", scan(voxels=value), PROTOCOL) for value in (None, 3, [], "", "none.npy", "/etc/passwd", "x" * 5000 + ".npy", "a\0.npy", "\ud800.npy")),
        *((f"{field} is {value!r:.20}", scan(**{field: value}), either) for field in ("modality", "name", "key") for value in (3, [], {})),
        *((f"a view of slice {value!r:.20}", ask("heal", view_slice=value), either) for value in (-1, "x", 1.5, big, [])),
        ("a mask that is no file", ask("heal", mask="none.npy"), PROTOCOL),
        ("a mask of another shape", array(np.zeros((2, 2, 2)), "mask"), ("MaskGeometryError",)),
        ("an induction of nothing", ask("induce"), PROTOCOL),
        ("a shape of words", ask("shape", shape={"kind": 3}), either),
        ("an estimate of -5 slices", ask("estimate", slices=-5), PROTOCOL),
        ("an estimate of too many slices", ask("estimate", slices=big), either),
        ("an export of nothing", ask("export"), PROTOCOL),
        ("a teaching file of nothing", ask("teach"), PROTOCOL),
        *((f"an array that {name}", array(data), PROTOCOL) for name, data in {
            "is empty": b"", "is cut": _claims("(3, 4, 5)")[:-9], "claims 4 TB": _claims("(1000000, 2000, 2000)"),
            "claims 2^80 bytes": _claims("(1099511627776, 1048576, 1024)"), "has a negative shape": _claims("(-3, 4, 5)"),
            "has 2 axes": _claims("(12, 5)"), "has 40 axes": _claims("(" + "1," * 40 + ")"), "has no voxels": _claims("(0, 4, 5)"),
            "is of objects": _claims("(3, 4, 5)", "|O"), "is of texts": _claims("(3, 4, 5)", "|S2"), "is complex": _claims("(1, 3, 5)", "<c8"),
            "is of nested brackets": npy("(" * 5000), "is of minus signs": npy("-" * 9000 + "1"), "has a header that is cut": npy("{'descr'"),
            "is of a future version": npy("{}", version=(9, 9)), "is a pickle": b"\x80\4cos\nsystem\n.", "is a zip": b"PK\3\4" + bytes(99),
            "holds NaN": np.full((3, 4, 5), np.nan), "holds infinity": np.full((3, 4, 5), np.inf, "f2"),
            "holds 1e300": np.arange(60.0).reshape(3, 4, 5) * 1e300,
        }.items()),
    ]  # fmt: skip
    if os.name == "posix":
        listed.append(("an array that is a pipe", scan(voxels=_fifo), PROTOCOL))
    return [Case("message", name, make, talk, errors) for name, make, errors in listed]
