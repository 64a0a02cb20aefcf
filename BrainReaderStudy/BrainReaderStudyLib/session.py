"""A reader reads a study: the next case, its answers saved at once, and the same case again after a crash.

The module and the viewer build on this; it shows nothing and needs the standard library only::

    study = openStudy(folder)
    session = Session(study, "R1", "BrainReaderStudy 0.1.0 on Slicer 5.12")
    while not session.finished:
        case = session.current          # show case.images, ask study.questions
        session.shown()                 # the scans are on screen: the clock starts
        session.record({"realism": 3}, tools={"scroll": 12}, window={"scan": (900, 450)})
    session.close()
"""

import time
from pathlib import Path

from BrainCounterfactualCommon.host import Problem
from BrainCounterfactualCommon.host import tr as _

from . import questions
from .answerlog import AnswerLog, readAnswers
from .studyfolder import Study, openStudy

__all__ = ["Presentation", "Session", "Study", "openStudy", "progressOf"]


class Presentation:
    """One case on screen.

    Attributes:
        position: its place in the reader's order, from 1; case: its id.
        images: role -> Image, in the order of the protocol's roles.
        answers: what was answered here before (after going back), else empty.
    """

    def __init__(self, position, case, images, answers):
        self.position, self.case, self.images, self.answers = position, case, images, answers


def _counting(study, answers):
    """Position -> the answer that counts: the last where the reader may go back, else the first."""
    out = {}
    for answer in answers:
        if study.protocol["going_back"] or answer["position"] not in out:
            out[answer["position"]] = answer
    return out


def progressOf(study, answersFolder=None):
    """Reader code -> (answered, total), for the list of readers.

    Raises:
        Problem: answers that were changed.
    """
    folder = Path(answersFolder or study.folder / "answers")
    out = {}
    for reader, order in study.readers.items():
        out[reader] = (len(_counting(study, readAnswers(folder, reader, study)[0])), len(order))
    return out


class Session:
    """One sitting of one reader, from the first case without an answer.

    Args:
        reader: one of ``study.readers``.
        software: what shows the scans, with version; kept with each answer.
        answersFolder: where answers go, if not into the study's own ``answers``.
        clock: seconds that only ever grow.

    Raises:
        Problem: an unknown reader, a closed study, changed answers, a folder that cannot be written.
    """

    def __init__(self, study, reader, software, answersFolder=None, clock=time.monotonic):
        if reader not in study.readers:
            raise Problem(
                "SessionError",
                _("There is no reader '{reader}' in this study.").format(reader=reader),
                _("Readers: {names}.").format(names=", ".join(study.readers)),
                _("Choose your code."),
            )
        if study.closed:
            raise Problem(
                "StudyClosedError",
                _("This study has been unblinded."),
                _("Which case is which is known now; answers given after that count for nothing."),
                _("Ask who runs the study."),
            )
        self.study, self.reader = study, reader
        self._order, self._clock = study.readers[reader], clock
        self._log = AnswerLog(answersFolder or study.folder / "answers", reader, study, software)
        self._given = _counting(study, self._log.answers)
        self._position = self._firstOpen()
        self._presentation = None
        self._forget()

    def _firstOpen(self):
        return next((p for p in range(1, self.total + 1) if p not in self._given), self.total + 1)

    def _forget(self):
        self._since, self._pausedSince, self._paused = None, None, 0.0

    # --- where the reader is ---

    number = property(lambda self: self._log.session)
    total = property(lambda self: len(self._order))
    position = property(lambda self: min(self._position, self.total))
    answered = property(lambda self: len(self._given))
    finished = property(lambda self: self._position > self.total)

    @property
    def current(self):
        """The Presentation to show; ``None`` when all is read.

        Raises:
            Problem: a scan is missing or was changed.
        """
        if self.finished:
            return None
        if self._presentation is None or self._presentation.position != self._position:
            case = self._order[self._position - 1]
            given = self._given.get(self._position, {}).get("answers", {})
            self._presentation = Presentation(self._position, case, self.study.images(case), dict(given))
        return self._presentation

    @property
    def breakDue(self):
        """Whether the protocol proposes a break before this case."""
        every = self.study.protocol.get("break_every") or 0
        return bool(every) and not self.finished and self._position > 1 and (self._position - 1) % every == 0

    @property
    def canGoBack(self):
        return bool(self.study.protocol["going_back"]) and self._position > 1

    def goBack(self):
        """To the case before, where the protocol allows it."""
        if not self.canGoBack:
            raise Problem("SessionError", _("There is no going back in this study."), "", _("Go on."))
        self._position -= 1
        self._forget()

    def goForward(self):
        """To the next case again, without a new answer; no further than the first open one."""
        if self._position in self._given:
            self._position += 1
            self._forget()

    # --- time ---

    def shown(self):
        """The scans are on screen."""
        self._forget()
        self._since = self._clock()

    def pause(self):
        """The screen is covered: time does not count."""
        if self._since is not None and self._pausedSince is None:
            self._pausedSince = self._clock()

    def goOn(self):
        """The scans are on screen again."""
        if self._pausedSince is not None:
            self._paused += self._clock() - self._pausedSince
            self._pausedSince = None

    # --- answers ---

    def missing(self, answers):
        """Ids of the required questions still without an answer."""
        return questions.missing(self.study.questions, answers)

    def record(self, answers, tools=None, window=None):
        """Save the answers to the case on screen and go to the next. It is on the disk when this returns.

        Args:
            answers: question id -> grade, option, points in RAS mm, or text.
            tools: tool -> how often it was used on this case.
            window: role -> (width, level) as shown last.

        Returns:
            The record saved.

        Raises:
            Problem: an answer that is not allowed or missing; it could not be saved. The case stays.
        """
        if self.finished:
            raise Problem("SessionError", _("All cases are answered."), "", _("Close the study."))
        if self._since is None:
            raise RuntimeError("record() before shown()")
        given = questions.checked(self.study.questions, answers)
        self.goOn()
        earlier = [answer for answer in self._log.answers if answer["position"] == self._position]
        saved = self._log.append(
            {
                "position": self._position,
                "case": self._order[self._position - 1],
                "answers": given,
                "revision": len(earlier),
                "seconds": round(self._clock() - self._since - self._paused, 3),
                "paused": round(self._paused, 3),
                "tools": {str(name): int(count) for name, count in (tools or {}).items()},
                "window": {str(role): [float(w), float(c)] for role, (w, c) in (window or {}).items()},
            }
        )
        self._given = _counting(self.study, self._log.answers)
        self._position += 1
        self._presentation = None
        self._forget()
        return saved

    def close(self):
        """End the sitting; nothing is left to save."""
        self._log.close()
