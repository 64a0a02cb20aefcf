"""The command line: evaluate models."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from braindiffusion.cli_options import Device, Out, Progress, ProgressKind, parse_steps, told


class HeldOut(str, Enum):
    val, test = "val", "test"


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
    with told():
        import csv

        import torch

        from braindiffusion.evaluation.models import evaluate_models as measure
        from braindiffusion.evaluation.models import write_to_cards
        from braindiffusion.models.registry import read_card
        from braindiffusion.progress import reporter
        from braindiffusion.writing import OutputFolder, check_writable

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
                with folder.file(f"{name}_{table}.csv").open("w", newline="") as handle:
                    writer = csv.DictWriter(handle, list(rows[0]))
                    writer.writeheader()
                    writer.writerows(rows)
        if write:
            write_to_cards(report)
        typer.echo(report.markdown().split("\n## ")[0])


class InductionCondition(str, Enum):
    mask, box = "mask", "box"


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(n.strip() for n in (text or "").split(",") if n.strip())


def evaluate_induction(
    data: Annotated[str, typer.Option(help="Folder of the packs, or PACK.npz (several: comma-separated).")],
    out: Out,
    split: Annotated[HeldOut, typer.Option(help="Tune on val; look at test once.")] = HeldOut.val,
    methods: Annotated[
        str, typer.Option(help="Comma-separated; redrawn is a control (MedEdit told no lesion).")
    ] = "mededit,naive_repaint,sdedit,palette,redrawn",
    condition: Annotated[InductionCondition, typer.Option(help="What the models are told.")] = InductionCondition.mask,
    kinds: Annotated[
        str | None, typer.Option(help="Comma-separated, such as stroke_flair,tumour_flair,tumour_t1gd (else: all).")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=2, help="At most this many lesions of each kind.")] = None,
    ablate: Annotated[
        str | None, typer.Option(help="margin, resamples, start: one or several with commas (MedEdit).")
    ] = None,
    steps: Annotated[str, typer.Option(help="Steps down, or 'full'.")] = "15",
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
    with told():
        step_count = parse_steps(steps)
        import torch

        from braindiffusion.evaluation.induction import InductionSettings
        from braindiffusion.evaluation.induction import evaluate_induction as measure
        from braindiffusion.evaluation.induction_report import markdown, picture, write_rows
        from braindiffusion.evaluation.nnunet import export
        from braindiffusion.progress import reporter
        from braindiffusion.writing import OutputFolder, check_writable

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
            report = measure([Path(d) for d in _names(data)], settings, cache=kept, on_event=tell)
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


def evaluate_nnunet(
    dataset: Annotated[Path, typer.Option(help="A Dataset folder that `evaluate induction --nnunet` wrote.")],
    predictions: Annotated[Path, typer.Option(help="Folder with one folder of predictions for each set.")],
    out: Out,
) -> None:
    """Lesion Dice and IoU of induction by nnU-Net v2's predictions on the exported pairs."""
    with told():
        import json

        from braindiffusion.evaluation.nnunet import score
        from braindiffusion.writing import OutputFolder, check_writable

        facts = score(dataset, predictions)
        check_writable(out)
        with OutputFolder(out) as folder:
            folder.json("nnunet", facts)
        kept = ("lesion_dice", "lesion_dice_interval", "lesion_iou", "lesion_iou_interval")
        typer.echo(json.dumps({s: {k: o[k] for k in kept} for s, o in facts["sets"].items()}, indent=2))
