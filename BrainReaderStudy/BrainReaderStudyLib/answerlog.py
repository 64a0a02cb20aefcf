"""The files answers are kept in: JSON lines, only ever appended to, each line on the disk before the next case.

Every start of the reading makes a file of its own, so a line torn by a crash stays the last of its file. Each line is
chained to the one before by a hash. The format is in docs/study_format.md.
"""

import contextlib
import hashlib
import json
import os
import re
import time
from pathlib import Path

from BrainCounterfactualCommon.host import Problem
from BrainCounterfactualCommon.host import tr as _

FORMAT, VERSION = "braindiffusion-answers", 1
_NAME = re.compile(r"(?P<reader>[A-Za-z0-9][A-Za-z0-9_-]*)-(?P<session>[0-9]{3,})\.jsonl")


def utcNow():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def canonical(record):
    """The one way a record is written: sorted keys, no spaces, ASCII."""
    return json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False)


def chained(previous, record):
    """The record with its ``chain``, which follows that of the line before."""
    body = {key: value for key, value in record.items() if key != "chain"}
    return dict(body, chain=hashlib.sha256((previous + canonical(body)).encode("ascii")).hexdigest())


def damaged(path, cause):
    """The error of an answers file that was changed."""
    return Problem(
        "AnswersError",
        _("The answers in {name} were changed or damaged.").format(name=Path(path).name),
        cause,
        _("Bring back the file as it was written, or tell who runs the study."),
    )


def _lines(path):
    """Whole lines of a file as records; a torn last line is left out.

    Raises:
        Problem: a line before the last that is no record.
    """
    content = Path(path).read_bytes()
    *whole, _torn = content.split(b"\n")
    records = []
    for number, line in enumerate(whole, 1):
        try:
            record = json.loads(line.decode("utf-8"))
            if not isinstance(record, dict):
                raise ValueError("no record")
        except (ValueError, RecursionError) as error:
            if number == len(whole):
                break  # a crash can leave a line that has its end but not its middle
            raise damaged(path, _("Line {n} cannot be read.").format(n=number)) from error
        records.append(record)
    return records


def sessionFiles(folder, reader):
    """``(session, path)`` of a reader's files, in order."""
    found = []
    if Path(folder).is_dir():
        for path in Path(folder).iterdir():
            match = _NAME.fullmatch(path.name)
            if match and match.group("reader") == reader:
                found.append((int(match.group("session")), path))
    return sorted(found)


def readAnswers(folder, reader, study):
    """All answers of a reader, in the order given, and the chain to go on with.

    Returns:
        (records of kind ``answer``, chain of the last whole line, number of the last session).

    Raises:
        Problem: a file of another study, a changed line, a missing session.
    """
    chain, answers, last = study.sha256, [], 0
    for session, path in sessionFiles(folder, reader):
        if session != last + 1:
            raise damaged(path, _("Session {n} is missing.").format(n=last + 1))
        last = session
        records = _lines(path)
        if not records:
            continue  # the crash came before the first line was whole
        head = records[0]
        if head.get("format") != FORMAT or head.get("version") != VERSION or head.get("kind") != "session":
            raise damaged(path, _("It does not begin as a session of answers."))
        if (head.get("study"), head.get("study_sha256")) != (study.identifier, study.sha256):
            raise damaged(path, _("It belongs to another study, or the study was changed since."))
        if (head.get("reader"), head.get("session")) != (reader, session):
            raise damaged(path, _("It was renamed."))
        for number, record in enumerate(records, 1):
            if chained(chain, record)["chain"] != record.get("chain"):
                raise damaged(path, _("Line {n} does not follow from the line before.").format(n=number))
            chain = record["chain"]
        answers += [record for record in records[1:] if record.get("kind") == "answer"]
    return answers, chain, last


class AnswerLog:
    """The file of one session; made at once, so that a folder that cannot be written is found before reading starts.

    Args:
        folder: made when missing.
        software: what writes, with its version.

    Raises:
        Problem: the folder cannot be written; see :func:`readAnswers`.
    """

    def __init__(self, folder, reader, study, software):
        self.folder, self.reader, self.study, self.software = Path(folder), reader, study, software
        self.answers, self._chain, self.session = readAnswers(folder, reader, study)
        self._file = None
        self._begin()

    def _refused(self, error):
        return Problem(
            "OutputError",
            _("The answer cannot be saved in {name}.").format(name=self.folder.name),
            error.strerror or str(error),
            _("Free some space or ask for permission, then answer again: nothing saved before is lost."),
        )

    def _begin(self):
        """Start the next session's file."""
        session = self.session + 1
        path = self.folder / "{}-{:03d}.jsonl".format(self.reader, session)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file = open(path, "xb")  # noqa: SIM115 - open until the session ends
        except FileExistsError as error:
            raise self._superseded() from error
        except OSError as error:
            raise self._refused(error) from error
        self.session = session
        _flushFolder(self.folder)
        self._write(
            {
                "kind": "session",
                "format": FORMAT,
                "version": VERSION,
                "study": self.study.identifier,
                "study_sha256": self.study.sha256,
                "reader": self.reader,
                "session": session,
                "previous": self._chain,
                "software": self.software,
                "time": utcNow(),
            }
        )

    def _superseded(self):
        return Problem(
            "SessionError",
            _("Reader {reader} has opened this study elsewhere.").format(reader=self.reader),
            _("A later session exists; two at once would mix their answers."),
            _("Go on there, or start again here."),
        )

    def _write(self, record):
        record = chained(self._chain, record)
        try:
            self._file.write((canonical(record) + "\n").encode("ascii"))
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            self.close()  # what may be torn stays the last line of its file; the next answer starts another
            raise self._refused(error) from error
        self._chain = record["chain"]
        return record

    def append(self, record):
        """Save an answer; it is on the disk when this returns.

        Raises:
            Problem: it could not be saved, or a later session of this reader exists.
        """
        if sessionFiles(self.folder, self.reader)[-1:] != [(self.session, self._path())]:
            raise self._superseded()
        if self._file is None:
            self.answers, self._chain, self.session = readAnswers(self.folder, self.reader, self.study)
            self._begin()
        saved = self._write(dict(record, kind="answer", software=self.software, time=utcNow()))
        self.answers.append(saved)
        return saved

    def _path(self):
        return self.folder / "{}-{:03d}.jsonl".format(self.reader, self.session)

    def close(self):
        """End the session's file."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None


def _flushFolder(folder):
    """Make a new file's name last; not every system can."""
    with contextlib.suppress(OSError):
        handle = os.open(str(folder), os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
