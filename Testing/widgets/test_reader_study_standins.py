"""BrainReaderStudy's panel on STAND-INS for Qt and Slicer's widgets: names, wiring, state; no real widgets."""

import importlib
import types
from pathlib import Path

import pytest
import reader_study
import slicer

ROOT = Path(__file__).resolve().parents[2]
PLACE = {**reader_study.PLACE, "required": True}


@pytest.fixture
def widget(standins, monkeypatch):
    """The panel, set up, over the module's views as nodes."""
    module = importlib.import_module("BrainReaderStudy")
    from logic_helpers import makeLayoutNode, makeViews

    from BrainCounterfactualCommon.scene import layouts

    layout = makeLayoutNode()
    layout.SetViewArrangement(layout.SlicerLayoutFourUpView)
    makeViews(layouts.CASE, layouts.CASE_PRIOR, layouts.CASE_LEFT, layouts.CASE_RIGHT, "Red")
    made = module.BrainReaderStudyWidget()
    made.setup()
    made.layoutNode = layout
    yield made
    made.cleanup()


@pytest.fixture
def begun(widget, tmp_path):
    """``begun(**study)``: the panel at the instructions of reader R1."""

    def begin(**study):
        widget.openStudy(reader_study.make_study(tmp_path / "STUDY", **study))
        widget.ui.startButton.click()
        return widget

    return begin


def press(*keys):
    from standin_qt import Shortcut

    for key in keys:
        Shortcut.made[key].press()


def given(widget):
    return [answer["answers"] for answer in reader_study.answers(widget.logic.study.folder)]


def rows(widget):
    box = widget.ui.choicesList
    return [box.item(n).text() for n in range(box.count)]


def test_standin_ui_file_names_only_known_widgets(widget):
    loader = widget.layout.itemAt(0).widget().standinLoader
    assert loader.unknown == []
    assert "Research use only" in widget.ui.bannerLabel.text
    assert not widget.ui.startButton.enabled
    names = [child.objectName for child in loader.made]
    assert len(names) == len(set(names))
    buttons = [child for child in loader.made if type(child).__name__ == "QPushButton"]
    assert len(buttons) >= 10
    assert all(child.toolTip for child in buttons)


def test_standin_a_folder_that_is_no_study_is_refused(widget, standins, tmp_path):
    widget.openStudy(tmp_path)
    assert len(standins.dialogs.errors) == 1
    assert not widget.ui.startButton.enabled


def test_standin_a_study_is_read_by_keys(begun, standins):
    widget = begun(cases=3, questions=(reader_study.REALISM, reader_study.COMMENT), break_every=2)
    assert "MAY BE SYNTHETIC" in widget.ui.noticeLabel.text
    assert "begin at case 1 of 3" in widget.ui.coverLabel.text
    assert widget.ui.caseFrame.isHidden()
    press("Return")
    assert not widget.ui.caseFrame.isHidden()
    assert widget.ui.coverFrame.isHidden()
    assert widget.ui.studySection.isHidden()
    assert widget.ui.progressLabel.text == "Case 1 of 3"
    assert rows(widget)[4] == "4   grade 4\n     what 4 means"
    from BrainCounterfactualCommon.scene.layouts import CASE_LAYOUT

    assert widget.layoutNode.GetViewArrangement() == CASE_LAYOUT
    press("Return")
    assert "Not answered yet" in widget.ui.messageLabel.text
    press("8")
    assert "8 is no answer" in widget.ui.messageLabel.text
    press("3")
    assert widget.ui.choicesList.currentRow == 3
    assert widget.ui.saveButton.enabled
    press("Right")
    widget.ui.answerTextEdit.plainText = "seam"
    press("Return", "P", "3")  # letters of the text, not commands
    assert not widget.ui.caseFrame.isHidden()
    press("Ctrl+Return")
    assert given(widget) == [{"realism": 3, "comment": "seam"}]
    assert widget.ui.progressLabel.text == "Case 2 of 3"
    assert widget.ui.choicesList.currentRow == -1
    widget.ui.choicesList.currentRow = 1  # by mouse
    widget.ui.saveButton.click()
    assert "2 of 3 cases are read" in widget.ui.coverLabel.text
    assert widget.ui.caseFrame.isHidden()
    press("Return", "0", "Return")
    assert "Thank you" in widget.ui.coverLabel.text
    assert [answer.get("realism") for answer in given(widget)] == [3, 1, 0]
    assert standins.dialogs.errors == []
    widget.ui.leaveButton.click()
    assert widget.ui.readerComboBox.itemText(0) == "R1: 3 of 3"
    assert widget.layoutNode.GetViewArrangement() == widget.layoutNode.SlicerLayoutFourUpView
    press("3", "Return")  # keys are Slicer's again
    assert not slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")


def test_standin_leaving_and_starting_again_goes_on_at_the_same_case(begun):
    widget = begun(cases=3)
    press("Return", "2", "Return", "4")  # the second is answered, not saved
    widget.onLeave()
    assert widget.ui.readerComboBox.itemText(0) == "R1: 1 of 3"
    widget.ui.startButton.click()
    assert "begin at case 2 of 3" in widget.ui.coverLabel.text
    press("Return")
    assert widget.ui.choicesList.currentRow == -1
    assert given(widget) == [{"realism": 2}]


def test_standin_another_module_covers_the_case(begun):

    from BrainCounterfactualCommon.scene import layouts

    widget = begun(cases=2)
    press("Return")
    view = layouts.composite(layouts.CASE)
    assert view.GetBackgroundVolumeID()
    widget.exit()
    assert view.GetBackgroundVolumeID() is None
    assert "Paused at case 1" in widget.ui.coverLabel.text
    press("3")  # not ours now
    widget.enter()
    press("Return")
    assert view.GetBackgroundVolumeID()
    assert widget.logic.sheet.answers == {}


def test_standin_a_place_is_asked_for(begun):
    widget = begun(cases=2, questions=(reader_study.REALISM, PLACE))
    press("Return", "3")
    assert not widget.ui.markFrame.isHidden()
    assert widget.ui.choicesList.isHidden()
    assert not widget.ui.saveButton.enabled
    node = slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode")[0]
    node.AddControlPoint(1.0, 2.0, 3.0)
    assert widget.ui.markLabel.text == "Marked: 1"
    press("Return", "2", "N")
    assert "on purpose" in widget.ui.markLabel.text
    press("Return")
    assert given(widget) == [{"realism": 3, "place": [[1.0, 2.0, 3.0]]}, {"realism": 2, "place": []}]


def test_standin_a_text_question_has_the_focus_when_it_comes(begun, monkeypatch):
    widget = begun(cases=2, questions=(reader_study.REALISM, reader_study.COMMENT))
    focused = []
    monkeypatch.setattr(widget.ui.answerTextEdit, "setFocus", lambda: focused.append(1), raising=False)
    press("Return", "3", "Right")
    assert focused == [1]
    widget.ui.answerTextEdit.plainText = "p"
    assert focused == [1]  # once: the cursor is not moved while one writes
    widget.ui.previousButton.click()
    press("P")  # a command again
    assert "Paused" in widget.ui.coverLabel.text


def test_standin_something_loaded_covers_the_case_until_it_is_gone(begun, standins):
    from BrainCounterfactualCommon.scene import layouts

    widget = begun(cases=2)
    press("Return")
    view = layouts.composite(layouts.CASE)
    model = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", "tumor")
    model.CreateDefaultDisplayNodes()
    assert view.GetBackgroundVolumeID() is None
    assert "Paused" in widget.ui.coverLabel.text
    press("Return")
    assert "tumor" in standins.dialogs.errors[0]
    assert view.GetBackgroundVolumeID() is None
    slicer.mrmlScene.RemoveNode(model)
    press("Return")
    assert view.GetBackgroundVolumeID()


def test_standin_toolbars_come_back_as_they_were(begun, standins, monkeypatch):
    """A toolbar and the help that the user had hidden stay hidden."""
    from PySide6 import QtWidgets

    window = QtWidgets.QMainWindow()
    shown, hidden = QtWidgets.QToolBar("Markups"), QtWidgets.QToolBar("Sequences")
    console, probe, panel = QtWidgets.QDockWidget(), QtWidgets.QWidget(window), QtWidgets.QWidget()
    for bar in (shown, hidden):
        window.addToolBar(bar)
    for one in (hidden, console):
        one.hide()
    panel.helpAndAcknowledgmentVisible = False
    named = {"QMenuBar": [window.menuBar()], "QToolBar": [shown, hidden]}
    standin = types.SimpleNamespace(
        findChildren=named.get,
        statusBar=window.statusBar,
        pythonConsole=lambda: types.SimpleNamespace(parent=lambda: console),
    )
    children = {"DataProbeCollapsibleWidget": probe, "ModulePanel": panel}
    widget = begun(cases=2)
    monkeypatch.setattr(slicer.util, "mainWindow", lambda: standin)
    monkeypatch.setattr(slicer.util, "findChildren", lambda _window, name: [children[name]], raising=False)
    bars = (window.menuBar(), shown, hidden, window.statusBar(), probe, console)
    press("Return")
    assert all(bar.isHidden() for bar in bars)
    press("P")
    assert [bar.isHidden() for bar in bars] == [False, False, True, False, False, True]
    assert not panel.helpAndAcknowledgmentVisible
    press("Return", "3", "Return")
    assert all(bar.isHidden() for bar in bars)
    widget.onLeave()
    assert [bar.isHidden() for bar in bars] == [False, False, True, False, False, True]


def test_standin_going_back_where_it_is_allowed(begun):
    widget = begun(cases=3, going_back=True)
    press("Return", "3", "Return", "Backspace")
    assert widget.ui.progressLabel.text == "Case 1 of 3"
    assert widget.ui.choicesList.currentRow == 3
    press("1", "Return")
    assert given(widget) == [{"realism": 3}, {"realism": 1}]


def test_standin_no_going_back_otherwise(begun):
    widget = begun(cases=3)
    press("Return", "3", "Return")
    assert widget.ui.backButton.isHidden()
    press("Backspace")
    assert widget.ui.progressLabel.text == "Case 2 of 3"


def test_standin_a_changed_scan_is_told_and_nothing_is_lost(begun, standins):
    widget = begun(cases=2)
    press("Return")
    for path in (widget.logic.study.folder / "cases").iterdir():
        path.write_bytes(b"no scan")
    press("3", "Return")
    assert len(standins.dialogs.errors) == 1
    assert "cannot be shown" in widget.ui.coverLabel.text
    assert given(widget) == [{"realism": 3}]


def test_standin_closing_the_scene_leaves_the_study(begun):
    widget = begun(cases=2)
    press("Return", "3", "Return")
    slicer.mrmlScene.Clear(0)
    assert widget.logic.session is None
    assert given(widget) == [{"realism": 3}]


def test_standin_self_test_passes(widget, standins):
    from BrainReaderStudyLib.selftest import BrainReaderStudyTest

    BrainReaderStudyTest().runTest()
