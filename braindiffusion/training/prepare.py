"""A pack from a user's own scans: read, placed and scaled like any scan, split by patient, named by pseudonyms.

The slices are the stored ones, resampled in plane to the 240 mm field of view. Grey values become whole numbers by one
linear map per volume that keeps everything the model road will look at: air goes to 0, the median brain to at most
92, and the brightest lesion stays below 255.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from braindiffusion import __version__
from braindiffusion.errors import (
    BrainDiffusionError,
    CohortError,
    EmptyMaskError,
    InputError,
    MaskGeometryError,
    ModalityError,
    NotABrainError,
    SettingsError,
)
from braindiffusion.events import Event, OnEvent
from braindiffusion.io.read import read_mask, read_scan
from braindiffusion.io.tables import write_csv
from braindiffusion.io.write import OutputFolder, check_writable, free_space_check
from braindiffusion.training.cohort import SPLITS, Case, Cohort, draw_split, find_cases
from braindiffusion.training.datasets import MIN_BRAIN_FRACTION
from braindiffusion.volume.brain import check_is_brain, find_brain
from braindiffusion.volume.scan import Scan
from braindiffusion.volume.slices import FIELD_OF_VIEW_MM, Placement, brain_intensity, mask_to_slices, place

HEADROOM = (1.25, 2.5)
"""Model value that becomes 255: at least, so that what the model clips at 1 is all there; at most, so that the median
brain keeps 46 grey levels."""
SIZES = (64, 512)
SESSION_STEP = 10_000
"""Added to the slice numbers of each further scan of a patient, so that they stay apart."""
COLUMNS = ("patients", "scans", "slices", "lesion slices")
WithoutMask = Literal["refuse", "skip", "healthy"]


@dataclass(frozen=True)
class PrepareSettings:
    """How scans become a pack.

    Attributes:
        modality: FLAIR, T1, T1GD, T2 ...; the pack's image key.
        split: shares of train, val and test; ignored where ``participants.tsv`` has a column ``split``.
        seed: of the split and of the order of the pseudonyms.
        size: side of the slices in pixels, over 240 mm; a multiple of 8.
        strip: keep the brain only.
        skip_bad: leave out scans that cannot be used instead of stopping at the first.
        without_mask: what a scan without a mask is, where others have one: an error, left out, or free of lesions.
        pseudonyms: ``p0001`` ... instead of the subjects' names.
        apart_mm: least distance of slices; thin ones between are left out. 0 keeps all.
        force: accept file names that speak of another modality.
    """

    modality: str = "FLAIR"
    split: tuple[float, float, float] = (0.7, 0.15, 0.15)
    seed: int = 0
    size: int = 256
    strip: bool = False
    skip_bad: bool = False
    without_mask: WithoutMask = "refuse"
    pseudonyms: bool = True
    apart_mm: float = 0.0
    force: bool = False
    device: str = "cpu"

    def check(self) -> None:
        """Raises SettingsError for a setting outside its range."""
        if not re.fullmatch(r"[A-Z][A-Z0-9]{0,15}", self.modality):
            raise SettingsError(
                f"The modality '{self.modality}' is not possible.",
                "It names the pack's images.",
                "Give FLAIR, T1, T1GD, T2 ...",
            )
        if len(self.split) != 3 or min(self.split) < 0 or self.split[0] <= 0 or abs(sum(self.split) - 1) > 1e-6:
            raise SettingsError(
                f"The split {','.join(f'{s:g}' for s in self.split)} is not possible.",
                "It is the shares of train, val and test: train above 0, together 1.",
                "Give --split 0.7,0.15,0.15, say.",
            )
        if not SIZES[0] <= self.size <= SIZES[1] or self.size % 8:
            why = f"It is a multiple of 8 from {SIZES[0]} to {SIZES[1]}."
            raise SettingsError(f"The size {self.size} is not possible.", why, "Give --size 256 or 128.")
        if not 0 <= self.apart_mm <= 50:
            why = "It is the least distance of slices in mm, 0 to 50."
            raise SettingsError(f"--apart-mm {self.apart_mm:g} is not possible.", why, "Give --apart-mm 3, say.")


@dataclass
class Volume:
    """One scan's share of the pack.

    Attributes:
        images: (S,H,W) uint8; ``masks``: (S,H,W) bool; ``position``: (S,) number of each slice from the bottom.
        digest: tells two equal scans, whatever their files' orientation.
    """

    images: np.ndarray
    masks: np.ndarray
    position: np.ndarray
    digest: str


@dataclass
class Prepared:
    """What came out.

    Attributes:
        counts: by split: patients, scans, slices, lesion slices.
        skipped: files left out, each with the reason.
        notes: what the user should hear.
    """

    counts: dict[str, dict[str, int]]
    skipped: list[tuple[Path, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    has_masks: bool = True

    def table(self) -> str:
        """The counts as text."""
        lines = [f"{'split':8}" + "".join(f"{name:>15}" for name in COLUMNS)]
        total = {name: sum(row[name] for row in self.counts.values()) for name in COLUMNS}
        for split, row in [*self.counts.items(), ("all", total)]:
            cells = [str(row[n]) if self.has_masks or n != "lesion slices" else "not known" for n in COLUMNS]
            lines.append(f"{split:8}" + "".join(f"{cell:>15}" for cell in cells))
        return "\n".join(lines)


def _mask_of(case: Case, scan: Scan) -> np.ndarray:
    """(I,J,K) bool; an empty mask says that there is no lesion."""
    if case.mask is None:
        return np.zeros(scan.voxels.shape, bool)
    try:
        return read_mask(case.mask, scan)
    except EmptyMaskError:
        return np.zeros(scan.voxels.shape, bool)
    except MaskGeometryError as error:
        raise MaskGeometryError(
            f"The mask {case.mask} lies on another grid than {case.image}.", error.why, error.action
        ) from error


def upright(scan: Scan) -> tuple[Scan, Placement]:
    """The scan in the order of its axial view, so that nothing depends on how it was stored; and how it was turned."""
    p = place(scan)
    spacing = np.round([*p.pitch[::-1], p.thickness], 6)
    voxels = np.ascontiguousarray(p.to_axial(scan.voxels)).transpose(2, 1, 0)
    return Scan(voxels, np.diag([*(spacing * [-1, -1, 1]), 1.0]), scan.modality, scan.source), p


def volume_slices(case: Case, settings: PrepareSettings) -> Volume:
    """Read one scan with its mask and bring it to the pack's grid.

    Raises:
        InputError: the scan or its mask cannot be used; the file is named.
    """
    try:
        scan = read_scan(case.image)
        known = scan.modality
        if known is not None and known != settings.modality and not settings.force:
            raise ModalityError(
                f"{case.image} says it is {known}, not {settings.modality}.",
                "Its name tells so.",
                "Name the right scans with --images, or add --force.",
            )
        mask = _mask_of(case, scan)
        scan, turn = upright(scan)
        brain, origin = find_brain(scan, device=settings.device)
        check_is_brain(scan, brain, origin)
        tone = brain_intensity(scan.voxels, brain)
    except BrainDiffusionError as error:
        if str(case.image) in error.what or (case.mask is not None and str(case.mask) in error.what):
            raise
        action = "Check that this is a scan of a head." if isinstance(error, NotABrainError) else error.action
        raise type(error)(f"{case.image}: {error.what}", error.why, action) from error
    p = place(scan, brain, settings.size)
    values, within, drawn = tone.forward(p.to_axial(scan.voxels)), p.to_axial(brain), turn.to_axial(mask)
    brightest = float(values[drawn].max()) if drawn.any() else 0.0
    top = float(np.clip(max(brightest, np.percentile(values[within], 99.9)), *HEADROOM))
    images = p.down(np.clip(values * (within if settings.strip else 1.0), 0.0, top))
    pixels = np.rint(np.clip(images / top, 0.0, 1.0) * 255).astype(np.uint8)
    masks = mask_to_slices(drawn.transpose(2, 1, 0), p, 0.5)
    share = p.down(within).mean((1, 2))
    keep = (share >= MIN_BRAIN_FRACTION) | masks.any((1, 2))
    position = np.arange(len(keep))
    if settings.apart_mm:
        keep &= position % max(1, round(settings.apart_mm / p.thickness)) == 0
    digest = hashlib.sha256(pixels.tobytes()).hexdigest()
    return Volume(pixels[keep], masks[keep], position[keep], digest)


def _masks_missing(cohort: Cohort, settings: PrepareSettings) -> tuple[list[Case], list[tuple[Path, str]]]:
    """The cases that can be used, and those left out for want of a mask.

    Raises:
        CohortError: a mask is missing, and nobody said what that means.
    """
    missing = [c for c in cohort.cases if c.mask is None] if cohort.has_masks else []
    if not missing or settings.without_mask == "healthy":
        return cohort.cases, []
    if settings.without_mask == "skip":
        return [c for c in cohort.cases if c.mask], [(c.image, "it has no mask") for c in missing]
    raise CohortError(
        f"{missing[0].image} has no mask.",
        f"{len(missing)} of {len(cohort.cases)} scans have none: free of lesions, or not yet drawn?",
        "Add --without-mask healthy or --without-mask skip, or name the masks with --masks.",
    )


def _read_all(
    cases: list[Case], settings: PrepareSettings, skipped: list[tuple[Path, str]], on_event: OnEvent | None
) -> list[tuple[Case, Volume]]:
    """All volumes; bad ones are left out where that was asked for.

    Raises:
        CohortError: one scan twice, or none that could be used.
    """
    seen: dict[str, Path] = {}
    out = []
    for done, case in enumerate(cases):
        if on_event:
            on_event(Event("prepare", done, len(cases)))
        try:
            volume = volume_slices(case, settings)
        except MaskGeometryError:
            raise
        except InputError as error:
            if not settings.skip_bad:
                raise
            skipped.append((case.image, f"{type(error).__name__}: {error.why or error.what}"))
            continue
        first = seen.setdefault(volume.digest, case.image)
        if first != case.image:
            raise CohortError(
                f"{case.image} and {first} show the same scan.",
                "Learned from under one name and tested under another, it would flatter the model.",
                "Remove one of them.",
            )
        out.append((case, volume))
    if on_event:
        on_event(Event("prepare", len(cases), len(cases)))
    if not out:
        why = f"{len(skipped)} were left out, such as {skipped[0][0]}: {skipped[0][1]}" if skipped else "None is left."
        raise CohortError("No scan could be used.", why, "Repair or convert the scans.")
    return out


def check_pack_path(out: Path) -> None:
    """Make sure early that a pack can be written there; raises SettingsError, OutputError."""
    if out.suffix != ".npz":
        raise SettingsError(f"The pack cannot be named {out.name}.", "A pack ends in .npz.", "Give --out PACK.npz.")
    check_writable(out.parent)


def _check_outputs(out: Path, key: Path | None, settings: PrepareSettings) -> None:
    """What can be said of the output before the scans are read."""
    check_pack_path(out)
    if key is not None:
        if not settings.pseudonyms:
            raise SettingsError("--key and --names exclude each other.", "Names need no key.", "Give one of them.")
        if key.exists() or key.absolute() == out.absolute():
            why = "A key that is lost cannot be made again."
            raise SettingsError(f"{key} is there already.", why, "Choose another file for --key.")
        check_writable(key.parent)


def _split_of(read: list[tuple[Case, Volume]], settings: PrepareSettings) -> dict[str, str]:
    """The split of each subject: the cohort's own, else drawn."""
    own = {case.subject: case.split for case, _ in read if case.split}
    if own:
        return own
    lesions: dict[str, bool] = {}
    for case, volume in read:
        lesions[case.subject] = lesions.get(case.subject, False) or bool(volume.masks.any())
    return draw_split(lesions, settings.split, settings.seed)


def prepare_pack(
    folder: Path,
    out: Path,
    settings: PrepareSettings | None = None,
    *,
    images: str | None = None,
    masks: str | None = None,
    key: Path | None = None,
    on_event: OnEvent | None = None,
) -> Prepared:
    """Make a pack from a folder of scans.

    Args:
        folder: scans and masks; see :mod:`braindiffusion.training.cohort` for how they are found.
        out: the pack to write (``.npz``), whole or not at all.
        images, masks: name patterns.
        key: CSV file for pseudonym and subject; without it nobody can tell them back.

    Raises:
        CohortError, MaskGeometryError, InputError: what is wrong with the scans; the file is named.
        SettingsError, OutputError.
    """
    settings = settings or PrepareSettings()
    settings.check()
    _check_outputs(out, key, settings)
    cohort = find_cases(folder, settings.modality, images, masks)
    cases, skipped = _masks_missing(cohort, settings)
    read = _read_all(cases, settings, skipped, on_event)
    split = _split_of(read, settings)
    subjects = sorted({case.subject for case, _ in read})
    if settings.pseudonyms:  # in an order that is not that of the names
        subjects = [subjects[i] for i in np.random.default_rng([settings.seed, 1]).permutation(len(subjects))]
    names = [f"p{i + 1:04d}" if settings.pseudonyms else name for i, name in enumerate(subjects)]
    number = {subject: i for i, subject in enumerate(subjects)}
    read.sort(key=lambda pair: (number[pair[0].subject], pair[0].session))
    arrays, shown = _arrays(read, number, settings, cohort.has_masks)
    arrays["patients"] = np.array(names)
    arrays["split"] = np.array([split[subject] for subject in subjects])
    counts = {s: dict.fromkeys(COLUMNS, 0) for s in SPLITS}
    for s, n in Counter(arrays["split"].tolist()).items():
        counts[s]["patients"] = n
    for case, volume in read:
        row = counts[split[case.subject]]
        row["scans"] += 1
        row["slices"] += len(volume.images)
        row["lesion slices"] += int(volume.masks.any((1, 2)).sum())
    _write(out, arrays, key, names, subjects)
    return Prepared(counts, skipped, [*cohort.notes, *shown], cohort.has_masks)


def _arrays(
    read: list[tuple[Case, Volume]], number: dict[str, int], settings: PrepareSettings, has_masks: bool
) -> tuple[dict[str, Any], list[str]]:
    """The pack's arrays but the patients' own, and notes."""
    visits: Counter[str] = Counter()
    position, patient, visit = [], [], []
    for case, volume in read:
        position.append(volume.position + SESSION_STEP * visits[case.subject])
        patient += [number[case.subject]] * len(volume.images)
        visit += [visits[case.subject]] * len(volume.images)
        visits[case.subject] += 1
    facts = {
        "made_by": f"braindiffusion {__version__} prepare", "modality": settings.modality, "size": settings.size,
        "stripped": settings.strip, "seed": settings.seed, "scans": len(read),
    }  # fmt: skip
    arrays: dict[str, Any] = {
        settings.modality.lower(): np.concatenate([v.images for _, v in read]),
        "patient": np.array(patient, np.int32),
        "volume": np.array(visit, np.int32),
        "slice": np.concatenate(position).astype(np.int32),
        "pitch_mm": np.array(FIELD_OF_VIEW_MM / settings.size),
        "facts": np.array(json.dumps(facts)),
    }
    notes = []
    if has_masks:
        arrays["mask_bits"] = np.packbits(np.concatenate([v.masks for _, v in read]), axis=-1)
        arrays["width"] = np.array(settings.size)
    else:
        notes.append("No masks were found: nothing is known of lesions, and every slice will pass for healthy.")
    return arrays, notes


def _write(out: Path, arrays: dict[str, Any], key: Path | None, names: list[str], subjects: list[str]) -> None:
    """Pack and key, each whole or not at all."""
    free_space_check(out.parent, sum(a.nbytes for a in arrays.values()))
    with ExitStack() as stack:
        folder = stack.enter_context(OutputFolder(out.absolute().parent))
        np.savez_compressed(folder.file(out.name), **arrays)
        if key is not None:
            keys = stack.enter_context(OutputFolder(key.absolute().parent))
            with keys.file(key.name).open("w", newline="", encoding="utf-8") as handle:
                write_csv(handle, ("pseudonym", "subject"), zip(names, subjects, strict=True))
            keys.file(key.name).chmod(0o600)
