"""A sealed study as its readers may see it: protocol, cases and orders. The format is in docs/study_format.md.

Needs the standard library only. Nothing here knows what is behind a case; a key inside the folder is refused.
"""

import hashlib
import json
import math
import re
from pathlib import Path

from BrainCounterfactualCommon.host import Problem
from BrainCounterfactualCommon.host import tr as _

FORMAT, VERSION = "braindiffusion-study", 1
KEY_FORMAT = "braindiffusion-study-key"
ROLES = {"single": ("scan",), "with_prior": ("scan", "prior"), "pair": ("left", "right")}
"""Images of a case by the protocol's ``show``."""
QUESTION_TYPES = ("grades", "choice", "mark", "text")
_READER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
_HASH = re.compile(r"[0-9a-f]{64}")


def unreadable(folder, cause):
    """The error of a folder that is no study that can be read."""
    return Problem(
        "StudyFolderError",
        _("{name} is no reader study that can be opened.").format(name=Path(folder).name),
        cause,
        _("Choose the folder that 'braindiffusion study create' made, and copy it whole."),
    )


def digest(path):
    """SHA-256 of a file, in hex."""
    hasher = hashlib.sha256()
    with open(path, "rb") as stream:
        for chunk in iter(lambda: stream.read(1 << 20), b""):
            hasher.update(chunk)
    return hasher.hexdigest()


class Image:
    """One scan of a case: ``role`` (scan, prior, left, right), ``path``, and the ``window`` and ``level`` to show."""

    def __init__(self, role, path, sha256, window, level):
        self.role, self.path, self.sha256 = role, path, sha256
        self.window, self.level = window, level


class Study:
    """What a reader may know.

    Attributes:
        folder: its place; identifier: its id; title, notice, use: to be shown.
        protocol: the protocol as in the file, every default filled in.
        questions: the protocol's questions, in order.
        readers: reader code -> list of case ids, the order of showing.
        sha256: of study.json; answers refer to it.
    """

    def __init__(self, folder, data, sha256):
        self.folder, self.sha256, self._cases = Path(folder), sha256, data["cases"]
        self.identifier, self.readers = data["study"], data["readers"]
        self.title, self.notice, self.use = data.get("title", ""), data["notice"], data["use"]
        self.protocol = data["protocol"]
        self.questions = self.protocol["questions"]

    @property
    def closed(self):
        """Whether the key has been used for good: nothing more is read."""
        path = self.folder / "unblinded.jsonl"
        if not path.is_file():
            return False
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                if json.loads(line).get("final"):
                    return True
            except (ValueError, AttributeError):
                return True  # damaged, but somebody unblinded
        return False

    def images(self, case):
        """The images of a case, by role, checked against their hashes.

        Raises:
            Problem: one is missing or was changed.
        """
        out = {}
        for entry in self._cases[case]["images"]:
            path = self.folder / entry["file"]
            try:
                same = digest(path) == entry["sha256"]
            except OSError as error:
                raise unreadable(self.folder, str(error)) from error
            if not same:
                raise unreadable(self.folder, _("A scan of case {case} was changed.").format(case=case))
            window, level = entry["window"]
            out[entry["role"]] = Image(entry["role"], path, entry["sha256"], float(window), float(level))
        return out


def openStudy(folder):
    """Read and check a study folder; scans are checked when they are shown.

    Raises:
        Problem: no study, another version, damaged, or its key lies inside.
    """
    folder = Path(folder)
    path = folder / "study.json"
    try:
        content = path.read_bytes()
        data = json.loads(content.decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise unreadable(folder, _("study.json cannot be read: {error}").format(error=error)) from error
    try:
        _check(data)
    except (KeyError, TypeError, ValueError) as error:
        raise unreadable(folder, _("study.json is not as it should be: {error}").format(error=error)) from error
    _refuseKey(folder)
    for question in data["protocol"]["questions"]:
        question.setdefault("required", True)
        question.setdefault("truth", None)
        if question["type"] == "mark":
            question.setdefault("max_points", 1)
    return Study(folder, data, hashlib.sha256(content).hexdigest())


def _need(condition, what):
    if not condition:
        raise ValueError(what)


def _check(data):
    """Raises ValueError, KeyError or TypeError where the format is not kept."""
    _need(data["format"] == FORMAT, "it is no study")
    _need(data["version"] == VERSION, "version {} is not known, only {}".format(data["version"], VERSION))
    _need(isinstance(data["study"], str) and data["study"], "it has no id")
    _need(all(isinstance(data[name], str) for name in ("notice", "use")), "a notice is missing")
    protocol = data["protocol"]
    roles = ROLES[protocol["show"]]
    _need(protocol["window"]["policy"] in ("locked", "free"), "the window policy is not known")
    _need(isinstance(protocol["going_back"], bool), "going_back is not true or false")
    _need(bool(protocol["questions"]), "there is no question")
    names = [question["id"] for question in protocol["questions"]]
    _need(len(set(names)) == len(names), "two questions have one id")
    for question in protocol["questions"]:
        _need(question["type"] in QUESTION_TYPES, "question type {} is not known".format(question["type"]))
        _need(isinstance(question["prompt"], str), "a question has no prompt")
        for entry in question.get({"grades": "grades", "choice": "options"}.get(question["type"]), []):
            _need({"value", "label", "definition"} <= set(entry), "a grade lacks its definition")
    for case, entry in data["cases"].items():
        _need(sorted(image["role"] for image in entry["images"]) == sorted(roles), "case {}: roles".format(case))
        for image in entry["images"]:
            parts = image["file"].split("/")
            _need(".." not in parts and parts[0] == "cases" and len(parts) == 2, "a file lies outside cases/")
            _need(bool(_HASH.fullmatch(image["sha256"])), "a hash is none")
            window, level = image["window"]
            _need(math.isfinite(window) and math.isfinite(level) and window > 0, "a window is none")
    _need(bool(data["readers"]), "there is no reader")
    for reader, order in data["readers"].items():
        _need(bool(_READER.fullmatch(reader)), "reader code {!r}".format(reader))
        _need(bool(order) and all(case in data["cases"] for case in order), "reader {}: unknown case".format(reader))


def _refuseKey(folder):
    """Raises Problem where a key lies in the folder: whoever opens the study could read it."""
    for path in folder.rglob("*.json"):
        if path == folder / "study.json":
            continue
        with open(path, "rb") as stream:
            if KEY_FORMAT.encode() in stream.read(1 << 16):
                raise Problem(
                    "StudyKeyError",
                    _("The key lies inside the study folder."),
                    _("Whoever opens the study could read which case is which."),
                    _("Move {name} elsewhere, out of the readers' reach.").format(name=path.name),
                )
