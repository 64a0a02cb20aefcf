"""Fuzzes what reads files and lines from strangers: ``python tools/fuzz.py TARGET [libFuzzer options]``.

Needs ``pip install atheris`` (Linux or macOS), for this alone. A finding is any exception that is not one of
``braindiffusion.errors``; libFuzzer writes its bytes to ``crash-*``. Make it an input of Testing/hostile. Without
``-max_total_time=SECONDS`` it runs until stopped.
"""

from __future__ import annotations

import io
import json
import struct
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["braindiffusion"]):
    from braindiffusion import cards
    from braindiffusion.errors import BrainDiffusionError
    from braindiffusion.export.deidentify import clean_scan
    from braindiffusion.export.deidentify_cases import acquisition_in
    from braindiffusion.export.identifiers import Identifiers
    from braindiffusion.export.teaching.collection import write_index
    from braindiffusion.healing.models import fitting
    from braindiffusion.healing.registry import METHODS
    from braindiffusion.io.nifti import load_nifti
    from braindiffusion.io.read import read_scan
    from braindiffusion.io.text_headers import check_meta, check_nrrd
    from braindiffusion.models import registry
    from braindiffusion.pipeline.stages import lesion_rule
    from braindiffusion.settings import HealSettings, settings_from
    from braindiffusion.studies import protocol, sealed
    from braindiffusion.training import packs
    from braindiffusion.worker import protocol as worker

FOLDER = Path(tempfile.mkdtemp(prefix="fuzz-"))


def of_file(name: str, read: Callable[[Path], object]) -> Callable[[bytes], None]:
    """Reads the bytes from a file."""

    def target(data: bytes) -> None:
        (FOLDER / name).write_bytes(data)
        read(FOLDER / name)

    return target


def messages(data: bytes) -> None:
    """Lines to the worker, their scan and settings."""
    for request in worker.read_requests(io.BytesIO(data)):
        if isinstance(request, worker.Request):
            for read in (
                lambda r=request: worker.read_scan(r.fields.get("scan")),
                lambda r=request: settings_from(HealSettings, r.fields.get("settings")),
                lambda r=request: worker.folder_of(r),
                lambda r=request: worker.whole(r.fields.get("view_slice"), "view_slice"),
            ):
                try:
                    read()
                except BrainDiffusionError:
                    continue


META = (
    ("ObjectType", "Image"), ("NDims", "3"), ("DimSize", "4 3 2"), ("ElementType", "MET_SHORT"),
    ("ElementDataFile", "LOCAL"),
)  # fmt: skip
NRRD = (
    ("type", "short"), ("dimension", "3"), ("sizes", "4 3 2"), ("encoding", "raw"), ("endian", "little"),
    ("space", "left-posterior-superior"), ("space directions", "(1,0,0) (0,1,0) (0,0,1)"),
)  # fmt: skip
MORE = [
    "ElementDataFile", "data file", "datafile", "byte skip", "line skip", "HeaderSize", "CompressedData", "Offset",
    "CompressedDataSize", "ElementNumberOfChannels", "TransformMatrix", "ElementSpacing", "spacings", "space origin",
    "kinds", "content", "key",
]  # fmt: skip
VALUES = [
    "LOCAL",
    "LIST",
    "a.raw",
    "/not/here",
    "../a.raw",
    "s%03d.raw 1 9 1",
    "-1",
    "nan",
    "1e999",
    "True",
    "gzip",
    "",
]
PARTS = [" = ", "=", " : ", ":", ":=", ": ", " := ", "\t=\t"]


def headers(data: bytes) -> None:
    """Text headers line by line, with colons and equals signs in all places, through the whole reader."""
    given = atheris.FuzzedDataProvider(data)
    meta = given.ConsumeBool()
    lines = [] if meta else [given.PickValueInList(["NRRD0004", "NRRD0005", "NRRD"])]
    for key, value in META if meta else NRRD:
        if given.ConsumeProbability() < 0.1:
            key, value = given.PickValueInList(MORE), given.PickValueInList(VALUES)
        usual = given.ConsumeProbability() < 0.8
        lines.append(key + ((" = " if meta else ": ") if usual else given.PickValueInList(PARTS)) + value)
        if given.ConsumeProbability() < 0.15:
            text = given.ConsumeUnicodeNoSurrogates(12)
            lines.insert(
                given.ConsumeIntInRange(0, len(lines)),
                given.PickValueInList(MORE) + given.PickValueInList(PARTS) + text,
            )
    end = given.PickValueInList(["\n", "\r\n"])
    file = FOLDER / ("a.mha" if meta else "a.nrrd")
    body = given.ConsumeBytes(60)
    file.write_bytes(end.join([*lines, "" if meta else end]).encode("utf-8", "replace") + body + bytes(60 - len(body)))
    read_scan(file)


@cache
def sound_series() -> bytes:
    """A DICOM file up to its pixels, and the pixels."""
    sys.path.append(str(Path(__file__).resolve().parents[1] / "Testing"))
    import numpy as np
    from dicom_series import oblique, write_series

    voxels = np.arange(42, dtype=np.uint16).reshape(7, 6, 1)
    return next(write_series(FOLDER / "sound", voxels, oblique(), planted=False).iterdir()).read_bytes()


def sequences(data: bytes) -> None:
    """DICOM elements put before the pixels: nested, private, of wrong lengths; read as a scan and for identifiers."""
    given = atheris.FuzzedDataProvider(data)
    raw = sound_series()
    at = raw.index(b"\xe0\x7f\x10\x00")
    out, open_now = bytearray(), 0
    for _ in range(given.ConsumeIntInRange(0, 40)):
        kind = given.ConsumeIntInRange(0, 5)
        tag = struct.pack("<2H", given.PickValueInList([0x0040, 0x0008, 0x0028, 0x5401, 0x0011]), given.ConsumeUInt(2))
        length = given.PickValueInList([0, 8, 0xFFFFFFFF, 0xFFFFFFFE, 4])
        if kind == 0:  # a run of sequences in sequences
            depth = given.ConsumeIntInRange(1, 400)
            out += (tag + b"SQ\0\0" + struct.pack("<I2HI", 0xFFFFFFFF, 0xFFFE, 0xE000, 0xFFFFFFFF)) * depth
            open_now += depth
        elif kind == 1:
            out += tag + b"SQ\0\0" + struct.pack("<I", length)
        elif kind == 2:
            out += struct.pack("<2HI", 0xFFFE, given.PickValueInList([0xE000, 0xE00D, 0xE0DD]), length)
        elif kind == 3 and open_now:
            out += struct.pack("<2HI2HI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0) * given.ConsumeIntInRange(1, open_now)
        else:
            value = given.ConsumeBytes(given.ConsumeIntInRange(0, 12))
            vr = given.PickValueInList([b"LO", b"DS", b"IS", b"UN", b"OB", b"PN", b"DA", b"UI", b"ZZ"])
            long = vr in (b"UN", b"OB")
            out += tag + vr + (struct.pack("<2xI", len(value)) if long else struct.pack("<H", len(value))) + value
    if given.ConsumeBool():
        out += struct.pack("<2HI2HI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0) * open_now
    file = FOLDER / "a.dcm"
    file.write_bytes(raw[:at] + bytes(out) + raw[at:])
    clean_scan(file, face="keep")


@cache
def sound_card() -> str:
    """A shipped one."""
    return json.dumps(dict(cards.read_card("tissue-256")))


def card_fields(data: bytes) -> None:
    """A sound card with other values in its fields, then all that goes by a card."""
    given = atheris.FuzzedDataProvider(data)
    card = json.loads(sound_card())

    def value(depth: int = 0) -> Any:
        kind = given.ConsumeIntInRange(0, 8 if depth < 3 else 5)
        if kind == 6:
            return [value(depth + 1) for _ in range(given.ConsumeIntInRange(0, 3))]
        if kind >= 7:
            keys = ["high", "low", "dif_fuse", "threshold", "anomaly", "least_mm2", "class", "args", "val", "name"]
            return {given.PickValueInList(keys): value(depth + 1) for _ in range(given.ConsumeIntInRange(0, 3))}
        texts = ["", "ANY", "FLAIR", "denoiser", "context", "lesion", "v", given.ConsumeUnicodeNoSurrogates(5)]
        numbers = [0, -1, 1 << 70, 1e308, float("nan"), 256, 0.5]
        return given.PickValueInList([None, True, given.PickValueInList(texts), given.PickValueInList(numbers)])

    fields = [
        *card,
        "gate",
        "operating_point",
        "operating_points",
        "kinds",
        "classes",
        "condition",
        "autoencoder",
        "noise",
    ]
    for _ in range(given.ConsumeIntInRange(1, 4)):
        card[given.PickValueInList(fields)] = value()
    (FOLDER / "a.json").write_text(json.dumps(card), encoding="utf-8")
    read = cards.parse_card(FOLDER / "a.json")
    read.fits("FLAIR")
    facts = (read.name, read.task, read.condition, read.context, read.kinds, read.crop)
    json.dumps(facts)
    for name, method in METHODS.items():
        if fitting(method.model, [read]):
            try:
                settings = HealSettings(method=name)
                method.options(settings, lesion_rule(settings, read) and {})
            except BrainDiffusionError:
                continue


def collection(data: bytes) -> None:
    """A teaching file's record."""
    (FOLDER / "teach" / "a").mkdir(parents=True, exist_ok=True)
    (FOLDER / "teach" / "a" / "case.json").write_bytes(data)
    write_index(FOLDER / "teach")


TARGETS: dict[str, Callable[[bytes], object]] = {
    "messages": messages,
    "array": of_file("a.npy", lambda path: worker.load_array(str(path), "mask")),
    "card": of_file("a.json", cards.parse_card),
    "weights": of_file("a.safetensors", registry.check_weights_file),
    "pack": of_file("a.npz", packs.load_pack),
    "protocol": of_file("a.json", protocol.load_protocol),
    "study": of_file("study.json", lambda path: sealed.open_study(path.parent)),
    "nifti": of_file("a.nii", load_nifti),
    "nrrd": of_file("a.nrrd", check_nrrd),
    "meta": of_file("a.mha", check_meta),
    "headers": headers,
    "sequences": sequences,
    "fields": card_fields,
    "collection": collection,
    "sidecar": of_file("a.json", lambda path: (acquisition_in(path), Identifiers().add_sidecar(path))),
}


def main() -> None:
    """Fuzz one target until it fails or its time is over."""
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        raise SystemExit(f"Name a target: {', '.join(TARGETS)}.")
    read = TARGETS[sys.argv.pop(1)]

    def once(data: bytes) -> None:
        try:
            read(data)
        except BrainDiffusionError:
            return

    atheris.Setup(sys.argv, once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
