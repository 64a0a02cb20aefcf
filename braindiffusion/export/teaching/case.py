"""A teaching file: one folder with a page, volumes and DICOM, of which none tells who the patient is."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from braindiffusion import NOT_FOR_DIAGNOSIS, RESEARCH_USE_ONLY, __version__
from braindiffusion.errors import OutputError, SettingsError
from braindiffusion.export.deidentify import Clean, copy_label
from braindiffusion.export.dicom import Coding, Label, Study
from braindiffusion.export.dicom_masks import Segment, write_masks
from braindiffusion.export.dicom_result import derivation
from braindiffusion.export.second_pass import check_files, check_text
from braindiffusion.export.teaching.page import NOTICE, fixed_texts, page
from braindiffusion.export.teaching.pictures import REAL_MARK, Pictures, data_uri, draw
from braindiffusion.io.write import OutputFolder
from braindiffusion.pipeline.provenance import plain, unnamed

FORMAT, VERSION = "braindiffusion-teaching-file", 1
RECORD, PAGE, THUMBNAIL = "case.json", "index.html", "thumbnail.png"
MOST_LETTERS = 20_000
_OTHERS = {"heal": ("counterfactual", "Counterfactual"), "induce": ("diseased", "With the induced lesion")}
_KINDS = {"heal": "a lesion, and the counterfactual without it", "induce": "a scan, and a lesion induced in it"}


@dataclass(frozen=True)
class Texts:
    """What the author writes, in the order of a MIRC teaching file.

    Attributes:
        question: of the quiz; choices: the answers to choose from, answer: the right one, counted from 1.
        unknown: the page opens as an unknown case.
    """

    title: str
    history: str = ""
    findings: str = ""
    diagnosis: str = ""
    discussion: str = ""
    question: str = ""
    choices: tuple[str, ...] = ()
    answer: int | None = None
    unknown: bool = False

    def __post_init__(self) -> None:
        if not self.title.strip():
            raise SettingsError("The teaching file has no title.", "A list of cases shows it.", "Give --title.")
        longest = max(len(text) for text in self._all())
        if longest > MOST_LETTERS:
            raise SettingsError("A text is too long.", f"{longest} letters; at most {MOST_LETTERS}.", "Shorten it.")
        if self.choices and not self.question:
            raise SettingsError("There are choices without a question.", "Nothing is asked.", "Ask one (--question).")
        known = range(1, len(self.choices) + 1)
        if (self.choices and self.answer not in known) or (self.answer is not None and not self.choices):
            raise SettingsError(
                "The right answer is not told.", f"{len(self.choices)} choices, answer {self.answer}.",
                "Give each answer (--choice) and the number of the right one, counted from 1 (--answer).",
            )  # fmt: skip

    def _all(self) -> list[str]:
        return [v for f in fields(self) for v in _texts(getattr(self, f.name))]


def _texts(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value) if isinstance(value, tuple) else []


@dataclass(frozen=True)
class Pair:
    """A head with and without its lesion.

    Attributes:
        clean: the scan that was healed or painted into, free of what identifies.
        other: (I,J,K), the counterfactual or the diseased scan, treated alike.
        task: ``heal`` or ``induce``.
        lesion: (I,J,K) bool, or ``None``.
        provenance: the record of the result.
    """

    clean: Clean
    other: np.ndarray
    task: str
    lesion: np.ndarray | None
    provenance: dict[str, Any]

    @property
    def name(self) -> str:
        """What the other one is called among results."""
        return _OTHERS[self.task][0]


def check_free(folder: Path) -> None:
    """Refuse a folder in use: pages and series of two cases would mix.

    Raises:
        OutputError: there is something in it.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise OutputError(f"{folder} is not empty.", "A teaching file has a folder of its own.", "Choose a new folder.")


def write_case(folder: Path, pair: Pair, texts: Texts) -> None:
    """Write a teaching file: ``index.html``, ``case.json``, ``thumbnail.png``, ``volumes/`` and ``dicom/``.

    Raises:
        QuarantineError: something of the patient was found in a text or a file; nothing was written.
        OutputError: the folder is in use or cannot be written.
    """
    check_free(folder)
    clean = pair.clean
    for name, value in asdict(texts).items():
        for text in _texts(tuple(value) if isinstance(value, list) else value):
            check_text(text, f"the {name}", clean.identifiers)
    diseased, healthy = (clean.scan.voxels, pair.other) if pair.task == "heal" else (pair.other, clean.scan.voxels)
    real = {
        "diseased": pair.task == "heal" and not clean.synthetic,
        "healthy": pair.task != "heal" and not clean.synthetic,
    }
    pictures = draw(clean.scan, diseased, healthy, not real["diseased"], not real["healthy"])
    how = derivation(pair.provenance)
    with OutputFolder(folder, keep=True) as out:
        names = [*_volumes(out, pair), *_dicom(out, pair, how)]
        record = _record(pair, texts, how, real, pictures)
        out.file(THUMBNAIL).write_bytes(pictures.slices[pictures.first].diseased)
        out.json(RECORD, record)
        out.file(PAGE).write_text(page("case", _page_data(record, pictures)), encoding="utf-8")
        names += [THUMBNAIL, RECORD, PAGE]
        ours = [
            how, clean.notice, NOTICE, REAL_MARK, copy_label(clean).derivation, FORMAT, *_KINDS.values(),
            *fixed_texts("case"),
        ]  # fmt: skip
        check_files([(name, out.file(name)) for name in names], clean.identifiers, ours)


def _volumes(out: OutputFolder, pair: Pair) -> list[str]:
    scan = pair.clean.scan
    original = "volumes/SYNTHETIC_original" if pair.clean.synthetic else "volumes/original"
    out.volume(original, scan.voxels, scan, description=pair.clean.notice, notice=pair.clean.notice)
    written = [original, f"volumes/SYNTHETIC_{pair.name}"]
    out.volume(written[1], pair.other, scan, description=NOT_FOR_DIAGNOSIS)
    if pair.lesion is not None:
        written.append("volumes/SYNTHETIC_lesion")
        out.volume(written[2], pair.lesion.astype(np.uint8), scan, description=NOT_FOR_DIAGNOSIS)
    return [f"{name}.nii.gz" for name in written]


def _dicom(out: OutputFolder, pair: Pair, how: str) -> list[str]:
    """The same volumes as DICOM: one study, without dates, without references to the source."""
    clean = pair.clean
    study = Study(clean.scan, clean.source, anonymous=True, patient="TEACHING")
    rescale = clean.source.rescale if clean.source else None
    coding = Coding.of(clean.scan.voxels, pair.other, rescale=rescale)
    what = "healed counterfactual" if pair.task == "heal" else "induced lesion"
    label = Label(f"{what} {clean.scan.modality or ''}".strip(), how)
    names = []
    original = "SYNTHETIC_original" if clean.synthetic else "original"

    def file(name: str) -> Path:
        names.append(f"dicom/{name}")
        return out.file(names[-1])

    study.write(file, original, 1, clean.scan.voxels, copy_label(clean), coding)
    images = study.write(file, f"SYNTHETIC_{pair.name}", 2, pair.other, label, coding)
    if pair.lesion is not None:
        write_masks(study, file, 3, {"lesion": Segment(pair.lesion, "lesion", True, (230, 50, 60))}, images, how)
    return names


def _record(pair: Pair, texts: Texts, how: str, real: dict[str, bool], pictures: Pictures) -> dict[str, Any]:
    """case.json: all that the page says, without its pictures. No date: it could be the scan's."""
    facts = unnamed({k: v for k, v in pair.provenance.items() if k != "made"})
    facts["scan"] = {k: v for k, v in facts["scan"].items() if k not in ("file", "voxels_sha256")}
    return plain(
        {
            "format": FORMAT, "version": VERSION, "notice": NOTICE, "use": RESEARCH_USE_ONLY,
            "software": {"braindiffusion": __version__}, **asdict(texts), "modality": pair.clean.scan.modality,
            "task": pair.task, "kind": _KINDS[pair.task], "synthetic": {k: not v for k, v in real.items()},
            "face": "as it was" if pair.clean.shown.all() else "taken out", "slices": len(pictures.slices),
            "made": how, "provenance": facts,
        }
    )  # fmt: skip


def _page_data(record: dict[str, Any], pictures: Pictures) -> dict[str, Any]:
    """What the page's script reads."""

    def side(which: str, words: str) -> str:
        return f"{words}, {'synthetic' if record['synthetic'][which] else 'as scanned'}"

    original = "SYNTHETIC_original" if all(record["synthetic"].values()) else "original"
    other, called = _OTHERS[record["task"]]
    files = [
        ("Scan, NIfTI", f"volumes/{original}.nii.gz"), (f"{called}, NIfTI", f"volumes/SYNTHETIC_{other}.nii.gz"),
        ("Scan, DICOM", f"dicom/{original}/"), (f"{called}, DICOM", f"dicom/SYNTHETIC_{other}/"),
        ("How it was made, JSON", RECORD),
    ]  # fmt: skip
    shown = ("title", "history", "findings", "diagnosis", "discussion", "question", "choices", "answer", "unknown")
    return {k: record[k] for k in shown} | {
        "modality": record["modality"] or "", "kind": record["kind"], "made": record["made"], "first": pictures.first,
        "aspect": round(pictures.aspect, 4),
        "left": side("diseased", "With the lesion"), "right": side("healthy", "Without it"),
        "files": [{"name": name, "href": href} for name, href in files],
        "slices": [
            {
                "diseased": data_uri(s.diseased), "healthy": data_uri(s.healthy),
                "difference": data_uri(s.difference) if s.difference else None,
            }
            for s in pictures.slices
        ],
    }  # fmt: skip
