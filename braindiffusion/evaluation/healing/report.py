"""Tables of the healing evaluation: Markdown with every definition, and CSV by row and by slice."""

from __future__ import annotations

from typing import Any

from braindiffusion import RESEARCH_USE_ONLY
from braindiffusion.evaluation.healing.data import Measured
from braindiffusion.evaluation.healing.images import OUTSIDE_MM
from braindiffusion.evaluation.healing.rows import COSTLY_CALLS, GROUPS
from braindiffusion.evaluation.healing.scores import Scored
from braindiffusion.evaluation.induction.pairs import STRATA
from braindiffusion.io.tables import markdown_table, number, with_interval

DEFINITIONS = {
    "lesion Dice, IoU": "of the lesion class on lesion slices, on the pack's own pixels (a miss counts 0): mean per "
    "patient, then over patients. Brackets: 95 % percentile bootstrap over patients, 5000 draws; ± standard error over "
    "sampling seeds (sd with ddof 1 over the root of their number), where a row draws and has several",
    "against dif_fuse": "lesion Dice less that of dif_fuse on the slices both were measured on, mean over patients, "
    "bootstrap over patients. It compares rows that were measured on fewer slices",
    "slice mean": "lesion Dice, mean over lesion slices; volume: Dice of all measured slices of a patient together, "
    "mean over patients with a lesion",
    "two-class": "mean of background and lesion Dice (IoU), mean over lesion slices: what the published table seems "
    "to hold. Predicting nothing scores about one half",
    "pooled": "pixels of all lesion slices together",
    "gate": "the classifier says which slices show a lesion; on the others nothing is called, for every row but the "
    "floors nothing and bright, the segmenters, and dif_fuse_drawn. gate open: lesion Dice without it",
    "both empty": "overlap is undefined and left out; lesion-free slices are measured by false alarms",
    "false alarm": "area called on a lesion-free slice (mean), and share of those slices; gate open: mean over the "
    "probed lesion-free slices",
    "AUPRC": "average precision of the map over all pixels of the lesion slices, the gate held open (0 where the row "
    "can find nothing); best possible: pooled Dice at the threshold that suits these very slices best, an upper bound "
    "and no result",
    "small, medium, large": "lesion Dice by drawn area: below the first quartile of the split's lesion slices, above "
    "the third, between",
    "healed lesion slices": "each lesion slice healed with the gate held open, against the real lesion-free slices of "
    "the split. KID: unbiased, cubic kernel, all pairs of images, no subsets; it may be below 0; in brackets the "
    "spread over 10 random halves of the real ones. FID: biased by the number of images, compare rows of equal n "
    "only; in brackets over bootstraps. ±: standard error over seeds. Both in pooled features of the gate's "
    "classifier: they compare with no other table. Lesion-free slices lie at other levels of the head more often, so "
    "even a perfect healer does not reach 0",
    "real (ceiling)": "lesion-free slices of the train split in place of healed ones, as many",
    "flip": "of the lesion slices that a second classifier calls a lesion (p >= 0.5), those it calls healthy once they "
    "are healed, of each slice the share of seeds; saliency, gate and guidance never saw that classifier",
    "outside": f"over the brain farther than {OUTSIDE_MM:g} mm from the drawn lesion: L1, PSNR (peak 1, 100 dB where "
    "nothing changed), SSIM (7 x 7, uniform)",
    "identity": "mean |healed - original| over the brain of lesion-free slices by default (slices the gate holds back "
    "stay as they are), and of those probed with the gate held open; white is 1, the median brain 0.45",
    "flicker": "mean |d_a - d_b| / mean (|d_a| + |d_b|) over neighbouring lesion slices of a scan, d = healed - "
    "original: 0 where both change alike, 1 where nothing is shared",
    "seam": "|step| across the border of the healed region beyond the step that was there, mean; - where the whole "
    "brain is healed",
    "calls, seconds": "calls of the main network and seconds a healed slice, and seconds of saliency or segmenter a "
    "slice, on this machine under whatever load it had. Guidance by a classifier, encoding and decoding come on top "
    "of the calls; an inversion that rows share is charged to each",
    "costly rows": f"those above {COSTLY_CALLS} calls a slice are measured on fewer lesion slices (column slices), "
    "once",
    "operating point": "variant of the anomaly map, threshold (or percentile), least area: tuned for each row on the "
    "val split alone, by lesion Dice, from the same candidates for all rows of a kind",
}


def _interval(found: dict[str, Any] | None, digits: int = 3) -> str:
    return with_interval(found["mean"], found["interval"], digits) if found else "-"


def _overlap(name: str, r: dict[str, Any]) -> list[str]:
    se = r["lesion_dice_standard_error"]
    dice = with_interval(r["lesion_dice"], r["lesion_dice_interval"])
    spread = f" ± {number(se)}" if se is not None and se == se else ""
    numbers = ("lesion_iou", "lesion_dice_slice_mean", "volume_dice", "two_class_dice", "two_class_iou", "pooled_dice")
    return [
        name, str(r["lesion_slices"]), str(r["seeds"]), dice + spread, _interval(r.get("against_dif_fuse")),
        *(number(r[k]) for k in numbers), number(r["gate_open"]["lesion_dice"]),
    ]  # fmt: skip


def _ranking(name: str, r: dict[str, Any]) -> list[str]:
    share = r["false_alarm_share"]
    return [
        name, number(r["average_precision"]), number(r["best_possible_dice"]),
        *(_interval(r["by_size"][s]) for s in STRATA), number(r["false_alarm_mm2"], 0),
        "-" if share is None or share != share else f"{100 * share:.0f} %",
        number(r["gate_open"]["false_alarm_mm2"], 0),
    ]  # fmt: skip


def _images(name: str, i: dict[str, Any]) -> list[str]:
    d = i.get("distance")

    def mean(key: str, digits: int) -> str:
        return number(i[key]["mean"], digits) if key in i else "-"

    def of_seeds(key: str, digits: int, spread: str) -> str:
        if not d:
            return "-"
        told = {name: number(value, digits) for name, value in d.items()}
        error = told.get(f"{key}_standard_error", "-")
        return told[key] + (f" ± {error}" if error != "-" else "") + f" ({spread.format(**told)})"

    return [
        name, str(d["n"]) if d else "-", of_seeds("kid", 4, "{kid_sd}"), of_seeds("fid", 2, "{fid_mean} ± {fid_sd}"),
        _interval(i.get("flip"), 2), mean("l1", 4), mean("psnr", 1), mean("ssim", 4), mean("identity", 4),
        mean("identity_gate_open", 4), mean("flicker", 2), mean("seam", 4),
    ]  # fmt: skip


def _point(point: dict[str, Any]) -> str:
    parts = []
    for key, value in point.items():
        if key == "percentile":
            parts.append(f"percentile {value:g}")
        elif key == "threshold":
            parts.append(value if isinstance(value, str) else f"above {value:g}")
        elif key == "channel":
            parts.append(f"output {value}")
        elif key == "least_mm2" and value:
            parts.append(f"at least {value:g} mm2")
        elif key == "variant":
            parts.append(str(value))
    return ", ".join(parts) or "-"


def _cost(name: str, r: dict[str, Any]) -> list[str]:
    return [
        name, number(r["calls_per_slice"], 0), number(r["seconds_per_slice"], 2),
        number(r["saliency_seconds_per_slice"], 2), _point(r["point"]), number(r.get("val_lesion_dice")), r["about"],
    ]  # fmt: skip


OVERLAP_COLUMNS = [
    "", "slices", "seeds", "lesion Dice (95 % CI) ± SE", "against dif_fuse", "lesion IoU", "slice mean", "volume",
    "two-class Dice", "two-class IoU", "pooled", "gate open",
]  # fmt: skip
RANKING_COLUMNS = [
    "", "AUPRC", "best possible Dice", *STRATA, "false alarm mm2", "slices with false alarm", "gate open mm2",
]  # fmt: skip
IMAGE_COLUMNS = [
    "", "n", "KID ± SE (halves)", "FID ± SE (bootstraps)", "flip (95 % CI)", "L1 outside", "PSNR", "SSIM", "identity",
    "identity, gate open", "flicker", "seam",
]  # fmt: skip
COST_COLUMNS = ["", "calls", "s", "s saliency", "operating point", "its Dice on val", "what it is"]


def _by_group(rows: dict[str, dict[str, Any]], columns: list[str], cells: Any) -> list[str]:
    out = []
    for group in GROUPS:
        of = [(n, r) for n, r in rows.items() if r["group"] == group]
        if of:
            out.append([f"*{group}*", *[""] * (len(columns) - 1)])
            out += [cells(n, r) for n, r in of]
    return markdown_table(columns, out)


def markdown(facts: dict[str, Any]) -> str:
    """All tables of the facts, with their definitions; what could not be run, and why."""
    d, rows = facts["data"], facts["rows"]
    lines = [
        f"# Healing: {facts['modality']}, split **{d['split']}**",
        "",
        f"{d['lesion_slices']} lesion slices of {d['patients_with_lesion']} patients, {d['lesion_free_slices']} "
        f"lesion-free slices, {d['probed_lesion_free_slices']} of them probed with the gate held open. The gate lets "
        f"{d['gate_passes_of_lesion']} lesion slices and {d['gate_passes_of_lesion_free']} lesion-free ones pass. "
        f"{facts['steps']}, {facts['device']} ({facts['precision']}, {facts['threads']} threads); models "
        + ", ".join(f"{n} ({str(s)[:8]})" for n, s in facts["models"].items()) + ".",
        "",
        *_by_group(rows, OVERLAP_COLUMNS, _overlap),
        *_by_group(rows, RANKING_COLUMNS, _ranking),
    ]  # fmt: skip
    images = {n: r for n, r in rows.items() if r.get("images")}
    table = _by_group(images, IMAGE_COLUMNS, lambda n, r: _images(n, r["images"]))
    if facts.get("real_ceiling"):
        table.insert(-1, f"| {' | '.join(_images('real (ceiling)', {'distance': facts['real_ceiling']}))} |")
    lines += table
    if facts["judge"]["why"]:
        lines += [f"No flip rate: {facts['judge']['why']}.", ""]
    lines += _by_group(rows, COST_COLUMNS, _cost)
    if facts["missing"]:
        lines += ["Not run:", "", *(f"- {name}: {why}" for name, why in facts["missing"].items()), ""]
    if facts.get("sweep"):
        lines += [*_sweep(facts["sweep"]), ""]
    if facts.get("two_class"):
        lines += ["## Why the published table reads as a two-class mean", "", "![two classes](two_class.png)", "",
                  facts["two_class"]["text"], ""]  # fmt: skip
    lines += [f"![{name}]({name}.png)\n" for name in facts["figures"] if name != "two_class"]
    lines += ["## Definitions", "", *(f"- *{k}*: {v}." for k, v in DEFINITIONS.items())]
    return "\n".join([*lines, "", RESEARCH_USE_ONLY, ""])


def _sweep(sweep: dict[str, Any]) -> list[str]:
    rows = [[p["name"], p["group"], number(p["lesion_dice"]), number(p["calls"], 0), _point(p["point"])]
            for p in sweep["points"]]  # fmt: skip
    about = (
        f"## Options, on val\n\n{sweep['slices']} lesion slices of the **val** split, the threshold tuned for each on "
        f"the same slices: for choosing, not for comparing with the tables above. Best: {sweep['best']}.\n"
    )
    return [about, *markdown_table(["option", "group", "lesion Dice", "calls", "operating point"], rows)]


def flat(row: dict[str, Any], before: str = "") -> dict[str, Any]:
    """Nested facts in one line: ``gate_open.lesion_dice``; lists become ``.low`` and ``.high``."""
    out: dict[str, Any] = {}
    for key, value in row.items():
        name = f"{before}{key}"
        if isinstance(value, dict):
            out |= flat(value, f"{name}.")
        elif isinstance(value, list) and len(value) == 2:
            out |= {f"{name}.low": value[0], f"{name}.high": value[1]}
        else:
            out[name] = value
    return out


def slice_rows(data: Measured, scored: dict[str, Scored]) -> list[dict[str, Any]]:
    """One line for each measured slice: where it is in the pack, and each row's pixels (first seed)."""
    lines: list[dict[str, Any]] = [
        {
            "patient": data.patient[i], "row": int(data.row[i]), "drawn_px": int(data.drawn[i].sum()),
            "lesion_probability": round(float(data.probability[i]), 4), "judged_lesion": bool(data.judged[i]),
        }
        for i in range(len(data))
    ]  # fmt: skip
    for name, s in scored.items():
        for i, c in zip(s.overlap.at, s.overlap.counts, strict=True):
            lines[i] |= {f"{name}_tp": c.tp, f"{name}_fp": c.fp, f"{name}_fn": c.fn}
    return lines
