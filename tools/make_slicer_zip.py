"""Pack the extension as Slicer would install it, without building it: standard library only.

    python tools/make_slicer_zip.py --out BrainCounterfactual.zip [--slicer 5.12]

Unpack it anywhere and add its ``lib/Slicer-5.12/qt-scripted-modules`` to Slicer's additional module paths: modules,
engine, weights and the sample scan lie there side by side, as CMake installs them (a test compares the two).
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

ROOT = Path(__file__).resolve().parents[1]
ENGINE = ("braindiffusion", "Resources/Models", "Resources/Samples")
PACKED = (".safetensors", ".gz", ".png")
"""Cannot be made smaller."""


def module_files() -> Iterator[tuple[Path, str]]:
    """Every installed file, and its path below ``qt-scripted-modules``."""
    shared = {ROOT / "BrainCounterfactualCommon"}
    for folder in sorted(path.parent for path in ROOT.glob("Brain*/CMakeLists.txt")):
        for file in tree(folder):
            yield file, file.relative_to(ROOT if folder in shared else folder).as_posix()
    for name in ENGINE:
        for file in tree(ROOT / name):
            yield file, file.relative_to(ROOT).as_posix()


def tree(folder: Path) -> list[Path]:
    """What is to be installed of a folder."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return [path for path in files if "__pycache__" not in path.parts and path.name != "CMakeLists.txt"]


def description() -> str:
    """The extension's description file, one ``key value`` a line, from the facts in CMakeLists.txt."""
    facts = dict(
        re.findall(r'^set\(EXTENSION_(\w+) "(.*)"\)$', (ROOT / "CMakeLists.txt").read_text(encoding="utf-8"), re.M)
    )
    keys = ("DEPENDS", "HOMEPAGE", "CONTRIBUTORS", "CATEGORY", "ICONURL", "STATUS", "DESCRIPTION", "SCREENSHOTURLS")
    return "\n".join(["scm local", *(f"{key.lower()} {facts[key]}" for key in keys), "enabled 1", ""])


def make(out: Path, slicer: str) -> int:
    """Write the archive; the number of files in it."""
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M)
    assert version
    top = f"BrainCounterfactual-{version[1]}"
    files = [(file, f"{top}/lib/Slicer-{slicer}/qt-scripted-modules/{name}") for file, name in module_files()]
    files += [
        (ROOT / name, f"{top}/share/Slicer-{slicer}/{name}") for name in ("LICENSE.txt", "README.md", "THIRD_PARTY.md")
    ]
    partial = out.with_name(out.name + ".partial")
    try:
        with ZipFile(partial, "w") as archive:
            for file, name in files:
                archive.write(file, name, ZIP_STORED if file.suffix in PACKED else ZIP_DEFLATED)
            archive.writestr(f"{top}/share/Slicer-{slicer}/BrainCounterfactual.s4ext", description())
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
    return len(files) + 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("BrainCounterfactual.zip"))
    parser.add_argument("--slicer", default="5.12", help="major.minor of the Slicer it is for")
    arguments = parser.parse_args()
    print(f"{make(arguments.out, arguments.slicer)} files in {arguments.out}")


if __name__ == "__main__":
    main()
