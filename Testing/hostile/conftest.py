"""Hostile inputs are read in a process of their own; here is what came of each."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

RUN = Path(__file__).with_name("hostile_run.py")
MOST_SECONDS = 60
"""For one input, on a busy machine; alone most take a hundredth of a second."""


class Reader:
    """A process that reads the corpus; begun again after an input that ends it, or makes it wait."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.told = folder, {}
        self.bounded = False
        first: int | None = 0
        while first is not None:
            first = self._run(first)

    def _run(self, first: int) -> int | None:
        """The number to go on from, or ``None`` at the end."""
        command = [sys.executable, str(RUN), str(self.folder), "--from", str(first)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with (self.folder / "errors.txt").open("ab") as errors:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment)
        lines: queue.Queue[str] = queue.Queue()

        def listen() -> None:
            for line in process.stdout or ():
                lines.put(line)
            lines.put("")

        threading.Thread(target=listen, daemon=True).start()
        begun: dict[str, Any] = {}
        patience = 120  # to import everything
        try:
            while line := lines.get(timeout=patience):
                facts = json.loads(line)
                self.bounded |= facts.get("bounded", False)
                patience = MOST_SECONDS
                if "came" in facts:
                    self.told[facts["name"]] = facts
                begun = {} if "came" in facts else facts if "number" in facts else begun
            why = f"the program ended with {process.wait(30)}"
        except queue.Empty:
            why = f"no answer after {MOST_SECONDS} s"
        finally:
            process.kill()
            process.wait()
        if not begun:
            assert process.returncode == 0, (self.folder / "errors.txt").read_text()[-2000:]
            return None
        self.told[begun["name"]] = {**begun, "came": "nothing", "verdict": why, "seconds": 0.0, "mb": 0.0}
        return begun["number"] + 1


@pytest.fixture(scope="session")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """The whole corpus, read."""
    return Reader(tmp_path_factory.mktemp("hostile"))
