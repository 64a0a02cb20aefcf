"""Unblinding a study at its end, and everything its answers say."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from braindiffusion import RESEARCH_USE_ONLY, __version__
from braindiffusion.errors import OutputError, UnfinishedStudyError
from braindiffusion.io.text_files import parse_json, read_text
from braindiffusion.io.write import OutputFolder, check_writable
from braindiffusion.studies import report
from braindiffusion.studies.confidence import origin_section
from braindiffusion.studies.consistency import agreement_section
from braindiffusion.studies.forced_choice import choice_section
from braindiffusion.studies.format import default_key, utc_now
from braindiffusion.studies.grades import RANK, grade_section
from braindiffusion.studies.marks import mark_section
from braindiffusion.studies.merit import CHANCE, DIFFERENCE
from braindiffusion.studies.readings import Reading, join
from braindiffusion.studies.sealed import SealedStudy, counting, open_key, open_study, read_answers
from braindiffusion.studies.sections import VERDICT, Row, Section, Table, corrected
from braindiffusion.studies.times import time_section

UNBLINDED = "unblinded.jsonl"


@dataclass(frozen=True)
class StudyResults:
    """What a study found.

    Attributes:
        title: of the report; facts: what the study was, as plain data; sections: the report.
        readings: every answer that counts, unblinded.
    """

    title: str
    facts: dict[str, Any]
    sections: list[Section]
    readings: list[Reading]

    def table(self, name: str) -> list[dict[str, Any]]:
        """The rows of a table as dicts; empty where there is no such table."""
        for section in self.sections:
            for table in section.tables:
                if table.name == name:
                    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]
        return []

    def write(self, out: Path) -> None:
        """The report, its tables, pictures and ``readings.csv``.

        Raises:
            OutputError: it cannot be written; then nothing is.
        """
        with OutputFolder(out) as folder:
            report.write(folder, self.title, self.facts, self.sections)
            columns, rows = _readings_table(self.readings)
            folder.file("tables/readings.csv").write_text(report.csv_text(columns, rows), encoding="utf-8")


def analyse_study(
    folder: Path, key: Path | None = None, answers: list[Path] | None = None, interim: bool = False,
    out: Path | None = None,
) -> StudyResults:  # fmt: skip
    """Check a study, its answers and its key; record that it was unblinded; analyse.

    Args:
        key: the key file; ``None``: ``<folder>-key.json`` beside the study.
        answers: folders of answers; ``None``: the study's own.
        interim: go on where readers have not finished. The final unblinding closes the study; an interim one does not.
        out: where the results will go, checked before anything is unblinded.

    Raises:
        StudyError, AnswersError, StudyKeyError: something is missing, damaged or was changed; nothing was unblinded.
        UnfinishedStudyError: a reader has not finished. OutputError: the unblinding cannot be recorded.
    """
    study = open_study(folder)
    given = read_answers(study, answers)
    progress = {r: (len(counting(study, given[r])), len(order)) for r, order in study.orders.items()}
    finished = all(done == total for done, total in progress.values())
    if not any(done for done, _ in progress.values()):
        raise UnfinishedStudyError("There are no answers yet.", "No reader has begun.", "Let the readers read.")
    if not finished and not interim:
        open_ones = ", ".join(f"{r} {done} of {total}" for r, (done, total) in progress.items() if done < total)
        raise UnfinishedStudyError(
            "Not all readers have finished.",
            f"Answered: {open_ones}. Unblinding now would end the study.",
            "Wait for them, or look early with --interim; the report will say so.",
        )
    labels = open_key(key or default_key(study.folder), study)
    if out is not None:
        check_writable(out)
    _record_unblinding(study, finished, progress)
    readings = join(study, labels, given)
    unblindings = _unblindings(study)
    facts = {
        "use": RESEARCH_USE_ONLY, "software": {"braindiffusion": __version__}, "analysed": utc_now(),
        "study": study.data["study"], "study_sha256": study.sha256, "key_sha256": study.data["key_sha256"],
        "protocol": study.protocol.as_dict(), "seed": labels["seed"], "counts": labels["counts"], "final": finished,
        "progress": {r: {"answered": done, "of": total} for r, (done, total) in progress.items()},
        "unblinded": unblindings, "power": labels["power"],
    }  # fmt: skip
    sections = [_design_section(study, facts, readings), *_sections(study, readings)]
    sections.insert(0, _summary(sections, finished))
    return StudyResults(study.data["title"], facts, sections, readings)


def _sections(study: SealedStudy, readings: list[Reading]) -> list[Section]:
    """A section for each question, then tests over all of them, agreement, time."""
    out: list[Section] = []
    differences: list[Row] = []
    ranks: list[Row] = []
    chance: list[Row] = []
    for question in study.protocol.questions:
        if question.type in ("grades", "choice") and question.truth == "origin":
            section, against, versus = origin_section(question, readings)
            chance, differences = chance + against, differences + versus
            out.append(section)
        elif question.truth == "side":
            section, against, versus = choice_section(question, readings)
            chance, differences = chance + against, differences + versus
            out.append(section)
        elif question.truth == "lesion":
            out.append(mark_section(question, readings))
        if question.type == "grades":
            section, tests, by_rank = grade_section(question, readings)
            ranks += by_rank
            if question.truth is None:  # else its methods are compared by their areas
                differences += tests
            out.append(section)
        elif question.truth is None:
            out.append(_plain_section(question.id, question.prompt, readings))
    tests_section = Section("Tests", [
        "Every test made on this study is in these tables; each table is corrected as a whole (Holm 1979).",
        "The multi-reader test comes first: it generalises to other readers and other cases. The rank tests take each "
        "case's mean over these readers and assume nothing of the distances between grades.",
    ])  # fmt: skip
    for name, title, columns, rows in (
        ("tests_chance", "Against chance", CHANCE, chance),
        ("tests_methods", "Methods against each other", DIFFERENCE, differences),
        ("tests_ranks", "Methods against each other, by ranks", RANK, ranks),
    ):
        if rows:
            tests_section.tables.append(corrected(name, title, columns, rows))
    return [*out, tests_section, agreement_section(study.protocol, readings), time_section(readings)]


def _plain_section(name: str, prompt: str, readings: list[Reading]) -> Section:
    """Choices without a right answer are counted; texts are in readings.csv."""
    counts: Counter[tuple[str, str]] = Counter()
    for r in readings:
        value = r.answers.get(name)
        if isinstance(value, str) and r.showing == 1 and len(value) <= 32:
            counts[r.method, value] += 1
    section = Section(f"{prompt} ({name})", ["Counted, not tested. Texts are in tables/readings.csv."])
    rows: list[Row] = [[m, v, n] for (m, v), n in sorted(counts.items())]
    section.tables.append(Table(f"{name}_counts", "Answers", ("method", "answer", "times"), rows))
    return section


def _design_section(study: SealedStudy, facts: dict[str, Any], readings: list[Reading]) -> Section:
    protocol = study.protocol
    window = "locked" if protocol.window.policy == "locked" else "free to the reader, recorded"
    section = Section("The study", [
        f"Protocol {protocol.name}: {protocol.source}",
        f"Instructions to the readers: {protocol.instructions}",
        f"Window and level: {window}. Going back: {'allowed' if protocol.going_back else 'not allowed'}. "
        f"Order: random for each reader. Software: {', '.join(sorted({r.software for r in readings}))}.",
        *facts["power"]["text"],
    ])  # fmt: skip
    rows: list[Row] = [[m, s, n] for m, by in facts["counts"].items() for s, n in by.items()]
    section.tables.append(Table("counts", "Cases", ("method", "stratum", "cases"), rows))
    rows = [
        [r, by["answered"], by["of"], sum(x.reader == r and x.showing == 2 for x in readings)]
        for r, by in facts["progress"].items()
    ]
    section.tables.append(Table("readers", "Readers", ("reader", "answered", "shown", "repeats"), rows))
    rows = [[u.get("time", ""), "final" if u.get("final") else "interim"] for u in facts["unblinded"]]
    section.tables.append(Table("unblinded", "Unblinded", ("time", "kind"), rows))
    return section


def _summary(sections: list[Section], finished: bool) -> Section:
    """What the corrected tests allow to be said, and nothing else."""
    text = [] if finished else ["INTERIM: not all readers have finished. Numbers may change; so may what they show."]
    tests = {t.name: t for s in sections for t in s.tables if VERDICT in t.columns}
    for name in ("tests_chance", "tests_methods"):
        if name not in tests:
            continue
        table = tests[name]
        rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
        told = [r for r in rows if r[VERDICT] == "significant"]
        for r in told:
            value = r.get("difference", r.get("value"))
            text.append(
                f"{r['measure']}, {r.get('methods', r.get('what'))}: {value:.2f} (95 % interval "
                f"{r['interval low']:.2f} to {r['interval high']:.2f}; n = {r['n']}; {r['test']}; p = {r['p']:.2g}, "
                f"Holm {r['p (Holm)']:.2g})."
            )
        text.append(
            f"{table.title}: {len(told)} of {len(rows)} tests significant after correction. The others are no proof of "
            "equality; see what the study could show."
        )
    if len(text) == (0 if finished else 1):
        text.append("Nothing was tested.")
    return Section("Summary", text)


# --- the record of unblinding -------------------------------------------------------------------------------


def _record_unblinding(study: SealedStudy, final: bool, progress: dict[str, tuple[int, int]]) -> None:
    line = {
        "time": utc_now(), "study": study.data["study"], "key_sha256": study.data["key_sha256"], "final": final,
        "answered": {r: done for r, (done, _) in progress.items()}, "software": {"braindiffusion": __version__},
    }  # fmt: skip
    try:
        with (study.folder / UNBLINDED).open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(line, sort_keys=True) + "\n")
            handle.flush()
            os.fsync(handle.fileno())
    except OSError as error:
        raise OutputError(
            f"The unblinding cannot be recorded in {study.folder}.",
            error.strerror or str(error),
            "Make the study's folder writable; without a record it stays blinded.",
        ) from error


def _unblindings(study: SealedStudy) -> list[dict[str, Any]]:
    lines = read_text(study.folder / UNBLINDED).splitlines()
    out = []
    for line in lines:
        try:
            out.append(dict(parse_json(line)))
        except ValueError:
            out.append({"time": "a line that cannot be read", "final": True})
    return out


def _readings_table(readings: list[Reading]) -> tuple[tuple[str, ...], list[Row]]:
    """One row for each answer that counts."""
    names = list(dict.fromkeys(name for r in readings for name in r.answers))
    columns = (
        "reader", "session", "position", "case", "showing", "method", "origin", "stratum", "subject", "side", *names,
        "seconds", "replaced", "time", "software", "tools", "window",
    )  # fmt: skip
    rows: list[Row] = [
        [
            r.reader, r.session, r.position, r.case, r.showing, r.method, r.label["origin"], r.label["stratum"],
            r.subject, r.label["side"], *(_cell(r.answers.get(n)) for n in names), r.seconds, r.revisions, r.time,
            r.software,            json.dumps(r.tools, sort_keys=True), json.dumps(r.window, sort_keys=True),
        ]
        for r in readings
    ]  # fmt: skip
    return columns, rows


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list) else value
