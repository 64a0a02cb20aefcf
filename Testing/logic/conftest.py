"""Logic tests: the module's logic on slicer-core, the worker in another process.

This process needs slicer-core and numpy, no torch. The worker runs in the Python named by ``BRAINDIFFUSION_PYTHON``,
else in this one.
"""

import importlib.util
import os
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
for folder in (ROOT, ROOT / "BrainCounterfactual", ROOT / "BrainLesionSim", Path(__file__).parent):
    sys.path.insert(0, str(folder))  # before site-packages: a copy installed there may be older

if importlib.util.find_spec("slicer") is None:  # slicer-core comes with the viewer extra
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def _coreApplication():
    from core_application import CoreApplication

    return CoreApplication()


@pytest.fixture
def core(_coreApplication):
    """An empty scene on slicer-core."""
    _coreApplication.install()
    _coreApplication.clear()
    yield _coreApplication
    _coreApplication.clear()
    _coreApplication.uninstall()


@pytest.fixture(scope="session")
def enginePython():
    """The Python that has torch; tests that need the worker are skipped, saying so, where there is none."""
    named = os.environ.get("BRAINDIFFUSION_PYTHON")
    if named is None and importlib.util.find_spec("torch") is None:
        pytest.skip("No torch here: set BRAINDIFFUSION_PYTHON to the Python of the engine.")
    return named or sys.executable


@pytest.fixture(scope="session")
def workerClient(enginePython):
    """One warm worker for all tests of the session."""
    from BrainCounterfactualCommon.worker.client import WorkerClient

    client = WorkerClient(enginePython, extraPaths=[str(ROOT)])
    yield client
    client.stop()


@pytest.fixture
def logic(core):
    """A logic whose worker is a stand-in that never answers by itself (see logic_fake_client.py)."""
    from BrainCounterfactualLib.logic import BrainCounterfactualLogic
    from logic_fake_client import FakeClient

    made = BrainCounterfactualLogic(FakeClient())
    yield made
    made.close()


@pytest.fixture
def head(core):
    """A small FLAIR volume, oblique and anisotropic, (k,j,i) = (6,8,10)."""
    from logic_helpers import makeVolume, obliqueAffine

    return makeVolume(np.arange(480, dtype=np.int16).reshape(6, 8, 10), obliqueAffine(), "head FLAIR")
