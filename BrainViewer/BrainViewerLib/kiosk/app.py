"""A reader study in the viewer: one case at a time, keys and Enter, every answer on the disk before the next case.

What the page knows is what a reader may know: no case's name, file, origin or method is ever sent to it.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from BrainReaderStudyLib.answersheet import DIGITS, choicesOf
from BrainReaderStudyLib.logic import BrainReaderStudyLogic
from BrainReaderStudyLib.questions import MOST_TEXT

from braindiffusion import __version__
from BrainViewerLib.kiosk import ui as kiosk_ui
from BrainViewerLib.kiosk.views import KioskViews
from BrainViewerLib.page import theme, view_ui
from BrainViewerLib.server.messages import NO_NOTICE
from BrainViewerLib.server.page import LocalPage

CLIENT_MODULE = {
    **theme.CLIENT_MODULE,
    "styles": [*theme.CLIENT_MODULE["styles"], f"{theme.BASE}/kiosk.css"],
    "scripts": [f"{theme.BASE}/kiosk.js"],
}
PAGE: dict[str, Any] = {
    "trame__title": "Reader study", "stage": "start", "number": 0, "answered": 0, "questions": [], "asked": 0,
    "ready": False, "can_go_back": False, "active_view": "", "message": "", "notice": NO_NOTICE, "most_text": MOST_TEXT,
    "typed": None,
}  # fmt: skip
"""What the page begins with. ``stage``: start, case, break, pause, trouble, done."""


def software() -> str:
    """What is noted with each answer."""
    return f"BrainViewer {__version__} on trame-slicer {version('trame-slicer')}"


class Kiosk(LocalPage):
    """One reader at one study.

    Args:
        study: its folder; reader: the reader's code; answers: where answers go, if not into the study.
        token: the secret in the address; a random one when left out.

    Raises:
        Problem: no study, no such reader, a closed study, answers that were changed or cannot be written.
    """

    def __init__(self, study: Path, reader: str, answers: Path | None = None, token: str | None = None) -> None:
        super().__init__(CLIENT_MODULE, token)
        self.logic = BrainReaderStudyLogic()
        opened = self.logic.open(study)
        self.logic.begin(reader, software(), answers)
        self.logic.onMarked = self._marked
        self.state.update(
            {
                **PAGE,
                "title": opened.title,
                "instructions": opened.protocol.get("instructions", ""),
                "warning": opened.notice,
                "use": opened.use,
                "reader": reader,
                "total": self.logic.session.total,
                "tags": list(self.logic.tags),
                "locked": self.logic.locked,
                "show": opened.protocol["show"],
            }
        )
        self.display = KioskViews(self.host.core, self.state, self.logic)
        self.draw_views(lambda tag: view_ui.overlay(self.display.go_to, tag, levels=False))
        self.display.make()
        self.tune_views()
        self._bind_keys()
        self._count()
        if self.logic.session.finished:
            self.state.stage = "done"
        kiosk_ui.build(self.server, self, self.logic.tags)

    # -- keys

    def _bind_keys(self) -> None:
        what: dict[str, Callable[[], Any]] = {
            "up": lambda: self.display.step(1),
            "down": lambda: self.display.step(-1),
            "up5": lambda: self.display.step(5),
            "down5": lambda: self.display.step(-5),
            "fit": self.display.reset,
            "next": lambda: self.ask(self.logic.sheet.active + 1),
            "previous": lambda: self.ask(self.logic.sheet.active - 1),
            "mark": self.mark,
            "nothing": self.mark_nothing,
            "back": self.go_back,
            "pause": self.pause,
        }

        self.server.trigger("kiosk_text")(self.write)

        @self.server.trigger("kiosk_key")
        def pressed(name: str) -> None:
            with self.messages.report_errors():
                if name == "enter":
                    self.enter()
                elif self.state.stage != "case":
                    return
                elif name in DIGITS:
                    self._press(name)
                elif name in what:
                    what[name]()

    def _press(self, digit: str) -> None:
        if self.logic.sheet.press(digit):
            self.state.message = ""
            self._refresh()
        else:
            self.state.message = f"{digit} is no answer to this question."

    # -- from case to case

    def enter(self) -> None:
        """Go on: begin, save and show the next case, or end a break."""
        with self.messages.report_errors():
            stage = self.state.stage
            if stage in ("start", "break", "trouble"):
                self._show()
            elif stage == "pause":
                self.logic.session.goOn()
                self.state.stage = "case"
            elif stage == "case":
                self.state.message = self.logic.save()
                if not self.state.message:
                    self._next()
                else:
                    self._refresh()

    def _next(self) -> None:
        self._count()
        if self.logic.session.finished:
            self.state.stage = "done"
        elif self.logic.session.breakDue:
            self.state.stage = "break"
        else:
            self._show()

    def _show(self) -> None:
        self.messages.dismiss()
        self.state.stage = "trouble"  # unless it can be shown
        self.logic.show()
        self.state.stage = "case"
        self.state.message = ""
        self.display.show()
        self._count()
        self._refresh()

    def _count(self) -> None:
        session = self.logic.session
        self.state.number = session.position
        self.state.answered = session.answered

    def go_back(self) -> None:
        """To the case before, where the protocol allows it."""
        with self.messages.report_errors():
            self.logic.goBack()
            self._show()

    def pause(self) -> None:
        """Cover the screen; the time does not count."""
        self.logic.session.pause()
        self.state.stage = "pause"

    # -- answers

    def ask(self, index: int) -> None:
        """Ask another question of this case."""
        self.logic.sheet.ask(index)
        self._refresh()

    def choose(self, index: int, key: str) -> None:
        """A grade or option was clicked."""
        self.logic.sheet.ask(index)
        self._press(key)

    def write(self, index: int, text: str) -> None:
        """A text was changed; the page has it already, and must not get an older one back while somebody types."""
        if self.state.stage == "case":
            self.logic.sheet.write(index, text[:MOST_TEXT])
            self.state.questions[index]["text"] = text[:MOST_TEXT]
            self.state.ready = not self.logic.sheet.missing()

    def mark(self) -> None:
        """The next click in a view marks a place."""
        if self.logic.sheet.markQuestion is not None:
            self.logic.startMarking()
            self.state.message = "Click the place in a view."

    def mark_nothing(self) -> None:
        """There is nothing to mark."""
        if self.logic.sheet.markQuestion is not None:
            self.logic.markNothing()

    def _marked(self) -> None:
        with self.state as state:
            state.message = ""
            self._refresh()
        self.display.render()

    def _refresh(self) -> None:
        """Questions and answers on the page; a click marks as soon as a place is asked for."""
        sheet, session = self.logic.sheet, self.logic.session
        self.state.questions = [
            {**_for_page(question, sheet.answers), "position": session.position} for question in sheet.questions
        ]
        self.state.asked = sheet.active
        self.state.ready = not sheet.missing()
        self.state.can_go_back = session.canGoBack
        if sheet.question["type"] == "mark" and sheet.question["id"] not in sheet.answers:
            self.logic.startMarking()
        elif not sheet.points:
            self.logic.stopMarking()

    def end(self) -> None:
        self.logic.close()


def _for_page(question: dict[str, Any], answers: dict[str, Any]) -> dict[str, Any]:
    """A question as the page shows it."""
    given = answers.get(question["id"])
    choices = [
        {"key": key, "label": label, "definition": definition, "on": value == given and given is not None}
        for key, value, label, definition in choicesOf(question)
    ]
    return {
        "type": question["type"],
        "prompt": question["prompt"],
        "definition": question.get("definition", ""),
        "required": question["required"],
        "choices": choices,
        "text": given if question["type"] == "text" and given else "",
        "marked": len(given) if question["type"] == "mark" and given is not None else -1,
    }
