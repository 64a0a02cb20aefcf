"""Make what is given away, in one folder: wheel, source archive, Slicer archive, bill of materials, checksums.

    python tools/make_release.py --out DIR [--slicer 5.12]

Needs ``pip install hatchling``; no network. The folder must be new or empty.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import make_slicer_zip
import third_party

ROOT = Path(__file__).resolve().parents[1]


def make(out: Path, slicer: str) -> list[str]:
    """Write the folder; the names of its files.

    Raises:
        SystemExit: the folder is in use, THIRD_PARTY.md is not as it must be, or a build failed.
    """
    if out.is_dir() and any(out.iterdir()):
        raise SystemExit(f"{out} is not empty.")
    if wrong := third_party.problems():
        raise SystemExit("THIRD_PARTY.md: " + "; ".join(wrong))
    out.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(out.absolute())], cwd=ROOT, check=False
    )
    if done.returncode:
        raise SystemExit("The wheel could not be built.")
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M)
    assert version
    make_slicer_zip.make(out / f"BrainCounterfactual-{version[1]}-Slicer-{slicer}.zip", slicer)
    text = json.dumps(third_party.sbom(), indent=1) + "\n"
    (out / f"{third_party.OURS}-{version[1]}.cdx.json").write_text(text, encoding="utf-8", newline="\n")
    for name in ("LICENSE.txt", "THIRD_PARTY.md", "requirements.lock"):
        shutil.copyfile(ROOT / name, out / name)
    files = sorted(path for path in out.iterdir() if path.is_file())
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    (out / "SHA256SUMS").write_text("".join(sums), encoding="utf-8", newline="\n")
    return [path.name for path in files]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--slicer", default="5.12", help="major.minor of the Slicer it is for")
    arguments = parser.parse_args()
    print("\n".join(make(arguments.out, arguments.slicer)))


if __name__ == "__main__":
    main()
