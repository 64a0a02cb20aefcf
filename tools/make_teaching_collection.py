"""A teaching collection of five cases from the shipped sample and the development scans, by the command line alone.

    python tools/make_teaching_collection.py --data DATA --out COLLECTION

DATA is the folder of development scans (see Testing/conftest.py). Each case is a healing or an induction in a few
slices, then ``braindiffusion teach``; at last ``teach index``. Finished steps are kept: run it again to go on. What it
makes is not committed, for the scans are not ours to give away; docs/teaching.md shows what it looks like.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = ROOT / "Resources" / "Samples"
SERIES = range(228, 276, 2)
"""Every second slice of the T1 series, through the middle of the brain."""


@dataclass(frozen=True)
class Case:
    """One case: the scan, how it is changed, and what is written about it.

    Attributes:
        scan: below DATA; ``None`` is the shipped sample, ``series`` the slices of the T1 series.
        options: of ``heal`` or ``induce``.
        texts: options of ``teach``.
    """

    name: str
    scan: str | None
    command: str
    options: tuple[str, ...]
    texts: dict[str, str | list[str]]


CASES = (
    Case(
        "1-sample", None, "heal", ("--mask", str(SAMPLES / "SYNTHETIC_FLAIR_lesion_truth.nii.gz")),
        {
            "title": "Large bright lesion of the right hemisphere",
            "history": "A drawn phantom head; there is no patient.",
            "findings": "A homogeneous hyperintense lesion of the right hemisphere, without midline shift.",
            "diagnosis": "Simulated lesion.",
            "discussion": "Everything here is synthetic: the head was drawn by a model, the lesion painted into it, "
            "and the counterpart healed. Reveal the difference and compare it with the lesion you saw.",
            "question": "In which hemisphere does the lesion lie?",
            "choice": ["The left", "The right", "Both"], "answer": "2",
        },
    ),
    Case(
        "2-glioma", "volumes/fg6692_FLAIR_raw.nii.gz", "heal", ("--slices", "14:20"),
        {
            "title": "Infiltrating tumour on FLAIR",
            "history": "Adult with a first seizure.",
            "findings": "An ill-defined hyperintensity of the right frontal lobe, brighter in places.",
            "diagnosis": "Glioma (TCGA-LGG).",
            "discussion": "The counterpart is what a model of lesion-free slices paints in its place. It is no earlier "
            "scan of this patient, and where it keeps part of the tumour the model was wrong.",
            "question": "Where does it lie?",
            "choice": ["Left frontal lobe", "Right frontal lobe", "Right temporal lobe"], "answer": "2",
        },
    ),
    Case(
        "3-induced-stroke", "volumes/oms01_FLAIR.nii.gz", "induce",
        ("--kind", "stroke", "--random", "stroke", "--ml", "14", "--side", "R", "--seed", "4"),
        {
            "title": "Acute territorial infarct, induced",
            "history": "Sudden weakness of the left arm.",
            "findings": "A wedge of hyperintensity in the right hemisphere; small periventricular lesions are older.",
            "diagnosis": "Infarct of the right hemisphere, painted into a scan of a patient with multiple sclerosis.",
            "discussion": "Only the infarct is synthetic: the periventricular lesions stay when you slide to the scan "
            "as it was taken.",
            "question": "Which change is old?",
            "choice": ["The wedge", "The periventricular spots", "Neither"], "answer": "2",
        },
    ),
    Case(
        "4-induced-tumour", "volumes/oms12_FLAIR.nii.gz", "induce",
        ("--kind", "tumour", "--random", "tumour", "--ml", "18", "--side", "L", "--seed", "2"),
        {
            "title": "Space-occupying lesion, induced",
            "history": "Headache for some weeks.",
            "findings": "A hyperintense mass of the left hemisphere.",
            "diagnosis": "Tumour, painted into a scan without one.",
            "discussion": "Compare sulci and ventricles beside the mass on both sides of the slider.",
            "question": "What argues for a mass rather than an infarct?",
            "choice": ["It respects a territory", "It crosses territories and is round"], "answer": "2",
        },
    ),
    Case(
        "5-t1-series", "series", "heal",
        ("--model", "tissue-256", "--box", "150,180,9,178,208,13", "--steps", "8"),
        {
            "title": "A T1 series without a lesion, healed in a box",
            "history": "A healthy volunteer.",
            "findings": "None.",
            "diagnosis": "Normal.",
            "discussion": "The control: nothing had to be healed, so what differs is what the model costs.",
            "question": "Is there a lesion?",
            "choice": ["Yes", "No"], "answer": "2",
        },
    ),
)  # fmt: skip


def run(*arguments: object) -> None:
    """``braindiffusion ARGUMENTS``, which has to end well."""
    print("braindiffusion", *arguments, flush=True)
    subprocess.run([sys.executable, "-m", "braindiffusion", *map(str, arguments)], check=True, cwd=ROOT)


def scan_of(case: Case, data: Path, work: Path) -> Path:
    """Where the case's scan lies; the T1 series is unpacked for it."""
    if case.scan is None:
        return SAMPLES / "SYNTHETIC_FLAIR_lesion.nii.gz"
    if case.scan != "series":
        return data / case.scan
    folder = work / "slices"
    if not folder.is_dir():
        with tarfile.open(data / "dicom" / "hanke_t1_dicom.tar.xz") as archive:
            archive.extractall(work / "unpacked", filter="data")
        files = sorted((work / "unpacked").rglob("*.dcm"))
        folder.mkdir(parents=True)
        for index in SERIES:
            shutil.copy(files[index], folder)
        shutil.rmtree(work / "unpacked")
    return folder


def make(case: Case, data: Path, out: Path) -> None:
    """One case: its result beside the collection, its teaching file in it."""
    work = out.with_name(out.name + "-results")
    work.mkdir(parents=True, exist_ok=True)
    scan, result = scan_of(case, data, work), work / case.name
    if not result.is_dir():
        run(case.command, scan, *case.options, "--out", result, "--progress", "none")
    if not (out / case.name).is_dir():
        texts: list[str] = []
        for name, value in case.texts.items():
            for text in [value] if isinstance(value, str) else value:
                texts += [f"--{name}", text]
        run("teach", result, "--scan", scan, "--out", out / case.name, *texts)


def main() -> None:
    """Make what is not there yet, and the list."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    out = given.out.absolute()
    for case in CASES:
        make(case, given.data.absolute(), out)
    run("teach", "index", out, "--title", "Before and after: five cases")


if __name__ == "__main__":
    main()
