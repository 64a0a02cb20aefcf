"""The command line: prepare, pseudo-label."""

from __future__ import annotations

import os
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from braindiffusion import RESEARCH_USE_ONLY
from braindiffusion.cli.options import Device, Progress, ProgressKind, report_errors
from braindiffusion.cli.settings import made, settings_options
from braindiffusion.errors import SettingsError
from braindiffusion.settings import HealSettings


class WithoutMask(str, Enum):
    refuse, skip, healthy = "refuse", "skip", "healthy"


def parse_split(text: str) -> tuple[float, float, float]:
    """``0.7,0.15,0.15`` as shares of train, val and test."""
    try:
        train, val, test = (float(part) for part in text.split(","))
    except ValueError as error:
        raise SettingsError(
            f"--split {text} is not possible.", "It is three shares: train, val, test.", "Give --split 0.7,0.15,0.15."
        ) from error
    return train, val, test


# long: each option is a parameter
def prepare(
    folder: Annotated[Path, typer.Argument(help="Your scans (NIfTI, NRRD, MetaImage), or a BIDS folder.")],
    out: Annotated[Path, typer.Option("--out", help="The pack to write, PACK.npz.")],
    images: Annotated[
        str | None, typer.Option(help="How scans are named (else: {subject}_<MODALITY>.*, or as in BIDS).")
    ] = None,
    masks: Annotated[
        str | None, typer.Option(help="How lesion masks are named (else: {subject}_mask.*, or as in BIDS).")
    ] = None,
    modality: Annotated[str, typer.Option(help="FLAIR, T1, T1GD, T2 ...")] = "FLAIR",
    split: Annotated[str, typer.Option(help="Shares of patients for train, val, test.")] = "0.7,0.15,0.15",
    seed: Annotated[int, typer.Option(min=0, help="Of the split and the pseudonyms.")] = 0,
    size: Annotated[int, typer.Option(help="Side of the slices in pixels, over 240 mm.")] = 256,
    strip: Annotated[bool, typer.Option("--strip", help="Keep the brain only (a face can be recognised).")] = False,
    apart_mm: Annotated[float, typer.Option(help="Least distance of slices; 0 keeps all.")] = 0.0,
    without_mask: Annotated[
        WithoutMask, typer.Option(help="What a scan without a mask is, where others have one.")
    ] = WithoutMask.refuse,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out scans that cannot be used.")] = False,
    pseudonyms: Annotated[
        bool, typer.Option("--pseudonyms/--names", help="p0001 ... instead of the subjects' names.")
    ] = True,
    key: Annotated[Path | None, typer.Option(help="Write pseudonym and subject to this CSV file.")] = None,
    device: Device = "auto",
    progress: Progress = ProgressKind.bar,
    force: Annotated[bool, typer.Option("--force", help="Even where a file name tells another modality.")] = False,
) -> None:
    """Make a training pack from your own scans; patients are split, none is named."""
    with report_errors():
        shares = parse_split(split)
        from braindiffusion.models.device import choose_device
        from braindiffusion.pipeline.progress import reporter
        from braindiffusion.training.prepare import PrepareSettings, prepare_pack

        settings = PrepareSettings(
            modality=modality.upper(), split=shares, seed=seed, size=size, strip=strip, skip_bad=skip_bad,
            without_mask=without_mask.value, pseudonyms=pseudonyms, apart_mm=apart_mm, force=force,
            device=str(choose_device(device)),
        )  # fmt: skip
        with reporter(progress.value) as tell:
            done = prepare_pack(folder, out, settings, images=images, masks=masks, key=key, on_event=tell)
        for note in done.notes:
            typer.echo(f"Warning: {note}", err=True)
        for path, why in done.skipped:
            typer.echo(f"Left out: {path}: {why}", err=True)
        typer.echo(f"{done.table()}\n{out}\n{RESEARCH_USE_ONLY}")


@settings_options(HealSettings, only=("model", "steps", "seed", "device"))
def pseudo_label(
    data: Annotated[Path, typer.Option(help="PACK.npz; of its masks only which slices have one is used.")],
    out: Annotated[Path, typer.Option("--out", help="The pack to write, PACK.npz.")],
    splits: Annotated[str, typer.Option(help="Comma-separated; test is refused.")] = "train,val",
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most this many lesion slices, spread over the pack.")
    ] = None,
    agreement: Annotated[
        float | None, typer.Option(help="Least Dice of the two opinions on a slice; below, it is left open.")
    ] = None,
    segmenter: Annotated[
        str | None, typer.Option(help="Label by this model instead (self-training), such as weak-segmenter-flair.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.")] = None,
    progress: Progress = ProgressKind.bar,
    **chosen: Any,
) -> None:
    """Make pseudo-labels for training a segmenter, where saliency and counterfactual agree."""
    with report_errors():
        heal = made(HealSettings, chosen, force=True)
        import torch

        from braindiffusion.healing.registry import HEALTHY
        from braindiffusion.pipeline.progress import reporter
        from braindiffusion.training.packs import load_pack
        from braindiffusion.training.prepare import check_pack_path
        from braindiffusion.training.pseudo_labels import PseudoSettings, pseudo_labels, write_pseudo_labels

        check_pack_path(out)
        if os.path.realpath(out) == os.path.realpath(data):
            why = "The masks of the one are to be made without the other's."
            raise SettingsError(f"{out} is the pack that was given.", why, "Choose another --out.")
        if threads:
            torch.set_num_threads(threads)
        own = {} if agreement is None else {"agreement": agreement}
        heal = replace(heal, model=heal.model or HEALTHY.recipe)
        settings = PseudoSettings(
            splits=tuple(s.strip() for s in splits.split(",") if s.strip()), limit=limit, segmenter=segmenter,
            heal=heal, **own,
        )  # fmt: skip
        settings.check()
        pack = load_pack(data)
        with reporter(progress.value) as tell:
            labels = pseudo_labels(pack, settings, tell)
        write_pseudo_labels(labels, out)
        typer.echo(f"{labels.summary()}\n{out}\n{RESEARCH_USE_ONLY}")
