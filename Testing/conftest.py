"""Fixtures of all tests: the real scans where they are at hand, and a head made from formulas."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # a core each: before numpy and torch count their threads
    # a folder for passing files each: Slicer unpacks every scene of one name in the same place
    os.environ["TMPDIR"] = str(Path(tempfile.gettempdir()) / f"braindiffusion-{os.getppid()}-{worker}")
    Path(os.environ["TMPDIR"]).mkdir(exist_ok=True)
    tempfile.tempdir = None

import numpy as np
import pytest
from chromium import chromium

from braindiffusion.volume.scan import Scan


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of development scans; tests that use it are marked ``scans``."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("BRAINDIFFUSION_DATA") or beside)
    if not folder.is_dir():
        pytest.skip(f"No development scans in {folder}: set BRAINDIFFUSION_DATA to their folder.")
    return folder


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium, one for all tests of a process: two of playwright's loops do not fit into one."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = chromium()
    if path is None:
        pytest.skip("There is no Chromium: install it, or name one in BRAINVIEWER_CHROMIUM.")
    with playwright.sync_playwright() as driver:
        session = driver.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield session
        session.close()


@pytest.fixture(scope="session")
def head_phantom() -> Scan:
    """A head as on FLAIR, int16 (64,72,20), 3.2 x 3.0 x 7.0 mm, left-handed and tilted by 5 degrees.

    Scalp, dark skull, dark fluid, grey and white matter, dark ventricles, one bright lesion in the right
    hemisphere; seeded noise.
    """
    shape, spacing = (64, 72, 20), np.array([3.2, 3.0, 7.0])
    tilt = np.deg2rad(5.0)
    turn = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([-1.0, 1.0, 1.0]) * spacing
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) - 1) / 2
    i, j, k = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    x, y, z = affine[:3, :3] @ np.stack([i, j, k]).reshape(3, -1) + affine[:3, 3:]

    def ellipsoid(centre: tuple[float, float, float], radii: tuple[float, float, float]) -> np.ndarray:
        distance = sum(((p - c) / r) ** 2 for p, c, r in zip((x, y, z), centre, radii, strict=True))
        return np.asarray(distance).reshape(shape) < 1

    grey = np.zeros(shape)
    for centre, radii, value in (
        ((0, 0, 0), (80, 98, 82), 300),  # scalp
        ((0, 0, 0), (75, 93, 77), 40),  # skull
        ((0, 0, 0), (69, 87, 71), 80),  # fluid
        ((0, 0, 0), (66, 84, 68), 420),  # grey matter
        ((0, 0, 0), (58, 76, 60), 360),  # white matter
        ((-9, -5, 5), (6, 25, 14), 70),  # ventricles
        ((9, -5, 5), (6, 25, 14), 70),
        ((34, 18, 12), (15, 17, 15), 700),  # lesion
    ):
        grey[ellipsoid(centre, radii)] = value
    noise = np.random.default_rng(0).normal(0, 12, (2, *shape))
    voxels = np.rint(np.hypot(grey + noise[0], noise[1])).astype(np.int16)
    return Scan(voxels, affine, "FLAIR", {"path": "phantom", "format": "phantom"})
