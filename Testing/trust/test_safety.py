"""No pickle, no network, no names: by reading the source, and by running with sockets forbidden and a name planted."""

from __future__ import annotations

import ast
import gzip
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kill_trials
import numpy as np
import pytest

from braindiffusion.models import registry
from braindiffusion.worker.handlers import Bench
from braindiffusion.worker.protocol import Request
from braindiffusion.worker.session import Job, outcome

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ("braindiffusion", "BrainCounterfactualCommon", "BrainCounterfactual", "BrainLesionSim", "BrainReaderStudy",
           "BrainViewer", "tools")  # fmt: skip
UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "yaml"}
NETWORK_MODULES = {"requests", "urllib3", "httpx", "ftplib", "smtplib", "telnetlib", "aiohttp", "http", "socketserver"}
MAY_TALK = {
    # the viewer's own page, on 127.0.0.1; http.cookies
    "BrainViewer/BrainViewerLib/server/security.py": {"aiohttp", "http"},
    "BrainViewer/BrainViewerLib/server/web.py": {"aiohttp"},
}
UNSAFE_CALLS = {"eval", "exec", "__import__"}
UNSAFE_METHODS = {("torch", "load"), ("torch", "save"), ("torch", "hub"), ("np", "fromfile"), ("yaml", "load")}
PLANTED = "MUSTERFRAU_ERIKA_19500101"


def sources() -> Iterator[tuple[str, ast.Module]]:
    for folder in SHIPPED:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def unsafe(tree: ast.Module, may_import: set[str] = frozenset()) -> list[str]:  # type: ignore[assignment]
    """What a module must not do, by name."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
            roots = {"urllib3" if m == "urllib.request" else m.split(".")[0] for m in modules}
            found += sorted(roots & (UNSAFE_MODULES | NETWORK_MODULES) - may_import)
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id in UNSAFE_CALLS:
            found.append(node.func.id)
        if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
            name = (node.func.value.id, node.func.attr)
            pickles = {k.arg: k.value for k in node.keywords}.get("allow_pickle")
            if name in UNSAFE_METHODS:
                found.append(".".join(name))
            refused = isinstance(pickles, ast.Constant) and pickles.value is False
            if name[0] in ("np", "numpy") and name[1] == "load" and not refused:
                found.append("np.load")
    return found


def test_no_module_unpickles_evaluates_or_opens_a_connection() -> None:
    found = {name: unsafe(tree, MAY_TALK.get(name, set())) for name, tree in sources()}
    assert len(found) > 150
    assert {name: what for name, what in found.items() if what} == {}


@pytest.mark.parametrize(
    "line",
    [
        "import pickle", "from pickle import loads", "torch.load('x')", "np.load('x')", "eval('1')", "yaml.load(x)",
        "np.load('x', allow_pickle=True)", "import urllib.request", "from http.client import HTTPConnection",
        "import requests",
    ],
)  # fmt: skip
def test_the_reading_finds_what_it_looks_for(line: str) -> None:
    assert unsafe(ast.parse(line))


def forbid(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Refuse every socket but those inside this machine's own kernel; returns what was tried."""
    tried: list[str] = []
    real = socket.socket

    class Refused(real):  # type: ignore[misc, valid-type]
        def __init__(self, family: int = socket.AF_INET, *more: Any, **options: Any) -> None:
            if family != getattr(socket, "AF_UNIX", None):
                tried.append(f"socket {family}")
                raise OSError("sockets are forbidden here")
            super().__init__(family, *more, **options)

    def lookup(host: Any, *more: Any, **options: Any) -> Any:
        tried.append(f"look-up of {host[0] if isinstance(host, tuple) else host}")
        raise OSError("look-ups are forbidden here")

    monkeypatch.setattr(socket, "socket", Refused)
    for name in ("getaddrinfo", "gethostbyname", "create_connection"):
        monkeypatch.setattr(socket, name, lookup)
    return tried


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "models"
    folder.mkdir()
    monkeypatch.setenv("BRAINDIFFUSION_MODELS", str(folder))
    registry.release()
    yield folder
    registry.release()


def test_a_healing_and_its_export_need_no_network(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = forbid(monkeypatch)
    kill_trials.heal(models).act(tmp_path / "healed", 1)
    kill_trials.export(models).act(tmp_path / "dicom", 1)
    assert (tmp_path / "healed" / "overview.png").is_file()
    assert list((tmp_path / "dicom").rglob("*.dcm"))
    assert tried == []
    with pytest.raises(OSError, match="forbidden"):
        socket.create_connection(("example.org", 80))
    assert tried == ["look-up of example.org"]


def test_weights_are_verified_whenever_they_are_loaded(models: Path) -> None:
    from healing_models import add_model

    weights = add_model(models, "flair-healthy-128").with_suffix(".safetensors")
    registry.load_model("flair-healthy-128")
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    registry.release()
    with pytest.raises(registry.ModelCorruptError, match="corrupted"):
        registry.load_model("flair-healthy-128")


# --- names ----------------------------------------------------------------------------------------------------


def planted(folder: Path) -> bool:
    """Whether the name is in any file's bytes, unpacked where they are packed, or in any name."""
    for path in folder.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        data = gzip.decompress(data) if path.suffix == ".gz" else data
        if PLANTED in path.name or PLANTED.encode() in data or PLANTED.encode("utf-16-le") in data:
            return True
    return False


@pytest.mark.parametrize("file_format", ["nifti", "nrrd", "dicom"])
def test_folders_and_headers_with_a_name_leave_no_trace(
    models: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], file_format: str
) -> None:
    """The patient's name in the folder and in free text of the header: not in files, picture, record or on a stream."""
    import SimpleITK as sitk  # noqa: N813

    from braindiffusion.cli.app import heal_and_write
    from braindiffusion.cli.options import ProgressKind, ResultFormat
    from braindiffusion.io.read import read_scan
    from braindiffusion.settings import HealSettings

    kill_trials.heal(models)
    small, lesion, brain = kill_trials._scan()
    source = tmp_path / PLANTED / "scan_FLAIR.nii.gz"
    source.parent.mkdir()
    image = sitk.GetImageFromArray(small.voxels.T)
    image.SetSpacing((4.0, 4.0, 12.0))
    for field in ("ITK_FileNotes", "aux_file", "intent_name"):
        image.SetMetaData(field, PLANTED[:15])
    sitk.WriteImage(image, str(source))
    scan = read_scan(source)
    settings = HealSettings(steps=2, device="cpu", precision="fp32")
    out = tmp_path / "out"
    heal_and_write(scan, settings, lesion, brain, out, ResultFormat(file_format), ProgressKind.json)
    assert not planted(out)
    told = capfd.readouterr()
    assert PLANTED[:15] not in told.out + told.err
    assert len(list(out.rglob("*"))) > 5


def test_the_worker_keeps_names_out_of_its_log_and_its_answers(
    models: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    kill_trials.heal(models)
    small, lesion, brain = kill_trials._scan()
    for name, values in (("voxels", small.voxels), ("mask", lesion), ("brain", brain)):
        np.save(tmp_path / f"{name}.npy", values)
    (tmp_path / "answer").mkdir()
    told: list[Any] = []
    fields = {
        "scan": {
            "voxels": str(tmp_path / "voxels.npy"), "affine": small.affine.tolist(), "modality": "FLAIR",
            "name": f"/archive/{PLANTED}/scan_FLAIR.nii.gz", "key": PLANTED,
        },
        "mask": str(tmp_path / "mask.npy"), "brain": str(tmp_path / "brain.npy"), "folder": str(tmp_path / "answer"),
        "settings": {"steps": 2, "device": "cpu", "precision": "fp32"},
    }  # fmt: skip
    job = Job(Request(1, "heal", fields), lambda *at, **facts: told.append((at, facts)))  # type: ignore[arg-type]
    event, facts = outcome(Bench().heal, job)
    assert event == "result", facts
    assert PLANTED not in str(facts) + str(told)

    def fail(job: Job) -> dict[str, Any]:
        raise FileNotFoundError(2, "No such file", f"/archive/{PLANTED}/x.dcm")

    assert outcome(fail, job)[0] == "error"
    log = capfd.readouterr()
    assert PLANTED not in log.out + log.err
    assert "FileNotFoundError" in log.err
    assert "in fail" in log.err
