"""The command line: cohort."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import typer

from braindiffusion import RESEARCH_USE_ONLY
from braindiffusion.cli.options import (
    Commands,
    FileFormat,
    Out,
    Progress,
    ProgressKind,
    report_errors,
)
from braindiffusion.cli.settings import made, settings_options
from braindiffusion.errors import Cancelled
from braindiffusion.settings import HealSettings

cohort_app = Commands(help="Many scans at once, over processes or machines.", no_args_is_help=True)


# long: each option is a parameter
@cohort_app.command("heal")
@settings_options(
    HealSettings,
    only=("method", "model", "saliency", "fusion", "steps", "samples", "gate", "margin_mm", "seed", "device", "force"),
)
def cohort_heal(
    folder: Annotated[Path, typer.Argument(help="A folder of scans or of DICOM series, or a BIDS folder.")],
    out: Out,
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a Dask scheduler, tcp://host:8786.  [default: workers of its own]")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes here.  [default: one for each two cores; on a GPU 1]")
    ] = None,
    retries: Annotated[int, typer.Option(min=0, help="Further attempts where memory, disk or a worker failed.")] = 1,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try again what an earlier run gave up for good.")
    ] = False,
    images: Annotated[
        str | None, typer.Option(help="How scans are named, such as '{subject}_FLAIR.nii.gz'.  [default: all]")
    ] = None,
    masks: Annotated[
        str | None, typer.Option(help="How drawn masks are named; scans with one are healed inside it.")
    ] = None,
    modality: Annotated[str, typer.Option(help="Scans whose name tells another are left out.")] = "FLAIR",
    file_format: Annotated[FileFormat, typer.Option("--format")] = FileFormat.nifti,
    progress: Progress = ProgressKind.bar,
    **chosen: Any,
) -> None:
    """Heal every scan of a folder; one that fails is reported and stops no other. Run it again to go on."""
    with report_errors():
        settings = made(HealSettings, chosen)
        from braindiffusion.cohort.cluster import require_dask
        from braindiffusion.cohort.run import check_apart, find_scans, heal_cohort, plan
        from braindiffusion.cohort.table import Row, tally

        require_dask()
        check_apart(folder, out)
        scans, notes = find_scans(folder, modality.upper(), images, masks)
        from braindiffusion.healing.models import main_card
        from braindiffusion.io.write import check_writable
        from braindiffusion.models.device import choose_device, cores
        from braindiffusion.pipeline.progress import reporter

        main_card(settings)
        check_writable(out)
        on_gpu = scheduler is None and choose_device(settings.device).type == "cuda"
        count = min(workers or (1 if on_gpu else max(1, cores() // 2)), len(scans))
        jobs = plan(scans, out, settings, file_format.value, max(1, cores() // count) if scheduler is None else 1)
        for note in notes:
            typer.echo(f"Warning: {note}", err=True)
        try:
            with reporter(progress.value) as tell:

                def on_row(row: Row, done: int, total: int) -> None:
                    tell(SimpleNamespace(stage="cohort", done=done, total=total))

                rows = heal_cohort(
                    jobs, out, scheduler=scheduler, workers=count, retries=retries, retry_failed=retry_failed,
                    on_row=on_row,
                )  # fmt: skip
        except KeyboardInterrupt:
            typer.echo(f"Stopped. What is finished is in {out}; run it again to go on.", err=True)
            raise typer.Exit(Cancelled.exit_code) from None
        for row in rows:
            if row.error:
                typer.echo(f"{row.scan}: {row.error['class']}: {row.error['what']}", err=True)
        typer.echo(f"{tally(rows)}\n{out / 'cohort.md'}\n{RESEARCH_USE_ONLY}")
        if all(row.status == "failed" for row in rows):
            raise typer.Exit(3)
