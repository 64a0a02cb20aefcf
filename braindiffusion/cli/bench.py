"""The command line: bench."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from braindiffusion.cli.options import Device, Out, Progress, ProgressKind, report_errors


# long: each option is a parameter
def bench(
    out: Out,
    data: Annotated[
        Path | None, typer.Option(help="PACK.npz with drawn lesions and a val split.  [default: the sample scan]")
    ] = None,
    packs: Annotated[Path | None, typer.Option(help="Folder of packs for MedEdit.")] = None,
    parts: Annotated[
        str, typer.Option(help="Comma-separated: ladder, steps, sweeps, latency, reading, mededit.")
    ] = "ladder,sweeps,latency",
    slices: Annotated[int, typer.Option(min=1, help="Lesion slices to heal.")] = 24,
    reference_slices: Annotated[
        int, typer.Option(min=1, help="Of them, those healed by the modes with very many network calls.")
    ] = 2,
    lesions: Annotated[int, typer.Option(min=2, help="Painted by MedEdit, a kind.")] = 24,
    repeats: Annotated[int, typer.Option(min=1, help="The cheapest of so many runs counts.")] = 3,
    quick: Annotated[bool, typer.Option("--quick", help="Small sweeps, to see that it works.")] = False,
    compiled: Annotated[bool, typer.Option("--compile", help="Also with torch.compile (needs a compiler).")] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.")] = None,
    device: Device = "auto",
    progress: Progress = ProgressKind.bar,
) -> None:
    """What healing costs on this machine: reference mode against each improvement, and cost against work."""
    with report_errors():
        import torch

        from braindiffusion.bench.report import markdown
        from braindiffusion.bench.run import BenchSettings, run_bench
        from braindiffusion.io.write import OutputFolder, check_writable
        from braindiffusion.pipeline.progress import reporter

        settings = BenchSettings(
            parts=tuple(p.strip() for p in parts.split(",") if p.strip()), slices=slices,
            reference_slices=reference_slices, lesions=lesions, repeats=repeats, quick=quick, compiled=compiled,
            device=device,
        )  # fmt: skip
        check_writable(out)
        if threads:
            torch.set_num_threads(threads)
        with reporter(progress.value) as tell:
            facts = run_bench(settings, data, packs=packs, cache=out.absolute().parent / "cache", on_event=tell)
        words = [f"--data {data.name}"] if data else []
        words += [f"--packs {packs.name}"] if packs else []
        words += [f"--parts {parts} --slices {slices} --reference-slices {reference_slices}"]
        words += [flag for flag, given in (("--quick", quick), ("--compile", compiled)) if given]
        facts["command"] = " ".join(["braindiffusion bench", *words])
        with OutputFolder(out) as folder:
            folder.json("bench", facts)
            folder.file("bench.md").write_text(markdown(facts), encoding="utf-8")
        typer.echo(markdown(facts))
