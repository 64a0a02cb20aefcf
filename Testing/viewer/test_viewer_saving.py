"""A result leaves the viewer as DICOM and as a teaching file: into a folder, as a download; what is wrong is said."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pydicom
import pytest
from desk import PATIENCE, Desk
from test_viewer_induction import quickly

pytestmark = pytest.mark.weights


def healed(desk: Desk) -> None:
    """One slice of the sample, healed in a box."""
    desk.until(lambda: desk.state("worker_state") == "ready", PATIENCE)
    desk.step(3)
    desk.place_box("Axial", (0.36, 0.32), (0.44, 0.48))
    desk.click("box-to-mask")
    desk.until(lambda: desk.mask_ml() > 0)
    desk.step(4)
    desk.click("heal-mask-drawn")
    desk.until(lambda: desk.state("heal_mask") == "drawn")
    desk.click("heal-slice")
    desk.until_message("healed in", PATIENCE)
    desk.step(5)


def downloaded(desk: Desk, hook: str) -> zipfile.ZipFile:
    with desk.page.expect_download(timeout=120_000) as waiting:
        desk.click(hook)
    desk.until(lambda: not desk.state("running"))
    return zipfile.ZipFile(io.BytesIO(Path(waiting.value.path()).read_bytes()))


def dicom_and_check(desk: Desk, folder: Path) -> None:
    desk["folder"].fill(str(folder))
    assert not desk.has("burn-in")
    desk.choose("save-format", "dicom")
    desk["burn-in"].click()
    desk.until(lambda: desk.state("burn_in"))
    desk.shot("save_dicom")
    desk.click("save")
    desk.until_message("Saved", 120)
    assert str(folder / "SYNTHETIC_dicom_1") in desk.text("saved")
    files = sorted((folder / "SYNTHETIC_dicom_1" / "counterfactual").iterdir())
    data = pydicom.dcmread(files[0])
    assert len(files) == 14
    assert (data[0x0008001C].value, data.BurnedInAnnotation) == ("YES", "NO")
    assert data.ImageType[:2] == ["DERIVED", "SECONDARY"]
    desk["burn-in"].click()
    desk.until(lambda: not desk.state("burn_in"))
    desk.click("save")  # again: a folder of its own
    desk.until(lambda: (folder / "SYNTHETIC_dicom_2" / "provenance.json").is_file())
    desk.until(lambda: not desk.state("running"))
    plain = pydicom.dcmread(folder / "SYNTHETIC_dicom_2" / "counterfactual" / files[0].name)
    assert (plain.pixel_array != data.pixel_array).any(), "the mark in the corner"
    with downloaded(desk, "download") as archive:
        inside = archive.namelist()
    assert sum(Path(name).match("SYNTHETIC_dicom_1/counterfactual/*.dcm") for name in inside) == 14


def case_and_check(desk: Desk, folder: Path) -> None:
    desk.click("writing-case")
    assert desk["save-case"].is_disabled(), "it needs a title"
    texts = {
        "title": "A drawn lesion", "history": "A phantom.\nThere is no patient.", "findings": "Bright.",
        "diagnosis": "Simulated.", "question": "On which side?", "choices": "The left\nThe right",
    }  # fmt: skip
    for name, text in texts.items():
        desk[f"case-{name}"].click()
        desk[f"case-{name}"].press_sequentially(text, delay=2)
    desk.click("save-case")
    desk.until(lambda: "right answer is not told" in desk.text("notice"), 60)
    desk.click("notice-close")
    assert not list(folder.glob("SYNTHETIC_case*"))
    desk.choose("case-answer", "2")
    desk.shot("teaching_form")
    desk.click("save-case")
    desk.until(lambda: str(folder / "SYNTHETIC_case_1") in desk.text("saved"), 180)
    record = json.loads((folder / "SYNTHETIC_case_1" / "case.json").read_text())
    assert {name: record[name] for name in texts} == {**texts, "choices": ["The left", "The right"]}
    assert record["answer"] == 2
    assert "<script" in (folder / "SYNTHETIC_case_1" / "index.html").read_text()
    with downloaded(desk, "download-case") as archive:
        inside = archive.namelist()
    assert "SYNTHETIC_case_1/index.html" in inside


def induction_and_check(desk: Desk, folder: Path) -> None:
    """The other tab saves in the same way."""
    desk.tab("induce")
    desk.step(2)
    desk.page.keyboard.press("F2")
    desk.until(lambda: desk.has("layout-edit-area"))
    desk.place_box("Axial", (0.58, 0.55), (0.66, 0.7), "lesion")
    desk.click("box-to-lesion")
    desk.until(lambda: desk.ml("lesion") > 0)
    quickly(desk)
    desk.click("induce")
    desk.until_message("Painted in", PATIENCE)
    desk.until(lambda: desk.has("save"))
    assert desk["save-format"].input_value() == "dicom"
    desk.click("save")
    desk.until(lambda: str(folder / "SYNTHETIC_dicom_3") in desk.text("saved"), 120)
    series = list((folder / "SYNTHETIC_dicom_3" / "diseased").iterdir())
    assert len(series) == 14
    assert pydicom.dcmread(series[0]).SeriesDescription.startswith("SYNTHETIC - induced lesion")


def test_dicom_and_a_teaching_file(start_viewer, open_desk, sample: Path, tmp_path: Path) -> None:
    desk = open_desk(start_viewer(sample))
    healed(desk)
    dicom_and_check(desk, tmp_path / "out")
    case_and_check(desk, tmp_path / "out")
    induction_and_check(desk, tmp_path / "out")
    (tmp_path / "file").write_text("not a folder")
    desk["folder"].fill(str(tmp_path / "file"))
    desk.click("save")
    desk.until(lambda: "annot" in desk.text("notice"), 60)
    desk.until(lambda: not desk.state("running"))
    assert desk.problems == []
