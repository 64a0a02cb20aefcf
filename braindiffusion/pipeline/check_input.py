"""One page about an input, without healing anything: what was read, what was assumed, what would be refused and why.

It is the first thing to run where something goes wrong, and the text to send with a question: it holds no path, no name
of a file and no free text of a header.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from braindiffusion import __version__
from braindiffusion.errors import BrainDiffusionError
from braindiffusion.finders.gate import CLASSIFIER, judge_slices
from braindiffusion.finders.given import mostly_brain
from braindiffusion.io.checks import times
from braindiffusion.io.read import read_mask, read_scan
from braindiffusion.pipeline.out_of_distribution import check_distribution
from braindiffusion.pipeline.scan_cache import ScanCache
from braindiffusion.pipeline.stages import check_modality, check_saliency_modality
from braindiffusion.settings import HealSettings
from braindiffusion.volume.scan import Scan
from braindiffusion.volume.slices import chosen_slices

BRAIN_IS = {
    "given": "as given", "stripped": "the scan is stripped", "network": "found by the network",
    "classical": "estimated: the network is not installed",
}  # fmt: skip


@dataclass
class Page:
    """Lines for the user.

    Attributes:
        refusal: why healing with these inputs would be refused, or ``None``.
    """

    lines: list[str] = field(default_factory=list)
    refusal: BrainDiffusionError | None = None

    def add(self, name: str, text: str) -> None:
        """One fact."""
        self.lines.append(f"{name:<12} {text}")

    @contextmanager
    def part(self, name: str, hide: Path | None = None) -> Iterator[None]:
        """A step that may be refused; the first refusal is kept."""
        try:
            yield
        except BrainDiffusionError as error:
            self.refusal = self.refusal or error
            text = " ".join(f"{type(error).__name__}: {error}".split("\n"))
            for secret in (str(hide), hide.name) if hide else ():
                text = text.replace(secret, "the file")
            self.add(name, f"REFUSED. {text}")


def check_input(
    path: Path, mask: Path | None = None, brain: Path | None = None, *, series: str | None = None,
    labels: list[int] | None = None, resample: bool = False, settings: HealSettings | None = None,
) -> Page:  # fmt: skip
    """Look at a scan, and at masks given with it, as :func:`~braindiffusion.pipeline.heal.heal_scan` would.

    Args:
        path, mask, brain: as for ``braindiffusion heal``; ``series``, ``labels`` and ``resample``, too.
        settings: of the healing that is meant.
    """
    settings = settings or HealSettings()
    page = Page()
    page.add("program", f"braindiffusion {__version__}")
    scan = None
    with page.part("scan", path):
        scan = read_scan(path, series=series)
    if scan is None:
        return page
    _geometry(page, scan)
    drawn = own = None
    for name, file, wanted in (("mask", mask, labels), ("brain mask", brain, None)):
        if file is None:
            continue
        notes: list[str] = []
        with page.part(name, file):
            found = read_mask(file, scan, wanted, resample, notes.append)
            drawn, own = (found, own) if name == "mask" else (drawn, found)
            ml = float(found.sum()) * float(np.prod(scan.spacing)) / 1000
            page.add(name, f"{int(found.sum())} voxels, {ml:.1f} mL")
        for note in notes:
            page.add("note", note)
    with page.part("brain"):
        if mask is not None and drawn is None:  # without it another question would be answered
            return page
        _what_would_be_done(page, scan, drawn, own, settings)
    if page.refusal is None:
        page.add("result", "Nothing speaks against healing it.")
    return page


def _geometry(page: Page, scan: Scan) -> None:
    page.add("format", f"{scan.source.get('format')}, {scan.voxels.dtype}")
    page.add("voxels", f"{times(scan.voxels.shape)} of {times(scan.spacing, '.4g')} mm")
    page.add("orientation", f"{scan.source.get('orientation') or 'NOT KNOWN'} ({_known_by(scan)})")
    by = "its DICOM header, or its name" if scan.source.get("format") == "DICOM" else "its name"
    page.add("contrast", f"{scan.modality}, by {by}" if scan.modality else f"unknown: {by} does not say")
    low, middle, high = (float(v) for v in np.percentile(scan.voxels[::2, ::2, ::2], (0, 50, 100)))
    page.add("intensity", f"from {low:.6g} to {high:.6g}, median {middle:.6g}")
    for note in scan.notes:
        page.add("note", note)


def _known_by(scan: Scan) -> str:
    forms = scan.forms
    if forms is None:
        return "by its header"
    if not scan.orientation_known:
        return "no code in its header: a guess"
    return f"by its sform, code {forms.sform_code}" if forms.sform_code else f"by its qform, code {forms.qform_code}"


def _what_would_be_done(
    page: Page, scan: Scan, drawn: np.ndarray | None, own: np.ndarray | None, settings: HealSettings
) -> None:
    from braindiffusion.healing.models import main_model
    from braindiffusion.models.device import choose_device
    from braindiffusion.models.registry import load_model

    device = choose_device(settings.device)
    model = main_model(settings, str(device))
    kept = ScanCache(scan)
    whole, origin = kept.brain(own, device)
    litres = float(whole.sum()) * float(np.prod(scan.spacing)) / 1e6
    page.add("brain", f"{litres:.2f} litres, {BRAIN_IS[origin]}")
    with page.part("model"):
        for warning in check_modality(scan, model, settings.force, settings.method):
            page.add("note", warning)
        page.add("model", f"{model.name}, for {', '.join(model.modality)}")
    stack, _ = kept.stack(int(model.card["grid"]), own, device, model.card.get("scaling"))
    wanted = chosen_slices(settings.slices, len(stack), stack.brain)
    probability = np.full(len(stack), np.nan)
    if drawn is not None:
        for warning in mostly_brain(drawn, whole):
            page.add("note", warning)
        share = float((drawn & whole).sum()) / max(int(drawn.sum()), 1)
        slices = int((stack.placement.to_axial(drawn & whole)).any((1, 2)).sum())
        page.add("would heal", f"the mask in {slices} slices; {share:.0%} of it lies in the brain")
    else:
        with page.part("would heal"):
            classifier = load_model(CLASSIFIER, str(device))
            for warning in check_saliency_modality(scan, classifier, settings.force):
                page.add("note", warning)
            probability, judged = judge_slices(stack, settings, wanted, device)
            page.add("would heal", f"{int(judged.sum())} of {int(wanted.sum())} slices, judged to show a lesion")
    for warning in check_distribution(stack, whole, model.card, scan.modality, probability)[1]:
        page.add("note", warning)
