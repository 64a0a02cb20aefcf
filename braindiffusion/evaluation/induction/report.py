"""Tables, rows and pictures of an evaluation of induction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from braindiffusion import NOT_FOR_DIAGNOSIS, RESEARCH_USE_ONLY
from braindiffusion.evaluation.induction.evaluate import InductionReport, KindResult
from braindiffusion.evaluation.induction.painting import CONTROL
from braindiffusion.evaluation.induction.pairs import STRATA
from braindiffusion.io.tables import markdown_table, number, with_interval, write_csv_file

DEFINITIONS = {
    "lesion Dice, IoU": "of what the independent segmenter finds in the painted slice (probability above one half, "
    "inside the brain) with the mask asked for; for boxes, of the boxes of its components with the boxes asked for. "
    "Mean per patient whose lesion was moved, then over patients; brackets: 95 % percentile bootstrap over those "
    "patients, 5000 draws. The segmenter and the painter learned from the same training slices, so a painter of "
    "lesions that look as the segmenter expects is favoured",
    "FID": "Fréchet distance to all real lesion slices of the split, mean ± standard deviation (ddof 0) over 10 "
    "bootstraps of the real slices, the same for all rows. Biased by the number of images: compare rows of one table "
    "only. Features of another network give other numbers: none of these is the thesis' FID",
    "KID": "unbiased, cubic kernel, all pairs of images; ± over 10 random halves of the real slices. It may be "
    "below 0, and its scale is that of the features",
    "(1-Dice) FID": "with the mean FID and the Dice of the same row; lower is better",
    "real (ceiling)": "the segmenter on the slices the lesions were drawn on, against the drawn masks",
    "prior (floor)": "the lesion-free slices themselves: false alarms of the segmenter, and FID without painting",
    "real train (floor)": "as many real lesion slices of the train split as there are pairs, against those of "
    "the split",
    CONTROL: "a control: MedEdit with the same margin that is told no lesion. What it changes in the ring is the cost "
    "of painting anew, not an effect of a lesion",
    "effect of the lesion": "MedEdit less the control, which paints the same margin from the same noise: absolute and "
    "signed difference, and how much more MedEdit changed the ring than the control did (excess)",
    "ring": "mean |after - before| (model units, median brain 0.45) outside the lesion and within the margin, the same "
    "region for all methods; signed: after - before; beyond: outside the margin, in the brain, and the largest change "
    "of any pixel there. Intervals over patients as above",
    "dark fluid": "change of dark pixels deep in the brain outside the lesion, mm2 a slice: mostly ventricles",
    "contrast": "mean inside the lesion less the ring of 2 to 10 mm around it, real lesions and painted ones; "
    "difference in standard deviations of the real; KS: Kolmogorov-Smirnov distance of the two distributions",
    "calls, seconds": "network calls and seconds a slice, of this machine under whatever load it had",
}


def _scores(name: str, row: dict[str, Any], feature: str) -> list[str]:
    o, d = row.get("overlap"), (row.get("distribution") or {}).get(feature)
    return [
        name,
        with_interval(o["lesion_dice"], o["lesion_dice_interval"]) if o else "-",
        with_interval(o["lesion_iou"], o["lesion_iou_interval"]) if o else "-",
        number(o["lesion_dice_slice_mean"]) if o else "-",
        f"{number(d['fid_mean'], 2)} ± {number(d['fid_sd'], 2)}" if d else "-",
        f"{number(d['kid'])} ± {number(d['kid_sd'])}" if d else "-",
        number(d["combined"], 2) if d else "-",
    ]


SCORE_COLUMNS = ["lesion Dice (95 % CI)", "IoU (95 % CI)", "slice-mean Dice", "FID", "KID", "(1-Dice) FID"]


def _effects(name: str, row: dict[str, Any]) -> list[str]:
    e, c = row["effects"], row["contrast"]
    tone = [number(c["made"]), number(c["difference"], 2), number(c["distance"], 2)] if c else ["-"] * 3
    cost = [number(row.get("calls_per_slice"), 0), number(row.get("seconds_per_slice"), 2)]
    return [
        name,
        number(e["inside"]["mean"]),
        with_interval(e["ring"]["mean"], e["ring"]["interval"], 4),
        number(e["ring_signed"]["mean"], 4),
        number(e["beyond"]["mean"], 4) + f" (largest {e['beyond_largest']:.2g})",
        with_interval(e["deep_fluid_mm2"]["mean"], e["deep_fluid_mm2"]["interval"], 0),
        *tone,
        *cost,
    ]


def _kind_lines(kind: str, f: dict[str, Any]) -> list[str]:
    p, rows = f["pairs"], f["rows"]
    low, high = p["strata_px"]
    lines = [
        f"## {kind}",
        "",
        f"![{kind}]({kind}.png)",
        "",
        f"{p['paired']} pairs from `{f['source']}` ({f['modality']}): lesions of {p['lesion_patients']} patients, "
        f"{p['distinct_priors']} different priors of {p['prior_patients']} patients. Of {p['lesion_slices']} lesion "
        f"slices {p['large_enough']} are large enough and {p['chosen']} were chosen; {p['dropped']} lesions were "
        f"dropped and {p['rejected_draws']} draws rejected; {100 * p['cut_off_share']:.1f} % of the lesions' area lay "
        "outside the new brain and was cut off. Strata: small below "
        f"{low:.1f}, large above {high:.1f} pixels ({', '.join(f'{k} {v}' for k, v in p['strata'].items())}). "
        f"Margin {f['margin_mm']:.1f} mm ({f['margin_kernel_px']} pixels).",
        "",
    ]
    if f["segmenter_missing"]:
        lines += [f"No lesion Dice: {f['segmenter_missing']}.", ""]
    for name, feature in f["features"].items():
        foreign = f" It was not trained on {f['modality']}: read with care." if feature["foreign"] else ""
        sizes = next((r["distribution"][name] for r in rows.values() if r.get("distribution", {}).get(name)), None)
        if sizes:
            lines += [
                f"Features: {feature['about']}, {sizes['features']} dimensions; {sizes['n']} images against "
                f"{sizes['n_real']} real lesion slices.{foreign}",
                "",
            ]
        lines += markdown_table(["", *SCORE_COLUMNS], [_scores(n, r, name) for n, r in rows.items()])
    by_size = [
        [n, *(with_interval(o["by_stratum"][s]["mean"], o["by_stratum"][s]["interval"]) for s in STRATA)]
        for n, r in rows.items() if (o := r.get("overlap"))
    ]  # fmt: skip
    lines += markdown_table(["lesion Dice by size", *STRATA], by_size)
    columns = [
        "", "change inside", "in the ring (95 % CI)", "signed", "beyond", "dark fluid mm2 (95 % CI)", "contrast",
        "difference SD", "KS", "calls", "s",
    ]  # fmt: skip
    lines += markdown_table(columns, [_effects(n, r) for n, r in rows.items() if "effects" in r])
    if effect := next((row["lesion_effect"] for row in rows.values() if "lesion_effect" in row), None):
        keys = {"ring": "difference in the ring", "ring_signed": "signed", "ring_excess": "excess"}
        told = ", ".join(f"{v} {with_interval(effect[k]['mean'], effect[k]['interval'], 4)}" for k, v in keys.items())
        near = [
            f"{r['from_mm']:g}-{r['to_mm']:g} mm {number(r['mean_absolute'], 4)}"
            for r in effect["by_distance"] if r["from_mm"] is not None and r["pixels"]
        ]  # fmt: skip
        lines += [f"Effect of the lesion (MedEdit less control): {told}; by distance {', '.join(near)}.", ""]
    contrast = next((r["contrast"] for r in rows.values() if r.get("contrast")), None)
    if contrast:
        lines += [
            f"Contrast of the real lesions: {number(contrast['real'])}, standard deviation "
            f"{number(contrast['real_spread'])}.",
            "",
        ]  # fmt: skip
    for name, why in f["skipped"].items():
        lines += [f"Not run, {name}: {why}", ""]
    first = next(iter(f["features"]))
    for name, varied in f["ablations"].items():
        title = {"margin": "dilation k, pixels", "resamples": "resamples U", "start": "first level"}[name]
        table = [
            [
                *_scores(str(r["value"]), r, first),
                with_interval(r["effects"]["ring"]["mean"], r["effects"]["ring"]["interval"], 4),
                f"{r['effects']['beyond_largest']:.2g}",
                number(r["calls_per_slice"], 0),
            ]
            for r in varied
        ]
        lines += markdown_table(
            [title, *SCORE_COLUMNS, "change in its ring (95 % CI)", "largest beyond", "calls"], table
        )
    return lines


def markdown(facts: dict[str, Any]) -> str:
    """All tables with their definitions; a number without a table to compare it with is not given."""
    steps = "every level" if facts["steps"] is None else f"{facts['steps']} steps"
    lines = [
        f"# Induction, split {facts['split']}, told {'boxes' if facts['condition'] == 'box' else 'strict masks'}",
        "",
        f"{steps}, seed {facts['seed']}, {facts['device']}, {facts['threads']} threads; models "
        + ", ".join(f"{n} ({str(m['sha256'])[:8]})" for n, m in facts["models"].items())
        + ".",
        "",
        facts["pairing"],
        "",
    ]
    for kind, f in facts["kinds"].items():
        lines += _kind_lines(kind, f)
    for kind, skipped in facts["not_run"].items():
        lines += [f"Not run, {kind}: " + "; ".join(f"{k}: {v}" for k, v in skipped.items()), ""]
    lines += ["## Definitions", "", *(f"- *{k}*: {v}." for k, v in DEFINITIONS.items())]
    return "\n".join([*lines, "", RESEARCH_USE_ONLY, ""])


def write_rows(report: InductionReport, path: Path) -> None:
    """One CSV line for each pair: where its two slices come from, and each method's Dice."""
    rows: list[dict[str, Any]] = []
    for result in report.kinds:
        p = result.pairs
        scored = {n: r["overlap"]["dice_of_slices"] for n, r in result.facts["rows"].items() if r.get("overlap")}
        for i in range(len(p)):
            rows.append({
                "kind": result.kind, "pair": i, "lesion_patient": p.patient[i], "lesion_row": p.row[i],
                "prior_patient": p.prior_patient[i], "prior_row": p.prior_row[i], "stratum": p.stratum[i],
                "asked_px": int(p.asked[i].sum()), **{f"dice, {n}": round(d[i], 4) for n, d in scored.items()},
            })  # fmt: skip
    write_csv_file(path, rows)


def shown_pairs(result: KindResult, each: int = 2) -> list[int]:
    """Pairs to show: some of each stratum, evenly spread, not chosen by how they came out."""
    picked: list[int] = []
    for s in STRATA:
        of = np.nonzero(result.pairs.stratum == s)[0]
        if len(of):
            at = np.linspace(0, len(of) - 1, min(each, len(of)) + 2)[1:-1].round().astype(int)
            picked += of[np.unique(at)].tolist()
    return picked


def picture(result: KindResult, path: Path) -> None:
    """Like the thesis' figures 5.1 to 5.3: prior, mask, each method; below each, its difference from the prior."""
    from matplotlib.figure import Figure

    p, chosen = result.pairs, shown_pairs(result)
    names = list(result.painted)
    across, down = 3 + len(names), 2 * len(chosen)
    ratio = p.prior.shape[1] / p.prior.shape[2]
    figure = Figure(figsize=(1.5 * across, 1.5 * ratio * down + 0.7), facecolor="black")
    axes = figure.subplots(down, across, squeeze=False)
    for a in axes.flat:
        a.set_axis_off()
    grey: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 0.95, "interpolation": "nearest"}
    reference = next((m for n, m in result.painted.items() if n.partition(":")[0] == "mededit"), None)
    for k, i in enumerate(chosen):
        top, below = axes[2 * k], axes[2 * k + 1]
        top[0].imshow(p.real[i], **grey)
        top[1].imshow(p.prior[i], **grey)
        top[2].imshow(p.prior[i], **grey)
        top[0].contour(p.real_asked[i], [0.5], colors="red", linewidths=0.6)
        top[2].contour(p.told[i], [0.5], colors="red", linewidths=0.8)
        if reference is not None and reference.generate[i].any():
            top[2].contour(reference.generate[i], [0.5], colors="cyan", linewidths=0.6)
        label = f"{p.stratum[i]}, {int(p.asked[i].sum())} px"
        top[0].text(0.02, 0.02, label, color="white", fontsize=6, transform=top[0].transAxes)
        for j, name in enumerate(names, 3):
            image = result.painted[name].images[i]
            top[j].imshow(image, **grey)
            below[j].imshow(image - p.prior[i], cmap="RdBu_r", vmin=-0.4, vmax=0.4, interpolation="nearest")
            top[j].text(
                0.5, 0.01, NOT_FOR_DIAGNOSIS, color="yellow", fontsize=3.6, ha="center", transform=top[j].transAxes
            )
    headings = ["real lesion", "prior", "asked (red), margin (cyan)", *(n.upper() for n in names)]
    for a, heading in zip(axes[0], headings, strict=True):
        a.set_title(heading, color="white", fontsize=6)
    figure.suptitle(
        f"{NOT_FOR_DIAGNOSIS}   {result.kind}: painted slices, below each its difference from the prior",
        color="yellow", fontsize=7, y=1 - 0.08 / figure.get_figheight(), va="top",
    )  # fmt: skip
    figure.subplots_adjust(0.003, 0.003, 0.997, 1 - 0.45 / figure.get_figheight(), 0.02, 0.02)
    figure.savefig(path, dpi=150, facecolor="black", metadata={"Description": NOT_FOR_DIAGNOSIS})
