"""Hostile names and places: what is found where a scan is expected."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

from hostile_case import LAS, Case, Check, Make, holds, ramp, there_and_back
from product_run import save_nifti

LONG = "x" * 80


def named(name: str) -> Make:
    """A sound scan under a hostile name (with folders, where it has any)."""

    def make(folder: Path) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return save_nifti(path, ramp(), LAS)

    return make


def given(path: str) -> Make:
    """A path that nothing lies at."""
    return lambda folder: folder / path


def _bytes(data: bytes, name: str) -> Make:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    return make


def _folder(name: str) -> Make:
    def make(folder: Path) -> Path:
        (folder / name).mkdir()
        return folder / name

    return make


def _deep(folder: Path) -> Path:
    """A path of some 3000 characters."""
    return save_nifti(_dive(folder, 36) / "a.nii", ramp(), LAS)


def _dive(folder: Path, levels: int) -> Path:
    for _ in range(levels):
        folder = folder / LONG
    folder.mkdir(parents=True)
    return folder


def _not_unicode(folder: Path) -> Path:
    path = folder / os.fsdecode(b"scan-\xff\xfe_FLAIR.nii.gz")
    return save_nifti(path, ramp(), LAS)


def _link(target: str, name: str = "a.nii.gz") -> Make:
    def make(folder: Path) -> Path:
        (folder / name).symlink_to(target)
        return folder / name

    return make


def _linked(folder: Path) -> Path:
    (folder / "b.nii.gz").symlink_to(save_nifti(folder / "a.nii.gz", ramp(), LAS))
    return folder / "b.nii.gz"


def _loops(folder: Path) -> Path:
    inside = folder / "series"
    inside.mkdir()
    (inside / "again").symlink_to(inside)
    (inside / "a").symlink_to(inside / "b")
    (inside / "b").symlink_to(inside / "a")
    return inside


def _fifo(name: str) -> Make:
    def make(folder: Path) -> Path:
        os.mkfifo(folder / name)
        return folder / name

    return make


def _fifo_in_series(folder: Path) -> Path:
    (folder / "series").mkdir()
    os.mkfifo(folder / "series" / "000.dcm")
    return folder / "series"


def _socket(folder: Path) -> Path:
    place = os.open(folder, os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX) as plug:
            plug.bind(f"/proc/self/fd/{place}/a.nii")  # the whole path may be too long for a socket
    finally:
        os.close(place)
    return folder / "a.nii"


def _forbidden(folder: Path) -> Path:
    path = save_nifti(folder / "a.nii.gz", ramp(), LAS)
    path.chmod(0)
    return path


def _pair(folder: Path) -> Path:
    path = save_nifti(folder / "whole.nii", ramp(), LAS)
    (folder / "a.hdr").write_bytes(path.read_bytes()[:348])
    shutil.move(path, folder / "a.img")
    return folder / "a.hdr"


def cases() -> list[Case]:
    """All of them; those that this system cannot make are left out."""
    right, missing, unreadable = holds(ramp(), LAS), "ScanNotFoundError", "ScanUnreadableError"
    listed: list[tuple[str, Make, str | tuple[str, ...], Check | None]] = [
        ("spaces", named("a scan of  mine .nii.gz"), (), right),
        ("unicode", named("größe ☃ 脳 мозг.nii.gz"), (), right),
        ("right-to-left and combining", named("מוח é̈\u202e.nii.gz"), (), right),
        ("quotes and shell signs", named("a'\"$(touch x);`id`&|*?.nii.gz"), (), right),
        ("a leading dash", named("--out.nii.gz"), (), right),
        ("a leading dot", named(".hidden.nii.gz"), (), right),
        ("capital suffix", named("SCAN.NII.GZ"), (unreadable,), right),
        ("percent signs", named("%s%n%d%05d.nii.gz"), (), right),
        ("a tab and a line break", named("a\tb\nc.nii.gz"), (), right),
        ("a folder called like a scan", named("folder.nii.gz/a.nii.gz"), (), right),
        ("a name of 255 bytes", named("x" * 248 + ".nii.gz"), (), right),
        ("dots in the path", named("a/../b/./c.nii.gz"), (missing,), right),
        ("nothing", given("none.nii.gz"), missing, None),
        ("an empty path", lambda folder: Path(""), missing, None),
        ("a name that is too long", given("x" * 5000 + ".nii.gz"), (missing, unreadable), None),
        ("a path that is too long", given("/".join([LONG] * 900) + "/a.nii"), (missing, unreadable), None),
        ("a zero byte in the name", given("a\0.nii.gz"), (missing, unreadable), None),
        ("a file as folder", lambda folder: _bytes(b"x", "a.nii")(folder) / "b.nii", (missing, unreadable), None),
        ("a home that is none", lambda folder: Path("~nobody-of-this-name/a.nii"), (missing, unreadable), None),
        ("an empty folder", _folder("series"), missing, None),
        ("an empty folder called like a scan", _folder("a.nii.gz"), missing, None),
        *((f"an empty file {name}", _bytes(b"", name), unreadable, None) for name in ("a.nii", "a.nii.gz", "a.nrrd", "a.nhdr", "a.mha", "a.mhd", "a.dcm", "a")),
        *((f"text in {name}", _bytes(b"not a scan " * 99, name), unreadable, None) for name in ("a.nii", "a.nii.gz", "a.nrrd", "a.mha", "a.dcm", "a.txt", "a.png")),
        *((f"one byte in {name}", _bytes(b"\x1f", name), unreadable, None) for name in ("a.nii", "a.nii.gz", "a.nrrd", "a.mha", "a.dcm")),
        *((f"random bytes in {name}", _bytes(ramp((9000,)).tobytes()[::-1], name), unreadable, None) for name in ("a.nii", "a.nii.gz", "a.nrrd", "a.mha")),
        ("a program", _bytes(b"\x7fELF" + bytes(900), "a.nii"), unreadable, None),
        ("a zip", _bytes(b"PK\3\4" + bytes(900), "a.nii.gz"), unreadable, None),
        ("a pickle", _bytes(b"\x80\4cos\nsystem\n.", "a.nii"), unreadable, None),
        ("a header and an image", _pair, (), right),
    ]  # fmt: skip
    if os.name == "posix":
        listed += [
            ("a path of 3000 characters", _deep, (unreadable,), right),
            ("a link", _linked, (), right),
            ("a link to itself", _link("a.nii.gz"), (missing, unreadable), None),
            ("a link to nothing", _link("nowhere"), missing, None),
            ("a link to /dev/zero", _link("/dev/zero"), unreadable, None),
            ("a link to /dev/null", _link("/dev/null"), unreadable, None),
            ("a link to /dev/zero called NRRD", _link("/dev/zero", "a.nrrd"), unreadable, None),
            ("links that loop in a folder", _loops, missing, None),
            ("a pipe", _fifo("a.nii.gz"), unreadable, None),
            ("a pipe without suffix", _fifo("a"), unreadable, None),
            ("a pipe in a series", _fifo_in_series, missing, None),
        ]
    if Path("/proc/self/fd").is_dir():
        listed += [
            ("a name that is no unicode", _not_unicode, (unreadable,), right),
            ("a socket", _socket, unreadable, None),
            ("a file that cannot be read through", _link("/proc/self/mem"), unreadable, None),
        ]
    if os.name == "posix" and os.geteuid() != 0:
        listed.append(("a file without permission", _forbidden, unreadable, None))
    return [
        Case("names and places", name, make, there_and_back, (errors,) if isinstance(errors, str) else errors, check)
        for name, make, errors, check in listed
    ]
