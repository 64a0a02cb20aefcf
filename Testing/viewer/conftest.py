"""Browser tests: the viewer as a user starts it, a real Chromium, a real worker, everything done by mouse and key.

Skipped, saying so, where trame-slicer, playwright or a Chromium is missing. ``BRAINVIEWER_CHROMIUM`` names the browser;
``BRAINVIEWER_SHOTS`` a folder that keeps the pictures (docs/tutorial is filled with it).
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = ("BrainViewer", "BrainCounterfactual", "BrainLesionSim", "BrainReaderStudy")
for folder in (Path(__file__).parent, Path(__file__).parents[1], *(ROOT / name for name in MODULES), ROOT):
    sys.path.insert(0, str(folder))

SAMPLE = ROOT / "Resources" / "Samples" / "SYNTHETIC_FLAIR_lesion.nii.gz"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "viewer: starts the viewer (trame-slicer, OpenGL; most of them Chromium)")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in Path(item.path).parents:
            item.add_marker("viewer")


@pytest.fixture(scope="session")
def viewer_packages() -> None:
    """Skip where the viewer cannot run at all."""
    for package in ("trame_slicer", "slicer", "torch"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"The viewer needs {package}: pip install -e '.[viewer]'")
    from BrainViewerLib.server.glcheck import GraphicsMissingError, require_graphics

    try:
        require_graphics()
    except GraphicsMissingError as error:
        pytest.skip(str(error))


@pytest.fixture
def start_viewer(viewer_packages: None, tmp_path: Path) -> Iterator[Callable]:
    """``start_viewer(scan, **environment)``: the command line in a process of its own, ended after the test."""
    from desk import Server

    servers: list[Server] = []

    def start(scan: Path | None = None, **environment: str) -> Server:
        servers.append(Server(scan, tmp_path / "viewer.log", environment))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(scope="session")
def inside() -> Callable[[str, Path], None]:
    """``inside(script, scan)``: no browser; a script with the same host and logic, in a process of its own."""

    def run(script: str, scan: Path) -> None:
        paths = os.pathsep.join(str(path) for path in (ROOT, *(ROOT / name for name in MODULES)))
        done = subprocess.run(
            [sys.executable, "-c", script, str(scan)],
            capture_output=True, text=True, timeout=300, env={**os.environ, "PYTHONPATH": paths}, check=False,
        )  # fmt: skip
        assert "INSIDE OK" in done.stdout, done.stdout[-2000:] + done.stderr[-4000:]

    return run


@pytest.fixture
def open_desk(browser, tmp_path: Path) -> Iterator[Callable]:
    """``open_desk(server)``: a page on a viewer, closed after the test; it must not have logged an error."""
    from desk import Desk

    desks: list[Desk] = []

    def open_it(server) -> Desk:
        shots = os.environ.get("BRAINVIEWER_SHOTS")
        desks.append(Desk(browser, server, Path(shots) if shots else tmp_path))
        return desks[-1]

    yield open_it
    for desk in desks:
        desk.close()


@pytest.fixture(scope="session")
def sample() -> Path:
    """The shipped synthetic scan."""
    return SAMPLE
