"""The archive that tools/make_slicer_zip.py makes: unpacked, its modules import and work on slicer-core alone."""

import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOGIC = Path(__file__).parent

_START = "import sys; sys.path[:0] = [{modules!r}, {logic!r}]"
_IMPORT_ALL = """
import importlib, json
from pathlib import Path
from core_application import CoreApplication
CoreApplication().install()
root = Path({modules!r})
files = [*root.glob("*Lib/*.py"), *root.glob("*Common/**/*.py")]
names = [".".join(path.relative_to(root).with_suffix("").parts) for path in files if path.stem != "__init__"]
loaded, desktop = [], []
for name in sorted(names):
    try:
        loaded.append(importlib.import_module(name))
    except ModuleNotFoundError as error:
        menu = error.name == "qt" and name.endswith("SubjectHierarchyPlugin")
        if not menu and error.name not in ("slicer.ScriptedLoadableModule", "slicer.parameterNodeWrapper"):
            raise
        desktop.append(name.split(".")[-1])
from BrainCounterfactualLib.logic import BrainCounterfactualLogic
from BrainLesionSimLib.logic import BrainLesionSimLogic
from BrainReaderStudyLib.logic import BrainReaderStudyLogic
from BrainCounterfactualCommon.host import resourceFolder
from BrainCounterfactualCommon.worker.models import readCards
from logic_fake_client import FakeClient
made = [BrainCounterfactualLogic(FakeClient()), BrainLesionSimLogic(FakeClient()), BrainReaderStudyLogic()]
print(json.dumps([[m.__file__ for m in loaded], [type(m).__name__ for m in made], len(readCards()), desktop]))
"""
_WORKER = """
import json, time
from BrainCounterfactualCommon.worker.client import WorkerClient
client = WorkerClient({python!r}, extraPaths=[{modules!r}])
answers = []
client.hello(answers.append, answers.append)
ends = time.monotonic() + 60
while not answers and time.monotonic() < ends:
    client.poll()
    time.sleep(0.05)
client.stop()
print(json.dumps([answers[0].data["version"], len(answers[0].data["models"])]))
"""


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("make_slicer_zip", ROOT / "tools" / "make_slicer_zip.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def unpacked(tool, tmp_path_factory):
    """The modules' folder of the archive, in a path with a space, as on many desktops."""
    folder = tmp_path_factory.mktemp("My Slicer")
    count = tool.make(folder / "extension.zip", "5.12")
    with zipfile.ZipFile(folder / "extension.zip") as archive:
        assert len(archive.namelist()) == len(set(archive.namelist())) == count
        archive.extractall(folder)
    (modules,) = folder.glob("BrainCounterfactual-*/lib/Slicer-5.12/qt-scripted-modules")
    return modules


def run(code, folder, **values):
    """Output of a Python process that knows the unpacked folder and nothing of the source tree's packages."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    program = (_START + code).format(logic=str(LOGIC), **values)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=environment, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_every_module_file_imports_from_the_unpacked_folder(unpacked, tmp_path):
    files, logics, cards, desktop = run(_IMPORT_ALL, tmp_path, modules=str(unpacked))
    # all that may need more than slicer-core
    menus = {"HealSubjectHierarchyPlugin", "InduceSubjectHierarchyPlugin"}
    assert set(desktop) <= {"modulewidget", "panelwidget", "moduletest", "parameters", "selftest", *menus}
    assert not [file for file in files if not Path(file).is_relative_to(unpacked)]
    assert {"logic.py", "volumes.py", "session.py"} <= {Path(file).name for file in files}
    assert logics == ["BrainCounterfactualLogic", "BrainLesionSimLogic", "BrainReaderStudyLogic"]
    assert cards == len(list((ROOT / "Resources" / "Models").glob("*.json")))


def test_the_worker_starts_from_the_unpacked_folder(unpacked, tmp_path, enginePython):
    version, models = run(_WORKER, tmp_path, modules=str(unpacked), python=str(enginePython))
    assert f'"{version}"' in (unpacked / "braindiffusion" / "__init__.py").read_text(encoding="utf-8")
    assert models >= len(list((unpacked / "Resources" / "Models").glob("*.json")))


def test_the_description_names_what_slicer_asks_for(tool):
    facts = dict(line.split(" ", 1) for line in tool.description().splitlines())
    assert facts["depends"] == "PyTorch"
    assert facts["homepage"].startswith("https://")
    assert "never for diagnosis" in facts["description"]
