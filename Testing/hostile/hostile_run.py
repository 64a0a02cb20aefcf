"""Runs hostile inputs in a process of its own, with bounded memory, and tells of each on a line of JSON.

``python Testing/hostile/hostile_run.py FOLDER [--from NAME] [--only TEXT]`` makes and reads all of them below FOLDER.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import hostile_messages
import hostile_studies
from hostile_corpus import corpus

MOST_MEMORY = 768 << 20
"""Bytes an input may take beyond what the program has when it begins."""


def bound_memory() -> bool:
    """Refuse to give more memory than that; whether this system can."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (ImportError, OSError):
        return False
    limit = pages * os.sysconf("SC_PAGE_SIZE") + MOST_MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    return True


def peak(start: bool = False) -> float:
    """MB resident at most since the last ``start``; 0 where the system does not say."""
    with suppress(OSError):
        if start:
            Path("/proc/self/clear_refs").write_text("5")
        lines = Path("/proc/self/status").read_text().splitlines()
        return float(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
    return 0.0


def snapshot(folder: Path) -> dict[str, str]:
    """What lies below a folder: names, and digests of plain files up to 4 MB."""
    out = {}
    for place, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(place) / name
            plain = path.is_file() and not path.is_symlink() and path.stat().st_size < 1 << 22
            out[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest() if plain else ""
    return out


def tell(**facts: Any) -> None:
    """One line for whoever started this."""
    print(json.dumps(facts), file=OUT, flush=True)


def judge(case: Any, folder: Path) -> dict[str, Any]:
    """Make an input, read it, and say what came of it: ``verdict`` is empty where it is as it must be."""
    from braindiffusion.errors import BrainDiffusionError

    place, out = folder / "in", folder / "out"
    place.mkdir(parents=True)
    given = case.make(place)
    before, kept = snapshot(place), peak(start=True)
    begun = time.process_time()
    came, verdict = "result", ""
    try:
        result = case.run(given, out)
        if case.check is None:
            verdict = "it was read, and must be refused"
        else:
            case.check(result)
    except BrainDiffusionError as error:
        came = type(error).__name__
        if came not in case.errors:
            verdict = f"{came} is not what is due: {error}"
        elif not error.why or not error.action:
            verdict = f"{came} lacks its cause or what to do"
        elif out.exists():
            verdict = "refused, yet something was written"
    except AssertionError as error:
        came, verdict = "wrong", f"a wrong result: {error}"
    except BaseException as error:
        came, verdict = "fault", f"{type(error).__name__}: {str(error)[:300]}"
    seconds, grown = time.process_time() - begun, peak() - kept
    if not verdict and snapshot(place) != before:
        verdict = "the input was changed"
    return {"came": came, "verdict": verdict, "seconds": round(seconds, 3), "mb": round(max(grown, 0.0), 1)}


def main() -> None:
    """See above."""
    options = argparse.ArgumentParser()
    options.add_argument("folder", type=Path)
    options.add_argument("--from", dest="first", type=int, default=0)
    options.add_argument("--only", default="")
    given = options.parse_args()
    os.environ["BRAINDIFFUSION_MODELS"] = str(given.folder / "models")
    cases = corpus()
    import braindiffusion.pipeline.heal  # noqa: F401 - what every command loads, before memory is bounded

    hostile_studies.made()
    hostile_messages.session()
    tell(bounded=bound_memory())
    for number, case in enumerate(cases):
        if number >= given.first and given.only in str(case):
            tell(number=number, name=str(case))
            tell(number=number, name=str(case), **judge(case, given.folder / f"{number:03d}"))


OUT = sys.stdout
if __name__ == "__main__":
    OUT = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # decoders print what they think
    main()
