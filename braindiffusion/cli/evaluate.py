"""The command line: evaluate models."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from braindiffusion.cli.options import (
    Device,
    Out,
    Progress,
    ProgressKind,
    Split,
    report_errors,
)
from braindiffusion.cli.settings import made, parse_steps, settings_options
from braindiffusion.io.paths import at_home
from braindiffusion.settings import HealSettings


class HeldOut(str, Enum):
    val, test = "val", "test"


# long: each option is a parameter
@settings_options(
    HealSettings,
    only=("model", "steps", "fusion", "percentile", "mask_rule", "saliency", "seed", "batch", "device"),
)
def evaluate_healing(
    data: Annotated[Path, typer.Option(help="PACK.npz with drawn lesions; the format is in docs/packs.md.")],
    out: Out,
    split: Annotated[Split, typer.Option(help="Tune on val; look at test once.")] = Split.val,
    methods: Annotated[
        str, typer.Option(help="Comma-separated rows, or all (docs/healing_evaluation.md); floors always come along.")
    ] = "dif_fuse,saliency",
    tune: Annotated[
        bool, typer.Option("--tune", help="Only tune the rows on val, anew, and keep their points in OUT/tuned.json.")
    ] = False,
    write: Annotated[
        bool, typer.Option("--write", help="With --tune: keep the points of methods without a mask in the cards.")
    ] = False,
    sweep: Annotated[
        bool, typer.Option("--sweep", help="Before: K, percentile and options of Dif-fuse, on val.")
    ] = False,
    seeds: Annotated[int, typer.Option(min=1, help="Draws of each row that draws: mean and standard error.")] = 1,
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many slices, spread over patients.")] = None,
    probe: Annotated[
        int, typer.Option(min=0, help="Lesion-free slices that are healed though the gate holds them back: identity.")
    ] = 32,
    costly: Annotated[
        int, typer.Option(min=0, help="Lesion slices for rows of more than 150 network calls each; 0 leaves them out.")
    ] = 24,
    lesion_slices_only: Annotated[
        bool, typer.Option("--lesion-slices-only", help="Skip lesion-free slices (no false alarms measured).")
    ] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; the timings say how many.")] = None,
    progress: Progress = ProgressKind.bar,
    **chosen: Any,
) -> None:
    """Every healing method beside floors and ceilings: overlap, false alarms, what healing does to the images, cost."""
    with report_errors():
        settings = made(HealSettings, chosen, force=True)
        import torch

        from braindiffusion.evaluation.healing.evaluate import HealingPlan, check, tune_rows
        from braindiffusion.evaluation.healing.evaluate import evaluate_healing as measure
        from braindiffusion.evaluation.healing.tuning import write_points
        from braindiffusion.healing.registry import HEALTHY
        from braindiffusion.io.write import OutputFolder, check_writable
        from braindiffusion.pipeline.progress import reporter
        from braindiffusion.training.packs import load_pack

        settings = replace(settings, model=settings.model or HEALTHY.recipe)
        plan = HealingPlan(
            split=split.value, methods=_names(methods), settings=settings, seeds=seeds, limit=limit, probe=probe,
            costly=costly, lesion_only=lesion_slices_only, sweep=sweep,
        )  # fmt: skip
        pack = load_pack(data)
        check(pack, plan)
        check_writable(out)
        if threads:
            torch.set_num_threads(threads)
        with reporter(progress.value) as tell:
            if tune:
                points, missing = tune_rows(pack, plan, out, on_event=tell)
                lines = [f"{n}: {p['dice']:.3f} on val, {p['point']}" for n, p in points.items()]
                if write:
                    lines.append(f"Kept in the cards: {', '.join(write_points(points, settings)) or 'none'}")
                typer.echo("\n".join([*lines, *(f"{n}: not run: {why}" for n, why in missing.items())]))
                return
            report = measure(pack, plan, out, on_event=tell)
        with OutputFolder(out) as folder:
            report.write(folder)
        typer.echo((out / "table.md").read_text(encoding="utf-8"))


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(n.strip() for n in (text or "").split(",") if n.strip())


def evaluate_models(
    data: Annotated[Path, typer.Option(help="Folder of the packs and volumes the recipes name.")],
    out: Out,
    models: Annotated[str | None, typer.Option(help="Comma-separated (else: all that are installed).")] = None,
    split: Annotated[HeldOut, typer.Option(help="Tune on val; look at test once.")] = HeldOut.val,
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most this many slices (brain masks: subjects) of each.")
    ] = None,
    write: Annotated[bool, typer.Option("--write", help="Keep the numbers in the models' cards.")] = False,
    cache: Annotated[
        Path | None, typer.Option(help="Where packs on the model grid are kept (else: cache beside OUT).")
    ] = None,
    device: Device = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; the timings say how many.")] = None,
    progress: Progress = ProgressKind.bar,
) -> None:
    """Numbers and a figure for each installed model, by its task."""
    with report_errors():
        import torch

        from braindiffusion.cards import read_card
        from braindiffusion.evaluation.models.evaluate import evaluate_models as measure
        from braindiffusion.evaluation.models.evaluate import write_to_cards
        from braindiffusion.io.tables import write_csv_file
        from braindiffusion.io.write import OutputFolder, check_writable
        from braindiffusion.pipeline.progress import reporter

        names = [m.strip() for m in models.split(",") if m.strip()] if models else None
        for name in names or ():
            read_card(name)
        check_writable(out)
        if threads:
            torch.set_num_threads(threads)
        kept = cache or out.absolute().parent / "cache"
        with OutputFolder(out) as folder:
            with reporter(progress.value) as tell:
                report = measure(
                    data, names, split.value, folder.file, limit=limit, device=device, cache=kept, on_event=tell
                )
            folder.json("models", report.facts())
            folder.file("models.md").write_text(report.markdown(), encoding="utf-8")
            for (name, table), rows in report.tables.items():
                write_csv_file(folder.file(f"{name}_{table}.csv"), rows)
        if write:
            write_to_cards(report)
        typer.echo(report.markdown().split("\n## ")[0])


class InductionCondition(str, Enum):
    mask, box = "mask", "box"


# long: each option is a parameter
def evaluate_induction(
    data: Annotated[str, typer.Option(help="Folder of the packs, or PACK.npz (several: comma-separated).")],
    out: Out,
    split: Annotated[HeldOut, typer.Option(help="Tune on val; look at test once.")] = HeldOut.val,
    methods: Annotated[
        str, typer.Option(help="Comma-separated METHOD or METHOD:MODEL; redrawn: MedEdit told no lesion, a control.")
    ] = "mededit,mededit:lesion-128,naive_repaint,sdedit,palette,redrawn",
    condition: Annotated[InductionCondition, typer.Option(help="What the models are told.")] = InductionCondition.mask,
    kinds: Annotated[
        str | None, typer.Option(help="Comma-separated, such as stroke_flair,tumour_flair,tumour_t1gd (else: all).")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=2, help="At most this many lesions of each kind.")] = None,
    ablate: Annotated[
        str | None, typer.Option(help="margin, resamples, start: one or several with commas (MedEdit).")
    ] = None,
    steps: Annotated[str, typer.Option(help="Steps down, 'full', or the model's own.")] = "auto",
    radimagenet: Annotated[
        Path | None, typer.Option(help="RadImageNet ResNet-50 weights (safetensors): FID and KID in its features too.")
    ] = None,
    inception: Annotated[
        Path | None, typer.Option(help="Inception-v3 weights (safetensors; needs torchvision), likewise.")
    ] = None,
    nnunet: Annotated[bool, typer.Option("--nnunet", help="Also write the pairs as nnU-Net v2 datasets.")] = False,
    cache: Annotated[
        Path | None, typer.Option(help="Where packs and painted slices are kept (else: cache beside OUT).")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Slices painted together.")] = 8,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    device: Device = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; the timings say how many.")] = None,
    progress: Progress = ProgressKind.bar,
) -> None:
    """Lesions painted into lesion-free slices by each method: Dice, FID, KID, effects around them, tone, cost."""
    with report_errors():
        step_count = parse_steps(steps)
        import torch

        from braindiffusion.evaluation.induction.evaluate import InductionSettings
        from braindiffusion.evaluation.induction.evaluate import evaluate_induction as measure
        from braindiffusion.evaluation.induction.nnunet import export
        from braindiffusion.evaluation.induction.report import markdown, picture, write_rows
        from braindiffusion.io.write import OutputFolder, check_writable
        from braindiffusion.pipeline.progress import reporter

        settings = InductionSettings(
            split=split.value, methods=_names(methods), condition=condition.value, kinds=_names(kinds) or None,
            limit=limit, ablate=_names(ablate), steps=step_count, seed=seed, device=device, batch=batch,
            radimagenet=radimagenet, inception=inception,
        )  # fmt: skip
        check_writable(out)
        if threads:
            torch.set_num_threads(threads)
        kept = cache or out.absolute().parent / "cache"
        with reporter(progress.value) as tell:
            report = measure([at_home(d) for d in _names(data)], settings, cache=kept, on_event=tell)
        text = markdown(report.facts)
        with OutputFolder(out) as folder:
            folder.json("induction", report.facts)
            folder.file("induction.md").write_text(text, encoding="utf-8")
            write_rows(report, folder.file("pairs.csv"))
            for number, result in enumerate(report.kinds):
                picture(result, folder.file(f"{result.kind}.png"))
                if nnunet:
                    export(result, folder, "nnunet", number, settings.condition)
        typer.echo(text)


# long: each option is a parameter
def evaluate_tissue(
    data: Annotated[Path, typer.Option(help="PACK.npz with drawn lesions; the format is in docs/packs.md.")],
    out: Out,
    split: Annotated[Split, typer.Option(help="Choose on val; look at test once.")] = Split.val,
    methods: Annotated[
        str, typer.Option(help="Comma-separated: heal, names of models, mirror_copy, biharmonic, mean_fill.")
    ] = "heal,mirror_copy,biharmonic,mean_fill",
    limit: Annotated[int, typer.Option(min=2, help="Most holes, spread over patients.")] = 60,
    means: Annotated[bool, typer.Option("--means", help="Measure the mean of 8 samples of each model too.")] = False,
    steps: Annotated[str, typer.Option(help="Steps, 'full', or the model's own.")] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Of holes and draws.")] = 0,
    device: Device = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.")] = None,
    progress: Progress = ProgressKind.bar,
) -> None:
    """The hole test: is healed tissue told apart from real tissue? Holes in healthy slices, healed; the truth known."""
    with report_errors():
        step_count = parse_steps(steps)
        import torch

        from braindiffusion.evaluation.tissue.report import markdown, write
        from braindiffusion.evaluation.tissue.run import tissue_test
        from braindiffusion.io.write import OutputFolder, check_writable
        from braindiffusion.pipeline.progress import reporter
        from braindiffusion.pipeline.stages import HealSettings
        from braindiffusion.training.packs import load_pack

        pack = load_pack(data)
        check_writable(out)
        if threads:
            torch.set_num_threads(threads)
        settings = HealSettings(steps=step_count, seed=seed, device=device)
        with reporter(progress.value) as tell:
            report = tissue_test(
                pack, _names(methods), settings, split=split.value, limit=limit, seed=seed, means=means, on_event=tell
            )
        with OutputFolder(out) as folder:
            write(report, folder)
        typer.echo(markdown(report.facts))


# long: each option is a parameter
def evaluate_believable(
    data: Annotated[Path, typer.Option(help="PACK.npz with drawn lesions; the format is in docs/packs.md.")],
    out: Out,
    kind: Annotated[str, typer.Option(help="Kind of lesion, as of induce.")] = "stroke",
    split: Annotated[Split, typer.Option(help="Choose on val; look at test once.")] = Split.val,
    methods: Annotated[
        str, typer.Option(help="Comma-separated METHOD or METHOD:MODEL, as of induce.")
    ] = "mededit,mededit_paired",
    limit: Annotated[int, typer.Option(min=4, help="Most lesions, spread over patients.")] = 60,
    sheet: Annotated[int, typer.Option(min=1, help="Lesions of each sort on the blinded sheet.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Of choices and draws.")] = 0,
    device: Device = "auto",
    progress: Progress = ProgressKind.bar,
) -> None:
    """Are induced lesions told apart from real ones? Figures, and a blinded sheet with its key."""
    with report_errors():
        from braindiffusion.evaluation.induction.believable import believable
        from braindiffusion.evaluation.induction.blinded import markdown, write
        from braindiffusion.io.write import OutputFolder, check_writable
        from braindiffusion.pipeline.progress import reporter
        from braindiffusion.settings import InduceSettings
        from braindiffusion.training.packs import load_pack

        pack = load_pack(data)
        check_writable(out)
        plans = {}
        for name in _names(methods):
            method, _, model = name.partition(":")
            plans[name] = InduceSettings(method=method, model=model or None, kind=kind, seed=seed, device=device)
        with reporter(progress.value) as tell:
            report = believable(pack, plans, split=split.value, limit=limit, seed=seed, on_event=tell)
        with OutputFolder(out) as folder:
            write(report, folder, sheet)
        typer.echo(markdown(report.facts))


def evaluate_nnunet(
    dataset: Annotated[Path, typer.Option(help="A Dataset folder that `evaluate induction --nnunet` wrote.")],
    predictions: Annotated[Path, typer.Option(help="Folder with one folder of predictions for each set.")],
    out: Out,
) -> None:
    """Lesion Dice and IoU of induction by nnU-Net v2's predictions on the exported pairs."""
    with report_errors():
        import json

        from braindiffusion.evaluation.induction.nnunet import score
        from braindiffusion.io.write import OutputFolder, check_writable

        facts = score(dataset, predictions)
        check_writable(out)
        with OutputFolder(out) as folder:
            folder.json("nnunet", facts)
        kept = ("lesion_dice", "lesion_dice_interval", "lesion_iou", "lesion_iou_interval")
        typer.echo(json.dumps({s: {k: o[k] for k in kept} for s, o in facts["sets"].items()}, indent=2))
