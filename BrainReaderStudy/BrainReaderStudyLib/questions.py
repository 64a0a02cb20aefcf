"""Answers checked against their questions before they are saved. The types are in docs/study_format.md."""

import math

from BrainCounterfactualCommon.host import Problem
from BrainCounterfactualCommon.host import tr as _

MOST_TEXT = 2000


def _refused(question, cause):
    return Problem(
        "AnswerError",
        _("The answer to '{prompt}' cannot be saved.").format(prompt=question["prompt"]),
        cause,
        _("Answer again."),
    )


def _whole(value):
    return isinstance(value, int) and not isinstance(value, bool)


def _points(value):
    """Whether a value is a list of points in mm."""
    return isinstance(value, (list, tuple)) and all(
        isinstance(point, (list, tuple))
        and len(point) == 3
        and all(isinstance(c, (int, float)) and not isinstance(c, bool) and math.isfinite(c) for c in point)
        for point in value
    )


def _one(question, value):
    """The answer as it is saved; raises Problem."""
    kind = question["type"]
    if kind == "grades":
        allowed = [grade["value"] for grade in question["grades"]]
        if not _whole(value) or value not in allowed:
            raise _refused(question, _("{value} is none of {allowed}.").format(value=value, allowed=allowed))
        return value
    if kind == "choice":
        allowed = [option["value"] for option in question["options"]]
        if value not in allowed:
            raise _refused(question, _("{value} is none of {allowed}.").format(value=value, allowed=allowed))
        return value
    if kind == "mark":
        if not _points(value):
            raise _refused(question, _("It is not a list of points in mm."))
        if len(value) > question["max_points"]:
            raise _refused(question, _("At most {n} points are asked for.").format(n=question["max_points"]))
        return [[round(float(c), 3) for c in point] for point in value]
    if not isinstance(value, str) or len(value) > MOST_TEXT:
        raise _refused(question, _("It is no text of at most {n} characters.").format(n=MOST_TEXT))
    return value


def missing(questions, answers):
    """Ids of the required questions that are not answered yet."""
    return [q["id"] for q in questions if q["required"] and answers.get(q["id"]) in (None, "")]


def checked(questions, answers):
    """The answers as they are saved: unanswered optional questions left out.

    Args:
        answers: question id -> answer; ``None`` is not answered.

    Raises:
        Problem: an answer that is not allowed, missing, or to no question.
    """
    byId = {question["id"]: question for question in questions}
    for name in answers:
        if name not in byId:
            raise Problem(
                "AnswerError", _("There is no question '{name}'.").format(name=name), "", _("Answer what is asked.")
            )
    for name in missing(questions, answers):
        raise _refused(byId[name], _("It is not answered yet."))
    return {name: _one(byId[name], value) for name, value in answers.items() if value is not None}
