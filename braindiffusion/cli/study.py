"""The command line: blinded reader studies."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Annotated

import typer

from braindiffusion import RESEARCH_USE_ONLY
from braindiffusion.cli.export import Face, FaceRule
from braindiffusion.cli.options import Commands, Device, Out, Progress, ProgressKind, report_errors
from braindiffusion.io.paths import at_home

study_app = Commands(help="Blinded reader studies: seal one, analyse its answers.", no_args_is_help=True)

StudyPath = Annotated[Path, typer.Argument(help="The study's folder.", show_default=False)]
Key = Annotated[Path | None, typer.Option(help="The key's file.  [default: STUDY-key.json beside the study]")]


def parse_readers(text: str) -> tuple[str, ...]:
    """``3`` as R1, R2, R3; else codes with commas."""
    if text.isascii() and text.isdigit() and 0 < int(text) < 100:
        return tuple(f"R{i + 1}" for i in range(int(text)))
    return tuple(code.strip() for code in text.split(","))


# long: each option is a parameter
@study_app.command("create")
def create(
    synthetic: Annotated[
        list[Path],
        typer.Option(help="FOLDER or NAME=FOLDER of one method's scans; once for each.", show_default=False),
    ],
    protocol: Annotated[
        str, typer.Option(help="A shipped protocol's name (see: study protocols), or a .json file.", show_default=False)
    ],
    out: Out,
    real: Annotated[Path | None, typer.Option(help="Folder of real scans.", show_default=False)] = None,
    prior: Annotated[
        Path | None, typer.Option(help="Folder of the scans before, by the same names, where they are shown.")
    ] = None,
    key: Key = None,
    readers: Annotated[str, typer.Option(help="How many, or their codes (R1,R2). Codes, no names.")] = "1",
    per_method: Annotated[
        int | None, typer.Option(min=1, help="Cases of each method, and real ones.  [default: all]")
    ] = None,
    unpaired: Annotated[
        bool, typer.Option("--unpaired", help="Draw each method's cases by themselves, not the same subjects.")
    ] = False,
    repeats: Annotated[
        int | None, typer.Option(min=0, help="Cases each reader sees twice.  [default: the protocol's]")
    ] = None,
    strata: Annotated[Path | None, typer.Option(help="CSV of name,stratum; cases are drawn evenly over them.")] = None,
    lesion_ml: Annotated[
        str | None, typer.Option("--lesion-ml", help="Strata by lesion volume, such as 5,20 (mL).")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Of everything drawn; keep it secret.  [default: one that cannot be guessed]"),
    ] = None,
    face: Face = FaceRule.remove,
    device: Device = "auto",
    mixed_grids: Annotated[
        bool, typer.Option("--mixed-grids", help="Accept scans of different size or spacing.")
    ] = False,
    title: Annotated[str | None, typer.Option(help="Shown to the readers.  [default: the protocol's]")] = None,
    progress: Progress = ProgressKind.bar,
) -> None:
    """Seal a study: scans without names, random orders, and the labels in a key of their own."""
    with report_errors():
        from braindiffusion.pipeline.progress import reporter
        from braindiffusion.studies.create import create_study
        from braindiffusion.studies.design import StudySettings
        from braindiffusion.studies.protocol import load_protocol
        from braindiffusion.studies.sources import parse_edges, parse_methods, read_strata

        where = "cpu"
        if face is not FaceRule.keep:
            from braindiffusion.models.device import choose_device

            where = str(choose_device(device))
        settings = StudySettings(
            readers=parse_readers(readers), per_method=per_method, shared=not unpaired, repeats=repeats, seed=seed,
            strata=read_strata(strata) if strata else None, lesion_ml=parse_edges(lesion_ml) if lesion_ml else None,
            face=face.value, device=where, mixed_grids=mixed_grids, title=title,
        )  # fmt: skip
        methods = parse_methods([str(s) for s in synthetic])
        with reporter(progress.value) as tell:
            made = create_study(
                real, methods, load_protocol(at_home(protocol)), out, settings, priors=prior, key=key,
                on_case=lambda done, total: tell(SimpleNamespace(stage="study", done=done, total=total)),
            )  # fmt: skip
        for method, by in made.counts.items():
            strata_text = "" if len(by) == 1 else ": " + ", ".join(f"{n} {s}" for s, n in by.items())
            typer.echo(f"{method:16} {sum(by.values()):4} cases{strata_text}")
        typer.echo(f"{made.presentations} to read, for each of {len(settings.readers)} readers")
        typer.echo("\n".join(made.power["text"]))
        typer.echo(f"Study, for the readers: {made.study}\nKey, not for the readers: {made.key}\n{RESEARCH_USE_ONLY}")


@study_app.command("analyse")
def analyse(
    study: StudyPath,
    out: Out,
    key: Key = None,
    answers: Annotated[
        list[Path] | None, typer.Option(help="Folder of answers; several times, too.  [default: STUDY/answers]")
    ] = None,
    interim: Annotated[
        bool, typer.Option("--interim", help="Look before all readers have finished; the report says so.")
    ] = False,
) -> None:
    """Unblind a finished study and write its report: HTML, CSV tables, pictures."""
    with report_errors():
        from braindiffusion.studies.analyse import analyse_study

        results = analyse_study(study, key, answers, interim, out=out)
        results.write(out)
        for line in results.sections[0].text:
            typer.echo(line)
        typer.echo(f"{out / 'report.html'}\n{RESEARCH_USE_ONLY}")


@study_app.command("protocols")
def protocols() -> None:
    """The shipped protocols."""
    with report_errors():
        from braindiffusion.studies.protocol import load_protocol, shipped

        for name in shipped():
            typer.echo(f"{name:20} {load_protocol(name).title}")
