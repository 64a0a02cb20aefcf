"""The worker's ``export`` and ``teach``: what they refuse, what they warn of, and that a cancel leaves nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_series import ID, NAME, oblique, write_series
from test_deidentify import everything, head, leaked

from braindiffusion.errors import Cancelled, OutputError, ProtocolError, QuarantineError, SettingsError
from braindiffusion.worker.exports import export, teach
from braindiffusion.worker.protocol import Request
from braindiffusion.worker.session import Job

PROVENANCE = {"task": "heal", "settings": {}, "models": [], "scan": {"file": f"{NAME}.nii"}}


def job(fields: dict[str, Any]) -> Job:
    return Job(Request(1, "x", fields), lambda *_, **__: None)  # type: ignore[arg-type]


@pytest.fixture
def fields(tmp_path: Path) -> dict[str, Any]:
    """A request for a healing of a ball, complete for both."""
    voxels = np.pad(head(), ((16, 16), (16, 16), (0, 0)))
    healed = voxels.copy()
    healed[34:44, 30:40, 4:7] //= 2
    for name, array in (("voxels", voxels), ("counterfactual", healed), ("lesion", healed != voxels)):
        np.save(tmp_path / f"{name}.npy", array)
    scan = {"voxels": str(tmp_path / "voxels.npy"), "affine": oblique().tolist(), "modality": "FLAIR", "name": None}
    arrays = {name: str(tmp_path / f"{name}.npy") for name in ("counterfactual", "lesion")}
    return {
        "scan": scan, "task": "heal", "provenance": PROVENANCE, "target": str(tmp_path / "out"), "face": "keep",
        "texts": {"title": "A case", "choices": [], "history": "well before"}, **arrays,
    }  # fmt: skip


def test_an_export_names_its_files(fields: dict[str, Any], tmp_path: Path) -> None:
    answer = export(job(fields))
    files = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert set(answer["files"]) == files
    assert {"provenance.json", "counterfactual/0001.dcm"} <= files
    assert leaked(everything(tmp_path / "out")) == []
    with pytest.raises(OutputError, match="earlier export"):
        export(job(fields))


def test_source_images_are_referred_to_where_they_are_one_series(fields: dict[str, Any], tmp_path: Path) -> None:
    source = write_series(tmp_path / "source", head(), oblique(), planted=False)
    assert export(job({**fields, "source": [str(source)]}))["warnings"] == []
    first = pydicom.dcmread(tmp_path / "out" / "counterfactual" / "0001.dcm")
    assert first.FrameOfReferenceUID == pydicom.dcmread(source / "000.dcm").FrameOfReferenceUID
    assert "SourceImageSequence" in first
    write_series(tmp_path / "other", head(), oblique(), planted=False)
    both = [str(source), str(tmp_path / "other"), str(tmp_path / "nowhere.dcm")]
    answer = export(job({**fields, "source": both, "target": str(tmp_path / "again")}))
    assert "not referred to" in answer["warnings"][0]
    assert "SourceImageSequence" not in pydicom.dcmread(tmp_path / "again" / "counterfactual" / "0001.dcm")


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"target": "relative"}, ProtocolError), ({"target": None}, ProtocolError), ({"task": "cure"}, ProtocolError),
        ({"counterfactual": None}, ProtocolError), ({"provenance": []}, ProtocolError),
        ({"source": "x"}, ProtocolError),
        ({"texts": {"title": ""}}, SettingsError), ({"texts": {"titel": "x"}}, SettingsError),
        ({"face": "paint"}, ProtocolError), ({"names": [1]}, ProtocolError),
        ({"names": ["Before^Anna"]}, QuarantineError), ({"paths": [f"/data/{ID} well"]}, None),
    ],
)  # fmt: skip
def test_what_is_refused(fields: dict[str, Any], tmp_path: Path, change: dict[str, Any], kind: Any) -> None:
    if kind is None:
        assert "index.html" in teach(job({**fields, **change}))["files"]
        return
    with pytest.raises(kind):
        teach(job({**fields, **change}))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("request_", [export, teach])
def test_a_cancelled_job_leaves_nothing(fields: dict[str, Any], tmp_path: Path, request_: Any) -> None:
    asked = job(fields)
    asked.cancelled.set()
    with pytest.raises(Cancelled):
        request_(asked)
    assert not (tmp_path / "out").exists()
