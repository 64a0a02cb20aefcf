"""The commands that look at an input without doing anything to it: check, series."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from braindiffusion import RESEARCH_USE_ONLY
from braindiffusion.cli.options import (
    BrainFile,
    MaskLabel,
    ResampleMask,
    ScanPath,
    SeriesChoice,
    parse_labels,
    report_errors,
)
from braindiffusion.cli.settings import made, settings_options
from braindiffusion.settings import HealSettings


@settings_options(HealSettings, only=("method", "model", "slices", "gate", "device", "force"))
def check(
    scan: ScanPath,
    mask: Annotated[Path | None, typer.Option(help="A mask that is to be healed.")] = None,
    series: SeriesChoice = None,
    mask_label: MaskLabel = None,
    resample_mask: ResampleMask = False,
    brain: BrainFile = None,
    **chosen: Any,
) -> None:
    """One page about a scan: geometry, orientation, contrast, brain, what would be healed or refused, and why."""
    with report_errors():
        labels = parse_labels(mask_label)
        from braindiffusion.pipeline.check_input import check_input

        page = check_input(
            scan, mask, brain, series=series, labels=labels, resample=resample_mask,
            settings=made(HealSettings, chosen),
        )  # fmt: skip
        typer.echo("\n".join([*page.lines, RESEARCH_USE_ONLY]))
        if page.refusal is not None:
            raise typer.Exit(page.refusal.exit_code)


def series_command(
    folder: Annotated[Path, typer.Argument(help="A folder with DICOM files, sub-folders too.", show_default=False)],
) -> None:
    """The DICOM series of a folder: which can be used, and why others cannot. Choose one with --series."""
    with report_errors():
        from rich.console import Console
        from rich.table import Table

        from braindiffusion.io.dicom_series import list_series

        table = Table("--series", "description", "contrast", "slices and voxels", "usable", "UID ends")
        for each in list_series(folder):
            reason = each.why_not or "yes"
            if each.error is not None:  # the user's own list may name files
                reason = each.error.why or each.error.what
            table.add_row(
                str(each.number), each.description, each.modality or "unknown", each.geometry, reason, each.uid[-12:]
            )
        Console(width=140 if not typer.get_text_stream("stdout").isatty() else None, markup=False).print(table)
