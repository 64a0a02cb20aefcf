"""``python -m braindiffusion.worker``: speaks the protocol of docs/worker.md on stdin and stdout, and nothing else."""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import suppress
from typing import BinaryIO

FOLDER = "BRAINDIFFUSION_CLIENT_FOLDER"
"""Names the client's temporary folder, which goes when the worker ends."""


def claim_stdout() -> BinaryIO:
    """The real stdout for events alone; all else that prints, in Python or below it, goes to stderr."""
    sys.stdout.flush()
    mine = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return mine


def yield_priority() -> None:
    """Run below the viewer's priority, where the system allows."""
    with suppress(Exception):  # a courtesy
        if os.name == "nt":
            import ctypes

            kernel = ctypes.windll.kernel32  # type: ignore[attr-defined]
            kernel.GetCurrentProcess.restype = ctypes.c_void_p
            kernel.SetPriorityClass(ctypes.c_void_p(kernel.GetCurrentProcess()), 0x4000)  # BELOW_NORMAL
        else:
            os.nice(5)


def main() -> None:
    """Serve one client until it quits, or until stdin ends because it died."""
    events = claim_stdout()
    yield_priority()
    from braindiffusion.worker.handlers import Bench
    from braindiffusion.worker.protocol import Writer, read_requests
    from braindiffusion.worker.session import Session

    bench = Bench()
    with suppress(KeyboardInterrupt):
        Session(Writer(events), bench.jobs, bench.answers, bench.warm_up()).run(read_requests(sys.stdin.buffer))
    if folder := os.environ.get(FOLDER):  # a client that died leaves its arrays there: somebody's scan
        shutil.rmtree(folder, ignore_errors=True)
    sys.stderr.flush()
    os._exit(0)  # at once, even in the middle of a job


if __name__ == "__main__":
    main()
