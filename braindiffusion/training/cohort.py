"""A cohort: finding its scans and masks in a folder, by name pattern or as BIDS lays them out, and splitting it.

A pattern is a path below the folder, or a bare file name that may lie at any depth: ``{subject}_FLAIR.nii.gz``,
``{subject}/{session}/flair.nii.gz``, ``*_FLAIR.nii.gz``. ``*`` stands for anything within a name, ``**/`` for any
folders; without ``{subject}`` the first ``*`` is the subject. ``sub-X`` and ``ses-Y`` in a file's name win over both,
so that sessions of one person are never taken for two.
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from braindiffusion.errors import CohortError, ScanNotFoundError, SettingsError
from braindiffusion.io.checks import SCAN_SUFFIXES
from braindiffusion.io.text_files import read_text

SPLITS = ("train", "val", "test")
_BIDS_SUFFIX = {"T1": "T1w", "T1GD": "T1w", "T2": "T2w", "DWI": "dwi"}
_LESION = r"lesion|tumou?r|glioma|stroke|infarct|wmh"
_NO_LESION = r"brain|head|skull|csf|tissue|hemi"


@dataclass(frozen=True)
class Case:
    """One scan of a cohort.

    Attributes:
        subject, session: from the names; ``session`` is empty where there is none.
        image: the scan's file; ``mask``: that of its drawn lesion, or ``None``.
        split: what ``participants.tsv`` says, or ``None``.
    """

    subject: str
    session: str
    image: Path
    mask: Path | None = None
    split: str | None = None


@dataclass(frozen=True)
class Cohort:
    """The scans of a folder, sorted by subject and session.

    Attributes:
        has_masks: whether masks were asked for or found; if not, nothing is known of lesions.
        notes: what the user should hear: masks without a scan, subjects without a row.
    """

    cases: list[Case]
    has_masks: bool
    notes: list[str]


def pattern(text: str) -> re.Pattern[str]:
    """A name pattern as a regular expression with the groups ``subject`` and, where given, ``session``.

    Raises:
        SettingsError: no ``{subject}`` and no ``*``, or another name in braces.
    """
    action = "Write it like {subject}_FLAIR.nii.gz or {subject}/{session}/flair.nii.gz."
    named, out = "{subject}" in text, []
    for token in re.split(r"(\{\w*\}|\*\*/|\*|\?)", text):
        if token in ("{subject}", "{session}") or (token == "*" and not named):
            name = token.strip("{}") if token != "*" else "subject"
            out.append(f"(?P={name})" if f"(?P<{name}>[^/]+)" in out else f"(?P<{name}>[^/]+)")
            named = True
        elif token.startswith("{"):
            raise SettingsError(f"The pattern '{text}' is not possible.", f"{token} is not known.", action)
        else:
            out.append({"**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}.get(token, re.escape(token)))
    if not named:
        raise SettingsError(f"The pattern '{text}' is not possible.", "It does not say where the subject is.", action)
    return re.compile("".join(out), re.I)


def _matches(files: list[Path], folder: Path, text: str) -> list[tuple[str, str, Path]]:
    """Subject, session and file of all that a pattern matches."""
    compiled, found = pattern(text), []
    for file in files:
        hit = compiled.fullmatch(file.relative_to(folder).as_posix() if "/" in text else file.name)
        if hit:
            groups = hit.groupdict()
            subject, session = re.search(r"sub-([^_/.]+)", file.name), re.search(r"ses-([^_/.]+)", file.name)
            found.append(
                (
                    subject[1] if subject else groups["subject"].removeprefix("sub-"),
                    session[1] if session else (groups.get("session") or "").removeprefix("ses-"),
                    file,
                )
            )
    return found


def _bids_images(files: list[Path], folder: Path, modality: str) -> list[tuple[str, str, Path]]:
    """The scans of one modality in ``sub-X/[ses-Y/]anat``; T1GD is a T1w with a ``ce`` entity."""
    found = _matches(files, folder, f"sub-{{subject}}/**/sub-*_{_BIDS_SUFFIX.get(modality, modality)}.*")
    contrast = {"T1": False, "T1GD": True}.get(modality)
    return [hit for hit in found if contrast is None or ("_ce-" in hit[2].name) == contrast]


def _bids_masks(files: list[Path], folder: Path) -> list[tuple[str, str, Path]]:
    """Lesion masks in ``derivatives`` or beside the scans; brain masks and tissue maps are none."""
    out = []
    for subject, session, file in _matches(files, folder, "sub-{subject}_*"):
        stem = file.name.split(".")[0].lower()
        kind = stem.rsplit("_", 1)[-1]
        lesion = re.search(_LESION, stem)
        if (kind in ("mask", "roi") and not re.search(_NO_LESION, stem)) or (
            kind in ("mask", "roi", "dseg", "seg", "lesion") and lesion
        ):
            out.append((subject, session, file))
    return out


def _by_key(found: list[tuple[str, str, Path]], what: str) -> dict[tuple[str, str], Path]:
    """The files by (subject, session).

    Raises:
        CohortError: two files for one key.
    """
    out: dict[tuple[str, str], Path] = {}
    for subject, session, file in found:
        first = out.setdefault((subject, session), file)
        if first != file:
            where = f"Subject {subject}" + (f", session {session}," if session else "")
            raise CohortError(
                f"{where} has two {what}s: {first} and {file}.",
                "Which of them is meant cannot be told.",
                f"Name the right ones with --{what}s, for instance '{{subject}}_{what}.nii.gz'.",
            )
    return out


def _participants(folder: Path) -> dict[str, str | None] | None:
    """Subject -> split of ``participants.tsv``; ``None`` where there is no such file.

    Raises:
        CohortError: no ``participant_id``, or a split that is not train, val or test.
    """
    path = folder / "participants.tsv"
    if not path.is_file():
        return None
    rows = list(csv.DictReader(io.StringIO(read_text(path, "utf-8-sig"), newline=""), delimiter="\t"))
    if rows and "participant_id" not in rows[0]:
        raise CohortError(f"{path} is not a table of participants.", "It has no participant_id.", "Fix or remove it.")
    out: dict[str, str | None] = {}
    for row in rows:
        split = row.get("split")
        if split is not None and split not in SPLITS:
            why = f"It is one of {', '.join(SPLITS)} for every participant, or the column is not there."
            raise CohortError(f"{path} gives {row['participant_id']} the split '{split}'.", why, "Fix the table.")
        out[row["participant_id"].removeprefix("sub-")] = split
    return out


def find_cases(folder: Path, modality: str, images: str | None = None, masks: str | None = None) -> Cohort:
    """The scans of one modality in a folder, with their masks.

    Args:
        images, masks: patterns. Without them: BIDS where there are ``sub-*`` folders, else
            ``{subject}_<modality>.*`` and ``{subject}_mask.*``.

    Raises:
        ScanNotFoundError: no such folder, or no scan in it.
        CohortError: two files for one scan, or an unusable ``participants.tsv``.
        SettingsError: a pattern that is not possible.
    """
    if not folder.is_dir():
        raise ScanNotFoundError(f"There is no folder {folder}.", "Nothing is there.", "Check the path.")
    files = sorted(
        f
        for f in folder.rglob("*")
        if f.name.lower().endswith(SCAN_SUFFIXES)
        and not any(part.startswith(".") for part in f.relative_to(folder).parts)
        and f.is_file()
    )
    bids = any(d.is_dir() for d in folder.glob("sub-*"))
    drawn = (
        _matches(files, folder, masks)
        if masks
        else _bids_masks(files, folder)
        if bids
        else _matches(files, folder, "{subject}_mask.*")
    )
    aside = {file for _, _, file in drawn}
    scans = (
        _matches(files, folder, images)
        if images
        else _bids_images(files, folder, modality)
        if bids
        else _matches(files, folder, f"{{subject}}_{modality}.*")
    )
    image_of = _by_key([hit for hit in scans if hit[2] not in aside], "image")
    if not image_of:
        raise ScanNotFoundError(
            f"No {modality} scan was found in {folder}.",
            f"{len(files)} images lie there (NIfTI, NRRD, MetaImage), and none is named as expected.",
            "Say how they are named, for instance --images '{subject}_FLAIR.nii.gz'.",
        )
    if masks and not drawn:
        raise ScanNotFoundError(f"No mask in {folder} is named {masks}.", "Nothing matches.", "Check --masks.")
    mask_of, notes = _by_key(drawn, "mask"), []
    sessions: dict[str, int] = {}
    for subject, _ in image_of:
        sessions[subject] = sessions.get(subject, 0) + 1
    people = _participants(folder)
    cases, used = [], set()
    for subject, session in sorted(image_of):
        # a mask named without its session belongs to the only one there is
        loose = mask_of.get((subject, "")) if sessions[subject] == 1 else None
        mask = mask_of.get((subject, session), loose)
        used.add(mask)
        split = people.get(subject) if people else None
        cases.append(Case(subject, session, image_of[subject, session], mask, split))
    if stray := [file for file in mask_of.values() if file not in used]:
        notes.append(f"{len(stray)} masks belong to no scan, such as {stray[0]}.")
    if people is not None:
        absent = sorted({c.subject for c in cases} - set(people))
        if absent:
            notes.append(f"{len(absent)} subjects are not in participants.tsv, such as {absent[0]}.")
        if absent and any(people.values()):
            raise CohortError(
                f"Subject {absent[0]} has no split.",
                "participants.tsv has a column 'split', and no row for this subject.",
                "Add the row, or remove the column to have the split drawn.",
            )
    return Cohort(cases, masks is not None or bool(used - {None}), notes)


def draw_split(lesions: dict[str, bool], shares: tuple[float, ...], seed: int) -> dict[str, str]:
    """A split for each patient: those with and without a lesion spread alike, none left empty that has a share.

    Args:
        lesions: patient -> whether a lesion was drawn in any of the scans.
        shares: of train, val and test, adding up to 1.
    """
    names = sorted(lesions)
    order = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    order.sort(key=lambda name: lesions[name])
    n = len(order)
    counts = np.floor(np.array(shares) * n + 1e-9).astype(int)
    while counts.sum() < n:
        counts[int(np.argmax(np.array(shares) * n - counts))] += 1
    for i in np.argsort([-s for s in shares]):  # a small cohort: every split that was asked for has a patient
        if shares[i] > 0 and counts[i] == 0 and counts.max() > 1:
            counts[counts.argmax()] -= 1
            counts[i] += 1
    given = np.zeros(3, int)
    out = {}
    for i, name in enumerate(order):
        behind = counts * (i + 1) / n - given
        behind[given >= counts] = -np.inf
        chosen = int(behind.argmax())
        given[chosen] += 1
        out[name] = SPLITS[chosen]
    return out
