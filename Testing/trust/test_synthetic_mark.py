"""Every export says that it is synthetic. Who adds a way to write files adds it here, with its proof."""

from __future__ import annotations

import ast
import gzip
import io
from collections.abc import Callable
from pathlib import Path

import kill_trials
import numpy as np
import pytest
from PIL import Image

from braindiffusion import NOT_FOR_DIAGNOSIS
from braindiffusion.cli.options import FileFormat, ResultFormat
from braindiffusion.models import registry

ROOT = Path(__file__).resolve().parents[2]
MARK = NOT_FOR_DIAGNOSIS.encode()

EXPORTS = {
    "export.results.write_saliency", "export.results.write_induction", "export.results.write_result",
    "worker.exports.export",
    "export.teaching.case.write_case", "export.teaching.collection.write_index", "studies.create.create_study",
    "cohort.table.write_table", "export.series.write_series",
}  # fmt: skip
"""Writers of what may be taken for a patient's picture, or tells of one; each has its proof below."""
OTHERS = ("cli.bench.", "cli.evaluate.", "cli.tools.", "evaluation.", "training.", "models.", "studies.analyse.",
          "export.deidentify.", "export.deidentify_cases.")  # fmt: skip
"""Measurements, reports, weights, packs, and copies of real scans, which carry a notice of their own."""


def writers() -> set[str]:
    """Every function of the engine that opens an ``OutputFolder``, as module.function."""
    found = set()
    for path in sorted((ROOT / "braindiffusion").rglob("*.py")):
        module = path.relative_to(ROOT / "braindiffusion").with_suffix("").as_posix().replace("/", ".")
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(function, ast.FunctionDef):
                continue
            calls = [n for n in ast.walk(function) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
            if any(call.func.id == "OutputFolder" for call in calls):  # type: ignore[attr-defined]
                found.add(f"{module}.{function.name}")
    return found


def test_every_writer_is_known() -> None:
    """A new one fails here until it is listed: among the exports with a proof below, or among the others."""
    unknown = {name for name in writers() if not name.startswith(OTHERS)} ^ EXPORTS
    assert unknown == set()


# --- what a mark is, by kind of file ----------------------------------------------------------------------------


def _picture(path: Path) -> bool:
    with Image.open(path) as picture:
        return NOT_FOR_DIAGNOSIS in str(picture.info.get("Description", ""))


def _animation(path: Path) -> bool:
    with Image.open(path) as film:
        return film.n_frames > 1 and NOT_FOR_DIAGNOSIS.encode() in film.info.get("comment", b"")


def _dicom(path: Path) -> bool:
    import pydicom

    ds = pydicom.dcmread(path, stop_before_pixels=True)
    return "SYNTHETIC" in str(ds.SeriesDescription) and NOT_FOR_DIAGNOSIS in str(ds.get("DerivationDescription", MARK))


def _json(path: Path) -> bool:
    text = path.read_text(encoding="utf-8")
    return NOT_FOR_DIAGNOSIS in text or '"synthetic": true' in text


MARKED: dict[str, Callable[[Path], bool]] = {
    ".gz": lambda path: MARK in gzip.decompress(path.read_bytes())[:352],
    ".nrrd": lambda path: MARK in path.read_bytes()[:2000],
    ".png": _picture,
    ".gif": _animation,
    ".dcm": _dicom,
    ".json": _json,
    ".html": lambda path: MARK in path.read_bytes(),
    ".csv": lambda path: "SYNTHETIC" in path.name or MARK in path.read_bytes(),
    ".md": lambda path: MARK in path.read_bytes(),
}


def unmarked(folder: Path, *but: str) -> list[str]:
    """Files without the mark; a kind of file that is not known has none."""
    files = {p.relative_to(folder).as_posix(): p for p in sorted(folder.rglob("*")) if p.is_file()}
    assert files
    kept = {name: path for name, path in files.items() if not name.startswith(but or ("\0",))}
    return [name for name, path in kept.items() if not MARKED.get(path.suffix, lambda p: False)(path)]


# --- the proofs -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory):
    """A scan and its healing with small networks, and the brain."""
    from healing_models import add_model

    from braindiffusion.pipeline.heal import heal_scan
    from braindiffusion.settings import HealSettings

    models = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BRAINDIFFUSION_MODELS", str(models))
        registry.release()
        add_model(models, "flair-healthy-128", 64)
        scan, lesion, brain = kill_trials._scan()
        settings = HealSettings(model="flair-healthy-128", steps=2, samples=2, device="cpu", precision="fp32")
        yield scan, heal_scan(scan, settings, mask=lesion, brain=brain), brain
        registry.release()


@pytest.mark.parametrize("file_format", list(ResultFormat))
def test_a_healing_in_every_format(result, tmp_path: Path, file_format: ResultFormat) -> None:
    from braindiffusion.export.results import write_result

    write_result(tmp_path / "out", result[0], result[1], file_format.value)
    assert unmarked(tmp_path / "out") == []


def test_an_unmarked_file_is_found(result, tmp_path: Path) -> None:
    """The check can fail: the same files with the mark taken out."""
    from braindiffusion.export.results import write_result

    write_result(tmp_path / "out", result[0], result[1])
    picture = tmp_path / "out" / "overview.png"
    Image.open(io.BytesIO(picture.read_bytes())).copy().save(picture)
    (tmp_path / "out" / "new.tiff").write_bytes(b"a new format")
    volume = tmp_path / "out" / "counterfactual.nii.gz"
    data = gzip.decompress(volume.read_bytes())
    volume.write_bytes(gzip.compress(data.replace(b"SYNTHETIC", b"ORDINARY_")))
    assert unmarked(tmp_path / "out") == ["counterfactual.nii.gz", "new.tiff", "overview.png"]


def test_an_induction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models").mkdir()
    monkeypatch.setenv("BRAINDIFFUSION_MODELS", str(tmp_path / "models"))
    registry.release()
    kill_trials.induce(tmp_path / "models").act(tmp_path / "out", 1)
    registry.release()
    assert unmarked(tmp_path / "out") == []


def test_a_growth_series_in_every_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lesion_models import add_lesion_model

    from braindiffusion.export.series import write_series
    from braindiffusion.pipeline.series import induce_series
    from braindiffusion.settings import InduceSettings

    (tmp_path / "models").mkdir()
    monkeypatch.setenv("BRAINDIFFUSION_MODELS", str(tmp_path / "models"))
    registry.release()
    add_lesion_model(tmp_path / "models")
    scan, lesion, brain = kill_trials._scan()
    settings = InduceSettings(
        method="mededit", model="lesion-128", steps=2, resamples=1, device="cpu", precision="fp32"
    )
    results = list(induce_series(scan, lesion, settings, 2, brain=brain))
    registry.release()
    for file_format in FileFormat:
        write_series(tmp_path / file_format.value, scan, results, file_format.value)
        assert unmarked(tmp_path / file_format.value) == []


def test_saliency_in_every_format(result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from braindiffusion.cli.app import app
    from braindiffusion.pipeline import saliency
    from braindiffusion.pipeline.provenance import record

    scan, healed, _ = result
    table = [{"slice": s, "lesion_probability": 0.5, "judged_lesion": True} for s in (4, 5)]
    found = saliency.SaliencyResult(healed.saliency, healed.stack, table, record(scan, task="saliency"), [], scan)
    monkeypatch.setattr(saliency, "saliency_scan", lambda *a, **k: found)
    monkeypatch.setattr("braindiffusion.io.read.read_scan", lambda path, **options: scan)
    for file_format in FileFormat:
        out = tmp_path / file_format.value
        command = ["saliency", "scan.nii", "--out", str(out), "--format", file_format.value, "--progress", "none"]
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, done.output
        assert unmarked(out) == []


def test_a_teaching_file_and_its_list(result, tmp_path: Path) -> None:
    """Its copy of the real scan says that it is one; all the rest is synthetic."""
    from braindiffusion.export.deidentify import clean_of
    from braindiffusion.export.identifiers import Identifiers
    from braindiffusion.export.teaching.case import Texts, write_case
    from braindiffusion.export.teaching.collection import write_index
    from braindiffusion.export.teaching.result import make_pair

    scan, healed, brain = result
    clean = clean_of(scan, None, Identifiers(), face="keep", brain=brain, synthetic=False)
    pair = make_pair(clean, scan, healed.counterfactual, "heal", healed.lesion, healed.provenance, "keep")
    write_case(tmp_path / "cases" / "one", pair, Texts("A case"))
    write_index(tmp_path / "cases")
    real = ("one/volumes/original", "one/dicom/original", "one/thumbnail.png")
    assert unmarked(tmp_path / "cases", *real) == []
    assert b"DE-IDENTIFIED" in gzip.decompress((tmp_path / "cases/one/volumes/original.nii.gz").read_bytes())[:352]


def test_a_study_says_that_it_may_be(tmp_path: Path) -> None:
    """Readers must not be told which scans are; all are told that some may be."""
    kill_trials.study(tmp_path).act(tmp_path / "out", 1)
    files = [p for p in (tmp_path / "out").rglob("*") if p.is_file()]
    assert len(files) > 6
    for path in files:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        assert b"MAY BE SYNTHETIC - NOT FOR DIAGNOSIS" in data, path


def test_the_table_of_a_cohort(tmp_path: Path) -> None:
    from braindiffusion.cohort.table import Row, write_table
    from braindiffusion.settings import HealSettings

    write_table(tmp_path / "out", [Row("a", "done", "k")], HealSettings())
    assert [name for name in unmarked(tmp_path / "out") if not name.endswith(".csv")] == []


def test_a_worker_export(result, tmp_path: Path) -> None:
    from braindiffusion.worker.exports import export
    from braindiffusion.worker.protocol import Request
    from braindiffusion.worker.session import Job

    scan, healed, _ = result
    np.save(tmp_path / "v.npy", scan.voxels)
    np.save(tmp_path / "c.npy", healed.counterfactual)
    given = {"voxels": str(tmp_path / "v.npy"), "affine": scan.affine.tolist(), "modality": "FLAIR"}
    fields = {
        "scan": given, "task": "heal", "counterfactual": str(tmp_path / "c.npy"), "provenance": healed.provenance,
        "target": str(tmp_path / "out"),
    }  # fmt: skip
    export(Job(Request(1, "export", fields), lambda *a, **k: None))  # type: ignore[arg-type]
    assert unmarked(tmp_path / "out") == []
