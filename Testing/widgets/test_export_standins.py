"""Saving as DICOM and as a teaching file, in both panels, on STAND-INS for Qt and Slicer's widgets."""

import dataclasses

import pytest
from panels import work

pytestmark = pytest.mark.parametrize("module", ["BrainCounterfactual", "BrainLesionSim"], indirect=True)


@pytest.fixture
def chosen(standins, tmp_path):
    """The folder that is chosen whenever one is asked for."""
    standins.qt.QFileDialog.getExistingDirectory = lambda *arguments: str(tmp_path)
    return tmp_path


def written(widget, *names):
    """The worker answers that it wrote these files."""
    from BrainCounterfactualCommon.worker.client import Result

    job = widget.logic.client.last
    job.state = "done"
    job.tell("onResult", Result({}, {"files": list(names)}))


def test_standin_dicom(widget, scan, standins, chosen):
    ui = widget.ui
    assert not ui.dicomButton.enabled
    assert ui.dicomButton.toolTip == "There is no result to save."
    work(widget, scan)
    (chosen / "SYNTHETIC_dicom_1").mkdir()
    ui.burnInCheckBox.setChecked(True)
    ui.dicomButton.click()
    assert standins.dialogs.errors == []
    sent = widget.logic.client.last
    assert (sent.request, sent.payload["burn_in"]) == ("export", True)
    assert sent.payload["target"] == str(chosen / "SYNTHETIC_dicom_2"), "never into a folder that is in use"
    assert ui.dicomButton.text == "Cancel"
    assert not widget.export.form.teachingButton.enabled
    written(widget, "counterfactual/0001.dcm", "provenance.json")
    assert ui.dicomButton.text == "Save as DICOM..."
    assert ui.dicomButton.enabled
    assert widget.ui.progressLabel.text == f"2 files saved in {chosen / 'SYNTHETIC_dicom_2'}."
    ui.undoButton.click()
    assert not ui.dicomButton.enabled, "the scan as it is has no result"


def test_standin_dicom_is_cancelled_and_its_errors_are_shown(widget, scan, standins, chosen):
    work(widget, scan)
    widget.ui.dicomButton.click()
    widget.ui.dicomButton.click()
    widget.onPoll()
    assert not widget.logic.busy
    assert widget.ui.dicomButton.text == "Save as DICOM..."
    widget.ui.dicomButton.click()
    widget.logic.client.fail("OutputError", "The disk is full.", "", "Free some space.")
    assert "The disk is full." in standins.dialogs.errors[0]
    assert widget.ui.dicomButton.enabled


def test_standin_no_folder_is_no_job(widget, scan, standins, chosen):
    work(widget, scan)
    standins.qt.QFileDialog.getExistingDirectory = lambda *arguments: ""
    jobs = len(widget.logic.client.jobs)
    widget.ui.dicomButton.click()
    assert len(widget.logic.client.jobs) == jobs
    assert widget.ui.dicomButton.enabled


def test_standin_teaching_file(widget, scan, standins, chosen):
    form = widget.export.form
    assert not form.teachingButton.enabled
    work(widget, scan)
    form.teachingButton.click()
    assert "no title" in standins.dialogs.errors.pop()
    form.titleEdit.setText(" Infiltrating tumour ")
    form.historyEdit.setPlainText("First seizure.\nNothing before.")
    form.questionEdit.setText("How is the margin?")
    form.choicesEdit.setPlainText("Sharp\n\n Ill-defined \n")
    form.answerSpinBox.setValue(2)
    form.unknownCheckBox.setChecked(True)
    form.faceComboBox.setCurrentIndex(2)
    form.teachingButton.click()
    assert standins.dialogs.errors == []
    sent = widget.logic.client.last
    assert sent.request == "teach"
    assert sent.payload["target"] == str(chosen / "SYNTHETIC_case_1")
    assert sent.payload["face"] == "keep"
    assert sent.payload["texts"] == {
        "title": "Infiltrating tumour", "history": "First seizure.\nNothing before.", "findings": "", "diagnosis": "",
        "discussion": "", "question": "How is the margin?", "choices": ["Sharp", "Ill-defined"], "answer": 2,
        "unknown": True,
    }  # fmt: skip
    assert form.teachingButton.text == "Cancel"
    written(widget, "index.html", "case.json")
    assert "SYNTHETIC_case_1" in widget.ui.progressLabel.text
    assert form.titleEdit.text == " Infiltrating tumour ", "what was typed stays"


def test_standin_the_forms_fields_are_the_engines(widget):
    """The worker refuses texts it does not know."""
    case = pytest.importorskip("braindiffusion.export.teaching.case", reason="the engine is not installed here")
    assert set(widget.export.texts()) == {field.name for field in dataclasses.fields(case.Texts)}
