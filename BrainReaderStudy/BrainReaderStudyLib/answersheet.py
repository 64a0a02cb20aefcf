"""The answers to one case while they are given: what is asked now, and what each key means. Shows and saves nothing."""

from BrainCounterfactualCommon.host import tr as _

from .questions import missing

DIGITS = "0123456789"


def choicesOf(question):
    """``(key, value, label, definition)`` of each grade or option; the key of a grade is its value, else 1, 2 ..."""
    if question["type"] == "grades":
        return [(str(g["value"]), g["value"], g["label"], g["definition"]) for g in question["grades"]]
    options = question.get("options", []) if question["type"] == "choice" else []
    return [(str(n), o["value"], o["label"], o["definition"]) for n, o in enumerate(options, 1)]


class AnswerSheet:
    """Answers by question; one question is asked at a time, in order, and each can be gone back to until it is saved.

    Args:
        questions: those of the protocol.
        given: question id -> answer, what was said before.
    """

    def __init__(self, questions, given=None):
        self.questions = questions
        self.answers = dict(given or {})
        self.active = 0

    @property
    def question(self):
        """The one asked now."""
        return self.questions[self.active]

    def ask(self, index):
        """Ask another question of this case."""
        self.active = min(max(int(index), 0), len(self.questions) - 1)

    def press(self, key):
        """A digit: the grade or option of the question asked. Returns whether it means one."""
        for own, value, _label, _definition in choicesOf(self.question):
            if own == key:
                self.choose(self.active, value)
                return True
        return False

    def choose(self, index, value):
        """Answer a question by a grade or option; the next one without an answer is asked, unless it is a text."""
        self.answers[self.questions[index]["id"]] = value
        self.active = index
        later = index + 1
        if later < len(self.questions):
            following = self.questions[later]
            if following["type"] != "text" and following["id"] not in self.answers:
                self.active = later

    def write(self, index, text):
        """Answer a question by a text; an empty one is no answer."""
        name = self.questions[index]["id"]
        if text:
            self.answers[name] = text
        else:
            self.answers.pop(name, None)

    # --- places ---

    @property
    def markQuestion(self):
        """The question a click answers: the one asked, else the first that asks for a place; ``None`` without one."""
        marks = [q for q in self.questions if q["type"] == "mark"]
        return self.question if self.question in marks else next(iter(marks), None)

    @property
    def points(self):
        """Points in RAS mm marked so far."""
        question = self.markQuestion
        return self.answers.get(question["id"]) or [] if question is not None else []

    def mark(self, points):
        """The places are these; ``[]`` says there is nothing, ``None`` takes the answer back."""
        name = self.markQuestion["id"]
        if points is None:
            self.answers.pop(name, None)
        else:
            self.answers[name] = [[float(c) for c in point] for point in points]
            self.active = self.questions.index(self.markQuestion)

    # --- all of it ---

    def missing(self):
        """The required questions that are not answered."""
        names = missing(self.questions, self.answers)
        return [q for q in self.questions if q["id"] in names]

    def askMissing(self):
        """Ask the first question that lacks its answer; what to tell the reader, empty where nothing is missing."""
        lacking = self.missing()
        if not lacking:
            return ""
        self.active = self.questions.index(lacking[0])
        return _("Not answered yet: {prompt}").format(prompt=lacking[0]["prompt"])
