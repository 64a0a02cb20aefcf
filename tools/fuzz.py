"""Fuzzes what reads files and lines from strangers: ``python tools/fuzz.py TARGET [libFuzzer options]``.

Needs ``pip install atheris`` (Linux or macOS), for this alone. A finding is any exception that is not one of
``braindiffusion.errors``; libFuzzer writes its bytes to ``crash-*``. Make it an input of Testing/hostile. Without
``-max_total_time=SECONDS`` it runs until stopped.
"""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["braindiffusion"]):
    from braindiffusion import cards
    from braindiffusion.errors import BrainDiffusionError
    from braindiffusion.io.nifti import load_nifti
    from braindiffusion.io.text_headers import check_meta, check_nrrd
    from braindiffusion.models import registry
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
