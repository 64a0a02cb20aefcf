"""The panel while a case is read: progress, one question at a time with all its definitions, and saving."""

from BrainCounterfactualCommon.host import Problem
from BrainCounterfactualCommon.host import tr as _
from BrainCounterfactualCommon.panels.bindings import onClicks

from .answersheet import choicesOf
from .questions import MOST_TEXT


class ReadingPanel:
    """Widgets of the .ui file on one side, the logic's answer sheet on the other.

    Args:
        ui: the module's widgets by name; logic: a BrainReaderStudyLogic.
        onShown, onHidden: called when scans come on screen and go.
        tell: shows a Problem.
        onWriting: ``(whether a text is being written)``: letters are the reader's then, not commands.
    """

    def __init__(self, ui, logic, onShown, onHidden, tell, onWriting=lambda writing: None):
        self.ui, self.logic = ui, logic
        self._onShown, self._onHidden, self._tell = onShown, onHidden, tell
        self._onWriting = onWriting
        self.stage, self.writing = "closed", False
        self._updating = False
        logic.onMarked = self.refresh
        logic.onForeign = self.onForeign
        ui.choicesList.connect("currentRowChanged(int)", self.onRow)
        ui.answerTextEdit.connect("textChanged()", self.onText)
        onClicks(
            (ui.goButton, self.onEnter),
            (ui.saveButton, self.onEnter),
            (ui.backButton, self.onBack),
            (ui.pauseButton, self.onPause),
            (ui.previousButton, lambda: self.onAsk(-1)),
            (ui.nextButton, lambda: self.onAsk(1)),
            (ui.markButton, self.onMark),
            (ui.nothingButton, self.onNothing),
        )
        self.refresh()

    # --- from case to case ---

    def start(self):
        """A sitting has begun: instructions first."""
        self._go("done" if self.logic.session.finished else "start")

    def stop(self):
        """No study is read."""
        self._go("closed")

    def onEnter(self):
        """Begin, save and go on, or end a break: what Enter does."""
        if self.stage in ("start", "break", "trouble"):
            self._show()
        elif self.stage == "pause":
            try:
                self.logic.checkAlone()
            except Problem as error:
                self._tell(error)
                return
            self.logic.session.goOn()
            self._go("case")
        elif self.stage == "case":
            try:
                lacking = self.logic.save()
            except Problem as error:
                self._tell(error)
                return
            if lacking:
                self.refresh(lacking)
            elif self.logic.session.finished:
                self._go("done")
            elif self.logic.session.breakDue:
                self._go("break")
            else:
                self._show()

    def _show(self):
        try:
            self.logic.show()
        except Problem as error:
            self._go("trouble")
            self._tell(error)
            return
        self._go("case")

    def onBack(self):
        if self.stage == "case" and self.logic.session.canGoBack:
            self.logic.goBack()
            self._show()

    def onPause(self):
        if self.stage == "case":
            self.logic.session.pause()
            self._go("pause")

    def onForeign(self):
        """Something was loaded over the case: it is covered, and the time does not count."""
        self.onPause()

    def _go(self, stage):
        self.stage = stage
        (self._onShown if stage == "case" else self._onHidden)()
        self.refresh()

    # --- answers ---

    def onDigit(self, digit):
        if self.stage == "case":
            known = self.logic.sheet.press(digit)
            self.refresh("" if known else _("{digit} is no answer to this question.").format(digit=digit))

    def onRow(self, row):
        if not self._updating and self.stage == "case" and row >= 0:
            sheet = self.logic.sheet
            sheet.choose(sheet.active, choicesOf(sheet.question)[row][1])
            self.refresh()

    def onText(self):
        if not self._updating and self.stage == "case":
            sheet = self.logic.sheet
            sheet.write(sheet.active, self.ui.answerTextEdit.plainText[:MOST_TEXT])
            self.ui.saveButton.setEnabled(not sheet.missing())

    def onAsk(self, by):
        if self.stage == "case":
            self.logic.sheet.ask(self.logic.sheet.active + by)
            self.refresh()

    def onMark(self):
        if self.stage == "case":
            self.logic.startMarking()

    def onNothing(self):
        if self.stage == "case" and self.logic.sheet.markQuestion is not None:
            self.logic.markNothing()

    # --- what is shown ---

    def refresh(self, message=""):
        """All widgets, from the stage and the sheet."""
        ui, reading = self.ui, self.stage == "case"
        ui.studySection.setVisible(self.stage == "closed")
        ui.coverFrame.setVisible(self.stage not in ("closed", "case"))
        ui.caseFrame.setVisible(reading)
        ui.messageLabel.setText(message)
        for widget in (ui.progressLabel, ui.leaveButton):
            widget.setVisible(self.stage != "closed")
        if self.stage != "closed":
            self._cover()
        if not reading and self.writing:
            self.writing = False
            self._onWriting(False)
        if reading:
            self._updating = True
            try:
                self._question()
            finally:
                self._updating = False

    def _cover(self):
        session, study = self.logic.session, self.logic.study
        position = session.position
        self.ui.progressLabel.setText(_("Case {n} of {total}").format(n=position, total=session.total))
        saved = _("{n} of {total} cases are read and saved.").format(n=session.answered, total=session.total)
        begin = _("You are reader {reader} and begin at case {n} of {total}.").format(
            reader=session.reader, n=position, total=session.total
        )
        texts = {
            "start": study.protocol.get("instructions", "") + "\n\n" + begin,
            "break": saved + " " + _("Time for a break."),
            "pause": _("Paused at case {n}. The time does not count.").format(n=position),
            "trouble": _("Case {n} cannot be shown.").format(n=position) + " " + saved,
            "done": saved + " " + _("Thank you."),
        }
        self.ui.coverLabel.setText(texts.get(self.stage, ""))
        labels = {"start": _("Begin (Enter)"), "done": _("Close the study"), "trouble": _("Try again (Enter)")}
        self.ui.goButton.setText(labels.get(self.stage, _("Go on (Enter)")))
        self.ui.goButton.setVisible(self.stage != "done")

    def _question(self):
        ui, sheet = self.ui, self.logic.sheet
        question = sheet.question
        several = len(sheet.questions) > 1
        prompt = question["prompt"] if question["required"] else question["prompt"] + " " + _("(may be left out)")
        numbered = "{}/{}  {}".format(sheet.active + 1, len(sheet.questions), prompt)
        ui.promptLabel.setText(numbered if several else prompt)
        ui.definitionLabel.setText(question.get("definition", ""))
        choices, given = choicesOf(question), sheet.answers.get(question["id"])
        ui.choicesList.setVisible(bool(choices))
        ui.choicesList.clear()
        for key, _value, label, definition in choices:
            ui.choicesList.addItem("{}   {}\n     {}".format(key, label, definition))
        values = [value for _key, value, _label, _definition in choices]
        ui.choicesList.currentRow = values.index(given) if given is not None and given in values else -1
        writing = question["type"] == "text"
        ui.answerTextEdit.setVisible(writing)
        if writing and not self.writing:
            ui.answerTextEdit.setFocus()
        self.writing = writing
        self._onWriting(writing)
        if question["type"] == "text" and ui.answerTextEdit.plainText != (given or ""):
            ui.answerTextEdit.plainText = given or ""
        ui.markFrame.setVisible(question["type"] == "mark")
        if question["type"] == "mark":
            nothing = _("Nothing is marked on purpose.") if given == [] else _("Not marked yet.")
            ui.markLabel.setText(_("Marked: {n}").format(n=len(given)) if given else nothing)
            if given is None:
                self.logic.startMarking()
        for name in ("previousButton", "nextButton"):
            getattr(ui, name).setVisible(several)
        ui.previousButton.setEnabled(sheet.active > 0)
        ui.nextButton.setEnabled(sheet.active < len(sheet.questions) - 1)
        ui.saveButton.setEnabled(not sheet.missing())
        ui.backButton.setVisible(self.logic.session.canGoBack)
        ui.levelsLabel.setText(
            _("Grey levels are fixed.") if self.logic.locked else _("Drag in a scan to change its grey levels.")
        )
