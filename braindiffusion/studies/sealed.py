"""Reading a sealed study back: study, key and answers, each checked against the others before anything is counted."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from braindiffusion.errors import AnswersError, StudyError, StudyKeyError
from braindiffusion.io.text_files import parse_json, read_bytes
from braindiffusion.studies.format import ANSWERS, KEY, STUDY, VERSION, canonical, seal_of, sha256_of, sha256_of_file
from braindiffusion.studies.protocol import MOST_TEXT, Protocol, Question, parse_protocol

MOST_SECONDS, MOST_MM = 1e7, 1e6
_NAME = re.compile(r"(?P<reader>[A-Za-z0-9][A-Za-z0-9_-]*)-(?P<session>[0-9]{3,})\.jsonl")


@dataclass(frozen=True)
class SealedStudy:
    """A study as its readers have it.

    Attributes:
        data: study.json; sha256: of its bytes.
    """

    folder: Path
    data: dict[str, Any]
    sha256: str
    protocol: Protocol

    @property
    def orders(self) -> dict[str, list[str]]:
        """Reader -> case ids in the order of showing."""
        return dict(self.data["readers"])


def open_study(folder: Path) -> SealedStudy:
    """Read and check a study, all its scans included.

    Raises:
        StudyError: no study, another version, or a scan that is missing or was changed.
    """
    path = folder / "study.json"
    try:
        content = read_bytes(path)
        data = parse_json(content)
        if data["format"] != STUDY or data["version"] != VERSION:
            raise ValueError(f"It is {data['format']}, version {data['version']}.")
        protocol = parse_protocol(data["protocol"], "The study's protocol")
        images = [image for case in data["cases"].values() for image in case["images"]]
        if not all(c in data["cases"] for order in data["readers"].values() for c in order) or not data["readers"]:
            raise ValueError("A reader's order names cases that are not there.")
        for image in images:
            if not _lies_in(folder, image["file"]):
                raise ValueError(f"{image['file']!r:.80} is no file in it.")
        changed = [i["file"] for i in images if sha256_of_file(folder / i["file"]) != i["sha256"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        why = f"{error} is missing." if isinstance(error, KeyError) else str(error)
        raise StudyError(f"{folder} is no study.", why, "Give the folder that 'study create' made, whole.") from error
    if changed:
        raise StudyError(f"{changed[0]} was changed.", "Its hash is not the sealed one.", "Copy the study again.")
    return SealedStudy(folder, data, sha256_of(content), protocol)


def _lies_in(folder: Path, name: str) -> bool:
    """Whether a study's file is a plain one, inside its folder: a forged study could name a pipe, or a device."""
    inside = Path(name)
    return not inside.is_absolute() and ".." not in inside.parts and (folder / inside).is_file()


def open_key(path: Path, study: SealedStudy) -> dict[str, Any]:
    """Read the key of a study and check each against the other.

    Raises:
        StudyKeyError: missing, of another study, changed, or the study was changed since it was sealed.
    """
    try:
        content = read_bytes(path)
    except OSError as error:
        why = error.strerror or str(error)
        action = "Give the file that 'study create' wrote beside the study: --key FILE."
        raise StudyKeyError(f"The key {path} cannot be read.", why, action) from error
    if sha256_of(content) != study.data["key_sha256"]:
        why = "Its hash is not the one sealed into the study: it is another study's, or was changed."
        raise StudyKeyError(f"{path.name} is not the key of this study.", why, "Bring the key as it was written.")
    try:
        key = parse_json(content)
        fits = (key["format"], key["study"], key["seal"]) == (KEY, study.data["study"], seal_of(study.data))
        labels = [key["cases"][case] for case in study.data["cases"]]
        if not all(isinstance(label.get("method"), str) and "subject" in label for label in labels):
            raise ValueError("A case has no method or no subject.")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        why = f"{error} is missing." if isinstance(error, KeyError) else str(error)
        raise StudyKeyError(f"{path.name} is no key.", why, "Bring the key as it was written.") from error
    if not fits:
        why = "study.json is not the one the key was made with."
        raise StudyKeyError("The study was changed since it was sealed.", why, "Bring study.json as it was written.")
    return dict(key)


# --- answers ------------------------------------------------------------------------------------------------


def _damaged(path: Path, why: str) -> AnswersError:
    return AnswersError(
        f"The answers in {path.name} were changed or damaged.", why, "Bring the file as it was written."
    )


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    """The records of a file; a last line that is not whole is what a crash leaves."""
    try:
        lines = read_bytes(path).split(b"\n")[:-1]
    except OSError as error:
        raise _damaged(path, error.strerror or str(error)) from error
    out: list[dict[str, Any]] = []
    for number, line in enumerate(lines, 1):
        try:
            record = parse_json(line)
            if not isinstance(record, dict):
                raise ValueError("no record")
        except ValueError as error:
            if number == len(lines):
                break
            raise _damaged(path, f"Line {number} cannot be read.") from error
        out.append(record)
    return out


def _chain(previous: str, record: dict[str, Any]) -> str:
    body = {k: v for k, v in record.items() if k != "chain"}
    return sha256_of((previous + canonical(body)).encode())


def session_files(folder: Path) -> dict[str, dict[int, Path]]:
    """Reader -> session -> file of a folder of answers."""
    out: dict[str, dict[int, Path]] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        match = _NAME.fullmatch(path.name)
        if match:
            out.setdefault(match["reader"], {})[int(match["session"])] = path
    return out


def read_answers(study: SealedStudy, folders: list[Path] | None = None) -> dict[str, list[dict[str, Any]]]:
    """Every answer given, reader by reader, in the order given.

    Args:
        folders: where answers lie; ``None``: the study's own ``answers``. One reader's files lie in one of them; the
            same file in two folders counts once.

    Returns:
        Reader (every one of the study) -> records of kind ``answer``.

    Raises:
        AnswersError: changed, damaged, missing sessions, of another study, or answers the protocol does not allow.
    """
    found: dict[str, dict[int, Path]] = {}
    for folder in folders or [study.folder / "answers"]:
        if folders and not folder.is_dir():
            raise AnswersError(f"{folder} is not a folder.", "Answers were to be there.", "Check the path.")
        for reader, files in session_files(folder).items():
            for session, path in files.items():
                first = found.setdefault(reader, {}).setdefault(session, path)
                if first != path and first.read_bytes() != path.read_bytes():
                    raise _damaged(path, f"{first} and {path} are both session {session} of {reader} and differ.")
    stray = sorted(set(found) - set(study.orders))
    if stray:
        path = next(iter(found[stray[0]].values()))
        raise _damaged(path, f"There is no reader {stray[0]} in the study.")
    return {reader: _answers_of(study, reader, found.get(reader, {})) for reader in study.orders}


def _answers_of(study: SealedStudy, reader: str, files: dict[int, Path]) -> list[dict[str, Any]]:
    chain, out = study.sha256, []
    for due, session in enumerate(sorted(files), 1):
        path = files[session]
        if session != due:
            raise _damaged(path, f"Session {due} of {reader} is missing.")
        records = _whole_lines(path)
        if not records:
            continue
        head = records[0]
        if (head.get("kind"), head.get("format"), head.get("version")) != ("session", ANSWERS, VERSION):
            raise _damaged(path, "It does not begin as a session of answers.")
        if (head.get("study"), head.get("study_sha256")) != (study.data["study"], study.sha256):
            raise _damaged(path, "It belongs to another study, or study.json was changed since.")
        if (head.get("reader"), head.get("session")) != (reader, session):
            raise _damaged(path, "It was renamed.")
        for number, record in enumerate(records, 1):
            try:
                link = _chain(chain, record)
            except (ValueError, RecursionError) as error:  # NaN, or lists without end
                raise _damaged(path, f"Line {number} is no record: {error}.") from error
            if record.get("chain") != link:
                raise _damaged(path, f"Line {number} does not follow from the line before.")
            chain = link
            if record.get("kind") == "answer":
                _check_answer(study, reader, record, path, number)
                out.append(record | {"session": session})
    return out


def _check_answer(study: SealedStudy, reader: str, record: dict[str, Any], path: Path, number: int) -> None:
    order, position = study.orders[reader], record.get("position")
    if type(position) is not int or not 1 <= position <= len(order) or order[position - 1] != record.get("case"):
        raise _damaged(path, f"Line {number} answers a case that was not shown there.")
    answers, seconds = record.get("answers"), record.get("seconds")
    timed = isinstance(seconds, int | float) and type(seconds) is not bool and 0 <= seconds < MOST_SECONDS
    tools, window = record.get("tools", {}), record.get("window", {})
    if not isinstance(answers, dict) or not timed or not _counts(tools) or not _numbers(window):
        raise _damaged(path, f"Line {number} is no answer.")
    questions = {q.id: q for q in study.protocol.questions}
    missing = [q.id for q in questions.values() if q.required and answers.get(q.id) in (None, "")]
    wrong = [name for name, value in answers.items() if name not in questions or not allowed(questions[name], value)]
    if missing or wrong:
        raise _damaged(path, f"Line {number}: the answer to {(missing + wrong)[0]} is not allowed or missing.")


def _counts(tools: Any) -> bool:
    return isinstance(tools, dict) and all(type(n) is int and n >= 0 for n in tools.values())


def _numbers(window: Any) -> bool:
    lists = list(window.values()) if isinstance(window, dict) else [None]
    return all(isinstance(v, list) and all(type(n) in (int, float) for n in v) for v in lists)


def allowed(question: Question, value: Any) -> bool:
    """Whether a value answers a question."""

    def number(v: Any) -> bool:
        return type(v) in (int, float) and abs(v) < MOST_MM

    if question.type == "grades":
        return isinstance(value, int) and not isinstance(value, bool) and value in question.values
    if question.type == "choice":
        return isinstance(value, str) and value in question.values
    if question.type == "text":
        return isinstance(value, str) and len(value) <= MOST_TEXT
    return (
        isinstance(value, list)
        and len(value) <= question.max_points
        and all(isinstance(p, list) and len(p) == 3 and all(number(c) for c in p) for p in value)
    )


def counting(study: SealedStudy, answers: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """Position -> the answer that counts: the last where readers may go back, else the first."""
    out: dict[int, dict[str, Any]] = {}
    for record in answers:
        if study.protocol.going_back or record["position"] not in out:
            out[record["position"]] = record
    return out
