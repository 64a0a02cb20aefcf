"""What is installed, when and how: without installing anything."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest

from BrainCounterfactualCommon.host import Problem
from BrainCounterfactualCommon.panels import texts
from BrainCounterfactualCommon.worker import dependencies
from BrainCounterfactualCommon.worker.client import WorkerClient

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def versions(monkeypatch):
    """What metadata tells: Slicer 5.12 fresh from its installer."""
    known = {"numpy": "2.4.6", "SimpleITK": "2.5.5", "vtk": "9.6.0", "scipy": "1.17.1", "pydicom": "3.0.2"}
    monkeypatch.setattr(dependencies, "installedVersion", known.get)
    monkeypatch.delenv("BRAINDIFFUSION_PYTHON", raising=False)
    return known


@pytest.fixture
def pip(monkeypatch):
    """Stand-ins for slicer.util.pip_install, slicer.packaging and PyTorchUtils; what they were asked."""
    asked = types.SimpleNamespace(install=[], ensure=[], torch=[])
    util = types.SimpleNamespace(pip_install=asked.install.append)
    packaging = types.ModuleType("slicer.packaging")
    packaging.pip_ensure = lambda *arguments, **named: asked.ensure.append(
        (*arguments, named, Path(named["constraints"]).read_text())
    )
    utils = types.ModuleType("PyTorchUtils")
    logic = types.SimpleNamespace(installTorch=lambda **named: asked.torch.append(named) or object())
    utils.PyTorchUtilsLogic = lambda: logic
    slicer = types.ModuleType("slicer")
    slicer.util, slicer.packaging = util, packaging
    for name, module in (("slicer", slicer), ("slicer.packaging", packaging), ("PyTorchUtils", utils)):
        monkeypatch.setitem(sys.modules, name, module)
    return asked


@pytest.mark.parametrize(
    ("version", "minimum", "enough"),
    [("2.8.0+cu126", "2.8", True), ("2.10.1", "2.8", True), ("2.7.1", "2.8", False), ("1.6.0rc1", "1.6", True)],
)
def test_versions_are_compared_by_number(version, minimum, enough):
    assert dependencies.atLeast(version, minimum) is enough


def test_fresh_slicer_needs_torch_and_the_rest(versions, pip):
    assert not dependencies.satisfied()
    plan = dependencies.makePlan()
    assert plan.torch
    assert [re.split(">=", p)[0] for p in plan.packages] == ["monai", "einops", "safetensors", "scikit-image"]
    assert "torch>=2.8" in plan.text()
    assert "numpy" not in " ".join(plan.packages)


def test_everything_there_needs_nothing(versions):
    versions.update({"torch": "2.8.0", "monai": "1.6.0", "einops": "0.8", "safetensors": "0.5", "scikit-image": "0.25"})
    assert dependencies.satisfied()
    assert dependencies.makePlan().isEmpty
    assert not dependencies.makePlan(repair=True).isEmpty


def test_slicers_own_packages_are_held(versions, pip):
    dependencies.install(dependencies.makePlan())
    assert pip.torch == [{"askConfirmation": True, "torchVersionRequirement": ">=2.8"}]
    packages, named, constraints = pip.ensure[0]
    assert packages[0] == "monai>=1.6"
    assert named["requester"] == "BrainCounterfactual"
    assert set(constraints.split()) >= {"numpy==2.4.6", "SimpleITK==2.5.5", "vtk==9.6.0"}
    assert not pip.install


def test_older_slicer_without_pip_ensure(versions, pip, monkeypatch):
    monkeypatch.setitem(sys.modules, "slicer.packaging", None)
    dependencies.install(dependencies.makePlan())
    assert "-c" in pip.install[0]
    assert "monai>=1.6" in pip.install[0]


def test_wheel_folder_needs_no_network_and_no_pytorchutils(versions, pip):
    dependencies.install(dependencies.makePlan(wheelFolder="/media/wheels of mine"))
    arguments = pip.install[0]
    assert arguments[:3] == ["--no-index", "--find-links", "/media/wheels of mine"]
    assert "torch>=2.8" in arguments
    assert not pip.torch
    assert not pip.ensure


def test_repair_installs_again_but_not_what_slicer_brings(versions, pip):
    versions.update({"torch": "2.8.0", "monai": "1.6.0", "einops": "0.8", "safetensors": "0.5", "scikit-image": "0.25"})
    dependencies.install(dependencies.makePlan(repair=True))
    arguments = pip.install[0]
    assert arguments[:2] == ["--force-reinstall", "--no-deps"]
    assert not [a for a in arguments if a.startswith(("scipy", "numpy", "torch"))]


def test_failures_are_said_with_what_to_do(versions, pip, monkeypatch):
    def fails(*_arguments, **_named):
        raise RuntimeError("exit status 1")

    monkeypatch.setattr(sys.modules["slicer.packaging"], "pip_ensure", fails)
    with pytest.raises(Problem, match="could not be installed") as caught:
        dependencies.install(dependencies.makePlan())
    assert "exit status 1" in caught.value.cause
    assert "Repair" in caught.value.action
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    with pytest.raises(Problem, match="PyTorch extension is missing"):
        dependencies.install(dependencies.makePlan())


def test_full_disk_is_seen_before_anything_is_downloaded(versions, pip, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: types.SimpleNamespace(free=1_000_000_000))
    with pytest.raises(Problem, match="not enough room"):
        dependencies.install(dependencies.makePlan())
    assert not pip.torch


def test_a_missing_pytorch_extension_is_said_before_anybody_is_asked(versions):
    with pytest.raises(Problem, match="PyTorch extension is missing") as caught:
        dependencies.makePlan()
    assert "Extensions Manager" in caught.value.action
    assert dependencies.makePlan(wheelFolder="/media/wheels").torch


def test_a_slicer_whose_own_packages_are_too_old_is_said(versions, pip):
    """Asking for a newer scipy while Slicer's is held would have no solution."""
    versions["scipy"] = "1.10.1"
    with pytest.raises(Problem, match="too old") as caught:
        dependencies.makePlan()
    assert "scipy 1.10.1" in caught.value.cause


@pytest.fixture
def foreign(monkeypatch):
    """This Python, as one the user names, from inside Slicer: its launcher's variables would let no other start."""
    monkeypatch.setenv("BRAINDIFFUSION_PYTHON", sys.executable)
    monkeypatch.setattr(dependencies, "_foreignVersions", {})
    own = dict(os.environ)
    slicer = types.ModuleType("slicer")
    slicer.util = types.SimpleNamespace(startupEnvironment=lambda: {**own, "PYTHONPATH": "/of/the/user"})
    monkeypatch.setitem(sys.modules, "slicer", slicer)
    monkeypatch.setenv("PYTHONHOME", "/Slicer/lib/Python")
    monkeypatch.setenv("PYTHONPATH", "/Slicer/lib/Python/site-packages")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/Slicer/lib")
    return slicer


def test_another_python_starts_without_slicers_variables(foreign):
    environment = dependencies.engineEnvironment()
    assert "PYTHONHOME" not in environment
    assert "PYTHONPATH" not in environment
    assert environment.get("LD_LIBRARY_PATH") != "/Slicer/lib"
    client = WorkerClient(dependencies.enginePython(), extraPaths=[str(ROOT)], environment=environment)
    assert client._environment["PYTHONPATH"] == str(ROOT)  # the engine, and nothing of Slicer
    started = subprocess.run([sys.executable, "-c", "print(1)"], env=environment, capture_output=True, check=False)
    assert started.stdout.strip() == b"1"
    asIs = subprocess.run([sys.executable, "-c", "print(1)"], env=dict(os.environ), capture_output=True, check=False)
    assert asIs.returncode != 0  # what was passed on before


def test_packages_of_another_python_are_shown_and_not_touched(foreign, versions, monkeypatch):
    """``versions`` is what Slicer has: no torch. That Python has numpy and pytest at least."""
    monkeypatch.setenv("BRAINDIFFUSION_PYTHON", sys.executable)
    monkeypatch.setattr(dependencies, "PACKAGES", (("pytest", "1"), ("no-such-package", "1")))
    monkeypatch.setattr(dependencies, "TORCH", ("numpy", "1"))
    rows = {row["name"]: row["installed"] for row in dependencies.status()}
    assert rows["pytest"] == importlib.metadata.version("pytest")
    assert rows["no-such-package"] is None
    assert not dependencies.satisfied()
    with pytest.raises(Problem, match="not installed into from here") as caught:
        dependencies.makePlan()
    assert "no-such-package>=1" in caught.value.cause
    assert sys.executable in texts.dependencies(dependencies.status(), dependencies.foreignPython())


def test_another_python_that_does_not_start_has_nothing(foreign, monkeypatch, tmp_path):
    monkeypatch.setenv("BRAINDIFFUSION_PYTHON", str(tmp_path / "no-python"))
    assert {row["installed"] for row in dependencies.status()} == {None}


def test_check_runs_in_another_process_and_says_what_fails(tmp_path):
    with pytest.raises(Problem, match="does not start"):
        dependencies.verify(str(tmp_path / "no-such-python"))
    if not sys.platform.startswith("win"):
        broken = tmp_path / "python"
        broken.write_text("#!/bin/sh\necho \"ModuleNotFoundError: No module named 'monai'\" >&2\nexit 1\n")
        broken.chmod(0o755)
        with pytest.raises(Problem) as caught:
            dependencies.verify(str(broken))
        assert "monai" in caught.value.cause


def test_requirements_are_those_of_the_package():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for name, minimum in (dependencies.TORCH, *dependencies.PACKAGES):
        assert f'"{name}>={minimum}"' in text
