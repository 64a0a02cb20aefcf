"""Protocols of reader studies: what is shown, what is asked, and what each grade means. Data files, checked here."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from braindiffusion.errors import StudyProtocolError
from braindiffusion.io.text_files import read_json
from braindiffusion.studies.format import PROTOCOL, REAL, ROLES, SYNTHETIC, VERSION

FOLDER = Path(__file__).parent / "protocols"
QuestionType = Literal["grades", "choice", "mark", "text"]
Truth = Literal["origin", "side", "lesion"]
TRUTHS: dict[str, tuple[str, ...]] = {"grades": ("origin",), "choice": ("origin", "side"), "mark": ("lesion",)}
"""What answers of a type can be scored against."""
TRUTH_OPTIONS = {"origin": {REAL, SYNTHETIC}, "side": {"left", "right"}}
MOST_TEXT = 2000
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")


@dataclass(frozen=True)
class Grade:
    """One grade or option: its value (also its key), a short label, and what it means."""

    value: int | str
    label: str
    definition: str


@dataclass(frozen=True)
class Question:
    """One question asked of every case; the fields are those of docs/study_format.md.

    Attributes:
        grades: ascending grades (``grades``) or options (``choice``), else empty.
        cut: lowest grade that says synthetic (``grades`` scored by ``origin``).
    """

    id: str
    prompt: str
    type: QuestionType
    required: bool = True
    truth: Truth | None = None
    grades: tuple[Grade, ...] = ()
    cut: int | None = None
    max_points: int = 1
    definition: str = ""

    @property
    def values(self) -> list[int | str]:
        """The answers allowed, in order."""
        return [g.value for g in self.grades]

    def as_dict(self) -> dict[str, Any]:
        """As in the file, every default filled in."""
        out: dict[str, Any] = {
            "id": self.id, "prompt": self.prompt, "type": self.type, "required": self.required, "truth": self.truth,
        }  # fmt: skip
        if self.grades:
            out["grades" if self.type == "grades" else "options"] = [asdict(g) for g in self.grades]
        if self.cut is not None:
            out["cut"] = self.cut
        if self.type == "mark":
            out["max_points"] = self.max_points
        if self.definition:
            out["definition"] = self.definition
        return out


@dataclass(frozen=True)
class Window:
    """Grey levels on screen: percentiles of each case, or width and level in the scans' own values."""

    policy: Literal["locked", "free"] = "locked"
    percentiles: tuple[float, float] | None = (1.0, 99.5)
    width: float | None = None
    level: float | None = None


@dataclass(frozen=True)
class Protocol:
    """How cases are shown and what is asked; the fields are those of docs/study_format.md."""

    name: str
    title: str
    instructions: str
    show: Literal["single", "with_prior", "pair"]
    questions: tuple[Question, ...]
    cases: tuple[str, ...] = (REAL, SYNTHETIC)
    window: Window = field(default_factory=Window)
    going_back: bool = False
    repeats: int = 0
    break_every: int = 0
    source: str = ""

    def as_dict(self) -> dict[str, Any]:
        """As in the file, every default filled in."""
        window = {k: v for k, v in asdict(self.window).items() if v is not None}
        return {
            "format": PROTOCOL, "version": VERSION, "name": self.name, "title": self.title,
            "instructions": self.instructions, "source": self.source, "show": self.show, "cases": list(self.cases),
            "window": window | ({"percentiles": list(window["percentiles"])} if "percentiles" in window else {}),
            "going_back": self.going_back, "repeats": self.repeats, "break_every": self.break_every,
            "questions": [q.as_dict() for q in self.questions],
        }  # fmt: skip


def shipped() -> list[str]:
    """Names of the shipped protocols."""
    return sorted(p.stem for p in FOLDER.glob("*.json"))


def load_protocol(name: str | Path) -> Protocol:
    """A shipped protocol by name, or one from a JSON file.

    Raises:
        StudyProtocolError: unknown or malformed; the message names the field.
    """
    path = FOLDER / f"{name}.json" if str(name) in shipped() else Path(name)
    if not path.is_file():
        raise StudyProtocolError(
            f"There is no protocol '{name}'.",
            f"It is neither a file nor one of those shipped: {', '.join(shipped())}.",
            "Name one of them, or a .json file.",
        )
    try:
        data = read_json(path)
    except (OSError, ValueError) as error:
        raise _refused(path.name, f"It cannot be read: {error}") from error
    return parse_protocol(data, path.name)


def parse_protocol(data: Any, name: str = "the protocol") -> Protocol:
    """A protocol from plain data, checked.

    Args:
        name: of the file, for the message.

    Raises:
        StudyProtocolError: malformed.
    """
    try:
        return _parse(data)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        why = f"'{error.args[0]}' is missing." if isinstance(error, KeyError) else f"{error}."
        raise _refused(name, why[0].upper() + why[1:]) from error


def _refused(name: str, why: str) -> StudyProtocolError:
    return StudyProtocolError(f"{name} is no study protocol.", why, "Compare it with docs/study_format.md.")


def _need(condition: bool, what: str) -> None:
    if not condition:
        raise ValueError(what)


def _known(data: dict[str, Any], names: set[str], where: str) -> None:
    stray = sorted(set(data) - names)
    _need(not stray, f"{where} has no field '{stray[0] if stray else ''}'")


def _whole(value: Any, low: int, high: int, what: str) -> int:
    _need(
        isinstance(value, int) and not isinstance(value, bool) and low <= value <= high,
        f"{what} is from {low} to {high}",
    )
    return int(value)


def _flag(value: Any, what: str) -> bool:
    _need(isinstance(value, bool), f"{what} is true or false")
    return bool(value)


def _parse(data: dict[str, Any]) -> Protocol:
    _need(isinstance(data, dict) and data.get("format") == PROTOCOL, f"its format is not {PROTOCOL}")
    _need(data.get("version") == VERSION, f"version {data.get('version')} is not known, only {VERSION}")
    names = {
        "format", "version", "name", "title", "instructions", "source", "show", "cases", "window", "going_back",
        "repeats", "break_every", "questions",
    }  # fmt: skip
    _known(data, names, "a protocol")
    _need(bool(_NAME.fullmatch(data["name"])), "name is lower case letters, digits and _")
    _need(data["show"] in ROLES, f"show is one of {', '.join(ROLES)}")
    cases = tuple(data.get("cases", [REAL, SYNTHETIC]))
    _need(cases in ((REAL, SYNTHETIC), (SYNTHETIC,)), "cases is [real, synthetic] or [synthetic]")
    _need(data["show"] != "pair" or cases == (REAL, SYNTHETIC), "a pair needs real and synthetic cases")
    _need(data["show"] != "with_prior" or cases == (SYNTHETIC,), "only synthetic cases have a prior")
    questions = tuple(_question(q, data["show"], cases) for q in data["questions"])
    _need(bool(questions), "there is no question")
    _need(len({q.id for q in questions}) == len(questions), "two questions have one id")
    _need(any(q.required for q in questions), "no question is required")
    return Protocol(
        name=data["name"], title=str(data["title"]), instructions=str(data["instructions"]), show=data["show"],
        questions=questions, cases=cases, window=_window(data.get("window", {})),
        going_back=_flag(data.get("going_back", False), "going_back"),
        repeats=_whole(data.get("repeats", 0), 0, 1000, "repeats"),
        break_every=_whole(data.get("break_every", 0), 0, 1000, "break_every"), source=str(data.get("source", "")),
    )  # fmt: skip


def _question(data: dict[str, Any], show: str, cases: tuple[str, ...]) -> Question:
    kind = data["type"]
    _need(kind in get_args(QuestionType), f"a question's type is one of {', '.join(get_args(QuestionType))}")
    own = {"grades": {"grades", "cut"}, "choice": {"options"}, "mark": {"max_points", "definition"}}
    _known(data, {"id", "prompt", "type", "required", "truth"} | own.get(kind, {"definition"}), f"a {kind} question")
    name = data["id"]
    _need(bool(_NAME.fullmatch(name)), f"question id '{name}' is not lower case letters, digits and _")
    truth = data.get("truth")
    _need(truth is None or truth in TRUTHS.get(kind, ()), f"{name} cannot be scored by '{truth}'")
    _need(truth != "side" or show == "pair", f"{name}: only a pair has sides")
    _need(truth != "origin" or (show == "single" and len(cases) == 2), f"{name}: every case has the same origin")
    grades: tuple[Grade, ...] = ()
    if kind in ("grades", "choice"):
        grades = tuple(_grade(g, kind, name) for g in data["grades" if kind == "grades" else "options"])
        values = [g.value for g in grades]
        _need(len(values) >= 2, f"{name} has fewer than two answers")
        _need(len(set(values)) == len(values), f"{name} has a value twice")
        _need(kind == "choice" or values == sorted(values, key=float), f"{name}: the grades do not ascend")
        _need(kind == "grades" or truth is None or set(values) == TRUTH_OPTIONS[truth], f"{name}: options of {truth}")
    cut = data.get("cut")
    scored = kind == "grades" and truth == "origin"
    _need((cut is not None) == scored, f"{name}: cut belongs to grades scored by origin")
    _need(cut is None or cut in [g.value for g in grades][1:], f"{name}: cut is one of the grades, not the lowest")
    return Question(
        id=name, prompt=str(data["prompt"]), type=kind, required=_flag(data.get("required", True), "required"),
        truth=truth, grades=grades, cut=cut, max_points=_whole(data.get("max_points", 1), 1, 100, "max_points"),
        definition=str(data.get("definition", "")),
    )  # fmt: skip


def _grade(data: dict[str, Any], kind: str, name: str) -> Grade:
    _known(data, {"value", "label", "definition"}, f"a grade of {name}")
    value = data["value"]
    if kind == "grades":
        value = _whole(value, 0, 9, f"a grade of {name}")
    else:
        _need(isinstance(value, str) and bool(_NAME.fullmatch(value)), f"an option of {name} is a short word")
    _need(bool(data["label"]) and bool(data["definition"]), f"grade {value} of {name} has no label or no definition")
    return Grade(value, str(data["label"]), str(data["definition"]))


def _window(data: dict[str, Any]) -> Window:
    _known(data, {"policy", "percentiles", "width", "level"}, "window")
    policy = data.get("policy", "locked")
    _need(policy in ("locked", "free"), "window's policy is locked or free")
    if "width" in data or "level" in data:
        _need("percentiles" not in data, "window has percentiles or width and level, not both")
        width, level = float(data["width"]), float(data["level"])
        _need(math.isfinite(level) and math.isfinite(width) and width > 0, "window's width is above 0")
        return Window(policy, None, width, level)
    low, high = (float(v) for v in data.get("percentiles", (1.0, 99.5)))
    _need(0 <= low < high <= 100, "window's percentiles ascend within 0 and 100")
    return Window(policy, (low, high))
