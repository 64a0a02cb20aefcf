"""Real and induced lesions on paper: a table, a row a lesion, and a blinded sheet with its key."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from braindiffusion import NOT_FOR_DIAGNOSIS, RESEARCH_USE_ONLY
from braindiffusion.evaluation.induction.believable import BelievableReport, Lesion

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
MEASURES = ("contrast", "spread", "gradient", "edge_mm", "saturated")
SIDE, ZOOM, ACROSS = 112, 2, 8


def _quartiles(values: list[float], digits: int) -> str:
    low, middle, high = values
    return f"{middle:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def markdown(facts: dict[str, Any]) -> str:
    """The table and its definitions."""
    digits = {"contrast": 3, "spread": 3, "gradient": 4, "edge_mm": 1, "saturated": 2}
    lines = [
        f"# Real and induced lesions, {facts['modality']}, split {facts['split']}", "",
        f"{facts['lesions']} real lesions, {facts['induced']} outlines painted, {facts['patients']} patients, "
        f"seed {facts['seed']}. {RESEARCH_USE_ONLY}", "",
        "| | told apart | " + " | ".join(m.replace("edge_mm", "edge, mm") for m in MEASURES) + " | seconds a slice |",
        "|---|---|" + "---|" * (len(MEASURES) + 1),
    ]  # fmt: skip

    def line(name: str, apart: dict[str, Any] | None, measures: dict[str, Any], seconds: str) -> str:
        shown = "" if apart is None else _quartiles(
            [apart["interval"][0], apart["told_apart"], apart["interval"][1]], 2
        )  # fmt: skip
        cells = [name, shown, *(_quartiles(measures[m], digits[m]) for m in MEASURES), seconds]
        return "| " + " | ".join(cells) + " |"

    lines.append(line("real lesions (real against real)", facts["real_against_real"], facts["real"], ""))
    lines += [line(name, r, r["measures"], f"{r['seconds']:.2f}") for name, r in facts["rows"].items()]
    return "\n".join([*lines, "", DEFINITIONS, ""])


def _tile(lesion: Lesion) -> np.ndarray:
    centre = np.argwhere(lesion.mask).mean(0).round().astype(int)
    padded = np.pad(lesion.image, SIDE)
    y, x = centre + SIDE // 2
    tile = padded[y : y + SIDE, x : x + SIDE]
    return (ndimage.zoom(tile, ZOOM, order=1) * 255).clip(0, 255).astype(np.uint8)


def blinded_sheet(report: BelievableReport, method: str, each: int, seed: int) -> tuple[bytes, list[dict[str, Any]]]:
    """PNG of ``each`` real and as many induced lesions in random order, numbered; and the key to it."""
    from PIL import Image, ImageDraw

    rng = np.random.default_rng([seed, 3])
    real, induced = report.real, report.induced[method]
    shown = [(lesion, "real") for lesion in (real[i] for i in rng.permutation(len(real))[:each])]
    shown += [(lesion, "induced") for lesion in (induced[i] for i in rng.permutation(len(induced))[:each])]
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
    text = io.StringIO()
    table = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    folder.file("lesions.csv").write_text(text.getvalue(), encoding="utf-8")
    for name in report.induced:
        image, key = blinded_sheet(report, name, sheet, int(report.facts["seed"]))
        stem = name.replace(":", "_")
        folder.file(f"sheet_{stem}.png").write_bytes(image)
        folder.file(f"key_{stem}.json").write_text(json.dumps(key, indent=1), encoding="utf-8")
