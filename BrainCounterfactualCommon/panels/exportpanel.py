"""Saving the result in view as DICOM and as a teaching file, with the form of its texts. Needs no Qt of its own."""

import os
from pathlib import Path

import slicer

from BrainCounterfactualCommon.exporting import CASE_FOLDER, DICOM_FOLDER, FACES, textsOf
from BrainCounterfactualCommon.host import tr as _
from BrainCounterfactualCommon.panels.bindings import onClicks, showJobButton
from BrainCounterfactualCommon.scene.saving import freshFolder

FORM = Path(__file__).resolve().parents[1] / "Resources" / "UI" / "TeachingFile.ui"


class ExportPanel:
    """Two buttons, and the form in the section "Teaching file". What is typed stays until it is changed.

    Args:
        ui: the panel's widgets by name.
        logic: the module's logic, which is an :class:`BrainCounterfactualCommon.exporting.Exporting`.
        currentResult: ``() -> the result in view or None``.
        chooseFolder: ``() -> path`` or an empty text.
        run: ``(button, message, start, onDone)``, which starts a job, or cancels the one under way;
            ``start(settings, callbacks)``.
        onChanged: called when a job has ended.
    """

    def __init__(self, ui, logic, currentResult, chooseFolder, run, onChanged):
        self._ui, self._logic, self._currentResult = ui, logic, currentResult
        self._chooseFolder, self._run, self._onChanged = chooseFolder, run, onChanged
        self._widget = slicer.util.loadUI(str(FORM))
        self.form = slicer.util.childWidgetVariables(self._widget)
        ui.teachingSection.layout().addWidget(self._widget)
        onClicks((ui.dicomButton, self.saveDicom), (self.form.teachingButton, self.saveTeachingFile))

    def update(self, runningButton):
        """Enabled where there is a result and nothing else is under way.

        Args:
            runningButton: the one whose job runs, if any does; it becomes Cancel.
        """
        why = "" if self._currentResult() is not None else _("There is no result to save.")
        for button, text, tip in (
            (self._ui.dicomButton, _("Save as DICOM..."), _("A DICOM study of its own, in a new folder.")),
            (
                self.form.teachingButton,
                _("Save as teaching file..."),
                _("A page that opens offline, without what tells who the patient is, in a new folder."),
            ),
        ):
            showJobButton(button, text, tip, why, self._logic.busy, runningButton)

    def saveDicom(self):
        def save(result, folder, callbacks):
            burnIn = self._ui.burnInCheckBox.checked
            self._logic.saveDicom(result, freshFolder(folder, DICOM_FOLDER), callbacks, burnIn=burnIn)

        self._save(self._ui.dicomButton, _("The result could not be saved as DICOM."), save)

    def saveTeachingFile(self):
        def save(result, folder, callbacks):
            face = FACES[self.form.faceComboBox.currentIndex]
            self._logic.saveTeachingFile(result, freshFolder(folder, CASE_FOLDER), self.texts(), callbacks, face=face)

        self._save(self.form.teachingButton, _("The teaching file could not be saved."), save)

    def texts(self):
        """The form as the logic wants it."""
        form = self.form
        return textsOf(
            title=form.titleEdit.text,
            history=form.historyEdit.plainText,
            findings=form.findingsEdit.plainText,
            diagnosis=form.diagnosisEdit.text,
            discussion=form.discussionEdit.plainText,
            question=form.questionEdit.text,
            choices=form.choicesEdit.plainText,
            answer=form.answerSpinBox.value,
            unknown=form.unknownCheckBox.checked,
        )

    def _save(self, button, message, save):
        def start(_settings, callbacks):
            result, folder = self._currentResult(), self._chooseFolder()
            if folder and result is not None:
                save(result, folder, callbacks)

        self._run(button, message, start, self._onSaved)

    def _onSaved(self, paths):
        self._onChanged()
        folder = os.path.commonpath(paths)
        text = _("{n} files saved in {folder}.").format(n=len(paths), folder=folder)
        self._ui.progressLabel.setText(text)
