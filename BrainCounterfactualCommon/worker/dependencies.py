"""What the engine needs beyond Slicer, whether it is there, and how it gets there.

Nothing here runs at start-up. Looking is done with importlib.metadata (importing torch takes seconds), checking in the
worker's own Python, in another process: a half-installed package cannot take Slicer along. Slicer's own numpy,
SimpleITK and vtk are held at their versions whatever is installed.
"""

import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

from BrainCounterfactualCommon.host import Problem, packageRoot
from BrainCounterfactualCommon.host import tr as _

TORCH = ("torch", "2.8")
PACKAGES = (
    ("monai", "1.6"),
    ("einops", "0.8"),
    ("safetensors", "0.4"),
    ("scikit-image", "0.22"),
    ("scipy", "1.11"),
)
"""(name, at least this version): what the worker imports. Of these, Slicer brings scipy."""
HELD = ("numpy", "SimpleITK", "vtk", "scipy", "pydicom")
"""Slicer's own packages: no installation may change their version."""
BYTES_TORCH, BYTES_OTHERS = 8_000_000_000, 500_000_000
FOREIGN = "BRAINDIFFUSION_PYTHON"
"""Environment variable: a Python with the engine's packages, used in place of Slicer's own."""
_CHECK = "import torch, monai, safetensors, skimage, scipy, einops, braindiffusion.worker; print(torch.__version__)"


_QUERY = """
import importlib.metadata, json, sys
def version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
print(json.dumps({name: version(name) for name in sys.argv[1:]}))
"""


# --- which Python ------------------------------------------------------------------------------------------


def foreignPython():
    """The Python that the user names for the engine, or ``None``: then it is Slicer's own."""
    return os.environ.get(FOREIGN) or None


def enginePython():
    """The Python that runs the worker: the one named, else Slicer's own, else ``None`` (this one)."""
    return foreignPython() or shutil.which("PythonSlicer")


def engineEnvironment():
    """Environment of the worker: for another Python the user's own, as Slicer's makes every other Python die at start.

    Slicer's launcher sets PYTHONHOME, PYTHONPATH and the library path; a child process would inherit them.
    """
    if foreignPython() is None:
        return dict(os.environ)
    try:
        import slicer

        environment = slicer.util.startupEnvironment()
    except (ImportError, AttributeError):  # not started by Slicer's launcher
        environment = os.environ
    return {name: value for name, value in environment.items() if name not in ("PYTHONHOME", "PYTHONPATH")}


_foreignVersions = {}


def _versionsThere(python):
    """Package -> version in another Python, asked once; all ``None`` where it does not start."""
    if python not in _foreignVersions:
        names = [name for name, _minimum in (TORCH, *PACKAGES)]
        done = _run([python, "-c", _QUERY, *names], engineEnvironment(), 60)
        _foreignVersions[python] = json.loads(done.stdout) if done.returncode == 0 else dict.fromkeys(names)
    return _foreignVersions[python]


def _run(command, environment, timeoutSeconds):
    """Run a process to its end without a window; one that cannot be run has ended with code -1."""
    hidden = {"creationflags": subprocess.CREATE_NO_WINDOW} if os.name == "nt" else {}
    text = {"encoding": "utf-8", "errors": "replace"}
    try:
        return subprocess.run(
            command, env=environment, capture_output=True, timeout=timeoutSeconds, check=False, **text, **hidden
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, -1, "", str(error))


# --- what is there -----------------------------------------------------------------------------------------


def installedVersion(name):
    """Version of an installed distribution, ``None`` where there is none."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def atLeast(version, minimum):
    """Whether a version is not older, by its numbers (``2.8.0+cu126`` is 2.8.0)."""

    def numbers(text):
        found = [int(part) for part in re.findall(r"\d+", re.split(r"[+a-z]", text)[0])][:3]
        return found + [0] * (3 - len(found))

    return numbers(version) >= numbers(minimum)


def status():
    """One dict per package of the engine's Python: ``name, minimum, installed, satisfied``."""
    rows, python = [], foreignPython()
    for name, minimum in (TORCH, *PACKAGES):
        installed = installedVersion(name) if python is None else _versionsThere(python)[name]
        rows.append(
            {
                "name": name,
                "minimum": minimum,
                "installed": installed,
                "satisfied": installed is not None and atLeast(installed, minimum),
            }
        )
    return rows


def satisfied():
    """Whether everything is there, as far as metadata tells; quick enough to ask before every job."""
    return all(row["satisfied"] for row in status())


class Plan:
    """What is to be installed.

    Attributes:
        torch: whether PyTorch is missing or too old.
        packages: requirement texts of the others, such as ``monai>=1.6``.
        wheelFolder: folder of wheels to install from without a network, or ``None``.
        force: install what is there again (Repair).
    """

    def __init__(self, torch, packages, wheelFolder=None, force=False):
        self.torch = torch
        self.packages = packages
        self.wheelFolder = wheelFolder
        self.force = force

    @property
    def isEmpty(self):
        return not self.torch and not self.packages

    @property
    def bytesNeeded(self):
        return (BYTES_TORCH if self.torch else 0) + (BYTES_OTHERS if self.packages else 0)

    def text(self):
        """What to ask the user, with everything named."""
        names = (["torch>=" + TORCH[1]] if self.torch else []) + self.packages
        return _(
            "The healing engine needs these Python packages:\n{names}\n\n"
            "They take up to {size:.1f} GB and are installed into Slicer's own Python, from {source}. "
            "Slicer's numpy, SimpleITK and vtk are not changed. Install them now?"
        ).format(
            names="\n".join(names),
            size=self.bytesNeeded / 1e9,
            source=self.wheelFolder or _("the internet (PyPI, PyTorch)"),
        )

    def pipArguments(self, constraintsPath):
        """Arguments of ``pip install`` for what does not go through PyTorchUtils."""
        arguments = ["--only-binary", ":all:", "-c", constraintsPath]
        if self.wheelFolder:
            arguments = ["--no-index", "--find-links", str(self.wheelFolder), *arguments]
        if self.force:
            arguments = ["--force-reinstall", "--no-deps", *arguments]
        names = [">=".join(TORCH)] if self.torch and self.wheelFolder else []
        return [*arguments, *names, *self.packages]


def makePlan(wheelFolder=None, repair=False):
    """What is missing; with ``repair``, everything but what Slicer brings and a torch that works.

    Raises:
        Problem: it cannot be installed from here; said before anybody is asked.
    """
    rows = status()
    if foreignPython() is not None:
        lacking = ["{name}>={minimum}".format(**row) for row in rows if not row["satisfied"]]
        if not lacking and not repair:
            return Plan(False, [])
        raise Problem(
            "InstallError",
            _("{python} is not installed into from here.").format(python=foreignPython()),
            _("It is named by {variable}, and belongs to somebody else. It lacks: {names}.").format(
                variable=FOREIGN, names=", ".join(lacking) or _("nothing")
            ),
            _("Install them there with its own pip, then press Check; or start Slicer without the variable."),
        )
    held = [row for row in rows if row["name"] in HELD and row["installed"] and not row["satisfied"]]
    if held:
        raise Problem(
            "InstallError",
            _("This Slicer is too old for the engine."),
            _("It brings {name} {installed}, and {minimum} is needed; Slicer's own packages are never changed.").format(
                **held[0]
            ),
            _("Install Slicer 5.10 or newer."),
        )
    wanted = [row for row in rows if row["name"] != TORCH[0] and (not row["satisfied"] or repair)]
    packages = ["{name}>={minimum}".format(**row) for row in wanted if not (row["name"] in HELD and row["installed"])]
    plan = Plan(not rows[0]["satisfied"], packages, wheelFolder, repair)
    if plan.torch and not wheelFolder and not _hasPyTorchUtils():
        raise _noPyTorchExtension()
    return plan


def checkDisk(plan, folder=None):
    """Make sure there is room.

    Raises:
        Problem: there is not.
    """
    free = shutil.disk_usage(folder or sys.prefix).free
    if free < plan.bytesNeeded:
        raise Problem(
            "OutputError",
            _("There is not enough room for the Python packages."),
            _("{need:.1f} GB are needed, {free:.1f} GB are free in {folder}.").format(
                need=plan.bytesNeeded / 1e9, free=free / 1e9, folder=folder or sys.prefix
            ),
            _("Free some space, then try again."),
        )


def constraints():
    """Lines of a constraints file that holds Slicer's own packages where they are."""
    versions = ((name, installedVersion(name)) for name in HELD)
    return ["{}=={}".format(name, version) for name, version in versions if version]


def install(plan):
    """Carry a plan out; the user has been asked. Desktop Slicer only.

    Raises:
        Problem: no room, declined, or it failed.
    """
    checkDisk(plan)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "constraints.txt")
        with open(path, "w", encoding="utf-8") as stream:
            stream.write("\n".join(constraints()) + "\n")
        try:
            if plan.torch and not plan.wheelFolder:
                _installTorch()
            if plan.packages or (plan.torch and plan.wheelFolder):
                _installOthers(plan, path)
        except Problem:
            raise
        except Exception as error:  # pip's own errors are of many kinds
            raise Problem(
                "InstallError",
                _("The Python packages could not be installed."),
                str(error),
                _("Look into the Python console, then press Repair; or use a folder of wheels."),
            ) from error
    importlib.invalidate_caches()


def _hasPyTorchUtils():
    return "PyTorchUtils" in sys.modules or importlib.util.find_spec("PyTorchUtils") is not None


def _noPyTorchExtension():
    return Problem(
        "InstallError",
        _("The PyTorch extension is missing."),
        _("It chooses the PyTorch that fits this computer."),
        _("Install 'PyTorch' in the Extensions Manager and restart Slicer."),
    )


def _installTorch():
    try:
        import PyTorchUtils
    except ImportError as error:
        raise _noPyTorchExtension() from error
    requirement = ">=" + TORCH[1]
    if PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=True, torchVersionRequirement=requirement) is None:
        raise Problem(
            "InstallError",
            _("PyTorch was not installed."),
            _("It was declined, or the download failed."),
            _("Try again, or use a folder of wheels."),
        )


def _installOthers(plan, constraintsPath):
    import slicer

    try:
        from slicer.packaging import pip_ensure
    except ImportError:
        pip_ensure = None
    if pip_ensure is None or plan.wheelFolder or plan.force:
        slicer.util.pip_install(plan.pipArguments(constraintsPath))
        return
    pip_ensure(plan.packages, constraints=constraintsPath, requester="BrainCounterfactual", prompt_install=False)


def verify(python=None, timeoutSeconds=180):
    """Import everything in the worker's Python, in another process; the version of torch there.

    Raises:
        Problem: something cannot be imported.
    """
    python = python or enginePython() or sys.executable
    environment = engineEnvironment()
    paths = [str(packageRoot()), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    _foreignVersions.clear()
    done = _run([python, "-c", _CHECK], environment, timeoutSeconds)
    lines = done.stderr.strip().splitlines()
    if done.returncode != 0:
        raise Problem(
            "InstallError",
            _("The healing engine does not start."),
            lines[-1] if lines else _("It ended without a word."),
            _("Press Repair to install its packages again."),
        )
    return done.stdout.strip()
