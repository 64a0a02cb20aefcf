"""Real and induced lesions on paper: a table, a row a lesion, and a blinded sheet with its key."""

from __future__ import annotations

import io
import json
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from braindiffusion import NOT_FOR_DIAGNOSIS, RESEARCH_USE_ONLY
from braindiffusion.evaluation.induction.believable import BelievableReport, Lesion
from braindiffusion.evaluation.tissue.report import square
from braindiffusion.io.tables import markdown_table, number, with_interval, write_csv_file

if TYPE_CHECKING:
    from braindiffusion.io.write import OutputFolder

DEFINITIONS = (
    "Outlines of real lesions, painted into lesion-free slices of other patients of the same split. Grey values are "
    "scaled to a median brain of 0.45. Told apart: AUROC of a random forest on nine local texture features inside the "
    "outline grown by 2 pixels, folds by patient, between real and induced; 0.5 means that nobody can tell (brackets: "
    "95 % percentile bootstrap over patients, forest fixed). Real against real: the patients in two halves. Medians "
    "and quartiles over lesions of: contrast (mean inside less the ring of 2 to 10 mm), spread (standard deviation "
    "inside) and gradient energy inside, the outline eroded by 2 pixels; edge width (10 to 90 % of the rise along the "
    "median profile across the outline), share of pixels at the scan's upper end (250 of 255)."
)
MEASURES = {
    "contrast": ("contrast", 3), "spread": ("spread", 3), "gradient": ("gradient", 4), "edge_mm": ("edge, mm", 1),
    "saturated": ("saturated", 2),
}  # fmt: skip
"""What the table calls each measure, and its digits."""
SIDE, ZOOM, ACROSS = 112, 2, 8


def markdown(facts: dict[str, Any]) -> str:
    """The table and its definitions."""

    def line(name: str, apart: dict[str, Any] | None, measures: dict[str, Any], seconds: float | None) -> list[str]:
        shown = with_interval(apart["told_apart"], apart["interval"], 2) if apart else number(None)
        middles = [with_interval(measures[m][1], measures[m][::2], digits) for m, (_, digits) in MEASURES.items()]
        return [name, shown, *middles, number(seconds, 2)]

    columns = ["", "told apart", *(title for title, _ in MEASURES.values()), "seconds a slice"]
    rows = [line("real lesions (real against real)", facts["real_against_real"], facts["real"], None)]
    rows += [line(name, r, r["measures"], r["seconds"]) for name, r in facts["rows"].items()]
    lines = [
        f"# Real and induced lesions, {facts['modality']}, split {facts['split']}", "",
        f"{facts['lesions']} real lesions, {facts['induced']} outlines painted, {facts['patients']} patients, "
        f"seed {facts['seed']}. {RESEARCH_USE_ONLY}", "",
        *markdown_table(columns, rows),
    ]  # fmt: skip
    return "\n".join([*lines, DEFINITIONS, ""])


def _tile(lesion: Lesion) -> np.ndarray:
    row, column = np.argwhere(lesion.mask).mean(0).round().astype(int)
    tile = square(lesion.image, (int(row), int(column)), SIDE)
    return (ndimage.zoom(tile, ZOOM, order=1) * 255).clip(0, 255).astype(np.uint8)


def _drawn(lesions: list[Lesion], count: int, rng: np.random.Generator) -> list[Lesion]:
    """So many at random, each of another brain as far as that goes: a slice that is seen twice gives both away."""
    order = [lesions[i] for i in rng.permutation(len(lesions))]
    times: dict[str, int] = {}
    turn = []
    for lesion in order:
        turn.append(times.get(lesion.patient, 0))
        times[lesion.patient] = turn[-1] + 1
    return [order[i] for i in np.argsort(turn, kind="stable")[:count]]


def blinded_sheet(report: BelievableReport, method: str, each: int, seed: int) -> tuple[bytes, list[dict[str, Any]]]:
    """PNG of ``each`` real and as many induced lesions in random order, numbered; and the key to it."""
    from PIL import Image, ImageDraw

    of_whom = ",".join([method, *(lesion.patient for lesion in report.real)])  # no two sheets have one key
    rng = np.random.default_rng([seed, 3, zlib.crc32(of_whom.encode())])
    shown = [(lesion, "real") for lesion in _drawn(report.real, each, rng)]
    shown += [(lesion, "induced") for lesion in _drawn(report.induced[method], each, rng)]
    shown = [shown[i] for i in rng.permutation(len(shown))]
    size, label = SIDE * ZOOM, 16
    rows = -(-len(shown) // ACROSS)
    sheet = Image.new("L", (ACROSS * size, rows * (size + label) + label))
    pen = ImageDraw.Draw(sheet)
    for n, (lesion, _) in enumerate(shown):
        y, x = divmod(n, ACROSS)
        pen.text((x * size + 4, y * (size + label) + 2), str(n + 1), fill=255)
        sheet.paste(Image.fromarray(_tile(lesion)), (x * size, y * (size + label) + label))
    pen.text((4, rows * (size + label) + 2), f"Some of these lesions are SYNTHETIC. {NOT_FOR_DIAGNOSIS}", fill=255)
    out = io.BytesIO()
    sheet.save(out, "PNG", optimize=True)
    key = [{"number": n + 1, "is": is_, "patient": each.patient} for n, (each, is_) in enumerate(shown)]
    return out.getvalue(), key


def write(report: BelievableReport, folder: OutputFolder, sheet: int = 20) -> None:
    """``believable.json``, ``.md``, ``lesions.csv``; for each method a blinded sheet and, apart from it, its key."""
    folder.json("believable", report.facts)
    folder.file("believable.md").write_text(markdown(report.facts), encoding="utf-8")
    rows = [
        {"method": name, "index": each.index, "patient": each.patient, "pixels": int(each.mask.sum()),
         **{k: round(v, 5) for k, v in each.measured.items()}}
        for name, lesions in (("real", report.real), *report.induced.items()) for each in lesions
    ]  # fmt: skip
    write_csv_file(folder.file("lesions.csv"), rows)
    for name in report.induced:
        image, key = blinded_sheet(report, name, sheet, int(report.facts["seed"]))
        stem = name.replace(":", "_")
        folder.file(f"sheet_{stem}.png").write_bytes(image)
        folder.file(f"key_{stem}.json").write_text(json.dumps(key, indent=1), encoding="utf-8")
