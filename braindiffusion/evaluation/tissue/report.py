"""The hole test on paper: a table, a row per hole, and a picture."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from braindiffusion import NOT_FOR_DIAGNOSIS, RESEARCH_USE_ONLY
from braindiffusion.evaluation.tissue.run import TissueReport, TissueRow
from braindiffusion.io.tables import markdown_table, number, with_interval, write_csv_file

if TYPE_CHECKING:
    from braindiffusion.io.write import OutputFolder

DEFINITIONS = (
    "Lesion-shaped holes (other patients' masks, dilated by 2 pixels) on lesion-free slices, healed as if they were "
    "lesions; measured inside the hole at the scan's own resolution. PSNR and SSIM (Gaussian window, sigma 1.5) "
    "against the truth, mean over holes; one plausible sample cannot have the PSNR of a blurred mean. Sharpness: "
    "gradient energy over that of the true tissue, hole eroded by 2 pixels, median; 1 is right. Told apart: AUROC of "
    "a random forest on nine local texture features that separates healed from true patches, folds by patient; 0.5 "
    "means that nobody can tell. Brackets: 95 % percentile bootstrap over patients (of told apart: of the patches' "
    "scores, forest fixed)."
)
SHOWN, COLUMNS = 8, 224


METHODS = ("method", "told apart", "sharpness", "SSIM", "PSNR dB", "mean of samples: SSIM, PSNR", "seconds a hole")
PARTS = ("method", "stratum", "holes", "told apart", "sharpness", "SSIM", "PSNR dB")
DIGITS = {"told_apart": 2, "sharpness": 2, "ssim": 3, "psnr": 1}


def markdown(facts: dict[str, Any]) -> str:
    """The table, its strata and its definitions."""
    methods, parts = [], []
    for name, r in facts["rows"].items():
        mean = f"{r['mean_ssim']:.3f}, {r['mean_psnr']:.1f} ({r['mean_of']})" if "mean_ssim" in r else ""
        shown = [with_interval(r[key], r[f"{key}_interval"], digits) for key, digits in DIGITS.items()]
        methods.append([name, *shown, mean, f"{r['seconds']:.2f}"])
        for key in sorted(k for k in r if ":" in k):
            shown = [number(r[key][measure], digits) for measure, digits in DIGITS.items()]
            parts.append([name, key.replace(":", " "), str(r[key]["holes"]), *shown])
    lines = [
        f"# Hole test, {facts['modality']}, split {facts['split']}", "",
        f"{facts['holes']} holes, {facts['patients']} patients, seed {facts['seed']}. {RESEARCH_USE_ONLY}", "",
        *markdown_table(METHODS, methods), "By size of the hole and by place:", "", *markdown_table(PARTS, parts),
    ]  # fmt: skip
    return "\n".join([*lines, DEFINITIONS, ""])


def square(image: np.ndarray, centre: tuple[int, int], side: int) -> np.ndarray:
    """(side,side) of an image around a pixel, zeros beyond its edges."""
    padded = np.pad(image, side // 2)
    y, x = centre
    return padded[y : y + side, x : x + side]


def picture(report: TissueReport) -> bytes:
    """PNG: a column a hole (the true slice with its outline first), a row a method, at twice the pixels."""
    from PIL import Image, ImageDraw
    from scipy import ndimage

    side, zoom = 96, 2
    chosen = np.linspace(0, len(report.holes) - 1, min(SHOWN, len(report.holes))).round().astype(int)

    def strip(images: list[np.ndarray], outline: bool) -> np.ndarray:
        tiles = []
        for n in chosen:
            hole = report.holes[n].mask
            centre = tuple(int(v) for v in np.argwhere(hole).mean(0).round())
            top = np.percentile(report.true[n][report.true[n] > 0], 99.5)
            tile = square((images[n] / top).clip(0, 1), centre, side).repeat(zoom, 0).repeat(zoom, 1)  # type: ignore[arg-type]
            tile = np.repeat((tile * 255).astype(np.uint8)[..., None], 3, -1)
            if outline:
                inner = square(hole.astype(np.uint8), centre, side).repeat(zoom, 0).repeat(zoom, 1) > 0  # type: ignore[arg-type]
                tile[inner & ~ndimage.binary_erosion(inner)] = (0, 200, 220)
            tiles.append(tile)
        return np.concatenate(tiles, 1)

    rows: list[tuple[str, np.ndarray]] = [("true, and the hole", strip(report.true, True))]
    rows += [(row.name, strip(row.healed, False)) for row in report.rows]
    label = 18
    height = sum(r.shape[0] + label for _, r in rows) + label
    sheet = Image.new("RGB", (rows[0][1].shape[1], height))
    pen = ImageDraw.Draw(sheet)
    y = 0
    for name, row in rows:
        pen.text((4, y + 3), name, fill=(255, 255, 255))
        sheet.paste(Image.fromarray(row), (0, y + label))
        y += row.shape[0] + label
    pen.text((4, y + 3), NOT_FOR_DIAGNOSIS, fill=(255, 255, 0))
    out = io.BytesIO()
    sheet.save(out, "PNG", optimize=True)
    return out.getvalue()


def hole_rows(report: TissueReport) -> list[dict[str, Any]]:
    """One row per method and hole."""

    def of(row: TissueRow) -> list[dict[str, Any]]:
        return [
            {
                "method": row.name, "index": hole.index, "patient": hole.patient, "size": hole.size,
                "place": hole.place, "pixels": int(hole.mask.sum()), **{k: round(v, 5) for k, v in found.items()},
            }
            for hole, found in zip(report.holes, row.holes, strict=True)
        ]  # fmt: skip

    return [line for row in report.rows for line in of(row)]


def write(report: TissueReport, folder: OutputFolder) -> None:
    """``table.md``, ``tissue.json``, ``holes.csv`` and ``holes.png``."""
    folder.file("table.md").write_text(markdown(report.facts), encoding="utf-8")
    folder.json("tissue", report.facts)
    write_csv_file(folder.file("holes.csv"), hole_rows(report))
    folder.file("holes.png").write_bytes(picture(report))
